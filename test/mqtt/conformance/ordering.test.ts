/** The order of messages and of acknowledgements. [MQTT 5.0 section 4.6] */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../../support/broker.js'
import { cite } from '../../support/cite.js'
import { clientFor, type QoS, type Version } from '../../support/client.js'
import { kept } from '../../support/kept-session.js'
import { messageIdOf, PacketClient, uniqueClientId } from '../../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]
const QOS: readonly QoS[] = [0, 1, 2]

function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${index + 1}`)
}

/** Payloads by topic, in the order of arrival. */
function byTopic(messages: readonly { topic: string; payload: Buffer | string }[]): Record<string, string[]> {
  const sorted: Record<string, string[]> = {}
  for (const { topic, payload } of messages) sorted[topic] = [...(sorted[topic] ?? []), payload.toString()]
  return sorted
}

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`${cite(version, { 5: '4.6.0-5 4.6.0-6', 4: '4.6.0-5 4.6.0-6' })} messages of one client, topic and QoS reach every subscriber in the order of sending, whatever QoS it asked for ${v}`, async (t) => {
    const subscribers: PacketClient[] = []
    for (const qos of QOS) {
      const subscriber = await PacketClient.connect(t, broker().port, version)
      await subscriber.subscribe('order/+', qos)
      subscribers.push(subscriber)
    }
    const count = 200
    const publisher = await clientFor(t, `mqtt://127.0.0.1:${broker().port}`, { version })
    const publishing: Promise<void>[] = []
    for (const payload of numbers(count)) {
      for (const qos of QOS) publishing.push(publisher.publish(`order/${qos}`, payload, { qos }))
      // In flight at a time: fewer than any broker's Receive Maximum.
      if (publishing.length >= 45) await Promise.all(publishing.splice(0))
    }
    const received = subscribers.map((subscriber) => subscriber.receive(3 * count))
    await Promise.all(publishing)
    const expected = { 'order/0': numbers(count), 'order/1': numbers(count), 'order/2': numbers(count) }
    for (const messages of await Promise.all(received)) {
      const sorted = byTopic(messages)
      assert.deepEqual(Object.fromEntries(Object.keys(expected).map((topic) => [topic, sorted[topic]])), expected)
    }
  })

  test(`${cite(version, { 5: '4.6.0-5', 4: '4.6.0-6' })} messages of several clients arrive in the order of each ${v}`, async (t) => {
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('mixed/+', 1)
    const count = 100
    const publishers = await Promise.all(
      ['a', 'b', 'c'].map(async (name) => ({ name, client: await PacketClient.connect(t, broker().port, version) })),
    )
    for (const payload of numbers(count)) {
      for (const { name, client } of publishers) client.publish({ topic: `mixed/${name}`, payload, qos: 1 })
    }
    assert.deepEqual(byTopic(await subscriber.receive(3 * count)), {
      'mixed/a': numbers(count),
      'mixed/b': numbers(count),
      'mixed/c': numbers(count),
    })
    for (const { client } of publishers) await client.nextMany('puback', count)
  })

  test(`${cite(version, { 5: '4.6.0-5', 4: '4.6.0-1 4.6.0-6' })} order holds from one connection to the next: sent again, waiting, and live ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const publisher = await PacketClient.connect(t, broker().port, version)
    const first = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    await first.subscribe('across', 1)
    const publish = async (from: number, to: number): Promise<void> => {
      for (let number = from; number <= to; number += 1)
        await publisher.publishAcked({ topic: 'across', payload: `${number}` })
    }
    await publish(1, 10)
    const sent = await first.nextMany('publish', 10)
    // Acknowledged out of order, which leaves gaps.
    for (const index of [7, 0, 4]) {
      const message = sent[index]
      if (message !== undefined) first.acknowledge(message)
    }
    await first.expectNothing()
    first.drop()
    await publish(11, 20)
    const second = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    await publish(21, 30)
    const got = await second.receive(27)
    assert.deepEqual(
      got.map(({ payload }) => payload.toString()),
      numbers(30).filter((number) => !['1', '5', '8'].includes(number)),
    )
  })

  test(`${cite(version, { 5: '4.6.0-2 4.6.0-3', 4: '4.6.0-2 4.6.0-3' })} PUBACK and PUBREC are sent in the order of the PUBLISH packets ${v}`, async (t) => {
    const publisher = await PacketClient.connect(t, broker().port, version)
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('acks/heard')
    const expected = Array.from({ length: 60 }, (_, index) => {
      const qos = index % 3 === 0 ? 1 : 2
      const messageId = publisher.publish({ topic: index % 2 === 0 ? 'acks/heard' : 'acks/unheard', qos })
      return [qos === 1 ? 'puback' : 'pubrec', messageId]
    })
    const acks = (await publisher.settle()).map((ack) => [ack.cmd, (ack as { messageId?: number }).messageId])
    for (const cmd of ['puback', 'pubrec']) {
      assert.deepEqual(
        acks.filter(([kind]) => kind === cmd),
        expected.filter(([kind]) => kind === cmd),
      )
    }
    assert.equal(acks.length, expected.length)
  })

  test(`${cite(version, { 5: '4.6.0-4', 4: '4.6.0-4' })} PUBREL is sent in the order of the PUBREC packets, and again so when the session resumes ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const publisher = await PacketClient.connect(t, broker().port, version)
    const first = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    await first.subscribe('releases', 2)
    for (const payload of numbers(5)) await publisher.publishAcked({ topic: 'releases', payload, qos: 2 })
    const ids = (await first.nextMany('publish', 5)).map((message) => messageIdOf(message).messageId)
    const order = [3, 0, 4, 1].map((index) => ids[index] ?? 0)
    for (const messageId of order) first.send({ cmd: 'pubrec', messageId })
    assert.deepEqual(
      (await first.nextMany('pubrel', 4)).map(({ messageId }) => messageId),
      order,
    )
    first.drop()
    const second = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    const again = await second.settle()
    assert.deepEqual(
      again.flatMap((one) => (one.cmd === 'pubrel' ? [one.messageId] : [])),
      order,
    )
    assert.equal(again.length, 5, 'and the message that was not received')
  })
}
