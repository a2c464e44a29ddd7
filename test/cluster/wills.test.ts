/** The will of a client whose node dies with it is published by another node, once. */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { clientFor } from '../support/client.js'
import { clusterFor, type TestCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import { PacketClient } from '../support/packet-client.js'

const PATIENTLY = { within: 30_000 }
const MANY = 20

interface Mortal {
  clientId: string
  /** Will delay in seconds. */
  delay?: number
  clean?: boolean
}

function connect(
  t: TestContext,
  cluster: TestCluster,
  node: number,
  { clientId, delay = 0, clean = false }: Mortal,
): Promise<PacketClient> {
  return PacketClient.connect(t, cluster.node(node).ports.mqtt, 5, {
    clientId,
    clean,
    properties: { sessionExpiryInterval: 600 },
    will: {
      topic: `wills/${clientId}`,
      payload: Buffer.from(clientId),
      qos: 1,
      retain: false,
      properties: { willDelayInterval: delay, contentType: 'text/plain' },
    },
  })
}

async function copies(cluster: TestCluster, nodes: readonly number[]): Promise<number> {
  const counts = nodes.map(async (node) => (await cluster.node(node).metrics()).value('shoalmq_will_copies'))
  return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0)
}

test('wills of clients whose node is killed are published once, those with a delay after it, unless the client comes back', {
  timeout: 120_000,
}, async (t) => {
  const cluster = await clusterFor(t, { nodes: 3 })
  const watchers = await Promise.all(
    [2, 3].map((node) => clientFor(t, `mqtt://127.0.0.1:${cluster.node(node).ports.mqtt}`)),
  )
  for (const watcher of watchers) await watcher.subscribe('wills/#', 1)
  const names = Array.from({ length: MANY }, (_, index) => `at-once-${index}`)
  for (const clientId of names) await connect(t, cluster, 1, { clientId })
  await connect(t, cluster, 1, { clientId: 'comes-back', delay: 12 })
  await connect(t, cluster, 1, { clientId: 'stays-away', delay: 12 })
  const polite = await connect(t, cluster, 1, { clientId: 'polite' })
  await polite.disconnect()
  await eventually(async () => assert.equal(await copies(cluster, [2, 3]), 2 * (MANY + 2)), PATIENTLY)
  await cluster.node(1).kill()
  const killed = performance.now()
  await connect(t, cluster, 2, { clientId: 'comes-back', delay: 12 })
  const inOrder = (payloads: readonly string[]): string[] => [...payloads].sort()
  for (const watcher of watchers) {
    await eventually(() => assert.deepEqual(inOrder(watcher.payloads()), inOrder(names)), PATIENTLY)
  }
  t.diagnostic(`${MANY} wills were published ${Math.round(performance.now() - killed)} ms after their node was killed`)
  for (const watcher of watchers) {
    await eventually(() => assert.equal(watcher.payloads().at(-1), 'stays-away'), PATIENTLY)
  }
  assert.ok(performance.now() - killed >= 12_000, 'not before its delay')
  const published = await Promise.all(
    [2, 3].map(async (node) => {
      const metrics = await cluster.node(node).metrics()
      return metrics.value('shoalmq_will_copies_settled_total', { outcome: 'published' })
    }),
  )
  assert.equal((published[0] ?? 0) + (published[1] ?? 0), MANY + 1)
  for (const watcher of watchers) assert.deepEqual(inOrder(watcher.payloads()), inOrder([...names, 'stays-away']))
})

test('a client that is back before its node counts as down has its will published before what it says then', {
  timeout: 120_000,
}, async (t) => {
  const cluster = await clusterFor(t, { nodes: 3 })
  const watcher = await clientFor(t, `mqtt://127.0.0.1:${cluster.node(3).ports.mqtt}`)
  await watcher.subscribe('wills/#', 1)
  await connect(t, cluster, 1, { clientId: 'quick' })
  await eventually(async () => assert.equal(await copies(cluster, [2, 3]), 2), PATIENTLY)
  await cluster.node(1).kill()
  // The operating system closes the links of a process that is killed.
  await eventually(async () => assert.notEqual((await cluster.node(2).statusOf(cluster.node(1).name)).link, 'up'))
  const back = await connect(t, cluster, 2, { clientId: 'quick' })
  await back.publishAcked({ topic: 'wills/quick', payload: 'here again', qos: 1 })
  await eventually(() => assert.deepEqual(watcher.payloads(), ['quick', 'here again']), PATIENTLY)
  await eventually(async () => {
    assert.equal((await cluster.node(3).statusOf(cluster.node(1).name)).state, 'stopped')
  }, PATIENTLY)
  await back.publishAcked({ topic: 'wills/quick', payload: 'the last', qos: 1 })
  await eventually(() => assert.equal(watcher.payloads().at(-1), 'the last'), PATIENTLY)
  assert.deepEqual(watcher.payloads(), ['quick', 'here again', 'the last'])
})

test('the next node publishes them when the first one that keeps them is killed as well', {
  timeout: 120_000,
}, async (t) => {
  const cluster = await clusterFor(t, { nodes: 4 })
  const watchers = await Promise.all(
    [3, 4].map((node) => clientFor(t, `mqtt://127.0.0.1:${cluster.node(node).ports.mqtt}`)),
  )
  for (const watcher of watchers) await watcher.subscribe('wills/#', 1)
  const names = Array.from({ length: MANY }, (_, index) => `mortal-${index}`).sort()
  for (const clientId of names) await connect(t, cluster, 1, { clientId })
  await eventually(async () => assert.equal(await copies(cluster, [2, 3, 4]), 2 * MANY), PATIENTLY)
  assert.ok((await copies(cluster, [2])) > 0, 'some of them are kept by the node that is killed, too')
  await Promise.all([1, 2].map((node) => cluster.node(node).kill()))
  for (const watcher of watchers) {
    await eventually(() => assert.deepEqual([...watcher.payloads()].sort(), names), PATIENTLY)
  }
})

test('a node that was only frozen does not publish again what others have published for it', {
  timeout: 120_000,
}, async (t) => {
  const cluster = await clusterFor(t, { nodes: 3 })
  const [n1, n2] = [cluster.node(1), cluster.node(2)]
  const watcher = await clientFor(t, `mqtt://127.0.0.1:${n2.ports.mqtt}`)
  await watcher.subscribe('wills/#', 1)
  const client = await connect(t, cluster, 1, { clientId: 'frozen' })
  const impatient = await connect(t, cluster, 1, { clientId: 'impatient' })
  await eventually(async () => assert.equal(await copies(cluster, [2, 3]), 4), PATIENTLY)
  process.kill(n1.pid, 'SIGSTOP')
  try {
    await eventually(() => assert.deepEqual(watcher.payloads().sort(), ['frozen', 'impatient']), PATIENTLY)
    // The first that the node finds when it goes on.
    impatient.drop()
  } finally {
    process.kill(n1.pid, 'SIGCONT')
  }
  await cluster.whenWhole()
  client.drop()
  await eventually(async () => {
    assert.equal((await n1.ask<{ connected: boolean }>('clients/frozen')).connected, false)
  }, PATIENTLY)
  // Wills that wait for what others say are due before one whose client goes after that.
  const last = await connect(t, cluster, 1, { clientId: 'last' })
  await eventually(async () => assert.equal(await copies(cluster, [2, 3]), 2), PATIENTLY)
  last.drop()
  await eventually(() => assert.equal(watcher.payloads().at(-1), 'last'), PATIENTLY)
  assert.deepEqual(watcher.payloads().sort(), ['frozen', 'impatient', 'last'])
})

test('a node that stops in order sees to its wills itself: nobody publishes them again', {
  timeout: 120_000,
}, async (t) => {
  const cluster = await clusterFor(t, { nodes: 3 })
  const watcher = await clientFor(t, `mqtt://127.0.0.1:${cluster.node(2).ports.mqtt}`)
  await watcher.subscribe('wills/#', 1)
  await connect(t, cluster, 1, { clientId: 'connected' })
  const away = await connect(t, cluster, 1, { clientId: 'waits', delay: 10 })
  await eventually(async () => assert.equal(await copies(cluster, [2, 3]), 4), PATIENTLY)
  away.drop()
  assert.deepEqual(await cluster.node(1).stop(), { code: 0, signal: null })
  await eventually(() => assert.deepEqual(watcher.payloads(), ['connected', 'waits']), PATIENTLY)
  await eventually(async () => assert.equal(await copies(cluster, [2, 3]), 0), PATIENTLY)
  const fence = await clientFor(t, `mqtt://127.0.0.1:${cluster.node(3).ports.mqtt}`)
  await fence.publish('wills/fence', 'fence', { qos: 1 })
  await eventually(() => assert.equal(watcher.payloads().at(-1), 'fence'), PATIENTLY)
  assert.deepEqual(watcher.payloads(), ['connected', 'waits', 'fence'])
})
