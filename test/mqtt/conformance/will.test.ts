/** The will, in sections 3.1.2.5 and 3.1.3.2 of MQTT 5.0 and 3.1.2.5 of MQTT 3.1.1. */

import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { useBroker } from '../../support/broker.js'
import { cite } from '../../support/cite.js'
import type { QoS, Version } from '../../support/client.js'
import { FrameClient } from '../../support/frame-client.js'
import { properties, text } from '../../support/mqtt-bytes.js'
import { type ConnectFields, PacketClient, textOf, uniqueClientId } from '../../support/packet-client.js'
import { publishProperties } from '../../support/publish-properties.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]

/** A will on `topic`, of QoS 1 and delayed only where a test says so. */
function willOn(topic: string, { delay = 0, qos = 1 }: { delay?: number; qos?: QoS } = {}): ConnectFields {
  return {
    will: {
      topic,
      payload: Buffer.from('gone'),
      qos,
      retain: false,
      ...(delay === 0 ? {} : { properties: { willDelayInterval: delay } }),
    },
  }
}

/** Waits until the node has seen the last connection of a client ID end: a new one with that ID finds none to close. */
async function ended(context: TestContext, clientId: string): Promise<void> {
  const next = await PacketClient.connect(context, broker().port, 5, { clientId })
  await next.disconnect()
}

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`${cite(version, { 5: '3.1.2-7 3.1.2-8 3.1.2-14', 4: '3.1.2-8 3.1.2-16' })} a will is published when the connection breaks without a DISCONNECT, at its own QoS, not retained ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port, version)
    await watcher.subscribe('will/drop', 2)
    for (const qos of [0, 1, 2] as const) {
      const client = await PacketClient.connect(t, broker().port, version, willOn('will/drop', { qos }))
      client.drop()
      assert.deepEqual(
        (await watcher.receive(1)).map((packet) => `${textOf(packet)} at ${packet.qos} retain ${packet.retain}`),
        [`will/drop gone at ${qos} retain false`],
      )
    }
    const later = await PacketClient.connect(t, broker().port, version)
    await later.subscribe('will/drop')
    await later.expectNothing()
  })

  test(`${cite(version, { 5: '3.1.2-10', 4: '3.1.2-10' })} a will is published once, and not when a later connection of its session ends ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port, version)
    await watcher.subscribe('will/once', 1)
    const clientId = uniqueClientId()
    const kept = { clientId, clean: false, ...(version === 5 ? { properties: { sessionExpiryInterval: 60 } } : {}) }
    const first = await PacketClient.connect(t, broker().port, version, { ...kept, ...willOn('will/once') })
    first.drop()
    await watcher.receive(1)
    const second = await PacketClient.connect(t, broker().port, version, kept)
    assert.equal(second.connack?.sessionPresent, true)
    second.drop()
    await ended(t, clientId)
    await watcher.expectNothing()
  })

  test(`${cite(version, { 5: '3.1.2-10', 4: '3.1.2-12' })} a connection without a will publishes none, however it ends ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port, version)
    await watcher.subscribe('#')
    const clientId = uniqueClientId()
    const client = await PacketClient.connect(t, broker().port, version, { clientId })
    client.write(Buffer.from([0x00, 0x00]))
    await client.closed()
    await ended(t, clientId)
    await watcher.expectNothing()
  })

  test(`${cite(version, { 5: '3.1.2-8 3.1.2-10 3.14.4-3', 4: '3.1.2-8 3.1.2-10 3.14.4-3' })} a will is discarded by DISCONNECT ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port, version)
    await watcher.subscribe('will/disconnect', 1)
    const client = await PacketClient.connect(t, broker().port, version, willOn('will/disconnect'))
    await client.disconnect()
    await watcher.expectNothing()
  })

  test(`${cite(version, { 5: '3.1.2-8', 4: '3.1.2-8' })} a will is published when the client breaks the protocol ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port, version)
    await watcher.subscribe('will/broken', 1)
    const client = await PacketClient.connect(t, broker().port, version, willOn('will/broken'))
    // There is no packet type 0.
    client.write(Buffer.from([0x00, 0x00]))
    assert.deepEqual((await watcher.receive(1)).map(textOf), ['will/broken gone'])
  })

  test(`${cite(version, { 5: '3.1.2-8', 4: '3.1.2-8' })} a will is published when its client ID is taken over by a clean start ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const watcher = await PacketClient.connect(t, broker().port, version)
    await watcher.subscribe('will/takeover', 1)
    await PacketClient.connect(t, broker().port, version, { clientId, ...willOn('will/takeover') })
    await PacketClient.connect(t, broker().port, version, { clientId })
    assert.deepEqual((await watcher.receive(1)).map(textOf), ['will/takeover gone'])
  })

  test(`${cite(version, { 5: '3.1.2-15', 4: '3.1.2-17' })} a retained will is there for later subscribers ${v}`, async (t) => {
    const topic = `will/retained/${version}`
    const client = await PacketClient.connect(t, broker().port, version, {
      will: { topic, payload: Buffer.from('kept'), qos: 0, retain: true },
    })
    const watcher = await PacketClient.connect(t, broker().port, version)
    await watcher.subscribe(topic)
    client.drop()
    await watcher.receive(1)
    const later = await PacketClient.connect(t, broker().port, version)
    await later.subscribe(topic)
    assert.deepEqual(
      (await later.receive(1)).map((packet) => `${textOf(packet)} ${packet.retain}`),
      [`${topic} kept true`],
    )
    const cleaner = await PacketClient.connect(t, broker().port, version)
    await cleaner.publishAcked({ topic, retain: true })
  })
}

test('[MQTT-3.1.2-8] a DISCONNECT with reason 0x04 publishes the will', async (t) => {
  const watcher = await PacketClient.connect(t, broker().port)
  await watcher.subscribe('will/with/disconnect', 1)
  const client = await PacketClient.connect(t, broker().port, 5, willOn('will/with/disconnect'))
  await client.disconnect({ reasonCode: 0x04 })
  assert.deepEqual((await watcher.receive(1)).map(textOf), ['will/with/disconnect gone'])
})

// At once: most of each is waiting.
describe('wills in time', { concurrency: 4 }, () => {
  test('[MQTT-3.1.3-9] a delayed will is not published when its client is back in time', async (t) => {
    const clientId = uniqueClientId()
    const watcher = await PacketClient.connect(t, broker().port)
    await watcher.subscribe('will/back/+', 1)
    const kept = { clientId, clean: false, properties: { sessionExpiryInterval: 60 } }
    const first = await PacketClient.connect(t, broker().port, 5, {
      ...kept,
      ...willOn('will/back/early', { delay: 1 }),
    })
    first.drop()
    const second = await PacketClient.connect(t, broker().port, 5, kept)
    // A will of another client, due later, is the clock of this test.
    const clock = await PacketClient.connect(t, broker().port, 5, {
      clean: false,
      properties: { sessionExpiryInterval: 60 },
      ...willOn('will/back/clock', { delay: 2 }),
    })
    clock.drop()
    assert.deepEqual((await watcher.receive(1)).map(textOf), ['will/back/clock gone'])
    await second.disconnect({ properties: { sessionExpiryInterval: 0 } })
  })

  test('[MQTT-3.1.2-8] a delayed will is published after its delay, not before', async (t) => {
    const watcher = await PacketClient.connect(t, broker().port)
    await watcher.subscribe('will/delayed', 1)
    const client = await PacketClient.connect(t, broker().port, 5, {
      clean: false,
      properties: { sessionExpiryInterval: 60 },
      ...willOn('will/delayed', { delay: 2 }),
    })
    const started = performance.now()
    client.drop()
    await watcher.expectNothing()
    await watcher.receive(1)
    const waited = performance.now() - started
    assert.ok(waited >= 1_900, `published after ${Math.round(waited)} ms of 2,000`)
  })

  test('[MQTT-3.1.2-8] a will does not wait longer than its session lives', async (t) => {
    const watcher = await PacketClient.connect(t, broker().port)
    await watcher.subscribe('will/session/end', 1)
    const client = await PacketClient.connect(t, broker().port, 5, {
      clean: false,
      properties: { sessionExpiryInterval: 1 },
      ...willOn('will/session/end', { delay: 3_600 }),
    })
    client.drop()
    assert.deepEqual((await watcher.receive(1)).map(textOf), ['will/session/end gone'])
  })

  test('[MQTT-3.1.3-9] a delayed will is not published when its client takes its own connection over, and is when that starts clean', async (t) => {
    const clientId = uniqueClientId()
    const watcher = await PacketClient.connect(t, broker().port)
    await watcher.subscribe('will/over/+', 1)
    const kept = { clientId, clean: false, properties: { sessionExpiryInterval: 60 } }
    const first = await PacketClient.connect(t, broker().port, 5, { ...kept, ...willOn('will/over/1', { delay: 60 }) })
    await PacketClient.connect(t, broker().port, 5, { ...kept, ...willOn('will/over/2', { delay: 60 }) })
    await first.closedFor(0x8e)
    await watcher.expectNothing()
    const last = await PacketClient.connect(t, broker().port, 5, { clientId, clean: true })
    assert.equal(last.connack?.sessionPresent, false)
    assert.deepEqual((await watcher.receive(1)).map(textOf), ['will/over/2 gone'], 'its session has ended')
  })
})

test('[MQTT-3.1.3-10] the properties of a will reach its subscribers as they are, user properties in their order', async (t) => {
  const pair = (name: string, value: string): Buffer => Buffer.concat([Buffer.of(0x26), text(name), text(value)])
  const forwarded = [
    pair('b', '1'),
    Buffer.from([0x01, 1]),
    pair('a', '2'),
    Buffer.concat([Buffer.of(0x03), text('text/plain')]),
    pair('b', '3'),
    Buffer.concat([Buffer.of(0x08), text('answer/here')]),
    pair('', ''),
    Buffer.concat([Buffer.of(0x09), text(Buffer.from([0, 1, 255]))]),
    pair('a', '2'),
  ]
  const watcher = await FrameClient.connect(t, broker().port)
  await watcher.subscribe('will/properties')
  const delay = Buffer.from([0x18, 0, 0, 0, 0])
  const client = await FrameClient.connect(t, broker().port, 5, {
    flags: 0x06,
    payload: [properties(...forwarded.slice(0, 4), delay, ...forwarded.slice(4)), text('will/properties'), text('x')],
  })
  client.drop()
  const got = await watcher.next()
  const list = publishProperties(got)
  const isPair = (one: Buffer): boolean => one[0] === 0x26
  assert.deepEqual(list.filter(isPair), forwarded.filter(isPair), 'in their order')
  assert.deepEqual(list.sort(Buffer.compare), [...forwarded].sort(Buffer.compare), 'and all others, but not the delay')
})
