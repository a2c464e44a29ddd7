/**
 * The taker's half of a move: asks for a session, takes it in, and has every node say from when on its messages are for
 * this node. The client is let in when the state is here and all nodes have said so; the queue may follow.
 *
 *   fetch ──► state ──► cut, sent to all nodes ──marks of all──► the client is let in ┐
 *     │                                                    queue … last ──► done ─────┴─► a session like any other
 *     └── end, or too late: the client gets a new session
 */

import type { Logger } from 'pino'
import type { ArrivingSession, FetchRequest, MovedInFlight, SessionMoves } from '../../broker/move-ports.js'
import type { Hold } from '../../mqtt/session/session.js'
import type { Message } from '../../mqtt/wire/message.js'
import type { NodeId } from '../../router/route-table.js'
import { asError } from '../../util/errors.js'
import { BatchAssembler } from '../batch.js'
import {
  asBuffer,
  decodeSessionPart,
  type EarlierCut,
  type LinkBody,
  type LinkBodyOf,
  type SessionPart,
} from '../wire.js'
import { Aftermath } from './aftermath.js'
import type { Aftermaths } from './aftermaths.js'
import { FinishedMoves } from './finished-moves.js'
import type { MoveOutcome, TakeoverMetrics } from './metrics.js'
import { MoveLog } from './move-log.js'
import { decodeInFlight, decodeQueued, decodeState, decodeSubscription } from './session-part.js'

/** How long the state may take to come, in milliseconds. */
const STATE_TIMEOUT_MS = 2_200
/** How long the client waits at most, in milliseconds. */
const FETCH_TIMEOUT_MS = 3_000
/** A giver whose queue does not go on for so long is not waited for, in milliseconds. */
const SILENCE_MS = 30_000
const MOVE_MODULUS = 0x1_0000_0000

export interface TakerModules {
  readonly self: NodeId
  readonly send: (to: NodeId, body: LinkBody) => void
  /** Nodes with a link; where it takes the place of another, what is sent may be lost, and `linkUp` says when it is there. */
  readonly peers: () => readonly NodeId[]
  /** Other nodes whose messages may come, now or when they are back. */
  readonly debtors: () => readonly NodeId[]
  /** Moves that are over but for what is late. */
  readonly aftermaths: Aftermaths
  readonly routeVersion: () => number
  readonly sessions: SessionMoves
  readonly metrics: TakeoverMetrics
  readonly log: Logger
}

class Arrival {
  readonly startedAt = performance.now()
  heardAt = this.startedAt
  readonly assembler = new BatchAssembler()
  session: ArrivingSession | undefined
  readonly inFlight: MovedInFlight[] = []
  isStateHere = false
  isQueueHere = false
  /** It is on the disk here, where sessions are kept: the giver may forget it. */
  isKeptHere = false
  /** What all nodes were asked. */
  cut: LinkBodyOf<'takeoverCut'> | undefined
  /** Nodes whose mark has not come; undefined before they are asked. */
  awaited: Set<NodeId> | undefined
  /** All that were asked, and whose mark has not come. */
  unmarked = new Set<NodeId>()
  /** What is behind their marks waits, since what is before them may come late. */
  readonly late = new Set<NodeId>()
  /** Of these the giver passes on what is before their marks; undefined before the last part. */
  owing: Set<NodeId> | undefined
  /** Cuts of earlier moves of the session that are not all made. */
  readonly earlier: EarlierCut[] = []
  messages = 0
  /** Whole parts that have come. */
  parts = 0
  /** Run when it is a session like any other, or none. */
  readonly followers: (() => void)[] = []

  constructor(
    readonly move: number,
    readonly request: FetchRequest,
    /** Undefined once it is called. */
    public done: ((isHere: boolean) => void) | undefined,
  ) {}
}

export class Taker {
  private readonly arrivals = new Map<number, Arrival>()
  private readonly byClient = new Map<string, Arrival>()
  private readonly moveLog: MoveLog
  private readonly finished = new FinishedMoves(SILENCE_MS)
  /** Marks may outlive this node: those of its lives before must not be taken for those of this one. */
  private lastMove = Math.floor(Math.random() * MOVE_MODULUS)

  constructor(private readonly modules: TakerModules) {
    this.moveLog = new MoveLog(modules.log)
  }

  get size(): number {
    return this.arrivals.size
  }

  fetch(request: FetchRequest, done: (isHere: boolean) => void): void {
    const { clientId, holder } = request
    if (!this.modules.peers().includes(holder)) {
      this.report('unreachable', clientId, holder)
      return done(false)
    }
    do this.lastMove = (this.lastMove + 1) % MOVE_MODULUS
    while (this.lastMove === 0 || this.arrivals.has(this.lastMove) || this.modules.aftermaths.has(this.lastMove))
    const move = this.lastMove
    const arrival = new Arrival(move, request, done)
    this.arrivals.set(move, arrival)
    this.byClient.set(clientId, arrival)
    this.modules.send(holder, this.requestOf(move, request))
  }

  /** The client wants nothing of it. */
  discard(clientId: string): void {
    const arrival = this.byClient.get(clientId)
    if (arrival === undefined) return
    this.tellEnd(arrival, true)
    this.fail(arrival, 'discarded')
  }

  /**
   * Calls `done` when the session of this client is here that was on its way before this epoch; false when none is. One
   * that is fetched since then comes back from where it goes first.
   */
  whenArrived(clientId: string, epoch: number, done: () => void): boolean {
    for (const { request, followers } of this.arrivals.values()) {
      if (request.clientId !== clientId || request.epoch > epoch) continue
      followers.push(done)
      return true
    }
    return false
  }

  piece(from: NodeId, { move, data, continued }: LinkBodyOf<'takeoverPiece'>['value']): void {
    const arrival = this.find(from, move)
    if (arrival === undefined) {
      // It came too late: its client has begun anew.
      const value = { move, fromTaker: true, discard: false, unseen: false }
      return this.modules.send(from, { $case: 'takeoverEnd', value })
    }
    arrival.heardAt = performance.now()
    this.modules.metrics.bytes.value += data.length
    this.modules.send(from, { $case: 'takeoverAck', value: { move, bytes: data.length } })
    try {
      const whole = arrival.assembler.add(asBuffer(data), continued)
      if (whole !== undefined) this.take(arrival, decodeSessionPart(whole))
    } catch (error) {
      const { clientId } = arrival.request
      this.modules.log.error({ clientId, peer: from, err: asError(error) }, 'session from another node is not readable')
      this.tellEnd(arrival, false)
      this.breakOff(arrival, 'timed_out')
    }
  }

  /** That node's messages are for this node from here on. */
  marked(node: NodeId, move: number): void {
    const arrival = this.arrivals.get(move)
    if (arrival === undefined) return this.modules.aftermaths.marked(node, move)
    if (arrival.awaited === undefined) return
    arrival.session?.cut(node)
    arrival.unmarked.delete(node)
    this.excuse(arrival, node)
  }

  /** The giver has passed on all that it had of that node. */
  settled(from: NodeId, move: number, node: NodeId): void {
    const arrival = this.find(from, move)
    if (arrival === undefined) return this.modules.aftermaths.settled(from, move, node)
    arrival.late.delete(node)
    arrival.owing?.delete(node)
    arrival.session?.release(node)
  }

  /** A message that a giver passes on; false when nothing is known of that move. */
  takePassedOn(from: NodeId, move: number, message: Message, pending: Hold | undefined): boolean {
    const session = this.find(from, move)?.session
    session?.take(message, pending)
    return session !== undefined
  }

  /** The giver has no such session, or keeps it. */
  ended(from: NodeId, move: number): void {
    const arrival = this.find(from, move)
    if (arrival !== undefined) this.breakOff(arrival, 'none')
  }

  /** The link to a node is another one: what was said on the one before may be lost. */
  linkUp(node: NodeId): void {
    const { self, send } = this.modules
    for (const move of this.finished.of(node)) send(node, { $case: 'takeoverDone', value: { move } })
    for (const { move, request, parts, cut, unmarked, isKeptHere } of this.arrivals.values()) {
      if (request.holder === node && isKeptHere) send(node, { $case: 'takeoverDone', value: { move } })
      else if (request.holder === node && parts > 0) send(node, { $case: 'takeoverResume', value: { move, parts } })
      else if (request.holder === node) send(node, this.requestOf(move, request))
      if (cut !== undefined && node !== self && (unmarked.has(node) || request.holder === node)) send(node, cut)
    }
  }

  /** A link is gone, perhaps not for long: pieces that came in part come again. */
  linkLost(node: NodeId): void {
    for (const { request, assembler } of this.arrivals.values()) if (request.holder === node) assembler.clear()
  }

  nodeGone(node: NodeId): void {
    for (const arrival of this.arrivals.values()) {
      if (arrival.request.holder === node) this.breakOff(arrival, 'unreachable')
      else this.excuse(arrival, node)
    }
  }

  checkTime(now: number): void {
    this.moveLog.checkTime(now)
    this.finished.checkTime(now)
    for (const arrival of this.arrivals.values()) {
      const age = now - arrival.startedAt
      const isDue = now > arrival.request.until
      if (!arrival.isStateHere && (age > STATE_TIMEOUT_MS || isDue)) {
        this.tellEnd(arrival, false)
        this.fail(arrival, 'timed_out')
      } else if (arrival.done !== undefined && (age > FETCH_TIMEOUT_MS || isDue)) {
        const late = [...(arrival.awaited ?? [])]
        this.modules.metrics.marksMissed.value += late.length
        this.moveLog.note('marks_missing', arrival.request.clientId, late)
        this.letIn(arrival)
      } else if (now - arrival.heardAt > SILENCE_MS) {
        this.tellEnd(arrival, false)
        this.breakOff(arrival, 'timed_out')
      }
    }
  }

  stop(): void {
    for (const arrival of this.arrivals.values()) this.breakOff(arrival, 'unreachable')
  }

  private take(arrival: Arrival, part: SessionPart): void {
    const { sessions, metrics } = this.modules
    const { clientId, epoch, owner } = arrival.request
    arrival.parts += 1
    arrival.session ??= sessions.arrive(clientId, epoch, owner)
    const { session } = arrival
    for (const subscription of part.subscriptions) session.subscribe(decodeSubscription(subscription))
    for (const packet of part.inFlight) arrival.inFlight.push(decodeInFlight(packet))
    for (const message of part.queue) session.add(decodeQueued(message))
    arrival.earlier.push(...part.earlier)
    const messages = part.inFlight.length + part.queue.length
    arrival.messages += messages
    metrics.messages.value += messages
    if (part.stateComplete && !arrival.isStateHere) {
      arrival.isStateHere = true
      session.restore(decodeState(part), arrival.inFlight)
      this.askForMarks(arrival, session)
    }
    if (part.last) {
      arrival.isQueueHere = true
      session.endQueue()
      this.learnWhatIsOwed(arrival, session, part)
      session.whenKept(() => {
        arrival.isKeptHere = true
        this.modules.send(arrival.request.holder, { $case: 'takeoverDone', value: { move: arrival.move } })
        this.finishIfDone(arrival)
      })
    }
  }

  /** The routes of the session go out in this turn; each node marks its messages once it has them. */
  private askForMarks(arrival: Arrival, session: ArrivingSession): void {
    const { self, send, peers, debtors, routeVersion } = this.modules
    const { move, earlier } = arrival
    const { holder } = arrival.request
    // The giver also where its link has just been lost: without its mark both would take what is published there.
    const nodes = [...new Set([self, holder, ...peers()])]
    const absent = debtors().filter((node) => !nodes.includes(node))
    arrival.awaited = new Set(nodes)
    arrival.unmarked = new Set([...nodes, ...absent])
    session.await(arrival.unmarked)
    // Until the last part says what the giver may still pass on: it may lose any of them meanwhile.
    for (const node of arrival.unmarked) if (node !== self && node !== holder) this.expectLate(arrival, node)
    const value = { move, giver: holder, nodes, routeVersion: routeVersion(), absent, takesRest: true, earlier }
    const cut: LinkBodyOf<'takeoverCut'> = { $case: 'takeoverCut', value }
    arrival.cut = cut
    for (const node of [...arrival.unmarked]) send(node, cut)
  }

  /** What is before that node's mark may come by the giver, and late. */
  private expectLate(arrival: Arrival, node: NodeId): void {
    arrival.late.add(node)
    arrival.session?.holdBack(node)
  }

  /** The giver has said what it passes on; what it does not, nobody else does, so that it is taken as it comes. */
  private learnWhatIsOwed(arrival: Arrival, session: ArrivingSession, { unmarked, passesOn }: SessionPart): void {
    arrival.owing = new Set(passesOn === true ? unmarked : [])
    if (passesOn !== true) {
      // A giver of an older release says nothing: it takes no more of anybody.
      const given = unmarked.length > 0 ? unmarked : [...arrival.unmarked]
      for (const node of given) {
        session.cut(node)
        arrival.unmarked.delete(node)
      }
    }
    for (const node of arrival.owing) this.expectLate(arrival, node)
    for (const node of arrival.late) if (!arrival.owing.has(node)) session.release(node)
  }

  /** Nobody waits for that node's mark (any more). */
  private excuse(arrival: Arrival, node: NodeId): void {
    if (arrival.awaited?.delete(node) === true && arrival.awaited.size === 0) this.letIn(arrival)
  }

  private letIn(arrival: Arrival): void {
    arrival.awaited?.clear()
    if (arrival.unmarked.size === 0 && arrival.late.size === 0) arrival.session?.openGate()
    this.settle(arrival, true)
    this.finishIfDone(arrival)
  }

  private finishIfDone(arrival: Arrival): void {
    if (arrival.done !== undefined || !arrival.isKeptHere || !this.forget(arrival)) return
    const { clientId, holder } = arrival.request
    const { session, move, cut, unmarked, owing } = arrival
    this.finished.add(move, holder)
    const isWhole = unmarked.size === 0 && (owing === undefined || owing.size === 0)
    if (!isWhole && session !== undefined && cut !== undefined)
      this.modules.aftermaths.add(new Aftermath(clientId, holder, move, cut, session, unmarked, owing ?? new Set()))
    this.modules.metrics.outcomes.moved.value++
    const expected = isWhole ? [] : [...new Set([...unmarked, ...(owing ?? [])])]
    const { messages } = arrival
    this.modules.log.debug({ clientId, peer: holder, move, messages, expected }, 'session has come from another node')
    session?.finish(!isWhole)
    for (const follower of arrival.followers) follower()
  }

  /** The giver sends no more: a session that the client has is kept as far as it has come. */
  private breakOff(arrival: Arrival, outcome: MoveOutcome): void {
    if (!arrival.isStateHere) return this.fail(arrival, outcome)
    if (!this.forget(arrival)) return
    this.report('cut_short', arrival.request.clientId, arrival.request.holder)
    this.settle(arrival, true)
    arrival.session?.finish()
    for (const follower of arrival.followers) follower()
  }

  private fail(arrival: Arrival, outcome: MoveOutcome): void {
    if (!this.forget(arrival)) return
    this.report(outcome, arrival.request.clientId, arrival.request.holder)
    arrival.session?.drop()
    this.settle(arrival, false)
    for (const follower of arrival.followers) follower()
  }

  private settle(arrival: Arrival, isHere: boolean): void {
    const { done } = arrival
    if (done === undefined) return
    arrival.done = undefined
    this.modules.metrics.waits.observe((performance.now() - arrival.startedAt) / 1000)
    done(isHere)
  }

  private forget(arrival: Arrival): boolean {
    const { clientId } = arrival.request
    if (this.byClient.get(clientId) === arrival) this.byClient.delete(clientId)
    return this.arrivals.delete(arrival.move)
  }

  private report(outcome: MoveOutcome, clientId: string, holder: NodeId): void {
    this.modules.metrics.outcomes[outcome].value++
    if (outcome === 'none' || outcome === 'discarded')
      this.modules.log.debug({ clientId, peer: holder, outcome }, 'session has not come')
    else this.moveLog.note(outcome, clientId, [holder])
  }

  private tellEnd({ move, request, done }: Arrival, discard: boolean): void {
    const value = { move, fromTaker: true, discard, unseen: discard && done !== undefined }
    this.modules.send(request.holder, { $case: 'takeoverEnd', value })
  }

  private requestOf(move: number, { clientId, epoch, owner, until }: FetchRequest): LinkBodyOf<'takeoverRequest'> {
    const patience = Math.round(Math.max(0, Math.min(STATE_TIMEOUT_MS, until - performance.now())))
    const value = { move, clientId, epoch, patience, ...(owner === undefined ? {} : { owner }) }
    return { $case: 'takeoverRequest', value }
  }

  private find(from: NodeId, move: number): Arrival | undefined {
    const arrival = this.arrivals.get(move)
    return arrival?.request.holder === from ? arrival : undefined
  }
}
