/**
 * Numbered batches as they come from one incarnation of a peer: each is delivered once, however often it is sent, and
 * acknowledged once everyone here who has to keep its messages has done so: cumulatively, and one by one behind a batch
 * that somebody cannot keep yet, so that nobody's slowness is anyone else's. Outlives links, not incarnations.
 *
 * Where sessions are kept on disk, so is how far the lane has come (`position`), in the same commit as the messages: the
 * next life of this node goes on from there.
 */

import type { PendingPublish } from '../broker/ports.js'
import { NodeError } from '../util/errors.js'
import { RingBuffer } from '../util/ring-buffer.js'
import { BatchAssembler } from './batch.js'
import { BatchHold, type BatchHoldOwner } from './batch-hold.js'
import type { BatchAck, BatchOrigin } from './wire.js'

/** Which batches a commit that is made now has, as the next life of this node needs to know. */
export interface LanePosition {
  /** All batches up to this sequence. */
  readonly upTo: number
  /** Of those behind it these. */
  readonly selected: readonly number[]
  /** First and last of those that the peer has passed over: they come from its store, if they do. */
  readonly gaps: readonly Gap[]
}

export type Gap = readonly [first: number, last: number]

export const NO_POSITION: LanePosition = { upTo: 0, selected: [], gaps: [] }

/** What the lane knows of one batch: nothing, that it is kept, or who has yet to keep it. */
export type Found = BatchHold | 'kept' | undefined

export interface InboundLaneModules {
  /** Delivers the messages in `entries`, in order, each with `pending`. Must not throw. */
  deliver: (entries: Buffer, waitedMs: number, pending: PendingPublish, origin: BatchOrigin | undefined) => void
  /** An acknowledgement is owed; called often, so to be collected until the turn ends. */
  onAckOwed: () => void
  /** A session that is kept has taken a message: the position goes with the next commit. */
  onKeeping?: () => void
  /** The same batch, if it has come before, in another lane or under another number; notes that it has come now. */
  findEarlier?: (origin: BatchOrigin) => Found
  /** This hint and those behind it are pieces without their rest: they have not come. */
  onHintLost?: (hint: number) => void
}

/** More are not remembered behind a batch that is not kept: then they may come again, as after any restart. */
const MAXIMUM_SELECTED = 4_096

/** One comes with each time that a peer has been down; what of older ones was to come has come long since. */
const MAXIMUM_GAPS = 64

export class InboundLane {
  private readonly assembler = new BatchAssembler()
  /** Received and not yet acknowledged in order; bounded by what the sender keeps. */
  private readonly unsettled = new RingBuffer<BatchHold>(Infinity)
  private readonly holdOwner: BatchHoldOwner = {
    onKept: (hold) => this.settle(hold),
    onResumed: () => this.modules.onKeeping?.(),
  }
  /** Pieces of an entry that has not come whole. */
  private pieces: BatchHold[] = []
  /** Kept behind one that is not, and not yet acknowledged. */
  private selected: number[] = []
  /** What a life of this node before this one had, beyond what is received. */
  private readonly known: Set<number>
  private gaps: readonly Gap[]
  private received: number
  private kept: number
  private acknowledged = 0
  private repeats = 0
  /** It goes on where the node was before its restart, which was not told of all that its peers were. */
  private isRestored: boolean

  /** @param position what the node had before it was restarted */
  constructor(
    private readonly modules: InboundLaneModules,
    position = NO_POSITION,
  ) {
    this.received = position.upTo
    this.kept = position.upTo
    this.known = new Set(position.selected)
    this.gaps = position.gaps
    this.isRestored = position !== NO_POSITION
  }

  /** Sequence of the last batch that came. */
  get receivedSequence(): number {
    return this.received
  }

  /** Sequence up to which everything is kept. */
  get keptSequence(): number {
    return this.kept
  }

  /** Batches that came again and were dropped. */
  get repeatedBatches(): number {
    return this.repeats
  }

  /** Batches received and not yet kept. */
  get length(): number {
    return this.unsettled.length
  }

  /** Those that are not yet kept. */
  holds(): Iterable<BatchHold> {
    return this.unsettled
  }

  /**
   * What a commit that is made now has: each batch whose messages the sessions have, if only in the same commit. Not one
   * that some session cannot keep yet, and no piece of an entry.
   */
  position(): LanePosition {
    let upTo = this.kept
    let isGapless = true
    const selected = [...this.known]
    for (const hold of this.unsettled) {
      if (!hold.isTaken) isGapless = false
      else if (isGapless) upTo = hold.sequence
      else if (selected.length < MAXIMUM_SELECTED) selected.push(hold.sequence)
    }
    if (isGapless) upTo = this.received
    return { upTo, selected, gaps: this.gaps }
  }

  /** Whether a batch has come, with this sequence. */
  find(sequence: number): Found {
    if (this.known.has(sequence)) return 'kept'
    if (sequence > this.received || this.gaps.some(([first, last]) => first <= sequence && sequence <= last)) {
      return undefined
    }
    if (sequence <= this.kept) return 'kept'
    for (const hold of this.unsettled) if (hold.sequence === sequence) return hold
    return 'kept'
  }

  /**
   * @param firstSequence the first that the peer can still send, as it said when the link opened; a gap before it
   * cannot be filled and is returned as the number of batches that are missing.
   * @param shelvedSequence up to this one they come in another way
   */
  open(firstSequence: number, shelvedSequence = 0): number {
    // Said again: what the peer was told when the link opened may be older than what has been kept since.
    this.acknowledged = 0
    // What was said of these may have been lost with the link.
    this.selected = Array.from(this.unsettled).flatMap(({ isKept, sequence }) => (isKept ? [sequence] : []))
    const { isRestored } = this
    this.isRestored = false
    if (firstSequence - 1 <= this.received) return 0
    const missing = firstSequence - 1 - Math.max(this.received, shelvedSequence)
    this.losePieces()
    this.addGap(this.received + 1, firstSequence - 1)
    this.received = firstSequence - 1
    if (this.unsettled.isEmpty) this.kept = this.received
    return isRestored ? 0 : Math.max(0, missing)
  }

  /**
   * @param isExact something in it must not come again, not even after a restart of this node
   * @throws NodeError BATCH_GAP when a batch is missing before this one: the link has to begin anew.
   */
  receive(
    sequence: number,
    entries: Buffer,
    continued: boolean,
    waitedMs: number,
    origin?: BatchOrigin,
    isExact = true,
  ): void {
    if (sequence <= this.received) {
      this.repeats += 1
      return
    }
    if (sequence !== this.received + 1) {
      throw new NodeError('a numbered batch is missing', {
        code: 'BATCH_GAP',
        expected: this.received + 1,
        received: sequence,
      })
    }
    const earlier = this.known.delete(sequence) ? 'kept' : this.findEarlier(origin)
    this.received = sequence
    const hold = new BatchHold(sequence, origin?.hint ?? 0, isExact, this.holdOwner)
    this.unsettled.push(hold)
    if (earlier === undefined) {
      this.take(hold, entries, continued, waitedMs, origin)
    } else {
      this.repeats += 1
      if (earlier !== 'kept') hold.follow(earlier)
    }
    hold.release()
    if (!hold.isKept) this.modules.onKeeping?.()
  }

  /** What to acknowledge; undefined when the peer knows it already. */
  takeAck(): BatchAck | undefined {
    if (this.kept === this.acknowledged && this.selected.length === 0) return undefined
    const selected = this.selected.filter((sequence) => sequence > this.kept)
    this.selected = []
    this.acknowledged = this.kept
    return { sequence: this.kept, selected }
  }

  /** The rest of an entry does not come in this lane: its pieces have not come either. */
  losePieces(): void {
    this.assembler.clear()
    const [first] = this.pieces
    if (first === undefined) return
    this.addGap(first.sequence, this.received)
    const hint = this.pieces.find((piece) => piece.hint !== 0)?.hint
    if (hint !== undefined) this.modules.onHintLost?.(hint)
    for (const piece of this.pieces.splice(0)) piece.endPiece()
  }

  private addGap(first: number, last: number): void {
    this.gaps = [...this.gaps, [first, last] as const].slice(-MAXIMUM_GAPS)
  }

  private findEarlier(origin: BatchOrigin | undefined): Found {
    return origin === undefined ? undefined : this.modules.findEarlier?.(origin)
  }

  private take(
    hold: BatchHold,
    entries: Buffer,
    continued: boolean,
    waitedMs: number,
    origin: BatchOrigin | undefined,
  ): void {
    const whole = this.assembler.add(entries, continued)
    if (whole === undefined) {
      // Without the rest it is nothing: it counts as received with the last piece, and kept with it.
      hold.beginPiece()
      this.pieces.push(hold)
      return
    }
    this.modules.deliver(whole, waitedMs, hold, origin)
    for (const piece of this.pieces.splice(0)) {
      piece.follow(hold)
      piece.endPiece()
    }
  }

  private settle(hold: BatchHold): void {
    if (this.unsettled.peek() === hold) this.advance()
    else this.selected.push(hold.sequence)
    this.modules.onAckOwed()
  }

  private advance(): void {
    let oldest = this.unsettled.peek()
    while (oldest?.isKept === true) {
      this.kept = oldest.sequence
      this.unsettled.shift()
      oldest = this.unsettled.peek()
    }
    if (this.unsettled.isEmpty) this.kept = this.received
  }
}
