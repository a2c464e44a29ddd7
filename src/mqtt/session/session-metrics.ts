/** What sessions count; the gauges over all sessions are read from the registry of sessions. */

import type { Counter, MetricRegistry } from '../../telemetry/registry.js'

/** Why a message that matched a session did not reach its client. */
export const DROP_REASONS = [
  /** QoS 0 while the client's outbox was at its limit. */
  'outbox_full',
  /** QoS 1 or 2 while the session's queue stayed full longer than the hold time. */
  'queue_full',
  /** Larger than the client's Maximum Packet Size [MQTT-3.1.2-25]. */
  'too_large',
  /** Its Message Expiry Interval passed while it waited [MQTT-3.3.2-5]. */
  'expired',
  /** QoS 0 for a session whose client is away. */
  'offline_qos0',
  /** It still waited when its session ended. */
  'session_ended',
  /** It was to be read from the disk and was not there. */
  'not_in_store',
] as const

export type DropReason = (typeof DROP_REASONS)[number]

export interface SessionMetrics {
  readonly dropped: Record<DropReason, Counter>
  readonly sent: Record<'0' | '1' | '2', Counter>
  readonly heldBack: Counter
}

export function createSessionMetrics(registry: MetricRegistry): SessionMetrics {
  return {
    dropped: registry.counters(
      { name: 'messages_dropped_total', help: 'Messages that matched a session and were not delivered, by reason.' },
      'reason',
      DROP_REASONS,
    ),
    sent: registry.counters(
      { name: 'messages_sent_total', help: 'PUBLISH packets sent to clients, by QoS; resent ones count again.' },
      'qos',
      ['0', '1', '2'],
    ),
    heldBack: registry.counter({
      name: 'publishers_held_back_total',
      help: 'Acknowledgements of QoS 1 and 2 publishers that were held back because a queue was nearly full.',
    }),
  }
}
