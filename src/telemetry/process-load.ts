/** How busy this process is: how late its event loop runs, and how much of its memory it uses. */

import { totalmem } from 'node:os'
import { getHeapStatistics } from 'node:v8'

/**
 * Milliseconds between two samples of the event loop. Not `monitorEventLoopDelay`: its histogram loses the sample that
 * is under way when it is reset, and that is the one that counts when a turn takes as long as the time between resets.
 */
const SAMPLE_EVERY_MS = 100

export class ProcessLoad {
  private readonly memoryLimit = memoryLimit()
  private interval: NodeJS.Timeout | undefined
  private sampledAt = 0
  private delaySum = 0
  private samples = 0

  start(): void {
    this.sampledAt = performance.now()
    this.interval ??= setInterval(() => this.sample(), SAMPLE_EVERY_MS).unref()
  }

  /** Idempotent. */
  stop(): void {
    clearInterval(this.interval)
    this.interval = undefined
  }

  /** Milliseconds by which timers fired late, on average since this was last asked. */
  takeLoopDelay(): number {
    if (this.samples === 0) this.sample()
    const mean = this.delaySum / this.samples
    this.delaySum = 0
    this.samples = 0
    return mean
  }

  /**
   * The share of its memory that the process uses, from 0 to 1: of V8's heap or, where the system limits the process
   * (a container), of that limit, whichever is larger.
   */
  memoryShare(): number {
    const heap = getHeapStatistics()
    const ofHeap = heap.used_heap_size / heap.heap_size_limit
    if (this.memoryLimit === undefined) return ofHeap
    return Math.max(ofHeap, process.memoryUsage.rss() / this.memoryLimit)
  }

  private sample(): void {
    const now = performance.now()
    this.delaySum += Math.max(0, now - this.sampledAt - SAMPLE_EVERY_MS)
    this.samples++
    this.sampledAt = now
  }
}

/** Bytes that the system allows this process; undefined when that is no less than what the machine has. */
function memoryLimit(): number | undefined {
  const limit = process.constrainedMemory()
  return limit > 0 && limit < totalmem() ? limit : undefined
}
