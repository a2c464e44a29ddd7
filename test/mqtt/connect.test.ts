import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Packet } from 'mqtt-packet'
import { useBroker } from '../support/broker.js'
import type { Version } from '../support/client.js'
import { eventually } from '../support/eventually.js'
import { PacketClient, textOf, uniqueClientId } from '../support/packet-client.js'

/** Short, so that the test of it is. */
const CONNECT_TIMEOUT = '2s'

const broker = useBroker({ mqtt: { connectTimeout: CONNECT_TIMEOUT } })
const VERSIONS: readonly Version[] = [4, 5]

/** A CONNECT by hand: any protocol name, level and flags; client id `x`, keep-alive 0, no properties. */
function rawConnect({ name = 'MQTT', level = 5, flags = 0x02, fixedHeader = 0x10, clientId = 'x' } = {}): Buffer {
  const properties = level === 5 ? [0] : []
  const body = Buffer.concat([
    Buffer.from([0, name.length]),
    Buffer.from(name),
    Buffer.from([level, flags, 0, 0, ...properties, 0, clientId.length]),
    Buffer.from(clientId),
  ])
  return Buffer.concat([Buffer.from([fixedHeader, body.length]), body])
}

/** The connection is closed; a 5.0 client may be told why before it is. */
async function refused(client: PacketClient, what: string): Promise<void> {
  for (const packet of await client.closed()) {
    assert.equal(packet.cmd, 'connack', what)
    const { reasonCode, returnCode } = packet as { reasonCode?: number; returnCode?: number }
    // Return code 1 also for what calls itself 5.0 under another name: it may be anything.
    assert.ok([0x01, 0x81, 0x82, 0x84].includes(reasonCode ?? returnCode ?? 0), `${what}: ${JSON.stringify(packet)}`)
  }
}

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`[MQTT-3.1.4-5] a valid CONNECT is answered with CONNACK and code 0 ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    assert.equal(client.connack?.sessionPresent, false)
    await client.expectNothing()
  })

  test(`[MQTT-3.2.2-3] a session that was kept is present for the next connection, and only if it is wanted ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const kept = { clientId, clean: false, ...(version === 5 ? { properties: { sessionExpiryInterval: 60 } } : {}) }
    const first = await PacketClient.connect(t, broker().port, version, kept)
    assert.equal(first.connack?.sessionPresent, false, 'new')
    await first.subscribe('kept/topic', 1)
    await first.disconnect()
    const second = await PacketClient.connect(t, broker().port, version, kept)
    assert.equal(second.connack?.sessionPresent, true, '[MQTT-3.1.2-5] resumed')
    await second.publishAcked({ topic: 'elsewhere' })
    second.publish({ topic: 'kept/topic', payload: 'x' })
    assert.deepEqual((await second.settle()).map(textOf), ['kept/topic x'], 'its subscription is still there')
    await second.disconnect()
    const third = await PacketClient.connect(t, broker().port, version, { ...kept, clean: true })
    assert.equal(third.connack?.sessionPresent, false, '[MQTT-3.2.2-2] clean start')
    third.publish({ topic: 'kept/topic', payload: 'y' })
    await third.expectNothing()
    await third.disconnect()
  })

  test(`[MQTT-3.1.0-2] a second CONNECT closes the connection ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    client.sendConnect()
    await client.closedFor(0x82)
  })

  test(`[MQTT-3.1.0-1] anything but CONNECT as the first packet closes the connection without an answer ${v}`, async (t) => {
    const packets: readonly Packet[] = [
      { cmd: 'pingreq' },
      { cmd: 'publish', topic: 'a', payload: 'b', qos: 0, dup: false, retain: false },
      { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 0 }] },
      { cmd: 'disconnect' },
    ]
    for (const packet of packets) {
      const client = await PacketClient.open(t, broker().port, version)
      client.send(packet)
      assert.deepEqual(await client.closed(), [], packet.cmd)
    }
  })

  test(`[MQTT-3.1.4-3] the same client ID on a new connection closes the old one ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const old = await PacketClient.connect(t, broker().port, version, { clientId })
    const young = await PacketClient.connect(t, broker().port, version, { clientId })
    await old.closedFor(0x8e)
    await young.expectNothing()
  })

  test(`takeover of a kept session moves it to the new connection with all that was in flight ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const kept = { clientId, clean: false, ...(version === 5 ? { properties: { sessionExpiryInterval: 60 } } : {}) }
    const old = await PacketClient.connect(t, broker().port, version, kept)
    await old.subscribe('moves/#', 1)
    const publisher = await PacketClient.connect(t, broker().port, version)
    await publisher.publishAcked({ topic: 'moves/1', payload: 'unacknowledged' })
    assert.equal((await old.next('publish')).dup, false)
    const young = await PacketClient.connect(t, broker().port, version, kept)
    assert.equal(young.connack?.sessionPresent, true)
    await old.closedFor(0x8e)
    const again = await young.next('publish')
    assert.deepEqual([textOf(again), again.dup], ['moves/1 unacknowledged', true], '[MQTT-3.3.1-1]')
    young.acknowledge(again)
    await publisher.publishAcked({ topic: 'moves/2', payload: 'new' })
    assert.deepEqual((await young.settle()).map(textOf), ['moves/2 new'])
  })
}

test('a hundred connections with one client ID leave one, and it works', async (t) => {
  const clientId = uniqueClientId()
  const clients = await Promise.all(Array.from({ length: 100 }, () => PacketClient.open(t, broker().port)))
  for (const client of clients) client.sendConnect({ clientId })
  const firsts = await Promise.all(clients.map((client) => client.next('connack')))
  assert.deepEqual([...new Set(firsts.map((connack) => connack.reasonCode))], [0])
  const open = await eventually(() => {
    const left = clients.filter((client) => !client.isClosed)
    assert.equal(left.length, 1)
    return left
  })
  await open[0]?.expectNothing()
})

test('[MQTT-3.1.3-7] a client without an ID is given one of its own (5.0)', async (t) => {
  const [one, other] = [
    await PacketClient.connect(t, broker().port, 5, { clientId: '' }),
    await PacketClient.connect(t, broker().port, 5, { clientId: '' }),
  ]
  const [id, otherId] = [one, other].map((client) => client.connack?.properties?.assignedClientIdentifier ?? '')
  assert.ok(id !== '' && otherId !== '' && id !== otherId, `assigned ${id} and ${otherId}`)
  const taker = await PacketClient.connect(t, broker().port, 5, { clientId: id ?? '' })
  await one.closedFor(0x8e)
  await taker.expectNothing()
})

test('[MQTT-3.1.3-6] 3.1.1 may leave out the client ID with a clean session', async (t) => {
  const client = await PacketClient.connect(t, broker().port, 4, { clientId: '' })
  await client.expectNothing()
})

test('[MQTT-3.1.3-8] 3.1.1 without a client ID and without a clean session is refused with return code 2', async (t) => {
  const client = await PacketClient.open(t, broker().port, 4)
  client.write(rawConnect({ level: 4, flags: 0x00, clientId: '' }))
  assert.equal((await client.next('connack')).returnCode, 2)
  assert.deepEqual(await client.closed(), [])
})

test('[MQTT-3.1.2-2] an unknown protocol level is refused by name: 0x84, or return code 1', async (t) => {
  for (const level of [0, 2, 6, 255]) {
    const client = await PacketClient.open(t, broker().port, 4)
    client.write(rawConnect({ level }))
    const { returnCode } = await client.next('connack')
    assert.ok(returnCode === 0x84 || returnCode === 0x01, `level ${level} is refused with ${returnCode}`)
    assert.deepEqual(await client.closed(), [])
  }
})

test('[MQTT-3.1.2-1] a wrong protocol name closes the connection', async (t) => {
  for (const name of ['mqtt', 'MQTTX', 'HTTP', '']) {
    const client = await PacketClient.open(t, broker().port)
    client.write(rawConnect({ name }))
    await refused(client, name)
  }
})

test('MQTT 3.1 still connects, by its own protocol name', async (t) => {
  const client = await PacketClient.open(t, broker().port, 4)
  client.write(rawConnect({ name: 'MQIsdp', level: 3, clientId: 'old' }))
  assert.equal((await client.next('connack')).returnCode, 0)
  assert.deepEqual(await client.subscribe('from/the/past', 1), [1])
})

test('[MQTT-3.1.2-3] a CONNECT with its reserved flag set, or with flags that contradict each other, is refused', async (t) => {
  for (const [what, flags] of [
    ['reserved flag', 0x03],
    ['[MQTT-3.1.2-7] QoS of a will without a will', 0x0a],
    ['[MQTT-3.1.2-8] retained will without a will', 0x22],
    ['will of QoS 3', 0x1e],
  ] as const) {
    for (const level of [4, 5] as const) {
      const client = await PacketClient.open(t, broker().port, level)
      client.write(rawConnect({ level, flags }))
      const accepted = (await client.closed()).filter((packet) => packet.cmd === 'connack' && packet.returnCode === 0)
      assert.ok(
        accepted.every((packet) => (packet as { reasonCode?: number }).reasonCode === 0x81),
        `${what}, level ${level}`,
      )
    }
  }
})

test('[MQTT-3.1.2-12] a CONNECT with flags in its fixed header is malformed', async (t) => {
  const client = await PacketClient.open(t, broker().port, 4)
  client.write(rawConnect({ level: 4, fixedHeader: 0x11 }))
  assert.deepEqual(await client.closed(), [])
})

test('CONNACK tells a 5.0 client what differs from the defaults', async (t) => {
  const client = await PacketClient.connect(t, broker().port)
  const properties = client.connack?.properties ?? {}
  assert.equal(properties.retainAvailable ?? true, true)
  assert.equal(properties.wildcardSubscriptionAvailable ?? true, true)
  assert.equal(properties.subscriptionIdentifiersAvailable ?? true, true)
  assert.equal(properties.maximumQoS ?? 2, 2)
  assert.ok((properties.receiveMaximum ?? 65_535) >= 1)
})

test('[MQTT-3.14.4-1] what follows a DISCONNECT is not processed', async (t) => {
  const watcher = await PacketClient.connect(t, broker().port)
  await watcher.subscribe('after/disconnect')
  const client = await PacketClient.connect(t, broker().port)
  client.publish({ topic: 'after/disconnect', payload: 'before' })
  client.send({ cmd: 'disconnect' })
  client.publish({ topic: 'after/disconnect', payload: 'after' })
  assert.deepEqual(await client.closed(), [])
  assert.deepEqual((await watcher.settle()).map(textOf), ['after/disconnect before'])
})

test('a CONNECT that never comes is given up', { timeout: 20_000 }, async (t) => {
  const client = await PacketClient.open(t, broker().port)
  client.write(Buffer.from([0x10]))
  assert.deepEqual(await client.closed(), [])
})
