/** Section 3.3 of both specifications: the flags, the topic name and the answer of a PUBLISH; see retain and publish-properties for the rest. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../../support/broker.js'
import { cite } from '../../support/cite.js'
import type { QoS, Version } from '../../support/client.js'
import { FrameClient } from '../../support/frame-client.js'
import { packet, properties, text, twoBytes } from '../../support/mqtt-bytes.js'
import { messageIdOf, PacketClient, textOf, uniqueClientId } from '../../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]
const QOS: readonly QoS[] = [0, 1, 2]

const PUBLISH = 0x30
const DUP = 0x08
const QOS_1 = 0x02
const QOS_2 = 0x04
const QOS_3 = 0x06

/** Filters, and topic names that each of them lets through. */
const MATCHES: readonly (readonly [filter: string, topics: readonly string[]])[] = [
  ['name/exact', ['name/exact']],
  ['name/+/x', ['name/a/x', 'name//x', 'name/b/x']],
  ['deep/#', ['deep', 'deep/', 'deep/a/b/c']],
  ['/+', ['/name']],
]

function none(version: Version): Buffer[] {
  return version === 5 ? [properties()] : []
}

for (const version of VERSIONS) {
  const v = `(version ${version})`
  const kept = version === 5 ? { clean: false, properties: { sessionExpiryInterval: 60 } } : { clean: false }

  test(`${cite(version, { 5: '3.3.1-1', 4: '3.3.1-1 2.3.1-3' })} DUP is set when a message is sent again, under its packet id, and not before ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const first = await PacketClient.connect(t, broker().port, version, { clientId, ...kept })
    await first.subscribe('dup/again', 2)
    const publisher = await PacketClient.connect(t, broker().port, version)
    for (const qos of [1, 2] as const) await publisher.publishAcked({ topic: 'dup/again', payload: `${qos}`, qos })
    const sent = await first.nextMany('publish', 2)
    assert.deepEqual(
      sent.map(({ dup }) => dup),
      [false, false],
    )
    first.drop()
    for (const _attempt of [1, 2]) {
      const back = await PacketClient.connect(t, broker().port, version, { clientId, ...kept })
      const again = await back.nextMany('publish', 2)
      assert.deepEqual(
        again.map((one) => [textOf(one), one.qos, one.dup, one.messageId]),
        sent.map((one) => [textOf(one), one.qos, true, one.messageId]),
      )
      back.drop()
    }
  })

  test(`${cite(version, { 5: '3.3.1-2', 4: '3.3.1-2' })} a PUBLISH of QoS 0 has no DUP: one that comes with it closes the connection ${v}`, async (t) => {
    const client = await FrameClient.connect(t, broker().port, version)
    client.write(packet(PUBLISH | DUP, text('dup/0'), ...none(version), 0x78))
    await client.closedFor(0x81)
  })

  test(`${cite(version, { 5: '3.3.1-2 3.3.1-3', 4: '3.3.1-2 3.3.1-3' })} the DUP flag of a publisher is not handed on, at any QoS ${v}`, async (t) => {
    const publisher = await FrameClient.connect(t, broker().port, version)
    for (const granted of QOS) {
      const subscriber = await FrameClient.connect(t, broker().port, version)
      await subscriber.subscribe('dup/in', granted)
      for (const [flags, answer] of [
        [QOS_1, 0x40],
        [QOS_2, 0x50],
      ] as const) {
        publisher.write(packet(PUBLISH | DUP | flags, text('dup/in'), twoBytes(granted + 1), ...none(version), 0x78))
        assert.equal((await publisher.next())[0], answer)
        // Some deliver a QoS 2 message only after its PUBREL.
        if (flags === QOS_2) publisher.write(packet(0x62, twoBytes(granted + 1)))
        const [first = -1] = await subscriber.next()
        assert.equal(first, PUBLISH | Math.min(flags, granted << 1))
      }
      await publisher.next()
      subscriber.drop()
    }
  })

  test(`${cite(version, { 5: '3.3.1-4', 4: '3.3.1-4' })} a PUBLISH with both QoS bits closes the connection, whatever its other flags ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port, version)
    await watcher.subscribe('qos/3')
    for (const flags of [QOS_3, QOS_3 | DUP, QOS_3 | 1, QOS_3 | DUP | 1]) {
      const client = await FrameClient.connect(t, broker().port, version)
      client.write(packet(PUBLISH | flags, text('qos/3'), twoBytes(1), ...none(version), 0x78))
      await client.closedFor(0x81)
    }
    await watcher.expectNothing()
  })

  test(`${cite(version, { 5: '3.3.2-1', 4: '3.3.2-1' })} the topic name comes first, and a PUBLISH that ends before or within it closes the connection ${v}`, async (t) => {
    const subscriber = await FrameClient.connect(t, broker().port, version)
    await subscriber.subscribe('first/field', 1)
    const publisher = await FrameClient.connect(t, broker().port, version)
    publisher.write(packet(PUBLISH | QOS_1, text('first/field'), twoBytes(1), ...none(version), 0x78))
    await publisher.next()
    assert.deepEqual((await subscriber.next()).subarray(2, 15), text('first/field'))
    for (const body of [
      Buffer.alloc(0),
      Buffer.of(0),
      twoBytes(1),
      Buffer.concat([twoBytes(9), Buffer.from('12345678')]),
    ]) {
      const client = await FrameClient.connect(t, broker().port, version)
      client.write(packet(PUBLISH, body))
      await client.closedFor(0x81, body.toString('hex'))
    }
  })

  test(`${cite(version, { 5: '3.3.2-2', 4: '3.3.2-2' })} a wildcard in a topic name closes the connection, and reaches nobody ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port, version)
    await watcher.subscribe('#')
    for (const topic of ['a/+/b', 'a/#', '#', '+', 'a+', '#a']) {
      for (const qos of QOS) {
        const client = await PacketClient.connect(t, broker().port, version)
        // mqtt-packet does not look at names; that is up to the broker.
        client.publish({ topic, payload: 'x', qos })
        await client.closedFor(0x90)
      }
    }
    await watcher.expectNothing()
  })

  test(`${cite(version, { 5: '3.3.2-3', 4: '3.3.2-3' })} what a subscriber gets has the topic name that was published to, and its filter matches it ${v}`, async (t) => {
    const publisher = await PacketClient.connect(t, broker().port, version)
    const all = MATCHES.flatMap(([, topics]) => topics)
    for (const [filter, expected] of MATCHES) {
      const subscriber = await PacketClient.connect(t, broker().port, version)
      await subscriber.subscribe(filter)
      for (const topic of all) publisher.publish({ topic, payload: 'x' })
      await publisher.settle()
      assert.deepEqual(
        (await subscriber.settle()).map(textOf),
        expected.map((topic) => `${topic} x`),
        filter,
      )
    }
  })

  test(`${cite(version, { 5: '3.3.4-1', 4: '3.3.4-1' })} a PUBLISH is answered as its QoS asks: not at all, by PUBACK, by PUBREC ${v}`, async (t) => {
    const client = await FrameClient.connect(t, broker().port, version)
    for (const [flags, id, answer] of [
      [0, [], []],
      [QOS_1, [twoBytes(3)], [0x40]],
      [QOS_2, [twoBytes(4)], [0x50]],
    ] as const) {
      client.write(packet(PUBLISH | flags, text('answer'), ...id, ...none(version), 0x78))
      assert.deepEqual(
        (await client.settle()).map((frame) => frame[0]),
        answer,
      )
    }
  })

  test(`${cite(version, { 5: '3.3.4-2', 4: '3.3.5-1' })} overlapping subscriptions of one client deliver at the highest QoS among them ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    await client.subscribe([
      { topic: 'over/lap', qos: 0 },
      { topic: 'over/+', qos: 2 },
      { topic: 'over/#', qos: 1 },
    ])
    const publisher = await PacketClient.connect(t, broker().port, version)
    for (const qos of QOS) {
      await publisher.publishAcked({ topic: 'over/lap', payload: 'x', qos })
      assert.deepEqual(
        (await client.receive(1)).map((one) => `${textOf(one)} at ${one.qos}`),
        [`over/lap x at ${qos}`],
      )
      await client.expectNothing()
    }
  })

  test(
    `${cite(version, { 4: '3.3.5-2' })} a PUBLISH that is not allowed reaches nobody: ${version === 5 ? 'its acknowledgement says so, and QoS 0 is dropped' : 'the connection ends'} ${v}`.trim(),
    async (t) => {
      const watcher = await PacketClient.connect(t, broker().port, version)
      await watcher.subscribe('$SYS/not/allowed')
      for (const qos of QOS) {
        const client = await PacketClient.connect(t, broker().port, version)
        const messageId = client.publish({ topic: '$SYS/not/allowed', payload: 'x', qos })
        if (version === 4) {
          assert.deepEqual(await client.closed(), [])
          continue
        }
        const answers = (await client.settle()).map((one) => [
          one.cmd,
          one.messageId,
          'reasonCode' in one && one.reasonCode,
        ])
        assert.deepEqual(answers, qos === 0 ? [] : [[qos === 1 ? 'puback' : 'pubrec', messageId, 0x87]])
      }
      await watcher.expectNothing()
    },
  )

  test(`a subscriber hears its own messages ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    await client.subscribe('echo')
    client.publish({ topic: 'echo', payload: 'x' })
    assert.deepEqual((await client.settle()).map(textOf), ['echo x'])
  })

  test(`payloads of any bytes and any length up to the maximum packet size arrive as they are ${v}`, async (t) => {
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('bytes')
    const publisher = await PacketClient.connect(t, broker().port, version)
    for (const length of [0, 1, 120, 127, 128, 16_383, 16_384, 70_000, 500_000]) {
      const payload = Buffer.alloc(
        length,
        Uint8Array.from({ length: 256 }, (_, index) => index),
      )
      publisher.publish({ topic: 'bytes', payload })
      const got = await subscriber.next('publish')
      assert.ok(payload.equals(Buffer.from(got.payload)), `${length} bytes`)
    }
  })
}

test('a message crosses between protocol versions, its 5.0 properties left out for 3.1.1', async (t) => {
  const subscribers = new Map<Version, PacketClient>()
  for (const version of VERSIONS) {
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('between', 1)
    subscribers.set(version, subscriber)
  }
  for (const from of VERSIONS) {
    const publisher = await PacketClient.connect(t, broker().port, from)
    const properties = from === 5 ? { properties: { contentType: 'text/plain' } } : {}
    await publisher.publishAcked({ topic: 'between', payload: `from ${from}`, ...properties })
    for (const [version, subscriber] of subscribers) {
      const [got] = await subscriber.receive(1)
      assert.ok(got !== undefined)
      assert.equal(textOf(got), `between from ${from}`)
      assert.equal(got.properties?.contentType, from === 5 && version === 5 ? 'text/plain' : undefined)
    }
  }
})

test('[MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.3.4-5] a message carries the identifiers of all subscriptions that it matched', async (t) => {
  const client = await PacketClient.connect(t, broker().port)
  await client.subscribe('id/+', 0, { subscriptionIdentifier: 3 })
  await client.subscribe('id/#', 0, { subscriptionIdentifier: 268_435_455 })
  await client.subscribe('id/x', 0)
  const publisher = await PacketClient.connect(t, broker().port)
  const identifiers = async (topic: string): Promise<number[]> => {
    await publisher.publishAcked({ topic })
    return (await client.settle())
      .flatMap((one) => (one.cmd === 'publish' ? [one.properties?.subscriptionIdentifier ?? []] : []))
      .flat()
      .sort((a, b) => a - b)
  }
  assert.deepEqual(await identifiers('id/x'), [3, 268_435_455])
  assert.deepEqual(await identifiers('id/x/y'), [268_435_455])
  await client.subscribe('id/#', 0, { subscriptionIdentifier: 5 })
  assert.deepEqual(await identifiers('id/x/y'), [5], 'replaced with its subscription')
  await client.subscribe('id/#', 0)
  assert.deepEqual(await identifiers('id/x/y'), [], 'and gone when the replacement has none')
})

test('[MQTT-3.3.4-3] a message that waited for its session, a retained one and one that is sent again carry their identifiers too', async (t) => {
  const clientId = uniqueClientId()
  const fields = { clientId, clean: false, properties: { sessionExpiryInterval: 60 } }
  const publisher = await PacketClient.connect(t, broker().port)
  await publisher.publishAcked({ topic: 'id/kept', payload: 'retained', retain: true })
  const first = await PacketClient.connect(t, broker().port, 5, fields)
  await first.subscribe('id/kept', 1, { subscriptionIdentifier: 300 })
  const [retained] = await first.receive(1)
  assert.equal(retained?.properties?.subscriptionIdentifier, 300)
  await publisher.publishAcked({ topic: 'id/kept', payload: 'in flight' })
  await first.next('publish')
  first.drop()
  await publisher.publishAcked({ topic: 'id/kept', payload: 'waited' })
  const second = await PacketClient.connect(t, broker().port, 5, fields)
  assert.deepEqual(
    (await second.receive(2)).map((one) => [textOf(one), one.properties?.subscriptionIdentifier]),
    [
      ['id/kept in flight', 300],
      ['id/kept waited', 300],
    ],
  )
  await publisher.publishAcked({ topic: 'id/kept', retain: true })
})

test('[MQTT-3.3.4-6] a Subscription Identifier in a PUBLISH closes the connection', async (t) => {
  const publisher = await PacketClient.connect(t, broker().port)
  publisher.publish({ topic: 'a', properties: { subscriptionIdentifier: 1 } })
  await publisher.closedFor(0x82)
})

test('messages with packet ids out of order are acknowledged by the ids they have', async (t) => {
  const subscriber = await PacketClient.connect(t, broker().port)
  await subscriber.subscribe('ids/any', 1)
  const publisher = await PacketClient.connect(t, broker().port)
  const ids = [65_535, 7, 300, 1]
  for (const messageId of ids) publisher.publish({ topic: 'ids/any', payload: `${messageId}`, qos: 1, messageId })
  assert.deepEqual(
    (await publisher.nextMany('puback', ids.length)).map(({ messageId }) => messageId),
    ids,
  )
  const got = await subscriber.receive(ids.length)
  assert.deepEqual(
    got.map(textOf),
    ids.map((id) => `ids/any ${id}`),
  )
  assert.equal(new Set(got.map((one) => messageIdOf(one).messageId)).size, ids.length)
})
