/** A link that breaks again and again: how often it came up lately, and how long to wait before it is dialed again. */

/** What happened longer ago is forgotten. */
const WINDOW_MS = 60_000

/** So many links a window are no matter: a restart, a network that is moved. */
const FREE_LINKS = 5

/** Pauses double from the first to the longest; the longest is also that of a peer that does not answer. */
const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 2_000

/** Times kept: beyond this many a window the answer is the same. */
const MAXIMUM_TIMES = 32

export class Flapping {
  private readonly times: number[] = []

  /** A link came up. @param now of `performance.now` */
  note(now: number): void {
    this.times.push(now)
    if (this.times.length > MAXIMUM_TIMES) this.times.shift()
  }

  /** Links within the last minute; 32 stands for more as well. */
  recent(now: number): number {
    while ((this.times[0] ?? now) < now - WINDOW_MS) this.times.shift()
    return this.times.length
  }

  isFlapping(now: number): boolean {
    return this.recent(now) > FREE_LINKS
  }

  /**
   * Milliseconds from now until the next link may be dialed, counted from the last one; 0 while it does not flap. Each costs
   * both sides a handshake and digests.
   */
  pause(now: number): number {
    const surplus = this.recent(now) - FREE_LINKS
    if (surplus <= 0) return 0
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (surplus - 1))
    return Math.max(0, (this.times.at(-1) ?? 0) + pause - now)
  }
}
