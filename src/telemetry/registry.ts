/**
 * A typed face on prom-client: counters are plain numbers on the hot path (`counter.value += 1`) and are copied when
 * Prometheus scrapes; gauges are read at scrape time. Labels come from closed sets, never from client IDs or topics.
 */

import {
  collectDefaultMetrics,
  Counter as PromCounter,
  Gauge as PromGauge,
  Histogram as PromHistogram,
  Registry,
} from 'prom-client'

/** Every metric name starts with this. */
const PREFIX = 'shoalmq_'

export interface Counter {
  value: number
}

export type Labels = Readonly<Record<string, string>>

export interface Histogram {
  observe(value: number): void
}

export interface MetricDescription {
  /** Without the `shoalmq_` prefix; counters end in `_total`, others in their unit. */
  name: string
  help: string
}

export class MetricRegistry {
  private readonly registry = new Registry()

  /** Adds Node.js and process metrics under their usual names. */
  collectProcessMetrics(): void {
    collectDefaultMetrics({ register: this.registry })
  }

  counter(description: MetricDescription): Counter {
    const counter: Counter = { value: 0 }
    const metric = new PromCounter({
      name: PREFIX + description.name,
      help: description.help,
      registers: [this.registry],
      collect() {
        metric.reset()
        metric.inc(counter.value)
      },
    })
    return counter
  }

  /** One counter per value of one label; the set of values is closed. */
  counters<L extends string>(description: MetricDescription, label: string, values: readonly L[]): Record<L, Counter> {
    const counters = {} as Record<L, Counter>
    for (const value of values) counters[value] = { value: 0 }
    const metric = new PromCounter({
      name: PREFIX + description.name,
      help: description.help,
      labelNames: [label],
      registers: [this.registry],
      collect() {
        metric.reset()
        for (const value of values) metric.inc({ [label]: value }, counters[value].value)
      },
    })
    return counters
  }

  /** A counter whose labeled values are read at scrape, for label sets that change slowly (peers, say). */
  counterOf(
    description: MetricDescription,
    labelNames: readonly string[],
    read: () => Iterable<readonly [Labels, number]>,
  ): void {
    const metric = new PromCounter({
      name: PREFIX + description.name,
      help: description.help,
      labelNames: [...labelNames],
      registers: [this.registry],
      collect() {
        metric.reset()
        // Without labels prom-client makes 0 of nothing.
        metric.remove({})
        for (const [labels, value] of read()) metric.inc({ ...labels }, value)
      },
    })
  }

  gauge(description: MetricDescription, read: () => number): void {
    const metric = new PromGauge({
      name: PREFIX + description.name,
      help: description.help,
      registers: [this.registry],
      collect() {
        metric.set(read())
      },
    })
  }

  /** A gauge with labels, or one that may have no value, read at scrape. */
  gaugeOf(
    description: MetricDescription,
    labelNames: readonly string[],
    read: () => Iterable<readonly [Labels, number]>,
  ): void {
    const metric = new PromGauge({
      name: PREFIX + description.name,
      help: description.help,
      labelNames: [...labelNames],
      registers: [this.registry],
      collect() {
        metric.reset()
        // Without labels prom-client makes 0 of nothing.
        metric.remove({})
        for (const [labels, value] of read()) metric.set({ ...labels }, value)
      },
    })
  }

  /** Not for the hot path: observe once per batch, flush or handshake. */
  histogram(description: MetricDescription, buckets: readonly number[]): Histogram {
    return new PromHistogram({
      name: PREFIX + description.name,
      help: description.help,
      buckets: [...buckets],
      registers: [this.registry],
    })
  }

  get contentType(): string {
    return this.registry.contentType
  }

  /** The text that Prometheus scrapes. */
  scrape(): Promise<string> {
    return this.registry.metrics()
  }

  /** Name, type and help of all metrics, for `docs/metrics.md`. */
  async describe(): Promise<{ name: string; type: string; help: string }[]> {
    const metrics = await this.registry.getMetricsAsJSON()
    return metrics.map(({ name, type, help }) => ({ name, type: String(type), help }))
  }
}
