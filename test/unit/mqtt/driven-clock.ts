import type { TestContext } from 'node:test'
import { TimerWheel } from '../../../src/util/timer-wheel.js'

const TICK_MS = 50

/** A clock that moves only when a test moves it: `performance.now` for the sources, and a timer wheel that follows it. */
export class DrivenClock {
  readonly timers: TimerWheel
  private time = 1_000_000

  constructor(context: TestContext) {
    context.mock.method(performance, 'now', () => this.time)
    this.timers = new TimerWheel({ tickMs: TICK_MS })
    context.after(() => this.timers.stop())
  }

  /** Lets time pass, firing what is due on the way. */
  advance(milliseconds: number): void {
    const end = this.time + milliseconds
    while (this.time < end) {
      this.time = Math.min(this.time + TICK_MS, end)
      this.timers.tick()
    }
  }
}
