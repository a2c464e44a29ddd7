/**
 * The broker's way to the peers: one frame per interested peer, into that peer's lane. A message that came over a link
 * never comes here, so it never leaves over a link.
 *
 * When a lane is full (see `KeptLane` for what that takes), nothing grows: the message is not forwarded to that peer and
 * is counted. A publisher of QoS 1 or 2 is then answered only after `FULL_HOLD_MS`, so that publishers slow down to what
 * the link carries: long before that they have been waiting for acknowledgements of everything in the lane.
 */

import type { Forwarder, NodeId, PendingPublish } from '../broker/ports.js'
import type { Frame, Message } from '../mqtt/wire/message.js'
import { MqttError } from '../mqtt/wire/reason-codes.js'
import type { GroupTargets } from '../router/group-targets.js'
import type { RouteTable } from '../router/route-table.js'
import { PUBLISHERS_ROUTE } from '../router/subscription-table.js'
import { RingBuffer } from '../util/ring-buffer.js'
import { EntryHeads, groupsPerEntry, LONG_HEAD, PLAIN_HEAD, SHORT_HEAD } from './entry-extension.js'
import type { HintQueue } from './hint-queue.js'
import type { ClusterMetrics } from './metrics.js'
import type { Peer } from './peer.js'
import type { RouteConfirmation } from './route-confirmation.js'

/** How long a publisher waits whose message found the lane full. */
const FULL_HOLD_MS = 5_000

/** Publishers that wait so; each has as many as its receive maximum. Beyond it they are answered at once. */
const MAXIMUM_HELD_BACK = 65_536

interface HeldBack {
  readonly pending: PendingPublish
  readonly releaseAt: number
}

export interface PeerForwarderModules {
  peers: ReadonlyMap<NodeId, Peer>
  confirmation: RouteConfirmation
  metrics: ClusterMetrics
  /** Of the peers. */
  routes: RouteTable
}

export class PeerForwarder implements Forwarder {
  private readonly peers: ReadonlyMap<NodeId, Peer>
  private readonly metrics: ClusterMetrics
  private readonly heldBack = new RingBuffer<HeldBack>(MAXIMUM_HELD_BACK)
  private readonly heads = new EntryHeads()
  private timer: NodeJS.Timeout | undefined
  private isStopped = false
  /** Nodes with No Local subscriptions, as of this generation of the routes. */
  private readonly asking: NodeId[] = []
  private askedAt = -1

  constructor(private readonly modules: PeerForwarderModules) {
    this.peers = modules.peers
    this.metrics = modules.metrics
  }

  /** Publishers that wait because a lane was full. */
  get heldBackCount(): number {
    return this.heldBack.length
  }

  forward(
    message: Message,
    nodes: readonly NodeId[],
    pending: PendingPublish | undefined,
    targets: GroupTargets | undefined,
  ): void {
    // After the leave nobody would release a hold.
    if (this.isStopped) return
    const isAsked = this.isAnyoneAsking()
    // An index, not an iterator: this runs once per message. Bench: forwarded QoS 0 messages.
    for (let index = 0; index < nodes.length; index += 1) {
      const node = nodes[index] as NodeId
      const publisherId = isAsked && this.isAskedBy(node) ? message.publisherId : ''
      if (targets?.has(node) === true) this.forwardToGroups(node, message, publisherId, pending, targets, false)
      else this.forwardTo(node, message, this.heads.headOf(publisherId), pending)
    }
    if (targets === undefined) return
    for (let index = 0; index < targets.count; index += 1) {
      const node = targets.nodes[index] as NodeId
      // Once for each node, at its first group; those with a plain subscription have it already.
      if (targets.nodes.indexOf(node) !== index || nodes.includes(node)) continue
      this.forwardToGroups(node, message, '', pending, targets, true)
    }
  }

  /** A message of QoS 1 or 2 for one session that has moved to that node; see `passedOnHead`. */
  passOn(node: NodeId, message: Message, head: Buffer, pending: PendingPublish | undefined): void {
    if (!this.isStopped) this.forwardTo(node, message, head, pending)
  }

  /** One entry, unless there are thousands of groups; the further ones are for groups only. */
  private forwardToGroups(
    node: NodeId,
    message: Message,
    publisherId: string,
    pending: PendingPublish | undefined,
    targets: GroupTargets,
    isOnly: boolean,
  ): void {
    const peer = message.qos === 0 ? undefined : this.peers.get(node)
    const custody = peer?.exchange.custody
    for (const [index, groups] of groupsPerEntry(targets, node).entries()) {
      let waiting = pending
      if (custody !== undefined) {
        for (const at of groups) {
          const copy = custody.take(message, targets.keys[at] as string, waiting)
          targets.receipts[at] = copy?.receipt ?? 0
          waiting = copy ?? waiting
        }
      }
      const hasKeys = peer?.keepsSessions === true || pending?.isRemembered === true
      const head = this.heads.headFor(publisherId, targets, groups, isOnly || index > 0, hasKeys)
      if (this.forwardTo(node, message, head, waiting) || custody === undefined) continue
      for (const at of groups) custody.settle(targets.receipts[at] as number)
    }
  }

  /** False when the message is dropped, which is counted. */
  private forwardTo(node: NodeId, message: Message, head: Buffer, pending: PendingPublish | undefined): boolean {
    const peer = this.peers.get(node)
    if (peer === undefined) {
      this.metrics.drops.unknown_peer.value += 1
      return false
    }
    let entryHead = head
    if (head === PLAIN_HEAD && peer.exchange.takesShortEntries)
      entryHead = isShortAtHand(message) ? SHORT_HEAD : LONG_HEAD
    const frame = this.encode(message, entryHead !== SHORT_HEAD)
    if (frame === undefined) return false
    if (message.qos === 0) return this.forwardLoose(peer, frame, entryHead)
    return this.forwardKept(peer, frame, pending, entryHead)
  }

  /** Whether some node wants to know who publishes; nearly always none does. */
  private isAnyoneAsking(): boolean {
    const { routes } = this.modules
    if (this.askedAt !== routes.generation) {
      this.askedAt = routes.generation
      this.asking.length = 0
      routes.matchInto(PUBLISHERS_ROUTE, this.asking)
    }
    return this.asking.length > 0
  }

  private isAskedBy(node: NodeId): boolean {
    return this.asking.includes(node)
  }

  whenRoutesConfirmed(done: () => void): void {
    this.modules.confirmation.whenConfirmed(done)
  }

  /** Answers everyone who is held back, and forwards no more. */
  stop(): void {
    this.isStopped = true
    clearTimeout(this.timer)
    this.timer = undefined
    for (let held = this.heldBack.shift(); held !== undefined; held = this.heldBack.shift()) held.pending.release()
  }

  private encode(message: Message, isV5: boolean): Frame | undefined {
    try {
      return message.frame(isV5, message.qos, message.retain)
    } catch (error) {
      if (!(error instanceof MqttError)) throw error
      // A 3.1.1 packet just below the largest size may be above it in the encoding of 5.0.
      this.metrics.drops.not_encodable.value += 1
      return undefined
    }
  }

  private forwardLoose(peer: Peer, frame: Frame, head: Buffer): boolean {
    // It was a member before this node was restarted, and has not said what it wants.
    if (peer.incarnation === 0) return false
    if (peer.isLive && peer.exchange.offerLoose(frame, head)) {
      peer.counters.messagesForwarded += 1
      return true
    }
    this.metrics.drops[peer.isLive ? 'qos0_buffer_full' : 'peer_down'].value += 1
    return false
  }

  private forwardKept(peer: Peer, frame: Frame, pending: PendingPublish | undefined, head: Buffer): boolean {
    if (peer.state === 'left') {
      this.metrics.drops.peer_left.value += 1
      return false
    }
    const { hints } = peer.exchange.kept
    // In the store: for a peer that is down, and where the QoS 2 id of the publisher is kept, so that neither is without the other.
    if (hints !== undefined && (hints.isShelving || pending?.isRemembered === true)) {
      return this.forwardStored(peer, hints, frame, pending, head)
    }
    // For a peer that is down the message is kept as a hint, and its publisher does not wait.
    const waiting = peer.isLive ? pending : undefined
    waiting?.hold()
    if (peer.exchange.offerKept(frame, waiting, head)) {
      peer.counters.messagesForwarded += 1
      return true
    }
    this.metrics.drops.link_buffer_full.value += 1
    if (waiting !== undefined) this.holdBack(waiting)
    return false
  }

  private forwardStored(
    peer: Peer,
    hints: HintQueue,
    frame: Frame,
    pending: PendingPublish | undefined,
    head: Buffer,
  ): boolean {
    if (hints.offer(frame, head, pending)) {
      peer.counters.messagesForwarded += 1
      return true
    }
    this.metrics.drops.handoff_full.value += 1
    if (pending !== undefined) this.holdBackFor(pending)
    return false
  }

  private holdBackFor(pending: PendingPublish): void {
    pending.hold()
    this.holdBack(pending)
  }

  private holdBack(pending: PendingPublish): void {
    if (!this.heldBack.push({ pending, releaseAt: performance.now() + FULL_HOLD_MS })) {
      pending.release()
      return
    }
    this.timer ??= setTimeout(this.onTimeout, FULL_HOLD_MS)
  }

  private readonly onTimeout = (): void => {
    this.timer = undefined
    const now = performance.now()
    for (let held = this.heldBack.peek(); held !== undefined; held = this.heldBack.peek()) {
      if (held.releaseAt > now) {
        this.timer = setTimeout(this.onTimeout, held.releaseAt - now)
        return
      }
      this.heldBack.shift()
      held.pending.release()
    }
  }
}

/** Without properties nothing is lost in a packet of MQTT 3.1.1; one of MQTT 5 that is there already is not made anew. */
function isShortAtHand(message: Message): boolean {
  return message.properties === undefined && !message.hasFrame(true, message.qos, message.retain)
}
