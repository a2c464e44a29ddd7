import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import { eventually } from '../support/eventually.js'
import { assertServing, assertUnharmed, openSocket, residentBytes } from '../support/hostile.js'
import { packet, properties, text, twoBytes, variable } from '../support/mqtt-bytes.js'
import { PacketClient, textOf } from '../support/packet-client.js'

const RETAINED_LIMIT = 500
const SUBSCRIPTION_LIMIT = 5_000
const RECEIVE_MAXIMUM = 50

const broker = useBroker({
  mqtt: {
    receiveMaximum: RECEIVE_MAXIMUM,
    retainedMessages: RETAINED_LIMIT,
    maximumSubscriptions: SUBSCRIPTION_LIMIT,
    drainTimeout: '2s',
  },
})
/** A node that would take 100 MB in one packet. */
const wide = useBroker({
  mqtt: { maximumPacketSize: '128mb', queueBytes: '128mb', outboxLimit: '128mb' },
  cluster: { linkBuffer: '128mb', qos0Buffer: '128mb' },
})
const VERSIONS = [4, 5] as const

/** No properties, where the version has any. */
function none(version: 4 | 5): Buffer {
  return version === 5 ? properties() : Buffer.alloc(0)
}

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`packets of 100 MB that are announced and never sent cost nothing ahead ${v}`, async (t) => {
    const node = wide().node()
    const before = await residentBytes(node)
    const announced = Buffer.concat([Buffer.from([0x30]), variable(100_000_000), text('a/b'), none(version)])
    const clients = await Promise.all(Array.from({ length: 50 }, () => PacketClient.connect(t, wide().port, version)))
    for (const client of clients) {
      client.write(announced)
      client.write(Buffer.alloc(1_000))
    }
    await assertServing(t, wide().port)
    const grown = (await residentBytes(node)) - before
    assert.ok(grown < 50e6, `${Math.round(grown / 1e6)} MB for 5 GB that were only announced`)
    for (const client of clients) client.drop()
    await assertUnharmed(t, node)
  })

  test(`a packet above the limit is refused when it is announced, before it is sent ${v}`, async (t) => {
    const client = await PacketClient.connect(t, wide().port, version)
    client.write(Buffer.concat([Buffer.from([0x30]), variable(200_000_000)]))
    await client.closedFor(0x95)
  })

  test(`topics and filters of 10,000 levels are refused, and so are those of wildcards ${v}`, async (t) => {
    const deep = 'a/'.repeat(9_999)
    const subscriber = await PacketClient.connect(t, broker().port, version)
    for (const filter of [`${deep}a`, '+/'.repeat(9_999), `${deep}#`]) {
      assert.deepEqual(await subscriber.subscribe(filter, 0), [version === 5 ? 0x8f : 0x80])
    }
    const publisher = await PacketClient.connect(t, broker().port, version)
    publisher.publish({ topic: `${deep}a`, payload: 'x' })
    await publisher.closedFor(0x90)
    await assertServing(t, broker().port)
  })

  test(`a SUBSCRIBE with 10,000 filters is answered filter by filter, and in the limit of subscriptions ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    const filters = Array.from({ length: 10_000 }, (_, index) => ({ topic: `many/${index}/+` }))
    const granted = await client.subscribe(filters, 1)
    assert.equal(granted.length, 10_000)
    assert.equal(granted.filter((code) => code === 1).length, SUBSCRIPTION_LIMIT)
    assert.deepEqual([...new Set(granted.slice(SUBSCRIPTION_LIMIT))], [version === 5 ? 0x97 : 0x80])
    client.publish({ topic: 'many/7/x', payload: 'found' })
    assert.deepEqual((await client.receive(1)).map(textOf), ['many/7/x found'])
    await client.unsubscribe(...filters.map(({ topic }) => topic))
    assert.equal((await broker().node().metrics()).value('shoalmq_subscriptions'), 0)
    await client.disconnect()
  })

  test(`a will of 65,535 bytes, the most that can be said, is published once ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port)
    await watcher.subscribe('last/words', 1)
    const payload = Buffer.alloc(65_535, 0x77)
    const will = { topic: 'last/words', payload, qos: 1, retain: false } as const
    const client = await PacketClient.connect(t, broker().port, version, { will })
    client.drop()
    const [message] = await watcher.receive(1)
    assert.equal(message?.payload.length, payload.length)
    await watcher.expectNothing()
    await watcher.disconnect()
  })

  test(`retained messages on ever new topics are bounded, and those that are not kept are counted ${v}`, async (t) => {
    const node = broker().node()
    const client = await PacketClient.connect(t, broker().port, version)
    const refused = async (): Promise<number> => (await node.metrics()).value('shoalmq_retained_refused_total')
    const before = await refused()
    for (let index = 0; index < 3_000; index += 1) {
      client.publish({ topic: `retained/${version}/${index}`, payload: 'x', retain: true })
    }
    await client.settle()
    assert.equal((await node.metrics()).value('shoalmq_retained_messages'), RETAINED_LIMIT)
    assert.equal((await refused()) - before, 3_000 - RETAINED_LIMIT)
    for (let index = 0; index < RETAINED_LIMIT; index += 1) {
      client.publish({ topic: `retained/${version}/${index}`, payload: '', retain: true })
    }
    await client.settle()
    assert.equal((await node.metrics()).value('shoalmq_retained_messages'), 0)
    await client.disconnect()
  })
}

test('half-open QoS 2: an MQTT 5 client that never releases is stopped at the receive maximum', async (t) => {
  const client = await PacketClient.connect(t, broker().port)
  for (let messageId = 1; messageId <= RECEIVE_MAXIMUM; messageId += 1) {
    client.publish({ topic: 'half/open', qos: 2, messageId })
  }
  assert.equal((await client.nextMany('pubrec', RECEIVE_MAXIMUM)).length, RECEIVE_MAXIMUM)
  client.publish({ topic: 'half/open', qos: 2, messageId: RECEIVE_MAXIMUM + 1 })
  await client.closedFor(0x93)
  await assertUnharmed(t, broker().node())
})

test('half-open QoS 2: 65,535 unreleased ids of earlier clients cost little, and end with the session', async (t) => {
  const node = broker().node()
  const before = await residentBytes(node)
  const clients = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const socket = await openSocket(t, broker().port)
      let received = 0
      socket.on('data', (chunk) => (received += chunk.length))
      socket.write(packet(0x10, text('MQTT'), 4, 0x02, twoBytes(0), text(`half${Math.random()}`)))
      const publishes = Array.from({ length: 65_535 }, (_, index) =>
        packet(0x34, text('half/open'), twoBytes(index + 1)),
      )
      socket.write(Buffer.concat(publishes))
      // CONNACK and a PUBREC for each.
      await eventually(() => assert.equal(received, 4 + 4 * 65_535), { within: 20_000 })
      return socket
    }),
  )
  const perClient = ((await residentBytes(node)) - before) / clients.length
  assert.ok(perClient < 20e6, `${Math.round(perClient / 1e6)} MB for each client`)
  for (const client of clients) client.destroy()
  await assertUnharmed(t, node)
})

test('a reader that never reads is closed after the drain time; until then its memory is bounded and others wait for nothing', async (t) => {
  const node = broker().node()
  const before = await residentBytes(node)
  const deaf = await Promise.all(Array.from({ length: 5 }, () => PacketClient.connect(t, broker().port)))
  for (const client of deaf) {
    await client.subscribe('flood/#', 1)
    client.pause()
  }
  const reader = await PacketClient.connect(t, broker().port)
  await reader.subscribe('flood/#', 0)
  const publisher = await PacketClient.connect(t, broker().port)
  const payload = Buffer.alloc(16_384)
  const rounds = 2_000
  const start = performance.now()
  for (let round = 0; round < rounds; round += 1) {
    publisher.publish({ topic: 'flood/x', payload })
    if (round % 20 === 19) {
      await publisher.settle()
      await reader.receive(20)
    }
  }
  const seconds = (performance.now() - start) / 1_000
  assert.ok(seconds < 20, `the reader had its messages in ${seconds.toFixed(1)} s`)
  const grown = (await residentBytes(node)) - before
  // 32 MB went to each of the five; each may have 4 MB waiting.
  assert.ok(grown < 100e6, `${Math.round(grown / 1e6)} MB`)
  await eventually(
    async () => {
      const closed = (await node.metrics()).value('shoalmq_connections_closed_total', { reason: 'drain_timeout' })
      assert.equal(closed, deaf.length)
    },
    { within: 15_000 },
  )
  await reader.disconnect()
  await publisher.disconnect()
  await assertUnharmed(t, node)
})
