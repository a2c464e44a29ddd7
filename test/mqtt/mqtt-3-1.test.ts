/** What MQTT 3.1 (`MQIsdp`) does otherwise than 3.1.1. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import { PacketClient, textOf, uniqueClientId } from '../support/packet-client.js'

const broker = useBroker({
  mqtt: { longMqtt31ClientIds: true, maximumClientIdLength: 30, wildcardSubscriptions: false },
})

test('a client ID of more than 23 characters is taken where the node is told to, and an empty one is not', async (t) => {
  await PacketClient.connect(t, broker().port, 3, { clientId: 'x'.repeat(30) })
  for (const clientId of ['', 'x'.repeat(31)]) {
    const client = await PacketClient.open(t, broker().port, 3)
    // mqtt-packet makes no CONNECT without a client ID.
    const id = Buffer.from(clientId)
    const body = [0, 6, ...Buffer.from('MQIsdp'), 3, 2, 0, 0, 0, id.length, ...id]
    client.write(Buffer.from([0x10, body.length, ...body]))
    assert.equal((await client.next('connack')).returnCode, 2)
    assert.deepEqual(await client.closed(), [])
  }
})

test('each QoS goes through, retained messages, wills and sessions that are kept', async (t) => {
  const clientId = uniqueClientId()
  const subscriber = await PacketClient.connect(t, broker().port, 3, { clientId, clean: false })
  assert.deepEqual(await subscriber.subscribe('old/a', 2), [2])
  const will = { topic: 'old/a', payload: Buffer.from('gone'), qos: 1, retain: false } as const
  const publisher = await PacketClient.connect(t, broker().port, 3, { will })
  for (const qos of [0, 1, 2] as const) await publisher.publishAcked({ topic: 'old/a', payload: `${qos}`, qos })
  assert.deepEqual((await subscriber.receive(3)).map(textOf), ['old/a 0', 'old/a 1', 'old/a 2'])
  await subscriber.disconnect()
  publisher.drop()
  const watcher = await PacketClient.connect(t, broker().port, 3)
  const back = await PacketClient.connect(t, broker().port, 3, { clientId, clean: false })
  assert.deepEqual((await back.receive(1)).map(textOf), ['old/a gone'])
  await watcher.publishAcked({ topic: 'old/kept', payload: 'x', retain: true })
  await back.subscribe('old/kept')
  assert.deepEqual(
    (await back.receive(1)).map((packet) => [textOf(packet), packet.retain]),
    [['old/kept x', true]],
  )
  const clean = await PacketClient.connect(t, broker().port, 3, { clientId })
  assert.deepEqual(await clean.settle(), [])
})

test('a refused subscription is answered with 0x80, as in 3.1.1, since 3.1 has no word for it', async (t) => {
  const client = await PacketClient.connect(t, broker().port, 3)
  assert.deepEqual(await client.subscribe([{ topic: 'a/#' }, { topic: 'a', qos: 1 }]), [0x80, 1])
})

test('a SUBSCRIBE and a PUBREL that are sent again have DUP', async (t) => {
  const client = await PacketClient.connect(t, broker().port, 3)
  client.write(Buffer.from([0x8a, 6, 0, 9, 0, 1, 0x61, 1]))
  assert.deepEqual((await client.next('suback')).granted, [1])
  client.publish({ topic: 'dup', payload: 'x', qos: 2, messageId: 7 })
  await client.next('pubrec')
  client.write(Buffer.from([0x6a, 2, 0, 7]))
  assert.equal((await client.next('pubcomp')).messageId, 7)
})

test('what may not be published is acknowledged and reaches nobody, since 3.1 has no word for it either', async (t) => {
  const watcher = await PacketClient.connect(t, broker().port, 5)
  await watcher.subscribe('old/after')
  const client = await PacketClient.connect(t, broker().port, 3)
  for (const qos of [0, 1, 2] as const) await client.publishAcked({ topic: '$SYS/mine', payload: 'x', qos })
  await client.publishAcked({ topic: 'old/after', payload: 'still here' })
  assert.deepEqual((await watcher.receive(1)).map(textOf), ['old/after still here'])
})
