/** Metrics of sessions that move between nodes. */

import type { Counter, Histogram, MetricRegistry } from '../../telemetry/registry.js'

/** How a move ends, as the node sees it where the client is. */
export const MOVE_OUTCOMES = [
  /** The session is here, whole. */
  'moved',
  /** The other node had none any more, or one of another user. */
  'none',
  /** The other node is not reachable: the client got a new session. */
  'unreachable',
  /** It did not answer in time: the client got a new session. */
  'timed_out',
  /** It went while the queue was on its way: what had come is here. */
  'cut_short',
  /** The client wanted nothing of it any more. */
  'discarded',
] as const
export type MoveOutcome = (typeof MOVE_OUTCOMES)[number]

/** Seconds. */
const DURATION_BUCKETS = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]

export interface TakeoverGauges {
  leaving(): number
  arriving(): number
  rests(): number
  restWaiting(): number
}

export interface TakeoverMetrics {
  readonly outcomes: Record<MoveOutcome, Counter>
  readonly messages: Counter
  readonly bytes: Counter
  /** Seconds that a CONNECT waited. */
  readonly waits: Histogram
  /** Nodes whose marks did not come in time. */
  readonly marksMissed: Counter
  /** Messages that were passed on to sessions that have gone from here. */
  readonly restMessages: Counter
  /** Messages for such sessions of which nobody is there any more who would get them. */
  readonly restDropped: Counter
  /** Sessions that are gone, and that nothing could follow any more. */
  readonly restsRefused: Counter
  /** Sessions that nodes which stop have offered to this one. */
  readonly offers: { readonly taken: Counter; readonly declined: Counter }
  /** Sessions that no node has taken when this one stopped. */
  readonly left: Counter
}

export function createTakeoverMetrics(registry: MetricRegistry, gauges: TakeoverGauges): TakeoverMetrics {
  registry.gauge({ name: 'sessions_leaving', help: 'Sessions on their way to another node.' }, () => gauges.leaving())
  registry.gauge({ name: 'sessions_arriving', help: 'Sessions on their way here from another node.' }, () =>
    gauges.arriving(),
  )
  registry.gauge(
    {
      name: 'session_rests',
      help: 'Sessions that have gone to another node while a third was silent or cut off: what that one still sends here for them is passed on.',
    },
    () => gauges.rests(),
  )
  registry.gauge(
    {
      name: 'session_rest_waiting_messages',
      help: 'Messages that have come late for sessions that go to another node, and wait until that has them. Their senders are not answered, which bounds them.',
    },
    () => gauges.restWaiting(),
  )
  return {
    outcomes: registry.counters(
      {
        name: 'session_moves_total',
        help: 'Sessions that followed their client here, or were to, by outcome: moved, none there, node unreachable, timed out (a new session in these three), cut short, discarded.',
      },
      'outcome',
      MOVE_OUTCOMES,
    ),
    messages: registry.counter({
      name: 'session_move_messages_total',
      help: 'Messages, queued and in flight, that came here with sessions.',
    }),
    offers: registry.counters(
      {
        name: 'session_offers_total',
        help: 'Sessions of absent clients that nodes which drain, stop or leave have offered to this one: taken, or declined, because it drains itself or has as many as it may.',
      },
      'outcome',
      ['taken', 'declined'],
    ),
    left: registry.counter({
      name: 'sessions_left_total',
      help: 'Sessions that no other node had taken when this one had drained, before it stopped or left: nobody was there to take them, or drain.offer was over.',
    }),
    bytes: registry.counter({ name: 'session_move_bytes_total', help: 'Bytes that came here with sessions.' }),
    waits: registry.histogram(
      { name: 'session_move_seconds', help: 'How long CONNECTs waited for a session from another node.' },
      DURATION_BUCKETS,
    ),
    marksMissed: registry.counter({
      name: 'session_move_marks_missed_total',
      help: 'Nodes that did not say in time from when on their messages are for the new node of a session: until they do they come by the node that it has left.',
    }),
    restMessages: registry.counter({
      name: 'session_rest_messages_total',
      help: 'Messages that have come here late for sessions that had gone to another node, and were passed on to it.',
    }),
    restDropped: registry.counter({
      name: 'session_rest_dropped_total',
      help: 'Messages that have come late for sessions that had gone to another node, and were not passed on: the session has ended there, or that node or this one stops.',
    }),
    restsRefused: registry.counter({
      name: 'session_rests_refused_total',
      help: 'Sessions that have gone to another node without what silent nodes may still send here for them: too many are waited for already.',
    }),
  }
}
