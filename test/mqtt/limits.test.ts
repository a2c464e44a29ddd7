import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import { cite } from '../support/cite.js'
import type { Version } from '../support/client.js'
import { eventually } from '../support/eventually.js'
import { PacketClient, textOf, uniqueClientId } from '../support/packet-client.js'

const LIMITS = {
  maximumClientIdLength: 30,
  maximumSubscriptions: 5,
  maximumTopicLevels: 4,
  maximumConnections: 3,
  keepAliveLimit: 60,
  sessionExpiryLimit: '60s',
  drainTimeout: '1s',
  outboxLimit: '1mb',
}

const broker = useBroker({ mqtt: LIMITS })
const VERSIONS: readonly Version[] = [4, 5]

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`${cite(version, { 5: '3.1.3-8', 4: '3.1.3-9' })} a client ID longer than the limit is refused, one as long is not ${v}`, async (t) => {
    const long = await PacketClient.open(t, broker().port, version)
    long.sendConnect({ clientId: 'x'.repeat(LIMITS.maximumClientIdLength + 1) })
    const connack = await long.next('connack')
    assert.equal(version === 5 ? connack.reasonCode : connack.returnCode, version === 5 ? 0x85 : 2)
    assert.deepEqual(await long.closed(), [])
    const exact = await PacketClient.connect(t, broker().port, version, {
      clientId: 'x'.repeat(LIMITS.maximumClientIdLength),
    })
    await exact.disconnect()
  })

  test(`a session has a limit of subscriptions; replacing one needs no room, leaving one makes some ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    const filters = Array.from({ length: LIMITS.maximumSubscriptions + 1 }, (_, index) => ({ topic: `limit/${index}` }))
    const refused = version === 5 ? 0x97 : 0x80
    assert.deepEqual(await client.subscribe(filters), [0, 0, 0, 0, 0, refused])
    assert.deepEqual(await client.subscribe('limit/0', 1), [1])
    await client.unsubscribe('limit/1')
    assert.deepEqual(await client.subscribe('limit/new'), [0])
    await client.disconnect()
  })

  test(`a topic filter with too many levels is refused, a topic name closes the connection ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    const refused = version === 5 ? 0x8f : 0x80
    assert.deepEqual(await client.subscribe([{ topic: 'a/b/c/d' }, { topic: 'a/b/c/d/e' }]), [0, refused])
    client.publish({ topic: 'a/b/c/d', payload: 'x' })
    assert.deepEqual((await client.settle()).map(textOf), ['a/b/c/d x'])
    client.publish({ topic: 'a/b/c/d/e', payload: 'x' })
    await client.closedFor(0x90)
  })

  test(`connections beyond the limit are refused, and there is room again when one ends ${v}`, async (t) => {
    const connections = async (): Promise<number> => (await broker().node().metrics()).value('shoalmq_connections')
    await eventually(async () => assert.equal(await connections(), 0))
    const clients: PacketClient[] = []
    while (clients.length < LIMITS.maximumConnections)
      clients.push(await PacketClient.connect(t, broker().port, version))
    const extra = await PacketClient.open(t, broker().port, version)
    extra.sendConnect()
    for (const packet of await extra.closed()) {
      assert.equal(packet.cmd, 'connack')
      const { reasonCode, returnCode } = packet as { reasonCode?: number; returnCode?: number }
      const expected = version === 5 ? [0x89, 0x97, 0x9f] : [3]
      assert.ok(expected.includes(reasonCode ?? returnCode ?? 0), JSON.stringify(packet))
    }
    await clients[0]?.disconnect()
    await eventually(async () => {
      const again = await PacketClient.connect(t, broker().port, version)
      await again.disconnect()
    })
    for (const client of clients.slice(1)) await client.disconnect()
  })
}

test('[MQTT-3.1.2-21] a keep-alive above the limit is lowered, and the client is told', async (t) => {
  for (const [asked, told] of [
    [600, LIMITS.keepAliveLimit],
    [0, LIMITS.keepAliveLimit],
    [30, undefined],
  ] as const) {
    const client = await PacketClient.connect(t, broker().port, 5, { keepalive: asked })
    assert.equal(client.connack?.properties?.serverKeepAlive, told, `asked for ${asked}`)
    await client.disconnect()
  }
})

test('a session expiry interval above the limit is lowered, and the client is told', async (t) => {
  const clientId = uniqueClientId()
  for (const [asked, told] of [
    [0xffffffff, 60],
    [61, 60],
    [30, undefined],
  ] as const) {
    const properties = { sessionExpiryInterval: asked }
    const client = await PacketClient.connect(t, broker().port, 5, { clientId, clean: true, properties })
    assert.equal(client.connack?.properties?.sessionExpiryInterval, told, `asked for ${asked}`)
    await client.disconnect({ properties: { sessionExpiryInterval: 0 } })
  }
})

test('[MQTT-4.12.0-1] an authentication method is refused with 0x8C, and AUTH without one is a protocol error', async (t) => {
  const client = await PacketClient.open(t, broker().port)
  client.sendConnect({ properties: { authenticationMethod: 'SCRAM-SHA-256', authenticationData: Buffer.from('x') } })
  assert.equal((await client.next('connack')).reasonCode, 0x8c)
  assert.deepEqual(await client.closed(), [])
  const other = await PacketClient.connect(t, broker().port)
  other.send({ cmd: 'auth', reasonCode: 0x19, properties: { authenticationMethod: 'x' } })
  await other.closedFor(0x82)
})

test('[MQTT-3.1.2-29] a client that wants no problem information gets no reason strings', async (t) => {
  const client = await PacketClient.connect(t, broker().port, 5, { properties: { requestProblemInformation: false } })
  client.send({
    cmd: 'subscribe',
    messageId: 1,
    subscriptions: [{ topic: '$share/group', qos: 0, nl: false, rap: false, rh: 0 }],
  })
  const suback = await client.next('suback')
  assert.equal(suback.properties?.reasonString, undefined)
  client.send({ cmd: 'pubrel', messageId: 9 })
  assert.equal((await client.next('pubcomp')).properties?.reasonString, undefined)
  await client.disconnect()
})

test('a client that stops reading what it asked for at QoS 1 is closed after the drain timeout', {
  timeout: 30_000,
}, async (t) => {
  const slow = await PacketClient.connect(t, broker().port, 5, { properties: { receiveMaximum: 65_535 } })
  await slow.subscribe('drain', 1)
  slow.pause()
  const publisher = await PacketClient.connect(t, broker().port)
  const closed = async (): Promise<number> =>
    (await broker().node().metrics()).value('shoalmq_connections_closed_total', { reason: 'drain_timeout' })
  const before = await closed()
  const payload = Buffer.alloc(200_000)
  // Until the system's own socket buffers are full too, and then those of the node.
  const publishing = setInterval(() => publisher.publish({ topic: 'drain', payload }), 5)
  t.after(() => clearInterval(publishing))
  await eventually(async () => assert.equal((await closed()) - before, 1), { within: 20_000 })
  clearInterval(publishing)
})
