/**
 * The sessions of one node that is down, on their way into this one:
 *
 *   claim the client IDs ──► subscribed, with what was kept ──► EstateTaken to all ──what is owed, marks──► kept here
 *     └── its client has a later one: passed over     what the node has owed others is sent ──────┘            │
 *         before, and read before the claims: what other nodes that are down have owed it                      │
 *                                                                          removed from the estate ◄──────────┘
 *
 * Until a node's mark the sessions take what that node hands on of what it owes the node that is down, and pass over its
 * other messages; behind the mark the other way round. So each message is in them once, and in order. Nobody is told that a
 * message is kept before this node has the whole session. [docs/decisions/022]
 */

import type { Logger } from 'pino'
import type { Estate } from '../../broker/estate-port.js'
import type { EstateContents } from '../../broker/kept/inherited-sessions.js'
import type { ArrivingSession, InheritedSession, SessionMoves } from '../../broker/move-ports.js'
import type { NodeId } from '../../router/route-table.js'
import { Deferred } from '../../util/deferred.js'
import { NodeError } from '../../util/errors.js'
import { BequestSender, type BequestSenderModules } from './bequest-sender.js'
import type { Bequest } from './bequests.js'
import type { AdoptionMetrics } from './metrics.js'

/** Claims on their way at a time: each is a message to a ring node and its answer. */
const CLAIM_WINDOW = 256
/** How long a session is claimed again whose client another node has: it may only be asking for it. In milliseconds. */
const CLAIM_TIME_MS = 3_000
const CLAIM_PAUSE_MS = 200
/** How long marks are waited for, in milliseconds. */
const MARKS_TIMEOUT_MS = 10_000
/** Sessions that become whole in one turn. */
const FINISH_SLICE = 500

export interface AdoptionModules {
  readonly self: NodeId
  readonly sessions: SessionMoves
  /** Claims a client ID for a session of that node, which had this epoch; undefined when it is somebody else's by now. */
  readonly claim: (clientId: string, from: NodeId, epoch: number, done: (epoch: number | undefined) => void) => void
  /** Does a step of this estate unless a try before has done it, see `EstateSteps`. */
  readonly once: (step: string, work: () => Promise<void>) => Promise<void>
  /** Messages that have waited there for members of groups: resolves when they are kept here. */
  readonly inheritWaiting: () => Promise<void>
  /** This node, and those that can be reached. */
  readonly nodes: () => readonly NodeId[]
  /** Asks these nodes for what they owe, and for marks. */
  readonly askForMarks: (nodes: readonly NodeId[], positions: EstateContents['positions']) => void
  /** Of what the node that is down has owed others. */
  readonly sender: Omit<BequestSenderModules, 'once' | 'metrics'>
  /** Other nodes that cannot be reached. */
  readonly debtors: () => readonly NodeId[]
  /** See `takeDebts`. */
  readonly takeDebts: (debtor: NodeId) => Promise<Bequest[]>
  /** See `deliverDebts`. */
  readonly deliverDebts: (bequest: Bequest, positions: Uint8Array | undefined) => number
  readonly metrics: AdoptionMetrics
  readonly log: Logger
}

/** A session that was claimed. */
interface Adopted {
  readonly clientId: string
  readonly session: ArrivingSession
}

export interface AdoptionResult {
  readonly sessions: number
  readonly messages: number
}

export class Adoption {
  private readonly adopted: Adopted[] = []
  /** Client IDs of sessions that are not whole yet, and who waits for one. */
  private readonly followers = new Map<string, (() => void)[]>()
  private messages = 0
  private awaited: Set<NodeId> | undefined
  /** How far nodes have come in what the one that is down has sent them. */
  private readonly positions = new Map<NodeId, Uint8Array>()
  private readonly marks = new Deferred()
  private readonly marking = new Set<NodeId>()
  private readonly sender: BequestSender

  constructor(
    readonly estate: Estate,
    private readonly contents: EstateContents,
    private readonly bequests: readonly Bequest[],
    private readonly modules: AdoptionModules,
  ) {
    for (const { clientId } of contents.sessions) this.followers.set(clientId, [])
    const { once, metrics, sender } = modules
    this.sender = new BequestSender(estate, bequests, this.positions, { ...sender, once, metrics })
  }

  /** @throws Error when the store does not answer, or keep: what is not in this node by then is still in the estate */
  async run(): Promise<AdoptionResult> {
    const { estate, contents, modules } = this
    const { once, sessions } = modules
    modules.metrics.sessions.ended.value += contents.ended.length
    try {
      await estate.remove(contents.ended)
      const debtors = modules.debtors()
      const debts = await this.takeDebts(debtors)
      await this.claimAll()
      await once('debts', async () => this.deliverDebts(debts))
      if (this.adopted.length > 0 || this.bequests.length > 0) await this.collectMarks()
      await this.takeLateDebts(debtors)
      await this.sender.send()
      await this.becomeWhole()
      await once('delayed', () => sessions.inheritDelayed(contents.delayed))
      await this.checkKept()
      await once('waiting', modules.inheritWaiting)
      await this.sender.whenKept()
      await estate.close()
    } finally {
      // What is here is used, although it is in the estate as well: the next try finds it here.
      for (const { clientId, session } of this.adopted) if (this.followers.has(clientId)) this.finish(clientId, session)
    }
    return { sessions: this.adopted.length, messages: this.messages }
  }

  /** Calls `done` when the session of this client is whole; false when it is none of these, or whole already. */
  whenWhole(clientId: string, done: () => void): boolean {
    const followers = this.followers.get(clientId)
    followers?.push(done)
    return followers !== undefined
  }

  /** From here on that node's messages are for this node. */
  marked(node: NodeId): void {
    if (this.awaited?.has(node) !== true) return
    this.marking.add(node)
    for (const { session } of this.adopted) session.cut(node)
    this.excuse(node)
  }

  /** What that node has got from the one that is down. */
  received(node: NodeId, positions: Uint8Array | undefined): void {
    if (positions !== undefined) this.positions.set(node, positions)
  }

  /** Nobody waits for that node's mark. */
  excuse(node: NodeId): void {
    if (this.awaited?.delete(node) === true && this.awaited.size === 0) this.marks.resolve()
  }

  /** What is here stays; nothing more is waited for. */
  stop(): void {
    this.marks.resolve()
    this.sender.stop()
  }

  private async claimAll(): Promise<void> {
    const waiting = [...this.contents.sessions].reverse()
    const claimNext = async (): Promise<void> => {
      for (let session = waiting.pop(); session !== undefined; session = waiting.pop()) await this.claim(session)
    }
    await Promise.all(Array.from({ length: CLAIM_WINDOW }, claimNext))
  }

  private async claim(session: InheritedSession): Promise<void> {
    const { sessions, claim, metrics } = this.modules
    const { clientId, epoch, queue, inFlight } = session
    const deadline = performance.now() + CLAIM_TIME_MS
    while (!sessions.has(clientId)) {
      const claimed = await new Promise<number | undefined>((done) => {
        claim(clientId, this.estate.node, epoch, done)
      })
      if (claimed !== undefined && !sessions.has(clientId)) {
        this.adopted.push({ clientId, session: sessions.inherit(session, claimed, this.estate.node) })
        this.messages += queue.length + inFlight.length
        metrics.sessions.adopted.value += 1
        metrics.messages.value += queue.length + inFlight.length
        return
      }
      if (performance.now() > deadline) break
      await new Promise((resolve) => setTimeout(resolve, CLAIM_PAUSE_MS))
    }
    metrics.sessions.elsewhere.value += 1
    this.settle(clientId)
  }

  private async collectMarks(): Promise<void> {
    const { metrics, log, nodes, askForMarks } = this.modules
    const asked = nodes()
    this.awaited = new Set(asked)
    // The sessions have all that their own node has published: what it has owed this one is for the others here.
    for (const { session } of this.adopted) session.await([...asked, this.estate.node])
    askForMarks(asked, this.contents.positions)
    const timer = setTimeout(() => this.marks.resolve(), MARKS_TIMEOUT_MS)
    await this.marks.promise
    clearTimeout(timer)
    const late = [...this.awaited]
    this.awaited.clear()
    if (late.length === 0) return
    metrics.marksMissed.value += late.length
    log.warn(
      { peer: this.estate.node, peers: late },
      'adopted sessions are used before all nodes have handed on what they owe',
    )
  }

  private async takeDebts(debtors: readonly NodeId[]): Promise<Bequest[]> {
    const taken = await Promise.all(debtors.map((debtor) => this.modules.takeDebts(debtor)))
    return taken.flat()
  }

  private deliverDebts(debts: readonly Bequest[]): void {
    const { metrics, deliverDebts } = this.modules
    for (const bequest of debts) {
      metrics.taken.value += deliverDebts(bequest, this.contents.positions.get(bequest.node))
    }
  }

  /** Of nodes that were lost meanwhile. Who has handed on what it owed has it still in the store, until it is known that it came. */
  private async takeLateDebts(earlier: readonly NodeId[]): Promise<void> {
    const late = this.modules.debtors().filter((node) => !earlier.includes(node))
    const debts = await this.takeDebts(late)
    await this.modules.once('late debts', async () => {
      this.deliverDebts(debts.filter(({ node }) => !this.marking.has(node)))
    })
  }

  /** What came meanwhile follows what was kept; once all of it is kept here, nobody else needs it. */
  private async becomeWhole(): Promise<void> {
    for (let at = 0; at < this.adopted.length; at += FINISH_SLICE) {
      const slice = this.adopted.slice(at, at + FINISH_SLICE)
      const kept = await Promise.all(slice.map(({ session }) => keep(session)))
      if (kept.every((isKept) => isKept)) await this.estate.remove(slice.map(({ clientId }) => clientId))
      for (const { clientId, session } of slice) this.finish(clientId, session)
    }
  }

  /** Of a try before this one, too. */
  private async checkKept(): Promise<void> {
    const { sessions } = this.modules
    const here = this.contents.sessions.filter(({ clientId }) => sessions.has(clientId))
    const kept = await Promise.all(
      here.map(({ clientId }) => new Promise<boolean>((done) => sessions.whenKept(clientId, done))),
    )
    if (!kept.every((isKept) => isKept)) throw new NodeError('the store cannot keep sessions', { code: 'NOT_KEPT' })
  }

  private finish(clientId: string, session: ArrivingSession): void {
    session.finish()
    this.settle(clientId)
  }

  private settle(clientId: string): void {
    const followers = this.followers.get(clientId) ?? []
    this.followers.delete(clientId)
    for (const follower of followers) follower()
  }
}

function keep(session: ArrivingSession): Promise<boolean> {
  session.openGate()
  session.endQueue()
  return new Promise((done) => session.whenKept(done))
}
