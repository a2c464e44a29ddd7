/** Metrics of sessions that are taken from nodes that are down. */

import type { Counter, Histogram, MetricRegistry } from '../../telemetry/registry.js'

/** What becomes of a session of a node that is down. */
export const ADOPTION_OUTCOMES = [
  /** It is here. */
  'adopted',
  /** Its client has a later one somewhere. */
  'elsewhere',
  /** Its time was over. */
  'ended',
] as const

export type AdoptionOutcome = (typeof ADOPTION_OUTCOMES)[number]

/** Seconds, from the moment that the node was found down. */
const DURATION_BUCKETS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

export interface AdoptionMetrics {
  /** Nodes whose sessions were taken. */
  readonly adoptions: Counter
  readonly sessions: Record<AdoptionOutcome, Counter>
  readonly messages: Counter
  /** Messages that nodes which are down were owed, and that came here. */
  readonly owed: Counter
  /** Messages that a node which is down has owed others, and that this one has sent. */
  readonly sentOn: Counter
  /** Messages that a node which is down has owed one whose sessions were adopted here. */
  readonly taken: Counter
  /** Nodes that have not handed on in time what they owed. */
  readonly marksMissed: Counter
  readonly failures: Counter
  readonly seconds: Histogram
  /** CONNECTs for a session of a node that is down: it came in time, or the client was told to come again. */
  readonly awaited: { readonly back: Counter; readonly away: Counter }
}

/** @param withheldNodes how many nodes are down as far as the links tell, and live as far as the store does */
export function createAdoptionMetrics(registry: MetricRegistry, withheldNodes: () => number): AdoptionMetrics {
  registry.gauge(
    {
      name: 'adoption_withheld_nodes',
      help: 'Nodes that cannot be heard and give signs of life in the store that all share: their sessions stay with them.',
    },
    withheldNodes,
  )
  return {
    adoptions: registry.counter({
      name: 'adoptions_total',
      help: 'Nodes that were down and whose sessions this node has taken from the store that all share.',
    }),
    sessions: registry.counters(
      {
        name: 'adopted_sessions_total',
        help: 'Sessions found in what a node that is down has kept, by outcome: adopted; elsewhere, where the client has a later one; ended meanwhile.',
      },
      'outcome',
      ADOPTION_OUTCOMES,
    ),
    messages: registry.counter({
      name: 'adopted_messages_total',
      help: 'Messages, queued and in flight, that were adopted with sessions.',
    }),
    owed: registry.counter({
      name: 'adopted_owed_messages_total',
      help: 'Messages that this node has owed a node that is down, and has handed on to the one that has adopted its sessions.',
    }),
    sentOn: registry.counter({
      name: 'adopted_debts_messages_total',
      help: 'Messages that a node which is down has owed others, and that this node has sent in its place.',
    }),
    taken: registry.counter({
      name: 'adopted_joint_debts_messages_total',
      help: 'Messages that a node which is down has owed another that is down as well, and that came to the sessions adopted from that one.',
    }),
    marksMissed: registry.counter({
      name: 'adoption_marks_missed_total',
      help: 'Nodes that did not hand on in time what they owed a node whose sessions were adopted: it may be lost to them.',
    }),
    failures: registry.counter({
      name: 'adoption_failures_total',
      help: 'Adoptions that were broken off, mostly because the store did not answer, and are tried again.',
    }),
    seconds: registry.histogram(
      {
        name: 'adoption_seconds',
        help: 'From the moment that a node was found down until its sessions were here, with what it was owed.',
      },
      DURATION_BUCKETS,
    ),
    awaited: registry.counters(
      {
        name: 'adoption_connects_total',
        help: 'CONNECTs for sessions of nodes that are down, by outcome: back in time, or away, and the client was told to come again.',
      },
      'outcome',
      ['back', 'away'],
    ),
  }
}
