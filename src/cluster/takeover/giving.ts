/** One session on its way from here, as far as it has been sent. */

import type { LeavingSession } from '../../broker/move-ports.js'
import type { NodeId } from '../../router/route-table.js'
import { encodeSessionPart, type LinkBody, type SessionPart } from '../wire.js'
import type { Rest } from './rest.js'
import { emptyPart, queuePart, stateParts } from './session-part.js'

/** Bytes on their way to the taker at most, of one session. */
const WINDOW_BYTES = 512 * 1024
/** Bytes of one message on the link: others get between. */
const PIECE_BYTES = 32 * 1024
/** How long the last part waits for marks once they are asked for, in milliseconds: what comes behind it is passed on. */
const MARKS_TIMEOUT_MS = 3_000
/** The same for a taker that knows nothing of that. */
const MARKS_OF_OLD_TIMEOUT_MS = 10_000

interface Piece {
  readonly data: Buffer
  readonly continued: boolean
}

/** What goes with the last part: see `SessionPart`. */
export interface Closing {
  readonly unmarked: string[]
  readonly passesOn: boolean
}

export class Giving {
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
  /** All that were asked for marks, waited for or not. */
  private asked: readonly NodeId[] = []
  /** The taker takes what is passed on. */
  takesRest = false
  rest: Rest | undefined
  /** There was no room for one; counted. */
  isRestRefused = false
  private askedAt = Number.POSITIVE_INFINITY

  constructor(
    readonly taker: NodeId,
    readonly move: number,
    readonly epoch: number,
    readonly session: LeavingSession,
    private readonly send: (to: NodeId, body: LinkBody) => void,
    /** What is said with the last part of the state. */
    private readonly stateEnd: Pick<SessionPart, 'earlier'>,
    /** Called when the queue is sent and no more is waited for. */
    private readonly close: () => Closing,
  ) {
    this.state = stateParts(session)
  }

  /** Nodes that were asked, and whose marks are not here. */
  get unmarked(): NodeId[] {
    return this.asked.filter((node) => !this.marked.has(node))
  }

  /** From that node's messages on, the taker gets them. */
  mark(node: NodeId): void {
    this.marked.add(node)
    this.session.cut(node)
    this.rest?.marked(node)
  }

  /** @param asked all nodes @param awaited those of them that the last part waits for */
  await(asked: readonly NodeId[], awaited: readonly NodeId[]): void {
    this.asked = asked
    this.awaited = new Set(awaited)
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
    if (now - this.askedAt > (this.takesRest ? MARKS_TIMEOUT_MS : MARKS_OF_OLD_TIMEOUT_MS)) this.awaited?.clear()
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
        return value.stateComplete ? { ...value, ...this.stateEnd } : value
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
    return { ...emptyPart(), last: true, ...this.close() }
  }

  private areMarksHere(awaited: ReadonlySet<NodeId>): boolean {
    for (const node of awaited) if (!this.marked.has(node)) return false
    return true
  }
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
