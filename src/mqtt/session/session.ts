/**
 * A Session is what a client ID owns beyond its socket: subscriptions, packet ids, the in-flight window, the message
 * queue behind it and the inbound QoS 2 ids. It has no socket: while its client is connected it sends through an
 * Outlet, and while the client is away it queues.
 *
 *   deliver ──► | message queue | ──► | in-flight window | ──► outlet
 *
 * A session is `attached` (has an outlet), `detached` (its client may come back until it expires) or `ended`.
 */

import type { Frame, Message } from '../wire/message.js'
import type { QoS, SubscriptionOptions } from '../wire/packets.js'
import { ReasonCode } from '../wire/reason-codes.js'
import type { Hold, Keeping } from './back-pressure.js'
import { CommitGate } from './commit-gate.js'
import type { DeliveryOptions, Share, SharedMessage } from './delivery.js'
import { type InFlight, InFlightWindow, type RestoredInFlight } from './in-flight-window.js'
import { InboundQos2, type ReceivedQos2 } from './inbound-qos2.js'
import type { SessionJournal } from './journal.js'
import { messageBytes, type QueuedMessage } from './message-queue.js'
import type { DeliveryGate, SessionDescription } from './moving.js'
import type { Outlet } from './outlet.js'
import { PacketIds } from './packet-ids.js'
import { RetainedFeeds } from './retained-feeds.js'
import type { SessionModules, SessionOptions } from './session-options.js'
import { SessionQueue } from './session-queue.js'

export type { Hold, Keeping } from './back-pressure.js'
export type { DeliveryOptions, Share, SharedMessage } from './delivery.js'
export type { ReceivedQos2 } from './inbound-qos2.js'
export type { SessionJournal } from './journal.js'
export type { DeliveryGate } from './moving.js'
export type { Outlet } from './outlet.js'
export type { SessionModules, SessionOptions } from './session-options.js'

/** The Session Expiry Interval that means "never". [MQTT 5.0 section 3.1.2.11.2] */
export const NEVER_EXPIRES = 0xffff_ffff

export class Session {
  readonly clientId: string
  /** Seconds the session outlives its connection; 0 ends with it, NEVER_EXPIRES stays. */
  expiryInterval: number
  private outlet: Outlet | undefined
  private topicFilters: Map<string, SubscriptionOptions> | undefined
  private inFlight: InFlightWindow | undefined
  private queue: SessionQueue | undefined
  private received: InboundQos2<ReceivedQos2> | undefined
  private readonly packetIds = new PacketIds()
  private retainedFeeds: RetainedFeeds | undefined
  private readonly options: SessionOptions
  private readonly modules: SessionModules
  /** Some message has come by a shared subscription. */
  private carriesShared = false
  /** Set while the session moves from or to another node. */
  gate: DeliveryGate | undefined
  isEnded = false
  /** Set for a session that is kept on disk; the gate then holds back what must be kept before it is said. */
  private journal: SessionJournal | undefined
  private commitGate: CommitGate | undefined
  /** Publishers of messages that have come while the session arrives, and that it is to be kept with. */
  private awaitingJournal: Hold[] | undefined
  /** These have been told that nothing is kept yet. */
  private hasDeferred = false

  constructor(clientId: string, expiryInterval: number, options: SessionOptions, modules: SessionModules) {
    this.clientId = clientId
    this.expiryInterval = expiryInterval
    this.options = options
    this.modules = modules
  }

  /** It is kept on disk, or will be once all of it is here. */
  get isKept(): boolean {
    return this.journal !== undefined || this.awaitingJournal !== undefined
  }

  get isAttached(): boolean {
    return this.outlet !== undefined
  }

  /** It is behind: QoS 0 would be dropped, or the queue is half full; at three quarters it would hold publishers back. */
  get isBusy(): boolean {
    return this.outlet?.isFull === true || this.queue?.isEased === false
  }

  get subscriptions(): ReadonlyMap<string, SubscriptionOptions> {
    this.topicFilters ??= new Map()
    return this.topicFilters
  }

  get subscriptionCount(): number {
    return this.topicFilters === undefined ? 0 : this.topicFilters.size
  }

  get queueLength(): number {
    return this.queue === undefined ? 0 : this.queue.length
  }

  get queueBytes(): number {
    return this.queue === undefined ? 0 : this.queue.bytes
  }

  get inFlightCount(): number {
    return this.inFlight === undefined ? 0 : this.inFlight.length
  }

  /** QoS 2 ids that the client has not released yet. */
  get inboundQos2(): InboundQos2<ReceivedQos2> {
    this.received ??= new InboundQos2()
    return this.received
  }

  get inboundQos2Count(): number {
    return this.received === undefined ? 0 : this.received.size
  }

  addSubscription(filter: string, options: SubscriptionOptions): void {
    this.topicFilters ??= new Map()
    this.topicFilters.set(filter, options)
    this.journal?.subscriptionsChanged()
  }

  removeSubscription(filter: string): boolean {
    this.retainedFeeds?.delete(filter)
    this.journal?.subscriptionsChanged()
    return this.topicFilters?.delete(filter) ?? false
  }

  /** The client is here: what was in flight is sent again in its order, then the queue. [MQTT-4.4.0-1] */
  attach(outlet: Outlet): void {
    this.outlet = outlet
    this.pump()
  }

  /** The client is gone; the session waits for it. */
  detach(): void {
    this.outlet = undefined
    this.inFlight?.rewind()
  }

  /** The session is over: what still waited is counted as dropped, publishers held back by it go on. */
  end(): void {
    this.isEnded = true
    this.outlet = undefined
    this.modules.metrics.dropped.session_ended.value += this.queueLength
    this.leaveJournal()
    const { queue } = this
    this.queue = undefined
    this.gate = undefined
    this.inFlight = undefined
    this.received = undefined
    this.retainedFeeds = undefined
    queue?.close()
    this.letAwaitingGo()
  }

  /**
   * Hands a message to this session: sent at once, queued, or dropped and counted. For QoS 1 and 2 a queue that is
   * nearly full holds the publisher's acknowledgement back (`pending`); only after it has been so for the hold time
   * is a message dropped.
   */
  deliver(message: Message, delivery: DeliveryOptions, pending: Hold | undefined): void {
    if (delivery.noLocal && message.publisherId === this.clientId) {
      // Not for this subscription, but perhaps for others that match. [MQTT-3.8.3-3]
      if (delivery.own !== undefined) this.deliver(message, delivery.own, pending)
      return
    }
    // Of a shared subscription each message is for one session only, wherever it comes.
    if (this.gate !== undefined && delivery.share === undefined && !this.gate.admits()) return
    const qos = Math.min(message.qos, delivery.qos) as QoS // [MQTT-3.8.4-8]
    const retain = message.retain && delivery.retainAsPublished // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
    if (qos === 0) this.sendQos0(message, retain, delivery.subscriptionIds, false)
    else this.deliverQueued(message, qos, retain, delivery.subscriptionIds, delivery.share, pending, false)
  }

  /**
   * Takes out the messages that came by a shared subscription and that another member may get, oldest first: those
   * that wait, and of those in flight the ones of QoS 1. One of QoS 2 that was sent stays. [MQTT-4.8.2-4], [MQTT-4.8.2-5]
   */
  takeShared(mayLeave: (group: object) => boolean): SharedMessage[] {
    if (!this.carriesShared) return []
    const isTaken = ({ share }: { share: Share | undefined }): boolean => share !== undefined && mayLeave(share.group)
    const sent = this.inFlight?.extract((entry) => entry.qos === 1 && isTaken(entry)) ?? []
    const taken = [...sent, ...(this.queue?.extract(isTaken) ?? [])]
    const messages = taken.map((item) => this.messageOf(item))
    if (this.journal !== undefined) {
      for (const { place } of taken) this.journal.withdraw(place)
      this.journal.changed()
    }
    return taken.flatMap(({ share }, index) => {
      const message = messages[index]
      if (message && share) return [{ message, share }]
      // Nobody can get it any more.
      share?.settle()
      return []
    })
  }

  /** A packet's message, wherever it is; undefined when it is not needed any more. */
  messageOf({
    message,
    place,
  }: {
    readonly message: Message | undefined
    readonly place: number
  }): Message | undefined {
    return message ?? (place === 0 ? undefined : this.journal?.read(place)?.message)
  }

  /**
   * Retained messages for a new subscription: like `deliver`, with the RETAIN flag set [MQTT-3.3.1-8]. They are taken
   * from the iterator as fast as the client takes them, so a filter that matches a million costs no memory; one that
   * is subscribed again begins anew. The iterator gives undefined where it has searched for a while without a find.
   */
  feedRetained(filter: string, messages: Iterator<Message | undefined>, delivery: DeliveryOptions): void {
    if (this.isEnded) return
    this.retainedFeeds ??= new RetainedFeeds()
    this.retainedFeeds.set(filter, { messages, delivery })
    this.journal?.changed()
    this.pump()
  }

  /** What waits in the queue is looked at once more: `review` may change or withhold (undefined) each message. */
  reviewQueue(review: (message: Message) => Message | undefined): void {
    this.queue?.review((item) => {
      const message = review(item.message)
      if (message === undefined || message === item.message) return message && item
      return { ...item, message: message.detach(), isReviewed: true }
    })
  }

  // ── moving between nodes ─────────────────────────────────────────────────────────────────────────────────────

  get isArriving(): boolean {
    return this.queue?.isArriving === true
  }

  /** What a node that takes the session over has to know, apart from queue and subscriptions. */
  describe(): SessionDescription {
    return {
      expiryInterval: this.expiryInterval,
      lastPacketId: this.packetIds.last,
      inFlight: this.inFlight?.values() ?? [],
      received: this.received?.entries() ?? [],
      retainedFeeds: this.retainedFeeds?.filters() ?? [],
      firstPlace: this.queue?.places?.peek(),
    }
  }

  /** A message of the queue, counted from its front; it stays there. */
  queuedAt(place: number): QueuedMessage | undefined {
    return this.queue?.at(place)
  }

  /** From now on `addMoved` fills the queue, and what is delivered meanwhile waits behind it. */
  beginArrival(): void {
    this.ownQueue().beginArrival()
  }

  /** What was in flight on the node that the session comes from, or when this node ended. */
  restoreInFlight(entries: Iterable<RestoredInFlight>, lastPacketId: number): void {
    this.inFlight ??= new InFlightWindow()
    for (const entry of entries) {
      this.inFlight.restore(entry)
      if (entry.share !== undefined) this.carriesShared = true
    }
    this.inFlight.rewind()
    this.packetIds.last = lastPacketId
  }

  /** A message of the queue of the node that the session comes from. */
  addMoved(item: Omit<QueuedMessage, 'place'>): void {
    if (this.isEnded) return
    if (item.share !== undefined) this.carriesShared = true
    this.ownQueue().addMoved({ ...item, place: 0 })
  }

  /** All that was queued before is here: what came meanwhile follows it. */
  endArrival(): void {
    this.queue?.endArrival()
    this.pump()
  }

  /** The session goes on elsewhere: nothing of it is lost with what is here. */
  endMoved(): void {
    for (const { share } of this.takeShared(() => true)) share.settle()
    // Those of QoS 2 in flight go along, also one that waits for its packet id to be kept and was not sent yet.
    if (this.carriesShared) for (const { share } of this.inFlight?.values() ?? []) share?.settle()
    this.leaveJournal()
    this.queue?.close()
    this.queue = undefined
    this.end()
  }

  // ── kept on disk ─────────────────────────────────────────────────────────────────────────────────────────────

  /** It will be kept, but not before all of it is here: until then its publishers wait. Called before anything comes. */
  awaitJournal(): void {
    this.awaitingJournal = []
  }

  /** From now on, with all that it has, it is kept. Not to be called while it arrives. */
  keepIn(journal: SessionJournal): void {
    this.restoreFrom(journal)
    for (const entry of this.inFlight?.values() ?? []) {
      const { message } = entry
      if (message === undefined) continue
      entry.place = journal.add({ ...entry, message }, undefined)
      entry.message = undefined
    }
    const before = this.queue
    if (before !== undefined) {
      this.queue = new SessionQueue(this.clientId, this.options, this.modules, journal)
      for (let item = before.shift(); item !== undefined; item = before.shift()) {
        this.queue.addMoved({ ...item, place: journal.add(item, undefined) })
      }
      before.close()
    }
    for (const pending of this.awaitingJournal ?? []) pending.resume?.()
    this.hasDeferred = false
    journal.changed()
    journal.subscriptionsChanged()
  }

  /** It is kept already, and gets what it had from its disk. */
  restoreFrom(journal: SessionJournal): void {
    this.journal = journal
    this.commitGate = new CommitGate()
  }

  /** Publishers that wait for the session to be kept: it is, or never will be. */
  letAwaitingGo(): void {
    const awaiting = this.awaitingJournal
    this.awaitingJournal = undefined
    for (const pending of awaiting ?? []) {
      if (this.hasDeferred) pending.resume?.()
      pending.release()
    }
  }

  /** A message of its queue is on the disk. False when there is no room for it. @param bytes as `messageBytes` counts */
  restoreQueued(place: number, bytes: number, isShared: boolean): boolean {
    if (isShared) this.carriesShared = true
    return this.ownQueue().restore(place, bytes)
  }

  private leaveJournal(): void {
    const { journal } = this
    this.journal = undefined
    this.commitGate = undefined
    journal?.end(this.inFlight?.values() ?? [], this.queue?.places)
  }

  /** A commit reads the session now: what waits for it may go out when it is done. */
  coverForCommit(): void {
    this.commitGate?.cover()
  }

  /** That commit is done. */
  committed(): void {
    const { outlet } = this
    for (const gated of this.commitGate?.open() ?? []) {
      if (!('isKept' in gated)) {
        outlet?.sendPubcomp(gated.packetId, gated.reasonCode)
        continue
      }
      if (this.inFlight?.get(gated.packetId) !== gated) continue
      gated.isKept = true
      // On a connection that has begun since, it was passed over in the order of sending, for this moment.
      if (gated.isSent && outlet !== undefined) this.sendKept(outlet, gated)
    }
  }

  private sendKept(outlet: Outlet, entry: InFlight): void {
    if (entry.releaseOrder > 0) outlet.sendPubrel(entry.packetId)
    else this.sendAgain(outlet, entry)
  }

  /** The client has published a QoS 2 message. @param received is held until a session that is kept knows of it */
  addReceived(packetId: number, received: ReceivedQos2 & Keeping): void {
    this.inboundQos2.add(packetId, received)
    this.journal?.changed(received)
  }

  /** PUBREL: false when PUBCOMP is to follow at once, since the session is not kept. */
  completeWhenKept(packetId: number, reasonCode: number): boolean {
    if (this.journal === undefined) return false
    this.commitGate?.add({ packetId, reasonCode })
    this.journal.changed()
    return true
  }

  /** PUBACK: the packet id is free, the next message may go. Undefined when no QoS 1 message has it. [MQTT-4.3.2-3] */
  acknowledge(packetId: number): InFlight | undefined {
    const entry = this.inFlight?.get(packetId)
    return entry?.qos === 1 ? this.finish(entry) : undefined
  }

  /** PUBREC: answers with PUBREL, or with a failure code ends the exchange. False when no QoS 2 message has the id. */
  markReceived(packetId: number, reasonCode: number): boolean {
    const entry = this.inFlight?.get(packetId)
    if (entry?.qos !== 2) return false
    // A PUBREC with an error ends the exchange: no PUBREL follows. [MQTT-4.3.3-4]
    if (reasonCode >= ReasonCode.UnspecifiedError) this.finish(entry)
    else {
      this.inFlight?.release(entry)
      if (this.journal === undefined) this.outlet?.sendPubrel(packetId)
      else this.releaseWhenKept(this.journal, entry)
    }
    return true
  }

  /** PUBCOMP: as PUBACK, for a QoS 2 message whose PUBREC has come. [MQTT-4.3.3-3] [MQTT-4.3.3-5] */
  complete(packetId: number): InFlight | undefined {
    const entry = this.inFlight?.get(packetId)
    return entry !== undefined && entry.releaseOrder > 0 ? this.finish(entry) : undefined
  }

  private releaseWhenKept(journal: SessionJournal, entry: InFlight): void {
    if (entry.place !== 0) journal.release(entry.place)
    entry.place = 0
    entry.isKept = false
    this.commitGate?.add(entry)
    journal.changed()
  }

  private finish(entry: InFlight): InFlight {
    this.inFlight?.remove(entry)
    entry.share?.settle()
    if (this.journal !== undefined) this.journal.release(entry.place)
    this.pump()
    return entry
  }

  /** Sends what may be sent: first what a resumed session has in flight, then the queue, then retained messages. */
  pump(): void {
    const outlet = this.outlet
    if (outlet === undefined) return
    if (this.inFlight === undefined && this.queue === undefined && this.retainedFeeds === undefined) return
    this.inFlight ??= new InFlightWindow()
    const window = this.inFlight
    this.retainedFeeds?.beginTurn()
    while (!outlet.isCongested && window.sent < outlet.sendMaximum) {
      const again = window.takeUnsent()
      if (again !== undefined) {
        this.sendAgain(outlet, again)
        continue
      }
      if (window.bytes >= this.options.inFlightBytes) break
      const next = this.queue?.shift()
      if (next === undefined) {
        if (this.retainedFeeds === undefined || this.isArriving) break
        this.sendRetained(this.retainedFeeds)
        if (this.retainedFeeds?.mustRest !== true) continue
        outlet.pumpLater()
        break
      } else if (next.message.isExpired(Date.now())) {
        this.modules.metrics.dropped.expired.value++
        next.share?.settle()
        this.journal?.release(next.place)
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
    this.queue?.ease()
  }

  /** Sends the next retained message, where a step of the search has found one. Called with room for a message. */
  private sendRetained(feeds: RetainedFeeds): void {
    if (feeds.isEmpty) {
      this.retainedFeeds = undefined
      this.journal?.changed()
      return
    }
    const found = feeds.step()
    if (found === undefined) return
    const { message, delivery } = found
    const qos = Math.min(message.qos, delivery.qos) as QoS
    // It has waited here since it was retained: its expiry interval is what is left. [MQTT-3.3.2-6]
    if (qos === 0) this.sendQos0(message, true, delivery.subscriptionIds, true)
    else this.deliverQueued(message, qos, true, delivery.subscriptionIds, undefined, undefined, true)
  }

  private sendQos0(
    message: Message,
    retain: boolean,
    subscriptionIds: readonly number[] | undefined,
    hasWaited: boolean,
  ): void {
    const outlet = this.outlet
    if (outlet === undefined) {
      this.modules.metrics.dropped[this.isEnded ? 'session_ended' : 'offline_qos0'].value++
      return
    }
    if (outlet.isFull) {
      this.modules.metrics.dropped.outbox_full.value++
      return
    }
    const frame = this.frameOf(outlet, message, 0, retain, subscriptionIds, hasWaited)
    if (frame.end - frame.start > outlet.maximumPacketSize) {
      this.modules.metrics.dropped.too_large.value++ // [MQTT-3.1.2-25]
      return
    }
    outlet.sendFrame(frame, message.topic)
    this.modules.metrics.sent[0].value++
  }

  private deliverQueued(
    message: Message,
    qos: QoS,
    retain: boolean,
    subscriptionIds: readonly number[] | undefined,
    share: Share | undefined,
    pending: Hold | undefined,
    hasWaited: boolean,
  ): void {
    if (share !== undefined) this.carriesShared = true
    const outlet = this.outlet
    // What is kept on disk is copied when it is written, if it has to be.
    const kept = this.journal === undefined || this.isArriving ? undefined : message
    const place = this.isKept
      ? this.placeFor({ message: kept ?? message.detach(), qos, retain, subscriptionIds, share }, pending)
      : 0
    if (
      outlet !== undefined &&
      (this.queue === undefined || this.queue.isIdle) &&
      (this.inFlight === undefined || this.hasRoom(this.inFlight, outlet)) &&
      !outlet.isCongested
    ) {
      // No packet id free means the window is as full as it can be: then it waits in the queue like the others.
      if (this.sendInFlight(outlet, message, qos, retain, subscriptionIds, share, hasWaited, place)) return
    }
    this.enqueue({ message: kept ?? message.detach(), qos, retain, subscriptionIds, share, place }, pending)
  }

  /** Of a message that is kept from the end of this turn on, or with the rest of a session that arrives. */
  private placeFor(item: Omit<QueuedMessage, 'place'>, pending: Hold | undefined): number {
    if (this.journal !== undefined) return this.journal.add(item, pending)
    if (pending !== undefined) {
      pending.hold()
      pending.defer?.()
      this.hasDeferred = true
      this.awaitingJournal?.push(pending)
    }
    return 0
  }

  private hasRoom(window: InFlightWindow, outlet: Outlet): boolean {
    return !window.hasUnsent && window.sent < outlet.sendMaximum && window.bytes < this.options.inFlightBytes
  }

  private enqueue(item: QueuedMessage, pending: Hold | undefined): void {
    // It ended while this message was on its way to it and to others: nobody must wait for it.
    if (this.isEnded) {
      this.modules.metrics.dropped.session_ended.value++
      item.share?.settle()
      return
    }
    this.ownQueue().push(item, pending)
  }

  private ownQueue(): SessionQueue {
    this.queue ??= new SessionQueue(this.clientId, this.options, this.modules, this.journal)
    return this.queue
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
    this.inFlight ??= new InFlightWindow()
    const frame = this.frameOf(outlet, message, qos, retain, subscriptionIds, hasWaited)
    if (frame.end - frame.start > outlet.maximumPacketSize) {
      this.modules.metrics.dropped.too_large.value++
      share?.settle()
      this.journal?.release(place)
      return true
    }
    const packetId = this.packetIds.next(this.inFlight)
    if (packetId === 0) return false
    // A session that ends with its connection never sends again, so it need not keep the bytes; a QoS 1 message that
    // came by a shared subscription goes to another member then.
    const isNeeded = this.expiryInterval > 0 || (share !== undefined && qos === 1)
    const entry: InFlight = {
      packetId,
      qos,
      retain,
      subscriptionIds,
      share,
      message: isNeeded && place === 0 ? message.detach() : undefined,
      bytes: isNeeded ? messageBytes(message) : 0,
      releaseOrder: 0,
      isSent: true,
      place,
      isKept: true,
      wasSent: true,
    }
    this.inFlight.add(entry)
    if (this.journal !== undefined && this.isGated(this.journal, entry)) return true
    outlet.sendPublish(frame, packetId, false, message.topic)
    // From here on nobody else may get it. [MQTT-4.8.2-5]
    if (qos === 2) share?.settle()
    this.modules.metrics.sent[qos].value++
    return true
  }

  /**
   * One of QoS 2 goes out once its packet id is kept, since with another one it would be another message; one of QoS 1
   * does not overtake it.
   */
  private isGated(journal: SessionJournal, entry: InFlight): boolean {
    if (entry.qos !== 2 && this.commitGate?.isClear !== false) {
      journal.progressed()
      return false
    }
    journal.changed()
    entry.isKept = false
    entry.wasSent = false
    this.commitGate?.add(entry)
    return true
  }

  private sendAgain(outlet: Outlet, entry: InFlight): void {
    // It goes when it is kept.
    if (!entry.isKept) return
    if (entry.releaseOrder > 0 || (entry.message === undefined && entry.place === 0)) {
      outlet.sendPubrel(entry.packetId)
      return
    }
    const message = this.messageOf(entry)
    const frame = message && this.frameOf(outlet, message, entry.qos, entry.retain, entry.subscriptionIds, true)
    if (message === undefined || frame === undefined) {
      // It is not where it was: nothing can be sent, and the next has room.
      this.inFlight?.remove(entry)
      entry.share?.settle()
      return
    }
    if (frame.end - frame.start > outlet.maximumPacketSize) {
      // The client has come back with a smaller maximum: this exchange counts as done. [MQTT-3.1.2-25]
      this.inFlight?.remove(entry)
      this.modules.metrics.dropped.too_large.value++
      entry.share?.settle()
      this.journal?.release(entry.place)
      return
    }
    outlet.sendPublish(frame, entry.packetId, entry.wasSent, message.topic) // DUP [MQTT-3.3.1-1]
    entry.wasSent = true
    if (entry.qos === 2) entry.share?.settle()
    this.modules.metrics.sent[entry.qos].value++
  }

  private frameOf(
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
}
