/**
 * A broker for a program that embeds one, without listeners, cluster or admin server: made as an Aedes is made, and
 * given streams as an Aedes is given them. It needs no `stop` beside `close`: nothing of it keeps a process alive.
 */

import { randomUUID } from 'node:crypto'
import type { AedesOptions } from 'aedes'
import { Broker } from './broker/broker.js'
import { createBrokerMetrics } from './broker/metrics.js'
import type { Subscriber } from './broker/subscriber.js'
import { loadConfig } from './config/load.js'
import type { MqttOptions } from './config/options.js'
import type { EnhancedAuthenticator } from './mqtt/authenticator.js'
import { RouteTable } from './router/route-table.js'
import { SubscriptionTable } from './router/subscription-table.js'
import { createLogger, type Logger } from './telemetry/logger.js'
import { MetricRegistry } from './telemetry/registry.js'
import { TimerWheel } from './util/timer-wheel.js'
import { TurnQueue } from './util/turn.js'

/** What `drainTimeout: 0` of Aedes, no limit, comes to: ten years in milliseconds. */
const NO_DRAIN_TIMEOUT_MS = 10 * 365 * 24 * 3_600_000

/** Aedes' options whose place the broker itself takes; given all the same, they would silently do nothing. */
const TAKEN_OVER = ['mq', 'persistence', 'decodeProtocol'] as const

export interface EmbeddedOptions extends AedesOptions {
  /**
   * Options of the protocol as under `mqtt` in a configuration file, `{ maximumPacketSize: '256kb' }`. An option of
   * Aedes that says the same (`connectTimeout`, `drainTimeout`, `maxTopicLevels`) comes before it.
   */
  mqtt?: { readonly [K in keyof MqttOptions]?: MqttOptions[K] | string }
  /** Methods of MQTT 5 enhanced authentication, such as a `ScramSha256`. */
  authenticators?: readonly EnhancedAuthenticator[]
  /** Where the broker logs; nowhere when left out. */
  log?: Logger
}

/** `Aedes` of an embedding program: construct it and `await listen()`, or `await createBroker()`, which is both. */
export class EmbeddedBroker extends Broker {
  /** The broker's metrics; `await metrics.scrape()` is what Prometheus reads. */
  readonly metrics: MetricRegistry

  /** @throws TypeError for an option of Aedes that has no meaning here, ConfigError for one of `mqtt` that is not accepted. */
  constructor(options: EmbeddedOptions = {}) {
    const { mqtt, authenticators = [], log = silentLogger(), ...aedes } = options
    const taken = TAKEN_OVER.find((name) => aedes[name] !== undefined && aedes[name] !== null)
    if (taken !== undefined)
      throw new TypeError(`the option ${taken} of Aedes is not taken: that part is the broker's own`)
    const metrics = new MetricRegistry()
    super(
      { id: aedes.id ?? randomUUID(), mqtt: mqttOptions(mqtt ?? {}, aedes), aedes, authenticators },
      {
        subscriptions: new SubscriptionTable<Subscriber>(),
        routes: new RouteTable(),
        timers: new TimerWheel({ onError: (error) => log.error({ err: error }, 'a timer failed') }),
        turn: new TurnQueue({ onError: (error) => log.error({ err: error }, 'a task of the turn failed') }),
        metrics: createBrokerMetrics(metrics),
        log,
      },
    )
    this.metrics = metrics
    // As in Aedes: clients are taken from `listen` on.
    this.closed = true
  }

  /** A broker that takes clients. @throws what the constructor throws. */
  static override async createBroker(options?: EmbeddedOptions): Promise<EmbeddedBroker> {
    const broker = new EmbeddedBroker(options)
    await broker.listen()
    return broker
  }
}

/**
 * A broker that takes clients, to be given streams: `net.createServer(broker.handle)`.
 * @throws TypeError for an option of Aedes that has no meaning here, ConfigError for one of `mqtt` that is not accepted.
 */
export function createBroker(options?: EmbeddedOptions): Promise<EmbeddedBroker> {
  return EmbeddedBroker.createBroker(options)
}

/** It has no stream behind it: a program may make brokers by the thousand. */
function silentLogger(): Logger {
  return createLogger({ level: 'silent', format: 'json' }, {}, { write() {} })
}

function mqttOptions(given: NonNullable<EmbeddedOptions['mqtt']>, aedes: AedesOptions): MqttOptions {
  const { connectTimeout, drainTimeout, maxTopicLevels } = aedes
  const { mqtt } = loadConfig({
    values: {
      mqtt: {
        ...given,
        ...(connectTimeout === undefined ? {} : { connectTimeout }),
        ...(drainTimeout === undefined || drainTimeout === 0 ? {} : { drainTimeout }),
        ...(maxTopicLevels === undefined ? {} : { maximumTopicLevels: maxTopicLevels }),
      },
    },
    env: {},
    flags: {},
  })
  return drainTimeout === 0 ? { ...mqtt, drainTimeout: NO_DRAIN_TIMEOUT_MS } : mqtt
}
