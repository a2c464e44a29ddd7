/**
 * Everything that goes between this node and one incarnation of a peer, whatever links carry it: forwarded messages in
 * both directions, routes in both directions, entries of replicated maps. It outlives links and knows where to go on
 * when the next one is up; it ends with the incarnation.
 */

import type { NodeId, PendingPublish } from '../broker/ports.js'
import type { Frame } from '../mqtt/wire/message.js'
import type { GroupRoutes } from '../router/group-routes.js'
import type { RouteTable } from '../router/route-table.js'
import type { Counter } from '../telemetry/registry.js'
import type { TurnQueue, TurnTask } from '../util/turn.js'
import { Custody } from './custody.js'
import { CustodyLedger, type CustodyLedgerModules } from './custody-ledger.js'
import { speaks } from './features.js'
import { HintQueue } from './hint-queue.js'
import type { Hints } from './hints.js'
import type { InboundLane } from './inbound-lane.js'
import { InboundMessages, type InboundModules } from './inbound-messages.js'
import { KeptLane } from './kept-lane.js'
import type { Link } from './link.js'
import { LooseLane } from './loose-lane.js'
import { MapFeeds } from './map-feeds.js'
import type { BatchSizes } from './metrics.js'
import type { ReplicatedMap } from './replicated-map.js'
import type { RouteLog } from './route-log.js'
import { RouteMirror, RoutePublisher } from './route-sync.js'
import { encodeMark, type LinkBody, type LinkBodyOf, type Open, type TakeoverMark } from './wire.js'

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

export interface ExchangeModules extends InboundModules, CustodyLedgerModules {
  turns: TurnQueue
  routeLog: RouteLog
  routes: RouteTable
  groupRoutes: GroupRoutes
  maps: ReadonlyMap<string, ReplicatedMap>
  /** What peers are owed in the store; undefined without one. */
  hints: Hints | undefined
  batchSizes: BatchSizes
  /** QoS 0 messages of which a broken link had taken a part only. */
  looseCut: Counter
  /** The peer has confirmed more routes, or its part in confirming has changed. */
  onRoutesConfirmed: () => void
}

export class Exchange implements TurnTask {
  isQueued = false
  /** The peer takes messages in the form of MQTT 3.1.1. */
  takesShortEntries = false
  readonly kept: KeptLane
  readonly loose: LooseLane
  /** Messages for members of the peer, until they are settled. */
  readonly custody: Custody
  readonly publisher: RoutePublisher
  readonly mirror: RouteMirror
  private readonly ledger: CustodyLedger
  private readonly incoming: InboundMessages
  private readonly feeds: MapFeeds
  private link: Link | undefined

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
    this.custody = former?.custody ?? new Custody(options.linkBuffer, modules.counters, this.kept)
    this.ledger = new CustodyLedger(peer, this.custody, modules, () => this.wake())
    this.incoming = new InboundMessages(peer, modules, this.ledger.receipts, () => modules.turns.add(this))
    this.publisher = new RoutePublisher(modules.routeLog, modules.counters)
    this.mirror = new RouteMirror(peer, modules.routes, modules.counters, modules.groupRoutes)
    this.feeds = new MapFeeds(modules.maps)
  }

  /** Messages of QoS 1 and 2 that come. */
  get inbound(): InboundLane {
    return this.incoming.lane
  }

  /** The peer is known: it lives in this incarnation. Before any link of it is opened. */
  begin(incarnation: number): void {
    this.kept.begin(incarnation)
    this.incoming.begin(incarnation)
  }

  /** Keys of replicated maps that the peer is still to be told. */
  get mapKeys(): number {
    return this.feeds.keys
  }

  /** True once this node had all that the peer had when the link opened: its routes, and what is in replicated maps. */
  get isSynced(): boolean {
    return this.mirror.isSynced && this.feeds.isWhole
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
    this.ledger.open(link)
    this.mirror.open()
    this.publisher.open(open.routeVersion)
    this.feeds.open()
    this.wake()
  }

  /** What comes on this link is read from where the peer goes on. */
  listen(link: Link, open: Open): void {
    this.takesShortEntries = speaks(link.protocol, 'shortEntries')
    this.incoming.listen(link.protocol, open)
  }

  /** No link is up any more. */
  suspend(): void {
    this.link = undefined
    this.publisher.close()
    this.mirror.close()
    this.feeds.close()
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
    this.ledger.disown(this.kept.hints?.stored.entries() ?? [])
    this.kept.disown()
  }

  mapWritten(map: ReplicatedMap, key: string): void {
    this.feeds.written(map, key)
    this.wake()
  }

  /** Time to compare digests, of routes and of maps. */
  check(): void {
    this.publisher.check()
    this.feeds.check()
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
        this.incoming.takeLoose(body.value)
        return
      case 'batch':
        this.incoming.takeKept(body.value)
        return
      case 'batchAck':
        this.kept.acknowledge(body.value.sequence)
        this.kept.acknowledgeSelected(body.value.selected)
        return
      case 'groupReceipts':
        this.ledger.take(body.value)
        break
      case 'groupReceiptsAck':
        this.ledger.receipts.confirm(body.value.count)
        return
      case 'groupRecall':
        this.ledger.receipts.recall(body.value.receipts)
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
      case 'mapCheck':
        this.feeds.takeCheck(body.value)
        break
      case 'mapEntries':
        this.feeds.takeEntries(body.value)
        return
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
    this.ledger.send(link)
    const ack = this.inbound.takeAck()
    if (ack !== undefined) link.send({ $case: 'batchAck', value: ack })
    this.ledger.sendConfirmation(link)
    // One message of routes and maps per turn: a snapshot neither blocks the event loop nor holds up messages.
    let hasMore = this.sendNext(link, this.mirror.next())
    hasMore = this.sendNext(link, this.publisher.next()) || hasMore
    hasMore = this.feeds.send(link) || hasMore
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
    this.ledger.passOn()
  }

  /**
   * Members of shared subscriptions elsewhere get what those of the peer have not settled.
   * @param isLast the peer does not come back
   */
  rescue(isLast: boolean): void {
    this.ledger.rescue(isLast)
  }

  private sendNext(link: Link, body: LinkBody | undefined): boolean {
    if (body === undefined) return false
    link.send(body)
    return true
  }

  private sendBatch(link: Link, body: LinkBodyOf<'batch' | 'looseBatch'>): void {
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

  private takeRouteCheck(check: LinkBodyOf<'routeCheck'>['value']): void {
    const before = this.modules.counters.resyncs
    const hadTold = this.mirror.hasTold
    this.mirror.takeCheck(check)
    if (this.mirror.hasTold !== hadTold) this.modules.directory.routesTaken(this.peer)
    if (this.modules.counters.resyncs === before) return
    this.modules.log.warn({ peer: this.peer, version: check.version }, 'routes differ from the peer, asking for them')
  }
}
