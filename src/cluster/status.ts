/**
 * The object that `GET /api/v1/cluster` answers with and `shoalmq cluster status` prints. Its JSON form is a
 * contract that scripts rely on: fields are added, never renamed.
 */

import type { Alarm } from '../telemetry/alarms.js'

/** running: this node or a peer whose link works; suspect: silent, not yet given up; stopped: left or down. */
export type NodeState = 'running' | 'joining' | 'suspect' | 'stopped'

/** link to a peer as seen from the answering node; `self` for the node itself. */
export type LinkState = 'self' | 'up' | 'connecting' | 'down'

export interface NodeStatus {
  name: string
  state: NodeState
  link: LinkState
  /** ShoalMQ version; '' when the node was never reached. */
  version: string
  /** A new number at each start; 0 when the node was never reached. */
  incarnation: number
  /** Seconds; 0 when not running. */
  uptime: number
  /** Live MQTT connections, as the node last reported. */
  connections: number
  /** Filters the node has announced to the cluster. */
  routes: number
  /** Heartbeat round trip in milliseconds; null for the node itself and while unknown. */
  rtt: number | null
  /** host:port of the cluster listener. */
  address: string
  /** Version of the link protocol that is spoken with a peer; undefined without a link. */
  protocol?: number
  /** True of a running node that drains: it lets its clients go, and takes no others; not said by nodes before 0.2. */
  draining?: boolean
  /** left | down | unreachable, for a stopped node; undefined otherwise. */
  reason?: string
}

export interface ClusterStatus {
  cluster: string
  /** The node that answers. */
  node: string
  ready: boolean
  /** True when the node has left its cluster and serves alone until it is told to join. */
  apart?: boolean
  nodes: NodeStatus[]
  /** What is wrong, as the answering node sees it; not said by nodes before 0.2. */
  alarms?: Alarm[]
}
