/** A real listener without a broker behind it: what it hands over is recorded. */

import type { Duplex } from 'node:stream'
import type { TestContext } from 'node:test'
import { type ListenerEntryInput, listenerSchema, listenerSettings } from '../../../../src/config/listener-options.js'
import { DEFAULTS } from '../../../../src/config/options.js'
import { Admission, type AdmissionLimits } from '../../../../src/mqtt/listener/admission.js'
import { Listener } from '../../../../src/mqtt/listener/listener.js'
import { createListenerMetrics, type RefusalReason } from '../../../../src/mqtt/listener/metrics.js'
import type { ConnectionOrigin } from '../../../../src/mqtt/origin.js'
import { createLogger } from '../../../../src/telemetry/logger.js'
import { MetricRegistry } from '../../../../src/telemetry/registry.js'
import { TimerWheel } from '../../../../src/util/timer-wheel.js'

export interface TestListenerOptions {
  /** Of the node. */
  limits?: Partial<AdmissionLimits>
  /** Milliseconds. */
  arrivalTimeout?: number
  /** Milliseconds between two looks at the files of TLS. */
  reloadInterval?: number
}

/** One stream that was handed over. */
export class Entered {
  received = ''
  closeReason: string | undefined
  isClosed = false

  constructor(
    readonly stream: Duplex,
    readonly origin: ConnectionOrigin,
  ) {
    stream.on('data', (bytes: Buffer) => {
      if (this.closeReason === undefined) this.received += bytes.toString()
    })
    stream.on('error', () => stream.destroy())
    stream.on('close', () => (this.isClosed = true))
  }
}

export class TestListener {
  readonly entered: Entered[] = []
  readonly metrics = new MetricRegistry()
  readonly admission: Admission
  readonly listener: Listener
  private readonly listenerMetrics = createListenerMetrics(this.metrics)
  private readonly timers = new TimerWheel({ tickMs: 20 })

  constructor(entry: ListenerEntryInput, options: TestListenerOptions) {
    const { limits = {}, arrivalTimeout = 5_000, reloadInterval = DEFAULTS.tls.reloadInterval } = options
    this.admission = new Admission(
      { maximumConnections: 0, maximumConnectionsPerAddress: 0, connectRate: 0, connectBurst: 0, ...limits },
      { limit: 'node_limit', rate: 'node_rate' },
    )
    const tls = { ...DEFAULTS.tls, reloadInterval }
    const mqtt = { ...DEFAULTS.mqtt, maximumPacketSize: 1_000_000, connectTimeout: arrivalTimeout }
    const [settings] = listenerSettings({ ...DEFAULTS, tls, mqtt, listen: [listenerSchema.parse(entry)] })
    if (settings === undefined) throw new Error('one entry is one listener')
    this.listener = new Listener(settings, {
      accept: (stream, origin) => this.accept(stream, origin),
      admission: this.admission,
      timers: this.timers,
      metrics: this.listenerMetrics,
      log: createLogger({ level: 'silent', format: 'json' }, {}),
    })
  }

  get port(): number {
    return Number(new URL(this.listener.address).port)
  }

  refused(reason: RefusalReason): number {
    return this.listenerMetrics.refused[reason].value
  }

  get reloads(): { ok: number; failed: number } {
    const { ok, failed } = this.listenerMetrics.reloads
    return { ok: ok.value, failed: failed.value }
  }

  async stop(): Promise<void> {
    for (const { stream } of this.entered) stream.destroy()
    await this.listener.stop()
    this.timers.stop()
  }

  private accept(stream: Duplex, origin: ConnectionOrigin): { close: (reason: string) => void } {
    const entered = new Entered(stream, origin)
    this.entered.push(entered)
    const close = (reason: string): void => {
      entered.closeReason = reason
      stream.end()
    }
    return { close }
  }
}

/** A listener that listens, and is gone when the test ends. */
export async function listenFor(
  context: TestContext,
  entry: ListenerEntryInput | string,
  options: TestListenerOptions = {},
): Promise<TestListener> {
  const listener = new TestListener(typeof entry === 'string' ? { url: entry } : entry, options)
  context.after(() => listener.stop())
  await listener.listener.start()
  return listener
}
