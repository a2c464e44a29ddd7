import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type { MqttOptions } from '../../../src/config/options.js'
import { LoneBroker } from '../broker/lone-broker.js'
import { publishPacket, type StreamClient, until } from '../broker/stream-client.js'

/** A few turns of the event loop: what a stream in memory has is with the broker then. */
async function settleTurns(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}

async function setUp(t: TestContext, mqtt: Partial<MqttOptions>) {
  const lone = new LoneBroker(t, { mqtt })
  const publisher = await lone.connect({ clientId: 'publisher', keepalive: 10 }, 4)
  const handled = (): number => lone.metrics.mqtt.messagesReceived[0].value
  return { lone, publisher, handled, connection: lone.connections[0] }
}

function flood(client: StreamClient, count: number, payload = 'x'): void {
  client.sendTogether(...Array.from({ length: count }, (_, n) => publishPacket({ topic: `a/${n}`, payload })))
}

describe('the packet rate of a client', () => {
  it('lets a burst of one second through, and then as many packets as there are in the time that passes', async (t) => {
    const { lone, publisher, handled, connection } = await setUp(t, { packetsPerSecond: 100 })
    flood(publisher, 450)
    await until(() => handled() > 0, 'the burst')
    await settleTurns()
    // CONNECT was the first packet, and the one that is too many is known when it is there.
    assert.equal(handled(), 100)
    assert.equal(connection?.stream.isPaused(), true)
    const after = async (milliseconds: number): Promise<number> => {
      lone.clock.advance(milliseconds)
      await settleTurns()
      return handled()
    }
    const counts = [await after(1_000), await after(1_000), await after(1_000)]
    for (const [index, count] of counts.entries()) {
      const most = 100 + (index + 1) * 100
      assert.ok(count <= most && count >= most - 20, `${count} of ${most}`)
    }
    assert.equal(await after(1_500), 450)
    assert.equal(connection?.stream.isPaused(), false)
    assert.ok(lone.metrics.mqtt.inputPaused.packet_rate.value >= 4)
    assert.equal(lone.metrics.mqtt.inputPaused.byte_rate.value, 0)
    assert.deepEqual(await publisher.settle(), [], 'not closed, and heard, though it was silent for longer than 15 s')
  })

  it('does not close a client that is held, and forgets one that goes', async (t) => {
    const { lone, publisher, connection } = await setUp(t, { packetsPerSecond: 1 })
    assert.ok(connection !== undefined)
    flood(publisher, 100)
    await settleTurns()
    for (let second = 0; second < 30; second += 1) {
      lone.clock.advance(1_000)
      await settleTurns()
    }
    assert.equal(connection.state, 'open')
    assert.equal(connection.stream.isPaused(), true)
    publisher.drop()
    await until(() => connection.state === 'closed', 'closed')
    lone.clock.advance(5_000)
    assert.equal(lone.clock.timers.size, 0)
  })

  it('does not stop a client that stays below it', async (t) => {
    const { lone, publisher, handled } = await setUp(t, { packetsPerSecond: 10 })
    for (let second = 0; second < 20; second += 1) {
      flood(publisher, 9)
      await settleTurns()
      assert.equal(handled(), (second + 1) * 9)
      lone.clock.advance(1_000)
    }
    assert.equal(lone.metrics.mqtt.inputPaused.packet_rate.value, 0)
  })
})

describe('the byte rate of a client', () => {
  it('pauses the socket for as long as what has come was too much', async (t) => {
    const { lone, publisher, handled, connection } = await setUp(t, { bytesPerSecond: 10_000 })
    flood(publisher, 1, 'x'.repeat(40_000))
    await until(() => handled() === 1, 'the message')
    assert.equal(connection?.stream.isPaused(), true)
    assert.equal(lone.metrics.mqtt.inputPaused.byte_rate.value, 1)
    flood(publisher, 1)
    lone.clock.advance(2_900)
    await settleTurns()
    assert.equal(handled(), 1)
    lone.clock.advance(500)
    await until(() => handled() === 2, 'the next one')
    assert.equal(connection?.stream.isPaused(), false)
  })

  it('is none unless it is asked for', async (t) => {
    const { lone, publisher, handled } = await setUp(t, {})
    flood(publisher, 5_000)
    await until(() => handled() === 5_000, 'all at once')
    assert.equal(lone.metrics.mqtt.inputPaused.packet_rate.value, 0)
  })
})
