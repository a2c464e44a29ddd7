/**
 * Overload: while the node has too much to do, or too little memory left, it takes no new clients, so that those it has
 * are served. A gate closes at its limit and opens again well below it; each time is logged once.
 */

import type { Logger } from 'pino'
import type { MqttOptions } from '../config/options.js'
import { MqttError, ReasonCode } from '../mqtt/wire/reason-codes.js'
import type { AlarmCondition } from '../telemetry/alarms.js'
import type { Counter, MetricRegistry } from '../telemetry/registry.js'

/** How often the load is looked at, in milliseconds; also the time over which the loop's delay is averaged. */
const LOOK_EVERY_MS = 1_000
/** A gate closes after this many looks above its limit in a row: one pause of a process is no overload. */
const LOOKS_TO_CLOSE = 2
/** A gate opens again below this share of its limit, or it would open and close at every look. */
const OPEN_AGAIN_BELOW = 0.8

export const OVERLOAD_REASONS = ['loop_delay', 'memory'] as const

export type OverloadReason = (typeof OVERLOAD_REASONS)[number]

/** Where the figures come from; `telemetry/process-load.ts`. */
export interface Load {
  /** Milliseconds, averaged since the last call. */
  takeLoopDelay(): number
  /** From 0 to 1. */
  memoryShare(): number
}

/** What the broker asks before it takes a client. */
export interface OverloadGate {
  /** Why a new client has to be refused now, counted; undefined when it may come in. */
  refuse(): MqttError | undefined
}

export interface OverloadMetrics {
  readonly refused: Record<OverloadReason, Counter>
  /** Connects the gauge to what it reads. */
  bind(isOverloaded: (reason: OverloadReason) => boolean): void
}

export function createOverloadMetrics(registry: MetricRegistry): OverloadMetrics {
  let read: (reason: OverloadReason) => boolean = () => false
  registry.gaugeOf(
    { name: 'overloaded', help: '1 while new clients are refused because the node is overloaded, by reason.' },
    ['reason'],
    () => OVERLOAD_REASONS.map((reason) => [{ reason }, read(reason) ? 1 : 0] as const),
  )
  return {
    refused: registry.counters(
      { name: 'overload_refused_total', help: 'CONNECT packets refused because the node was overloaded, by reason.' },
      'reason',
      OVERLOAD_REASONS,
    ),
    bind(isOverloaded) {
      read = isOverloaded
    },
  }
}

export interface OverloadModules {
  readonly load: Load
  readonly metrics: OverloadMetrics
  readonly log: Logger
}

/** One figure and its limit. */
interface Gate {
  readonly reason: OverloadReason
  readonly limit: number
  readonly read: () => number
  /** Looks in a row that were above the limit. */
  looksAbove: number
  /** As of `performance.now()`; undefined while clients are let in. */
  closedAt: number | undefined
  /** Clients refused since. */
  refused: number
}

export class Overload implements OverloadGate {
  private readonly gates: readonly Gate[]
  private interval: NodeJS.Timeout | undefined

  constructor(
    options: MqttOptions['overload'],
    private readonly modules: OverloadModules,
  ) {
    const { load, metrics } = modules
    const gates = [
      { reason: 'loop_delay', limit: options.loopDelay, read: () => load.takeLoopDelay() },
      { reason: 'memory', limit: options.memory / 100, read: () => load.memoryShare() },
    ] as const
    // A limit of 0 is none.
    this.gates = gates
      .filter(({ limit }) => limit > 0)
      .map((gate) => ({
        ...gate,
        looksAbove: 0,
        closedAt: undefined,
        refused: 0,
      }))
    metrics.bind((reason) => this.gates.some((gate) => gate.reason === reason && gate.closedAt !== undefined))
  }

  start(): void {
    if (this.gates.length === 0) return
    this.interval ??= setInterval(() => this.look(), LOOK_EVERY_MS).unref()
  }

  /** Lets everybody in again; idempotent. */
  stop(): void {
    clearInterval(this.interval)
    this.interval = undefined
    for (const gate of this.gates) gate.closedAt = undefined
  }

  /** What overloads the node at the moment, for `/readyz`. */
  get reason(): OverloadReason | undefined {
    return this.closedGate?.reason
  }

  /** One for each gate that is closed. */
  *alarms(): Generator<AlarmCondition> {
    for (const { reason, limit, closedAt, refused } of this.gates) {
      if (closedAt === undefined) continue
      const detail = `new clients are refused until ${reason} is well below ${limit} again; ${refused} were`
      yield { alarm: 'overloaded', subject: reason, severity: 'critical', detail }
    }
  }

  refuse(): MqttError | undefined {
    const gate = this.closedGate
    if (gate === undefined) return undefined
    gate.refused++
    this.modules.metrics.refused[gate.reason].value++
    return gate.reason === 'memory'
      ? new MqttError(ReasonCode.QuotaExceeded, 'the node is short of memory')
      : new MqttError(ReasonCode.ServerBusy, 'the node is overloaded')
  }

  private get closedGate(): Gate | undefined {
    return this.gates.find(({ closedAt }) => closedAt !== undefined)
  }

  /** Compares each figure with its limit. The interval calls it; a test may, too. */
  look(): void {
    for (const gate of this.gates) this.lookAt(gate)
  }

  private lookAt(gate: Gate): void {
    const { reason, limit, closedAt } = gate
    const value = gate.read()
    const { log } = this.modules
    if (closedAt === undefined) {
      gate.looksAbove = value < limit ? 0 : gate.looksAbove + 1
      if (gate.looksAbove < LOOKS_TO_CLOSE) return
      gate.closedAt = performance.now()
      gate.refused = 0
      log.warn({ reason, value, limit }, 'overloaded, new clients are refused')
    } else if (value < limit * OPEN_AGAIN_BELOW) {
      gate.closedAt = undefined
      gate.looksAbove = 0
      const milliseconds = Math.round(performance.now() - closedAt)
      log.info({ reason, value, milliseconds, refused: gate.refused }, 'no longer overloaded, clients are let in')
    }
  }
}
