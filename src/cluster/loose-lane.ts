/**
 * QoS 0 messages on their way to one peer: batched, not numbered, never sent twice. What the link cannot take waits
 * here up to a bound; beyond it the newest message is dropped and counted, so that those that wait keep their order.
 */

import type { Frame } from '../mqtt/wire/message.js'
import { RingBuffer } from '../util/ring-buffer.js'
import { BatchWriter, type SealedBatch } from './batch.js'
import { PLAIN_HEAD } from './entry-extension.js'
import type { LinkBodyOf } from './wire.js'

export interface LaneOptions {
  /** Bytes of a batch at most. */
  batchBytes: number
  /** Bytes that the lane holds at most. */
  limitBytes: number
}

export class LooseLane {
  private readonly limitBytes: number
  private readonly writer: BatchWriter
  private readonly ready = new RingBuffer<SealedBatch>(Infinity) // bounded by limitBytes
  private held = 0
  private waiting = 0
  /** The last batch that went out ended within a message. */
  private isMidMessage = false

  constructor({ batchBytes, limitBytes }: LaneOptions) {
    this.limitBytes = limitBytes
    this.writer = new BatchWriter(batchBytes, (batch) => this.ready.push(batch))
  }

  /** Bytes that wait. */
  get bytes(): number {
    return this.held
  }

  /** Messages that wait. */
  get length(): number {
    return this.waiting
  }

  /** Copies the message in; false when the lane is full. */
  offer(frame: Frame, head: Buffer = PLAIN_HEAD): boolean {
    const size = head.length + frame.end - frame.start
    if (this.held + size > this.limitBytes) return false
    this.held += size
    this.waiting += 1
    this.writer.add(frame, head)
    return true
  }

  /** The next full batch, or with `isTurnOver` what there is. */
  next(isTurnOver: boolean): LinkBodyOf<'looseBatch'> | undefined {
    if (isTurnOver && this.ready.isEmpty) this.writer.seal()
    const batch = this.ready.shift()
    if (batch === undefined) return undefined
    this.held -= batch.bytes
    this.waiting -= batch.count
    this.isMidMessage = batch.continued
    const waited = Math.round(performance.now() - batch.startedAt)
    return { $case: 'looseBatch', value: { sequence: 0, entries: batch.entries, continued: batch.continued, waited } }
  }

  /**
   * A new link: the peer has forgotten the beginning of a message whose pieces went over the old one, and would take
   * the rest for messages. Drops that rest; returns how many messages were lost so.
   */
  resume(): number {
    if (!this.isMidMessage) return 0
    this.isMidMessage = false
    for (;;) {
      const piece = this.ready.shift()
      if (piece === undefined) return 1
      this.held -= piece.bytes
      this.waiting -= piece.count
      if (!piece.continued) return 1
    }
  }

  /** Drops everything; returns how many messages that were. */
  clear(): number {
    const dropped = this.waiting
    this.writer.clear()
    this.ready.clear()
    this.held = 0
    this.waiting = 0
    this.isMidMessage = false
    return dropped
  }
}
