import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import type { Version } from '../support/client.js'
import { messageIdOf, PacketClient, textOf, uniqueClientId } from '../support/packet-client.js'

const INFLIGHT_WINDOW = 20
const RECEIVE_MAXIMUM = 20

const broker = useBroker({ mqtt: { inflightWindow: INFLIGHT_WINDOW, receiveMaximum: RECEIVE_MAXIMUM } })
const VERSIONS: readonly Version[] = [4, 5]

function texts(topic: string, from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, index) => `${topic} ${from + index}`)
}

test('[MQTT-3.3.4-7] no more than Receive Maximum messages are in flight, and each acknowledgement lets one through', async (t) => {
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

  for (const packet of first.slice(0, 2)) subscriber.acknowledge(packet)
  const second = await subscriber.nextMany('publish', 2)
  assert.deepEqual(second.map(textOf), texts('window/1', 4, 5))
  await subscriber.expectNothing()
  for (const packet of [...first.slice(2), ...second]) subscriber.acknowledge(packet)
  assert.deepEqual((await subscriber.receive(3)).map(textOf), texts('window/1', 6, 8))
})

test('[MQTT-3.3.4-7] a QoS 2 message keeps its place in the window until PUBCOMP, or until a PUBREC that refuses it', async (t) => {
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

test('[MQTT-3.3.4-8] a publisher that overruns the Receive Maximum of the node is disconnected', async (t) => {
  const client = await PacketClient.connect(t, broker().port)
  assert.equal(client.connack?.properties?.receiveMaximum, RECEIVE_MAXIMUM)
  for (let messageId = 1; messageId <= RECEIVE_MAXIMUM + 1; messageId += 1) {
    client.publish({ topic: 'overrun', payload: 'x', qos: 2, messageId })
  }
  const before = await client.closed()
  const last = before.pop()
  assert.deepEqual([last?.cmd, (last as { reasonCode?: number }).reasonCode], ['disconnect', 0x93])
  assert.ok(before.every((packet) => packet.cmd === 'pubrec'))
})

for (const version of VERSIONS) {
  const v = `(version ${version})`
  const kept = version === 5 ? { clean: false, properties: { sessionExpiryInterval: 60 } } : { clean: false }

  test(`a 3.1.1 client, and a 5.0 client that sets no maximum, have the window of the node ${v}`, async (t) => {
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

  test(`[MQTT-4.5.0-1] messages for a session that is away wait for it, in order, QoS 0 left out ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const away = await PacketClient.connect(t, broker().port, version, { clientId, ...kept })
    await away.subscribe('away/+', 2)
    await away.disconnect()
    const publisher = await PacketClient.connect(t, broker().port, version)
    const expected: string[] = []
    for (let number = 1; number <= 60; number += 1) {
      const qos = number % 2 === 0 ? 2 : 1
      await publisher.publishAcked({ topic: 'away/x', payload: `${number}`, qos })
      expected.push(`away/x ${number} at ${qos}`)
    }
    const back = await PacketClient.connect(t, broker().port, version, { clientId, ...kept })
    assert.equal(back.connack?.sessionPresent, true)
    const got = await back.receive(60)
    assert.deepEqual(
      got.map((packet) => `${textOf(packet)} at ${packet.qos}`),
      expected,
    )
    assert.ok(
      got.every((packet) => !packet.dup),
      'sent for the first time',
    )
    await back.disconnect()
  })

  test(`[MQTT-4.4.0-1] what was in flight is sent again when the session resumes, with DUP, first, in its order ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const first = await PacketClient.connect(t, broker().port, version, { clientId, ...kept })
    await first.subscribe('resume/+', 2)
    const publisher = await PacketClient.connect(t, broker().port, version)
    await publisher.publishAcked({ topic: 'resume/a', payload: '1', qos: 1 })
    await publisher.publishAcked({ topic: 'resume/b', payload: '2', qos: 2 })
    await publisher.publishAcked({ topic: 'resume/c', payload: '3', qos: 2 })
    await publisher.publishAcked({ topic: 'resume/d', payload: '4', qos: 1 })
    const [one, two, three, four] = await first.nextMany('publish', 4)
    assert.ok(one !== undefined && two !== undefined && three !== undefined && four !== undefined)
    first.acknowledge(four)
    first.send({ cmd: 'pubrec', ...messageIdOf(three) })
    await first.next('pubrel')
    first.drop()
    await publisher.publishAcked({ topic: 'resume/e', payload: '5', qos: 1 })

    const second = await PacketClient.connect(t, broker().port, version, { clientId, ...kept })
    const again = await second.settle()
    const last = again[3]
    assert.deepEqual(
      again.map((packet) =>
        packet.cmd === 'publish'
          ? `${textOf(packet)} dup ${packet.dup} id ${packet.messageId}`
          : `${packet.cmd} id ${packet.messageId}`,
      ),
      [
        `resume/a 1 dup true id ${one.messageId}`,
        `resume/b 2 dup true id ${two.messageId}`,
        `pubrel id ${three.messageId}`,
        `resume/e 5 dup false id ${last?.messageId}`,
      ],
      'with the packet ids they had; no PUBLISH after its PUBREC [MQTT-4.3.3-6]',
    )
    await second.disconnect()
  })

  test(`the inbound half of a QoS 2 flow survives the connection ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('inbound/2', 0)
    const first = await PacketClient.connect(t, broker().port, version, { clientId, ...kept })
    first.publish({ topic: 'inbound/2', payload: 'x', qos: 2, messageId: 11 })
    await first.next('pubrec')
    first.drop()
    const second = await PacketClient.connect(t, broker().port, version, { clientId, ...kept })
    second.publish({ topic: 'inbound/2', payload: 'x', qos: 2, messageId: 11, dup: true })
    await second.next('pubrec')
    second.send({ cmd: 'pubrel', messageId: 11 })
    await second.next('pubcomp')
    assert.deepEqual((await subscriber.settle()).map(textOf), ['inbound/2 x'], '[MQTT-4.3.3-10]')
    await second.disconnect()
  })
}
