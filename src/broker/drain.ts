/**
 * A node that is about to go, or to be worked on, lets its clients go at a rate that the others can take: it takes no
 * new ones, waits a while for balancers to notice, then closes those it has, so many a second.
 */

import type { Logger } from 'pino'
import type { DrainOptions } from '../config/drain-options.js'
import { MqttError, ReasonCode } from '../mqtt/wire/reason-codes.js'
import type { Counter, MetricRegistry } from '../telemetry/registry.js'
import { Deferred } from '../util/deferred.js'

/** Connections are closed in steps this far apart, in milliseconds. */
const STEP_MS = 50

/** What of a connection a drain needs. */
export interface Drainable {
  close(reason: 'server_shutdown', reasonCode: number, reasonString: string): void
}

export interface DrainMetrics {
  readonly closed: Counter
  readonly refused: Counter
  /** Connects the gauge to what it reads. */
  bind(isDraining: () => boolean): void
}

export function createDrainMetrics(registry: MetricRegistry): DrainMetrics {
  let read: () => boolean = () => false
  registry.gauge({ name: 'draining', help: '1 while the node takes no new clients and closes those it has.' }, () =>
    read() ? 1 : 0,
  )
  return {
    closed: registry.counter({ name: 'drain_closed_total', help: 'Connections closed because the node drains.' }),
    refused: registry.counter({
      name: 'drain_refused_total',
      help: 'CONNECT packets refused because the node drains.',
    }),
    bind(isDraining) {
      read = isDraining
    },
  }
}

export interface DrainModules {
  /** Live connections; those that are closed leave it. */
  readonly connections: ReadonlySet<Drainable>
  readonly metrics: DrainMetrics
  readonly log: Logger
}

export class Drain {
  private done: Deferred | undefined
  private timer: NodeJS.Timeout | undefined
  private startedAt = 0
  private closedCount = 0

  constructor(
    private readonly options: DrainOptions,
    private readonly modules: DrainModules,
  ) {
    modules.metrics.bind(() => this.isActive)
  }

  /** True from `begin` to `cancel`, also when all are gone. */
  get isActive(): boolean {
    return this.done !== undefined
  }

  /** Why a new client has to be refused, counted; undefined when it may come in. */
  refuse(): MqttError | undefined {
    if (!this.isActive) return undefined
    this.modules.metrics.refused.value++
    return new MqttError(ReasonCode.ServerUnavailable, 'the node is draining')
  }

  /** Resolves when the last connection is closed, when the time for it is over, or when it is cancelled. */
  begin(): Promise<void> {
    if (this.done === undefined) {
      this.done = new Deferred()
      this.startedAt = performance.now()
      this.closedCount = 0
      this.modules.log.info({ connections: this.modules.connections.size }, 'draining')
      this.step()
    }
    return this.done.promise
  }

  /** Clients may come again; idempotent. */
  cancel(): void {
    const { done } = this
    clearTimeout(this.timer)
    this.done = undefined
    if (done === undefined) return
    done.resolve()
    this.modules.log.info({ closed: this.closedCount }, 'no longer draining')
  }

  private step(): void {
    const { grace, rate, timeout } = this.options
    const { connections, metrics, log } = this.modules
    const elapsed = performance.now() - this.startedAt
    // From the end of the grace on so many may be gone by now; at a whole step's worth at once.
    let allowed = elapsed < grace ? 0 : Math.ceil(((elapsed - grace + STEP_MS) * rate) / 1000) - this.closedCount
    for (const connection of connections) {
      if (allowed <= 0) break
      connection.close('server_shutdown', ReasonCode.ServerShuttingDown, 'the node is draining')
      metrics.closed.value++
      this.closedCount++
      allowed--
    }
    if (connections.size === 0 || elapsed >= grace + timeout) {
      log.info({ closed: this.closedCount, left: connections.size }, 'drained')
      this.done?.resolve()
    } else {
      this.timer = setTimeout(() => this.step(), STEP_MS)
    }
  }
}
