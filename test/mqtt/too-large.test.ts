import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import { PacketClient, textOf, uniqueClientId } from '../support/packet-client.js'

const SMALL = { maximumPacketSize: 100 }
const LARGE_PAYLOAD = 'x'.repeat(200)

const broker = useBroker()

async function droppedMoreBy(expected: number, act: () => Promise<void>): Promise<void> {
  const dropped = async (): Promise<number> =>
    (await broker().node().metrics()).value('shoalmq_messages_dropped_total', { reason: 'too_large' })
  const before = await dropped()
  await act()
  assert.equal((await dropped()) - before, expected, 'counted once for each receiver that did not get it')
}

for (const qos of [0, 1, 2] as const) {
  test(`[MQTT-3.1.2-25] a message that is too large for some of its receivers goes to the others (QoS ${qos})`, async (t) => {
    const topic = `size/${qos}`
    const open = async (properties: { maximumPacketSize?: number }): Promise<PacketClient> => {
      const client = await PacketClient.connect(t, broker().port, 5, {
        properties: { ...properties, receiveMaximum: 2 },
      })
      await client.subscribe(topic, qos)
      return client
    }
    const small = [await open(SMALL), await open(SMALL)]
    const large = [await open({}), await open({ maximumPacketSize: 1_000 })]
    const old = await PacketClient.connect(t, broker().port, 4)
    await old.subscribe(topic, qos)
    const publisher = await PacketClient.connect(t, broker().port)
    await droppedMoreBy(2 * 5, async () => {
      for (let n = 1; n <= 5; n += 1) {
        assert.equal(await publisher.publishAcked({ topic, payload: LARGE_PAYLOAD, qos }), 0)
        assert.equal(await publisher.publishAcked({ topic, payload: `${n}`, qos }), 0)
      }
      const fitting = [1, 2, 3, 4, 5].map((n) => `${topic} ${n}`)
      const all = fitting.flatMap((text) => [`${topic} ${LARGE_PAYLOAD}`, text])
      for (const client of small) assert.deepEqual((await client.receive(5)).map(textOf), fitting, 'its window is free')
      for (const client of [...large, old]) assert.deepEqual((await client.receive(10)).map(textOf), all)
    })
  })

  test(`[MQTT-3.1.2-25] a retained message that is too large is left out for whom it is, at subscribe (QoS ${qos})`, async (t) => {
    const publisher = await PacketClient.connect(t, broker().port)
    const keep = (name: string, payload: string): Promise<number> =>
      publisher.publishAcked({ topic: `kept/${qos}/${name}`, payload, qos, retain: true })
    await keep('a', '1')
    await keep('b', LARGE_PAYLOAD)
    await keep('c', '3')
    await droppedMoreBy(1, async () => {
      const small = await PacketClient.connect(t, broker().port, 5, { properties: { ...SMALL, receiveMaximum: 1 } })
      await small.subscribe(`kept/${qos}/+`, qos)
      assert.deepEqual((await small.receive(2)).map(textOf).sort(), [`kept/${qos}/a 1`, `kept/${qos}/c 3`])
      await small.expectNothing()
    })
    const large = await PacketClient.connect(t, broker().port)
    await large.subscribe(`kept/${qos}/+`, qos)
    assert.equal((await large.receive(3)).length, 3)
  })
}

test('[MQTT-3.1.2-25] a session that is resumed with a smaller maximum gets what fits, in flight or queued, and the rest is over', async (t) => {
  const fields = { clientId: uniqueClientId(), clean: false }
  const kept = { sessionExpiryInterval: 60 }
  const first = await PacketClient.connect(t, broker().port, 5, {
    ...fields,
    properties: { ...kept, receiveMaximum: 3 },
  })
  await first.subscribe('resumed', 2)
  const publisher = await PacketClient.connect(t, broker().port)
  const publish = (payload: string, qos: 1 | 2): Promise<number> =>
    publisher.publishAcked({ topic: 'resumed', payload, qos })
  await publish('in flight', 1)
  await publish(LARGE_PAYLOAD, 1)
  await publish(LARGE_PAYLOAD, 2)
  await first.nextMany('publish', 3)
  await publish('queued', 2)
  await publish(LARGE_PAYLOAD, 1)
  first.drop()
  await publish(LARGE_PAYLOAD, 2)
  await publish('last', 1)
  await droppedMoreBy(4, async () => {
    const properties = { ...kept, ...SMALL, receiveMaximum: 1 }
    const second = await PacketClient.connect(t, broker().port, 5, { ...fields, properties })
    assert.equal(second.connack?.sessionPresent, true)
    const got = await second.receive(3)
    assert.deepEqual(got.map(textOf), ['resumed in flight', 'resumed queued', 'resumed last'])
    await second.expectNothing()
    await second.disconnect()
  })
  await droppedMoreBy(0, async () => {
    const third = await PacketClient.connect(t, broker().port, 5, {
      ...fields,
      properties: { sessionExpiryInterval: 0 },
    })
    await third.expectNothing()
  })
})
