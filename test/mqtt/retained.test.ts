import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import type { Version } from '../support/client.js'
import { PacketClient, textOf } from '../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`[MQTT-3.3.1-5] the last retained message of each topic is given to new subscribers, with RETAIN ${v}`, async (t) => {
    const publisher = await PacketClient.connect(t, broker().port, version)
    const topics = ['a', 'a/b', 'c'].map((topic) => `retained/${version}/${topic}`)
    for (const topic of topics) {
      await publisher.publishAcked({ topic, payload: 'old', retain: true })
      await publisher.publishAcked({ topic, payload: `new ${topic}`, retain: true })
      await publisher.publishAcked({ topic, payload: 'not retained' })
    }
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe(`retained/${version}/#`, 1)
    const got = await subscriber.receive(3)
    await subscriber.expectNothing()
    assert.deepEqual(got.map(textOf).sort(), topics.map((topic) => `${topic} new ${topic}`).sort())
    assert.ok(got.every((packet) => packet.retain))

    await publisher.publishAcked({ topic: topics[0] ?? '', payload: 'live', retain: true })
    assert.deepEqual(
      (await subscriber.receive(1)).map((packet) => packet.retain),
      [false],
      '[MQTT-3.3.1-12] not to those who were there',
    )

    for (const topic of topics) await publisher.publishAcked({ topic, retain: true })
    assert.equal((await subscriber.receive(3)).length, 3, '[MQTT-3.3.1-6] an empty one is delivered as any other')
    const late = await PacketClient.connect(t, broker().port, version)
    await late.subscribe(`retained/${version}/#`, 1)
    await late.expectNothing()
  })

  test(`[MQTT-3.8.4-4] a wildcard in the first level does not get retained $-topics ${v}`, async (t) => {
    const publisher = await PacketClient.connect(t, broker().port, version)
    await publisher.publishAcked({ topic: '$hidden/retained', payload: 'x', retain: true })
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('+/retained')
    await subscriber.expectNothing()
    await subscriber.subscribe('$hidden/+')
    assert.deepEqual((await subscriber.settle()).map(textOf), ['$hidden/retained x'])
    await publisher.publishAcked({ topic: '$hidden/retained', retain: true })
  })
}

test('[MQTT-3.3.1-10] Retain Handling: 0 always, 1 for a new subscription, 2 never', async (t) => {
  const publisher = await PacketClient.connect(t, broker().port)
  await publisher.publishAcked({ topic: 'handling', payload: 'x', retain: true })
  const client = await PacketClient.connect(t, broker().port)
  const gotAt = async (rh: number): Promise<number> => {
    await client.subscribe([{ topic: 'handling', rh }])
    return (await client.settle()).length
  }
  assert.deepEqual([await gotAt(2), await gotAt(1), await gotAt(0)], [0, 0, 1])
  await client.unsubscribe('handling')
  assert.deepEqual([await gotAt(1), await gotAt(1), await gotAt(0)], [1, 0, 1])
  await publisher.publishAcked({ topic: 'handling', retain: true })
})

test('[MQTT-3.3.1-13] Retain As Published keeps the RETAIN flag of live messages', async (t) => {
  const client = await PacketClient.connect(t, broker().port)
  await client.subscribe([{ topic: 'as/published', rap: true }])
  const publisher = await PacketClient.connect(t, broker().port)
  await publisher.publishAcked({ topic: 'as/published', payload: 'x', retain: true })
  await publisher.publishAcked({ topic: 'as/published', payload: 'y' })
  assert.deepEqual(
    (await client.receive(2)).map((packet) => packet.retain),
    [true, false],
  )
  await publisher.publishAcked({ topic: 'as/published', retain: true })
})

test('a retained message keeps its properties, and says what is left of its expiry interval', async (t) => {
  const publisher = await PacketClient.connect(t, broker().port)
  const properties = { contentType: 'text/plain', messageExpiryInterval: 100 }
  await publisher.publishAcked({ topic: 'retained/properties', payload: 'x', retain: true, properties })
  const client = await PacketClient.connect(t, broker().port)
  await client.subscribe('retained/properties')
  const [got] = await client.receive(1)
  assert.equal(got?.properties?.contentType, 'text/plain')
  const left = got?.properties?.messageExpiryInterval ?? 0
  assert.ok(left >= 95 && left <= 100, `${left} s left`)
  await publisher.publishAcked({ topic: 'retained/properties', retain: true })
})
