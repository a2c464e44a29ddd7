/** Growing pauses between attempts: exponential, with jitter so that many who lost the same peer do not return at once. */

export interface BackoffOptions {
  /** Milliseconds before the second attempt, before jitter; more than 0. */
  initialMs: number
  /** Milliseconds that no pause exceeds; at least `initialMs`. */
  maximumMs: number
  /** Growth from pause to pause; 1 or more, 2 unless given. */
  factor?: number
  /** Part of the pause that is left to chance, 0 to 1: a pause is between (1 - jitter) and 1 of its step. 0.5 unless given. */
  jitter?: number
  /** A number from 0 up to, not including, 1; `Math.random` unless a test decides. */
  random?: () => number
}

export class Backoff {
  private readonly initialMs: number
  private readonly maximumMs: number
  private readonly factor: number
  private readonly jitter: number
  private readonly random: () => number
  private stepMs: number
  private count = 0

  constructor(options: BackoffOptions) {
    const { initialMs, maximumMs, factor = 2, jitter = 0.5 } = options
    if (!(initialMs > 0)) throw new RangeError(`the first pause is more than 0 ms, not ${initialMs}`)
    if (!(maximumMs >= initialMs))
      throw new RangeError(`the longest pause is at least ${initialMs} ms, not ${maximumMs}`)
    if (!(factor >= 1)) throw new RangeError(`a factor is 1 or more, not ${factor}`)
    if (!(jitter >= 0 && jitter <= 1)) throw new RangeError(`jitter is 0 to 1, not ${jitter}`)
    this.initialMs = initialMs
    this.maximumMs = maximumMs
    this.factor = factor
    this.jitter = jitter
    this.random = options.random ?? Math.random
    this.stepMs = initialMs
  }

  /** Pauses handed out since the start or the last `reset`. */
  get attempts(): number {
    return this.count
  }

  /** The next pause in whole milliseconds; each call makes the following one longer, up to the maximum. */
  next(): number {
    const pause = this.stepMs * (1 - this.jitter * this.random())
    this.stepMs = Math.min(this.stepMs * this.factor, this.maximumMs)
    this.count += 1
    return Math.round(pause)
  }

  /** After a success: the next pause is the first again. */
  reset(): void {
    this.stepMs = this.initialMs
    this.count = 0
  }
}
