/**
 * Whether the client of an open connection still lives: it is heard of within one and a half keep-alives, and reads
 * what waits for it within the drain time.
 */

import { DrainWatch } from './drain-watch.js'
import type { Outbox } from './outbox.js'

/** What a client is late with; also the reason to close its connection. */
export type Lateness = 'keep_alive_timeout' | 'drain_timeout'

/** Milliseconds for each second of the keep-alive: one and a half. [MQTT-3.1.2-22] */
const KEEP_ALIVE_GRACE_MS = 1_500

export class Liveness {
  /** Seconds, as in force; 0: no limit. */
  keepAlive = 0
  private lastHeard = performance.now()
  /** Of a client that was slow at least once. */
  private drain: DrainWatch | undefined

  /** @param drainTimeout milliseconds */
  constructor(
    private readonly outbox: Outbox,
    private readonly drainTimeout: number,
  ) {}

  /** A packet has come. */
  heard(): void {
    this.lastHeard = performance.now()
  }

  /** The stream takes no more for now; true when it did before. */
  congested(now: number): boolean {
    this.drain ??= new DrainWatch(this.outbox, this.drainTimeout)
    if (this.drain.isRunning) return false
    this.drain.begin(now)
    return true
  }

  /** The stream takes more again. */
  drained(): void {
    this.drain?.end()
  }

  overdue(now: number): Lateness | undefined {
    if (this.keepAliveLeft(now) <= 0) return 'keep_alive_timeout'
    return this.drain?.left(now) === 0 ? 'drain_timeout' : undefined
  }

  /** Milliseconds until the client may be overdue; Infinity when nothing is expected of it. */
  left(now: number): number {
    return Math.max(0, Math.min(this.keepAliveLeft(now), this.drain?.left(now) ?? Number.POSITIVE_INFINITY))
  }

  private keepAliveLeft(now: number): number {
    if (this.keepAlive === 0) return Number.POSITIVE_INFINITY
    return this.lastHeard + this.keepAlive * KEEP_ALIVE_GRACE_MS - now
  }
}
