import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { useCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import { type ConnectFields, PacketClient, textOf } from '../support/packet-client.js'
import { shoalmq } from '../support/shoalmq-command.js'

const TAKEN_OVER = 0x8e
/** What no CONNECT may take, whatever happens to other nodes. */
const CONNECT_LIMIT_MS = 5_000
const FOR_GOOD = { sessionExpiryInterval: 3_600 }

// Room for what waits in one of the tests.
const cluster = useCluster({ nodes: 3, config: { mqtt: { queueLength: 40_000 } } })

function port(node: number): number {
  return cluster().node(node).ports.mqtt
}

/** A client that wants to find its session, and keeps it. */
function resume(
  t: TestContext,
  node: number,
  clientId: string,
  version: 4 | 5 = 5,
  fields: ConnectFields = {},
): Promise<PacketClient> {
  return PacketClient.connect(t, port(node), version, {
    clientId,
    clean: false,
    ...(version === 5 ? { properties: FOR_GOOD } : {}),
    ...fields,
  })
}

/** Client IDs of the sessions that a node has. */
async function sessionsOf(node: number): Promise<string[]> {
  const { adminAddress } = cluster().node(node)
  const { stdout } = await shoalmq(['clients', 'list', '--json', '--limit', '10000', '--admin', adminAddress])
  return [...stdout.matchAll(/"clientId": ?"([^"]*)"/g)].map(([, clientId = '']) => clientId)
}

async function publishMany(t: TestContext, node: number, topic: string, from: number, to: number): Promise<void> {
  const publisher = await PacketClient.connect(t, port(node))
  for (let number = from; number < to; number += 1) {
    assert.ok((await publisher.publishAcked({ topic, payload: `${number}`, qos: 1 })) < 0x80)
  }
  await publisher.disconnect()
}

for (const version of [4, 5] as const) {
  test(`a session of MQTT ${version === 5 ? '5.0' : '3.1.1'} goes with its client from node to node, with all that waits for it`, async (t) => {
    const clientId = `roams-${version}`
    const first = await resume(t, 1, clientId, version)
    assert.equal(first.connack?.sessionPresent, false)
    await first.subscribe(`to/${clientId}`, 1)
    await first.disconnect()
    for (const [round, node] of [2, 3, 1, 2].entries()) {
      // Published on the node that the client comes to, and on the one that its session is on.
      await publishMany(t, node, `to/${clientId}`, round * 20, round * 20 + 10)
      await publishMany(t, ((node + 1) % 3) + 1, `to/${clientId}`, round * 20 + 10, round * 20 + 20)
      const client = await resume(t, node, clientId, version)
      assert.equal(client.connack?.sessionPresent, true, `at n${node}`)
      const received = await client.receive(20)
      assert.deepEqual(
        received.map(({ payload }) => Number(payload)),
        Array.from({ length: 20 }, (_, index) => round * 20 + index),
      )
      // And it is subscribed where it is.
      await publishMany(t, (node % 3) + 1, `to/${clientId}`, 1_000, 1_001)
      assert.deepEqual((await client.receive(1)).map(textOf), [`to/${clientId} 1000`])
      await client.expectNothing()
      await client.disconnect()
    }
  })
}

test('a connected client is told 0x8E on the node that it leaves, and finds its session on the other', async (t) => {
  const clientId = 'moves-live'
  const old = await resume(t, 1, clientId)
  await old.subscribe('live/#', 2)
  const current = await resume(t, 2, clientId)
  await old.closedFor(TAKEN_OVER)
  assert.equal(current.connack?.sessionPresent, true)
  await publishMany(t, 3, 'live/a', 0, 3)
  assert.deepEqual((await current.receive(3)).map(textOf), ['live/a 0', 'live/a 1', 'live/a 2'])
})

test('a clean start on another node ends the session and brings nothing of it', async (t) => {
  const clientId = 'begins-anew'
  const old = await resume(t, 1, clientId)
  await old.subscribe('anew', 1)
  await old.disconnect()
  await publishMany(t, 3, 'anew', 0, 1)
  const current = await PacketClient.connect(t, port(2), 5, { clientId, clean: true, properties: FOR_GOOD })
  assert.equal(current.connack?.sessionPresent, false)
  await current.expectNothing()
  await current.disconnect()
  const back = await resume(t, 1, clientId)
  assert.equal(back.connack?.sessionPresent, true, 'it has the session that the clean start began')
  await publishMany(t, 3, 'anew', 1, 2)
  await back.expectNothing()
})

test('packets in flight go with their ids: what was acknowledged is not sent again, PUBREL goes on', async (t) => {
  const clientId = 'in-flight'
  const old = await resume(t, 1, clientId)
  await old.subscribe('flight', 2)
  const publisher = await PacketClient.connect(t, port(3))
  for (const payload of ['a', 'b', 'c']) await publisher.publishAcked({ topic: 'flight', payload, qos: 2 })
  const [a, b, c] = await old.nextMany('publish', 3)
  assert.ok(a !== undefined && b !== undefined && c !== undefined)
  old.send({ cmd: 'pubrec', messageId: a.messageId ?? 0 })
  await old.next('pubrel')
  // A message of the client itself, which it has not released.
  const own = old.publish({ topic: 'elsewhere', payload: 'once', qos: 2 })
  await old.next('pubrec')
  old.drop()
  const current = await resume(t, 2, clientId)
  assert.equal(current.connack?.sessionPresent, true)
  const packets = [await current.nextOfAny(), await current.nextOfAny(), await current.nextOfAny()]
  assert.deepEqual(
    packets.map((packet) => [packet?.cmd, packet?.messageId, (packet as { dup?: boolean }).dup ?? false]),
    [
      ['publish', b.messageId, true],
      ['publish', c.messageId, true],
      ['pubrel', a.messageId, false],
    ],
  )
  // Sent again as the client must: it is known, and answered.
  const watcher = await PacketClient.connect(t, port(1))
  await watcher.subscribe('elsewhere', 2)
  current.publish({ topic: 'elsewhere', payload: 'once', qos: 2, dup: true, messageId: own })
  assert.equal((await current.next('pubrec')).messageId, own)
  current.send({ cmd: 'pubrel', messageId: own })
  await current.next('pubcomp')
  await watcher.expectNothing()
})

test('a client that goes from node to node while publishers send gets every message once and in order', async (t) => {
  const clientId = 'roams-under-load'
  let client = await resume(t, 1, clientId)
  await client.subscribe([
    { topic: 'load/1/#', qos: 1 },
    { topic: 'load/2/#', qos: 2 },
  ])
  let isSending = true
  const sent = new Map<string, number>()
  const publishers = [1, 2, 3].flatMap((node) =>
    ([1, 2] as const).map(async (qos) => {
      const publisher = await PacketClient.connect(t, port(node))
      const topic = `load/${qos}/${node}`
      for (let number = 0; isSending; number += 1) {
        sent.set(topic, number)
        assert.ok((await publisher.publishAcked({ topic, payload: `${number}`, qos })) < 0x80)
      }
    }),
  )
  const received = new Map<string, number[]>()
  const waiting = new Map<number, string>()
  /** Takes and acknowledges what comes until the connection is gone; QoS 2 as the specification has it. */
  async function consume(from: PacketClient): Promise<void> {
    for (let packet = await from.nextOfAny(); packet !== undefined; packet = await from.nextOfAny()) {
      if (packet.cmd === 'pubrel') {
        waiting.delete(packet.messageId ?? 0)
        if (!from.isClosed) from.send({ cmd: 'pubcomp', messageId: packet.messageId ?? 0 })
      } else if (packet.cmd === 'publish') {
        const id = packet.messageId ?? 0
        const list = received.get(packet.topic) ?? []
        received.set(packet.topic, list)
        const number = Number(packet.payload)
        if (packet.qos === 2) {
          if (!waiting.has(id)) list.push(number)
          waiting.set(id, packet.topic)
          if (!from.isClosed) from.send({ cmd: 'pubrec', messageId: id })
        } else {
          // Of QoS 1 one that is sent again is no surprise.
          if (!packet.dup || !list.includes(number)) list.push(number)
          if (!from.isClosed) from.send({ cmd: 'puback', messageId: id })
        }
      } else assert.equal(packet.cmd, 'disconnect')
    }
  }
  let consuming = consume(client)
  for (let move = 0; move < 15; move += 1) {
    const started = performance.now()
    const count = [...received.values()].reduce((sum, { length }) => sum + length, 0)
    const next = await resume(t, ((move + 1) % 3) + 1, clientId)
    assert.ok(performance.now() - started < CONNECT_LIMIT_MS)
    assert.equal(next.connack?.sessionPresent, true, `move ${move}`)
    await consuming
    client = next
    consuming = consume(client)
    await eventually(() => {
      const now = [...received.values()].reduce((sum, { length }) => sum + length, 0)
      assert.ok(now > count + 20, `${now} of ${count + 20} have come`)
    })
  }
  isSending = false
  await Promise.all(publishers)
  await eventually(() => {
    for (const [topic, last] of sent) assert.equal(received.get(topic)?.length, last + 1, topic)
  })
  for (const [topic, last] of sent) {
    assert.deepEqual(
      received.get(topic),
      Array.from({ length: last + 1 }, (_, number) => number),
      topic,
    )
  }
  client.drop()
  await consuming
})

for (const version of [4, 5] as const) {
  test(`Session Present says whether there is a session, in MQTT ${version === 5 ? '5.0' : '3.1.1'}`, async (t) => {
    for (const before of ['none', 'here', 'elsewhere'] as const) {
      for (const clean of [false, true]) {
        const clientId = `present-${version}-${before}-${clean}`
        if (before !== 'none') {
          const first = await resume(t, before === 'here' ? 2 : 1, clientId, version)
          await first.disconnect()
        }
        const client = await resume(t, 2, clientId, version, { clean })
        assert.equal(client.connack?.sessionPresent, before !== 'none' && !clean, clientId)
        await client.disconnect()
        // A clean session of 3.1.1 ends with its connection; in 5.0 it has the expiry that was asked for.
        const again = await resume(t, 3, clientId, version)
        assert.equal(again.connack?.sessionPresent, !clean || version === 5, `${clientId}, and on to n3`)
        await again.disconnect()
      }
    }
  })
}

const WILL = { topic: 'wills', payload: Buffer.from('gone'), qos: 1, retain: false } as const

async function watchWills(t: TestContext, topic: string): Promise<PacketClient> {
  const watcher = await PacketClient.connect(t, port(3))
  await watcher.subscribe(topic, 1)
  return watcher
}

test('the will of a connection that is taken over is published, and one with a delay is not, since the client is back', async (t) => {
  const watcher = await watchWills(t, 'wills/#')
  const old = await resume(t, 1, 'wills-now', 5, { will: { ...WILL, topic: 'wills/now' } })
  await resume(t, 2, 'wills-now')
  assert.deepEqual((await watcher.receive(1)).map(textOf), ['wills/now gone'])
  await old.closedFor(TAKEN_OVER)
  const delayed = { ...WILL, topic: 'wills/delayed', properties: { willDelayInterval: 1 } }
  const patient = await resume(t, 1, 'wills-delayed', 5, { will: delayed })
  patient.drop()
  const back = await resume(t, 2, 'wills-delayed')
  assert.equal(back.connack?.sessionPresent, true)
  // Another will with the same delay, of a client that does not come back: by the time it is here the first was due.
  const late = await resume(t, 1, 'wills-late', 5, { will: { ...delayed, topic: 'wills/late' } })
  late.drop()
  assert.deepEqual((await watcher.receive(1)).map(textOf), ['wills/late gone'])
  await watcher.expectNothing()
})

test('a clean start elsewhere ends the session, and its delayed will is published at once', async (t) => {
  const watcher = await watchWills(t, 'ended')
  const will = { ...WILL, topic: 'ended', properties: { willDelayInterval: 600 } }
  const old = await resume(t, 1, 'wills-ended', 5, { will })
  old.drop()
  await PacketClient.connect(t, port(2), 5, { clientId: 'wills-ended', clean: true })
  assert.deepEqual((await watcher.receive(1)).map(textOf), ['ended gone'])
})

test('a session that comes to all nodes at once is on one of them, with what waited', async (t) => {
  for (let round = 0; round < 20; round += 1) {
    const clientId = `everywhere-${round}`
    const first = await resume(t, (round % 3) + 1, clientId)
    await first.subscribe(clientId, 1)
    await first.disconnect()
    await publishMany(t, 1, clientId, 0, 5)
    const attempts = await Promise.all(
      [1, 2, 3].map(async (node) => {
        const client = await PacketClient.open(t, port(node))
        client.sendConnect({ clientId, clean: false, properties: FOR_GOOD })
        return client
      }),
    )
    const started = performance.now()
    await eventually(() => assert.equal(attempts.filter(({ isClosed }) => !isClosed).length, 1, `round ${round}`))
    const [winner] = attempts.filter(({ isClosed }) => !isClosed)
    assert(winner !== undefined)
    const connack = await winner.next('connack')
    assert.ok(performance.now() - started < CONNECT_LIMIT_MS)
    assert.equal(connack.sessionPresent, true, `round ${round}`)
    assert.equal((await winner.receive(5)).length, 5)
    await winner.disconnect()
  }
})

test('ten thousand messages that wait go with their session, and CONNECT does not wait for them', async (t) => {
  const clientId = 'has-much'
  const empty = await resume(t, 1, 'has-nothing')
  await empty.disconnect()
  const before = performance.now()
  const moved = await resume(t, 2, 'has-nothing')
  const emptyTook = performance.now() - before
  assert.equal(moved.connack?.sessionPresent, true)
  const first = await resume(t, 1, clientId)
  await first.subscribe('much', 1)
  await first.disconnect()
  const publisher = await PacketClient.connect(t, port(3))
  const count = 10_000
  const large = Buffer.alloc(200_000, 'l')
  for (let sent = 0; sent < count; sent += 100) {
    for (let number = sent; number < sent + 100; number += 1) {
      publisher.publish({ topic: 'much', payload: number === 5_000 ? large : `${number}`, qos: 1 })
    }
    await publisher.nextMany('puback', 100)
  }
  const started = performance.now()
  const client = await resume(t, 2, clientId)
  const connectTook = performance.now() - started
  assert.equal(client.connack?.sessionPresent, true)
  assert.ok(connectTook < CONNECT_LIMIT_MS)
  const received = await client.receive(count)
  const allTook = performance.now() - started
  received.forEach(({ payload }, index) => {
    if (index === 5_000) assert.equal(Buffer.compare(Buffer.from(payload), large), 0)
    else assert.equal(Number(payload), index)
  })
  t.diagnostic(
    `CONNACK of an empty session after ${emptyTook.toFixed(1)} ms, with ${count} messages after ${connectTook.toFixed(1)} ms, all received and acknowledged after ${allTook.toFixed(0)} ms`,
  )
})

test('a thousand sessions that follow their clients at once are all there, within the limit', async (t) => {
  const ids = Array.from({ length: 1_000 }, (_, index) => `storm-${index}`)
  for (const [index, clientId] of ids.entries()) {
    const old = await resume(t, (index % 3) + 1, clientId)
    await old.subscribe(`storm/${clientId}`, 1)
    old.drop()
  }
  const started = performance.now()
  const current = await Promise.all(
    ids.map(async (clientId, index) => {
      const client = await PacketClient.open(t, port(((index + 1) % 3) + 1))
      client.sendConnect({ clientId, clean: false, properties: FOR_GOOD })
      return client
    }),
  )
  for (const client of current) assert.equal((await client.next('connack')).sessionPresent, true)
  const took = performance.now() - started
  t.diagnostic(`all are in with their sessions after ${took.toFixed(0)} ms`)
  assert.ok(took < CONNECT_LIMIT_MS, `all are in after ${took} ms`)
  const publisher = await PacketClient.connect(t, port(1))
  for (const [index, client] of current.entries()) {
    if (index % 50 !== 0) continue
    await publisher.publishAcked({ topic: `storm/${ids[index]}`, payload: 'x', qos: 1 })
    assert.equal((await client.receive(1)).length, 1)
  }
  for (const client of current) client.drop()
})

test('the node that has the session is dead: the client begins anew within the limit, also when the node is back', async (t) => {
  const clientId = 'orphan'
  const old = await resume(t, 3, clientId)
  await old.subscribe('orphan', 1)
  await cluster().node(3).kill()
  const started = performance.now()
  const client = await resume(t, 1, clientId)
  assert.ok(performance.now() - started < CONNECT_LIMIT_MS)
  assert.equal(client.connack?.sessionPresent, false)
  await client.subscribe('orphan', 1)
  await client.disconnect()
  await cluster().node(3).start()
  await cluster().whenWhole()
  const back = await resume(t, 3, clientId)
  assert.equal(back.connack?.sessionPresent, true, 'the session that it began meanwhile')
})

test('the node that has the session is frozen: no CONNECT waits for longer than the limit, and it thaws into order', async (t) => {
  const ids = Array.from({ length: 12 }, (_, index) => `frozen-${index}`)
  for (const clientId of ids) {
    const old = await resume(t, 3, clientId)
    await old.subscribe(`thaw/${clientId}`, 1)
    await old.disconnect()
  }
  const { pid } = cluster().node(3)
  process.kill(pid, 'SIGSTOP')
  try {
    for (const [index, clientId] of ids.entries()) {
      const started = performance.now()
      const client = await resume(t, (index % 2) + 1, clientId)
      assert.ok(performance.now() - started < CONNECT_LIMIT_MS, `${clientId}: ${performance.now() - started} ms`)
      assert.equal(client.connack?.sessionPresent, false)
      await client.disconnect()
    }
  } finally {
    process.kill(pid, 'SIGCONT')
  }
  await cluster().whenWhole()
  // What it had is older than what the clients have now, and is discarded.
  await eventually(
    async () => {
      assert.deepEqual(
        (await sessionsOf(3)).filter((clientId) => ids.includes(clientId)),
        [],
      )
    },
    { within: 20_000 },
  )
  const [first = ''] = ids
  assert.ok((await sessionsOf(1)).includes(first), 'the list shows who has it')
  const back = await resume(t, 3, first)
  assert.equal(back.connack?.sessionPresent, true)
})

test('the node that takes a session dies: the session is where it was, or where the client was let in', async (t) => {
  const clientId = 'taken-halfway'
  const old = await resume(t, 1, clientId)
  await old.subscribe('halfway', 1)
  await old.disconnect()
  await publishMany(t, 2, 'halfway', 0, 5)
  const doomed = await PacketClient.open(t, port(3))
  doomed.sendConnect({ clientId, clean: false, properties: FOR_GOOD })
  await cluster().node(3).kill()
  const started = performance.now()
  const client = await resume(t, 2, clientId)
  assert.ok(performance.now() - started < CONNECT_LIMIT_MS)
  // A node has died: what it had is lost with it. What it had not got yet is not.
  if (client.connack?.sessionPresent) {
    assert.ok((await sessionsOf(2)).includes(clientId))
    assert.equal((await client.receive(5)).length, 5)
  }
  await cluster().node(3).start()
  await cluster().whenWhole()
  await client.disconnect()
  const back = await resume(t, 1, clientId)
  assert.equal(back.connack?.sessionPresent, true)
})

test('what a member of a shared subscription has not acknowledged goes with its session', async (t) => {
  const clientId = 'shares'
  const old = await resume(t, 1, clientId)
  await old.subscribe('$share/group/shared', 1)
  const publisher = await PacketClient.connect(t, port(1))
  for (const payload of ['a', 'b']) await publisher.publishAcked({ topic: 'shared', payload, qos: 1 })
  await old.nextMany('publish', 2)
  old.drop()
  for (const payload of ['c', 'd']) await publisher.publishAcked({ topic: 'shared', payload, qos: 1 })
  const client = await resume(t, 2, clientId)
  assert.equal(client.connack?.sessionPresent, true)
  assert.deepEqual((await client.receive(4)).map(textOf), ['shared a', 'shared b', 'shared c', 'shared d'])
  await publisher.publishAcked({ topic: 'shared', payload: 'e', qos: 1 })
  assert.deepEqual((await client.receive(1)).map(textOf), ['shared e'])
})
