/**
 * The giver's half of a move: sends the state of a session, then its queue, and what is added to the queue meanwhile,
 * as fast as the taker takes it. The last part goes when every node has said that its messages are the taker's now.
 *
 *   request ──► state ──► queue … ──all marks are here, queue empty──► last ──done──► forgotten
 *      └── no session: end        └── taker gone, or does not want it: the session stays, as it was
 */

import type { Logger } from 'pino'
import type { LeavingSession, SessionMoves } from '../../broker/move-ports.js'
import type { NodeId } from '../../router/route-table.js'
import type { TurnQueue, TurnTask } from '../../util/turn.js'
import { encodeSessionPart, type LinkBody, type LinkBodyOf, type SessionPart } from '../wire.js'
import { emptyPart, queuePart, stateParts } from './session-part.js'

/** Bytes on their way to the taker at most, of one session. */
const WINDOW_BYTES = 512 * 1024
/** How long sessions are put into pieces in one turn, in milliseconds. */
const SLICE_MS = 2
/** Bytes of one message on the link: others get between. */
const PIECE_BYTES = 32 * 1024
/** A taker that says nothing for so long is not waited for, in milliseconds. */
const SILENCE_MS = 30_000
/** How long marks are waited for once they are asked for, in milliseconds. */
const MARKS_TIMEOUT_MS = 10_000

interface Piece {
  readonly data: Buffer
  readonly continued: boolean
}

export interface GiverModules {
  readonly send: (to: NodeId, body: LinkBody) => void
  /** Whether a node is down or has left: it marks nothing any more. */
  readonly isGone: (node: NodeId) => boolean
  readonly turns: Pick<TurnQueue, 'add'>
  readonly sessions: SessionMoves
  readonly log: Logger
}

/** One session on its way. */
class Giving {
  credit = WINDOW_BYTES
  heardAt = performance.now()
  private state: Generator<SessionPart>
  private pieces: Piece[] = []
  /** Parts that are sent or in `pieces`. */
  private parts = 0
  private stateParts = 0
  /** Of each part of the queue: how many messages of it are sent by its end. */
  private readonly ends: number[] = []
  private isStateSent = false
  private isLastSent = false
  private isPaused = false
  private readonly marked = new Set<NodeId>()
  private awaited: Set<NodeId> | undefined
  private askedAt = Number.POSITIVE_INFINITY

  constructor(
    readonly taker: NodeId,
    readonly move: number,
    readonly epoch: number,
    readonly session: LeavingSession,
    private readonly send: (to: NodeId, body: LinkBody) => void,
  ) {
    this.state = stateParts(session)
  }

  /** From that node's messages on, the taker gets them. */
  mark(node: NodeId): void {
    this.marked.add(node)
    this.session.cut(node)
  }

  await(nodes: readonly NodeId[]): void {
    this.awaited = new Set(nodes)
    this.askedAt = performance.now()
  }

  /** The link is lost: nothing goes until the taker has said on a new one what it has. */
  pause(): void {
    this.isPaused = true
    this.pieces = []
  }

  /** On a new link: the taker has this many parts. False when that cannot be. */
  resume(parts: number): boolean {
    if (parts > this.parts) return false
    this.isPaused = false
    this.credit = WINDOW_BYTES
    this.pieces = []
    this.isLastSent = false
    if (!this.isStateSent || parts < this.stateParts) {
      // The session is frozen: its state is what it was, part by part.
      this.state = stateParts(this.session)
      for (let part = 0; part < parts; part += 1) this.state.next()
      this.isStateSent = false
      this.stateParts = parts
      this.ends.length = 0
    } else {
      this.ends.length = Math.min(this.ends.length, parts - this.stateParts)
    }
    this.parts = parts
    return true
  }

  /** Nobody waits for that node's mark. */
  excuse(node: NodeId): void {
    this.awaited?.delete(node)
  }

  /** Gives up waiting for marks that are too late. */
  checkTime(now: number): void {
    if (now - this.askedAt > MARKS_TIMEOUT_MS) this.awaited?.clear()
  }

  /** Sends a piece, if there is one and the taker has room for it; false when not. */
  sendPiece(): boolean {
    const { taker, move } = this
    const piece = this.credit > 0 && !this.isPaused ? this.nextPiece() : undefined
    if (piece === undefined) return false
    this.credit -= piece.data.length
    this.send(taker, { $case: 'takeoverPiece', value: { move, ...piece } })
    return true
  }

  private nextPiece(): Piece | undefined {
    if (this.pieces.length === 0) {
      const part = this.nextPart()
      if (part === undefined) return undefined
      this.pieces = cut(encodeSessionPart(part)).reverse()
    }
    return this.pieces.pop()
  }

  private nextPart(): SessionPart | undefined {
    if (!this.isStateSent) {
      const { value } = this.state.next()
      if (value !== undefined) {
        this.parts += 1
        this.stateParts += 1
        return value
      }
      this.isStateSent = true
    }
    // The client waits for marks, and not for its queue: that goes behind them.
    if (this.awaited === undefined) return undefined
    const sent = this.ends.at(-1) ?? 0
    const next = queuePart(this.session, sent)
    if (next !== undefined) {
      this.parts += 1
      this.ends.push(sent + next.count)
      return next.part
    }
    if (this.isLastSent || !this.areMarksHere(this.awaited)) return undefined
    this.isLastSent = true
    this.parts += 1
    this.session.close()
    return { ...emptyPart(), last: true }
  }

  private areMarksHere(awaited: ReadonlySet<NodeId>): boolean {
    for (const node of awaited) if (!this.marked.has(node)) return false
    return true
  }
}

export class Giver implements TurnTask {
  isQueued = false
  /** By taker and its number for the move. */
  private readonly givings = new Map<string, Giving>()

  constructor(private readonly modules: GiverModules) {}

  get size(): number {
    return this.givings.size
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
    const giving = new Giving(from, move, epoch, session, this.modules.send)
    this.givings.set(keyOf(from, move), giving)
    session.watchUnsettled((packetId) => {
      this.modules.send(from, { $case: 'takeoverSettled', value: { clientId, packetIds: [packetId] } })
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
  asked(taker: NodeId, { move, nodes }: LinkBodyOf<'takeoverCut'>['value']): void {
    const giving = this.find(taker, move)
    // The taker may not have known yet that one of them is gone.
    giving?.await(nodes.filter((node) => !this.modules.isGone(node)))
    this.wake()
  }

  marked(node: NodeId, taker: NodeId, move: number): void {
    const giving = this.find(taker, move)
    giving?.mark(node)
    this.wake()
  }

  done(from: NodeId, { move }: LinkBodyOf<'takeoverDone'>['value']): void {
    const giving = this.find(from, move)
    if (giving === undefined) return
    this.givings.delete(keyOf(from, move))
    const { clientId } = giving.session
    giving.session.commit()
    this.modules.log.debug({ clientId, peer: from }, 'session has gone to the node of its client')
  }

  /** The taker does not want it any more. */
  ended(from: NodeId, { move, discard, unseen }: LinkBodyOf<'takeoverEnd'>['value']): void {
    const giving = this.find(from, move)
    if (giving === undefined) return
    if (!discard) return this.abort(giving)
    this.givings.delete(keyOf(from, move))
    if (unseen) giving.session.end()
    else giving.session.commit()
  }

  /** The client is here again. */
  reclaim(clientId: string): void {
    const giving = this.ofClient(clientId)
    if (giving !== undefined) this.abort(giving)
  }

  linkLost(node: NodeId): void {
    for (const giving of this.givings.values()) if (giving.taker === node) giving.pause()
  }

  nodeGone(node: NodeId): void {
    for (const giving of this.givings.values()) {
      if (giving.taker === node) this.abort(giving)
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

  private abort(giving: Giving): void {
    const { taker, move, session } = giving
    this.givings.delete(keyOf(taker, move))
    this.refuse(taker, move)
    session.abort()
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

/** Pieces of a part; one at least. */
function cut(bytes: Buffer): Piece[] {
  const pieces: Piece[] = []
  for (let at = 0; at === 0 || at < bytes.length; at += PIECE_BYTES) {
    const end = Math.min(at + PIECE_BYTES, bytes.length)
    pieces.push({ data: bytes.subarray(at, end), continued: end < bytes.length })
  }
  return pieces
}
