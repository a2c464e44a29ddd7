import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import type { Version } from '../support/client.js'
import { type ConnectFields, PacketClient, textOf, uniqueClientId } from '../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]

/** A will on `topic`, delayed only where a test says so. */
function willOn(topic: string, delay = 0): ConnectFields {
  return {
    will: {
      topic,
      payload: Buffer.from('gone'),
      qos: 1,
      retain: false,
      ...(delay === 0 ? {} : { properties: { willDelayInterval: delay } }),
    },
  }
}

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`a will is published when the connection breaks without a DISCONNECT, at its own QoS ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port, version)
    await watcher.subscribe('will/drop', 2)
    const client = await PacketClient.connect(t, broker().port, version, willOn('will/drop'))
    client.drop()
    assert.deepEqual(
      (await watcher.receive(1)).map((packet) => `${textOf(packet)} at ${packet.qos} retain ${packet.retain}`),
      ['will/drop gone at 1 retain false'],
    )
  })

  test(`[MQTT-3.14.4-3] a will is discarded by DISCONNECT ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port, version)
    await watcher.subscribe('will/disconnect', 1)
    const client = await PacketClient.connect(t, broker().port, version, willOn('will/disconnect'))
    await client.disconnect()
    await watcher.expectNothing()
  })

  test(`a will is published when the client breaks the protocol ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port, version)
    await watcher.subscribe('will/broken', 1)
    const client = await PacketClient.connect(t, broker().port, version, willOn('will/broken'))
    // There is no packet type 0.
    client.write(Buffer.from([0x00, 0x00]))
    assert.deepEqual((await watcher.receive(1)).map(textOf), ['will/broken gone'])
  })

  test(`a will is published when its client ID is taken over by a clean start ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const watcher = await PacketClient.connect(t, broker().port, version)
    await watcher.subscribe('will/takeover', 1)
    await PacketClient.connect(t, broker().port, version, { clientId, ...willOn('will/takeover') })
    await PacketClient.connect(t, broker().port, version, { clientId })
    assert.deepEqual((await watcher.receive(1)).map(textOf), ['will/takeover gone'])
  })

  test(`[MQTT-3.1.2-15] a retained will is there for later subscribers ${v}`, async (t) => {
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

test('a DISCONNECT with reason 0x04 publishes the will', async (t) => {
  const watcher = await PacketClient.connect(t, broker().port)
  await watcher.subscribe('will/with/disconnect', 1)
  const client = await PacketClient.connect(t, broker().port, 5, willOn('will/with/disconnect'))
  await client.disconnect({ reasonCode: 0x04 })
  assert.deepEqual((await watcher.receive(1)).map(textOf), ['will/with/disconnect gone'])
})

test('[MQTT-3.1.3-9] a delayed will is not published when its client is back in time', async (t) => {
  const clientId = uniqueClientId()
  const watcher = await PacketClient.connect(t, broker().port)
  await watcher.subscribe('will/back/+', 1)
  const kept = { clientId, clean: false, properties: { sessionExpiryInterval: 60 } }
  const first = await PacketClient.connect(t, broker().port, 5, { ...kept, ...willOn('will/back/early', 1) })
  first.drop()
  const second = await PacketClient.connect(t, broker().port, 5, kept)
  // A will of another client, due later, is the clock of this test.
  const clock = await PacketClient.connect(t, broker().port, 5, {
    clean: false,
    properties: { sessionExpiryInterval: 60 },
    ...willOn('will/back/clock', 2),
  })
  clock.drop()
  assert.deepEqual((await watcher.receive(1)).map(textOf), ['will/back/clock gone'])
  await second.disconnect({ properties: { sessionExpiryInterval: 0 } })
})

test('a delayed will is published after its delay, not before', async (t) => {
  const watcher = await PacketClient.connect(t, broker().port)
  await watcher.subscribe('will/delayed', 1)
  const client = await PacketClient.connect(t, broker().port, 5, {
    clean: false,
    properties: { sessionExpiryInterval: 60 },
    ...willOn('will/delayed', 2),
  })
  const started = performance.now()
  client.drop()
  await watcher.expectNothing()
  await watcher.receive(1)
  const waited = performance.now() - started
  assert.ok(waited >= 1_900, `published after ${Math.round(waited)} ms of 2,000`)
})

test('a will does not wait longer than its session lives', async (t) => {
  const watcher = await PacketClient.connect(t, broker().port)
  await watcher.subscribe('will/session/end', 1)
  const client = await PacketClient.connect(t, broker().port, 5, {
    clean: false,
    properties: { sessionExpiryInterval: 1 },
    ...willOn('will/session/end', 3_600),
  })
  client.drop()
  assert.deepEqual((await watcher.receive(1)).map(textOf), ['will/session/end gone'])
})

test('[MQTT-3.1.3-10] the properties of a will reach its subscribers', async (t) => {
  const watcher = await PacketClient.connect(t, broker().port)
  await watcher.subscribe('will/properties', 1)
  const properties = {
    contentType: 'text/plain',
    responseTopic: 'answer/here',
    correlationData: Buffer.from([0, 1, 2]),
    userProperties: { b: ['1', '2'], a: '3' },
  }
  const client = await PacketClient.connect(t, broker().port, 5, {
    will: { topic: 'will/properties', payload: Buffer.from('x'), qos: 0, retain: false, properties },
  })
  client.drop()
  const [will] = await watcher.receive(1)
  assert.deepEqual({ ...will?.properties, userProperties: { ...will?.properties?.userProperties } }, properties)
})
