/**
 * Numbered batches as they come from one incarnation of a peer: each is delivered once, however often it is sent, and
 * acknowledged once everyone here who has to keep its messages has done so: cumulatively, and one by one behind a batch
 * that somebody cannot keep yet, so that nobody's slowness is anyone else's. Outlives links, not incarnations.
 */

import type { PendingPublish } from '../broker/ports.js'
import { NodeError } from '../util/errors.js'
import { RingBuffer } from '../util/ring-buffer.js'
import { BatchAssembler } from './batch.js'
import type { BatchAck } from './wire.js'

/** Everyone here who has to keep a message of one batch holds the batch: one object for all its messages. */
class BatchHold implements PendingPublish {
  private holds = 1

  constructor(
    readonly sequence: number,
    private readonly onKept: (hold: BatchHold) => void,
  ) {}

  get isKept(): boolean {
    return this.holds === 0
  }

  hold(): void {
    this.holds += 1
  }

  release(): void {
    this.holds -= 1
    if (this.holds === 0) this.onKept(this)
  }
}

export interface InboundLaneModules {
  /** Delivers the messages in `entries`, in order, each with `pending`. Must not throw. */
  deliver: (entries: Buffer, waitedMs: number, pending: PendingPublish) => void
  /** An acknowledgement is owed; called often, so to be collected until the turn ends. */
  onAckOwed: () => void
}

export class InboundLane {
  private readonly assembler = new BatchAssembler()
  /** Received and not yet acknowledged in order; bounded by what the sender keeps. */
  private readonly unsettled = new RingBuffer<BatchHold>(Infinity)
  private readonly onKept = (hold: BatchHold): void => this.settle(hold)
  /** Kept behind one that is not, and not yet acknowledged. */
  private selected: number[] = []
  private received = 0
  private kept = 0
  private acknowledged = 0
  private repeats = 0

  constructor(private readonly modules: InboundLaneModules) {}

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

  /**
   * @param firstSequence the first that the peer can still send, as it said when the link opened; a gap before it
   * cannot be filled and is returned as the number of batches that are missing.
   */
  open(firstSequence: number): number {
    // Said again: what the peer was told when the link opened may be older than what has been kept since.
    this.acknowledged = 0
    // What was said of these may have been lost with the link.
    this.selected = Array.from(this.unsettled).flatMap(({ isKept, sequence }) => (isKept ? [sequence] : []))
    const missing = firstSequence - 1 - this.received
    if (missing <= 0) return 0
    this.received = firstSequence - 1
    this.assembler.clear()
    if (this.unsettled.isEmpty) this.kept = this.received
    return missing
  }

  /** @throws NodeError BATCH_GAP when a batch is missing before this one: the link has to begin anew. */
  receive(sequence: number, entries: Buffer, continued: boolean, waitedMs: number): void {
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
    this.received = sequence
    const hold = new BatchHold(sequence, this.onKept)
    this.unsettled.push(hold)
    const whole = this.assembler.add(entries, continued)
    if (whole !== undefined) this.modules.deliver(whole, waitedMs, hold)
    hold.release()
  }

  /** What to acknowledge; undefined when the peer knows it already. */
  takeAck(): BatchAck | undefined {
    if (this.kept === this.acknowledged && this.selected.length === 0) return undefined
    const selected = this.selected.filter((sequence) => sequence > this.kept)
    this.selected = []
    this.acknowledged = this.kept
    return { sequence: this.kept, selected }
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
