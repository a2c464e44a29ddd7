import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { useCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import { PacketClient } from '../support/packet-client.js'

const TAKEN_OVER = 0x8e
/** What no CONNECT may take, whatever happens to other nodes. */
const CONNECT_LIMIT_MS = 5_000

const cluster = useCluster({ nodes: 3 })

function port(node: number): number {
  return cluster().node(node).ports.mqtt
}

/** Sends CONNECT; the outcome is known when the broker has answered or closed. */
async function attempt(t: TestContext, node: number, clientId: string): Promise<PacketClient> {
  const client = await PacketClient.open(t, port(node))
  client.sendConnect({ clientId })
  return client
}

/** MQTT connections that the nodes themselves count. */
async function connections(): Promise<number> {
  const { nodes } = await cluster().node(1).status()
  return nodes.filter(({ state }) => state === 'running').reduce((sum, node) => sum + node.connections, 0)
}

test('a client ID that connects to another node loses the connection that it had, which is told 0x8E', async (t) => {
  for (const [from, to] of [
    [1, 2],
    [2, 3],
    [3, 1],
  ] as const) {
    const old = await PacketClient.connect(t, port(from), 5, { clientId: `moves-${from}` })
    const current = await PacketClient.connect(t, port(to), 5, { clientId: `moves-${from}` })
    await old.closedFor(TAKEN_OVER)
    await current.expectNothing()
  }
})

test('of connections of one client ID to all nodes at the same instant one stays, a hundred times over', async (t) => {
  for (let round = 0; round < 100; round += 1) {
    const clientId = `instant-${round}`
    const clients = await Promise.all([1, 2, 3].map((node) => attempt(t, node, clientId)))
    const started = performance.now()
    await eventually(() => {
      const open = clients.filter(({ isClosed }) => !isClosed)
      assert.equal(open.length, 1, `round ${round}: ${open.length} are open`)
    })
    const [winner] = clients.filter(({ isClosed }) => !isClosed)
    assert.equal((await winner?.next('connack'))?.reasonCode, 0)
    assert.ok(performance.now() - started < CONNECT_LIMIT_MS, `round ${round} took ${performance.now() - started} ms`)
    await winner?.expectNothing()
    winner?.drop()
  }
})

test('a thousand clients that reconnect at once to other nodes are let in, and each has one connection', async (t) => {
  const ids = Array.from({ length: 1_000 }, (_, index) => `storm-${index}`)
  const old: PacketClient[] = []
  for (const [index, clientId] of ids.entries()) {
    old.push(await PacketClient.connect(t, port((index % 3) + 1), 5, { clientId }))
  }
  const started = performance.now()
  const current = await Promise.all(ids.map((clientId, index) => attempt(t, ((index + 1) % 3) + 1, clientId)))
  for (const client of current) assert.equal((await client.next('connack')).reasonCode, 0)
  const took = performance.now() - started
  assert.ok(took < CONNECT_LIMIT_MS, `all are in after ${took} ms`)
  for (const client of old) await client.closedFor(TAKEN_OVER)
  // Each node tells the others how many it has; none of them has one too many.
  await eventually(async () => assert.equal(await connections(), ids.length), { within: 10_000 })
  assert.equal(current.filter(({ isClosed }) => isClosed).length, 0)
  for (const client of current) client.drop()
})

test('a node that dies costs the clients of others nothing, and they may connect anywhere meanwhile', async (t) => {
  const survivors = [1, 2]
  const clients: PacketClient[] = []
  for (let index = 0; index < 60; index += 1) {
    clients.push(await PacketClient.connect(t, port(survivors[index % 2] ?? 1), 5, { clientId: `stays-${index}` }))
  }
  await cluster().node(3).kill()
  // A third of them had the dead node as their ring node.
  for (let index = 0; index < 60; index += 1) {
    const started = performance.now()
    const moved = await PacketClient.connect(t, port(survivors[(index + 1) % 2] ?? 1), 5, {
      clientId: `stays-${index}`,
    })
    assert.ok(performance.now() - started < CONNECT_LIMIT_MS)
    await clients[index]?.closedFor(TAKEN_OVER)
    clients[index] = moved
  }
  await cluster().node(3).start()
  await cluster().whenWhole()
  // The node that came back is told who is where: its answers are right at once.
  for (let index = 0; index < 60; index += 1) {
    const moved = await PacketClient.connect(t, port(3), 5, { clientId: `stays-${index}` })
    await clients[index]?.closedFor(TAKEN_OVER)
    clients[index] = moved
  }
  for (const client of clients) await client.expectNothing()
})
