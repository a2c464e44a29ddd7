import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import type { Version } from '../support/client.js'
import { PacketClient, textOf } from '../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]

for (const version of VERSIONS) {
  const v = `(version ${version})`

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
