import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createConnection } from 'node:net'
import { test } from 'node:test'
import mqttPacket from 'mqtt-packet'
import { useBroker } from '../support/broker.js'
import { eventually } from '../support/eventually.js'
import { PacketClient } from '../support/packet-client.js'

const broker = useBroker()

/** Far more bytes than a connection holds. */
const TOPICS = 8_000
const PAYLOAD = Buffer.alloc(4_000, 'x')
const GENEROUS = { within: 30_000 }

test('a subscription to # streams what is retained as fast as its client takes it, and nobody else waits', async (t) => {
  const publisher = await PacketClient.connect(t, broker().port)
  for (let number = 0; number < TOPICS; number += 1) {
    publisher.publish({ topic: `many/${number}`, payload: PAYLOAD, retain: true })
    if (number % 500 === 499) await publisher.settle()
  }
  const metrics = async (name: string): Promise<number> => (await broker().node().metrics()).value(name)
  assert.equal(await metrics('shoalmq_retained_messages'), TOPICS)

  const slow = createConnection({ port: broker().port, host: '127.0.0.1' })
  t.after(() => slow.destroy())
  await once(slow, 'connect')
  const topics = new Set<string>()
  const parser = mqttPacket.parser({ protocolVersion: 4 })
  parser.on('packet', (packet) => packet.cmd === 'publish' && packet.retain && topics.add(packet.topic))
  slow.on('data', (chunk) => parser.parse(chunk))
  slow.write(mqttPacket.generate({ cmd: 'connect', clientId: 'slow', protocolVersion: 4, keepalive: 0 }))
  const subscriptions = [{ topic: 'many/#', qos: 0 as const }]
  slow.write(mqttPacket.generate({ cmd: 'subscribe', messageId: 1, subscriptions }))
  await eventually(() => assert.ok(topics.size > 0), GENEROUS)
  slow.pause()
  const taken = topics.size
  const other = await PacketClient.connect(t, broker().port)
  for (let round = 0; round < 20; round += 1) await other.settle()
  other.publish({ topic: 'many/0', payload: 'again', retain: true })
  other.publish({ topic: 'many/new', payload: 'new', retain: true })
  await other.settle()
  assert.ok(taken < TOPICS, 'it had not got them all')
  assert.equal(await metrics('shoalmq_queue_messages'), 0, 'what it does not take is not made')
  slow.resume()
  await eventually(() => assert.ok(topics.size >= TOPICS), GENEROUS)
})
