/** This node as a member of its cluster: it joins, it leaves, and it lets go of its clients before it goes. */

import type { Drain } from '../broker/drain.js'
import type { Cluster } from '../cluster/cluster.js'
import type { Config } from '../config/options.js'
import type { Departure } from '../store/departure.js'
import type { Logger } from '../telemetry/logger.js'

export interface OwnMembershipModules {
  /** Undefined before it is started, and of a node without one. */
  readonly cluster: () => Cluster | undefined
  readonly drain: Drain
  readonly departure: Departure
  /** Whether clients are served: not while the node starts or stops. */
  readonly isServing: () => boolean
  readonly log: Logger
}

export class OwnMembership {
  private departing: Promise<void> | undefined

  constructor(
    private readonly options: Config['drain'],
    private readonly modules: OwnMembershipModules,
  ) {}

  /** False without a cluster. A node that is leaving it joins when it has left. */
  join(address: string): boolean {
    const { departing } = this
    const { departure } = this.modules
    const cluster = this.modules.cluster()
    if (cluster === undefined) return false
    if (departing !== undefined) void departing.then(() => this.join(address))
    else {
      departure.clear()
      cluster.join(address)
    }
    return true
  }

  /** Clients go as before a stop, then the cluster is left; the node serves on alone. False when it is alone already. */
  leave(): boolean {
    const { departure, isServing, log } = this.modules
    const cluster = this.modules.cluster()
    if (cluster === undefined || cluster.isApart || this.departing !== undefined || !isServing()) return false
    // Written down first: a node that stops in the middle of it has left.
    departure.mark()
    this.departing = this.depart(cluster)
      .catch((error: unknown) => log.error({ err: error }, 'leaving the cluster failed'))
      .finally(() => {
        this.departing = undefined
      })
    return true
  }

  private async depart(cluster: Cluster): Promise<void> {
    const { drain, isServing } = this.modules
    const wasDraining = drain.isActive
    await this.letGo()
    await cluster.depart()
    // An operator's drain stays, and that of a node that stops.
    if (!wasDraining && isServing()) drain.cancel()
  }

  /** Clients go to other nodes, and the sessions of those that are away. */
  async letGo(): Promise<void> {
    const { drain, cluster } = this.modules
    await drain.begin()
    // Not when it was told to go on meanwhile.
    if (drain.isActive) await cluster()?.handOver(this.options.offer)
  }

  /** Clients are taken again. A node that stops goes on doing so. */
  stay(): void {
    const { drain, cluster, isServing } = this.modules
    if (!isServing()) return
    drain.cancel()
    cluster()?.endHandover()
  }
}
