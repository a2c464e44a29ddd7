/**
 * How much of something happens per minute, as exponentially weighted averages over 1, 5 and 15 minutes: Mosquitto's
 * `$SYS/broker/load/…`.
 */

const MINUTES = [1, 5, 15] as const
const MINUTE_MS = 60_000

class Load {
  private before: number
  private readonly averages = MINUTES.map(() => 0)

  constructor(private readonly count: () => number) {
    this.before = count()
  }

  /** Takes in what has happened in the last `elapsed` milliseconds. */
  update(elapsed: number): void {
    const now = this.count()
    const perMinute = ((now - this.before) * MINUTE_MS) / elapsed
    this.before = now
    for (const [index, minutes] of MINUTES.entries()) {
      const kept = Math.exp(-elapsed / (minutes * MINUTE_MS))
      this.averages[index] = perMinute + kept * ((this.averages[index] ?? 0) - perMinute)
    }
  }

  average(index: number): number {
    return this.averages[index] ?? 0
  }
}

export class LoadAverages {
  private readonly loads: ReadonlyMap<string, Load>
  private updatedAt: number

  /** @param counts by name, numbers that only grow; @param now a clock in milliseconds that never goes back */
  constructor(
    counts: Readonly<Record<string, () => number>>,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.loads = new Map(Object.entries(counts).map(([name, count]) => [name, new Load(count)]))
    this.updatedAt = now()
  }

  update(): void {
    const now = this.now()
    const elapsed = now - this.updatedAt
    if (elapsed <= 0) return
    this.updatedAt = now
    for (const load of this.loads.values()) load.update(elapsed)
  }

  /** Each average as `{name}/1min` and how to read it, with two decimals. */
  *topics(): Generator<readonly [name: string, read: () => string]> {
    for (const [name, load] of this.loads) {
      for (const [index, minutes] of MINUTES.entries()) {
        yield [`${name}/${minutes}min`, () => load.average(index).toFixed(2)]
      }
    }
  }
}
