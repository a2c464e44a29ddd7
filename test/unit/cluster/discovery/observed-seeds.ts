/** A way to find peers as a node would run it, with what it reported and what it logged. */

import { Writable } from 'node:stream'
import { pino } from 'pino'
import { createSeedSource, type SeedOptions } from '../../../../src/cluster/discovery/discovery.js'
import { type DiscoveryMetrics, registerDiscoveryMetrics } from '../../../../src/cluster/discovery/metrics.js'
import type { Announcement, SeedModules, SeedSource } from '../../../../src/cluster/discovery/seed-source.js'
import { configSchema } from '../../../../src/config/options.js'
import { MetricRegistry } from '../../../../src/telemetry/registry.js'

export interface LogLine {
  level: number
  msg: string
  code?: string
  reason?: string
  detail?: string
}

const NOBODY: Announcement = { node: 'n1@127.0.0.1', incarnation: 1, address: '127.0.0.1:5370' }

/** What a seed source is given, with its log going to `lines`. */
export function seedModules(lines: LogLine[], self: Announcement = NOBODY): SeedModules {
  const sink = new Writable({
    write: (chunk, _encoding, done) => {
      lines.push(JSON.parse(String(chunk)) as LogLine)
      done()
    },
  })
  const metrics = registerDiscoveryMetrics(new MetricRegistry())
  return { self: () => self, metrics, log: pino({ level: 'info' }, sink) }
}

export class ObservedSeeds {
  readonly reports: (readonly string[])[] = []
  readonly lines: LogLine[] = []
  readonly source: SeedSource
  readonly metrics: DiscoveryMetrics

  /** Not started. */
  constructor(options: Partial<SeedOptions>, self?: Announcement) {
    const modules = seedModules(this.lines, self)
    this.metrics = modules.metrics
    this.source = createSeedSource({ ...configSchema.parse({}).cluster, ...options }, modules)
  }

  start(): this {
    this.source.start((addresses) => this.reports.push(addresses))
    return this
  }

  get latest(): readonly string[] | undefined {
    return this.reports.at(-1)
  }

  warnings(): (string | undefined)[] {
    return this.lines.filter(({ level }) => level >= 40).map(({ code, reason }) => code ?? reason)
  }
}
