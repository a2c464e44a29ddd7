/** What discovery counts. */

import type { Counter, MetricRegistry } from '../../telemetry/registry.js'

/** Why a datagram is no announcement of a node of this cluster. */
export const DATAGRAM_REFUSALS = [
  /** More than may be checked in a second. */
  'too_many',
  /** Not of the form of an announcement. */
  'malformed',
  /** Made with another secret. */
  'wrong_proof',
  'other_cluster',
  /** Its time is too far from that of this node: an old one, or clocks that differ. */
  'stale',
  /** Not newer than one of that node that was heard before. */
  'replayed',
  /** As many nodes are known as are remembered. */
  'too_many_nodes',
] as const
export type DatagramRefusal = (typeof DATAGRAM_REFUSALS)[number]

export interface DiscoveryMetrics {
  readonly rounds: Record<'ok' | 'failed', Counter>
  readonly datagrams: Record<DatagramRefusal, Counter>
  /** Addresses last reported. */
  addresses: number
  /** Whether the last round failed. */
  isFailing: boolean
  /** When the first round in a row failed, by `performance.now`. */
  failingSince: number
}

/** A round is over: counts it, and notes how it stands. */
export function noteRound(metrics: DiscoveryMetrics, result: 'ok' | 'failed'): void {
  metrics.rounds[result].value += 1
  const isFailing = result === 'failed'
  if (isFailing && !metrics.isFailing) metrics.failingSince = performance.now()
  metrics.isFailing = isFailing
}

export function registerDiscoveryMetrics(registry: MetricRegistry): DiscoveryMetrics {
  const metrics: DiscoveryMetrics = {
    rounds: registry.counters(
      {
        name: 'discovery_rounds_total',
        help: 'Times that DNS, etcd or Kubernetes were asked for the nodes, or the multicast group was told of this one.',
      },
      'result',
      ['ok', 'failed'] as const,
    ),
    datagrams: registry.counters(
      {
        name: 'discovery_dropped_datagrams_total',
        help: 'Datagrams on the multicast port that announce no node of this cluster, by reason.',
      },
      'reason',
      DATAGRAM_REFUSALS,
    ),
    addresses: 0,
    isFailing: false,
    failingSince: 0,
  }
  registry.gauge(
    { name: 'discovery_addresses', help: 'Addresses of nodes, of this one too, that discovery knows.' },
    () => metrics.addresses,
  )
  registry.gauge({ name: 'discovery_failing', help: '1 while the last round of discovery failed.' }, () =>
    metrics.isFailing ? 1 : 0,
  )
  return metrics
}
