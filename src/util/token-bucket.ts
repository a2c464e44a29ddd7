/** How often something may happen: `rate` times a second on average, `burst` times at once. */
export class TokenBucket {
  private tokens: number
  private filledAt: number

  /**
   * @param rate per second; more than 0.
   * @param burst at least 1: how many there are after a rest.
   * @param now a clock in milliseconds that never goes back.
   */
  constructor(
    private readonly rate: number,
    private readonly burst: number,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.tokens = burst
    this.filledAt = now()
  }

  /** Whether it may happen once more now. Takes nothing. */
  get hasToken(): boolean {
    this.fill()
    return this.tokens >= 1
  }

  /** It happens. False, and nothing taken, when it may not. */
  take(): boolean {
    if (!this.hasToken) return false
    this.tokens -= 1
    return true
  }

  private fill(): void {
    const now = this.now()
    this.tokens = Math.min(this.burst, this.tokens + ((now - this.filledAt) / 1_000) * this.rate)
    this.filledAt = now
  }
}
