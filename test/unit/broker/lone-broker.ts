import type { Duplex } from 'node:stream'
import type { TestContext } from 'node:test'
import type { AedesOptions } from 'aedes'
import { pino } from 'pino'
import { Broker } from '../../../src/broker/broker.js'
import { createBrokerMetrics } from '../../../src/broker/metrics.js'
import type { OverloadGate } from '../../../src/broker/overload.js'
import type { Access, Forwarder, NodeId, PendingPublish } from '../../../src/broker/ports.js'
import type { Subscriber } from '../../../src/broker/subscriber.js'
import { DEFAULTS, type MqttOptions } from '../../../src/config/options.js'
import type { EnhancedAuthenticator } from '../../../src/mqtt/authenticator.js'
import type { CloseReason } from '../../../src/mqtt/close-reason.js'
import type { Connection } from '../../../src/mqtt/connection.js'
import type { Message } from '../../../src/mqtt/wire/message.js'
import { RouteTable } from '../../../src/router/route-table.js'
import { SubscriptionTable } from '../../../src/router/subscription-table.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { TurnQueue } from '../../../src/util/turn.js'
import { DrivenClock } from '../mqtt/driven-clock.js'
import { StreamClient, type Version } from './stream-client.js'

/** Stands in for the peers: keeps what it is given, and confirms routes when told to. */
export class RecordingForwarder implements Forwarder {
  readonly forwarded: { message: Message; nodes: readonly NodeId[]; pending: PendingPublish | undefined }[] = []
  /** True: SUBACK waits until `confirmRoutes`. */
  isConfirming = false
  private waiting: (() => void)[] = []

  forward(message: Message, nodes: readonly NodeId[], pending: PendingPublish | undefined): void {
    for (const _node of nodes) pending?.hold()
    this.forwarded.push({ message, nodes: [...nodes], pending })
  }

  whenRoutesConfirmed(done: () => void): void {
    if (this.isConfirming) this.waiting.push(done)
    else done()
  }

  confirmRoutes(): void {
    for (const done of this.waiting.splice(0)) done()
  }
}

export interface LoneBrokerOptions {
  mqtt?: Partial<MqttOptions>
  aedes?: AedesOptions
  overload?: OverloadGate
  access?: Access
  authenticators?: readonly EnhancedAuthenticator[]
}

/** A broker without a node around it, on a clock that the test drives. */
export class LoneBroker {
  readonly broker: Broker
  readonly clock: DrivenClock
  readonly metrics = createBrokerMetrics(new MetricRegistry())
  readonly subscriptions = new SubscriptionTable<Subscriber>()
  readonly routes = new RouteTable()
  readonly forwarder = new RecordingForwarder()
  /** The connections of the clients, in the order they came. */
  readonly connections: Connection[] = []

  constructor(
    private readonly context: TestContext,
    options: LoneBrokerOptions = {},
  ) {
    this.clock = new DrivenClock(context)
    const turn = new TurnQueue({
      onError(error) {
        throw error
      },
    })
    const mqtt = { ...DEFAULTS.mqtt, ...options.mqtt }
    this.broker = new Broker(
      {
        id: 'n1@test',
        mqtt,
        ...(options.aedes ? { aedes: options.aedes } : {}),
        ...(options.authenticators ? { authenticators: options.authenticators } : {}),
      },
      {
        subscriptions: this.subscriptions,
        routes: this.routes,
        timers: this.clock.timers,
        turn,
        metrics: this.metrics,
        log: pino({ level: 'silent' }),
        ...(options.overload ? { overload: options.overload } : {}),
        ...(options.access ? { access: options.access } : {}),
      },
    )
    this.broker.forwardThrough(this.forwarder)
    context.after(() => {
      this.broker.close()
      turn.stop()
    })
  }

  /** A stream on which no CONNECT was sent. */
  open(version: Version = 5): StreamClient {
    return StreamClient.open(this.context, (stream) => this.accept(stream), version)
  }

  /** A client whose CONNECT was accepted; clean start and no keep-alive unless told otherwise. */
  connect(fields: Parameters<StreamClient['connect']>[0] = {}, version: Version = 5): Promise<StreamClient> {
    return this.open(version).connect(fields)
  }

  accept(stream: Duplex): Connection {
    const connection = this.broker.accept(stream, { listener: 'test', remoteAddress: '', request: undefined })
    this.connections.push(connection)
    return connection
  }

  /** Why connections were closed, those reasons that occurred. */
  get closeReasons(): Partial<Record<CloseReason, number>> {
    const entries = Object.entries(this.metrics.mqtt.connectionsClosed) as [CloseReason, { value: number }][]
    return Object.fromEntries(
      entries.filter(([, { value }]) => value > 0).map(([reason, { value }]) => [reason, value]),
    )
  }
}
