/** What the cluster counts: plain numbers where it happens, read when Prometheus asks. */

import type { Counter, Histogram, Labels, MetricRegistry } from '../telemetry/registry.js'
import type { RouteCounters } from './route-sync.js'
import { REFUSAL_NAMES, type RefusalName } from './wire.js'

/** Why a connection was cut before its handshake was complete; `no_link`: heartbeats that belong to no link. */
export const STRANGER_CUT_REASONS = ['too_many', 'too_slow', 'too_much', 'no_link'] as const
export type StrangerCutReason = (typeof STRANGER_CUT_REASONS)[number]

/** Why a message that a peer wants does not go there, or not any more. */
export const DROP_REASONS = [
  /** QoS 0: the link is slower than the messages, `cluster.qos0Buffer` is full. */
  'qos0_buffer_full',
  /** QoS 1 and 2: `cluster.linkBuffer` is full. */
  'link_buffer_full',
  /** QoS 0: the link broke when a part of a message that is larger than a batch had gone. */
  'link_cut',
  /** QoS 0 for a peer that is down. */
  'peer_down',
  /** For a peer that is down, and is owed `cluster.handoff.bytes` already. */
  'handoff_full',
  /** Kept for a peer that was down longer than `cluster.routeRetention`, or `cluster.handoff.retention`. */
  'hint_expired',
  /** Kept for an incarnation that has ended. */
  'peer_restarted',
  /** Kept for a peer that left the cluster. */
  'peer_left',
  /** Owed, by a node that is down or by this one, to a peer whose sessions another node had adopted already. */
  'peer_adopted',
  /** A route of a node that is not a member. */
  'unknown_peer',
  /** The message cannot be encoded as an MQTT 5 PUBLISH. */
  'not_encodable',
] as const
export type DropReason = (typeof DROP_REASONS)[number]

/** Counters of one peer. */
export interface PeerCounters extends RouteCounters {
  messagesForwarded: number
  messagesReceived: number
  batchesSent: number
  batchesReceived: number
  batchBytesSent: number
  batchBytesReceived: number
  malformedBatches: number
  failedDeliveries: number
  missingBatches: number
  unguarded: number
  linksOpened: number
  linksStuck: number
  protocolErrors: number
}

export function createPeerCounters(): PeerCounters {
  return {
    messagesForwarded: 0,
    messagesReceived: 0,
    batchesSent: 0,
    batchesReceived: 0,
    batchBytesSent: 0,
    batchBytesReceived: 0,
    malformedBatches: 0,
    failedDeliveries: 0,
    missingBatches: 0,
    unguarded: 0,
    linksOpened: 0,
    linksStuck: 0,
    protocolErrors: 0,
    deltasSent: 0,
    deltasReceived: 0,
    snapshotsSent: 0,
    snapshotsReceived: 0,
    resyncs: 0,
  }
}

export type BatchSizes = Histogram

/** One peer as the metrics see it. */
export interface PeerMetrics {
  readonly name: string
  readonly state: PeerStateName
  readonly counters: PeerCounters
  /** Milliseconds. */
  readonly rtt: number | undefined
  readonly exchange: ExchangeMetrics
}

/** What goes between this node and a peer, as the metrics see it. */
export interface ExchangeMetrics {
  /** QoS 1 and 2 messages on their way. */
  readonly kept: {
    readonly bytes: number
    readonly length: number
    /** What the peer is owed in the store of this node. */
    readonly hints?: { readonly stored: { readonly bytes: number; readonly length: number } } | undefined
  }
  /** Of shared subscriptions, kept until a member of the peer has settled them. */
  readonly custody: { readonly bytes: number; readonly length: number }
  /** QoS 0 messages that wait. */
  readonly loose: { readonly bytes: number; readonly length: number }
  /** Batches received and not yet kept by the sessions of this node. */
  readonly inbound: { readonly length: number; readonly repeatedBatches: number }
  /** Keys of replicated maps that the peer is still to be told. */
  readonly mapKeys: number
  /** Routes that the peer has announced. */
  readonly mirror: { readonly count: number }
}

export const PEER_STATES = ['joining', 'up', 'suspect', 'down', 'left'] as const
export type PeerStateName = (typeof PEER_STATES)[number]

/** A map as the metrics see it. */
export interface MapMetrics {
  readonly name: string
  readonly size: number
  readonly tombstones: number
  readonly forgottenTombstones: number
  readonly refusedEntries: number
  readonly oversizedValues: number
}

export interface ClusterMetricSources {
  peers: () => Iterable<PeerMetrics>
  maps: () => Iterable<MapMetrics>
  /** Distinct filters that this node has announced. */
  ownRoutes: () => number
  /** Routes of all peers. */
  peerRoutes: () => number
  /** SUBACKs that wait for peers to confirm routes. */
  routeWaiters: () => number
  /** Publishers whose acknowledgement is held back because a lane was full. */
  heldBack: () => number
  /** Peers and nodes about which they and this node differ. */
  viewDifferences: () => number
}

const BATCH_SIZE_BUCKETS_BYTES = [128, 512, 2_048, 8_192, 16_384, 32_768, 131_072, 1_048_576]

/** Counters that the parts of the cluster write. */
export interface ClusterMetrics {
  drops: Record<DropReason, Counter>
  refusals: Record<RefusalName, Counter>
  strangersCut: Record<StrangerCutReason, Counter>
  routeConfirmTimeouts: Counter
  batchSizes: BatchSizes
}

export function registerClusterMetrics(registry: MetricRegistry, sources: ClusterMetricSources): ClusterMetrics {
  registerPeerMetrics(registry, sources)
  registerForwarderMetrics(registry, sources)
  registerRouteMetrics(registry, sources)
  registerMapMetrics(registry, sources)
  return {
    drops: registry.counters(
      {
        name: 'forward_dropped_messages_total',
        help: 'Messages for a peer that did not get there, by reason; those that were kept and then given up are among them.',
      },
      'reason',
      DROP_REASONS,
    ),
    refusals: registry.counters(
      { name: 'handshake_refusals_total', help: 'Handshakes with other nodes that either side refused, by reason.' },
      'reason',
      REFUSAL_NAMES,
    ),
    strangersCut: registry.counters(
      {
        name: 'cluster_strangers_cut_total',
        help: 'Connections to the cluster port that were cut before a handshake: too many at once, too slow, with too much to say, or heartbeats without a link.',
      },
      'reason',
      STRANGER_CUT_REASONS,
    ),
    routeConfirmTimeouts: registry.counter({
      name: 'route_confirm_timeouts_total',
      help: 'Subscriptions that were acknowledged before every live peer had confirmed their route.',
    }),
    batchSizes: registry.histogram(
      { name: 'forwarded_batch_bytes', help: 'Size of the batches of messages sent to peers, in bytes.' },
      BATCH_SIZE_BUCKETS_BYTES,
    ),
  }
}

/** One labeled value per peer. */
function* perPeer(
  sources: ClusterMetricSources,
  read: (peer: PeerMetrics) => number | undefined,
): Iterable<readonly [Labels, number]> {
  for (const peer of sources.peers()) {
    const value = read(peer)
    if (value !== undefined) yield [{ peer: peer.name }, value]
  }
}

function registerPeerMetrics(registry: MetricRegistry, sources: ClusterMetricSources): void {
  const counter = (name: string, help: string, read: (counters: PeerCounters) => number): void =>
    registry.counterOf({ name, help }, ['peer'], () => perPeer(sources, (peer) => read(peer.counters)))
  const gauge = (name: string, help: string, read: (peer: PeerMetrics) => number | undefined): void =>
    registry.gaugeOf({ name, help }, ['peer'], () => perPeer(sources, read))

  registry.gaugeOf({ name: 'cluster_peers', help: 'Other nodes by state, as this node sees them.' }, ['state'], () => {
    const counts = new Map<PeerStateName, number>(PEER_STATES.map((state) => [state, 0]))
    for (const { state } of sources.peers()) counts.set(state, (counts.get(state) ?? 0) + 1)
    return [...counts].map(([state, count]) => [{ state }, count] as const)
  })
  counter(
    'forwarded_messages_total',
    'Messages forwarded to a peer: only to those with a matching route.',
    (c) => c.messagesForwarded,
  )
  counter(
    'forwarded_received_messages_total',
    'Messages that a peer forwarded to this node.',
    (c) => c.messagesReceived,
  )
  counter(
    'forwarded_batches_total',
    'Batches of messages sent to a peer, repeated ones included.',
    (c) => c.batchesSent,
  )
  counter('forwarded_bytes_total', 'Bytes of batches sent to a peer, repeated ones included.', (c) => c.batchBytesSent)
  counter('forwarded_received_batches_total', 'Batches of messages received from a peer.', (c) => c.batchesReceived)
  counter('forwarded_received_bytes_total', 'Bytes of batches received from a peer.', (c) => c.batchBytesReceived)
  counter(
    'forwarded_malformed_batches_total',
    'Batches of a peer that could not be read whole.',
    (c) => c.malformedBatches,
  )
  counter(
    'forwarded_failed_deliveries_total',
    'Messages of a peer whose delivery here failed.',
    (c) => c.failedDeliveries,
  )
  counter(
    'forwarded_missing_batches_total',
    'Numbered batches that a peer could not send any more.',
    (c) => c.missingBatches,
  )
  registry.gauge(
    {
      name: 'views_differ',
      help: 'Cases of a peer that sees a node otherwise than this node does, or does not hear it; 0 when all see the same.',
    },
    sources.viewDifferences,
  )
  counter(
    'link_protocol_errors_total',
    'Links to a peer that were broken off because of a message that cannot be handled, or that their version does not have.',
    (c) => c.protocolErrors,
  )
  counter('links_opened_total', 'Links to a peer that came up.', (c) => c.linksOpened)
  counter(
    'links_stuck_total',
    'Links to a peer that were made anew because data stood still on them while heartbeats came.',
    (c) => c.linksStuck,
  )
  gauge('link_rtt_milliseconds', 'Round trip of heartbeats to a peer, smoothed.', (peer) => peer.rtt)
  gauge(
    'link_unacked_bytes',
    'Bytes of QoS 1 and 2 messages kept for a peer until it has them.',
    (peer) => peer.exchange.kept.bytes,
  )
  gauge(
    'link_unacked_messages',
    'QoS 1 and 2 messages kept for a peer until it has them.',
    (peer) => peer.exchange.kept.length,
  )
  gauge(
    'handoff_bytes',
    'Bytes of QoS 1 and 2 messages that are kept for a peer in the store of this node until it has them.',
    (peer) => peer.exchange.kept.hints?.stored.bytes,
  )
  gauge(
    'handoff_messages',
    'QoS 1 and 2 messages that are kept for a peer in the store of this node until it has them.',
    (peer) => peer.exchange.kept.hints?.stored.length,
  )
  gauge(
    'shared_guarded_bytes',
    'Bytes of QoS 1 and 2 messages of shared subscriptions that are kept for other members until one of a peer has acknowledged them.',
    (peer) => peer.exchange.custody.bytes,
  )
  gauge(
    'shared_guarded_messages',
    'QoS 1 and 2 messages of shared subscriptions that are kept for other members until one of a peer has acknowledged them.',
    (peer) => peer.exchange.custody.length,
  )
  counter(
    'shared_unguarded_total',
    'QoS 1 and 2 messages of shared subscriptions that were not kept for other members, because as many bytes as `cluster.linkBuffer` were kept already.',
    (c) => c.unguarded,
  )
  gauge(
    'link_qos0_bytes',
    'Bytes of QoS 0 messages that wait for the link to a peer.',
    (peer) => peer.exchange.loose.bytes,
  )
  gauge('link_qos0_messages', 'QoS 0 messages that wait for the link to a peer.', (peer) => peer.exchange.loose.length)
  gauge(
    'link_replicated_keys',
    'Keys of replicated maps that wait for the link to a peer.',
    (peer) => peer.exchange.mapKeys,
  )
  gauge(
    'link_unsettled_batches',
    'Batches of a peer that are not yet kept here.',
    (peer) => peer.exchange.inbound.length,
  )
  registry.counterOf(
    {
      name: 'forwarded_repeated_batches_total',
      help: 'Numbered batches that a peer sent again and that were dropped.',
    },
    ['peer'],
    () => perPeer(sources, (peer) => peer.exchange.inbound.repeatedBatches),
  )
}

function registerForwarderMetrics(registry: MetricRegistry, sources: ClusterMetricSources): void {
  registry.gauge(
    {
      name: 'forward_held_back_messages',
      help: 'QoS 1 and 2 messages whose acknowledgement is held back because the buffer of a peer was full.',
    },
    sources.heldBack,
  )
}

function registerRouteMetrics(registry: MetricRegistry, sources: ClusterMetricSources): void {
  const counter = (name: string, help: string, read: (counters: RouteCounters) => number): void =>
    registry.counterOf({ name, help }, ['peer'], () => perPeer(sources, (peer) => read(peer.counters)))

  registry.gauge(
    { name: 'own_routes', help: 'Filters with a subscriber on this node, announced to the peers.' },
    sources.ownRoutes,
  )
  registry.gauge({ name: 'routes', help: 'Routes to other nodes.' }, sources.peerRoutes)
  registry.gaugeOf({ name: 'peer_routes', help: 'Routes to a peer.' }, ['peer'], () =>
    perPeer(sources, (peer) => peer.exchange.mirror.count),
  )
  registry.gauge(
    { name: 'route_waiters', help: 'Subscriptions whose acknowledgement waits for peers to confirm the route.' },
    sources.routeWaiters,
  )
  counter('route_deltas_sent_total', 'Changes of own routes sent to a peer.', (c) => c.deltasSent)
  counter('route_deltas_received_total', 'Changes of routes received from a peer.', (c) => c.deltasReceived)
  counter('route_snapshots_sent_total', 'Snapshots of own routes begun for a peer.', (c) => c.snapshotsSent)
  counter('route_snapshots_received_total', 'Snapshots of routes begun by a peer.', (c) => c.snapshotsReceived)
  counter(
    'route_resyncs_total',
    'Times that routes of a peer had a gap or another digest and were asked for.',
    (c) => c.resyncs,
  )
}

function registerMapMetrics(registry: MetricRegistry, sources: ClusterMetricSources): void {
  const read = (of: (map: MapMetrics) => number) => () =>
    Array.from(sources.maps(), (map) => [{ map: map.name }, of(map)] as const)
  registry.gaugeOf(
    { name: 'replicated_keys', help: 'Keys of a replicated map.' },
    ['map'],
    read((map) => map.size),
  )
  registry.gaugeOf(
    { name: 'replicated_tombstones', help: 'Removed keys that a replicated map remembers.' },
    ['map'],
    read((map) => map.tombstones),
  )
  registry.counterOf(
    {
      name: 'replicated_forgotten_total',
      help: 'Removed keys that a replicated map forgot before their day was over, because there were too many.',
    },
    ['map'],
    read((map) => map.forgottenTombstones),
  )
  registry.counterOf(
    { name: 'replicated_refused_total', help: "Entries not taken because the writer's clock is far ahead." },
    ['map'],
    read((map) => map.refusedEntries),
  )
  registry.counterOf(
    { name: 'replicated_oversized_total', help: 'Values that stayed on this node because of their size.' },
    ['map'],
    read((map) => map.oversizedValues),
  )
}
