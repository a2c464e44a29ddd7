/** Section 3.3.4 of MQTT 5.0: how much may be unacknowledged, in both directions; 4.9 has its mechanics. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../../support/broker.js'
import type { Version } from '../../support/client.js'
import { messageIdOf, PacketClient, textOf } from '../../support/packet-client.js'

const INFLIGHT_WINDOW = 20
const RECEIVE_MAXIMUM = 20

const broker = useBroker({ mqtt: { inflightWindow: INFLIGHT_WINDOW, receiveMaximum: RECEIVE_MAXIMUM } })
const VERSIONS: readonly Version[] = [4, 5]

function texts(topic: string, from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, index) => `${topic} ${from + index}`)
}

test('[MQTT-3.3.4-7] [MQTT-3.3.4-9] [MQTT-3.3.4-10] no more than Receive Maximum messages are in flight; QoS 0 and answers are not held back', async (t) => {
  const subscriber = await PacketClient.connect(t, broker().port, 5, { properties: { receiveMaximum: 3 } })
  await subscriber.subscribe([
    { topic: 'window/1', qos: 1 },
    { topic: 'window/0', qos: 0 },
  ])
  const publisher = await PacketClient.connect(t, broker().port)
  for (let number = 1; number <= 8; number += 1)
    await publisher.publishAcked({ topic: 'window/1', payload: `${number}` })
  const first = await subscriber.nextMany('publish', 3)
  assert.deepEqual(first.map(textOf), texts('window/1', 1, 3))
  await subscriber.expectNothing()

  await publisher.publishAcked({ topic: 'window/0', payload: 'not held back', qos: 0 })
  assert.deepEqual((await subscriber.settle()).map(textOf), ['window/0 not held back'], 'QoS 0 needs no window')
  assert.deepEqual(await subscriber.subscribe('window/other', 1), [1], 'SUBACK')
  assert.deepEqual(await subscriber.unsubscribe('window/other'), [0], 'UNSUBACK')
  for (const qos of [1, 2] as const) await subscriber.publishAcked({ topic: 'elsewhere', qos })

  for (const packet of first.slice(0, 2)) subscriber.acknowledge(packet)
  const second = await subscriber.nextMany('publish', 2)
  assert.deepEqual(second.map(textOf), texts('window/1', 4, 5))
  await subscriber.expectNothing()
  for (const packet of [...first.slice(2), ...second]) subscriber.acknowledge(packet)
  assert.deepEqual((await subscriber.receive(3)).map(textOf), texts('window/1', 6, 8))
})

test('[MQTT-3.3.4-7] [MQTT-3.3.4-9] a QoS 2 message keeps its place in the window until PUBCOMP, or until a PUBREC that refuses it', async (t) => {
  const subscriber = await PacketClient.connect(t, broker().port, 5, { properties: { receiveMaximum: 1 } })
  await subscriber.subscribe('window/2', 2)
  const publisher = await PacketClient.connect(t, broker().port)
  for (let number = 1; number <= 3; number += 1) {
    await publisher.publishAcked({ topic: 'window/2', payload: `${number}`, qos: 2 })
  }
  const first = await subscriber.next('publish')
  subscriber.send({ cmd: 'pubrec', ...messageIdOf(first) })
  await subscriber.next('pubrel')
  await subscriber.expectNothing()
  subscriber.send({ cmd: 'pubcomp', ...messageIdOf(first) })
  const second = await subscriber.next('publish')
  assert.equal(textOf(second), 'window/2 2')
  subscriber.send({ cmd: 'pubrec', ...messageIdOf(second), reasonCode: 0x97 })
  assert.deepEqual(
    (await subscriber.receive(1)).map(textOf),
    texts('window/2', 3, 3),
    'without a PUBREL for the refused one',
  )
})

test('[MQTT-3.3.4-7] [MQTT-3.3.4-8] a publisher that overruns the Receive Maximum of the node is disconnected, one that keeps within is not', async (t) => {
  const client = await PacketClient.connect(t, broker().port)
  assert.equal(client.connack?.properties?.receiveMaximum, RECEIVE_MAXIMUM)
  const publish = (messageId: number): void => {
    client.publish({ topic: 'overrun', payload: 'x', qos: 2, messageId })
  }
  for (let messageId = 1; messageId <= RECEIVE_MAXIMUM; messageId += 1) publish(messageId)
  await client.nextMany('pubrec', RECEIVE_MAXIMUM)
  client.send({ cmd: 'pubrel', messageId: 1 })
  await client.next('pubcomp')
  publish(RECEIVE_MAXIMUM + 1)
  await client.next('pubrec')
  publish(RECEIVE_MAXIMUM + 2)
  await client.closedFor(0x93)
})

for (const version of VERSIONS) {
  test(`a 3.1.1 client, and a 5.0 client that sets no maximum, have the window of the node (version ${version})`, async (t) => {
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('node/window', 1)
    const publisher = await PacketClient.connect(t, broker().port, version)
    for (let number = 1; number <= INFLIGHT_WINDOW + 5; number += 1) {
      await publisher.publishAcked({ topic: 'node/window', payload: `${number}` })
    }
    const first = await subscriber.nextMany('publish', INFLIGHT_WINDOW)
    await subscriber.expectNothing()
    for (const packet of first) subscriber.acknowledge(packet)
    const rest = await subscriber.receive(5)
    assert.deepEqual([...first, ...rest].map(textOf), texts('node/window', 1, INFLIGHT_WINDOW + 5))
  })
}
