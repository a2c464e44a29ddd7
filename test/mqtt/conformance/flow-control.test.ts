/** Flow control. [MQTT 5.0 section 4.9] */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../../support/broker.js'
import { kept } from '../../support/kept-session.js'
import { messageIdOf, PacketClient, textOf, uniqueClientId } from '../../support/packet-client.js'

const RECEIVE_MAXIMUM = 10

const broker = useBroker({ mqtt: { receiveMaximum: RECEIVE_MAXIMUM } })

/** Publishes `topic number` for each number, all of it taken by the broker when this returns. */
async function publishAll(publisher: PacketClient, topic: string, from: number, to: number, qos: 1 | 2): Promise<void> {
  for (let number = from; number <= to; number += 1) await publisher.publishAcked({ topic, payload: `${number}`, qos })
}

test('[MQTT-4.9.0-1] [MQTT-4.9.0-2] as many QoS 1 and 2 messages as the Receive Maximum are sent, and no further one until an exchange ends', async (t) => {
  const publisher = await PacketClient.connect(t, broker().port)
  for (const receiveMaximum of [1, 2, 5]) {
    const topic = `quota/${receiveMaximum}`
    const subscriber = await PacketClient.connect(t, broker().port, 5, { properties: { receiveMaximum } })
    await subscriber.subscribe(topic, 2)
    await publishAll(publisher, topic, 1, receiveMaximum + 4, 2)
    const [first, ...others] = await subscriber.nextMany('publish', receiveMaximum)
    assert.ok(first !== undefined)
    await subscriber.expectNothing()
    // PUBREC does not end an exchange; PUBCOMP does.
    subscriber.send({ cmd: 'pubrec', ...messageIdOf(first) })
    await subscriber.next('pubrel')
    await subscriber.expectNothing()
    subscriber.send({ cmd: 'pubcomp', ...messageIdOf(first) })
    const next = await subscriber.next('publish')
    assert.equal(next.payload.toString(), `${receiveMaximum + 1}`)
    await subscriber.expectNothing()
    // A PUBREC that refuses does too.
    subscriber.send({ cmd: 'pubrec', ...messageIdOf(next), reasonCode: 0x80 })
    assert.equal((await subscriber.next('publish')).payload.toString(), `${receiveMaximum + 2}`)
    await subscriber.expectNothing()
    assert.equal(others.length, receiveMaximum - 1, 'which are still on their way')
  }
})

test('[MQTT-4.9.0-2] a PUBACK lets one message through, and one that belongs to nothing none', async (t) => {
  const publisher = await PacketClient.connect(t, broker().port)
  const subscriber = await PacketClient.connect(t, broker().port, 5, { properties: { receiveMaximum: 2 } })
  await subscriber.subscribe('one/for/one', 1)
  await publishAll(publisher, 'one/for/one', 1, 6, 1)
  const [first, second] = await subscriber.nextMany('publish', 2)
  assert.ok(first !== undefined && second !== undefined)
  for (const messageId of [60_000, 60_001]) subscriber.send({ cmd: 'puback', messageId })
  for (const messageId of [60_002, 60_003]) subscriber.send({ cmd: 'pubcomp', messageId })
  await subscriber.expectNothing()
  subscriber.acknowledge(first)
  // The second time it is an id that is not in flight.
  subscriber.acknowledge(first)
  assert.equal(textOf(await subscriber.next('publish')), 'one/for/one 3')
  await subscriber.expectNothing()
  subscriber.send({ cmd: 'puback', ...messageIdOf(second), reasonCode: 0x97 })
  assert.equal(textOf(await subscriber.next('publish')), 'one/for/one 4')
  await subscriber.expectNothing()
})

test('[MQTT-4.9.0-1] a connection has the Receive Maximum of its own CONNECT, also when its session had a larger one', async (t) => {
  const clientId = uniqueClientId()
  const publisher = await PacketClient.connect(t, broker().port)
  const { properties } = kept(5, clientId)
  const connect = (receiveMaximum: number): Promise<PacketClient> =>
    PacketClient.connect(t, broker().port, 5, {
      ...kept(5, clientId),
      properties: { ...properties, receiveMaximum },
    })
  const first = await connect(5)
  await first.subscribe('own/quota', 1)
  await publishAll(publisher, 'own/quota', 1, 8, 1)
  await first.nextMany('publish', 5)
  await first.expectNothing()
  first.drop()
  const second = await connect(2)
  const again = await second.nextMany('publish', 2)
  assert.deepEqual(again.map(textOf), ['own/quota 1', 'own/quota 2'])
  await second.expectNothing()
  for (const message of again) second.acknowledge(message)
  assert.deepEqual(
    (await second.receive(6)).map(textOf),
    [3, 4, 5, 6, 7, 8].map((number) => `own/quota ${number}`),
  )
})

test('[MQTT-4.9.0-3] with its quota at zero the broker answers everything else, and sends QoS 0', async (t) => {
  const publisher = await PacketClient.connect(t, broker().port)
  const client = await PacketClient.connect(t, broker().port, 5, { properties: { receiveMaximum: 1 } })
  await client.subscribe('spent', 2)
  await publishAll(publisher, 'spent', 1, 3, 2)
  const first = await client.next('publish')
  await client.expectNothing()

  client.send({ cmd: 'pingreq' })
  await client.next('pingresp')
  assert.deepEqual(await client.subscribe('spent/zero', 0), [0])
  assert.deepEqual(await client.unsubscribe('spent/none'), [0x11])
  assert.equal(await client.publishAcked({ topic: 'elsewhere', qos: 1 }), 0x10)
  assert.equal(await client.publishAcked({ topic: 'elsewhere', qos: 2 }), 0x10)
  await publisher.publishAcked({ topic: 'spent/zero', payload: 'x', qos: 2 })
  assert.deepEqual((await client.settle()).map(textOf), ['spent/zero x'])
  client.send({ cmd: 'pubrec', messageId: 60_000 })
  assert.equal((await client.next('pubrel')).reasonCode, 0x92)
  client.send({ cmd: 'pubrec', ...messageIdOf(first) })
  assert.equal((await client.next('pubrel')).messageId, first.messageId)
  client.send({ cmd: 'pubcomp', ...messageIdOf(first) })
  assert.deepEqual((await client.receive(2)).map(textOf), ['spent 2', 'spent 3'])
})

test('[MQTT-4.9.0-3] a client that has used up the Receive Maximum of the broker is answered everything else', async (t) => {
  const client = await PacketClient.connect(t, broker().port)
  assert.equal(client.connack?.properties?.receiveMaximum, RECEIVE_MAXIMUM)
  const ids = Array.from({ length: RECEIVE_MAXIMUM }, () => client.publish({ topic: 'used/up', qos: 2 }))
  await client.nextMany('pubrec', RECEIVE_MAXIMUM)
  assert.deepEqual(await client.subscribe('used/up', 1), [1])
  client.publish({ topic: 'used/up', payload: 'QoS 0' })
  assert.deepEqual((await client.settle()).map(textOf), ['used/up QoS 0'])
  const [first] = ids
  client.send({ cmd: 'pubrel', messageId: first ?? 0 })
  assert.equal((await client.next('pubcomp')).messageId, first)
  // There is room for one again.
  client.publish({ topic: 'used/up', payload: 'one more', qos: 1 })
  const arrived = (await client.settle()).map(({ cmd }) => cmd)
  assert.deepEqual(arrived.sort(), ['puback', 'publish'])
})
