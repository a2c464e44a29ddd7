/** Features of MQTT 5 that an option switches on. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import type { QoS } from '../support/client.js'
import { PacketClient, textOf } from '../support/packet-client.js'

const OTHERS = 'mqtt-a.example mqtt-b.example:8883 [2001:db8::1]:1883'
const BROKEN = Buffer.from([0x61, 0xff])

const broker = useBroker({
  mqtt: { checkPayloadFormat: true, responseInformation: `reply/\${clientid}/`, serverReference: OTHERS },
})

const TEXT = { properties: { payloadFormatIndicator: true } }

test('a payload that is not the UTF-8 it says is refused with 0x99, dropped at QoS 0, and counted', async (t) => {
  const subscriber = await PacketClient.connect(t, broker().port)
  await subscriber.subscribe('format', 2)
  const publisher = await PacketClient.connect(t, broker().port)
  const before = await refused()
  assert.equal(await publisher.publishAcked({ topic: 'format', payload: BROKEN, qos: 1, ...TEXT }), 0x99)
  publisher.publish({ topic: 'format', payload: BROKEN, qos: 2, ...TEXT })
  assert.equal((await publisher.next('pubrec')).reasonCode, 0x99)
  await publisher.publishAcked({ topic: 'format', payload: BROKEN, qos: 0, ...TEXT })
  assert.equal((await refused()) - before, 3)
  // What is UTF-8, or does not say that it is, passes.
  for (const qos of [0, 1, 2] as QoS[])
    await publisher.publishAcked({ topic: 'format', payload: `ö${qos}`, qos, ...TEXT })
  await publisher.publishAcked({ topic: 'format', payload: BROKEN, qos: 1 })
  await publisher.publishAcked({ topic: 'format', payload: BROKEN, properties: { payloadFormatIndicator: false } })
  const got = await subscriber.receive(5)
  assert.deepEqual(got.slice(0, 3).map(textOf), ['format ö0', 'format ö1', 'format ö2'])
  assert.deepEqual(
    got.map((packet) => packet.properties?.payloadFormatIndicator),
    [true, true, true, undefined, false],
  )
  await subscriber.expectNothing()
})

async function refused(): Promise<number> {
  return (await broker().node().metrics()).value('shoalmq_publishes_refused_total', { reason: 'payload_format' })
}

test('a will whose payload is not the UTF-8 it says is refused with 0x99', async (t) => {
  const will = { topic: 'format/will', qos: 0, retain: false, ...TEXT } as const
  const client = await PacketClient.open(t, broker().port)
  client.sendConnect({ will: { ...will, payload: BROKEN } })
  assert.equal((await client.next('connack')).reasonCode, 0x99)
  assert.deepEqual(await client.closed(), [])
  await PacketClient.connect(t, broker().port, 5, { will: { ...will, payload: Buffer.from('ö') } })
})

test('a client that asks for Response Information gets it, made for it, and requests are answered where it says', async (t) => {
  const asks = { properties: { requestResponseInformation: true } }
  const requester = await PacketClient.connect(t, broker().port, 5, { clientId: 'asker', ...asks })
  const prefix = requester.connack?.properties?.responseInformation
  assert.equal(prefix, 'reply/asker/')
  const silent = await PacketClient.connect(t, broker().port)
  assert.equal(silent.connack?.properties?.responseInformation, undefined)
  for (const clientId of ['a/b', 'a+', 'a#']) {
    const other = await PacketClient.connect(t, broker().port, 5, { clientId, ...asks })
    assert.equal(other.connack?.properties?.responseInformation, undefined, clientId)
  }

  const responder = await PacketClient.connect(t, broker().port)
  await responder.subscribe('service', 1)
  await requester.subscribe(`${prefix}+`, 1)
  const correlationData = Buffer.from([0, 1, 255])
  requester.publish({ topic: 'service', payload: '?', properties: { responseTopic: `${prefix}one`, correlationData } })
  const [request] = await responder.receive(1)
  assert.deepEqual(request?.properties?.correlationData, correlationData)
  responder.publish({
    topic: request?.properties?.responseTopic ?? '',
    payload: '!',
    properties: { correlationData: request?.properties?.correlationData ?? Buffer.alloc(0) },
  })
  const [answer] = await requester.receive(1)
  assert.deepEqual([answer?.topic, answer?.properties?.correlationData], ['reply/asker/one', correlationData])
})

test('[MQTT-3.3.2-14] a will with wildcards in its Response Topic is refused', async (t) => {
  const client = await PacketClient.open(t, broker().port)
  client.sendConnect({
    will: { topic: 'w', payload: Buffer.from('x'), qos: 0, retain: false, properties: { responseTopic: 'a/+' } },
  })
  assert.equal((await client.next('connack')).reasonCode, 0x82)
})

// The last one: it stops the node.
test('a node that stops sends its clients to another one', async (t) => {
  const client = await PacketClient.connect(t, broker().port)
  const early = await PacketClient.connect(t, broker().port, 4)
  await broker().node().stop()
  const [farewell] = await client.closed()
  assert.ok(farewell?.cmd === 'disconnect', JSON.stringify(farewell))
  assert.equal(farewell.reasonCode, 0x9c)
  assert.equal(farewell.properties?.serverReference, OTHERS)
  assert.deepEqual(await early.closed(), [])
})
