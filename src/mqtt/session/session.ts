/**
 * A Session is what a client ID owns beyond its socket: its subscriptions, what waits for its client (`Backlog`), how
 * that is sent (`Sender`), and the QoS 2 ids that the client has not released. It has no socket: while its client is
 * connected it sends through an Outlet, and while the client is away it queues.
 *
 * A session is `attached` (has an outlet), `detached` (its client may come back until it expires) or `ended`.
 */

import type { Message } from '../wire/message.js'
import type { QoS, SubscriptionOptions } from '../wire/packets.js'
import type { Hold, Keeping } from './back-pressure.js'
import { Backlog } from './backlog.js'
import type { DeliveryOptions, SharedMessage } from './delivery.js'
import type { InFlight, RestoredInFlight } from './in-flight-window.js'
import { InboundQos2, type ReceivedQos2 } from './inbound-qos2.js'
import type { SessionJournal } from './journal.js'
import type { QueuedMessage } from './message-queue.js'
import type { DeliveryGate, SessionDescription } from './moving.js'
import type { Outlet } from './outlet.js'
import { Sender, type SendingSession } from './sender.js'
import type { SessionModules, SessionOptions } from './session-options.js'

export type { Hold, Keeping } from './back-pressure.js'
export type { DeliveryOptions, Share, SharedMessage } from './delivery.js'
export type { ReceivedQos2 } from './inbound-qos2.js'
export type { SessionJournal } from './journal.js'
export type { DeliveryGate } from './moving.js'
export type { Outlet } from './outlet.js'
export type { SessionModules, SessionOptions } from './session-options.js'

/** The Session Expiry Interval that means "never". [MQTT 5.0 section 3.1.2.11.2] */
export const NEVER_EXPIRES = 0xffff_ffff

export class Session implements SendingSession {
  readonly clientId: string
  /** Seconds the session outlives its connection; 0 ends with it, NEVER_EXPIRES stays. */
  expiryInterval: number
  isEnded = false
  /** Set while the session moves from or to another node. */
  gate: DeliveryGate | undefined
  /** Of its queue what is kept up to this place was sent to another node in a move, be it that it came to nothing. */
  givenUpTo = 0
  private topicFilters: Map<string, SubscriptionOptions> | undefined
  private received: InboundQos2<ReceivedQos2> | undefined
  private readonly backlog: Backlog
  private readonly sender: Sender

  constructor(clientId: string, expiryInterval: number, options: SessionOptions, modules: SessionModules) {
    this.clientId = clientId
    this.expiryInterval = expiryInterval
    this.backlog = new Backlog(clientId, options, modules)
    this.sender = new Sender(this, this.backlog, options, modules)
  }

  /** It is kept on disk, or will be once all of it is here. */
  get isKept(): boolean {
    return this.backlog.durability?.isKept === true
  }

  get isAttached(): boolean {
    return this.sender.outlet !== undefined
  }

  /** It is behind: QoS 0 would be dropped, or the queue is half full; at three quarters it would hold publishers back. */
  get isBusy(): boolean {
    return this.sender.outlet?.isFull === true || this.backlog.queue?.isEased === false
  }

  get queueLength(): number {
    return this.backlog.queueLength
  }

  get queueBytes(): number {
    return this.backlog.queueBytes
  }

  get inFlightCount(): number {
    return this.backlog.inFlightCount
  }

  // ── its client comes and goes ────────────────────────────────────────────────────────────────────────────────

  /** The client is here: what was in flight is sent again in its order, then the queue. [MQTT-4.4.0-1] */
  attach(outlet: Outlet): void {
    this.sender.attach(outlet)
  }

  /** The client is gone; the session waits for it. */
  detach(): void {
    this.sender.outlet = undefined
    this.backlog.inFlight?.rewind()
  }

  /** The session is over: what still waited is counted as dropped, publishers held back by it go on. */
  end(): void {
    this.isEnded = true
    this.sender.outlet = undefined
    this.gate = undefined
    this.received = undefined
    this.backlog.end()
  }

  // ── subscriptions ────────────────────────────────────────────────────────────────────────────────────────────

  get subscriptions(): ReadonlyMap<string, SubscriptionOptions> {
    this.topicFilters ??= new Map()
    return this.topicFilters
  }

  get subscriptionCount(): number {
    return this.topicFilters === undefined ? 0 : this.topicFilters.size
  }

  addSubscription(filter: string, options: SubscriptionOptions): void {
    this.topicFilters ??= new Map()
    this.topicFilters.set(filter, options)
    this.backlog.journal?.subscriptionsChanged()
  }

  removeSubscription(filter: string): boolean {
    this.backlog.retainedFeeds?.delete(filter)
    this.backlog.journal?.subscriptionsChanged()
    return this.topicFilters?.delete(filter) ?? false
  }

  // ── messages for the client ──────────────────────────────────────────────────────────────────────────────────

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
    if (this.gate !== undefined && delivery.share === undefined && !this.gate.admits(message, delivery, pending)) return
    const qos = Math.min(message.qos, delivery.qos) as QoS // [MQTT-3.8.4-8]
    const retain = message.retain && delivery.retainAsPublished // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
    if (qos === 0) this.sender.sendQos0(message, retain, delivery.subscriptionIds, false)
    else this.sender.sendOrQueue(message, qos, retain, delivery.subscriptionIds, delivery.share, pending, false)
  }

  /**
   * Retained messages for a new subscription: like `deliver`, with the RETAIN flag set [MQTT-3.3.1-8]. They are taken
   * from the iterator as fast as the client takes them, so a filter that matches a million costs no memory; one that
   * is subscribed again begins anew. The iterator gives undefined where it has searched for a while without a find.
   */
  feedRetained(filter: string, messages: Iterator<Message | undefined>, delivery: DeliveryOptions): void {
    if (this.isEnded) return
    this.backlog.feed(filter, { messages, delivery })
    this.pump()
  }

  /** Sends what may be sent. */
  pump(): void {
    this.sender.pump()
  }

  /** PUBACK: the packet id is free, the next message may go. Undefined when no QoS 1 message has it. [MQTT-4.3.2-3] */
  acknowledge(packetId: number): InFlight | undefined {
    return this.sender.acknowledge(packetId)
  }

  /** PUBREC: answers with PUBREL, or with a failure code ends the exchange. False when no QoS 2 message has the id. */
  markReceived(packetId: number, reasonCode: number): boolean {
    return this.sender.markReceived(packetId, reasonCode)
  }

  /** PUBCOMP: as PUBACK, for a QoS 2 message whose PUBREC has come. [MQTT-4.3.3-3] [MQTT-4.3.3-5] */
  complete(packetId: number): InFlight | undefined {
    return this.sender.complete(packetId)
  }

  /** What waits in the queue is looked at once more: `review` may change or withhold (undefined) each message. */
  reviewQueue(review: (message: Message) => Message | undefined): void {
    this.backlog.reviewQueue(review)
  }

  /**
   * Takes out the messages that came by a shared subscription and that another member may get, oldest first: those
   * that wait, and of those in flight the ones of QoS 1. One of QoS 2 that was sent stays. [MQTT-4.8.2-4], [MQTT-4.8.2-5]
   */
  takeShared(mayLeave: (group: object) => boolean): SharedMessage[] {
    return this.backlog.takeShared(mayLeave)
  }

  // ── messages of the client ───────────────────────────────────────────────────────────────────────────────────

  /** QoS 2 ids that the client has not released yet. */
  get inboundQos2(): InboundQos2<ReceivedQos2> {
    this.received ??= new InboundQos2()
    return this.received
  }

  get inboundQos2Count(): number {
    return this.received === undefined ? 0 : this.received.size
  }

  /** The client has published a QoS 2 message. @param received is held until a session that is kept knows of it */
  addReceived(packetId: number, received: ReceivedQos2 & Keeping): void {
    this.inboundQos2.add(packetId, received)
    this.backlog.journal?.changed(received)
  }

  /** PUBREL: false when PUBCOMP is to follow at once, since the session is not kept. */
  completeWhenKept(packetId: number, reasonCode: number): boolean {
    return this.backlog.durability?.completeWhenKept(packetId, reasonCode) === true
  }

  // ── moving between nodes ─────────────────────────────────────────────────────────────────────────────────────

  get isArriving(): boolean {
    return this.backlog.isArriving
  }

  /** What a node that takes the session over has to know, or the disk, apart from queue and subscriptions. */
  describe(): SessionDescription {
    const { backlog } = this
    return {
      expiryInterval: this.expiryInterval,
      lastPacketId: backlog.inFlight?.packetIds.last ?? 0,
      inFlight: backlog.inFlight?.values() ?? [],
      received: this.received?.entries() ?? [],
      retainedFeeds: backlog.retainedFeeds?.filters() ?? [],
      firstPlace: backlog.queue?.places?.peek(),
    }
  }

  /** A packet's message, wherever it is; undefined when it is not needed any more. */
  messageOf(packet: { readonly message: Message | undefined; readonly place: number }): Message | undefined {
    return this.backlog.messageOf(packet)
  }

  /** A message of the queue, counted from its front; it stays there. */
  queuedAt(place: number): QueuedMessage | undefined {
    return this.backlog.queue?.at(place)
  }

  /** From now on `addMoved` fills the queue, and what is delivered meanwhile waits behind it. */
  beginArrival(): void {
    this.backlog.ownQueue().beginArrival()
  }

  /** What was in flight on the node that the session comes from, or when this node ended. */
  restoreInFlight(entries: Iterable<RestoredInFlight>, lastPacketId: number): void {
    this.backlog.restoreInFlight(entries, lastPacketId)
  }

  /** A message of the queue of the node that the session comes from. */
  addMoved(item: Omit<QueuedMessage, 'place'>): void {
    if (!this.isEnded) this.backlog.addMoved(item)
  }

  /** All that was queued before is here: what came meanwhile follows it. */
  endArrival(): void {
    this.backlog.queue?.endArrival()
    this.pump()
  }

  /** The session goes on elsewhere: nothing of it is lost with what is here. */
  endMoved(): void {
    this.backlog.endMoved()
    this.end()
  }

  // ── kept on disk ─────────────────────────────────────────────────────────────────────────────────────────────

  /** It will be kept, but not before all of it is here: until then its publishers wait. Called before anything comes. */
  awaitJournal(): void {
    this.backlog.awaitJournal()
  }

  /** From now on, with all that it has, it is kept. Not to be called while it arrives. */
  keepIn(journal: SessionJournal): void {
    this.backlog.keepIn(journal)
    journal.subscriptionsChanged()
  }

  /** It is kept already, and gets what it had from its disk. */
  restoreFrom(journal: SessionJournal): void {
    this.backlog.restoreFrom(journal)
  }

  /** A message of its queue is on the disk. False when there is no room for it. @param bytes as `messageBytes` counts */
  restoreQueued(place: number, bytes: number, isShared: boolean): boolean {
    return this.backlog.restoreQueued(place, bytes, isShared)
  }

  /** Publishers that wait for the session to be kept: it is, or never will be. */
  letAwaitingGo(): void {
    this.backlog.durability?.letAwaitingGo()
  }

  /** A commit reads the session now: what waits for it may go out when it is done. */
  coverForCommit(): void {
    this.backlog.durability?.coverForCommit()
  }

  /** That commit is done. */
  committed(): void {
    this.sender.committed()
  }
}
