/**
 * The sender of MQTT's delivery protocols [section 4.3], on the side of the node: it brings messages from the session's
 * backlog, or past it, to the outlet, and takes the acknowledgements of the client.
 *
 *   deliver ──► | message queue | ──► | in-flight window | ──► outlet
 */

import type { Frame, Message } from '../wire/message.js'
import type { QoS } from '../wire/packets.js'
import { ReasonCode } from '../wire/reason-codes.js'
import type { Hold } from './back-pressure.js'
import type { Backlog } from './backlog.js'
import type { Share } from './delivery.js'
import { InFlight, type InFlightWindow } from './in-flight-window.js'
import { messageBytes, type QueuedMessage } from './message-queue.js'
import type { Outlet } from './outlet.js'
import type { RetainedFeeds } from './retained-feeds.js'
import type { SessionModules, SessionOptions } from './session-options.js'

/** What the sender has to know of its session. */
export interface SendingSession {
  /** Seconds the session outlives its connection; see `Session.expiryInterval`. */
  readonly expiryInterval: number
  readonly isEnded: boolean
}

export class Sender {
  /** Undefined while the client is away. */
  outlet: Outlet | undefined

  constructor(
    private readonly session: SendingSession,
    private readonly backlog: Backlog,
    private readonly options: SessionOptions,
    private readonly modules: SessionModules,
  ) {}

  /** The client is here: what was in flight is sent again in its order, then the queue. [MQTT-4.4.0-1] */
  attach(outlet: Outlet): void {
    this.outlet = outlet
    this.pump()
  }

  /** A message of QoS 0, where the client can take it now. @param hasWaited since it came to this node */
  sendQos0(
    message: Message,
    retain: boolean,
    subscriptionIds: readonly number[] | undefined,
    hasWaited: boolean,
  ): void {
    const outlet = this.outlet
    if (outlet === undefined) {
      this.modules.metrics.dropped[this.session.isEnded ? 'session_ended' : 'offline_qos0'].value++
      return
    }
    if (outlet.isFull) {
      this.modules.metrics.dropped.outbox_full.value++
      return
    }
    const frame = frameOf(outlet, message, 0, retain, subscriptionIds, hasWaited)
    if (frame.end - frame.start > outlet.maximumPacketSize) {
      this.modules.metrics.dropped.too_large.value++ // [MQTT-3.1.2-25]
      return
    }
    outlet.sendFrame(frame, message.topic)
    this.modules.metrics.sent[0].value++
  }

  /** A message of QoS 1 or 2: past the backlog, where that is empty and there is room, or into its queue. */
  sendOrQueue(
    message: Message,
    qos: QoS,
    retain: boolean,
    subscriptionIds: readonly number[] | undefined,
    share: Share | undefined,
    pending: Hold | undefined,
    hasWaited: boolean,
  ): void {
    const { backlog, outlet } = this
    const { durability } = backlog
    if (share !== undefined) backlog.carriesShared = true
    // What is kept on disk is copied when it is written, if it has to be.
    const kept = durability?.journal === undefined || backlog.isArriving ? undefined : message
    const place =
      durability?.isKept === true
        ? durability.placeFor({ message: kept ?? message.detach(), qos, retain, subscriptionIds, share }, pending)
        : 0
    const { queue, inFlight } = backlog
    if (
      outlet !== undefined &&
      (queue === undefined || queue.isIdle) &&
      (inFlight === undefined || this.hasRoom(inFlight, outlet)) &&
      !outlet.isCongested
    ) {
      // No packet id free means the window is as full as it can be: then it waits in the queue like the others.
      if (this.sendInFlight(outlet, message, qos, retain, subscriptionIds, share, hasWaited, place)) return
    }
    this.enqueue({ message: kept ?? message.detach(), qos, retain, subscriptionIds, share, place }, pending)
  }

  /** Sends what may be sent: first what a resumed session has in flight, then the queue, then retained messages. */
  pump(): void {
    const { backlog, outlet } = this
    if (outlet === undefined || backlog.isEmpty) return
    const window = backlog.window()
    backlog.retainedFeeds?.beginTurn()
    while (!outlet.isCongested && window.sent < outlet.sendMaximum) {
      const again = window.takeUnsent()
      if (again !== undefined) {
        this.sendAgain(outlet, again)
        continue
      }
      if (window.bytes >= this.options.inFlightBytes) break
      const next = backlog.queue?.shift()
      if (next === undefined) {
        if (backlog.retainedFeeds === undefined || backlog.isArriving) break
        this.sendRetained(backlog.retainedFeeds)
        if (backlog.retainedFeeds?.mustRest !== true) continue
        outlet.pumpLater()
        break
      } else if (next.message.isExpired(Date.now())) {
        this.modules.metrics.dropped.expired.value++
        next.share?.settle()
        backlog.journal?.release(next.place)
      } else if (
        !this.sendInFlight(
          outlet,
          next.message,
          next.qos,
          next.retain,
          next.subscriptionIds,
          next.share,
          true,
          next.place,
        )
      )
        break
    }
    backlog.queue?.ease()
  }

  /** Sends the next retained message, where a step of the search has found one. Called with room for a message. */
  private sendRetained(feeds: RetainedFeeds): void {
    if (feeds.isEmpty) {
      this.backlog.endFeeds()
      return
    }
    const found = feeds.step()
    if (found === undefined) return
    const { message, delivery } = found
    const qos = Math.min(message.qos, delivery.qos) as QoS
    // It has waited here since it was retained: its expiry interval is what is left. [MQTT-3.3.2-6]
    if (qos === 0) this.sendQos0(message, true, delivery.subscriptionIds, true)
    else this.sendOrQueue(message, qos, true, delivery.subscriptionIds, undefined, undefined, true)
  }

  /** PUBACK: the packet id is free, the next message may go. Undefined when no QoS 1 message has it. [MQTT-4.3.2-3] */
  acknowledge(packetId: number): InFlight | undefined {
    const entry = this.backlog.inFlight?.get(packetId)
    return entry?.qos === 1 ? this.finish(entry) : undefined
  }

  /** PUBREC: answers with PUBREL, or with a failure code ends the exchange. False when no QoS 2 message has the id. */
  markReceived(packetId: number, reasonCode: number): boolean {
    const entry = this.backlog.inFlight?.get(packetId)
    if (entry?.qos !== 2) return false
    // A PUBREC with an error ends the exchange: no PUBREL follows. [MQTT-4.3.3-4]
    if (reasonCode >= ReasonCode.UnspecifiedError) this.finish(entry)
    else {
      this.backlog.inFlight?.release(entry)
      if (this.backlog.durability?.releaseWhenKept(entry) !== true) this.outlet?.sendPubrel(packetId)
    }
    return true
  }

  /** PUBCOMP: as PUBACK, for a QoS 2 message whose PUBREC has come. [MQTT-4.3.3-3] [MQTT-4.3.3-5] */
  complete(packetId: number): InFlight | undefined {
    const entry = this.backlog.inFlight?.get(packetId)
    return entry !== undefined && entry.releaseOrder > 0 ? this.finish(entry) : undefined
  }

  /** A commit is done: what it has covered goes out. */
  committed(): void {
    const { outlet } = this
    let hasRoom = false
    for (const gated of this.backlog.durability?.openGate() ?? []) {
      if (!('isKept' in gated)) {
        outlet?.sendPubcomp(gated.packetId, gated.reasonCode)
        continue
      }
      if (this.backlog.inFlight?.get(gated.packetId) !== gated) continue
      gated.isKept = true
      // On a connection that has begun since, it was passed over in the order of sending, for this moment.
      if (gated.isSent && outlet !== undefined) {
        this.sendAgain(outlet, gated)
        hasRoom ||= this.backlog.inFlight.get(gated.packetId) !== gated
      }
    }
    // What could not be sent makes room, and nobody acknowledges it.
    if (hasRoom) this.pump()
  }

  private finish(entry: InFlight): InFlight {
    const { backlog } = this
    backlog.inFlight?.remove(entry)
    entry.share?.settle()
    backlog.journal?.release(entry.place)
    this.pump()
    return entry
  }

  private hasRoom(window: InFlightWindow, outlet: Outlet): boolean {
    return !window.hasUnsent && window.sent < outlet.sendMaximum && window.bytes < this.options.inFlightBytes
  }

  private enqueue(item: QueuedMessage, pending: Hold | undefined): void {
    // It ended while this message was on its way to it and to others: nobody must wait for it.
    if (this.session.isEnded) {
      this.modules.metrics.dropped.session_ended.value++
      item.share?.settle()
      return
    }
    this.backlog.ownQueue().push(item, pending)
  }

  /** False when no packet id is free; a message too large for the client is dropped and counts as done. */
  private sendInFlight(
    outlet: Outlet,
    message: Message,
    qos: QoS,
    retain: boolean,
    subscriptionIds: readonly number[] | undefined,
    share: Share | undefined,
    hasWaited: boolean,
    place: number,
  ): boolean {
    const { backlog } = this
    const window = backlog.window()
    const frame = frameOf(outlet, message, qos, retain, subscriptionIds, hasWaited)
    if (frame.end - frame.start > outlet.maximumPacketSize) {
      this.modules.metrics.dropped.too_large.value++
      share?.settle()
      backlog.journal?.release(place)
      return true
    }
    const packetId = window.packetIds.next(window)
    if (packetId === 0) return false
    // A session that ends with its connection never sends again, so it need not keep the bytes; a QoS 1 message that
    // came by a shared subscription goes to another member then.
    const isNeeded = this.session.expiryInterval > 0 || (share !== undefined && qos === 1)
    const kept = isNeeded && place === 0 ? message.detach() : undefined
    const bytes = isNeeded ? messageBytes(message) : 0
    const entry = new InFlight(packetId, qos, retain, subscriptionIds, share, kept, bytes, place)
    window.add(entry)
    if (backlog.durability?.holdsBack(entry) === true) return true
    outlet.sendPublish(frame, packetId, false, message.topic)
    // From here on nobody else may get it. [MQTT-4.8.2-5]
    if (qos === 2) share?.settle()
    this.modules.metrics.sent[qos].value++
    return true
  }

  private sendAgain(outlet: Outlet, entry: InFlight): void {
    // It goes when it is kept.
    if (!entry.isKept) return
    if (entry.releaseOrder > 0 || (entry.message === undefined && entry.place === 0)) {
      outlet.sendPubrel(entry.packetId)
      return
    }
    const message = this.backlog.messageOf(entry)
    const frame = message && frameOf(outlet, message, entry.qos, entry.retain, entry.subscriptionIds, true)
    if (message === undefined || frame === undefined) {
      // It is not where it was: nothing can be sent, and the next has room.
      this.backlog.inFlight?.remove(entry)
      entry.share?.settle()
      return
    }
    if (frame.end - frame.start > outlet.maximumPacketSize) {
      // The client has come back with a smaller maximum: this exchange counts as done. [MQTT-3.1.2-25]
      this.backlog.inFlight?.remove(entry)
      this.modules.metrics.dropped.too_large.value++
      entry.share?.settle()
      this.backlog.journal?.release(entry.place)
      return
    }
    outlet.sendPublish(frame, entry.packetId, entry.wasSent, message.topic) // DUP [MQTT-3.3.1-1]
    entry.wasSent = true
    if (entry.qos === 2) entry.share?.settle()
    this.modules.metrics.sent[entry.qos].value++
  }
}

/** The bytes of a message for this client, but for the packet id. */
function frameOf(
  outlet: Outlet,
  message: Message,
  qos: QoS,
  retain: boolean,
  subscriptionIds: readonly number[] | undefined,
  hasWaited: boolean,
): Frame {
  if (outlet.isV5 && (subscriptionIds !== undefined || (message.expiresAt !== 0 && (hasWaited || message.isAged)))) {
    return message.frameFor(qos, retain, subscriptionIds, Date.now())
  }
  return message.frame(outlet.isV5, qos, retain)
}
