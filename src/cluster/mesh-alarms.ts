/** What operators are told of the mesh: how its nodes see each other is compared all the time, the rest is read when asked. */

import type { ClusterOptions } from '../config/options.js'
import type { NodeId } from '../router/route-table.js'
import type { AlarmCondition } from '../telemetry/alarms.js'
import { alarmConditions } from './alarm-conditions.js'
import { discoveryAlarms } from './discovery/alarm.js'
import type { DiscoveryMetrics } from './discovery/metrics.js'
import { type MeshTlsMetrics, meshCertificateAlarms } from './mesh-tls-metrics.js'
import type { Peer } from './peer.js'
import { Views } from './views.js'

/** What one node knows is known to all after so many beats: each view goes out with the next one. */
const VIEW_SETTLE_BEATS = 2

/** How often the views are compared, at most, in milliseconds. */
const VIEW_LOOK_MS = 250

export type MeshAlarmsOptions = Pick<ClusterOptions, 'heartbeatInterval' | 'linkBuffer' | 'discovery'>

export interface MeshAlarmsModules {
  readonly self: NodeId
  readonly peers: ReadonlyMap<NodeId, Peer>
  readonly discovery: DiscoveryMetrics
  readonly tls: MeshTlsMetrics
}

export class MeshAlarms {
  private readonly views: Views
  private timer: NodeJS.Timeout | undefined

  constructor(
    private readonly options: MeshAlarmsOptions,
    private readonly modules: MeshAlarmsModules,
  ) {
    this.views = new Views(modules.self, VIEW_SETTLE_BEATS * options.heartbeatInterval)
  }

  start(): void {
    this.timer ??= setInterval(
      () => this.views.compare(this.modules.peers, performance.now()),
      Math.min(VIEW_LOOK_MS, this.options.heartbeatInterval),
    )
  }

  /** Idempotent. */
  stop(): void {
    clearInterval(this.timer)
    this.timer = undefined
    this.clear()
  }

  /** Nobody else is there any more who could see something otherwise. */
  clear(): void {
    this.views.clear()
  }

  /** Differences between what this node sees and what its peers do, as far as they have lasted. */
  get viewDifferences(): number {
    return Array.from(this.views.differing(performance.now())).length
  }

  /** What wants an operator now. */
  *conditions(): Generator<AlarmCondition> {
    const { views, options, modules } = this
    const { linkBuffer, discovery } = options
    yield* alarmConditions({ peers: modules.peers.values(), views, linkBuffer }, performance.now())
    yield* discoveryAlarms(discovery, modules.discovery, performance.now())
    yield* meshCertificateAlarms(modules.tls, Date.now())
  }
}
