/**
 * Alarms: what is wrong now and wants an operator. A source tells its conditions whenever it is asked; each is logged
 * once when it comes and once when it has gone, counted by a gauge, and listed by `shoalmq alarms list`.
 */

import type { Logger } from './logger.js'
import type { MetricRegistry } from './registry.js'

/** How often the sources are asked, in milliseconds. */
const LOOK_EVERY_MS = 500

/** A condition has gone when it was not there this many times in a row: one that comes and goes is one alarm. */
const LOOKS_TO_CLEAR = 3

/** Alarms that are kept at a time; whatever has more subjects than this is wrong with all of them. */
const MAXIMUM_ALARMS = 1_000

/** Every alarm there is; `docs/operations.md` says of each what to do. */
export const ALARM_NAMES = [
  /** A node does not answer, and has not said that it leaves. */
  'peer_down',
  /** A peer sees a node that this node does not see, or the other way round; or it does not hear this node. */
  'views_differ',
  /** The link to a peer breaks again and again. */
  'link_flapping',
  /** QoS 1 and 2 messages for a peer fill `cluster.linkBuffer`: publishers are held back, then messages are dropped. */
  'link_buffer_full',
  /** DNS, etcd, Kubernetes or the multicast group cannot be asked for the other nodes. */
  'discovery_failing',
  /** The store cannot write: a full disk, or a broken one. */
  'store_failing',
  /** New clients are refused: `mqtt.overload`. */
  'overloaded',
  /** The certificate of a TLS listener, or the one for other nodes, has expired or soon will. */
  'certificate_expires',
] as const

export type AlarmName = (typeof ALARM_NAMES)[number]

export type AlarmSeverity = 'warning' | 'critical'

/** What a source sees. */
export interface AlarmCondition {
  readonly alarm: AlarmName
  /** What it is about: a peer, a listener, a reason; together with the name it tells alarms apart. */
  readonly subject: string
  readonly severity: AlarmSeverity
  /** One line for people. */
  readonly detail: string
}

/** An alarm as the API shows it. Its JSON form is a contract: fields are added, never renamed. */
export interface Alarm extends AlarmCondition {
  /** Time of day, ISO 8601. */
  readonly since: string
}

interface Raised {
  condition: AlarmCondition
  readonly raisedAt: number
  /** Looks in a row at which it was not there. */
  missed: number
}

export interface AlarmModules {
  readonly registry: MetricRegistry
  readonly log: Logger
}

export class Alarms {
  private readonly sources: (() => Iterable<AlarmCondition>)[] = []
  private readonly raised = new Map<string, Raised>()
  private timer: NodeJS.Timeout | undefined

  constructor(private readonly modules: AlarmModules) {
    modules.registry.gaugeOf(
      { name: 'alarms', help: 'Alarms that are raised, by name; `shoalmq alarms list` shows them.' },
      ['alarm'],
      () => {
        const counts = new Map<AlarmName, number>(ALARM_NAMES.map((name) => [name, 0]))
        for (const { condition } of this.raised.values()) {
          counts.set(condition.alarm, (counts.get(condition.alarm) ?? 0) + 1)
        }
        return [...counts].map(([alarm, count]) => [{ alarm }, count] as const)
      },
    )
  }

  /** Adds a source; it is asked often, and must be quick. */
  add(source: () => Iterable<AlarmCondition>): void {
    this.sources.push(source)
  }

  start(): void {
    this.timer ??= setInterval(() => this.look(), LOOK_EVERY_MS).unref()
  }

  /** Idempotent; what is raised stays to be read. */
  stop(): void {
    clearInterval(this.timer)
    this.timer = undefined
  }

  /** Those that are raised, the oldest first. */
  list(): Alarm[] {
    return Array.from(this.raised.values(), ({ condition, raisedAt }) => ({
      ...condition,
      since: new Date(raisedAt).toISOString(),
    }))
  }

  /** Asks every source. The interval calls it; a test may, too. */
  look(): void {
    const found = new Set<string>()
    for (const source of this.sources) {
      for (const condition of source()) {
        const key = `${condition.alarm}\0${condition.subject}`
        found.add(key)
        this.note(key, condition)
      }
    }
    for (const [key, alarm] of this.raised) {
      if (found.has(key)) continue
      alarm.missed += 1
      if (alarm.missed >= LOOKS_TO_CLEAR) this.clear(key, alarm)
    }
  }

  private note(key: string, condition: AlarmCondition): void {
    const known = this.raised.get(key)
    if (known !== undefined) {
      known.condition = condition
      known.missed = 0
      return
    }
    if (this.raised.size >= MAXIMUM_ALARMS) return
    this.raised.set(key, { condition, raisedAt: Date.now(), missed: 0 })
    this.modules.log.warn({ ...condition }, 'alarm raised')
  }

  private clear(key: string, { condition, raisedAt }: Raised): void {
    this.raised.delete(key)
    const { alarm, subject } = condition
    this.modules.log.info({ alarm, subject, milliseconds: Date.now() - raisedAt }, 'alarm cleared')
  }
}
