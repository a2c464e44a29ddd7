/** What each test of the contract starts with: a broker on a port, a log of its events, and clients that connect. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import type { TestContext } from 'node:test'
import type { Aedes, AedesOptions } from 'aedes'
import { eventually } from '../../support/eventually.js'
import { type ConnectFields, PacketClient } from '../../support/packet-client.js'

/** Makes a broker that is ready for clients. It is closed by the suite. */
export type CreateAedes = (options: AedesOptions) => Promise<Aedes>

/** MQTT 3.1.1: what Aedes speaks. */
export const VERSION = 4

export interface Setting {
  broker: Aedes
  port: number
  /** What happened, in order; tests add what they see. */
  log: string[]
  connect(clientId: string, fields?: ConnectFields): Promise<PacketClient>
}

/** The events of Aedes that a program may rely on, each as a line of the log; topics of the broker's own left out. */
function logEvents(broker: Aedes, log: string[]): void {
  broker.on('client', (client) => log.push(`client ${client.id}`))
  broker.on('clientReady', (client) => log.push(`clientReady ${client.id}`))
  broker.on('clientDisconnect', (client) => log.push(`clientDisconnect ${client.id}`))
  broker.on('publish', (packet, client) => {
    if (!packet.topic.startsWith('$SYS/')) log.push(`publish ${packet.topic} ${packet.payload} by ${client?.id}`)
  })
  broker.on('subscribe', (subscriptions, client) => {
    log.push(`subscribe ${subscriptions.map(({ topic, qos }) => `${topic} ${qos}`)} by ${client.id}`)
  })
  broker.on('unsubscribe', (filters, client) => log.push(`unsubscribe ${filters} by ${client.id}`))
  broker.on('ping', (packet, client) => log.push(`ping ${packet.cmd} by ${client.id}`))
  broker.on('ack', (_packet, client) => log.push(`ack by ${client.id}`))
  broker.on('keepaliveTimeout', (client) => log.push(`keepaliveTimeout ${client.id}`))
}

/** Adds the events that tell of refusals and errors, which most tests do not look at. */
export function logErrors(broker: Aedes, log: string[]): void {
  broker.on('connackSent', ({ returnCode }, client) => log.push(`connackSent ${returnCode} to ${client.id || '-'}`))
  broker.on('clientError', (client, error) => log.push(`clientError ${client.id} ${error.message}`))
  broker.on('connectionError', (client, error) => log.push(`connectionError ${client.id || '-'} ${error.message}`))
}

export async function setUp(context: TestContext, create: CreateAedes, options: AedesOptions = {}): Promise<Setting> {
  const broker = await create(options)
  const server = createServer(broker.handle)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  context.after(() => {
    broker.close()
    server.close()
  })
  const log: string[] = []
  logEvents(broker, log)
  const { port } = server.address() as AddressInfo
  let ready = 0
  broker.on('clientReady', () => (ready += 1))
  return {
    broker,
    port,
    log,
    async connect(clientId, fields) {
      const before = ready
      const client = await PacketClient.connect(context, port, VERSION, { clientId, ...fields })
      // Aedes says so only some turns after its CONNACK.
      await eventually(() => assert.ok(ready > before, 'clientReady'), { every: 1 })
      return client
    },
  }
}

/** The lines so far, once there are as many as expected. */
export async function logged(log: string[], expected: string[]): Promise<void> {
  await eventually(() => assert.deepEqual(log, expected), { within: 2_000, every: 5 })
  log.length = 0
}
