/** How long a client has not read what waits for it. A client that is slow but reads gets its time again and again. */

import type { Outbox } from './outbox.js'

export class DrainWatch {
  /** Time of `performance.now()`; 0 while the stream takes everything. */
  private since = 0
  /** Where the outbox stood then: the client has the drain time to read as far. */
  private mark = 0

  /** @param drainTimeout milliseconds */
  constructor(
    private readonly outbox: Outbox,
    private readonly drainTimeout: number,
  ) {}

  get isRunning(): boolean {
    return this.since !== 0
  }

  begin(now: number): void {
    this.since = now
    this.mark = this.outbox.totalBytes
  }

  /** The stream takes more again. */
  end(): void {
    this.since = 0
  }

  /** Milliseconds until the next look, Infinity while nothing waits; 0 when the client has not read in its time. */
  left(now: number): number {
    if (this.since === 0) return Number.POSITIVE_INFINITY
    if (this.since + this.drainTimeout <= now) {
      if (this.outbox.writtenBytes < this.mark) return 0
      // What came since has its own drain time.
      this.begin(now)
    }
    return this.since + this.drainTimeout - now
  }
}
