/** Two clients that behave, beside all that does not: numbered messages that must all arrive, once and in order. */

import type { MqttClient } from 'mqtt'
import { TestClient } from '../support/client.js'

const TOPIC = 'healthy/numbers'
/** Between messages, so that the pair takes little of the machine. */
const PAUSE_MS = 5
/** Of one message, on a machine that is busy with the rest. */
const DELIVERY_TIMEOUT_MS = 20_000

export class HealthyPair {
  private readonly publisher: TestClient
  private readonly subscriber: TestClient
  private sent = 0
  private received = 0
  private fault: Error | undefined
  private isRunning = true
  private readonly exchange: Promise<void>

  private constructor(publisher: TestClient, subscriber: TestClient) {
    this.publisher = publisher
    this.subscriber = subscriber
    subscriber.mqtt.on('message', (_topic, payload) => this.arrived(Number(payload.toString())))
    for (const client of [publisher, subscriber]) client.mqtt.on('close', () => this.closed(client.mqtt))
    this.exchange = this.run()
  }

  /** An MQTT 5 publisher, an MQTT 3.1.1 subscriber, both of QoS 1. */
  static async connect(port: number): Promise<HealthyPair> {
    const url = `mqtt://127.0.0.1:${port}`
    const subscriber = await TestClient.connect(url, { version: 4, clientId: 'healthy-subscriber' })
    await subscriber.subscribe(TOPIC, 1)
    const publisher = await TestClient.connect(url, { version: 5, clientId: 'healthy-publisher' })
    return new HealthyPair(publisher, subscriber)
  }

  /** Messages that have arrived. */
  get count(): number {
    return this.received
  }

  /** @throws what went wrong so far. */
  check(): void {
    if (this.fault !== undefined) throw this.fault
  }

  /** Ends the exchange when the last message has arrived. @throws what went wrong. */
  async stop(): Promise<void> {
    this.isRunning = false
    await this.exchange
    this.check()
    for (const client of [this.publisher, this.subscriber]) {
      client.mqtt.removeAllListeners('close')
      await client.end()
    }
  }

  private async run(): Promise<void> {
    try {
      while (this.isRunning && this.fault === undefined) {
        this.sent += 1
        await this.publisher.publish(TOPIC, `${this.sent}`, { qos: 1 })
        await this.arrivalOf(this.sent)
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
      }
    } catch (error) {
      this.fail(error instanceof Error ? error.message : String(error))
    }
  }

  private async arrivalOf(number: number): Promise<void> {
    const deadline = performance.now() + DELIVERY_TIMEOUT_MS
    while (this.received < number && this.fault === undefined) {
      if (performance.now() > deadline)
        return this.fail(`message ${number} has not arrived in ${DELIVERY_TIMEOUT_MS} ms`)
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  }

  private arrived(number: number): void {
    if (number !== this.received + 1) this.fail(`message ${number} arrived after ${this.received}`)
    this.received = number
  }

  private closed(client: MqttClient): void {
    this.fail(`the connection of ${client.options.clientId} was closed`)
  }

  private fail(reason: string): void {
    this.fault ??= new Error(`the healthy pair: ${reason}`)
  }
}
