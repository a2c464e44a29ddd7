import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import mqttPacket from 'mqtt-packet'
import { useBroker } from '../support/broker.js'
import { eventually } from '../support/eventually.js'
import { assertServing, assertUnharmed, openSocket, residentBytes } from '../support/hostile.js'
import { type ConnectFields, PacketClient, textOf } from '../support/packet-client.js'

/** Short, so that a test may wait for it; the sockets below drip for longer. */
const CONNECT_TIMEOUT_MS = 1_500
const broker = useBroker({ mqtt: { connectTimeout: `${CONNECT_TIMEOUT_MS}ms` } })

function connectBytes(version: 4 | 5, fields: ConnectFields = {}): Buffer {
  return mqttPacket.generate({
    ...{ cmd: 'connect', protocolId: 'MQTT', protocolVersion: version, clean: true, keepalive: 0, clientId: 'x' },
    ...fields,
  } as Parameters<typeof mqttPacket.generate>[0])
}

/** Writes one byte now and then until the socket is closed; resolves with the milliseconds that took. */
async function drip(socket: Socket, bytes: Buffer): Promise<number> {
  const start = performance.now()
  for (let at = 0; !socket.destroyed; at = (at + 1) % bytes.length) {
    socket.write(bytes.subarray(at, at + 1))
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  return performance.now() - start
}

test('clients that send their CONNECT one byte at a time, forever, are closed when its time is over', async (t) => {
  const sockets = await Promise.all(Array.from({ length: 300 }, () => openSocket(t, broker().port)))
  // A client ID longer than they will ever get to.
  const endless = connectBytes(5, { clientId: 'x'.repeat(200) })
  const dripping = Promise.all(sockets.map((socket) => drip(socket, endless)))
  await assertServing(t, broker().port)
  for (const milliseconds of await dripping) {
    assert.ok(milliseconds < CONNECT_TIMEOUT_MS * 3, `open for ${Math.round(milliseconds)} ms`)
  }
  const closed = (await broker().node().metrics()).value('shoalmq_connections_closed_total', {
    reason: 'connect_timeout',
  })
  assert.ok(closed >= 300, `${closed}`)
  await assertUnharmed(t, broker().node())
})

for (const version of [4, 5] as const) {
  test(`a whole session that comes one byte at a time is a session (version ${version})`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port)
    await watcher.subscribe('slow/#', 2)
    const client = await PacketClient.open(t, broker().port, version)
    const encode = (packet: Parameters<typeof mqttPacket.generate>[0]): Buffer =>
      mqttPacket.generate(packet, { protocolVersion: version })
    const publish = { cmd: 'publish', topic: 'slow/a', dup: false, retain: false } as const
    const session = Buffer.concat([
      connectBytes(version, {
        clientId: 'slow',
        will: { topic: 'w', payload: Buffer.from('w'), qos: 0, retain: false },
      }),
      encode({
        cmd: 'subscribe',
        messageId: 1,
        subscriptions: [{ topic: 'other', qos: 0, nl: false, rap: false, rh: 0 }],
      }),
      encode({ ...publish, qos: 0, payload: '0' }),
      encode({ ...publish, qos: 1, messageId: 2, payload: '1' }),
      encode({ ...publish, qos: 2, messageId: 3, payload: '2' }),
      encode({ cmd: 'pubrel', messageId: 3 }),
      encode({ cmd: 'unsubscribe', messageId: 4, unsubscriptions: ['other'] }),
      encode({ cmd: 'pingreq' }),
      encode({ cmd: 'disconnect' }),
    ])
    for (let at = 0; at < session.length; at += 1) {
      client.write(session.subarray(at, at + 1))
      if (at % 8 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    const answers = (await client.closed()).map(({ cmd }) => cmd)
    assert.deepEqual(answers, ['connack', 'suback', 'puback', 'pubrec', 'pubcomp', 'unsuback', 'pingresp'])
    assert.deepEqual((await watcher.receive(3)).map(textOf), ['slow/a 0', 'slow/a 1', 'slow/a 2'])
    await watcher.disconnect()
  })

  test(`a flood of CONNECTs with one client ID leaves one connection, and one end of each other (version ${version})`, async (t) => {
    const node = broker().node()
    const rounds = 400
    const before = (await node.metrics()).value('shoalmq_takeovers_total')
    const sockets = await Promise.all(
      Array.from({ length: rounds }, async () => {
        const socket = await openSocket(t, broker().port)
        socket.resume()
        socket.write(connectBytes(version, { clientId: 'contested' }))
        return socket
      }),
    )
    await eventually(() => assert.equal(sockets.filter((socket) => !socket.destroyed).length, 1))
    const scrape = await node.metrics()
    assert.equal(scrape.value('shoalmq_takeovers_total') - before, rounds - 1)
    assert.equal(scrape.value('shoalmq_sessions'), 1)
    for (const socket of sockets) socket.destroy()
    await assertUnharmed(t, node)
  })
}

test('sockets that open and go without a word, or reset within their CONNECT, leave nothing behind', async (t) => {
  const half = connectBytes(5, { clientId: 'cut' }).subarray(0, 9)
  for (let round = 0; round < 10; round += 1) {
    await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        const socket = await openSocket(t, broker().port)
        if (index % 2 === 0) socket.write(half)
        if (index % 3 === 0) socket.destroy()
        else socket.resetAndDestroy()
      }),
    )
  }
  await assertUnharmed(t, broker().node())
})

test('a flood of PINGREQs is answered as fast as the client reads, and keeps nobody else from being served', async (t) => {
  const node = broker().node()
  const flood = Buffer.alloc(2 * 500_000)
  for (let at = 0; at < flood.length; at += 2) flood[at] = 0xc0
  const reader = await openSocket(t, broker().port)
  let received = 0
  reader.on('data', (chunk) => (received += chunk.length))
  reader.write(connectBytes(4, { clientId: 'reader' }))
  reader.write(flood)
  // This one reads nothing: it is answered until its outbox is full, and read no further.
  const deaf = await openSocket(t, broker().port)
  deaf.pause()
  deaf.write(connectBytes(4, { clientId: 'deaf' }))
  let isTaken = 0
  for (let round = 0; round < 40; round += 1) deaf.write(flood, () => (isTaken += 1))
  await assertServing(t, broker().port)
  await eventually(() => assert.equal(received, 4 + flood.length), { within: 20_000 })
  assert.ok(isTaken < 40, 'the node does not take what it cannot answer')
  assert.ok((await residentBytes(node)) < 300e6, 'and does not keep it either')
  reader.destroy()
  deaf.destroy()
  await assertUnharmed(t, node)
})

test('clients that subscribe and unsubscribe without end leave no subscription behind', async (t) => {
  const node = broker().node()
  const subscriptions = async (): Promise<number> => (await node.metrics()).value('shoalmq_subscriptions')
  const before = await subscriptions()
  const packets: Buffer[] = []
  for (let id = 1; id <= 2_000; id += 1) {
    const topic = `loop/${id % 50}/${id % 3 === 0 ? '#' : '+'}`
    const options = { qos: 1, nl: false, rap: false, rh: 0 } as const
    packets.push(
      mqttPacket.generate(
        { cmd: 'subscribe', messageId: id, subscriptions: [{ topic, ...options }] },
        { protocolVersion: 5 },
      ),
      mqttPacket.generate({ cmd: 'unsubscribe', messageId: id, unsubscriptions: [topic] }, { protocolVersion: 5 }),
    )
  }
  const loop = Buffer.concat(packets)
  const clients = await Promise.all(Array.from({ length: 10 }, () => PacketClient.connect(t, broker().port)))
  for (const client of clients) client.write(loop)
  await Promise.all(
    clients.map(async (client) => {
      for (let count = 0; count < 2_000; count += 1) {
        assert.deepEqual((await client.next('suback')).granted, [1])
        assert.deepEqual((await client.next('unsuback')).granted, [0])
      }
    }),
  )
  assert.equal(await subscriptions(), before)
  for (const client of clients) await client.disconnect()
  await assertUnharmed(t, node)
})
