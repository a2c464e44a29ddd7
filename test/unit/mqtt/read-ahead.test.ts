import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type { IPublishPacket, Packet } from 'mqtt-packet'
import { DEFAULTS, type MqttOptions } from '../../../src/config/options.js'
import { LoneBroker } from '../broker/lone-broker.js'
import { publishPacket, type StreamClient, until } from '../broker/stream-client.js'

const TIGHT: Partial<MqttOptions> = { receiveMaximum: 5, inflightWindow: 2, queueLength: 8 }
const MESSAGES = 300

async function pair(t: TestContext, mqtt: Partial<MqttOptions>) {
  const lone = new LoneBroker(t, { mqtt })
  const one = await lone.connect({ clientId: 'one' }, 4)
  const two = await lone.connect({ clientId: 'two' }, 4)
  await one.subscribe('to/one', 2)
  await two.subscribe('to/two', 2)
  return { lone, one, two }
}

function flood(client: StreamClient, topic: string, qos: 1 | 2, count = MESSAGES): void {
  const packets = Array.from({ length: count }, (_, n) =>
    publishPacket({ topic, payload: `${n}`, qos, messageId: n + 1 }),
  )
  client.sendTogether(...packets)
}

/** Answers what comes, as a client does, until both sides have everything: their messages and their acknowledgements. */
async function exchange(clients: readonly StreamClient[], got: Map<StreamClient, string[]>, count = MESSAGES) {
  let settled = 0
  await until(() => {
    for (const client of clients) {
      for (const packet of client.received.splice(0)) {
        if (packet.cmd === 'publish') got.get(client)?.push(packet.payload.toString())
        if (packet.cmd === 'puback' || packet.cmd === 'pubcomp') settled += 1
        const answer = answerTo(packet)
        if (answer !== undefined) client.send(answer)
      }
    }
    return settled === clients.length * count && [...got.values()].every((texts) => texts.length >= count)
  }, 'everything there and acknowledged')
}

function answerTo(packet: Packet): Packet | undefined {
  const { messageId } = packet as IPublishPacket
  if (messageId === undefined) return undefined
  if (packet.cmd === 'publish' && packet.qos === 1) return { cmd: 'puback', messageId }
  if (packet.cmd === 'publish' && packet.qos === 2) return { cmd: 'pubrec', messageId }
  if (packet.cmd === 'pubrec') return { cmd: 'pubrel', messageId }
  return packet.cmd === 'pubrel' ? { cmd: 'pubcomp', messageId } : undefined
}

/** Answers what has come; returns the payloads. */
function answerAll(client: StreamClient): string[] {
  const payloads: string[] = []
  for (const packet of client.received.splice(0)) {
    if (packet.cmd === 'publish') payloads.push(packet.payload.toString())
    const answer = answerTo(packet)
    if (answer !== undefined) client.send(answer)
  }
  return payloads
}

describe('reading ahead', () => {
  for (const qos of [1, 2] as const) {
    it(`keeps two clients that publish to each other from holding each other up, and loses nothing (QoS ${qos})`, async (t) => {
      const { lone, one, two } = await pair(t, TIGHT)
      // Before either has read anything, so that all acknowledgements stand behind all messages.
      flood(one, 'to/two', qos)
      flood(two, 'to/one', qos)
      const got = new Map<StreamClient, string[]>([
        [one, []],
        [two, []],
      ])
      await exchange([one, two], got)
      const expected = Array.from({ length: MESSAGES }, (_, n) => `${n}`)
      for (const texts of got.values()) assert.deepEqual(texts, expected, 'all, once, in order')
      assert.equal(lone.metrics.session.dropped.queue_full.value, 0)
      assert.ok(lone.metrics.mqtt.inputPaused.unacknowledged.value > 0, 'it was needed')
      assert.equal(lone.metrics.mqtt.readAheadBytes.value, 0)
    })
  }

  it('is what they need: without it they wait for each other until the hold time is over', async (t) => {
    const { lone, one, two } = await pair(t, { ...TIGHT, readAhead: 0 })
    flood(one, 'to/two', 1)
    flood(two, 'to/one', 1)
    await until(() => lone.connections.every(({ stream }) => stream.isPaused()), 'both paused')
    const got = [one, two].flatMap(answerAll)
    for (let turn = 0; turn < 100; turn += 1) await new Promise((resolve) => setImmediate(resolve))
    got.push(...[one, two].flatMap(answerAll))
    assert.ok(got.length < 2 * MESSAGES, `${got.length}`)
    assert.ok(lone.connections.every(({ stream }) => stream.isPaused()))
    lone.clock.advance(DEFAULTS.mqtt.queueHoldTime + 500)
    await until(() => lone.metrics.session.dropped.queue_full.value > 0, 'dropped at last')
  })

  it('is bounded: what does not fit is not read, and the hold time decides', async (t) => {
    const { lone, one, two } = await pair(t, { ...TIGHT, readAhead: 1_000 })
    const padding = 'x'.repeat(2_000)
    const write = (client: StreamClient, topic: string): void => {
      for (let n = 1; n <= MESSAGES; n += 1) client.publish({ topic, payload: padding, qos: 1, messageId: n })
    }
    write(one, 'to/two')
    write(two, 'to/one')
    await until(() => lone.connections.every(({ stream }) => stream.isPaused()), 'both paused')
    assert.ok(lone.metrics.mqtt.readAheadBytes.value >= 2_000)
    assert.ok(lone.metrics.mqtt.readAheadBytes.value < 200_000, `${lone.metrics.mqtt.readAheadBytes.value}`)
    one.drop()
    two.drop()
    await until(() => lone.broker.connectionCount === 0, 'closed')
    assert.equal(lone.metrics.mqtt.readAheadBytes.value, 0)
  })

  it('is not for publishers that have nothing to acknowledge', async (t) => {
    const { lone, one, two } = await pair(t, TIGHT)
    const publisher = await lone.connect({ clientId: 'publisher' }, 4)
    const connection = lone.connections[2]
    flood(publisher, 'to/two', 1)
    await until(() => connection?.stream.isPaused() === true, 'paused')
    assert.equal(lone.metrics.mqtt.readAheadBytes.value, 0)
    const got: string[] = []
    await until(() => {
      got.push(...answerAll(two))
      return got.length === MESSAGES
    }, 'everything delivered')
    assert.equal(lone.metrics.mqtt.readAheadBytes.value, 0)
    await until(() => publisher.received.length === MESSAGES, 'everything acknowledged')
    assert.deepEqual(one.received, [])
  })

  it('answers a PINGREQ, and leaves a DISCONNECT its place', async (t) => {
    const { lone, one, two } = await pair(t, TIGHT)
    flood(one, 'to/two', 1, 40)
    await until(() => lone.metrics.mqtt.readAheadBytes.value > 0, 'reading ahead')
    one.send({ cmd: 'pingreq' })
    await until(() => one.received.some(({ cmd }) => cmd === 'pingresp'), 'answered')
    one.send({ cmd: 'disconnect' })
    one.stream.end()
    const got: string[] = []
    await until(() => {
      got.push(...answerAll(two))
      return got.length === 40
    }, 'everything that came before it')
    await until(() => lone.closeReasons.client_disconnect === 1, 'and then it')
  })
})
