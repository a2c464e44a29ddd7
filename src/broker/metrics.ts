/** What the broker counts, and the gauges over its sessions, read when Prometheus scrapes. */

import { SHARED_STRATEGIES, type SharedStrategy } from '../config/mqtt-options.js'
import type { MqttMetrics } from '../mqtt/metrics.js'
import { createMqttMetrics } from '../mqtt/metrics.js'
import { createSessionMetrics, type SessionMetrics } from '../mqtt/session/session-metrics.js'
import type { Counter, MetricRegistry } from '../telemetry/registry.js'
import { RETAINED_REFUSALS, type RetainedRefusal } from './retained.js'
import { WAITING_DROPS } from './waiting-room.js'

/** What the gauges read; the broker supplies it. */
export interface BrokerGauges {
  connections(): number
  sessions(): number
  subscriptions(): number
  retainedMessages(): number
  retainedBytes(): number
  delayedMessages(): number
  delayedBytes(): number
  queuedMessages(): number
  queuedBytes(): number
  inFlightMessages(): number
  spareMessages(): number
  heldBackMessages(): number
  groupWaitingMessages(): number
  groupWaitingBytes(): number
}

/** What clients had, and lost to a change of users or rules. */
export const WITHDRAWALS = ['subscription', 'connection'] as const

export interface BrokerMetrics {
  readonly mqtt: MqttMetrics
  readonly session: SessionMetrics
  readonly unmatched: Counter
  readonly forwardedIn: Counter
  readonly redispatched: Counter
  readonly unplaced: Counter
  readonly waitingDropped: Record<(typeof WAITING_DROPS)[number], Counter>
  /** Choices of a member, or of a node that has some, for a message published here. */
  readonly shared: Record<SharedStrategy, Counter>
  readonly retainedRefused: Record<RetainedRefusal, Counter>
  readonly delayedPublished: Counter
  readonly takeovers: Counter
  readonly sparesDropped: Counter
  readonly wills: Counter
  readonly sessionsExpired: Counter
  readonly accessWithdrawn: Record<(typeof WITHDRAWALS)[number], Counter>
  /** Connects the gauges to the broker they read. */
  bind(gauges: BrokerGauges): void
}

export function createBrokerMetrics(registry: MetricRegistry): BrokerMetrics {
  let gauges: BrokerGauges | undefined
  const gauge = (name: string, help: string, read: (from: BrokerGauges) => number): void => {
    registry.gauge({ name, help }, () => (gauges === undefined ? 0 : read(gauges)))
  }
  gauge('connections', 'Client connections that have a session now.', (from) => from.connections())
  gauge('sessions', 'Sessions held here, those of clients that are away included.', (from) => from.sessions())
  gauge('subscriptions', 'Subscriptions of the sessions held here.', (from) => from.subscriptions())
  gauge('retained_messages', 'Retained messages that this node has a copy of.', (from) => from.retainedMessages())
  gauge('retained_bytes', 'Bytes of topic names, payloads and properties of the retained messages.', (from) =>
    from.retainedBytes(),
  )
  gauge('delayed_messages', 'Messages with a delay that wait here for their time.', (from) => from.delayedMessages())
  gauge('delayed_bytes', 'Bytes of topic names, payloads and properties of the messages with a delay.', (from) =>
    from.delayedBytes(),
  )
  gauge('queue_messages', 'Messages waiting in the queues of all sessions.', (from) => from.queuedMessages())
  gauge('queue_bytes', 'Bytes of the messages waiting in the queues of all sessions.', (from) => from.queuedBytes())
  gauge('inflight_messages', 'Messages sent to clients and not acknowledged yet.', (from) => from.inFlightMessages())
  gauge(
    'group_waiting_messages',
    'Messages of shared subscriptions in the store that wait until a member of their group is within reach.',
    (from) => from.groupWaitingMessages(),
  )
  gauge(
    'session_move_spares',
    'Copies of messages for sessions on their way to another node, kept until that has the session.',
    (from) => from.spareMessages(),
  )
  gauge(
    'session_move_held_messages',
    'Messages for sessions that have come here that wait, for 5 s at most, for what is before them and comes by the node that the session has left. Their senders are not answered, which bounds them.',
    (from) => from.heldBackMessages(),
  )
  gauge('group_waiting_bytes', 'Bytes of those messages.', (from) => from.groupWaitingBytes())
  return {
    mqtt: createMqttMetrics(registry),
    session: createSessionMetrics(registry),
    unmatched: registry.counter({
      name: 'messages_unmatched_total',
      help: 'Messages published here that no subscription in the cluster matched.',
    }),
    forwardedIn: registry.counter({
      name: 'messages_from_peers_total',
      help: 'Messages that peers forwarded to the sessions of this node.',
    }),
    redispatched: registry.counter({
      name: 'messages_redispatched_total',
      help: 'Messages of shared subscriptions that went to another member because theirs had left.',
    }),
    unplaced: registry.counter({
      name: 'messages_unplaced_total',
      help: 'Messages of shared subscriptions that were dropped because the last member of their group had left.',
    }),
    waitingDropped: registry.counters(
      {
        name: 'group_waiting_dropped_total',
        help: 'Messages of shared subscriptions that waited for a member of their group, and do not any longer: there was no room (cluster.handoff.bytes), they were too old (cluster.handoff.retention, or expired), the group has ended, or what was written cannot be read.',
      },
      'reason',
      WAITING_DROPS,
    ),
    shared: registry.counters(
      {
        name: 'shared_dispatches_total',
        help: 'Times that a member of a shared subscription, here or on another node, was chosen for a message published here, by strategy.',
      },
      'strategy',
      SHARED_STRATEGIES,
    ),
    retainedRefused: registry.counters(
      {
        name: 'retained_refused_total',
        help: 'Retained messages that were not kept because of the limit on their number or on their bytes, by reason.',
      },
      'reason',
      RETAINED_REFUSALS,
    ),
    delayedPublished: registry.counter({
      name: 'delayed_published_total',
      help: 'Messages with a delay whose time has come, those that have expired until then included.',
    }),
    sparesDropped: registry.counter({
      name: 'session_move_spares_dropped_total',
      help: 'Messages for sessions on their way to another node of which no copy was kept here, for lack of room: lost if that node ends before it has the session.',
    }),
    takeovers: registry.counter({
      name: 'takeovers_total',
      help: 'Connections closed because their client ID connected again.',
    }),
    wills: registry.counter({ name: 'wills_published_total', help: 'Will messages published.' }),
    sessionsExpired: registry.counter({
      name: 'sessions_expired_total',
      help: 'Sessions that ended because their client stayed away for longer than they last.',
    }),
    accessWithdrawn: registry.counters(
      {
        name: 'access_withdrawn_total',
        help: 'What clients lost to a change of access: subscriptions that are not allowed any more, also in a session that is resumed; connections whose user was removed.',
      },
      'what',
      WITHDRAWALS,
    ),
    bind(from) {
      gauges = from
    },
  }
}
