/**
 * QoS 1 and 2 messages on their way to one peer: batched, numbered, and kept until the peer has acknowledged them, so
 * that they can be sent again on the next link to the same incarnation. Holds of publishers are released as their
 * batches are acknowledged. One lane serves one pair of incarnations.
 */

import type { PendingPublish } from '../broker/ports.js'
import type { Frame } from '../mqtt/wire/message.js'
import { RingBuffer } from '../util/ring-buffer.js'
import { BatchAssembler, BatchWriter, type SealedBatch } from './batch.js'
import { PLAIN_HEAD } from './entry-extension.js'
import type { LaneOptions } from './loose-lane.js'
import type { LinkBodyOf } from './wire.js'

/**
 * A burst may take this many times the limit, for this long: its publishers wait for their acknowledgements, and a peer
 * that keeps up takes it in. A lane that stays over its limit longer says no.
 */
export const BURST_FACTOR = 8
export const BURST_MS = 5_000

interface KeptBatch {
  /** `TAKEN` once the peer has it although it lacks one before it. */
  sealed: SealedBatch
  /** Publishers that wait for this batch; emptied when they were answered early. */
  pendings: PendingPublish[]
}

/** Whole entries that wait for the peer. */
export interface OwedEntries {
  readonly entries: Buffer
  /** As `performance.now` tells, when the first message of their last piece came. */
  readonly startedAt: number
}

const NO_PENDINGS: PendingPublish[] = []
const TAKEN: SealedBatch = { entries: Buffer.alloc(0), continued: false, bytes: 0, count: 0, startedAt: 0 }

export class KeptLane {
  private readonly limitBytes: number
  private readonly writer: BatchWriter
  /** Unacknowledged batches, oldest first; bounded by limitBytes. */
  private readonly batches = new RingBuffer<KeptBatch>(Infinity)
  /** Sequence of the oldest batch kept, or of the next to be made. */
  private oldestSequence = 1
  /** How many of `batches` were written to the link that is open now. */
  private written = 0
  private pendings: PendingPublish[] = []
  private held = 0
  private waiting = 0
  /** Since when the lane is over its limit. */
  private overSince: number | undefined

  /** @param now a clock in milliseconds that never goes back; `performance.now` unless a test decides */
  constructor(
    { batchBytes, limitBytes }: LaneOptions,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.limitBytes = limitBytes
    this.writer = new BatchWriter(batchBytes, (sealed) => this.keep(sealed))
  }

  /** Bytes sent and unacknowledged, or waiting. */
  get bytes(): number {
    return this.held
  }

  /** Messages sent and unacknowledged, or waiting. */
  get length(): number {
    return this.waiting
  }

  /** Sequence of the first batch that can still be sent. */
  get firstSequence(): number {
    return this.oldestSequence
  }

  /**
   * Copies the message in; false when the lane is full: over its limit for `BURST_MS`, or over `BURST_FACTOR` times its
   * limit. A message that nobody waits for has no part in bursts, since nothing slows its publisher down.
   * @param pending gets its release when the peer has kept the message; undefined when nobody waits for that
   */
  offer(frame: Frame, pending: PendingPublish | undefined, head: Buffer = PLAIN_HEAD): boolean {
    const size = head.length + frame.end - frame.start
    if (this.held + size > this.limitBytes && (pending === undefined || !this.hasRoomForBurst(size))) return false
    this.held += size
    this.waiting += 1
    // The frame first: it may seal the batch before it, which takes the publishers that wait for that one.
    this.writer.add(frame, head)
    if (pending !== undefined) this.attach(pending)
    return true
  }

  /** Adds a message that another peer was owed, and that this one is to get: it is kept already, so there is room for it. */
  owe(frame: Frame, head: Buffer): void {
    this.held += head.length + frame.end - frame.start
    this.waiting += 1
    this.writer.add(frame, head)
  }

  /** What the peer has not acknowledged, oldest first, each with all its pieces. */
  *owed(): Generator<OwedEntries> {
    this.writer.seal()
    const assembler = new BatchAssembler()
    for (const { sealed } of this.batches) {
      if (sealed === TAKEN) continue
      const whole = assembler.add(sealed.entries, sealed.continued)
      if (whole !== undefined) yield { entries: whole, startedAt: sealed.startedAt }
    }
  }

  /** Puts a mark behind all messages until now; a few bytes, for which a full lane has room. */
  mark(mark: Uint8Array): void {
    this.writer.addMark(mark)
    this.held += this.batches.at(this.batches.length - 1)?.sealed.bytes ?? 0
  }

  /** The next batch that this link has not had; with `isTurnOver` also what has not filled a batch. */
  next(isTurnOver: boolean): LinkBodyOf<'batch'> | undefined {
    if (isTurnOver && this.written === this.batches.length) this.writer.seal()
    const batch = this.batches.at(this.written)
    if (batch === undefined) return undefined
    const { entries, continued, startedAt } = batch.sealed
    const sequence = this.oldestSequence + this.written
    this.written += 1
    return {
      $case: 'batch',
      value: { sequence, entries, continued, waited: Math.round(performance.now() - startedAt) },
    }
  }

  /** A new link to the same incarnation: what the peer has not received goes again. */
  resume(receivedSequence: number, keptSequence: number): void {
    if (receivedSequence >= this.oldestSequence + this.batches.length) {
      // This side has forgotten the peer and begun at 1 again, the peer has not: go on where the peer is.
      this.oldestSequence = receivedSequence + 1
      this.written = 0
      return
    }
    this.acknowledge(keptSequence)
    const received = receivedSequence - this.oldestSequence + 1
    this.written = Math.max(0, Math.min(received, this.batches.length))
  }

  /** The peer has kept all batches up to `sequence`. Returns how many messages that were. */
  acknowledge(sequence: number): number {
    let acknowledged = 0
    while (this.oldestSequence <= sequence) {
      const batch = this.batches.shift()
      if (batch === undefined) break
      this.oldestSequence += 1
      if (this.written > 0) this.written -= 1
      acknowledged += batch.sealed.count
      this.take(batch)
    }
    return acknowledged
  }

  /** The peer has kept these, though not all before them. It has received them, so they are never sent again. */
  acknowledgeSelected(sequences: readonly number[]): void {
    for (const sequence of sequences) {
      const batch = this.batches.at(sequence - this.oldestSequence)
      if (batch !== undefined) this.take(batch)
    }
  }

  /** Answers all publishers that wait, and goes on keeping the messages. */
  releaseAll(): void {
    release(this.takePendings())
  }

  /**
   * Answers everyone and forgets everything; numbers go on where they were, so that the peer sees the gap. Returns how
   * many messages were never acknowledged.
   */
  settle(): number {
    const lost = this.waiting
    const pendings = this.takePendings()
    this.oldestSequence += this.batches.length
    this.batches.clear()
    this.writer.clear()
    this.written = 0
    this.held = 0
    this.waiting = 0
    this.overSince = undefined
    // Last, because an answered publisher may send at once.
    release(pendings)
    return lost
  }

  private hasRoomForBurst(size: number): boolean {
    const now = this.now()
    this.overSince ??= now
    return this.held + size <= this.limitBytes * BURST_FACTOR && now - this.overSince < BURST_MS
  }

  private takePendings(): PendingPublish[] {
    const taken: PendingPublish[] = []
    for (const batch of this.batches) {
      for (const pending of batch.pendings) taken.push(pending)
      batch.pendings = NO_PENDINGS
    }
    for (const pending of this.pendings) taken.push(pending)
    this.pendings = []
    return taken
  }

  private take(batch: KeptBatch): void {
    const { sealed, pendings } = batch
    batch.sealed = TAKEN
    batch.pendings = NO_PENDINGS
    this.held -= sealed.bytes
    this.waiting -= sealed.count
    if (this.held <= this.limitBytes) this.overSince = undefined
    release(pendings)
  }

  private attach(pending: PendingPublish): void {
    if (!this.writer.isEmpty) {
      this.pendings.push(pending)
      return
    }
    // Nothing is being filled: the message went in pieces, and the last of them is the newest batch.
    const newest = this.batches.at(this.batches.length - 1) as KeptBatch
    newest.pendings = newest.pendings === NO_PENDINGS ? [pending] : [...newest.pendings, pending]
  }

  private keep(sealed: SealedBatch): void {
    const { pendings } = this
    this.pendings = pendings.length === 0 ? pendings : []
    this.batches.push({ sealed, pendings: pendings.length === 0 ? NO_PENDINGS : pendings })
  }
}

function release(pendings: readonly PendingPublish[]): void {
  for (const pending of pendings) pending.release()
}
