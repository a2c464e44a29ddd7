/**
 * Where a node looks for its first peers: one interface, one file for each way. Seeds are addresses to dial, nothing
 * more: who is a member is what the handshakes say, and an answer may contain this very node. The search goes on while
 * the node runs, so that peers that move to new addresses are found again, and outlives that nobody answers.
 */

import type { Logger } from '../../telemetry/logger.js'
import type { DiscoveryMetrics } from './metrics.js'

export interface SeedSource {
  /**
   * Begins to look. `onAddresses` gets every address that is known (`host:port`, in a stable order, no doubles, this
   * node's own not left out) when they are found first and whenever they have changed; never an empty list from DNS
   * or Kubernetes, because a server that lost its records is no reason to forget where the peers are.
   */
  start(onAddresses: (addresses: readonly string[]) => void): void
  /**
   * Nothing is reported any more once this returns. Resolves when what was told of this node is taken back, or could
   * not be within two seconds. May be called again, and `start` after it.
   */
  stop(): Promise<void>
}

/** This node, as it is told to others. */
export interface Announcement {
  node: string
  incarnation: number
  /** host:port that others are to dial. */
  address: string
}

export interface SeedModules {
  /** Asked when this node is told to others; its address is known once the port is bound. */
  self: () => Announcement
  metrics: DiscoveryMetrics
  log: Logger
}
