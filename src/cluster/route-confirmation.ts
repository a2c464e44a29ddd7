/**
 * SUBACK waits here until every live peer has confirmed the routes announced before it, so that "subscribed" means the
 * cluster knows. One line in the order of versions: whoever waits longer waits for less.
 */

import type { Counter } from '../telemetry/registry.js'
import { RingBuffer } from '../util/ring-buffer.js'

/** Beyond it a subscription is acknowledged at once, and counted like one that waited too long. */
const MAXIMUM_WAITERS = 100_000

interface Waiter {
  readonly version: number
  readonly deadline: number
  readonly done: () => void
}

export interface RouteConfirmationModules {
  /** The version that this node has announced, or is about to. */
  ownVersion: () => number
  /** The lowest version that a live peer has confirmed; Infinity without live peers. */
  lowestConfirmed: () => number
  timeouts: Counter
}

export class RouteConfirmation {
  private readonly waiters = new RingBuffer<Waiter>(MAXIMUM_WAITERS)
  private timer: NodeJS.Timeout | undefined
  private isStopped = false

  /** @param timeoutMs how long anyone waits at most */
  constructor(
    private readonly timeoutMs: number,
    private readonly modules: RouteConfirmationModules,
  ) {}

  /** Those who wait. */
  get length(): number {
    return this.waiters.length
  }

  /** Calls `done` when all live peers have confirmed what was announced until now, or after the timeout; perhaps at once. */
  whenConfirmed(done: () => void): void {
    const version = this.modules.ownVersion()
    if (this.isStopped || this.modules.lowestConfirmed() >= version) {
      done()
      return
    }
    const deadline = performance.now() + this.timeoutMs
    if (!this.waiters.push({ version, deadline, done })) {
      this.modules.timeouts.value += 1
      done()
      return
    }
    this.timer ??= setTimeout(this.onTimeout, this.timeoutMs)
  }

  /** A peer has confirmed more, or does not count any more. */
  advance(): void {
    if (this.waiters.isEmpty) return
    const confirmed = this.modules.lowestConfirmed()
    for (let waiter = this.waiters.peek(); waiter !== undefined; waiter = this.waiters.peek()) {
      if (waiter.version > confirmed) return
      this.waiters.shift()
      waiter.done()
    }
  }

  /** Lets everyone go, and nobody waits any more. */
  stop(): void {
    this.isStopped = true
    clearTimeout(this.timer)
    this.timer = undefined
    for (let waiter = this.waiters.shift(); waiter !== undefined; waiter = this.waiters.shift()) waiter.done()
  }

  private readonly onTimeout = (): void => {
    this.timer = undefined
    const now = performance.now()
    for (let waiter = this.waiters.peek(); waiter !== undefined; waiter = this.waiters.peek()) {
      if (waiter.deadline > now) {
        this.timer = setTimeout(this.onTimeout, waiter.deadline - now)
        return
      }
      this.waiters.shift()
      this.modules.timeouts.value += 1
      waiter.done()
    }
  }
}
