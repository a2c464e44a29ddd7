/** A session on its own, for the suites about it. */

import type { TestContext } from 'node:test'
import { type DeliveryOptions, type Hold, Session, type SessionOptions } from '../../../../src/mqtt/session/session.js'
import { createSessionMetrics, type DropReason } from '../../../../src/mqtt/session/session-metrics.js'
import { Message } from '../../../../src/mqtt/wire/message.js'
import type { QoS } from '../../../../src/mqtt/wire/packets.js'
import { MetricRegistry } from '../../../../src/telemetry/registry.js'
import { DrivenClock } from '../driven-clock.js'

/** A subscription that takes everything as it is. */
export const DELIVERY: DeliveryOptions = {
  qos: 2,
  noLocal: false,
  retainAsPublished: false,
  subscriptionIds: undefined,
}
export const HOLD_MS = 5_000

/** A session with a clock that the test drives. */
export function setUp(context: TestContext, options: Partial<SessionOptions> = {}, expiryInterval = 60) {
  const clock = new DrivenClock(context)
  const metrics = createSessionMetrics(new MetricRegistry())
  const session = new Session(
    'me',
    expiryInterval,
    { queue: { length: 8, bytes: 1_000_000 }, inFlightBytes: 1_000_000, queueHoldTime: HOLD_MS, ...options },
    { timers: clock.timers, metrics },
  )
  return {
    clock,
    session,
    metrics,
    dropped: (reason: DropReason) => metrics.dropped[reason].value,
    deliver(payload: string, qos: QoS = 1, pending?: Hold, delivery: Partial<DeliveryOptions> = {}): void {
      session.deliver(message(payload, qos), { ...DELIVERY, ...delivery }, pending)
    },
  }
}

export function message(payload: string, qos: QoS, publisherId = 'other'): Message {
  return Message.from('t', Buffer.from(payload), { qos, publisherId })
}

/** The numbers from `first` to `last`, as payloads. */
export function numbers(first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, index) => String(first + index))
}
