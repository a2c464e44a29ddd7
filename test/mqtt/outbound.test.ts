/** What a client may choose about how messages come to it. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { IPublishPacket } from 'mqtt-packet'
import { useBroker } from '../support/broker.js'
import { PacketClient, uniqueClientId } from '../support/packet-client.js'

const OUTBOUND_MAXIMUM = 3
const broker = useBroker({ mqtt: { outboundTopicAliasMaximum: OUTBOUND_MAXIMUM, overlappingDeliveries: 'each' } })

/** `topic`, `topic = alias` or `= alias`, and the payload. */
function wireOf({ topic, payload, properties }: IPublishPacket): string {
  const alias = properties?.topicAlias === undefined ? '' : ` = ${properties.topicAlias}`
  return `${topic}${alias}: ${payload}`.trim()
}

test('[MQTT-3.1.2-26] a client that allows topic aliases gets them, no more than it and the node allow', async (t) => {
  for (const [allowed, expected] of [
    [2, 2],
    [100, OUTBOUND_MAXIMUM],
  ] as const) {
    const topics = ['1', '2', '3', '4', '5'].map((name) => `alias/${allowed}/${name}`)
    const subscriber = await PacketClient.connect(t, broker().port, 5, { properties: { topicAliasMaximum: allowed } })
    await subscriber.subscribe(`alias/${allowed}/#`, 1)
    const publisher = await PacketClient.connect(t, broker().port)
    const meaning = new Map<number, string>()
    const highest = new Set<number>()
    for (let round = 0; round < 4; round += 1) {
      for (const topic of topics) {
        // Twice each, so that every topic comes again before the others have.
        for (const qos of [0, 1] as const) {
          await publisher.publishAcked({ topic, payload: `${round}`, qos })
          const [packet] = await subscriber.receive(1)
          const alias = packet?.properties?.topicAlias ?? 0
          if (alias !== 0 && packet?.topic !== '') meaning.set(alias, packet?.topic ?? '')
          assert.equal(packet?.topic === '' ? meaning.get(alias) : packet?.topic, topic)
          highest.add(alias)
        }
      }
    }
    assert.deepEqual([...highest].sort(), [0, 1, 2, 3].slice(0, expected + 1))
  }
})

test('[MQTT-3.1.2-27] a client that allows none gets none, nor does one before 5.0', async (t) => {
  const subscribers = [
    await PacketClient.connect(t, broker().port),
    await PacketClient.connect(t, broker().port, 5, { properties: { topicAliasMaximum: 0 } }),
    await PacketClient.connect(t, broker().port, 4),
  ]
  for (const subscriber of subscribers) await subscriber.subscribe('alias/none', 0)
  const publisher = await PacketClient.connect(t, broker().port)
  for (let count = 0; count < 3; count += 1) await publisher.publishAcked({ topic: 'alias/none', payload: `${count}` })
  for (const subscriber of subscribers) {
    assert.deepEqual((await subscriber.receive(3)).map(wireOf), ['alias/none: 0', 'alias/none: 1', 'alias/none: 2'])
  }
})

test('[MQTT-3.3.2-7] [MQTT-3.3.2-10] an alias ends with its connection: what is sent again carries its topic', async (t) => {
  const fields = {
    clientId: uniqueClientId(),
    clean: false,
    properties: { sessionExpiryInterval: 60, topicAliasMaximum: 10 },
  }
  const before = await PacketClient.connect(t, broker().port, 5, fields)
  await before.subscribe('alias/kept', 1)
  const publisher = await PacketClient.connect(t, broker().port)
  for (const payload of ['1', '2', '3']) await publisher.publishAcked({ topic: 'alias/kept', payload })
  const unacknowledged = await before.nextMany('publish', 3)
  assert.deepEqual(unacknowledged.map(wireOf), ['alias/kept: 1', 'alias/kept = 1: 2', '= 1: 3'])
  before.drop()
  const after = await PacketClient.connect(t, broker().port, 5, fields)
  await publisher.publishAcked({ topic: 'alias/kept', payload: '4' })
  const again = await after.receive(4)
  assert.deepEqual(again.map(wireOf), ['alias/kept: 1', 'alias/kept = 1: 2', '= 1: 3', '= 1: 4'])
  assert.deepEqual(
    again.map(({ dup }) => dup),
    [true, true, true, false],
  )
  await after.disconnect({ properties: { sessionExpiryInterval: 0 } })
})

test('[MQTT-3.3.4-5] with a copy for each matching subscription, each has its own QoS and identifier', async (t) => {
  for (const version of [4, 5] as const) {
    const subscriber = await PacketClient.connect(t, broker().port, version)
    const filters = [`each/${version}`, `each/+`, '#'] as const
    for (const [index, filter] of filters.entries()) {
      const identifier = version === 5 ? { subscriptionIdentifier: index + 1 } : {}
      await subscriber.subscribe(filter, index as 0 | 1 | 2, identifier)
    }
    const publisher = await PacketClient.connect(t, broker().port)
    await publisher.publishAcked({ topic: `each/${version}`, payload: 'x', qos: 2 })
    const copies = await subscriber.receive(3)
    const expected = filters.map((_, index) => [index, version === 5 ? index + 1 : undefined])
    const got = copies.map(({ qos, properties }) => [qos, properties?.subscriptionIdentifier])
    assert.deepEqual(
      got.sort((a, b) => (a[0] as number) - (b[0] as number)),
      expected,
    )
    await subscriber.expectNothing()
  }
})
