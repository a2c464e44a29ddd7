/**
 * Everything that goes between this node and one incarnation of a peer, whatever links carry it: forwarded messages in
 * both directions, routes in both directions, entries of replicated maps. It outlives links and knows where to go on
 * when the next one is up; it ends with the incarnation.
 */

import type { Logger } from 'pino'
import type { ForwardedSink, NodeId, PendingPublish } from '../broker/ports.js'
import type { Frame, Message } from '../mqtt/wire/message.js'
import type { GroupRoutes } from '../router/group-routes.js'
import type { GroupTargets } from '../router/group-targets.js'
import type { RouteTable } from '../router/route-table.js'
import type { Counter } from '../telemetry/registry.js'
import { asError } from '../util/errors.js'
import type { TurnQueue, TurnTask } from '../util/turn.js'
import { BatchAssembler, type BatchReader } from './batch.js'
import { Custody } from './custody.js'
import { type Addressee, markOf } from './entry-extension.js'
import { speaks } from './features.js'
import { HintQueue } from './hint-queue.js'
import type { Hints } from './hints.js'
import { InboundLane, type LanePosition, NO_POSITION } from './inbound-lane.js'
import { KeptLane } from './kept-lane.js'
import type { Link } from './link.js'
import { LooseLane } from './loose-lane.js'
import { MapFeed } from './map-feed.js'
import type { BatchSizes, PeerCounters } from './metrics.js'
import { Receipts } from './receipts.js'
import type { ReceivedPositions } from './received-positions.js'
import type { ReplicatedMap } from './replicated-map.js'
import type { RouteLog } from './route-log.js'
import { RouteMirror, RoutePublisher } from './route-sync.js'
import {
  asBuffer,
  type Batch,
  type BatchOrigin,
  decodeMark,
  encodeMark,
  type LinkBody,
  type Open,
  type TakeoverMark,
} from './wire.js'

export interface ExchangeOptions {
  batchBytes: number
  /** Bytes of QoS 1 and 2 messages that are kept for the peer, at most. */
  linkBuffer: number
  /** Bytes of QoS 0 messages that wait for the peer, at most. */
  qos0Buffer: number
  handoff: {
    /** Bytes of QoS 1 and 2 messages that are kept for the peer in the store, at most. */
    bytes: number
  }
}

export interface ExchangeModules {
  turns: TurnQueue
  routeLog: RouteLog
  routes: RouteTable
  groupRoutes: GroupRoutes
  sink: ForwardedSink
  reader: BatchReader
  maps: ReadonlyMap<string, ReplicatedMap>
  /** Incarnation of this node. */
  incarnation: () => number
  /** What peers are owed in the store; undefined without one. */
  hints: Hints | undefined
  /** How far this node has come in what peers send it. */
  positions: ReceivedPositions
  /** Whom everything concerns that is not of the exchange itself: the client directory, sessions that move. */
  directory: {
    receive(from: NodeId, body: LinkBody): void
    routesTaken(from: NodeId): void
    /** @param isOfThisLife whether the peer meant the session as this life of the node knows it */
    takePassedOn(
      from: NodeId,
      addressee: Addressee,
      message: Message,
      pending: PendingPublish | undefined,
      isOfThisLife: boolean,
    ): void
  }
  counters: PeerCounters
  batchSizes: BatchSizes
  /** QoS 0 messages of which a broken link had taken a part only. */
  looseCut: Counter
  /** The peer has confirmed more routes, or its part in confirming has changed. */
  onRoutesConfirmed: () => void
  log: Logger
}

export class Exchange implements TurnTask {
  isQueued = false
  /** The peer takes messages in the form of MQTT 3.1.1, and sends them. */
  takesShortEntries = false
  readonly kept: KeptLane
  readonly loose: LooseLane
  private inboundLane: InboundLane
  /** Incarnation of the peer. */
  private incarnation = 0
  /** Messages for members of the peer, until they are settled. */
  readonly custody: Custody
  /** What the peer has in its custody for members here. */
  private readonly receipts: Receipts
  /** Receipts of the peer that came on this link; those confirmed to it. */
  private receiptsTaken = 0
  private receiptsConfirmed = 0
  readonly publisher: RoutePublisher
  readonly mirror: RouteMirror
  private readonly looseAssembler = new BatchAssembler()
  private readonly feeds = new Map<string, MapFeed>()
  private link: Link | undefined
  private deliveredPending: PendingPublish | undefined
  /** What is delivered was made for other lives of the two nodes: it names groups that are others now. */
  private isFromOtherLife = false
  private isFromFormerSender = false

  /** @param former of the incarnation before, when the peer has not lost what it had: its lane goes on */
  constructor(
    private readonly peer: NodeId,
    options: ExchangeOptions,
    private readonly modules: ExchangeModules,
    former?: Pick<Exchange, 'kept' | 'custody'>,
  ) {
    const { batchBytes } = options
    this.kept = former?.kept ?? this.newLane(options)
    this.kept.onReady = () => this.wake()
    this.loose = new LooseLane({ batchBytes, limitBytes: options.qos0Buffer })
    this.inboundLane = this.newInboundLane(NO_POSITION)
    this.custody = former?.custody ?? new Custody(options.linkBuffer, modules.counters, this.kept)
    this.receipts = new Receipts(() => this.wake())
    this.publisher = new RoutePublisher(modules.routeLog, modules.counters)
    this.mirror = new RouteMirror(peer, modules.routes, modules.counters, modules.groupRoutes)
  }

  get inbound(): InboundLane {
    return this.inboundLane
  }

  /** The peer is known: it lives in this incarnation. Before any link of it is opened. */
  begin(incarnation: number): void {
    this.incarnation = incarnation
    this.kept.begin(incarnation)
    const positions = this.modules.positions.of(this.peer)
    this.inboundLane = positions.enter(incarnation, (position) => this.newInboundLane(position))
  }

  /** Keys of replicated maps that the peer is still to be told. */
  get mapKeys(): number {
    let keys = 0
    for (const feed of this.feeds.values()) keys += feed.length
    return keys
  }

  /** True once this node had all that the peer had when the link opened: its routes, and what is in replicated maps. */
  get isSynced(): boolean {
    if (!this.mirror.isSynced) return false
    for (const feed of this.feeds.values()) if (!feed.isWhole) return false
    return true
  }

  /** What this side says when a link opens. */
  introduce(): Open {
    return {
      routeVersion: this.mirror.version,
      receivedSequence: this.inbound.receivedSequence,
      keptSequence: this.inbound.keptSequence,
      firstSequence: this.kept.firstSequence,
      shelvedSequence: this.kept.shelvedSequence,
      hintsSince: this.kept.hints?.stored.since ?? 0,
    }
  }

  /** A link is up, and the peer has this much. */
  resume(link: Link, open: Open): void {
    this.link = link
    this.modules.looseCut.value += this.loose.resume()
    this.kept.resume(open.receivedSequence, open.keptSequence)
    this.listen(link, open)
    this.receiptsTaken = 0
    this.receiptsConfirmed = 0
    this.receipts.open()
    // Before any batch, which goes at the end of the turn.
    for (let receipts = this.custody.nextRecall(); receipts !== undefined; receipts = this.custody.nextRecall()) {
      link.send({ $case: 'groupRecall', value: { receipts } })
    }
    this.mirror.open()
    this.publisher.open(open.routeVersion)
    for (const map of this.modules.maps.values()) this.feed(map).open()
    this.wake()
  }

  /** What comes on this link is read from where the peer goes on. */
  listen(link: Link, open: Open): void {
    this.takesShortEntries = speaks(link.protocol, 'shortEntries')
    this.looseAssembler.clear()
    this.modules.positions.of(this.peer).openHints(open.hintsSince ?? 0)
    const missing = this.inbound.open(open.firstSequence, open.shelvedSequence)
    if (missing > 0) {
      this.modules.counters.missingBatches += missing
      this.modules.log.warn({ peer: this.peer, missing }, 'the peer could not keep all batches while the link was down')
    }
  }

  /** No link is up any more. */
  suspend(): void {
    this.link = undefined
    this.publisher.close()
    this.mirror.close()
    for (const feed of this.feeds.values()) feed.close()
  }

  /** Something may be there to send: it goes at the end of this turn. */
  wake(): void {
    if (this.link !== undefined) this.modules.turns.add(this)
  }

  /** Adds a QoS 0 message to the batch of this turn; false when the lane is full. */
  offerLoose(frame: Frame, head: Buffer): boolean {
    this.wake()
    return this.loose.offer(frame, head)
  }

  /** Puts a mark of a session that moves behind the QoS 1 and 2 messages until now. */
  mark(mark: TakeoverMark): void {
    this.wake()
    // Each mark of an adoption stands where it was made; of a move the first one counts.
    this.kept.mark(encodeMark(mark), mark.estate === undefined)
  }

  /** Adds a QoS 1 or 2 message; false when the lane is full. See `KeptLane.offer`. */
  offerKept(frame: Frame, pending: PendingPublish | undefined, head: Buffer): boolean {
    this.wake()
    return this.kept.offer(frame, pending, head)
  }

  /**
   * Adds a message that another peer was owed, or has owed: to the store first, so that it is there in one place or the other.
   * @param pending gets its release when the peer has it, or when it is in the store and the peer is down
   */
  owe(frame: Frame, head: Buffer, pending?: PendingPublish): boolean {
    this.wake()
    return this.kept.hints?.offer(frame, head, pending) === true || this.kept.offer(frame, pending, head)
  }

  /** What the peer is owed from the store is another node's to send now, and to give to members of groups. */
  disown(): void {
    const { reader, incarnation, log } = this.modules
    const assembler = new BatchAssembler()
    const settle = (_message: Message, targets: GroupTargets | undefined): void => {
      for (let index = 0; index < (targets?.count ?? 0); index += 1) {
        this.custody.settle(targets?.receipts[index] as number)
      }
    }
    try {
      for (const { entries, continued, incarnation: made } of this.kept.hints?.stored.entries() ?? []) {
        const whole = assembler.add(entries, continued)
        // Receipts of a life before say nothing.
        if (whole !== undefined && made === incarnation() && markOf(whole) === undefined) reader.read(whole, 0, settle)
      }
    } catch (error) {
      log.error({ peer: this.peer, err: asError(error) }, 'what a peer is owed is not readable')
    }
    this.kept.disown()
  }

  mapWritten(map: ReplicatedMap, key: string): void {
    this.feed(map).add(key)
    this.wake()
  }

  /** Time to compare digests, of routes and of maps. */
  check(): void {
    this.publisher.check()
    for (const feed of this.feeds.values()) feed.check()
    this.wake()
  }

  /** Compares the peer's routes here with its digest; false when the link goes before the peer has answered. */
  verifyRoutes(): Promise<boolean> {
    if (this.link === undefined) return Promise.resolve(false)
    const verified = new Promise<boolean>((resolve) => this.mirror.verify(resolve))
    this.wake()
    return verified
  }

  receive(body: LinkBody): void {
    switch (body.$case) {
      case 'looseBatch':
        return this.receiveLoose(body.value)
      case 'batch':
        this.countReceived(body.value)
        this.receiveKept(body.value)
        return
      case 'batchAck':
        this.kept.acknowledge(body.value.sequence)
        this.kept.acknowledgeSelected(body.value.selected)
        return
      case 'groupReceipts':
        for (const receipt of body.value.receipts) this.custody.settle(receipt)
        for (const receipt of body.value.kept) this.custody.noteKept(receipt)
        for (const receipt of body.value.unkept) this.custody.noteUnkept(receipt)
        this.receiptsTaken += body.value.receipts.length
        break
      case 'groupReceiptsAck':
        this.receipts.confirm(body.value.count)
        return
      case 'groupRecall':
        this.receipts.recall(body.value.receipts)
        return
      case 'routeDeltas':
        this.mirror.takeDeltas(body.value)
        this.modules.directory.routesTaken(this.peer)
        break
      case 'routeSnapshot':
        this.mirror.takeSnapshot(body.value)
        this.modules.directory.routesTaken(this.peer)
        break
      case 'routeCheck':
        this.takeRouteCheck(body.value)
        break
      case 'routeRequest':
        this.publisher.request(body.value)
        break
      case 'routeAck':
        this.publisher.confirm(body.value.version)
        this.modules.onRoutesConfirmed()
        return
      case 'mapCheck': {
        const map = this.modules.maps.get(body.value.map)
        if (map !== undefined) this.feed(map).takeCheck(body.value.buckets)
        break
      }
      case 'mapEntries': {
        const map = this.modules.maps.get(body.value.map)
        if (map !== undefined) for (const entry of body.value.entries) map.merge(entry)
        return
      }
      default:
        this.modules.directory.receive(this.peer, body)
        return
    }
    this.wake()
  }

  /** Sends what there is, as far as the link takes it; control first, then a fair share for each lane. */
  runTurn(): void {
    const { link } = this
    if (link === undefined || !link.isWritable) return
    // Before the acknowledgement of their batches: what is acknowledged and not settled is with members that end with this node.
    for (let receipts = this.receipts.next(); receipts !== undefined; receipts = this.receipts.next()) {
      link.send(receipts)
    }
    const ack = this.inbound.takeAck()
    if (ack !== undefined) link.send({ $case: 'batchAck', value: ack })
    if (this.receiptsTaken > this.receiptsConfirmed) {
      this.receiptsConfirmed = this.receiptsTaken
      link.send({ $case: 'groupReceiptsAck', value: { count: this.receiptsTaken } })
    }
    // One message of routes and maps per turn: a snapshot neither blocks the event loop nor holds up messages.
    let hasMore = this.sendNext(link, this.mirror.next())
    hasMore = this.sendNext(link, this.publisher.next()) || hasMore
    for (const feed of this.feeds.values()) hasMore = this.sendNext(link, feed.next()) || hasMore
    let isBusy = true
    while (isBusy && link.isWritable) {
      const kept = this.kept.next(true)
      if (kept !== undefined) this.sendBatch(link, kept)
      const loose = link.isWritable ? this.loose.next(true) : undefined
      if (loose !== undefined) this.sendBatch(link, loose)
      isBusy = kept !== undefined || loose !== undefined
    }
    if (hasMore) this.modules.turns.add(this)
  }

  /**
   * Nothing is owed to the peer any more: forgets its routes and what is kept for it, and answers whoever waits.
   * Returns how many QoS 1 and 2 messages the peer may not have got.
   */
  abandon(): number {
    this.mirror.clear()
    const lost = this.kept.settle()
    this.rescue(true)
    return lost
  }

  /** The peer has begun another incarnation, with all it had: routes stay until it has told its own. */
  passOn(): void {
    this.mirror.passOn()
    this.passOnCustody()
  }

  /** The peer has ended, and what it has kept goes on, with it or elsewhere. */
  passOnCustody(): void {
    this.custody.passOn((key, message) => this.modules.sink.placeAgain(key, message, true))
  }

  /**
   * Members of shared subscriptions elsewhere get what those of the peer have not settled.
   * @param isLast the peer does not come back
   */
  rescue(isLast: boolean): void {
    this.custody.rescue((key, message) => this.modules.sink.placeAgain(key, message, isLast), isLast)
  }

  private feed(map: ReplicatedMap): MapFeed {
    let feed = this.feeds.get(map.name)
    if (feed === undefined) {
      feed = new MapFeed(map)
      this.feeds.set(map.name, feed)
      if (this.link !== undefined) feed.open()
    }
    return feed
  }

  private sendNext(link: Link, body: LinkBody | undefined): boolean {
    if (body === undefined) return false
    link.send(body)
    return true
  }

  private sendBatch(link: Link, body: Extract<LinkBody, { $case: 'batch' | 'looseBatch' }>): void {
    const { counters, batchSizes } = this.modules
    counters.batchesSent += 1
    counters.batchBytesSent += body.value.entries.length
    batchSizes.observe(body.value.entries.length)
    link.send(body)
  }

  private newLane({ batchBytes, linkBuffer, handoff }: ExchangeOptions): KeptLane {
    const { hints, incarnation } = this.modules
    const queue = hints && new HintQueue({ batchBytes, limitBytes: handoff.bytes }, hints.of(this.peer), incarnation)
    return new KeptLane({ batchBytes, limitBytes: linkBuffer }, undefined, queue)
  }

  private newInboundLane(position: LanePosition): InboundLane {
    const { positions, turns } = this.modules
    const lane: InboundLane = new InboundLane(
      {
        deliver: (entries, waitedMs, pending, origin) => this.deliver(entries, waitedMs, pending, origin),
        onAckOwed: () => turns.add(this),
        onKeeping: () => positions.changed(this.peer),
        findEarlier: (origin) => positions.of(this.peer).findEarlier(origin),
        onHintLost: (hint) => positions.of(this.peer).lose(hint),
      },
      position,
    )
    return lane
  }

  private receiveKept({ sequence, entries, continued, waited, origin, isQos1Only }: Batch): void {
    this.inboundLane.receive(sequence, asBuffer(entries), continued, waited, origin, isQos1Only !== true)
  }

  private receiveLoose(batch: Batch): void {
    this.countReceived(batch)
    const whole = this.looseAssembler.add(asBuffer(batch.entries), batch.continued)
    if (whole !== undefined) this.deliver(whole, batch.waited, undefined)
  }

  private countReceived(batch: Batch): void {
    this.modules.counters.batchesReceived += 1
    this.modules.counters.batchBytesReceived += batch.entries.length
  }

  private takeRouteCheck(check: Extract<LinkBody, { $case: 'routeCheck' }>['value']): void {
    const before = this.modules.counters.resyncs
    const hadTold = this.mirror.hasTold
    this.mirror.takeCheck(check)
    if (this.mirror.hasTold !== hadTold) this.modules.directory.routesTaken(this.peer)
    if (this.modules.counters.resyncs === before) return
    this.modules.log.warn({ peer: this.peer, version: check.version }, 'routes differ from the peer, asking for them')
  }

  /** A message that came over a link goes to the sessions of this node, and never to another link. */
  private deliver(entries: Buffer, waitedMs: number, pending: PendingPublish | undefined, origin?: BatchOrigin): void {
    this.deliveredPending = pending
    this.isFromOtherLife = origin !== undefined && !this.isOfThisLife(origin)
    this.isFromFormerSender =
      origin !== undefined && origin.incarnation !== 0 && origin.incarnation !== this.incarnation
    try {
      const mark = markOf(entries)
      if (mark === undefined) this.modules.reader.read(entries, waitedMs, this.onMessage, this.takesShortEntries)
      else this.takeMark(decodeMark(mark))
    } catch (error) {
      this.modules.counters.malformedBatches += 1
      this.modules.log.error({ peer: this.peer, err: asError(error) }, 'forwarded batch could not be delivered whole')
    }
    this.deliveredPending = undefined
  }

  /**
   * A mark stands for its move whatever lives it was made for: who makes it may have heard of the move before it has a link to
   * this life of this node, be it that it knows the one before or none. Moves of other lives have other numbers. An
   * adoption, though, has ended with the lives that it was between.
   */
  private takeMark(mark: TakeoverMark): void {
    if (this.isFromOtherLife && mark.estate !== undefined) return
    this.modules.directory.receive(this.peer, { $case: 'takeoverMark', value: mark })
  }

  private isOfThisLife({ incarnation, receiver }: BatchOrigin): boolean {
    return receiver === this.modules.incarnation() && (incarnation === 0 || incarnation === this.incarnation)
  }

  /** Groups as other lives knew them are found by their filters; what another life of the sender had in custody is there no more. */
  private translate(groups: GroupTargets): void {
    for (let index = 0; index < groups.count; index += 1) {
      groups.ids[index] = 0
      if (this.isFromFormerSender) groups.receipts[index] = 0
    }
  }

  private readonly onMessage = (message: Message, targets: GroupTargets | undefined): void => {
    this.modules.counters.messagesReceived += 1
    if (targets !== undefined && this.isFromOtherLife) this.translate(targets)
    try {
      const pending = message.qos === 0 ? undefined : this.deliveredPending
      const { estate, addressee } = this.modules.reader
      if (addressee !== undefined && estate === undefined)
        this.modules.directory.takePassedOn(this.peer, addressee, message, pending, !this.isFromOtherLife)
      else if (estate !== undefined) this.modules.sink.deliverInherited(message, this.peer, pending, estate)
      else this.modules.sink.deliverForwarded(message, this.peer, pending, targets, this.receipts)
    } catch (error) {
      // One message must not cost the others of its batch.
      this.modules.counters.failedDeliveries += 1
      this.modules.log.error({ peer: this.peer, err: asError(error) }, 'forwarded message could not be delivered')
    }
  }
}
