import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import type { Version } from '../support/client.js'
import { PacketClient, textOf } from '../support/packet-client.js'

const PACKETS_PER_SECOND = 40
const BYTES_PER_SECOND = 20 * 1024

const broker = useBroker({ mqtt: { packetsPerSecond: PACKETS_PER_SECOND, bytesPerSecond: BYTES_PER_SECOND } })
const VERSIONS: readonly Version[] = [4, 5]

async function paused(reason: 'packet_rate' | 'byte_rate'): Promise<number> {
  return (await broker().node().metrics()).value('shoalmq_input_paused_total', { reason })
}

async function seconds(act: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await act()
  return (performance.now() - start) / 1_000
}

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`a client that sends more packets than it may is slowed down, not closed, and the others are not ${v}`, async (t) => {
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('rate/#')
    const publisher = await PacketClient.connect(t, broker().port, version)
    const other = await PacketClient.connect(t, broker().port, version)
    const before = await paused('packet_rate')
    const count = 3 * PACKETS_PER_SECOND
    const expected = Array.from({ length: count }, (_, n) => `rate/fast ${n}`)
    const took = await seconds(async () => {
      for (let n = 0; n < count; n += 1) publisher.publish({ topic: 'rate/fast', payload: `${n}` })
      assert.ok((await seconds(() => other.expectNothing())) < 1.5, 'another client is served at once')
      assert.deepEqual((await subscriber.receive(count)).map(textOf), expected)
    })
    // The first second's worth goes at once.
    assert.ok(took > 1.5 && took < 30, `${took} s`)
    assert.ok((await paused('packet_rate')) > before)
    await publisher.expectNothing()
  })

  test(`a client that sends more bytes than it may is slowed down, not closed ${v}`, async (t) => {
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('bytes')
    const publisher = await PacketClient.connect(t, broker().port, version)
    const before = await paused('byte_rate')
    const payload = 'x'.repeat(BYTES_PER_SECOND)
    const took = await seconds(async () => {
      publisher.publish({ topic: 'bytes', payload: payload + payload })
      publisher.publish({ topic: 'bytes', payload })
      publisher.publish({ topic: 'bytes', payload: 'last' })
      const [large, , last] = await subscriber.receive(3)
      assert.equal(large?.payload.length, 2 * BYTES_PER_SECOND)
      assert.equal(last?.payload.toString(), 'last')
      await publisher.expectNothing()
    })
    assert.ok(took > 1.5 && took < 30, `${took} s`)
    assert.ok((await paused('byte_rate')) > before)
  })
}
