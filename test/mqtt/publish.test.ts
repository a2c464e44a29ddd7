import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import { clientFor, type QoS, type Version } from '../support/client.js'
import { PacketClient, textOf } from '../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]
const QOS: readonly QoS[] = [0, 1, 2]

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`[MQTT-3.8.4-8] a message arrives at the lower QoS of its publisher and its subscription ${v}`, async (t) => {
    const publisher = await PacketClient.connect(t, broker().port, version)
    for (const granted of QOS) {
      const subscriber = await PacketClient.connect(t, broker().port, version)
      assert.deepEqual(await subscriber.subscribe('lower/qos', granted), [granted])
      for (const qos of QOS) {
        await publisher.publishAcked({ topic: 'lower/qos', payload: `${qos}`, qos })
        const [got] = await subscriber.receive(1)
        assert.ok(got !== undefined)
        assert.deepEqual(
          { qos: got.qos, dup: got.dup, retain: got.retain, text: textOf(got) },
          { qos: Math.min(qos, granted), dup: false, retain: false, text: `lower/qos ${qos}` },
        )
      }
      await subscriber.expectNothing()
      await subscriber.disconnect()
    }
  })

  test(`[MQTT-4.3.3-10] a QoS 2 PUBLISH that is sent again before its PUBREL is delivered once ${v}`, async (t) => {
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('once/only', 0)
    const publisher = await PacketClient.connect(t, broker().port, version)
    const fields = { topic: 'once/only', payload: 'x', qos: 2, messageId: 7 } as const
    publisher.publish(fields)
    assert.equal((await publisher.next('pubrec')).messageId, 7)
    publisher.publish({ ...fields, dup: true })
    assert.equal((await publisher.next('pubrec')).messageId, 7, 'and acknowledged again')
    publisher.send({ cmd: 'pubrel', messageId: 7 })
    await publisher.next('pubcomp')
    assert.deepEqual((await subscriber.settle()).map(textOf), ['once/only x'])
    await publisher.publishAcked({ ...fields, payload: 'y' })
    assert.deepEqual(
      (await subscriber.settle()).map(textOf),
      ['once/only y'],
      '[MQTT-4.3.3-12] the id is free after PUBCOMP',
    )
  })

  test(`[MQTT-4.3.2-5] a QoS 1 PUBLISH after its PUBACK is a new message, whatever its DUP flag ${v}`, async (t) => {
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('again', 0)
    const publisher = await PacketClient.connect(t, broker().port, version)
    for (const dup of [false, true]) {
      publisher.publish({ topic: 'again', payload: `${dup}`, qos: 1, messageId: 9, dup })
      await publisher.next('puback')
    }
    const got = await subscriber.nextMany('publish', 2)
    assert.deepEqual(got.map(textOf), ['again false', 'again true'])
    assert.deepEqual(
      got.map((packet) => packet.dup),
      [false, false],
      '[MQTT-3.3.1-3] DUP is not handed on',
    )
  })

  test(`a PUBREL for an unknown packet id is answered with PUBCOMP ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    client.send({ cmd: 'pubrel', messageId: 4711 })
    const pubcomp = await client.next('pubcomp')
    assert.equal(pubcomp.messageId, 4711)
    if (version === 5) assert.equal(pubcomp.reasonCode, 0x92, '[MQTT-3.7.2-1] packet identifier not found')
    await client.expectNothing()
  })

  test(`acknowledgements nobody waits for do no harm ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    client.send({ cmd: 'puback', messageId: 1 })
    client.send({ cmd: 'pubcomp', messageId: 2 })
    await client.expectNothing()
    client.send({ cmd: 'pubrec', messageId: 3 })
    const answers = await client.settle()
    // 3.1.1 has no way to say that the id is unknown, so there the flow is brought to its end.
    assert.ok(
      answers.every((packet) => packet.cmd === 'pubrel'),
      JSON.stringify(answers),
    )
  })

  test(`[MQTT-4.6.0-5] messages of one publisher, topic and QoS arrive in the order of sending ${v}`, async (t) => {
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('order/+', 2)
    const publisher = await clientFor(t, `mqtt://127.0.0.1:${broker().port}`, { version })
    const count = 300
    const publishing: Promise<void>[] = []
    for (let number = 1; number <= count; number += 1) {
      for (const qos of QOS) publishing.push(publisher.publish(`order/${qos}`, `${number}`, { qos }))
      // In flight at a time: fewer than any broker's Receive Maximum.
      if (publishing.length >= 45) await Promise.all(publishing.splice(0))
    }
    await Promise.all(publishing)
    const got: Record<string, string[]> = { 'order/0': [], 'order/1': [], 'order/2': [] }
    for (const packet of await subscriber.receive(3 * count)) got[packet.topic]?.push(packet.payload.toString())
    const expected = Array.from({ length: count }, (_, index) => `${index + 1}`)
    assert.deepEqual(got, { 'order/0': expected, 'order/1': expected, 'order/2': expected })
  })

  test(`[MQTT-4.6.0-2] acknowledgements come in the order of the publishes ${v}`, async (t) => {
    const publisher = await PacketClient.connect(t, broker().port, version)
    const ids = Array.from({ length: 50 }, () => publisher.publish({ topic: 'acks', payload: 'x', qos: 1 }))
    const acks = await publisher.nextMany('puback', ids.length)
    assert.deepEqual(
      acks.map((ack) => ack.messageId),
      ids,
    )
  })

  test(`[MQTT-3.3.2-2] a wildcard in a topic name closes the connection ${v}`, async (t) => {
    for (const topic of ['a/+/b', 'a/#', '#', '+']) {
      const watcher = await PacketClient.connect(t, broker().port, version)
      await watcher.subscribe('#')
      const client = await PacketClient.connect(t, broker().port, version)
      // mqtt-packet does not look at names; that is up to the broker.
      client.publish({ topic, payload: 'x' })
      await client.closedFor(0x90)
      await watcher.expectNothing()
      await watcher.disconnect()
    }
  })

  test(`[MQTT-4.7.3-1] an empty topic name closes the connection ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    client.write(version === 5 ? Buffer.from([0x30, 4, 0, 0, 0, 0x78]) : Buffer.from([0x30, 3, 0, 0, 0x78]))
    await client.closedFor(0x82)
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
