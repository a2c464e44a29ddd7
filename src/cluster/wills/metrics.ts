/** Metrics of wills that nodes keep for each other. */

import type { Counter, MetricRegistry } from '../../telemetry/registry.js'

export interface WillMetrics {
  readonly outcomes: { readonly published: Counter; readonly cancelled: Counter }
  readonly uncopied: Counter
}

/** @param held copies that this node keeps for others */
export function createWillMetrics(registry: MetricRegistry, held: () => number): WillMetrics {
  registry.gauge(
    { name: 'will_copies', help: 'Wills of clients of other nodes, kept here in case their node dies.' },
    held,
  )
  return {
    outcomes: registry.counters(
      {
        name: 'will_copies_settled_total',
        help: 'Wills of clients whose node had died: published here, or cancelled because the client came to another node in time.',
      },
      'outcome',
      ['published', 'cancelled'],
    ),
    uncopied: registry.counter({
      name: 'wills_uncopied_total',
      help: 'Wills that no other node keeps, because they are larger than 64 KiB: they are lost if this node dies.',
    }),
  }
}
