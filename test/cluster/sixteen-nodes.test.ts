import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientFor } from '../support/client.js'
import { clusterFor } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import type { NodeProcess } from '../support/node-process.js'
import { deliveryFaults, NO_FAULTS } from '../support/numbered.js'
import { publishSteadily } from '../support/steady-publisher.js'

const NODES = 16
/** With n1, which everyone else was told to join. */
const DYING = [1, 4, 7, 10, 13]
/** So many start at a time: a process that starts wants a core for a second. */
const STARTING = 2
const PATIENTLY = { within: 90_000 }
/** Until a node that waits for the route of a new subscription gives up; nobody waits for one that is down. */
const ROUTE_CONFIRMED_MS = 1_000

async function start(nodes: readonly NodeProcess[]): Promise<void> {
  for (let from = 0; from < nodes.length; from += STARTING) {
    await Promise.all(nodes.slice(from, from + STARTING).map((node) => node.start()))
  }
}

test('sixteen nodes that know one are a mesh, which the death of five of them, that one included, costs nothing', {
  timeout: 400_000,
}, async (t) => {
  const cluster = await clusterFor(t, {
    nodes: NODES,
    seeds: 'first',
    start: false,
    config: { log: { level: 'warn' } },
  })
  await start(cluster.nodes)
  await cluster.whenWhole(PATIENTLY.within)
  const dying = DYING.map((number) => cluster.node(number))
  const survivors = cluster.nodes.filter((node) => !dying.includes(node))
  const url = (node: NodeProcess): string => `mqtt://127.0.0.1:${node.ports.mqtt}`
  const [first, ...others] = survivors as [NodeProcess, ...NodeProcess[]]
  const witness = await clientFor(t, url(first))
  await witness.subscribe('steady/+', 1)
  const stops = new Map<string, () => Promise<number>>()
  for (const [index, node] of others.slice(0, 3).entries()) {
    const name = `p${index}`
    stops.set(name, publishSteadily(await clientFor(t, url(node)), { topic: `steady/${name}`, name }))
  }
  await eventually(() => assert.ok(witness.received.length > 50), PATIENTLY)

  await Promise.all(dying.map((node) => node.kill()))
  await cluster.whenWhole(PATIENTLY.within)
  await eventually(async () => {
    for (const node of survivors) {
      for (const { name } of dying) assert.equal((await node.statusOf(name)).state, 'stopped', `${node.name}: ${name}`)
    }
  }, PATIENTLY)
  const received = witness.received.length
  await eventually(() => assert.ok(witness.received.length > received + 50), PATIENTLY)
  const sent: Record<string, number> = {}
  for (const [name, stop] of stops) sent[name] = await stop()
  await eventually(() => assert.deepEqual(deliveryFaults(sent, witness.payloads()), NO_FAULTS), PATIENTLY)

  const clients = await Promise.all(survivors.map((node) => clientFor(t, url(node))))
  const before = performance.now()
  for (const [index, client] of clients.entries()) await client.subscribe(`to/${index}`, 1)
  t.diagnostic(`${clients.length} subscriptions took ${Math.round(performance.now() - before)} ms`)
  assert.ok(performance.now() - before < clients.length * ROUTE_CONFIRMED_MS, 'nobody waits for those that are gone')
  await Promise.all(
    clients.flatMap((client) => clients.map((_, index) => client.publish(`to/${index}`, 'from one', { qos: 1 }))),
  )
  await eventually(() => {
    for (const client of clients) assert.equal(client.received.length, clients.length, 'one from each survivor')
  }, PATIENTLY)

  await start(dying)
  await cluster.whenWhole(PATIENTLY.within)
})
