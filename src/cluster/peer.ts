/**
 * Another node as seen from here: who it is, whether it lives (`PeerState`), the links to it (`PeerLinks`), and what is between
 * this node and its present incarnation (`Exchange`).
 */

import type { Logger } from 'pino'
import type { NodeId } from '../router/route-table.js'
import type { Reach } from '../router/shared-group.js'
import type { Exchange } from './exchange.js'
import type { FEATURES } from './features.js'
import type { GiveUpReason, Handoff } from './handoff.js'
import type { BeatStatus, HeardBeat } from './heartbeat.js'
import type { Link } from './link.js'
import type { PeerCounters, PeerMetrics, PeerStateName } from './metrics.js'
import type { OwedPeer } from './owed-first.js'
import { PeerAddresses } from './peer-addresses.js'
import { type LinksListener, PeerLinks } from './peer-links.js'
import { PeerState, type StopReason } from './peer-state.js'
import { type DescribedPeer, describePeer, type LastBeat } from './peer-status.js'
import { Silence, type SilenceOptions } from './silence.js'
import type { NodeStatus } from './status.js'
import { readView, type SeenPeer } from './views.js'
import { type LinkBody, type Member, type Open, SIGHT_STATES, type SightStateValue } from './wire.js'

export type PeerOptions = SilenceOptions

export interface PeerModules {
  /** Name of this node. */
  self: NodeId
  /** @param former of the incarnation before, when the peer has not lost what it had */
  createExchange: (former?: Exchange) => Exchange
  counters: PeerCounters
  handoff: Handoff
  log: Logger
  /** This process has stood still, and may have been taken for dead. */
  isInDoubt: () => boolean
  /** A link came up; `isNews` when it is the first of this incarnation. */
  onUp: (peer: Peer, isNews: boolean) => void
  /** A beat to it cannot wait: its first one asks for the round trip, or one of the two doubts the other. */
  onBeatOwed: (peer: Peer) => void
  /** The link is gone and none takes its place. */
  onUnlinked: (peer: Peer) => void
  onMembers: (members: readonly Member[]) => void
  /** Nothing is owed to it any more, and nothing that it has sent is expected again: it has left, or was away too long. */
  onGivenUp: (peer: Peer) => void
  /** Who has to confirm routes may have changed. */
  onStateChange: (peer: Peer) => void
}

export class Peer implements LinksListener, PeerMetrics, SeenPeer, DescribedPeer, OwedPeer {
  readonly counters: PeerCounters
  /** 0 until it was reached. */
  incarnation = 0
  readonly addresses = new PeerAddresses()
  /** Version of ShoalMQ; '' until it was reached. */
  software = ''
  lastBeat: LastBeat | undefined
  private sights: ReadonlyMap<NodeId, SightStateValue> | undefined
  readonly links: PeerLinks
  private readonly life: PeerState
  private readonly silence: Silence
  private departed = false
  /** What it has not sent is on its disk, as it said when it stopped. */
  private stoppedOwing = false
  private ownExchange: Exchange
  /** Its sessions outlive its restarts, so what it is owed does, too. */
  private isDurable = false

  constructor(
    readonly name: NodeId,
    options: PeerOptions,
    private readonly modules: PeerModules,
  ) {
    const { counters, onMembers, isInDoubt, log } = modules
    this.counters = counters
    this.life = new PeerState(name, log)
    this.silence = new Silence(options)
    const exchange = (): Exchange => this.ownExchange
    this.links = new PeerLinks({ name, listener: this, exchange, onMembers, isInDoubt, counters, log })
    this.ownExchange = modules.createExchange()
  }

  get state(): PeerStateName {
    return this.life.name
  }

  /** True when it counts as a member that is or may be there. */
  get isLive(): boolean {
    return this.life.isLive
  }

  /** When it stopped, as `performance.now` tells; Infinity while it has not. */
  get stoppedAt(): number {
    return this.life.stoppedAt
  }

  get stoppedReason(): StopReason | undefined {
    return this.life.stoppedReason
  }

  get view(): ReadonlyMap<NodeId, SightStateValue> | undefined {
    return this.sights
  }

  /** True when it is no member any more, by its own word: not dialed, and soon forgotten. */
  get hasDeparted(): boolean {
    return this.departed
  }

  /** Its sessions are there again after a restart of it, as its last handshake said, or a life of this node before. */
  get keepsSessions(): boolean {
    return this.isDurable
  }

  /** It was a member when it was heard last, and may have something to send that it has kept until then. */
  get isDebtor(): boolean {
    if (this.incarnation === 0 && !this.isDurable) return false
    return this.state !== 'left' || (this.stoppedOwing && !this.departed)
  }

  /** Number of the first hint for it that it has not got, if that is not above `lastOwed`. */
  get firstOwed(): number {
    return this.exchange.kept.hints?.stored.first ?? 1
  }

  get lastOwed(): number {
    return this.exchange.kept.hints?.stored.last ?? 0
  }

  /** It keeps its sessions, and has not said in this life of it what they want. */
  get isUntold(): boolean {
    return this.isDurable && this.state !== 'left' && !this.departed && !this.exchange.mirror.hasTold
  }

  /** It was a member in a life of this node before: what it wants is not known yet, so it is owed everything. */
  expect(address: string): void {
    if (this.incarnation !== 0) return
    if (address !== '') this.addresses.add(address, true)
    this.isDurable = true
    this.exchange.mirror.expectAll()
    this.modules.handoff.begin(this)
  }

  get exchange(): Exchange {
    return this.ownExchange
  }

  /** The one in use. */
  get link(): Link | undefined {
    return this.links.current
  }

  /** True while a link is up, being opened or being replaced: no other is needed. */
  get isLinked(): boolean {
    return this.links.isLinked
  }

  /** True when it lives, and what is sent to it goes out now. */
  get isReachable(): boolean {
    return this.state === 'up' && this.links.isUp
  }

  /** True when it lives and has a link, also one that takes the place of another just now: then it is told again. */
  get isInReach(): boolean {
    return this.state === 'up' && this.links.isLinked
  }

  /** Whether sessions may be handed to it. */
  get isHeir(): boolean {
    return this.isTaking && this.speaks('handover')
  }

  /** Whether it takes clients, as its last beat said. */
  get isTaking(): boolean {
    return this.lastBeat?.status.draining !== true
  }

  /** Whether the link to it is of a version that knows this. */
  speaks(feature: keyof typeof FEATURES): boolean {
    return this.links.speaks(feature)
  }

  /** Whether its members of shared subscriptions are chosen. */
  get reach(): Reach {
    if (this.isReachable) return 'reachable'
    return this.isLive ? 'awaited' : 'lost'
  }

  /** True when the link is up, and what the peer had when it came up is all here: see `Exchange.isSynced`. */
  get isSynced(): boolean {
    return this.links.isUp && this.exchange.isSynced
  }

  /** The address that the peer advertises; '' when only its name is known. */
  get address(): string {
    return this.addresses.first
  }

  get rtt(): number | undefined {
    return this.links.current?.rtt
  }

  /** Nothing waits to go to it: no messages, no entries of replicated maps. */
  get isDrained(): boolean {
    const { kept, loose, mapKeys } = this.exchange
    return kept.isEmpty && loose.length === 0 && mapKeys === 0
  }

  /** What it has not got is on the disk here, or will be when this node ends. */
  get isOwedOnDisk(): boolean {
    const { kept } = this.exchange
    return this.isDurable && kept.hints !== undefined && !kept.isEmpty
  }

  /** Routes of it that are known here. */
  get routes(): number {
    return this.exchange.mirror.count
  }

  /** Routes that the peer last said it has. */
  get announcedRoutes(): number {
    return this.lastBeat?.status.routes ?? 0
  }

  /** A handshake has succeeded: opens the link, keeps it for later, or ends it. */
  takeLink(link: Link): void {
    const { incarnation, address, software, keepsSessions } = link.peer
    if (incarnation !== this.incarnation) this.beginIncarnation(incarnation, keepsSessions === true)
    this.software = software
    this.addresses.add(address, true)
    this.links.take(link)
  }

  /** Lost when no link to it is up. */
  send(body: LinkBody): void {
    this.links.send(body)
  }

  beat(status: BeatStatus): void {
    this.links.beat(status)
  }

  /** Tells the peer that this node stops, or that it is no member any more. */
  sayFarewell(isMember: boolean, isOwing: boolean): void {
    this.links.sayFarewell(isMember, isOwing)
  }

  /** Ends the links at once, without a change of state. */
  disconnect(): void {
    this.links.closeNext()
    this.links.close()
    this.modules.handoff.cancel()
  }

  /** The end of a peer that is forgotten, or of this node: answers whoever waits. */
  abandon(reason: GiveUpReason): void {
    this.modules.handoff.giveUp(this, reason)
    this.modules.onGivenUp(this)
  }

  /** The end of this node, which goes on owing: what can be kept for the next life is, and who waits is answered. */
  part(): void {
    this.modules.handoff.part(this)
  }

  /**
   * Looks at the silence.
   * @param now of `performance.now`
   * @param nextLook milliseconds until the next look: what would be late then is done now
   */
  checkSilence(now: number, nextLook: number): void {
    const at = now + nextLook
    if (this.state === 'up' && this.silence.isSuspicious(at)) this.moveTo('suspect')
    if (this.state === 'suspect' && this.silence.isTooLong(at, this.isLinked)) this.giveUp('down')
    else if (this.state === 'joining' && !this.links.isUp && this.silence.isTooLong(at, true)) {
      this.giveUp('unreachable')
    }
  }

  /** This node itself was paused: the silence of that time is not the peer's. */
  forgive(milliseconds: number): void {
    this.silence.forgive(milliseconds)
  }

  /** @param now of `performance.now` */
  describe(now: number): NodeStatus {
    return describePeer(this, now)
  }

  linkUp(link: Link, open: Open): void {
    const isNews = !this.life.isRunning
    this.silence.begin()
    this.sights = undefined
    this.hear()
    this.modules.handoff.cancel()
    const resent = this.exchange.kept.length
    this.exchange.resume(link, open)
    const { peer, dialer, protocol } = link
    this.modules.log.info(
      {
        peer: this.name,
        incarnation: this.incarnation,
        address: peer.address,
        version: peer.software,
        protocol,
        dialer,
        resent,
      },
      'link up',
    )
    this.moveTo('up')
    this.modules.onUp(this, isNews)
  }

  hear(): void {
    if (!this.silence.hear() || this.state !== 'suspect' || !this.links.isUp) return
    this.moveTo('up')
    this.modules.onBeatOwed(this)
  }

  farewellHeard(departs: boolean, isOwing: boolean): void {
    if (departs) this.departed = true
    this.stoppedOwing = isOwing
    this.moveTo('left', 'left')
    this.abandon('peer_left')
  }

  linkLost(error: Error | undefined): void {
    if (this.state === 'up') this.modules.log.info({ peer: this.name, err: error }, 'link lost')
    this.modules.onUnlinked(this)
  }

  beatHeard(link: Link, beat: HeardBeat, isFirst: boolean): void {
    this.lastBeat = { status: beat, at: performance.now() }
    if (beat.view !== undefined) this.sights = readView(beat.view)
    // Beats alone do not make a link: one that never opens is silent.
    if (link.state === 'up') {
      this.silence.weigh(this.sights?.get(this.modules.self) === SIGHT_STATES.SUSPECT, beat.unheard)
      this.hear()
    }
    if (isFirst || this.silence.isDeaf) this.modules.onBeatOwed(this)
  }

  private beginIncarnation(incarnation: number, isDurable: boolean): void {
    this.links.disown()
    const wasDurable = this.isDurable
    this.isDurable = isDurable
    this.exchange.suspend()
    if (wasDurable && isDurable) {
      const former = this.exchange
      this.modules.handoff.passOn(this)
      this.ownExchange = this.modules.createExchange(former)
    } else if (wasDurable || this.incarnation !== 0) {
      this.modules.handoff.giveUp(this, 'peer_restarted')
      this.ownExchange = this.modules.createExchange()
    }
    if (this.life.isRunning) this.moveTo('joining')
    this.exchange.begin(incarnation)
    this.incarnation = incarnation
    this.departed = false
    this.lastBeat = undefined
    this.hear()
  }

  private giveUp(reason: StopReason): void {
    this.moveTo('down', reason)
    this.links.closeNext()
    this.modules.handoff.begin(this)
    this.links.close()
  }

  private moveTo(next: PeerStateName, reason?: StopReason): void {
    if (this.life.moveTo(next, reason, this.incarnation)) this.modules.onStateChange(this)
  }
}
