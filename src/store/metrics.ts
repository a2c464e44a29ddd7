/** What the store counts, and the gauges over it. */

import type { Counter, Histogram, MetricRegistry } from '../telemetry/registry.js'

/**
 * Why a commit has failed: no room, on the disk or in Redis; something else that they said; Redis cannot be reached or
 * does not answer; a later life of this node writes there; or another node has taken this one for dead.
 */
export const COMMIT_FAILURES = ['full', 'error', 'unreachable', 'fenced', 'adopted'] as const

export type CommitFailure = (typeof COMMIT_FAILURES)[number]

export interface StoreGauges {
  /** Of the data file. */
  bytes(): number
  /** Of what is in memory as well as in the store. */
  copies(): number
  /** Entries that wait for a commit. */
  pendingEntries(): number
  /** Publishers that wait for a commit. */
  pendingPublishes(): number
  isFailing(): boolean
}

export interface StoreMetrics {
  readonly commits: Counter
  readonly failures: Record<CommitFailure, Counter>
  readonly entries: Counter
  readonly bytes: Counter
  readonly refused: Counter
  readonly seconds: Histogram
  readonly redis: RedisStoreMetrics
  /** Connects the gauges to the store they read. */
  bind(gauges: StoreGauges): void
}

/** What only the store in Redis counts. */
export interface RedisStoreMetrics {
  readonly roundTrips: Counter
  /** Entries of one round trip. */
  readonly entries: Histogram
  readonly reconnects: Counter
  readonly losses: Counter
}

const ROUND_TRIP_ENTRIES = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000] as const

/** From a write that the operating system takes at once to a disk that is far behind. */
const COMMIT_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5] as const

export function createStoreMetrics(registry: MetricRegistry): StoreMetrics {
  let gauges: StoreGauges | undefined
  const gauge = (name: string, help: string, read: (from: StoreGauges) => number): void => {
    registry.gauge({ name, help }, () => (gauges === undefined ? 0 : read(gauges)))
  }
  gauge('store_file_bytes', 'Size of the data file of the store.', (from) => from.bytes())
  gauge(
    'store_redis_copies_bytes',
    'Bytes of messages that are in memory as well as in Redis: of queues, and of what nodes that are down are owed.',
    (from) => from.copies(),
  )
  gauge('store_pending_entries', 'Entries that wait for a commit of the store.', (from) => from.pendingEntries())
  gauge('store_pending_publishes', 'Publishers that wait for a commit of the store.', (from) => from.pendingPublishes())
  gauge('store_failing', '1 while commits of the store fail, such as on a full disk.', (from) =>
    Number(from.isFailing()),
  )
  return {
    commits: registry.counter({ name: 'store_commits_total', help: 'Transactions that the store has committed.' }),
    failures: registry.counters(
      { name: 'store_commit_failures_total', help: 'Commits of the store that have failed, by reason.' },
      'reason',
      COMMIT_FAILURES,
    ),
    entries: registry.counter({ name: 'store_entries_total', help: 'Entries that the store has written or removed.' }),
    bytes: registry.counter({ name: 'store_written_bytes_total', help: 'Bytes of keys and values that were written.' }),
    refused: registry.counter({
      name: 'store_refused_total',
      help: 'Publishes of QoS 1 and 2 that were refused because the store could not keep them.',
    }),
    seconds: registry.histogram(
      {
        name: 'store_commit_seconds',
        help: 'How long a commit of the store takes, the flush included where it waits for it.',
      },
      COMMIT_SECONDS,
    ),
    redis: createRedisMetrics(registry),
    bind(from) {
      gauges = from
    },
  }
}

function createRedisMetrics(registry: MetricRegistry): RedisStoreMetrics {
  return {
    roundTrips: registry.counter({
      name: 'store_redis_round_trips_total',
      help: 'Steps that the store has sent to Redis, each with all that a turn had brought.',
    }),
    entries: registry.histogram(
      { name: 'store_redis_round_trip_entries', help: 'Entries that one round trip to Redis has written or removed.' },
      ROUND_TRIP_ENTRIES,
    ),
    reconnects: registry.counter({
      name: 'store_redis_reconnects_total',
      help: 'Times that the connection to Redis was up again.',
    }),
    losses: registry.counter({
      name: 'store_redis_losses_total',
      help: 'Times that Redis had lost what it had acknowledged, and everything was written again.',
    }),
  }
}
