/** What the gauges and the `$SYS` topics of a broker show, read when somebody asks. */

import type { Aedes } from 'aedes'
import type { RouteTable } from '../router/route-table.js'
import type { SharedGroups } from '../router/shared-groups.js'
import type { SubscriptionTable } from '../router/subscription-table.js'
import type { DelayedMessages } from './delayed.js'
import type { DeliverySource } from './delivery-source.js'
import type { BrokerGauges } from './metrics.js'
import type { RetainedMessages } from './retained.js'
import type { SessionRegistry } from './session-registry.js'
import type { Subscriber } from './subscriber.js'
import type { SysSource } from './sys/sys-topic.js'
import type { WaitingGroups } from './waiting-groups.js'

export interface ReadingsModules {
  readonly aedes: Pick<Aedes, 'connectedClients'>
  readonly subscriptions: SubscriptionTable<Subscriber>
  readonly routes: RouteTable
  readonly groups: SharedGroups<Subscriber>
  readonly sessions: SessionRegistry
  readonly retained: RetainedMessages
  readonly delayed: DelayedMessages
  readonly source: Pick<DeliverySource, 'waiting'>
  /** Names of the nodes that run. */
  readonly nodes: () => readonly string[]
}

export class BrokerReadings implements BrokerGauges, SysSource {
  /** Time of `performance.now()` when the broker began to take clients; 0 before. */
  listeningSince = 0
  /** Undefined without a store. */
  waiting: Pick<WaitingGroups, 'length' | 'bytes'> | undefined

  constructor(private readonly modules: ReadingsModules) {}

  uptime(): number {
    return performance.now() - this.listeningSince
  }

  nodes(): readonly string[] {
    return this.modules.nodes()
  }

  connections(): number {
    return this.modules.aedes.connectedClients
  }

  sessions(): number {
    return this.modules.sessions.size
  }

  subscriptions(): number {
    return this.modules.subscriptions.size + this.modules.groups.size
  }

  sharedSubscriptions(): number {
    return this.modules.groups.size
  }

  topics(): number {
    return this.modules.subscriptions.filterCount + this.modules.routes.filterCount
  }

  retainedMessages(): number {
    return this.modules.retained.size
  }

  retainedBytes(): number {
    return this.modules.retained.bytes
  }

  delayedMessages(): number {
    return this.modules.delayed.size
  }

  delayedBytes(): number {
    return this.modules.delayed.bytes
  }

  queuedMessages(): number {
    let total = 0
    for (const { session } of this.modules.sessions.values()) total += session.queueLength
    return total
  }

  queuedBytes(): number {
    let total = 0
    for (const { session } of this.modules.sessions.values()) total += session.queueBytes
    return total
  }

  inFlightMessages(): number {
    let total = 0
    for (const { session } of this.modules.sessions.values()) total += session.inFlightCount
    return total
  }

  spareMessages(): number {
    return this.modules.source.waiting.spares
  }

  heldBackMessages(): number {
    return this.modules.source.waiting.heldBack
  }

  groupWaitingMessages(): number {
    return this.waiting?.length ?? 0
  }

  groupWaitingBytes(): number {
    return this.waiting?.bytes ?? 0
  }
}
