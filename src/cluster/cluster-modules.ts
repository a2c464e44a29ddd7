/** What the cluster is given by the node. */

import type { Logger } from 'pino'
import type { SessionMoves } from '../broker/move-ports.js'
import type { DirectorySink, ForwardedSink, NodeId } from '../broker/ports.js'
import type { LocalStore } from '../broker/store-port.js'
import type { GroupPlacement } from '../router/group-routes.js'
import type { RouteTable } from '../router/route-table.js'
import type { Reach } from '../router/shared-group.js'
import type { MetricRegistry } from '../telemetry/registry.js'
import type { SeedSource } from './discovery/seed-source.js'
import type { GroupSource, RouteSource } from './route-log.js'

/** Where the members here come from, and who hears of those elsewhere. */
export interface ClusterGroups extends GroupSource, GroupPlacement {
  /** A node that is not reachable is chosen only when nobody else is there. */
  setReach(node: NodeId, reach: Reach): void
  /** Moves when members come, go or are reached otherwise than before, here or elsewhere. */
  readonly memberChanges: number
}

export interface ClusterModules {
  /** Name of this node, name@host. */
  node: NodeId
  /** Greater at each start. */
  incarnation: number
  /** Of ShoalMQ. */
  version: string
  subscriptions: RouteSource
  routes: RouteTable
  /** Groups of shared subscriptions; none unless given. */
  groups?: ClusterGroups
  sink: ForwardedSink
  clients: DirectorySink
  /** Sessions that follow their clients from node to node. */
  moves: SessionMoves
  /** Keeps sessions, replicated maps and what peers are owed for the next life of this node; without it they end with it. */
  store?: LocalStore | undefined
  /** Milliseconds from the moment that a node is found down until its sessions are taken from a store that all share. */
  adoptAfter?: number
  log: Logger
  metrics: MetricRegistry
  /** Live MQTT connections of this node. */
  connectionCount: () => number
  /** True while the node lets its clients go, and takes nobody else's. */
  isDraining?: () => boolean
  /** True when the node left its cluster in a life before, and was not told to join since. */
  isApart?: boolean
  /** The one protocol version to speak, where a test plays a node of another time. */
  protocolVersion?: number
  /** Where the first peers are found; made from the options unless given. */
  seeds?: SeedSource
}
