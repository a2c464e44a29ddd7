/**
 * The client directory: one connection per client ID in the whole cluster, without a leader and without a quorum. Each
 * client ID has a ring node, which gives every connection an epoch; the highest stays. This file joins both halves to
 * the links, and keeps them in step with the ring.
 */

import type { Logger } from 'pino'
import type { ClaimTerms, Directory, DirectorySink, KeptWill } from '../../broker/ports.js'
import type { NodeId } from '../../router/route-table.js'
import type { MetricRegistry } from '../../telemetry/registry.js'
import type { TurnQueue, TurnTask } from '../../util/turn.js'
import { createWillMetrics } from '../wills/metrics.js'
import { WillCopies } from '../wills/will-copies.js'
import { WillKeeper } from '../wills/will-keeper.js'
import type { LinkBody, LinkBodyOf } from '../wire.js'
import { type ClaimCallback, Claims } from './claims.js'
import { ClientRing } from './client-ring.js'
import { createDirectoryMetrics } from './metrics.js'
import { Registrar } from './registrar.js'

/** How often it looks whether somebody has waited long enough, in milliseconds. */
const CHECK_INTERVAL_MS = 100
/** How long catching up with a new ring may take of one turn, in milliseconds. */
const SLICE_MS = 5
/**
 * How long the ring node waits for the others to say what they hold after the ring has changed, in milliseconds: with
 * the time for an eviction it is less than a claim may take.
 */
const CATCH_UP_MS = 600
/** Nodes that keep a copy of each will: both would have to die with the client's own for it to be lost. */
const WILL_KEEPERS = 2
/** Steps between two looks at the clock. */
const STEPS_PER_LOOK = 64

export interface DirectoryModules {
  readonly self: NodeId
  /** To a peer that is on the ring; what it does not get is made up for when it is back. */
  readonly send: (to: NodeId, body: LinkBody) => void
  /** Whether there is a link to a peer, be it silent at the moment. */
  readonly isLinked: (peer: NodeId) => boolean
  /** Whether a peer knows claims without a client. */
  readonly knowsOffers: (peer: NodeId) => boolean
  /** Whether a peer keeps wills of others. */
  readonly keepsWills: (peer: NodeId) => boolean
  /** Members from before a restart of this node have not been met yet, and may have sessions of the clients that come. */
  readonly isExpecting: () => boolean
  /** False while this node may have been taken for dead: it gives nothing away then that may be another's. */
  readonly isSure: () => boolean
  /** This node lets its clients go. */
  readonly isDraining: () => boolean
  /** It was decided alone who has a client ID. */
  readonly onAlone: () => void
  /** There may be sessions that the ring does not know of, and a claim must not end them. */
  readonly mayBeLost: () => boolean
  readonly sink: DirectorySink
  readonly turns: TurnQueue
  readonly metrics: MetricRegistry
  readonly log: Logger
}

export class ClientDirectory implements Directory, TurnTask {
  isQueued = false
  private ring: ClientRing
  private readonly claims: Claims
  private readonly registrar: Registrar
  private readonly willCopies: WillCopies
  readonly willKeeper: WillKeeper
  /** For which ring each peer has said all that it holds. */
  private readonly toldFor = new Map<NodeId, string>()
  private ringSince = 0
  /** What is left to do since the ring changed. */
  private work: Generator<void>[] = []
  private timer: NodeJS.Timeout | undefined
  private isStopped = false
  /** A node that was always alone need not ask whether others have published its wills. */
  private hasMetOthers = false

  constructor(private readonly modules: DirectoryModules) {
    const { self, sink } = modules
    this.ring = new ClientRing(self, [self])
    const shared = { self, ring: () => this.ring, send: (to: NodeId, body: LinkBody) => this.send(to, body) }
    const metrics = createDirectoryMetrics(modules.metrics, {
      entries: () => this.registrar.size,
      held: () => this.claims.size,
      pending: () => this.claims.pendingCount,
    })
    const willMetrics = createWillMetrics(modules.metrics, () => this.willKeeper.size)
    // Nodes of the release before could not read it.
    const sendWills = (to: NodeId, body: LinkBody): void => {
      if (modules.keepsWills(to)) this.send(to, body)
    }
    this.willCopies = new WillCopies({
      send: sendWills,
      keepersOf: (clientId) => this.ring.neighborsOf(clientId, WILL_KEEPERS).filter(modules.keepsWills),
      isLeaving: () => this.isStopped || modules.isDraining(),
      metrics: willMetrics,
    })
    this.willKeeper = new WillKeeper({
      self,
      send: sendWills,
      isThere: (node) => this.ring.has(node),
      isElsewhere: (clientId, node) => (this.registrar.holderOf(clientId) ?? node) !== node,
      publish: (clientId, will) => sink.publishWillOf(clientId, will),
      metrics: willMetrics,
      log: modules.log,
    })
    this.registrar = new Registrar({
      ...shared,
      isLinked: modules.isLinked,
      isCaughtUp: () => this.isCaughtUp(),
      isSure: modules.isSure,
    })
    this.claims = new Claims({
      ...shared,
      metrics,
      evict: (clientId, discard, isOutdated) => sink.evict(clientId, discard, isOutdated),
      isLeaving: (clientId) => sink.isLeaving(clientId),
      onOutdated: (clientId) => {
        metrics.outdated.value++
        modules.log.debug({ clientId }, 'session ends, its client has begun anew at another node')
      },
      onAlone: modules.onAlone,
      mayBeLost: modules.mayBeLost,
      knowsOffers: (node) => node === self || modules.knowsOffers(node),
    })
  }

  start(): void {
    this.ringSince = performance.now()
    this.timer ??= setInterval(() => {
      const now = performance.now()
      this.registrar.checkTime(now)
      this.claims.checkTime(now)
      this.willKeeper.checkTime(now)
      if (this.hasMetOthers) this.willCopies.due.checkTime(now)
    }, CHECK_INTERVAL_MS)
  }

  /** Idempotent; from then on everybody is let in. */
  stop(): void {
    this.isStopped = true
    clearInterval(this.timer)
    this.work = []
    this.claims.stop()
    this.willCopies.due.stop()
  }

  claim(clientId: string, discard: boolean, done: ClaimCallback, terms: ClaimTerms = {}): void {
    const { onlyFrom } = terms
    if (onlyFrom === undefined) this.willCopies.due.clientCame(clientId)
    const isTentative = !discard && onlyFrom === undefined && this.modules.mayBeLost()
    this.claims.claim(clientId, discard, done, { ...terms, isTentative })
    if (this.isStopped) this.claims.stop()
  }

  keepWill(clientId: string, epoch: number, will: KeptWill): void {
    this.willCopies.keep(clientId, epoch, will)
  }

  settleWill(clientId: string, publish: () => void): void {
    this.willCopies.settle(clientId, publish)
  }

  dropWill(clientId: string): void {
    this.willCopies.drop(clientId)
  }

  release(clientId: string, epoch: number): void {
    this.claims.release(clientId, epoch)
  }

  settle(clientId: string, epoch: number): void {
    this.claims.settle(clientId, epoch)
  }

  keep(clientId: string): void {
    this.claims.keep(clientId)
  }

  restore(clientId: string, epoch: number): void {
    this.claims.restore(clientId, epoch)
  }

  /** Whether this is the node that the ring names for another, which is down. */
  isHeirOf(node: NodeId): boolean {
    return this.ring.nodeOf(node) === this.modules.self
  }

  /**
   * Who is there now.
   * @param returned a peer whose link is new: what was sent to it last may not have arrived
   */
  setPeers(peers: Iterable<NodeId>, returned?: NodeId): void {
    const nodes = new Set([this.modules.self, ...peers])
    const isNew = !this.ring.isOf(nodes)
    if (!isNew && returned === undefined) return
    if (isNew) {
      this.ring = new ClientRing(this.modules.self, nodes)
      this.ringSince = performance.now()
      this.registrar.ringChanged()
      this.claims.ringChanged(this.registrar.takeStray())
    }
    if (returned !== undefined) {
      this.hasMetOthers = true
      this.toldFor.delete(returned)
      this.willCopies.due.linkOpened()
      this.claims.linkReplaced(returned)
    }
    // Work for the ring before may still go on; it looks at the present one at each step.
    this.work.push(this.claims.announce(new Set(returned === undefined ? [] : [returned])), this.registrar.sweep())
    this.work.push(this.willCopies.announce(returned))
    this.modules.turns.add(this)
  }

  /** A link is gone: what is known of the clients of its peer is forgotten; it tells again on the next one. */
  linkLost(): void {
    this.registrar.forgetEarly()
    this.work.push(this.registrar.sweep())
    this.modules.turns.add(this)
  }

  receive(from: NodeId, body: LinkBody): void {
    switch (body.$case) {
      case 'directoryClaim':
        // Before the claim is answered: a will that is due comes before what the client says.
        if (body.value.onlyFrom === undefined) this.willKeeper.clientCame(from, body.value.clientId, body.value.discard)
        return this.registrar.claim(from, body.value)
      case 'willCopies':
        return this.willKeeper.copied(from, body.value)
      case 'willsVoid':
        return this.voidWills(from, body.value)
      case 'directoryAnswer':
        return this.claims.answered(body.value)
      case 'directoryEviction':
        return this.claims.evicted(from, body.value)
      case 'directoryEvicted':
        return this.registrar.evicted(from, body.value)
      case 'directoryHoldings':
        for (const { clientId, epoch } of body.value.holdings) this.registrar.hold(from, clientId, epoch)
        if (body.value.ring.length > 0) this.told(from, body.value.ring)
        return
      case 'directoryRelease':
        return this.registrar.release(from, body.value)
      default:
        return
    }
  }

  /** A slice of what a change of the ring asks for; a node with a hundred thousand clients serves on meanwhile. */
  runTurn(): void {
    const until = performance.now() + SLICE_MS
    for (let [task] = this.work; task !== undefined; [task] = this.work) {
      for (let step = 0; step < STEPS_PER_LOOK; step++) {
        if (task.next().done !== true) continue
        this.work.shift()
        break
      }
      if (performance.now() < until) continue
      this.modules.turns.add(this)
      return
    }
  }

  private told(from: NodeId, ring: readonly NodeId[]): void {
    this.toldFor.set(from, ring.join())
    if (this.isCaughtUp() && this.modules.isSure()) this.registrar.caughtUp()
  }

  private isCaughtUp(): boolean {
    if (this.isStopped || performance.now() - this.ringSince > CATCH_UP_MS) return true
    const { self, knowsOffers, isExpecting } = this.modules
    const { nodes } = this.ring
    if (isExpecting()) return false
    const ring = nodes.join()
    return nodes.every((node) => node === self || this.toldFor.get(node) === ring || !knowsOffers(node))
  }

  private voidWills(from: NodeId, value: LinkBodyOf<'willsVoid'>['value']): void {
    if (value.owner !== this.modules.self) return this.willKeeper.voided(from, value)
    for (const { clientId, epoch } of value.wills) {
      if (this.willCopies.voided(clientId, epoch)) this.modules.sink.voidWill(clientId)
    }
  }

  private send(to: NodeId, body: LinkBody): void {
    if (to === this.modules.self) this.receive(to, body)
    else this.modules.send(to, body)
  }
}
