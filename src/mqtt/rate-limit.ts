/**
 * How fast one client may send: a token bucket for packets and one for bytes, each as large as one second. A client
 * that has overdrawn one is read no further until there is something in it again: its socket is paused, and TCP holds it back. The
 * timer wheel is coarse, so the pauses are up to half a second longer than they need to be; what has come into the
 * buckets meanwhile makes up for it.
 */

import type { Counter } from '../telemetry/registry.js'
import { TimerEntry, type TimerWheel } from '../util/timer-wheel.js'
import type { FrameSink } from './wire/frame-splitter.js'

const MS_PER_SECOND = 1_000

/** Per second; Infinity is no limit. */
export interface Rates {
  readonly packets: number
  readonly bytes: number
}

/** What the limit does about a client that is too fast; its input. */
export interface RateLimited {
  pauseForRate(): void
  resumeFromRate(): void
}

export interface RateLimitModules {
  readonly timers: TimerWheel
  readonly metrics: { readonly inputPaused: Record<'packet_rate' | 'byte_rate', Counter> }
}

/** Stands before the sink of one connection's frames. */
export class RateLimit extends TimerEntry implements FrameSink {
  private packets: number
  private bytes: number
  private filledAt = performance.now()
  private isPaused = false

  constructor(
    private readonly rates: Rates,
    private readonly sink: FrameSink,
    private readonly input: RateLimited,
    private readonly modules: RateLimitModules,
  ) {
    super()
    this.packets = rates.packets
    this.bytes = rates.bytes
  }

  frame(chunk: Buffer, firstByte: number, start: number, bodyStart: number, end: number): boolean {
    this.packets--
    const goesOn = this.sink.frame(chunk, firstByte, start, bodyStart, end)
    if (this.packets >= 0) return goesOn
    this.check()
    return goesOn && !this.isPaused
  }

  /** A chunk has been read, and its frames are handled or held. */
  received(byteCount: number): void {
    this.bytes -= byteCount
    this.check()
  }

  /** The connection is over: nobody is paused any more. */
  stop(): void {
    this.isPaused = true
    this.modules.timers.cancel(this)
  }

  override onTimeout(): void {
    this.fill()
    const wait = this.wait
    if (wait > 0) return this.modules.timers.schedule(this, wait)
    this.isPaused = false
    this.input.resumeFromRate()
  }

  private check(): void {
    this.fill()
    if (this.isPaused || (this.packets >= 0 && this.bytes >= 0)) return
    this.isPaused = true
    this.modules.metrics.inputPaused[this.packets < 0 ? 'packet_rate' : 'byte_rate'].value++
    this.modules.timers.schedule(this, this.wait)
    this.input.pauseForRate()
  }

  /** Milliseconds until there is a packet and a byte in the buckets. */
  private get wait(): number {
    const { rates, packets, bytes } = this
    const forPacket = packets < 1 ? ((1 - packets) / rates.packets) * MS_PER_SECOND : 0
    const forByte = bytes < 1 ? ((1 - bytes) / rates.bytes) * MS_PER_SECOND : 0
    return Math.max(forPacket, forByte)
  }

  private fill(): void {
    const now = performance.now()
    const seconds = (now - this.filledAt) / MS_PER_SECOND
    this.filledAt = now
    const { rates } = this
    if (rates.packets !== Number.POSITIVE_INFINITY) {
      this.packets = Math.min(rates.packets, this.packets + seconds * rates.packets)
    }
    if (rates.bytes !== Number.POSITIVE_INFINITY) {
      this.bytes = Math.min(rates.bytes, this.bytes + seconds * rates.bytes)
    }
  }
}
