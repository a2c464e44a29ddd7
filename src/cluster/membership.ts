/**
 * Who belongs to the cluster: the peers by name, how they are found (seeds, and what members tell each other), who is
 * let in, and who has fallen silent.
 */

import type { Logger } from 'pino'
import type { DiscoveryKind } from '../config/discovery-options.js'
import type { NodeId } from '../router/route-table.js'
import { asError } from '../util/errors.js'
import { type ConnectResult, Dialer, type DialOutcome } from './dialer.js'
import type { SeedSource } from './discovery/seed-source.js'
import { isAddress, type Refusal } from './handshake.js'
import type { BeatStatus } from './heartbeat.js'
import type { Link } from './link.js'
import type { Peer } from './peer.js'
import { Seeds } from './seeds.js'
import { type Identity, type Member, REFUSAL_CODES } from './wire.js'

/** More members than a full mesh is made for; further ones are refused, so that no mistake grows without end. */
const MAXIMUM_PEERS = 256

/** After a lost link the node with the smaller name dials first, so that two rarely dial at once. */
const FIRST_REDIAL_MS = 20
const SECOND_REDIAL_MS = 150

/** The other side must have given up its half of the old link before a sole one is asked for. */
const DENIED_REDIAL_MS = 300

/** A node that has left the cluster for good is shown for this long, so that an operator sees that it went. */
const DEPARTED_SHOWN_MS = 60_000

export interface MembershipOptions {
  heartbeatInterval: number
  discovery: DiscoveryKind
  /** Milliseconds for which a node that has stopped is shown, and dialed. */
  forgetAfter: number
}

export interface MembershipModules {
  /** Who this node is; its address is known once the port is bound. */
  self: () => Identity
  seeds: SeedSource
  createPeer: (name: NodeId, membership: Membership) => Peer
  /** Dials and shakes hands; gives the link to `admitLink`. `self` when the address is this node's own. */
  connect: (address: string, sole: boolean) => Promise<ConnectResult>
  describeSelf: () => BeatStatus
  log: Logger
}

export class Membership {
  private readonly table = new Map<NodeId, Peer>()
  private readonly dialers = new Map<NodeId, Dialer>()
  private readonly seeds: Seeds
  private tickTimer: NodeJS.Timeout | undefined
  private beatTimer: NodeJS.Timeout | undefined
  private tickedAt = 0
  private isStopping = false
  /** The node has left the cluster: it dials nobody and lets nobody in. */
  private apart = false
  private warnedDuplicate: number | undefined

  constructor(
    private readonly options: MembershipOptions,
    private readonly modules: MembershipModules,
  ) {
    this.seeds = new Seeds({
      self: modules.self,
      source: modules.seeds,
      peers: this.table,
      connect: (address) => this.connect(address, false),
      isJoining: () => !this.isStopping && !this.apart,
    })
  }

  /** Peers by name, those that have stopped too. */
  get peers(): ReadonlyMap<NodeId, Peer> {
    return this.table
  }

  /** True when the seeds have answered and every peer that is not known to have stopped is linked and in step. */
  get isComplete(): boolean {
    if (this.apart) return true
    if (!this.seeds.haveAnswered) return false
    // Nodes that start together may each find only itself in the first answers.
    if (this.options.discovery !== 'static' && this.table.size === 0) return false
    for (const peer of this.table.values()) if (peer.isLive && !peer.isSynced) return false
    return true
  }

  /** Seed addresses where nobody has answered yet. */
  get silentSeeds(): string[] {
    return this.seeds.silent
  }

  /** @param isApart true when the node left its cluster in a life before: it looks for nobody */
  start(isApart = false): void {
    this.apart = isApart
    const { heartbeatInterval } = this.options
    this.tickedAt = performance.now()
    this.tickTimer = setInterval(this.onTick, this.tickInterval)
    this.beatTimer = setInterval(this.onBeat, heartbeatInterval)
    if (!isApart) this.seeds.start()
  }

  /** Those that were members before this node was restarted: looked for, and owed what they may want. After `start`. */
  expect(members: Iterable<readonly [name: NodeId, address: string]>): void {
    for (const [name, address] of [...members]) {
      if (name !== this.modules.self().node) this.ensurePeer(name).expect(address)
    }
  }

  /** Some member from before the restart may be on its way: it is not known to be down, and has not been met. */
  get isExpecting(): boolean {
    for (const { incarnation, isLive, keepsSessions } of this.table.values()) {
      if (incarnation === 0 && isLive && keepsSessions) return true
    }
    return false
  }

  get isApart(): boolean {
    return this.apart
  }

  /** From now on nobody is dialed or let in; links stay until they are ended. */
  partCompany(): void {
    this.apart = true
    this.seeds.forgetAll()
  }

  /** After `partCompany`, when the links have ended: nobody else is known any more. */
  forgetAll(): void {
    for (const [name, peer] of this.table) {
      peer.disconnect()
      // It lives on, and so do its members: what they have is not for others.
      peer.exchange.custody.clear()
      peer.abandon('peer_left')
      this.dialers.get(name)?.stop()
    }
    this.table.clear()
    this.dialers.clear()
  }

  /** The end of being apart: the peers are looked for again. */
  rejoin(): void {
    if (!this.apart || this.isStopping) return
    this.apart = false
    this.seeds.start()
  }

  /** No more dialing, and nobody new is let in; links stay. */
  stopJoining(): void {
    this.isStopping = true
    this.seeds.stop()
    for (const dialer of this.dialers.values()) dialer.stop()
  }

  stop(): void {
    this.stopJoining()
    clearInterval(this.tickTimer)
    clearInterval(this.beatTimer)
    for (const peer of this.table.values()) peer.disconnect()
  }

  /** An operator names another node by its cluster address: it is dialed until it answers. */
  join(address: string): void {
    this.seeds.join(address)
  }

  /** Asked when a node has proved that it belongs to the cluster: is it welcome now? */
  admit(identity: Identity): Refusal | undefined {
    const self = this.modules.self()
    if (this.isStopping) return { code: REFUSAL_CODES.STOPPING, detail: 'the node is stopping' }
    if (this.apart) {
      const detail = 'the node has left the cluster, and joins again only when it is told to'
      return { code: REFUSAL_CODES.DEPARTED, detail }
    }
    if (identity.node === self.node) {
      return { code: REFUSAL_CODES.DUPLICATE_NAME, detail: `two live nodes have the name ${self.node}` }
    }
    const known = this.table.get(identity.node)
    if (known !== undefined && identity.incarnation < known.incarnation) {
      return {
        code: REFUSAL_CODES.STALE_INCARNATION,
        detail: `a newer incarnation of ${identity.node} is known: is the name used twice, or did its clock go back?`,
      }
    }
    if (known === undefined && this.table.size >= MAXIMUM_PEERS && !this.forgetOldest()) {
      return { code: REFUSAL_CODES.BUSY, detail: `the cluster has ${MAXIMUM_PEERS} other nodes already` }
    }
    return undefined
  }

  /** A handshake has succeeded. */
  admitLink(link: Link): void {
    if (this.isStopping || this.apart) {
      link.close(undefined)
      return
    }
    this.ensurePeer(link.peer.node).takeLink(link)
  }

  /** What members tell each other. */
  learn(members: readonly Member[]): void {
    if (this.apart) return
    for (const { node, address, incarnation } of members) {
      if (node === this.modules.self().node) {
        this.noticeNamesake(address, incarnation)
        continue
      }
      const isKnown = this.table.has(node)
      if (!isAddress(address) || (!isKnown && this.table.size >= MAXIMUM_PEERS)) continue
      const peer = this.ensurePeer(node)
      if (incarnation < peer.incarnation || peer.isLinked) continue
      peer.addresses.add(address, true)
      const dialer = this.dialers.get(node)
      dialer?.encourage()
      dialer?.dial(this.isFirst(node) ? 0 : SECOND_REDIAL_MS)
    }
  }

  /** Tells the peer of everyone, and everyone of the peer. */
  introduce(peer: Peer, isNews: boolean): void {
    const others: Member[] = []
    for (const other of this.table.values()) {
      if (other === peer || (other.state !== 'up' && other.state !== 'suspect')) continue
      others.push(memberOf(other))
      if (isNews) other.send({ $case: 'members', value: { members: [memberOf(peer)] } })
    }
    if (others.length > 0) peer.send({ $case: 'members', value: { members: others } })
    peer.beat(this.modules.describeSelf())
  }

  /** The link to a peer is gone. */
  redial(peer: Peer): void {
    if (this.isStopping || this.apart || peer.hasDeparted) return
    const first = this.isFirst(peer.name) ? FIRST_REDIAL_MS : SECOND_REDIAL_MS
    const pause = peer.links.flapping.pause(performance.now())
    this.dialers.get(peer.name)?.dial(Math.max(pause, peer.links.isDenied ? DENIED_REDIAL_MS : first))
  }

  /** Removes a peer that has stopped; false when it is not known or still there. */
  forget(name: NodeId): boolean {
    const peer = this.table.get(name)
    if (peer === undefined || peer.isLive || peer.isLinked) return false
    this.modules.log.info({ peer: name }, 'peer forgotten')
    peer.abandon('hint_expired')
    peer.disconnect()
    this.dialers.get(name)?.stop()
    this.dialers.delete(name)
    this.table.delete(name)
    return true
  }

  /** Makes room for a newcomer: the peer that stopped first is forgotten; false when none has stopped. */
  private forgetOldest(): boolean {
    let oldest: Peer | undefined
    for (const peer of this.table.values()) {
      if (peer.stoppedAt < (oldest?.stoppedAt ?? Infinity)) oldest = peer
    }
    return oldest !== undefined && this.forget(oldest.name)
  }

  private ensurePeer(name: NodeId): Peer {
    const known = this.table.get(name)
    if (known !== undefined) return known
    const peer = this.modules.createPeer(name, this)
    this.table.set(name, peer)
    this.dialers.set(name, new Dialer(() => this.dialPeer(peer)))
    this.modules.log.info({ peer: name }, 'peer learnt')
    return peer
  }

  private async dialPeer(peer: Peer): Promise<DialOutcome> {
    let outcome: DialOutcome = 'done'
    // Planned before the link that has just broken came up: the next tick plans it anew.
    if (peer.links.flapping.pause(performance.now()) > 0) return 'done'
    for (const address of peer.addresses.all) {
      if (peer.isLinked || peer.hasDeparted || this.isStopping || this.apart) return 'done'
      const result = await this.connect(address, peer.links.isDenied)
      if (result.kind === 'linked' && result.node === peer.name) return 'done'
      // Somebody else lives there now.
      if (result.kind === 'linked' || result.kind === 'self') peer.addresses.remove(address)
      outcome = result.kind === 'refused' ? 'refused' : 'failed'
    }
    return peer.isLinked ? 'done' : outcome
  }

  private async connect(address: string, sole: boolean): Promise<ConnectResult> {
    try {
      return await this.modules.connect(address, sole)
    } catch (error) {
      this.modules.log.debug({ address, err: asError(error) }, 'no link')
      return { kind: 'failed' }
    }
  }

  private readonly onTick = (): void => {
    const now = performance.now()
    const pause = now - this.tickedAt - this.tickInterval
    this.tickedAt = now
    for (const peer of this.table.values()) {
      if (pause > this.options.heartbeatInterval) peer.forgive(pause)
      peer.checkSilence(now, this.tickInterval)
      peer.links.checkData(now, this.tickInterval)
      const shownFor = peer.hasDeparted ? DEPARTED_SHOWN_MS : this.options.forgetAfter
      if (now - peer.stoppedAt > shownFor && this.forget(peer.name)) continue
      // Whatever a dialer has missed: a peer without a link is dialed, one that has stopped as well.
      if (!peer.isLinked && !this.apart && this.dialers.get(peer.name)?.isBusy === false) this.redial(peer)
    }
    this.seeds.dialMissing()
  }

  private readonly onBeat = (): void => {
    const status = this.modules.describeSelf()
    for (const peer of this.table.values()) peer.beat(status)
  }

  /** Often enough that nobody is called down much later than configured. */
  private get tickInterval(): number {
    return Math.max(5, Math.min(100, this.options.heartbeatInterval / 4))
  }

  private isFirst(peer: NodeId): boolean {
    return this.modules.self().node < peer
  }

  private noticeNamesake(address: string, incarnation: number): void {
    const { log } = this.modules
    const self = this.modules.self()
    if (incarnation <= self.incarnation || incarnation === this.warnedDuplicate) return
    this.warnedDuplicate = incarnation
    log.error(
      { peer: self.node, address, incarnation },
      'another live node has the name of this one: each needs its own',
    )
  }
}

function memberOf({ name, address, incarnation }: Peer): Member {
  return { node: name, address, incarnation }
}
