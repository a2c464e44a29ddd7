/** What a session is made with: its limits, and what all sessions share. */

import type { TimerWheel } from '../../util/timer-wheel.js'
import type { QueueLimits } from './message-queue.js'
import type { SessionMetrics } from './session-metrics.js'

export interface SessionOptions {
  readonly queue: QueueLimits
  /** Bytes of unacknowledged messages kept for sending again, from which on further ones wait in the queue. */
  readonly inFlightBytes: number
  /** How long publishers are held back by a full queue before messages are dropped, in milliseconds. */
  readonly queueHoldTime: number
}

export interface SessionModules {
  readonly timers: TimerWheel
  readonly metrics: SessionMetrics
}
