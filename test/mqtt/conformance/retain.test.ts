/** Section 3.3.1.3 of both specifications: the RETAIN flag, in and out. */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { useBroker } from '../../support/broker.js'
import { cite } from '../../support/cite.js'
import type { QoS, Version } from '../../support/client.js'
import { PacketClient, textOf } from '../../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]
const QOS: readonly QoS[] = [0, 1, 2]

/** What a new subscription gets of the past, as text, QoS and RETAIN flag. */
async function retainedOn(t: TestContext, filter: string, version: Version, qos: QoS = 2): Promise<string[]> {
  const client = await PacketClient.connect(t, broker().port, version)
  await client.subscribe(filter, qos)
  // A QoS 2 delivery takes its time: all there is comes before the answer to a ping.
  const got = await client.settle()
  return got
    .map((one) => (one.cmd === 'publish' ? `${textOf(one)} at ${one.qos} retain ${one.retain}` : one.cmd))
    .sort()
}

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`${cite(version, { 5: '3.3.1-5 3.3.1-9', 4: '3.3.1-5 3.3.1-6 3.3.1-8' })} the last retained message of each topic is kept with its QoS, and given to new subscriptions with RETAIN ${v}`, async (t) => {
    const publisher = await PacketClient.connect(t, broker().port, version)
    const topics = ['a', 'a/b', 'c'].map((name) => `retained/${version}/${name}`)
    for (const [index, topic] of topics.entries()) {
      const qos = (2 - index) as QoS
      await publisher.publishAcked({ topic, payload: 'old', retain: true, qos: 1 })
      await publisher.publishAcked({ topic, payload: 'new', retain: true, qos })
    }
    const expected = topics.map((topic, index) => `${topic} new at ${2 - index} retain true`)
    assert.deepEqual(await retainedOn(t, `retained/${version}/#`, version), expected.sort())
    assert.deepEqual(await retainedOn(t, topics[0] ?? '', version, 1), [`${topics[0]} new at 1 retain true`])
    assert.deepEqual(await retainedOn(t, `retained/${version}`, version), [], 'not what only looks alike')
    for (const topic of topics) await publisher.publishAcked({ topic, retain: true })
  })

  test(`${cite(version, { 5: '3.3.1-5', 4: '3.3.1-7' })} a retained message of QoS 0 takes the place of one with a higher QoS ${v}`, async (t) => {
    const publisher = await PacketClient.connect(t, broker().port, version)
    const topic = `retained/replaced/${version}`
    await publisher.publishAcked({ topic, payload: 'old', retain: true, qos: 2 })
    await publisher.publishAcked({ topic, payload: 'new', retain: true, qos: 0 })
    assert.deepEqual(await retainedOn(t, topic, version), [`${topic} new at 0 retain true`])
    await publisher.publishAcked({ topic, retain: true })
  })

  test(`${cite(version, { 5: '3.3.1-8', 4: '3.3.1-12' })} a message without RETAIN leaves what is retained as it is, also an empty one, and is not kept ${v}`, async (t) => {
    const publisher = await PacketClient.connect(t, broker().port, version)
    const topic = `retained/untouched/${version}`
    for (const qos of QOS) await publisher.publishAcked({ topic, payload: 'passing', qos })
    assert.deepEqual(await retainedOn(t, topic, version), [])
    await publisher.publishAcked({ topic, payload: 'kept', retain: true })
    for (const payload of ['passing', '']) await publisher.publishAcked({ topic, payload })
    assert.deepEqual(await retainedOn(t, topic, version), [`${topic} kept at 1 retain true`])
    await publisher.publishAcked({ topic, retain: true })
  })

  test(`${cite(version, { 5: '3.3.1-6 3.3.1-7', 4: '3.3.1-10 3.3.1-11' })} an empty message with RETAIN is delivered as any other, removes what was kept, and is not kept itself ${v}`, async (t) => {
    const publisher = await PacketClient.connect(t, broker().port, version)
    const subscriber = await PacketClient.connect(t, broker().port, version)
    for (const qos of QOS) {
      const topic = `retained/emptied/${version}/${qos}`
      await subscriber.subscribe(topic, qos)
      await publisher.publishAcked({ topic, payload: 'kept', retain: true })
      await subscriber.receive(1)
      await publisher.publishAcked({ topic, retain: true, qos })
      const [empty] = await subscriber.receive(1)
      assert.deepEqual([empty?.topic, empty?.payload.length, empty?.retain], [topic, 0, false])
      assert.deepEqual(await retainedOn(t, topic, version), [])
      await publisher.publishAcked({ topic, retain: true, qos })
      await subscriber.receive(1)
      assert.deepEqual(await retainedOn(t, topic, version), [], 'nor where there was nothing to remove')
    }
  })

  test(`${cite(version, { 5: '3.3.1-12', 4: '3.3.1-9' })} RETAIN is clear in what an established subscription gets, however it was published ${v}`, async (t) => {
    const publisher = await PacketClient.connect(t, broker().port, version)
    const subscriber = await PacketClient.connect(t, broker().port, version)
    const topic = `retained/live/${version}`
    for (const granted of QOS) {
      await subscriber.subscribe(topic, granted)
      for (const qos of QOS) {
        for (const retain of [true, false]) {
          await publisher.publishAcked({ topic, payload: 'live', qos, retain })
          assert.deepEqual(
            (await subscriber.receive(1)).map((one) => one.retain),
            [false],
          )
        }
      }
      await publisher.publishAcked({ topic, retain: true })
      await subscriber.receive(1)
    }
  })

  test(
    `${cite(version, { 4: '3.1.2-7' })} retained messages outlive the session that published them, however it ends ${v}`.trim(),
    async (t) => {
      const topic = `retained/outlives/${version}`
      const publisher = await PacketClient.connect(t, broker().port, version)
      await publisher.publishAcked({ topic, payload: 'kept', retain: true })
      await publisher.disconnect()
      assert.deepEqual(await retainedOn(t, topic, version), [`${topic} kept at 1 retain true`])
      const dropped = await PacketClient.connect(t, broker().port, version)
      await dropped.publishAcked({ topic, payload: 'again', retain: true })
      dropped.drop()
      assert.deepEqual(await retainedOn(t, topic, version), [`${topic} again at 1 retain true`])
      const cleaner = await PacketClient.connect(t, broker().port, version)
      await cleaner.publishAcked({ topic, retain: true })
    },
  )

  test(`${cite(version, { 5: '4.7.2-1', 4: '4.7.2-1' })} a wildcard in the first level does not get retained $-topics ${v}`, async (t) => {
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

test('[MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] Retain Handling: 0 always, 1 for a new subscription, 2 never', async (t) => {
  const publisher = await PacketClient.connect(t, broker().port)
  for (const topic of ['handling/a', 'handling/b']) await publisher.publishAcked({ topic, payload: 'x', retain: true })
  for (const [filter, count] of [
    ['handling/a', 1],
    ['handling/+', 2],
  ] as const) {
    const client = await PacketClient.connect(t, broker().port)
    const gotAt = async (rh: number): Promise<number> => {
      await client.subscribe([{ topic: filter, rh }])
      return (await client.settle()).length
    }
    assert.deepEqual([await gotAt(2), await gotAt(1), await gotAt(0), await gotAt(0)], [0, 0, count, count])
    await client.unsubscribe(filter)
    assert.deepEqual([await gotAt(1), await gotAt(1), await gotAt(2), await gotAt(0)], [count, 0, 0, count])
  }
  for (const topic of ['handling/a', 'handling/b']) await publisher.publishAcked({ topic, retain: true })
})

test('[MQTT-3.3.1-10] a subscription that came back with its session is not a new one', async (t) => {
  const publisher = await PacketClient.connect(t, broker().port)
  await publisher.publishAcked({ topic: 'handling/kept', payload: 'x', retain: true })
  const fields = { clientId: 'handlingKept', clean: false, properties: { sessionExpiryInterval: 60 } }
  const first = await PacketClient.connect(t, broker().port, 5, fields)
  await first.subscribe([{ topic: 'handling/kept', rh: 1 }])
  assert.equal((await first.settle()).length, 1)
  await first.disconnect()
  const second = await PacketClient.connect(t, broker().port, 5, fields)
  await second.subscribe([{ topic: 'handling/kept', rh: 1 }])
  await second.expectNothing()
  await publisher.publishAcked({ topic: 'handling/kept', retain: true })
})

test('[MQTT-3.3.1-12] [MQTT-3.3.1-13] Retain As Published keeps the RETAIN flag of live messages, without it the flag is clear', async (t) => {
  const client = await PacketClient.connect(t, broker().port)
  const plain = await PacketClient.connect(t, broker().port)
  await client.subscribe([{ topic: 'as/published', rap: true, qos: 2 }])
  await plain.subscribe([{ topic: 'as/published', rap: false, qos: 2 }])
  const publisher = await PacketClient.connect(t, broker().port)
  for (const qos of QOS) {
    for (const retain of [true, false]) {
      await publisher.publishAcked({ topic: 'as/published', payload: 'x', qos, retain })
      const [kept, cleared] = [await client.receive(1), await plain.receive(1)]
      assert.deepEqual([kept[0]?.retain, cleared[0]?.retain], [retain, false], `QoS ${qos}`)
    }
  }
  await publisher.publishAcked({ topic: 'as/published', retain: true })
  assert.equal((await client.receive(1))[0]?.retain, true, 'of the one that removes it, too')
})

test('[MQTT-3.3.1-12] what a new subscription gets of the past has RETAIN whatever it asked of live messages', async (t) => {
  const publisher = await PacketClient.connect(t, broker().port)
  await publisher.publishAcked({ topic: 'past', payload: 'x', retain: true })
  for (const rap of [true, false]) {
    const client = await PacketClient.connect(t, broker().port)
    await client.subscribe([{ topic: 'past', rap }])
    assert.deepEqual(
      (await client.receive(1)).map((one) => one.retain),
      [true],
    )
  }
  await publisher.publishAcked({ topic: 'past', retain: true })
})

test('[MQTT-3.3.2-6] a retained message keeps its properties, and says what is left of its expiry interval', async (t) => {
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
