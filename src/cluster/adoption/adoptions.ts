/**
 * Who takes the sessions of nodes that are down from the store that all share, and what clients are told meanwhile. The
 * ring names one heir for each node; the store sees to it that there is one only. [docs/decisions/022]
 *
 * Every node has three parts in it: it may be the heir (`Adoption`); it hands on to an heir what it owes the node that is
 * down; and it has clients wait whose sessions are not there yet, rather than give them new ones.
 */

import type { Logger } from 'pino'
import type { NodeLife, SharedStore } from '../../broker/estate-port.js'
import type { EstateContents } from '../../broker/kept/inherited-sessions.js'
import type { SessionMoves } from '../../broker/move-ports.js'
import type { NodeId } from '../../router/route-table.js'
import { asError } from '../../util/errors.js'
import type { LinkBody, LinkBodyOf, TakeoverMark } from '../wire.js'
import { Adoption } from './adoption.js'
import type { AdoptionMetrics } from './metrics.js'

/** How often it looks what is to be done, in milliseconds. */
const CHECK_INTERVAL_MS = 200
/**
 * A node that has stood still for so long was taken for dead perhaps, and takes nobody else for dead for a while: it has to
 * hear from them first. In milliseconds.
 */
const STANDSTILL_MS = 2_000
const RECOVERY_MS = 10_000
/** Before an adoption that has failed is tried again, in milliseconds. */
const RETRY_MS = 1_000
/** How long after a node has come back, or this one has started, what was left before is looked for, in milliseconds. */
const RETURN_MS = 30_000
/** An heir whose routes have not come for so long has asked again or is gone, in milliseconds. */
const ROUTES_TIMEOUT_MS = 10_000

/** A node that was there, and cannot be reached. */
export interface LostNode extends NodeLife {
  /** As `performance.now` tells; Infinity while it may only be late. */
  readonly downSince: number
}

export interface AdoptionsModules {
  readonly self: NodeId
  readonly incarnation: () => number
  readonly store: SharedStore
  /** Milliseconds from the moment that a node is found down. */
  readonly adoptAfter: number
  readonly sessions: SessionMoves
  readonly claim: (clientId: string, from: NodeId, epoch: number, done: (epoch: number | undefined) => void) => void
  /** Whether the ring names this node as the heir of another. */
  readonly isHeirOf: (node: NodeId) => boolean
  /** Whether this node takes sessions: it is in its mesh, and goes on. */
  readonly isTaking: () => boolean
  /** Nodes that cannot be reached, and have not said that they leave. */
  readonly lost: () => Iterable<LostNode>
  /** Whether that life of a node is down, or over. */
  readonly isGone: (life: NodeLife) => boolean
  /** Nodes that can be reached. */
  readonly peers: () => readonly NodeId[]
  readonly send: (to: NodeId, body: LinkBody) => void
  /** Hands on to an heir, perhaps this node, what a node that is down is owed and has not got; returns how many messages. */
  readonly handOn: (dead: NodeLife, heir: NodeId, positions: Uint8Array | undefined) => number
  /** Nothing that this life of a node had waits for it any more: it is owed nothing. */
  readonly onSettled: (dead: NodeLife) => void
  /** Puts a mark behind what was forwarded to a peer until now. */
  readonly mark: (to: NodeId, mark: TakeoverMark) => void
  readonly routeVersion: () => number
  readonly routeVersionOf: (peer: NodeId) => number
  /** Another node has taken this life of this node for dead, and has its sessions. */
  readonly onAdopted: () => void
  readonly metrics: AdoptionMetrics
  readonly log: Logger
}

/** An heir has asked for what it is owed, and its routes are not here yet. */
interface WaitingEstate {
  readonly heir: NodeId
  readonly taken: LinkBodyOf<'estateTaken'>['value']
  readonly deadline: number
}

/** Clients that wait for a session of a node. */
interface Waiter {
  readonly node: NodeId
  readonly deadline: number
  readonly done: (isBack: boolean) => void
}

export class Adoptions {
  private readonly adoptions = new Map<number, Adoption>()
  private lastNumber = 0
  /** Nodes whose estates this node is at. */
  private readonly running = new Set<NodeId>()
  private readonly retryAt = new Map<NodeId, number>()
  /** Estates whose messages with a delay are here, should the rest of one have to be tried again. */
  private readonly delayedHere = new Set<string>()
  /** Lives of which everything has its heir, by node. */
  private readonly settled = new Map<NodeId, number>()
  /** Nodes that are back, or this one: until when what they have left before is looked for. */
  private readonly returned = new Map<NodeId, number>()
  private isOwnDue = true
  private checkedAt = performance.now()
  private recoveredAt = 0
  private waitingEstates: WaitingEstate[] = []
  private waiters: Waiter[] = []
  private isLooking = false
  private timer: NodeJS.Timeout | undefined
  private isStopped = false
  private readonly counters: AdoptionMetrics

  constructor(private readonly modules: AdoptionsModules) {
    this.counters = modules.metrics
  }

  start(): void {
    this.checkedAt = performance.now()
    this.returned.set(this.modules.self, this.checkedAt + RETURN_MS)
    this.timer ??= setInterval(() => this.check(), CHECK_INTERVAL_MS)
  }

  /** Idempotent; what is taken and not here yet stays in the store. */
  stop(): void {
    this.isStopped = true
    clearInterval(this.timer)
    for (const adoption of this.adoptions.values()) adoption.stop()
    this.answerWaiters(() => true, false)
  }

  // ── as the broker asks ───────────────────────────────────────────────────────────────────────────────────────

  get mayBeLost(): boolean {
    if (this.isStopped) return false
    if (this.returned.size > 0) return true
    for (const life of this.modules.lost()) if (!this.isSettled(life)) return true
    return false
  }

  seek(clientId: string, done: (found: 'none' | 'lost' | 'unknown', node?: NodeId) => void): void {
    const lost = [...this.modules.lost()].filter((life) => !this.isSettled(life)).map(({ node }) => node)
    const nodes = [...lost, ...this.returned.keys()]
    const look = async (node: NodeId): Promise<NodeId | undefined> => {
      const found = await this.modules.store.findSession(node, clientId)
      // Of a node that has just come back the directory may not know yet; it is asked again.
      return found === 'left' || (found === 'kept' && node !== this.modules.self) ? node : undefined
    }
    Promise.all(nodes.map(look)).then(
      (found) => {
        const node = found.find((each) => each !== undefined)
        if (node === undefined) done('none')
        else done('lost', node)
      },
      (error: unknown) => {
        this.modules.log.warn({ clientId, err: asError(error) }, 'whether a client has a session cannot be told')
        this.counters.awaited.away.value += 1
        done('unknown')
      },
    )
  }

  whenBack(node: NodeId, until: number, done: (isBack: boolean) => void): void {
    if (this.isStopped) return done(false)
    this.waiters.push({ node, deadline: until, done })
  }

  whenInherited(clientId: string, done: () => void): boolean {
    for (const adoption of this.adoptions.values()) if (adoption.whenWhole(clientId, done)) return true
    return false
  }

  // ── as the links say ─────────────────────────────────────────────────────────────────────────────────────────

  /** False for what it knows nothing about. */
  receive(from: NodeId, body: LinkBody): boolean {
    switch (body.$case) {
      case 'estateTaken':
        this.owe(from, body.value)
        return true
      case 'estateSettled':
        if (body.value.node !== this.modules.self) this.settle(body.value)
        else if (body.value.incarnation >= this.modules.incarnation()) this.modules.onAdopted()
        return true
      case 'takeoverMark':
        if (body.value.estate === undefined) return false
        this.adoptions.get(body.value.move)?.marked(from)
        return true
      default:
        return false
    }
  }

  /** More of a peer's routes is here. */
  routesTaken(peer: NodeId): void {
    if (this.waitingEstates.length === 0) return
    const ready = this.waitingEstates.filter((waiting) => waiting.heir === peer && this.hasRoutes(waiting))
    if (ready.length === 0) return
    this.waitingEstates = this.waitingEstates.filter((waiting) => !ready.includes(waiting))
    for (const { heir, taken } of ready) this.pay(heir, taken)
  }

  /** A link to a node is open. */
  nodeUp(node: NodeId, incarnation: number): void {
    // From here on it may leave something again.
    const settled = this.settled.get(node) ?? 0
    this.settled.delete(node)
    if (settled >= incarnation) {
      this.modules.send(node, { $case: 'estateSettled', value: { node, incarnation } })
    }
    this.returned.set(node, performance.now() + RETURN_MS)
    this.answerWaiters((waiter) => waiter.node === node, true)
  }

  /** A peer is down, or has left. */
  nodeGone(node: NodeId): void {
    this.isOwnDue = true
    this.waitingEstates = this.waitingEstates.filter(({ heir }) => heir !== node)
    for (const adoption of this.adoptions.values()) adoption.excuse(node)
  }

  // ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────

  private check(): void {
    const now = performance.now()
    if (now - this.checkedAt > STANDSTILL_MS) this.recoveredAt = now + RECOVERY_MS
    this.checkedAt = now
    for (const [node, until] of this.returned) if (until < now) this.returned.delete(node)
    this.waitingEstates = this.waitingEstates.filter(({ deadline }) => deadline > now)
    this.answerWaiters(({ deadline }) => deadline < now, false)
    void this.lookForWaiters()
    if (now < this.recoveredAt || !this.modules.isTaking()) return
    for (const life of this.modules.lost()) {
      if (now - life.downSince >= this.modules.adoptAfter && this.modules.isHeirOf(life.node)) this.begin(life, now)
    }
    // What an heir has left of this node's own, which may be down as well by now.
    if (!this.isOwnDue || this.running.has(this.modules.self)) return
    this.isOwnDue = false
    this.begin({ node: this.modules.self, incarnation: 0, downSince: now }, now)
  }

  private begin(life: LostNode, now: number): void {
    const { node } = life
    if (this.running.has(node) || this.isSettled(life) || (this.retryAt.get(node) ?? 0) > now) return
    this.running.add(node)
    void this.tryToAdopt(life)
  }

  private async tryToAdopt(life: LostNode): Promise<void> {
    const { node } = life
    let isDone = false
    try {
      isDone = await this.adopt(life)
    } catch (error) {
      this.counters.failures.value += 1
      this.modules.log.warn(
        { peer: node, err: asError(error) },
        'sessions of a node that is down cannot be adopted yet',
      )
    }
    this.running.delete(node)
    if (isDone) return
    this.retryAt.set(node, performance.now() + RETRY_MS)
    if (node === this.modules.self) this.isOwnDue = true
  }

  /** False when there is more to come. */
  private async adopt(life: LostNode): Promise<boolean> {
    const { self, store, isGone, log, sessions } = this.modules
    const { node, incarnation, downSince } = life
    const { estates, hasMore } = await store.inherit({ node, incarnation }, isGone)
    for (const estate of estates) {
      const contents = await sessions.readEstate(estate)
      this.lastNumber += 1
      const number = this.lastNumber
      const adoption = new Adoption(estate, contents, {
        ...{ self, sessions, log, metrics: this.counters, claim: this.modules.claim },
        nodes: () => [self, ...this.modules.peers()],
        inheritDelayed: (values) => this.inheritDelayed(estate.name, values),
        askForMarks: (nodes, positions) => this.askForMarks(nodes, positions, number, { node, incarnation }),
      })
      this.adoptions.set(number, adoption)
      try {
        const result = await adoption.run()
        this.delayedHere.delete(estate.name)
        const seconds = (performance.now() - downSince) / 1000
        this.counters.adoptions.value += 1
        this.counters.seconds.observe(seconds)
        const { missing, ended, delayed } = contents
        log.info(
          {
            peer: node,
            ...result,
            ended: ended.length,
            delayed: delayed.length,
            missing,
            milliseconds: Math.round(seconds * 1000),
          },
          'sessions of a node that is down are adopted',
        )
      } finally {
        this.adoptions.delete(number)
      }
    }
    if (hasMore) return false
    if (node !== self) {
      this.settle({ node, incarnation })
      const value = { node, incarnation }
      for (const peer of this.modules.peers()) this.modules.send(peer, { $case: 'estateSettled', value })
    }
    return true
  }

  private async inheritDelayed(estate: string, values: readonly Buffer[]): Promise<void> {
    if (this.delayedHere.has(estate)) return
    this.delayedHere.add(estate)
    await this.modules.sessions.inheritDelayed(values)
  }

  private askForMarks(
    nodes: readonly NodeId[],
    positions: EstateContents['positions'],
    number: number,
    { node, incarnation }: NodeLife,
  ): void {
    const routeVersion = this.modules.routeVersion()
    for (const to of nodes) {
      const position = positions.get(to)
      const value = { number, node, incarnation, routeVersion, ...(position && { positions: position }) }
      if (to === this.modules.self) this.owe(to, value)
      else this.modules.send(to, { $case: 'estateTaken', value })
    }
  }

  private owe(heir: NodeId, taken: LinkBodyOf<'estateTaken'>['value']): void {
    const waiting = { heir, taken, deadline: performance.now() + ROUTES_TIMEOUT_MS }
    if (this.hasRoutes(waiting)) this.pay(heir, taken)
    else this.waitingEstates.push(waiting)
  }

  private hasRoutes({ heir, taken }: WaitingEstate): boolean {
    return heir === this.modules.self || this.modules.routeVersionOf(heir) >= taken.routeVersion
  }

  /** What the node that is down is owed, and behind it the mark: from here on the heir gets it as its own. */
  private pay(heir: NodeId, { number, node, incarnation, positions }: LinkBodyOf<'estateTaken'>['value']): void {
    const { self, handOn, mark } = this.modules
    this.counters.owed.value += handOn({ node, incarnation }, heir, positions)
    if (heir === self) this.adoptions.get(number)?.marked(self)
    else mark(heir, { move: number, taker: heir, estate: node })
  }

  private settle({ node, incarnation }: NodeLife): void {
    this.settled.set(node, Math.max(incarnation, this.settled.get(node) ?? 0))
    this.modules.onSettled({ node, incarnation })
    this.answerWaiters((waiter) => waiter.node === node, true)
  }

  private isSettled({ node, incarnation }: NodeLife): boolean {
    return (this.settled.get(node) ?? 0) >= incarnation && incarnation > 0
  }

  /** Whether what clients wait for is in its place by now: another node may not have been able to say so. */
  private async lookForWaiters(): Promise<void> {
    if (this.isLooking || this.waiters.length === 0) return
    this.isLooking = true
    try {
      for (const node of new Set(this.waiters.map((waiter) => waiter.node))) {
        const life = [...this.modules.lost()].find((lost) => lost.node === node) ?? { node, incarnation: 0 }
        if (await this.modules.store.isSettled(life)) this.answerWaiters((waiter) => waiter.node === node, true)
      }
    } catch (error) {
      this.modules.log.debug({ err: asError(error) }, 'whether sessions are adopted cannot be told')
    } finally {
      this.isLooking = false
    }
  }

  private answerWaiters(isAnswered: (waiter: Waiter) => boolean, isBack: boolean): void {
    const answered = this.waiters.filter(isAnswered)
    if (answered.length === 0) return
    this.waiters = this.waiters.filter((waiter) => !answered.includes(waiter))
    this.counters.awaited[isBack ? 'back' : 'away'].value += answered.length
    for (const { done } of answered) done(isBack)
  }
}
