/** A node that stops leaves no session behind: those whose clients are away go to the other nodes. */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { PROTOCOL_VERSION } from '../../src/cluster/wire.js'
import { clientFor } from '../support/client.js'
import { clusterFor, type TestCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import type { NodeProcess } from '../support/node-process.js'
import { deliveryFaults, NO_FAULTS, numbered } from '../support/numbered.js'
import { type ConnectFields, PacketClient } from '../support/packet-client.js'
import { publishSteadily } from '../support/steady-publisher.js'

const SESSIONS = 40
const PATIENTLY = { within: 20_000 }

function port(cluster: TestCluster, node: number): number {
  return cluster.node(node).ports.mqtt
}

function textOf({ payload }: { payload: string | Buffer }): string {
  return payload.toString()
}

function resume(
  t: TestContext,
  cluster: TestCluster,
  node: number,
  clientId: string,
  fields: ConnectFields = {},
): Promise<PacketClient> {
  const properties = { sessionExpiryInterval: 600 }
  return PacketClient.connect(t, port(cluster, node), 5, { clientId, clean: false, properties, ...fields })
}

/** Some at a time: fewer than the Receive Maximum of a node. */
function chunks(names: readonly string[]): string[][] {
  return Array.from({ length: Math.ceil(names.length / 50) }, (_, index) => names.slice(index * 50, index * 50 + 50))
}

test('sessions whose clients are away go to other nodes when theirs stops, with all that was acknowledged', {
  timeout: 120_000,
}, async (t) => {
  const cluster = await clusterFor(t, { nodes: 3, config: { mqtt: { queueLength: 20_000 } } })
  const names = Array.from({ length: SESSIONS }, (_, index) => `away-${index}`)
  for (const name of names) {
    const client = await resume(t, cluster, 1, name)
    await client.subscribe(`to/${name}`, 1)
    await client.subscribe('to/all', 1)
    await client.disconnect()
  }
  const publishers = [2, 3].map((node) => clientFor(t, `mqtt://127.0.0.1:${port(cluster, node)}`))
  const [p2, p3] = await Promise.all(publishers)
  assert(p2 !== undefined && p3 !== undefined)
  for (const name of names) await p2.publish(`to/${name}`, `only for ${name}`, { qos: 1 })
  const stops = [
    publishSteadily(p2, { topic: 'to/all', name: 'p2', window: 3 }),
    publishSteadily(p3, { topic: 'to/all', name: 'p3', window: 3 }),
  ]
  const started = performance.now()
  assert.deepEqual(await cluster.node(1).stop(), { code: 0, signal: null })
  t.diagnostic(`${SESSIONS} sessions were gone with the node ${Math.round(performance.now() - started)} ms later`)
  const [sent2 = 0, sent3 = 0] = await Promise.all(stops.map((stop) => stop()))
  assert.ok(sent2 > 0 && sent3 > 0)
  const adopted = await Promise.all(
    [2, 3].map(async (node) => (await cluster.node(node).metrics()).value('shoalmq_sessions')),
  )
  // Those of the two publishers are there, too.
  assert.deepEqual(
    adopted.map((count) => count - 1),
    [SESSIONS / 2, SESSIONS / 2],
    'each has taken its share',
  )
  for (const [index, name] of names.entries()) {
    const client = await resume(t, cluster, 2 + (index % 2), name)
    assert.equal(client.connack?.sessionPresent, true, name)
    const payloads = (await client.receive(1 + sent2 + sent3)).map(({ payload }) => payload.toString())
    await client.expectNothing()
    assert.deepEqual(
      payloads.filter((payload) => payload.startsWith('only')),
      [`only for ${name}`],
    )
    const others = payloads.filter((payload) => !payload.startsWith('only'))
    assert.deepEqual(deliveryFaults({ p2: sent2, p3: sent3 }, others), NO_FAULTS, name)
    await client.disconnect()
  }
})

test('a client that comes while its session is handed over finds it, and stays', { timeout: 120_000 }, async (t) => {
  const cluster = await clusterFor(t, { nodes: 3 })
  const names = Array.from({ length: SESSIONS }, (_, index) => `racing-${index}`)
  for (const name of names) {
    const client = await resume(t, cluster, 1, name)
    await client.subscribe(`to/${name}`, 1)
    await client.disconnect()
  }
  const publisher = await clientFor(t, `mqtt://127.0.0.1:${port(cluster, 2)}`)
  for (const name of names) await publisher.publish(`to/${name}`, numbered(name, 1), { qos: 1 })
  const stopped = cluster.node(1).stop()
  const clients = await Promise.all(names.map((name, index) => resume(t, cluster, 2 + (index % 2), name)))
  assert.deepEqual(await stopped, { code: 0, signal: null })
  for (const [index, client] of clients.entries()) {
    const name = names[index] ?? ''
    assert.equal(client.connack?.sessionPresent, true, `${name} finds its session`)
    await publisher.publish(`to/${name}`, numbered(name, 2), { qos: 1 })
    const received = await client.receive(2)
    assert.deepEqual(
      received.map(({ payload }) => payload.toString()),
      [numbered(name, 1), numbered(name, 2)],
    )
  }
})

test('wills, the time to expire, memberships and QoS 2 packets go on where they were, also over two nodes that stop', {
  timeout: 180_000,
}, async (t) => {
  const cluster = await clusterFor(t, { nodes: 2, config: { drain: { handover: '0' } } })
  const [n1, n2] = [cluster.node(1), cluster.node(2)]
  const willOf = (clientId: string): ConnectFields => ({
    will: {
      topic: 'gone',
      payload: Buffer.from(clientId),
      qos: 1,
      retain: false,
      properties: { willDelayInterval: 15, contentType: 'text/plain' },
    },
  })
  const started: [name: string, client: PacketClient][] = []
  for (const name of ['comes-back', 'stays-away']) started.push([name, await resume(t, cluster, 1, name, willOf(name))])
  const expiring = await resume(t, cluster, 1, 'expires', { properties: { sessionExpiryInterval: 16 } })
  await expiring.subscribe('any', 1)
  const worker = await resume(t, cluster, 1, 'worker')
  await worker.subscribe('$share/crew/jobs', 1)
  const careful = await resume(t, cluster, 1, 'careful')
  await careful.subscribe('careful', 2)
  careful.pause()
  for (const one of [worker, expiring]) await one.disconnect()
  const before = await clientFor(t, `mqtt://127.0.0.1:${port(cluster, 2)}`)
  for (let number = 1; number <= 10; number += 1) await before.publish('careful', numbered('c', number), { qos: 2 })
  careful.drop()
  for (const [, one] of started) one.drop()
  const dropped = performance.now()
  for (let number = 1; number <= 5; number += 1) await before.publish('jobs', numbered('j', number), { qos: 1 })
  await before.end()

  await n1.stop()
  await n1.start()
  await n1.whenReady()
  await cluster.whenWhole()
  const between = await clientFor(t, `mqtt://127.0.0.1:${port(cluster, 1)}`)
  for (let number = 6; number <= 10; number += 1) await between.publish('jobs', numbered('j', number), { qos: 1 })
  await n2.stop()
  const after = between
  await after.subscribe('gone', 1)
  for (let number = 11; number <= 15; number += 1) await after.publish('jobs', numbered('j', number), { qos: 1 })
  const toldBefore = after.payloads()
  const spent = performance.now() - dropped
  assert.ok(spent < 14_000, `the machine is too slow for this test: ${Math.round(spent)} ms`)
  assert.deepEqual(toldBefore, [], 'no will is published before its time')

  const back = await resume(t, cluster, 1, 'comes-back')
  assert.equal(back.connack?.sessionPresent, true)
  const crew = await resume(t, cluster, 1, 'worker')
  assert.deepEqual(deliveryFaults({ j: 15 }, (await crew.receive(15)).map(textOf)), NO_FAULTS)
  await crew.expectNothing()
  const patient = await resume(t, cluster, 1, 'careful')
  assert.deepEqual(deliveryFaults({ c: 10 }, (await patient.receive(10)).map(textOf)), NO_FAULTS)
  await patient.expectNothing()

  await eventually(() => assert.deepEqual(after.payloads(), ['stays-away']), PATIENTLY)
  const willAfter = performance.now() - dropped
  assert.ok(willAfter > 14_000, `the will came ${Math.round(willAfter)} ms after the connection was lost`)
  await eventually(async () => assert.equal((await n1.metrics()).value('shoalmq_sessions_expired_total'), 1), PATIENTLY)
  const expiredAfter = performance.now() - dropped
  assert.ok(expiredAfter < 16_000 + spent, `the session ended ${Math.round(expiredAfter)} ms after its client had gone`)
  await after.publish('gone', 'the last', { qos: 1 })
  await eventually(() => assert.equal(after.payloads().at(-1), 'the last'), PATIENTLY)
  assert.deepEqual(after.payloads(), ['stays-away', 'the last'], 'that of the client that came back was not published')
})

test('a thousand sessions with messages are gone within the time for it, also with leave; nothing waits where nobody takes them', {
  timeout: 180_000,
}, async (t) => {
  const many = 1_000
  const cluster = await clusterFor(t, { nodes: 3, config: { drain: { offer: '60s' } } })
  const [n1, n2, n3] = [cluster.node(1), cluster.node(2), cluster.node(3)]
  const names = Array.from({ length: many }, (_, index) => `many-${index}`)
  for (const some of chunks(names)) {
    await Promise.all(
      some.map(async (name) => {
        const client = await resume(t, cluster, 3, name)
        await client.subscribe(`to/${name}`, 1)
        await client.disconnect()
      }),
    )
  }
  const publisher = await clientFor(t, `mqtt://127.0.0.1:${port(cluster, 1)}`)
  for (let number = 1; number <= 3; number += 1) {
    for (const some of chunks(names)) {
      await Promise.all(some.map((name) => publisher.publish(`to/${name}`, numbered(name, number), { qos: 1 })))
    }
  }
  const started = performance.now()
  const left = await fetch(`http://${n3.adminAddress}/api/v1/cluster/leave`, { method: 'POST' })
  assert.equal(left.status, 202)
  await eventually(async () => {
    assert.equal((await n3.metrics()).value('shoalmq_sessions'), 0)
    assert.equal((await n3.status()).nodes.length, 1)
  }, PATIENTLY)
  const took = performance.now() - started
  t.diagnostic(`${many} sessions with 3 messages each were gone after ${Math.round(took)} ms`)
  assert.ok(took < 30_000, `${Math.round(took)} ms`)
  const taken = await Promise.all([n1, n2].map(async (node) => (await node.metrics()).value('shoalmq_sessions')))
  assert.equal(
    taken.reduce((sum, count) => sum + count, 0),
    many + 1,
  )
  assert.equal((await n3.metrics()).value('shoalmq_sessions_left_total'), 0)
  for (const [index, name] of names.entries()) {
    if (index % 50 !== 0) continue
    const client = await resume(t, cluster, 1 + (index % 2), name)
    assert.equal(client.connack?.sessionPresent, true)
    assert.deepEqual(
      (await client.receive(3)).map(textOf),
      [1, 2, 3].map((number) => numbered(name, number)),
    )
    await client.disconnect()
  }

  // Both stop at once: neither takes what the other has.
  const before = performance.now()
  const exits = await Promise.all([n1, n2].map((node) => node.stop()))
  for (const exit of exits) assert.deepEqual(exit, { code: 0, signal: null })
  assert.ok(performance.now() - before < 15_000, 'sessions that nobody takes are not waited for')
  for (const node of [n1, n2]) {
    const lines = node.logs().filter(({ msg }) => msg === 'sessions are left that no other node has taken')
    assert.equal(lines.length, 1, node.name)
    assert.ok(Number(lines[0]?.left) > 0)
  }
})

test('a node that drains hands its sessions over, not to one that drains or does not know how; what is left is counted', {
  timeout: 120_000,
}, async (t) => {
  const cluster = await clusterFor(t, {
    nodes: 3,
    config: { drain: { offer: '2s' } },
    perNode: { 3: { config: { cluster: { maximumProtocol: PROTOCOL_VERSION - 1 } } } },
  })
  const [n1, n2, n3] = [cluster.node(1), cluster.node(2), cluster.node(3)]
  for (let index = 0; index < SESSIONS; index += 1) {
    await (await resume(t, cluster, 1, `moves-${index}`)).disconnect()
  }
  const tell = async (node: NodeProcess, method: 'POST' | 'DELETE') =>
    assert.ok((await fetch(`http://${node.adminAddress}/api/v1/node/drain`, { method })).ok)
  const sessions = async (node: NodeProcess) => (await node.metrics()).value('shoalmq_sessions')
  await tell(n2, 'POST')
  await eventually(async () => assert.equal((await n2.metrics()).value('shoalmq_draining'), 1))
  await tell(n1, 'POST')
  await eventually(async () => {
    assert.equal((await n1.metrics()).value('shoalmq_sessions_left_total'), SESSIONS)
  }, PATIENTLY)
  assert.deepEqual(await Promise.all([n1, n2, n3].map(sessions)), [SESSIONS, 0, 0])
  await tell(n2, 'DELETE')
  await eventually(
    async () => {
      // What a peer says of itself comes with its next beat.
      await tell(n1, 'DELETE')
      await tell(n1, 'POST')
      // Those that the older node decides on, as their ring node, stay.
      assert.ok((await sessions(n2)) > 0)
    },
    { ...PATIENTLY, every: 1_000 },
  )
  await eventually(async () => assert.equal((await sessions(n1)) + (await sessions(n2)), SESSIONS), PATIENTLY)
  assert.equal(await sessions(n3), 0)
})
