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
import type { SessionFound, SessionMoves } from '../../broker/move-ports.js'
import type { NodeId } from '../../router/route-table.js'
import { asError } from '../../util/errors.js'
import type { LinkBody, TakeoverMark } from '../wire.js'
import { Adoption } from './adoption.js'
import type { BequestSenderModules } from './bequest-sender.js'
import { type Bequest, readBequests, readWaiting } from './bequests.js'
import { EstateSteps } from './estate-steps.js'
import { Fates } from './fates.js'
import { positionsOf, takeDebts } from './joint-debts.js'
import type { LostNode } from './lost-nodes.js'
import type { AdoptionMetrics } from './metrics.js'
import { OwnLife } from './own-life.js'
import { PulseWatch } from './pulse-watch.js'
import { SessionSearch } from './session-search.js'
import { SettledLives } from './settled-lives.js'
import { type EstateTaken, WaitingHeirs } from './waiting-heirs.js'

/** How often it looks what is to be done, in milliseconds. */
const CHECK_INTERVAL_MS = 200
/** How long the store is asked for sessions after the directory did not know, in milliseconds. */
const DOUBT_MS = 5_000
/** Before an adoption that has failed is tried again, in milliseconds. */
const RETRY_MS = 1_000
/** How long after a node has come back, or this one has started, what was left before is looked for, in milliseconds. */
const RETURN_MS = 30_000

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
  /** Nodes that cannot be reached, and have not left the cluster. */
  readonly lost: () => Iterable<LostNode>
  /** Whether that life of a node is down, or over. */
  readonly isGone: (life: NodeLife) => boolean
  /** Every node that is known, this one among them. */
  readonly members: () => readonly NodeId[]
  /** Nodes that can be reached. */
  readonly peers: () => readonly NodeId[]
  readonly send: (to: NodeId, body: LinkBody) => void
  /** Hands on to an heir, perhaps this node, what a node that is down is owed and has not got; returns how many messages. */
  readonly handOn: (dead: NodeLife, heir: NodeId, positions: Uint8Array | undefined) => number
  /** How far this node has come in what a node has sent it, as it is kept. */
  readonly receivedFrom: (node: NodeId) => Uint8Array | undefined
  /** See `sendOn`. */
  readonly sendOn: BequestSenderModules['sendOn']
  /** See `BequestSenderModules`. */
  readonly giveUp: BequestSenderModules['giveUp']
  /** See `deliverDebts`. */
  readonly deliverDebts: (bequest: Bequest, positions: Uint8Array | undefined) => number
  /** See `ForwardedSink.inheritWaiting`. */
  readonly inheritWaiting: (values: readonly Buffer[]) => Promise<void>
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

export class Adoptions {
  private readonly adoptions = new Map<number, Adoption>()
  private lastNumber = 0
  /** Nodes whose estates this node is at. */
  private readonly running = new Set<NodeId>()
  private readonly retryAt = new Map<NodeId, number>()
  private readonly steps = new EstateSteps()
  private readonly settled: SettledLives
  /** Nodes that are back, or this one: until when what they have left before is looked for. */
  private readonly returned = new Map<NodeId, number>()
  private isOwnDue = true
  private doubtedUntil = 0
  private readonly heirs: WaitingHeirs
  private readonly life: OwnLife
  private readonly watch: PulseWatch
  private readonly search: SessionSearch
  private readonly fates: Fates
  private timer: NodeJS.Timeout | undefined
  private isStopped = false
  private readonly counters: AdoptionMetrics

  constructor(private readonly modules: AdoptionsModules) {
    const { self, store, metrics, log, lost, members } = modules
    this.counters = metrics
    this.life = new OwnLife({ store, hearsAll: () => [...lost()].every(({ hasStopped }) => hasStopped), log })
    this.watch = new PulseWatch(store, log)
    const lostLifeOf = (node: NodeId): NodeLife | undefined => [...lost()].find((life) => life.node === node)
    const isReachable = (node: NodeId): boolean => modules.peers().includes(node)
    this.heirs = new WaitingHeirs({
      ...{ self, routeVersionOf: (peer) => modules.routeVersionOf(peer) },
      pay: (heir, taken) => this.pay(heir, taken),
    })
    this.settled = new SettledLives({
      ...{ send: modules.send, peers: modules.peers },
      onSettled: (life) => {
        modules.onSettled(life)
        this.search.isBack(life.node)
      },
    })
    this.fates = new Fates({ self, lost, store, peers: modules.peers, isSettled: (life) => this.settled.has(life) })
    this.search = new SessionSearch({ self, store, members, isReachable, lostLifeOf, metrics, log })
  }

  start(): void {
    this.returned.set(this.modules.self, performance.now() + RETURN_MS)
    this.timer ??= setInterval(() => this.check(), CHECK_INTERVAL_MS)
    this.life.check(performance.now())
  }

  /** Idempotent; what is taken and not here yet stays in the store. */
  stop(): void {
    this.isStopped = true
    clearInterval(this.timer)
    for (const adoption of this.adoptions.values()) adoption.stop()
    this.search.stop()
    this.life.stop()
  }

  // ── as the broker asks ───────────────────────────────────────────────────────────────────────────────────────

  get mayBeLost(): boolean {
    if (this.isStopped) return false
    if (this.returned.size > 0 || performance.now() < this.doubtedUntil) return true
    for (const life of this.modules.lost()) if (!this.settled.has(life)) return true
    return false
  }

  seek(clientId: string, done: (found: SessionFound, node?: NodeId) => void): void {
    this.search.seek(clientId, done)
  }

  whenBack(node: NodeId, until: number, done: (isBack: boolean) => void): void {
    if (this.isStopped) done(false)
    else this.search.whenBack(node, until, done)
  }

  /** See `OwnLife`. */
  get isSure(): boolean {
    return this.life.isSure
  }

  /** See `OwnLife`. */
  get isInDoubt(): boolean {
    return this.life.isInDoubt
  }

  whenSure(until: number, done: (isSure: boolean) => void, isPatient?: boolean): void {
    this.life.whenSure(until, done, isPatient)
  }

  /** Nodes that are down as far as the links tell, and live as far as the store does. */
  get withheldNodes(): number {
    const now = performance.now()
    let count = 0
    for (const { node, downSince } of this.modules.lost()) {
      if (now >= downSince && this.watch.isBeating(node, now)) count += 1
    }
    return count
  }

  /** The directory did not know, or who has a session does not give it: the store is asked for a while. */
  doubt(): void {
    this.doubtedUntil = performance.now() + DOUBT_MS
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
      case 'estateReceived':
        this.adoptions.get(body.value.number)?.received(from, body.value.positions)
        return true
      case 'estateSettled':
        if (body.value.node !== this.modules.self) this.settled.add(body.value)
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
    this.heirs.routesTaken(peer)
  }

  /** A link to a node is open. */
  nodeUp(node: NodeId, incarnation: number): void {
    this.settled.nodeUp(node, incarnation)
    this.fates.noteUp(node)
    this.returned.set(node, performance.now() + RETURN_MS)
    this.search.isBack(node)
  }

  /** A peer is down, or has left. */
  nodeGone(node: NodeId): void {
    this.isOwnDue = true
    this.heirs.nodeGone(node)
    for (const adoption of this.adoptions.values()) adoption.excuse(node)
  }

  // ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────

  private check(): void {
    const now = performance.now()
    for (const [node, until] of this.returned) if (until < now) this.returned.delete(node)
    this.heirs.checkTime(now)
    this.search.check(now)
    this.life.check(now)
    const lost = [...this.modules.lost()]
    if (lost.some((life) => !this.settled.has(life))) {
      this.watch.look(
        lost.map(({ node }) => node),
        now,
      )
    }
    if (!this.life.isSure || !this.modules.isTaking()) return
    this.beginWhatIsDue(lost, now)
    // What an heir has left of this node's own, which may be down as well by now.
    if (!this.isOwnDue) return
    const own = { node: this.modules.self, incarnation: 0, downSince: now, hasStopped: false }
    if (this.begin(own, now, '')) this.isOwnDue = false
  }

  /**
   * Who adopts hears everyone who lives: what another node owes the one that is down, and what it publishes from then on, has
   * to come here. One that cannot be heard and gives signs of life may only be cut off.
   */
  private beginWhatIsDue(lost: readonly LostNode[], now: number): void {
    if (lost.some(({ node }) => this.watch.stillPulse(node, now) === undefined)) return
    const { adoptAfter, isHeirOf } = this.modules
    for (const life of lost) {
      const pulse = this.watch.stillPulse(life.node, now) ?? ''
      if (now - life.downSince >= adoptAfter && isHeirOf(life.node)) this.begin(life, now, pulse)
    }
  }

  /** False when nothing is to be done, or not yet. */
  private begin(life: LostNode, now: number, pulse: string): boolean {
    const { node } = life
    if (this.running.has(node) || this.settled.has(life) || (this.retryAt.get(node) ?? 0) > now) return false
    this.running.add(node)
    void this.tryToAdopt(life, pulse)
    return true
  }

  private async tryToAdopt(life: LostNode, pulse: string): Promise<void> {
    const { node } = life
    let isDone = false
    try {
      isDone = await this.adopt(life, pulse)
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
  private async adopt(life: LostNode, pulse: string): Promise<boolean> {
    const { self, store, isGone, log, sessions } = this.modules
    const { node, downSince } = life
    const { estates, hasMore, last: incarnation } = await store.inherit(life, isGone, pulse)
    for (const estate of estates) {
      const contents = await sessions.readEstate(estate)
      const bequests = await readBequests(estate, log)
      const waiting = await readWaiting(estate)
      this.lastNumber += 1
      const number = this.lastNumber
      const adoption = new Adoption(estate, contents, bequests, {
        ...{ self, sessions, log, metrics: this.counters, claim: this.modules.claim },
        sender: {
          fateOf: (receiver) => this.fates.of(receiver),
          positionsOf: (receiver) => positionsOf(store, receiver, node),
          sendOn: this.modules.sendOn,
          giveUp: this.modules.giveUp,
        },
        debtors: () => this.fates.debtorsOf(node),
        takeDebts: (debtor) => takeDebts(store, debtor, node, log),
        deliverDebts: this.modules.deliverDebts,
        nodes: () => [self, ...this.modules.peers()],
        once: (step, work) => this.steps.once(estate.name, step, work),
        inheritWaiting: () => this.modules.inheritWaiting(waiting),
        askForMarks: (nodes, positions) => this.askForMarks(nodes, positions, number, { node, incarnation }),
      })
      this.adoptions.set(number, adoption)
      try {
        const result = await adoption.run()
        this.steps.forget(estate.name)
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
      this.settled.add({ node, incarnation })
      this.settled.tell({ node, incarnation })
    }
    return true
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

  private owe(heir: NodeId, taken: EstateTaken): void {
    this.fates.noteTaken(taken.node)
    this.heirs.add(heir, taken)
  }

  /** What the node that is down is owed, and behind it the mark: from here on the heir gets it as its own. */
  private pay(heir: NodeId, { number, node, incarnation, positions }: EstateTaken): void {
    const { self, handOn, mark } = this.modules
    const received = this.modules.receivedFrom(node)
    this.counters.owed.value += handOn({ node, incarnation }, heir, positions)
    if (heir === self) {
      this.adoptions.get(number)?.received(self, received)
      this.adoptions.get(number)?.marked(self)
      return
    }
    const value = { number, ...(received && { positions: received }) }
    this.modules.send(heir, { $case: 'estateReceived', value })
    mark(heir, { move: number, taker: heir, estate: node })
  }
}
