/**
 * A hybrid logical clock: close to the time of day, but never back, and always after everything this node has seen, so
 * that a later write wins over the one it knew, whatever the clocks of two machines say. [Kulkarni et al. 2014]
 */

export interface Timestamp {
  /** Milliseconds since the epoch. */
  time: number
  /** Tells apart and orders what happened in the same millisecond; 32 bits. */
  counter: number
}

/** A peer's clock may be this far ahead; beyond it its times are not taken over, lest one bad clock moves them all. */
export const MAXIMUM_DRIFT_MS = 60_000

const MAXIMUM_COUNTER = 0xffff_ffff

export class HybridClock {
  private time: number
  private counter = 0

  /**
   * @param now milliseconds since the epoch; `Date.now` unless a test decides
   * @param start no timestamp is earlier: a node gives its incarnation, so that a life in which the computer's clock
   * was set back does not write before the life before it
   */
  constructor(
    private readonly now: () => number = Date.now,
    start = 0,
  ) {
    this.time = start
  }

  /** What the computer's clock says, in milliseconds since the epoch. */
  get wallTime(): number {
    return this.now()
  }

  /** A timestamp after every one this clock has given or observed. */
  tick(): Timestamp {
    const now = this.now()
    if (now > this.time) {
      this.time = now
      this.counter = 0
    } else if (this.counter === MAXIMUM_COUNTER) {
      this.time += 1
      this.counter = 0
    } else {
      this.counter += 1
    }
    return { time: this.time, counter: this.counter }
  }

  /** Takes note of a timestamp of a peer; false when it is too far in the future to follow. */
  observe({ time, counter }: Timestamp): boolean {
    if (time > this.now() + MAXIMUM_DRIFT_MS) return false
    this.resume({ time, counter })
    return true
  }

  /** Goes on behind a timestamp of an earlier life, which is believed whatever the computer's clock says now. */
  resume({ time, counter }: Timestamp): void {
    if (time < this.time || (time === this.time && counter <= this.counter)) return
    this.time = time
    this.counter = counter
  }
}

/** Negative when the first was earlier, positive when it was later; the node's name decides between equals. */
export function compareWrites(a: Timestamp & { node: string }, b: Timestamp & { node: string }): number {
  if (a.time !== b.time) return a.time - b.time
  if (a.counter !== b.counter) return a.counter - b.counter
  if (a.node === b.node) return 0
  return a.node < b.node ? -1 : 1
}
