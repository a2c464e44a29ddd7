/** Metrics of the client directory. */

import type { Counter, MetricRegistry } from '../../telemetry/registry.js'

export const CLAIM_RESULTS = ['granted', 'superseded', 'timed_out'] as const

export type ClaimResult = (typeof CLAIM_RESULTS)[number]

export interface DirectoryGauges {
  /** Client IDs whose holder this node knows as their ring node. */
  entries(): number
  /** Clients that this node holds. */
  held(): number
  /** CONNECTs that wait for a ring node. */
  pending(): number
}

export interface DirectoryMetrics {
  readonly claims: Record<ClaimResult, Counter>
  readonly evictions: Counter
  readonly outdated: Counter
}

export function createDirectoryMetrics(registry: MetricRegistry, gauges: DirectoryGauges): DirectoryMetrics {
  const gauge = (name: string, help: string, read: () => number): void => registry.gauge({ name, help }, read)
  gauge('directory_entries', 'Client IDs whose holder this node keeps as their ring node.', () => gauges.entries())
  gauge('directory_held', 'Clients of this node that the directory knows.', () => gauges.held())
  gauge('directory_pending', 'CONNECT packets that wait for the answer of a ring node.', () => gauges.pending())
  return {
    claims: registry.counters(
      {
        name: 'directory_claims_total',
        help: 'Client IDs that this node claimed for a CONNECT, by result: granted, superseded by another node, or timed out and decided alone.',
      },
      'result',
      CLAIM_RESULTS,
    ),
    evictions: registry.counter({
      name: 'directory_evictions_total',
      help: 'Clients closed here because their client ID connected to another node.',
    }),
    outdated: registry.counter({
      name: 'sessions_outdated_total',
      help: 'Sessions that ended here because their client has a later one on another node: it had to begin anew there while this node was out of reach, or their move was given up.',
    }),
  }
}
