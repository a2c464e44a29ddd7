/**
 * Marks of sessions that move which the peer has not acknowledged, in memory or in the store: whoever asks for a mark again
 * while it is on its way adds nothing. So a lane, and the store behind it, has one of each move at most, for each life of this
 * node in which it was asked for.
 */

import type { SealedBatch } from './batch.js'
import { markOf } from './entry-extension.js'

export class UnheardMarks {
  private readonly keys = new Set<string>()

  /** False when the same mark is on its way. */
  add(mark: Uint8Array): boolean {
    const before = this.keys.size
    this.keys.add(keyOf(mark))
    return this.keys.size > before
  }

  /** The peer has this batch, which may be a mark. */
  heard({ entries, count, continued }: SealedBatch): void {
    if (count > 0 || continued || this.keys.size === 0) return
    const mark = markOf(entries)
    if (mark !== undefined) this.keys.delete(keyOf(mark))
  }

  /** What was on its way is given up. */
  clear(): void {
    this.keys.clear()
  }
}

function keyOf(mark: Uint8Array): string {
  return Buffer.from(mark.buffer, mark.byteOffset, mark.byteLength).toString('latin1')
}
