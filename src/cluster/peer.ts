/**
 * Another node as seen from here: who it is, whether it lives, and the one link to it.
 *
 * States: `joining` (known, not yet reached) → `up` ⇄ `suspect` (silent for a while, or it says that it does not hear this
 * node) → `down` (silent too long, or never reached); `left` when it said so. From `down` and `left` it comes back to `up` with a link.
 *
 * When both nodes dial, two links may exist for a moment: the one dialed by the node with the smaller name is kept.
 * The other is ended by a Farewell from each side, and only then the kept one is opened, so nothing is lost or overtaken.
 */

import type { Logger } from 'pino'
import type { NodeId } from '../router/route-table.js'
import type { Reach } from '../router/shared-group.js'
import { asError, NodeError } from '../util/errors.js'
import type { Exchange } from './exchange.js'
import { assertSpoken, type FEATURES, speaks } from './features.js'
import { Flapping } from './flapping.js'
import type { GiveUpReason, Handoff } from './handoff.js'
import type { BeatStatus, HeardBeat } from './heartbeat.js'
import type { Link, LinkOwner } from './link.js'
import type { PeerCounters, PeerMetrics, PeerStateName } from './metrics.js'
import type { LinkState, NodeState, NodeStatus } from './status.js'
import { readView, type SeenPeer } from './views.js'
import {
  FAREWELL_REASONS,
  type FarewellReasonValue,
  type LinkBody,
  type Member,
  type Open,
  SIGHT_STATES,
  type SightStateValue,
} from './wire.js'

/** Durations in milliseconds. */
export interface PeerOptions {
  heartbeatInterval: number
  suspectAfter: number
  downAfter: number
}

export interface PeerModules {
  /** Name of this node. */
  self: NodeId
  /** @param former of the incarnation before, when the peer has not lost what it had */
  createExchange: (former?: Exchange) => Exchange
  counters: PeerCounters
  handoff: Handoff
  log: Logger
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

/** Addresses kept of one peer: the one it advertises, and those where it was found. */
const MAXIMUM_ADDRESSES = 4

export class Peer implements LinkOwner, PeerMetrics, SeenPeer {
  readonly counters: PeerCounters
  /** 0 until it was reached. */
  incarnation = 0
  private addresses: string[] = []
  private software = ''
  private current: PeerStateName = 'joining'
  private changedAt = 0
  private stoppedReason: 'left' | 'down' | 'unreachable' | undefined
  private status: BeatStatus | undefined
  private statusAt = 0
  private heardAt = performance.now()
  /** It is heard, and says that it does not hear this node: what comes from it is no sign of a link then. */
  private isDeaf = false
  private sights: ReadonlyMap<NodeId, SightStateValue> | undefined
  readonly flapping = new Flapping()
  private link: Link | undefined
  /** Chosen to take the place of `link` once that has ended. */
  private nextLink: Link | undefined
  private wasReplaced = false
  private departed = false
  private ownExchange: Exchange
  /** Its sessions outlive its restarts, so what it is owed does, too. */
  private isDurable = false

  constructor(
    readonly name: NodeId,
    private readonly options: PeerOptions,
    private readonly modules: PeerModules,
  ) {
    this.counters = modules.counters
    this.ownExchange = modules.createExchange()
  }

  get state(): PeerStateName {
    return this.current
  }

  /** When it stopped, as `performance.now` tells; Infinity while it has not. */
  get stoppedAt(): number {
    return this.isLive ? Infinity : this.changedAt
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

  /** It keeps its sessions, and has not said in this life of it what they want. */
  get isUntold(): boolean {
    return this.isDurable && this.current !== 'left' && !this.departed && !this.exchange.mirror.hasTold
  }

  /** It was a member in a life of this node before: what it wants is not known yet, so it is owed everything. */
  expect(address: string): void {
    if (this.incarnation !== 0) return
    if (address !== '') this.addAddress(address, true)
    this.isDurable = true
    this.exchange.mirror.expectAll()
    this.modules.handoff.begin(this)
  }

  get exchange(): Exchange {
    return this.ownExchange
  }

  /** True when it counts as a member that is or may be there. */
  get isLive(): boolean {
    return this.current === 'joining' || this.current === 'up' || this.current === 'suspect'
  }

  /** True while a link is up, being opened or being replaced: no other is needed. */
  get isLinked(): boolean {
    return this.link !== undefined
  }

  /** True when it lives, and what is sent to it goes out now. */
  get isReachable(): boolean {
    return this.current === 'up' && this.link?.state === 'up'
  }

  /** True when it lives and has a link, also one that takes the place of another just now: then it is told again. */
  get isInReach(): boolean {
    return this.current === 'up' && this.isLinked
  }

  /** Whether sessions may be handed to it. */
  get isHeir(): boolean {
    return this.isTaking && this.speaks('handover')
  }

  /** Whether it takes clients, as its last beat said. */
  get isTaking(): boolean {
    return this.status?.draining !== true
  }

  /** Whether the link to it is of a version that knows this. */
  speaks(feature: keyof typeof FEATURES): boolean {
    return this.link !== undefined && speaks(this.link.protocol, feature)
  }

  /** Whether its members of shared subscriptions are chosen. */
  get reach(): Reach {
    if (this.isReachable) return 'reachable'
    return this.isLive ? 'awaited' : 'lost'
  }

  /** True when the link is up, and what the peer had when it came up is all here: see `Exchange.isSynced`. */
  get isSynced(): boolean {
    return this.link?.state === 'up' && this.exchange.isSynced
  }

  /** The peer said that another link exists, and there is none. */
  get isDenied(): boolean {
    return this.wasReplaced && this.link === undefined
  }

  /** The address that the peer advertises; '' when only its name is known. */
  get address(): string {
    return this.addresses[0] ?? ''
  }

  get knownAddresses(): readonly string[] {
    return this.addresses
  }

  get rtt(): number | undefined {
    return this.link?.rtt
  }

  /** Nothing waits to go to it: no messages, no entries of replicated maps. */
  get isDrained(): boolean {
    const { kept, loose, mapKeys } = this.exchange
    return kept.isEmpty && loose.length === 0 && mapKeys === 0
  }

  /** Routes of it that are known here. */
  get routes(): number {
    return this.exchange.mirror.count
  }

  /** Routes that the peer last said it has. */
  get announcedRoutes(): number {
    return this.status?.routes ?? 0
  }

  /** Takes note of an address; the advertised one goes first. */
  addAddress(address: string, isAdvertised: boolean): void {
    const others = this.addresses.filter((known) => known !== address)
    this.addresses = isAdvertised ? [address, ...others] : [...others, address]
    if (this.addresses.length > MAXIMUM_ADDRESSES) this.addresses.length = MAXIMUM_ADDRESSES
  }

  removeAddress(address: string): void {
    this.addresses = this.addresses.filter((known) => known !== address)
  }

  /** A handshake has succeeded: opens the link, keeps it for later, or ends it. */
  takeLink(link: Link): void {
    const { incarnation, address, software, keepsSessions } = link.peer
    if (incarnation !== this.incarnation) this.beginIncarnation(incarnation, keepsSessions === true)
    this.software = software
    this.addAddress(address, true)
    const inUse = this.link
    if (inUse === undefined || inUse.state === 'closed') {
      this.open(link)
    } else if (!prefers(link, this.nextLink ?? inUse)) {
      link.farewell(this, FAREWELL_REASONS.REPLACED)
    } else {
      const passedOver = this.nextLink
      this.nextLink = link
      passedOver?.farewell(this, FAREWELL_REASONS.REPLACED)
      inUse.farewell(this, FAREWELL_REASONS.REPLACED)
    }
  }

  send(body: LinkBody): void {
    if (this.link?.state === 'up') this.link.send(body)
  }

  beat(status: BeatStatus): void {
    this.link?.beat(status)
  }

  /** Tells the peer that this node stops, or that it is no member any more. */
  sayFarewell(isMember = true): void {
    this.nextLink?.close(undefined)
    this.nextLink = undefined
    this.exchange.runTurn()
    const { link } = this
    if (link === undefined) return
    const departs = !isMember && speaks(link.protocol, 'departure')
    link.farewell(this, departs ? FAREWELL_REASONS.DEPARTED : FAREWELL_REASONS.LEAVING)
  }

  /** Ends the links at once, without a change of state. */
  disconnect(): void {
    this.nextLink?.close(undefined)
    this.nextLink = undefined
    this.link?.close(undefined)
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
    const { heartbeatInterval, suspectAfter, downAfter } = this.options
    const silence = now + nextLook - this.heardAt
    if (this.current === 'up' && silence >= suspectAfter) {
      this.moveTo('suspect', undefined)
    }
    // Without a link the next beat cannot come: no use in waiting for it.
    const limit = this.link === undefined ? Math.max(suspectAfter, downAfter - heartbeatInterval) : downAfter
    if (this.current === 'suspect' && silence >= limit) this.giveUp('down')
    else if (this.current === 'joining' && this.link?.state !== 'up' && silence >= downAfter) this.giveUp('unreachable')
  }

  /**
   * Looks at the data connection. One that is stuck is given up for a new one, as soon as that may be dialed.
   * @param now of `performance.now`
   * @param nextLook milliseconds until the next look
   */
  checkData(now: number, nextLook: number): void {
    const { link } = this
    if (link?.lookAtData(now, 2 * nextLook) !== true || this.flapping.pause(now) > 0) return
    this.counters.linksStuck += 1
    this.modules.log.warn({ peer: this.name, incarnation: this.incarnation }, 'link is stuck, dialing anew')
    link.close(new NodeError('data stands still while heartbeats come', { code: 'LINK_STUCK' }))
  }

  /** This node itself was paused: the silence of that time is not the peer's. */
  forgive(milliseconds: number): void {
    this.heardAt += milliseconds
  }

  describe(now: number): NodeStatus {
    const { status } = this
    const isRunning = this.current === 'up' || this.current === 'suspect'
    const rtt = this.rtt
    return {
      name: this.name,
      state: STATUS_STATES[this.current],
      link: this.describeLink(),
      version: this.software,
      incarnation: this.incarnation,
      uptime: isRunning && status !== undefined ? Math.floor(status.uptime + (now - this.statusAt) / 1000) : 0,
      connections: isRunning ? (status?.connections ?? 0) : 0,
      routes: this.routes,
      rtt: rtt === undefined ? null : Math.round(rtt * 1000) / 1000,
      address: this.address,
      ...(this.link === undefined ? {} : { protocol: this.link.protocol }),
      ...(isRunning && !this.isTaking ? { draining: true } : {}),
      ...(this.stoppedReason === undefined ? {} : { reason: this.stoppedReason }),
    }
  }

  onLinkUp(link: Link, open: Open): void {
    if (link !== this.link) return
    const isNews = this.current !== 'up' && this.current !== 'suspect'
    this.isDeaf = false
    this.sights = undefined
    this.hear()
    this.wasReplaced = false
    this.counters.linksOpened += 1
    this.flapping.note(performance.now())
    this.modules.handoff.cancel()
    const resent = this.exchange.kept.length
    this.exchange.resume(link, open)
    const { peer, dialer } = link
    this.modules.log.info(
      {
        peer: this.name,
        incarnation: this.incarnation,
        address: peer.address,
        version: peer.software,
        protocol: link.protocol,
        dialer,
        resent,
      },
      'link up',
    )
    this.moveTo('up', undefined)
    this.modules.onUp(this, isNews)
  }

  onLinkHeard(link: Link, open: Open): void {
    if (link === this.link) this.exchange.listen(link, open)
  }

  onLinkMessage(link: Link, body: LinkBody): void {
    if (link !== this.link) return
    this.hear()
    try {
      assertSpoken(link.protocol, body)
      if (body.$case === 'members') this.modules.onMembers(body.value.members)
      else this.exchange.receive(body)
    } catch (error) {
      this.counters.protocolErrors += 1
      this.modules.log.error(
        { peer: this.name, err: asError(error) },
        'link broken off after a message it should not carry',
      )
      link.close(asError(error))
    }
  }

  onLinkDrain(link: Link): void {
    if (link === this.link) this.exchange.runTurn()
  }

  onLinkFarewell(link: Link, reason: FarewellReasonValue): void {
    if (link !== this.link) return
    const departs = reason === FAREWELL_REASONS.DEPARTED
    if (departs && !speaks(link.protocol, 'departure')) this.counters.protocolErrors += 1
    if (departs) this.departed = true
    if (departs || reason === FAREWELL_REASONS.LEAVING) this.leave()
    else this.wasReplaced = true
  }

  onLinkClosed(link: Link, error: Error | undefined): void {
    if (link === this.nextLink) this.nextLink = undefined
    if (link !== this.link) return
    this.link = undefined
    this.exchange.suspend()
    const next = this.nextLink
    this.nextLink = undefined
    if (next !== undefined && next.state === 'waiting') {
      this.open(next)
      return
    }
    if (this.current === 'up') this.modules.log.info({ peer: this.name, err: error }, 'link lost')
    this.modules.onUnlinked(this)
  }

  onLinkBeat(link: Link, beat: HeardBeat, isFirst: boolean): void {
    if (link !== this.link) return
    this.status = beat
    this.statusAt = performance.now()
    if (beat.view !== undefined) this.sights = readView(beat.view)
    // Beats alone do not make a link: one that never opens is silent.
    if (link.state === 'up') this.weigh(beat)
    if (isFirst || this.isDeaf) this.modules.onBeatOwed(this)
  }

  /** A link is as silent as the worse of its directions. */
  private weigh({ unheard }: HeardBeat): void {
    this.isDeaf = this.sights?.get(this.modules.self) === SIGHT_STATES.SUSPECT
    if (this.isDeaf) this.heardAt = Math.min(this.heardAt, performance.now() - unheard)
    else this.hear()
  }

  private open(link: Link): void {
    this.link = link
    link.open(this, this.exchange.introduce())
  }

  private hear(): void {
    if (this.isDeaf) return
    this.heardAt = performance.now()
    if (this.current !== 'suspect' || this.link?.state !== 'up') return
    this.moveTo('up', undefined)
    this.modules.onBeatOwed(this)
  }

  private beginIncarnation(incarnation: number, isDurable: boolean): void {
    // The links of the old one belong to a process that is no more.
    const { link, nextLink } = this
    this.link = undefined
    this.nextLink = undefined
    link?.close(undefined)
    nextLink?.close(undefined)
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
    if (this.current === 'up' || this.current === 'suspect') this.moveTo('joining', undefined)
    this.exchange.begin(incarnation)
    this.incarnation = incarnation
    this.departed = false
    this.status = undefined
    this.hear()
  }

  private leave(): void {
    this.moveTo('left', 'left')
    this.abandon('peer_left')
  }

  private giveUp(reason: 'down' | 'unreachable'): void {
    this.moveTo('down', reason)
    const { link } = this
    this.nextLink?.close(undefined)
    this.nextLink = undefined
    this.modules.handoff.begin(this)
    link?.close(undefined)
  }

  private moveTo(next: PeerStateName, reason: 'left' | 'down' | 'unreachable' | undefined): void {
    const before = this.current
    this.stoppedReason = reason
    if (before === next) return
    this.current = next
    this.changedAt = performance.now()
    const fields = { peer: this.name, incarnation: this.incarnation, from: before, to: next, reason }
    if (next === 'suspect' || next === 'down') this.modules.log.warn(fields, 'peer state')
    else this.modules.log.info(fields, 'peer state')
    this.modules.onStateChange(this)
  }

  private describeLink(): LinkState {
    if (this.link?.state === 'up' || this.link?.state === 'closing') return 'up'
    return this.isLive ? 'connecting' : 'down'
  }
}

const STATUS_STATES: Record<PeerStateName, NodeState> = {
  joining: 'joining',
  up: 'running',
  suspect: 'suspect',
  down: 'stopped',
  left: 'stopped',
}

/** True when a new link takes the place of the one in use (or about to be). Both nodes come to the same answer. */
function prefers(link: Link, inUse: Link): boolean {
  if (inUse.state === 'closing' || inUse.state === 'closed' || link.sole) return true
  // A node that dials again has lost what it had, even if this side has not noticed yet.
  if (link.dialer === inUse.dialer) return true
  return link.dialer < inUse.dialer
}
