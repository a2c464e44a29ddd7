/**
 * A node that is about to go, or to be worked on, lets its clients go at a rate that the others can take: it takes no
 * new ones, waits a while for balancers to notice, then closes those it has, so many a second. Those with a session it
 * then gives some time to come to other nodes, which take the session over: what waits for them goes with it.
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
  /** '' before CONNECT. */
  readonly clientId: string
  close(reason: 'server_shutdown', reasonCode: number, reasonString: string): void
}

export interface DrainMetrics {
  readonly closed: Counter
  readonly refused: Counter
  /** Connects the gauges to what they read. */
  bind(sources: { isDraining: () => boolean; awaited: () => number }): void
}

export function createDrainMetrics(registry: MetricRegistry): DrainMetrics {
  let read = { isDraining: () => false, awaited: () => 0 }
  registry.gauge({ name: 'draining', help: '1 while the node takes no new clients and closes those it has.' }, () =>
    read.isDraining() ? 1 : 0,
  )
  registry.gauge(
    {
      name: 'drain_awaited_sessions',
      help: 'Sessions whose clients a drain has closed and that no other node has taken over yet, at most.',
    },
    () => read.awaited(),
  )
  return {
    closed: registry.counter({ name: 'drain_closed_total', help: 'Connections closed because the node drains.' }),
    refused: registry.counter({
      name: 'drain_refused_total',
      help: 'CONNECT packets refused because the node drains.',
    }),
    bind(sources) {
      read = sources
    },
  }
}

export interface DrainModules {
  /** Live connections; those that are closed leave it. */
  readonly connections: ReadonlySet<Drainable>
  /** Whether this node has a session of that client. */
  readonly hasSession: (clientId: string) => boolean
  /** Whether there is another node to which clients may go. */
  readonly hasPeers: () => boolean
  readonly metrics: DrainMetrics
  readonly log: Logger
}

export class Drain {
  private done: Deferred | undefined
  private timer: NodeJS.Timeout | undefined
  private startedAt = 0
  private closedCount = 0
  /** Client IDs of those that were closed, save those whose session is known to have gone. */
  private readonly awaited = new Set<string>()
  private emptyAt = 0

  constructor(
    private readonly options: DrainOptions,
    private readonly modules: DrainModules,
  ) {
    modules.metrics.bind({ isDraining: () => this.isActive, awaited: () => this.awaited.size })
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

  /** Resolves when the last client and its session are gone, when the time for it is over, or when it is cancelled. */
  begin(): Promise<void> {
    if (this.done === undefined) {
      this.done = new Deferred()
      this.startedAt = performance.now()
      this.closedCount = 0
      this.emptyAt = 0
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
    this.awaited.clear()
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
      if (connection.clientId !== '') this.awaited.add(connection.clientId)
      this.closedCount++
      allowed--
    }
    if (connections.size === 0 && this.emptyAt === 0) this.emptyAt = performance.now()
    const isOver = connections.size === 0 ? !this.isAwaitingSessions() : elapsed >= grace + timeout
    if (isOver) {
      log.info({ closed: this.closedCount, left: connections.size, sessions: this.awaited.size }, 'drained')
      this.awaited.clear()
      this.done?.resolve()
    } else {
      this.timer = setTimeout(() => this.step(), STEP_MS)
    }
  }

  private isAwaitingSessions(): boolean {
    const { hasPeers, hasSession } = this.modules
    for (const clientId of this.awaited) {
      // Of one that is still here the rest need not be looked at.
      if (hasSession(clientId)) return performance.now() - this.emptyAt < this.options.handover && hasPeers()
      this.awaited.delete(clientId)
    }
    return false
  }
}
