/**
 * The giver's half of a move: sends the state of a session, then its queue, and what is added to the queue meanwhile,
 * as fast as the taker takes it. The last part goes when every node has said that its messages are the taker's now.
 *
 *   request ──► state ──► queue … ──all marks are here, queue empty──► last ──done──► forgotten
 *      └── no session: end        └── taker gone, or does not want it: the session stays, as it was
 */

import type { Logger } from 'pino'
import type { SessionMoves } from '../../broker/move-ports.js'
import type { NodeId } from '../../router/route-table.js'
import type { TurnQueue, TurnTask } from '../../util/turn.js'
import type { EarlierCut, LinkBody, LinkBodyOf } from '../wire.js'
import type { Aftermath } from './aftermath.js'
import { type Closing, Giving } from './giving.js'
import type { TakeoverMetrics } from './metrics.js'
import { MAXIMUM_RESTS, Rest, type RestModules } from './rest.js'

/** How long sessions are put into pieces in one turn, in milliseconds. */
const SLICE_MS = 2
/** A taker that says nothing for so long is not waited for, in milliseconds. */
const SILENCE_MS = 30_000

export interface GiverModules {
  readonly send: (to: NodeId, body: LinkBody) => void
  /** Whether a node is down or has left: it marks nothing any more. */
  readonly isGone: (node: NodeId) => boolean
  readonly turns: Pick<TurnQueue, 'add'>
  readonly sessions: SessionMoves
  readonly self: NodeId
  /** Nodes with a link: those that can mark soon. */
  readonly peers: () => readonly NodeId[]
  readonly passOn: RestModules['passOn']
  readonly mark: RestModules['mark']
  /** What is still to come for a session that came here before; undefined for nearly every session. */
  readonly aftermathOf: (clientId: string) => Aftermath | undefined
  /** Of the move in which it came here, and of those before it: cuts that are not all made. */
  readonly earlierCuts: (clientId: string) => EarlierCut[]
  readonly metrics: TakeoverMetrics
  readonly log: Logger
}

export class Giver implements TurnTask {
  isQueued = false
  /** By taker and its number for the move. */
  private readonly givings = new Map<string, Giving>()
  /** By the same: sessions that are gone, and that messages may still have to follow. */
  private readonly rests = new Map<string, Rest>()

  constructor(private readonly modules: GiverModules) {}

  /** Sessions that are gone, and that messages may still have to follow. */
  get restCount(): number {
    return this.rests.size
  }

  get size(): number {
    return this.givings.size
  }

  /** Messages that wait until the takers have their sessions. */
  get restWaiting(): number {
    let messages = 0
    for (const { rest } of this.givings.values()) messages += rest?.waitingCount ?? 0
    return messages
  }

  /** Whether this move has begun. */
  has(from: NodeId, move: number): boolean {
    return this.find(from, move) !== undefined
  }

  request(from: NodeId, { move, clientId, epoch, owner }: LinkBodyOf<'takeoverRequest'>['value']): void {
    // Asked again, on another link.
    if (this.find(from, move)?.epoch === epoch) return this.resume(from, { move, parts: 0 })
    const before = this.ofClient(clientId)
    if (before !== undefined) {
      if (before.epoch > epoch) return this.refuse(from, move)
      // The client has moved on before its session has.
      this.abort(before)
    }
    const session = this.modules.sessions.leave(clientId, epoch, owner)
    if (session === undefined) return this.refuse(from, move)
    const stateEnd = { earlier: this.modules.earlierCuts(clientId) }
    const close = (): Closing => this.close(giving)
    const giving: Giving = new Giving(from, move, epoch, session, this.modules.send, stateEnd, close)
    this.givings.set(keyOf(from, move), giving)
    session.watchUnsettled((packetId, refused) => {
      this.modules.send(from, { $case: 'takeoverSettled', value: { clientId, packetIds: [packetId], refused } })
    })
    this.wake()
  }

  acknowledged(from: NodeId, { move, bytes }: LinkBodyOf<'takeoverAck'>['value']): void {
    const giving = this.find(from, move)
    if (giving === undefined) return
    giving.heardAt = performance.now()
    giving.credit += bytes
    this.wake()
  }

  /** Goes on where the taker is, on a new link. */
  resume(from: NodeId, { move, parts }: LinkBodyOf<'takeoverResume'>['value']): void {
    const giving = this.find(from, move)
    if (giving === undefined) return this.refuse(from, move)
    giving.heardAt = performance.now()
    if (giving.resume(parts)) this.wake()
    else this.abort(giving)
  }

  /** The taker asks all nodes for marks. */
  asked(taker: NodeId, { move, nodes, absent, takesRest }: LinkBodyOf<'takeoverCut'>['value']): void {
    const giving = this.find(taker, move)
    if (giving === undefined) return
    const { self, isGone, peers } = this.modules
    const inReach = [self, taker, ...peers()]
    giving.takesRest = takesRest === true
    // The taker may not have known yet that one of them is gone.
    const awaited = nodes.filter((node) => !isGone(node) && (!giving.takesRest || inReach.includes(node)))
    giving.await([...nodes, ...absent], awaited)
    this.wake()
  }

  marked(node: NodeId, taker: NodeId, move: number): void {
    const giving = this.find(taker, move)
    if (giving === undefined) this.rests.get(keyOf(taker, move))?.marked(node)
    else giving.mark(node)
    this.wake()
  }

  done(from: NodeId, { move }: LinkBodyOf<'takeoverDone'>['value']): void {
    const giving = this.find(from, move)
    if (giving === undefined) return
    this.givings.delete(keyOf(from, move))
    const { clientId } = giving.session
    giving.session.commit()
    if (giving.rest !== undefined) this.rests.set(keyOf(from, move), giving.rest)
    giving.rest?.begin()
    const expected = giving.rest?.unmarked ?? []
    this.modules.log.debug({ clientId, peer: from, move, expected }, 'session has gone to the node of its client')
  }

  /** The taker does not want it any more. */
  ended(from: NodeId, { move, discard, unseen }: LinkBodyOf<'takeoverEnd'>['value']): void {
    const giving = this.find(from, move)
    if (giving === undefined) return this.endRest(from, move)
    if (!discard) return this.abort(giving)
    this.givings.delete(keyOf(from, move))
    giving.rest?.end()
    if (unseen) giving.session.end()
    else giving.session.commit()
  }

  /** Nobody is at the taker who would get what is passed on. */
  private endRest(taker: NodeId, move: number): void {
    const rest = this.rests.get(keyOf(taker, move))
    if (rest === undefined || rest.isOver) return
    const { clientId, unmarked } = rest
    this.modules.log.debug({ clientId, peer: taker, move, expected: unmarked }, 'nothing follows a session any more')
    rest.end()
  }

  /** The client is here again. */
  reclaim(clientId: string): void {
    const giving = this.ofClient(clientId)
    if (giving !== undefined) this.abort(giving)
  }

  /** Another life of a node is there: it does not know the moves of the one before. */
  nodeBegunAnew(node: NodeId): void {
    for (const rest of this.rests.values()) if (rest.taker === node) rest.end()
  }

  /**
   * Called about once a second.
   * @param members other nodes that are or may come back
   * @param debtors those whose messages may still come
   */
  checkMembers(members: ReadonlySet<NodeId>, debtors: ReadonlySet<NodeId>): void {
    for (const [key, rest] of this.rests) {
      rest.checkMembers(members, debtors)
      if (rest.isOver) this.rests.delete(key)
    }
  }

  linkLost(node: NodeId): void {
    for (const giving of this.givings.values()) if (giving.taker === node) giving.pause()
  }

  nodeGone(node: NodeId): void {
    for (const giving of this.givings.values()) {
      if (giving.taker === node) this.abort(giving, true)
      else giving.excuse(node)
    }
    this.wake()
  }

  checkTime(now: number): void {
    for (const giving of this.givings.values()) {
      giving.checkTime(now)
      if (now - giving.heardAt > SILENCE_MS) this.abort(giving)
    }
    this.wake()
  }

  stop(): void {
    for (const giving of this.givings.values()) this.abort(giving)
    for (const rest of this.rests.values()) rest.end()
    this.rests.clear()
  }

  /** A piece of each session in turn, as long as a turn may be. */
  runTurn(): void {
    const until = performance.now() + SLICE_MS
    let busy = [...this.givings.values()]
    while (busy.length > 0) {
      busy = busy.filter((giving) => giving.sendPiece())
      if (performance.now() < until) continue
      if (busy.length > 0) this.wake()
      return
    }
  }

  private wake(): void {
    if (this.givings.size > 0) this.modules.turns.add(this)
  }

  /** The queue is sent. What is still missing of the others follows it, if the taker knows what that is. */
  private close(giving: Giving): Closing {
    const { session, takesRest, unmarked } = giving
    const before = this.modules.aftermathOf(session.clientId)
    const isNeeded = takesRest && (unmarked.length > 0 || before !== undefined)
    // On another link the end of the queue is sent once more.
    if (isNeeded && giving.rest === undefined && !giving.isRestRefused) this.leaveRest(giving, before)
    session.close()
    const { rest } = giving
    return rest === undefined
      ? { unmarked, passesOn: unmarked.length === 0 }
      : { unmarked: rest.unmarked, passesOn: true }
  }

  private leaveRest(giving: Giving, before: Aftermath | undefined): void {
    const { passOn, mark, metrics } = this.modules
    if (this.rests.size >= MAXIMUM_RESTS) {
      giving.isRestRefused = true
      metrics.restsRefused.value++
      return
    }
    const { taker, move, session, unmarked } = giving
    giving.rest = new Rest(taker, move, session, new Set(unmarked), before, {
      passOn,
      mark,
      onPassed: () => {
        metrics.restMessages.value++
      },
      onDropped: (messages) => {
        metrics.restDropped.value += messages
      },
    })
  }

  /** @param isTakerGone what was the taker's meanwhile is the session's here */
  private abort(giving: Giving, isTakerGone = false): void {
    const { taker, move, session, rest } = giving
    this.givings.delete(keyOf(taker, move))
    this.refuse(taker, move)
    session.abort(isTakerGone)
    rest?.giveBack()
    this.modules.log.info({ clientId: session.clientId, peer: taker }, 'session stays, its move came to nothing')
  }

  private refuse(taker: NodeId, move: number): void {
    this.modules.send(taker, { $case: 'takeoverEnd', value: { move, fromTaker: false, discard: false, unseen: false } })
  }

  private find(taker: NodeId, move: number): Giving | undefined {
    return this.givings.get(keyOf(taker, move))
  }

  private ofClient(clientId: string): Giving | undefined {
    // Few at a time.
    for (const giving of this.givings.values()) if (giving.session.clientId === clientId) return giving
    return undefined
  }
}

function keyOf(taker: NodeId, move: number): string {
  return `${move} ${taker}`
}
