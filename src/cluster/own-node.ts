/** This node, as it tells its peers of itself: in handshakes, in heartbeats and in the status. */

import { formatHostPort, parseHostPort, parseNodeName } from '../config/addresses.js'
import type { NodeId } from '../router/route-table.js'
import type { BeatStatus } from './heartbeat.js'
import type { NodeStatus } from './status.js'
import type { Identity, View } from './wire.js'

export interface OwnNodeModules {
  readonly node: NodeId
  /** Name of the cluster. */
  readonly cluster: string
  /** Of ShoalMQ. */
  readonly version: string
  /** Greater at each start. */
  readonly incarnation: number
  /** Its sessions outlive its process. */
  readonly keepsSessions: boolean
  readonly connectionCount: () => number
  readonly routeCount: () => number
  readonly isReady: () => boolean
  /** Whether it lets its clients go. */
  readonly isDraining: () => boolean
  /** How it sees its peers. */
  readonly look: () => View
}

export class OwnNode {
  private startedAt = 0
  /** What peers are told to dial, host:port; '' until the cluster port is bound. */
  private advertised = ''
  /** Greater after each time apart: to its peers a node that joins again is one that has begun anew. */
  private life: number
  /** What the beats say of the peers; undefined when one of them has changed. */
  private view: View | undefined

  constructor(private readonly modules: OwnNodeModules) {
    this.life = modules.incarnation
  }

  get incarnation(): number {
    return this.life
  }

  /** The cluster port is bound. @param address host:port that peers are told to dial */
  started(address: string): void {
    this.startedAt = performance.now()
    this.advertised = address
  }

  /** It joins again after a time apart. */
  beginLife(): void {
    this.life = Math.max(Date.now(), this.life + 1)
  }

  /** A peer has changed: the next beat says what this node sees then. */
  lookAgain(): void {
    this.view = undefined
  }

  identity(): Identity {
    const { cluster, node, version, keepsSessions } = this.modules
    return { cluster, node, incarnation: this.life, address: this.advertised, software: version, keepsSessions }
  }

  /** For a heartbeat. */
  beat(): BeatStatus {
    this.view ??= this.modules.look()
    return {
      connections: this.modules.connectionCount(),
      routes: this.modules.routeCount(),
      uptime: Math.floor((performance.now() - this.startedAt) / 1000),
      ready: this.modules.isReady(),
      draining: this.modules.isDraining(),
      view: this.view,
    }
  }

  /** For the status. */
  describe(): NodeStatus {
    const { connections, routes, uptime, draining } = this.beat()
    return {
      name: this.modules.node,
      state: 'running',
      link: 'self',
      version: this.modules.version,
      incarnation: this.life,
      uptime,
      connections,
      routes,
      rtt: null,
      address: this.advertised,
      ...(draining ? { draining } : {}),
    }
  }
}

/**
 * What peers are told to dial: as configured, or the host of the node's name with the port as bound.
 * @param configured host:port, or '' for none
 * @param bound host:port
 */
export function advertisedAddress(configured: string, node: NodeId, bound: string): string {
  if (configured !== '') return configured
  const { host, port } = parseHostPort(bound)
  return formatHostPort({ host: parseNodeName(node)?.host ?? host, port })
}
