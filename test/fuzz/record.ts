/**
 * Writes `captures/*.hex`: what MQTT.js, mosquitto_pub and mosquitto_sub send to a node in short sessions.
 * Run by hand when there is something new to capture: `node --import tsx test/fuzz/record.ts`
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { connectAsync, type IClientOptions } from 'mqtt'
import { type Broker, createBroker } from '../../src/index.js'
import { CAPTURES } from './captures.js'

/** Bytes on one line of a file. */
const LINE_BYTES = 60

/** Runs `client` against a broker and writes what the connection sent to `name.hex`. */
async function record(name: string, client: (port: number, broker: Broker) => Promise<void>): Promise<void> {
  const broker = await createBroker()
  const sent: Buffer[] = []
  const server = createServer((socket) => {
    broker.handle(socket)
    socket.on('data', (chunk: Buffer) => sent.push(Buffer.from(chunk)))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    await client((server.address() as AddressInfo).port, broker)
  } finally {
    broker.close()
    server.close()
  }
  const lines =
    Buffer.concat(sent)
      .toString('hex')
      .match(new RegExp(`.{1,${LINE_BYTES * 2}}`, 'g')) ?? []
  writeFileSync(`${CAPTURES}${name}.hex`, `${lines.join('\n')}\n`)
}

/** A bit of everything that MQTT.js does. */
async function talk(port: number, version: 3 | 4 | 5): Promise<void> {
  const isV5 = version === 5
  const options: IClientOptions = {
    protocolVersion: version,
    ...(version === 3 ? { protocolId: 'MQIsdp' } : {}),
    clientId: `mqttjs${version}`,
    username: 'user',
    password: 'secret',
    clean: version !== 4,
    will: { topic: 'clients/gone', payload: Buffer.from('gone'), qos: 1, retain: false },
    ...(isV5 ? { properties: { sessionExpiryInterval: 5, receiveMaximum: 20, userProperties: { from: 'lab' } } } : {}),
  }
  const client = await connectAsync(`mqtt://127.0.0.1:${port}`, options)
  let received = 0
  client.on('message', () => (received += 1))
  await client.subscribeAsync('sensors/#', { qos: 2, ...(isV5 ? { properties: { subscriptionIdentifier: 7 } } : {}) })
  await client.subscribeAsync(['status/+', 'a/+/c'], { qos: 1 })
  for (const qos of [0, 1, 2] as const) {
    await client.publishAsync(`sensors/${qos}`, `{"value":${qos}}`, {
      qos,
      retain: qos === 1,
      ...(isV5
        ? {
            properties: {
              contentType: 'application/json',
              payloadFormatIndicator: true,
              messageExpiryInterval: 60,
              responseTopic: 'status/reply',
              correlationData: Buffer.from([1, 2, 3]),
              userProperties: { unit: 'C', tag: ['a', 'b'] },
            },
          }
        : {}),
    })
  }
  while (received < 3) await new Promise((resolve) => setTimeout(resolve, 10))
  await client.unsubscribeAsync('a/+/c')
  await client.endAsync()
}

async function run(file: string, ...parameters: string[]): Promise<void> {
  const child = spawn(file, parameters, { stdio: 'ignore' })
  const [code] = (await once(child, 'close')) as [number]
  if (code !== 0) throw new Error(`${file} ended with ${code}`)
}

for (const version of [3, 4, 5] as const) await record(`mqttjs-${version}`, (port) => talk(port, version))
for (const [version, name] of [
  ['mqttv31', 3],
  ['mqttv311', 4],
  ['mqttv5', 5],
] as const) {
  await record(`mosquitto-pub-${name}`, (port) =>
    run(
      ...(['mosquitto_pub', '-p', `${port}`, '-V', version, '-i', `pub${name}`, '-t', 'a/b', '-m', 'hello'] as const),
      ...['-q', '2', '-r', '-u', 'user', '-P', 'secret', '--will-topic', 'w', '--will-payload', 'gone'],
    ),
  )
  await record(`mosquitto-sub-${name}`, async (port, broker) => {
    const message = { cmd: 'publish', topic: 'a/b', payload: 'hello', qos: 2, dup: false, retain: true } as const
    broker.once('subscribe', () => {
      for (let count = 0; count < 2; count += 1) broker.publish(message)
    })
    await run(
      ...(['mosquitto_sub', '-p', `${port}`, '-V', version, '-i', `sub${name}`, '-t', '#', '-t', 'a/+'] as const),
      ...['-q', '2', '-C', '2', '-W', '5'],
    )
  })
}
