/** Retained messages that end, in the order of their ends: for a node without peers, where no replica watches them. */

import { Heap } from '../util/heap.js'
import { TimerEntry, type TimerWheel } from '../util/timer-wheel.js'

/** What has been replaced since may stay in the heap up to this many beside as many as there are others. */
const MINIMUM_COMPACTION = 1_000

/** A message that ends. */
export interface Ending {
  readonly topic: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

export interface ExpiryModules {
  readonly timers: TimerWheel
  /** Whether the retained message of the topic is still one that ends then. */
  readonly isCurrent: (ending: Ending) => boolean
  /** Its time has come. */
  readonly onExpired: (topic: string) => void
}

export class RetainedExpiry extends TimerEntry {
  private readonly ending = new Heap<Ending>((a, b) => a.expiresAt - b.expiresAt)
  /** Of the heap, at the last compaction. */
  private currentCount = 0

  constructor(private readonly modules: ExpiryModules) {
    super()
  }

  /** Messages that are watched, replaced ones included. */
  get length(): number {
    return this.ending.length
  }

  /** Watches a message that has an end. */
  add(message: Ending): void {
    this.ending.push(message)
    if (this.ending.length > 2 * this.currentCount + MINIMUM_COMPACTION) {
      this.ending.keepOnly(this.modules.isCurrent)
      this.currentCount = this.ending.length
    }
    if (this.ending.peek() === message) this.arm(message)
  }

  override onTimeout(): void {
    for (let first = this.ending.peek(); first !== undefined; first = this.ending.peek()) {
      if (this.modules.isCurrent(first)) {
        if (Date.now() < first.expiresAt) return this.arm(first)
        this.modules.onExpired(first.topic)
      }
      this.ending.pop()
    }
  }

  private arm({ expiresAt }: Ending): void {
    this.modules.timers.schedule(this, Math.max(0, expiresAt - Date.now()))
  }
}
