import type { TestContext } from 'node:test'
import {
  connect,
  type IClientOptions,
  type IClientPublishOptions,
  type IClientSubscribeOptions,
  type IPublishPacket,
  type MqttClient,
} from 'mqtt'

/** A node under load on a shared core answers later than an idle one, but it answers. */
const CONNECT_TIMEOUT_MS = 10_000

/** MQTT.js does not look at the Receive Maximum of the broker; ours is 100 by default. */
const PUBLISHES_IN_FLIGHT = 50

export type QoS = 0 | 1 | 2
export type Version = 4 | 5

/** A message as a subscriber got it. */
export interface Received {
  topic: string
  payload: string
  qos: QoS
  retain: boolean
  duplicate: boolean
  properties: NonNullable<IPublishPacket['properties']>
}

export interface TestClientOptions extends Omit<IClientOptions, 'protocolVersion'> {
  version?: Version
}

/** A real client (MQTT.js) that keeps all it receives, in order, and does not reconnect unless told to. */
export class TestClient {
  private constructor(
    readonly mqtt: MqttClient,
    readonly sessionPresent: boolean,
    readonly received: readonly Received[],
  ) {}

  /** `url` as MQTT.js takes it, `mqtt://…` or `ws://…/mqtt`; connected once this returns. */
  static async connect(url: string, options: TestClientOptions = {}): Promise<TestClient> {
    const { version = 5, ...rest } = options
    const mqtt = connect(url, {
      protocolVersion: version,
      reconnectPeriod: 0,
      connectTimeout: CONNECT_TIMEOUT_MS,
      queueQoSZero: false,
      ...rest,
    })
    // Messages of a resumed session may follow CONNACK in the same chunk: listen before it comes.
    const received: Received[] = []
    mqtt.on('message', (topic, payload, packet) => {
      received.push({
        topic,
        payload: payload.toString(),
        qos: packet.qos,
        retain: packet.retain,
        duplicate: packet.dup,
        properties: packet.properties ?? {},
      })
    })
    try {
      const sessionPresent = await new Promise<boolean>((resolve, reject) => {
        mqtt.once('connect', (connack) => resolve(connack.sessionPresent))
        mqtt.once('error', reject)
        mqtt.once('close', () => reject(new Error(`${url} closed the connection before CONNACK`)))
      })
      // From here on a broken connection shows as what did not arrive; whoever waits for an acknowledgement is told.
      mqtt.on('error', () => mqtt.end(true))
      if (mqtt.options.reconnectPeriod === 0) mqtt.once('close', () => mqtt.end(true))
      return new TestClient(mqtt, sessionPresent, received)
    } catch (error) {
      mqtt.end(true)
      throw error
    }
  }

  get isConnected(): boolean {
    return this.mqtt.connected
  }

  /** Payloads received, in order, of all topics or one. */
  payloads(topic?: string): string[] {
    return this.received.filter((one) => topic === undefined || one.topic === topic).map((one) => one.payload)
  }

  /** Settles with SUBACK; a refused filter is an error. Options beyond QoS are for MQTT 5 only. */
  async subscribe(
    filters: string | readonly string[],
    qos: QoS = 0,
    options: Partial<IClientSubscribeOptions> = {},
  ): Promise<void> {
    await this.mqtt.subscribeAsync(typeof filters === 'string' ? filters : [...filters], { ...options, qos })
  }

  async unsubscribe(filters: string | readonly string[]): Promise<void> {
    await this.mqtt.unsubscribeAsync(typeof filters === 'string' ? filters : [...filters])
  }

  /** Settles with the acknowledgement: PUBACK, PUBCOMP, or for QoS 0 the write. */
  async publish(topic: string, payload: string, options: IClientPublishOptions = {}): Promise<void> {
    await this.mqtt.publishAsync(topic, payload, options)
  }

  /** Publishes many QoS 1 messages, with no more in flight than any Receive Maximum allows. */
  async publishAll(messages: readonly { topic: string; payload: string }[]): Promise<void> {
    for (let start = 0; start < messages.length; start += PUBLISHES_IN_FLIGHT) {
      const some = messages.slice(start, start + PUBLISHES_IN_FLIGHT)
      await Promise.all(some.map(({ topic, payload }) => this.publish(topic, payload, { qos: 1 })))
    }
  }

  /** DISCONNECT, then the socket. */
  async end(): Promise<void> {
    await this.mqtt.endAsync()
  }

  /** The socket without a DISCONNECT, as when a device loses its power. */
  drop(): void {
    this.mqtt.end(true)
    this.mqtt.stream.destroy()
  }
}

/** A client that is gone when the test ends. */
export async function clientFor(
  context: TestContext,
  url: string,
  options: TestClientOptions = {},
): Promise<TestClient> {
  const client = await TestClient.connect(url, options)
  context.after(() => client.drop())
  return client
}
