import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clusterFor, useCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import type { NodeProcess } from '../support/node-process.js'
import { PacketClient } from '../support/packet-client.js'
import { runShoalmq } from '../unit/cli/shoalmq-process.js'

const SERVER_SHUTTING_DOWN = 0x8b
const USE_ANOTHER_SERVER = 0x9c
const SERVER_UNAVAILABLE = 0x88

const cluster = useCluster({
  nodes: 2,
  config: { drain: { rate: 200 } },
  perNode: { 2: { config: { mqtt: { serverReference: 'n1.example:1883' } } } },
})

function drain(node: NodeProcess, word: 'drain' | 'undrain') {
  return runShoalmq(['node', word, '--admin', `127.0.0.1:${node.ports.admin}`])
}

async function readiness(node: NodeProcess): Promise<number> {
  return (await fetch(`http://127.0.0.1:${node.ports.admin}/readyz`)).status
}

test('a node that drains is not ready, refuses new clients and closes those it has at the rate; undrained it serves', async (t) => {
  const node = cluster().node(1)
  const clients: PacketClient[] = []
  for (let index = 0; index < 60; index += 1) clients.push(await PacketClient.connect(t, node.ports.mqtt))
  const started = performance.now()
  assert.equal((await drain(node, 'drain')).code, 0)
  await eventually(async () => assert.equal(await readiness(node), 503))
  const statusAt = async (number: number): Promise<boolean | undefined> =>
    (await cluster().node(number).statusOf(node.name)).draining
  await eventually(async () => assert.deepEqual([await statusAt(1), await statusAt(2)], [true, true]))
  const late = await PacketClient.open(t, node.ports.mqtt)
  late.sendConnect()
  assert.equal((await late.next('connack')).reasonCode, SERVER_UNAVAILABLE)
  for (const client of clients) await client.closedFor(SERVER_SHUTTING_DOWN)
  // 60 clients at 200 a second, the first ten of them at once.
  assert.ok(performance.now() - started > 200, `took ${performance.now() - started} ms`)
  assert.equal((await node.metrics()).value('shoalmq_drain_closed_total'), 60)
  assert.equal((await drain(node, 'undrain')).code, 0)
  await eventually(async () => assert.equal(await readiness(node), 200))
  await (await PacketClient.connect(t, node.ports.mqtt)).expectNothing()
  await eventually(async () => assert.deepEqual([await statusAt(1), await statusAt(2)], [undefined, undefined]))
})

test('with a server reference clients are told where to go: those that are closed, and those that come', async (t) => {
  const node = cluster().node(2)
  const client = await PacketClient.connect(t, node.ports.mqtt)
  const old = await PacketClient.connect(t, node.ports.mqtt, 4)
  await drain(node, 'drain')
  const [told] = await client.closed()
  assert.equal(told?.cmd, 'disconnect')
  assert.deepEqual([told.reasonCode, told.properties?.serverReference], [USE_ANOTHER_SERVER, 'n1.example:1883'])
  await old.closedFor(SERVER_SHUTTING_DOWN)
  const late = await PacketClient.open(t, node.ports.mqtt)
  late.sendConnect()
  const connack = await late.next('connack')
  assert.deepEqual([connack.reasonCode, connack.properties?.serverReference], [USE_ANOTHER_SERVER, 'n1.example:1883'])
  await drain(node, 'undrain')
})

test('SIGTERM drains at the rate and ends with exit code 0', async (t) => {
  const stopping = await clusterFor(t, { nodes: 1, config: { drain: { rate: 100 } } })
  const node = stopping.node(1)
  const clients: PacketClient[] = []
  for (let index = 0; index < 30; index += 1) clients.push(await PacketClient.connect(t, node.ports.mqtt))
  const started = performance.now()
  const exit = node.stop()
  for (const client of clients) await client.closedFor(SERVER_SHUTTING_DOWN)
  assert.ok(performance.now() - started > 200, `took ${performance.now() - started} ms`)
  assert.deepEqual(await exit, { code: 0, signal: null })
})

test('the time for it bounds a drain: what is left is closed at once', async (t) => {
  const stopping = await clusterFor(t, { nodes: 1, config: { drain: { rate: 1, timeout: '300ms' } } })
  const node = stopping.node(1)
  const clients: PacketClient[] = []
  for (let index = 0; index < 20; index += 1) clients.push(await PacketClient.connect(t, node.ports.mqtt))
  const exit = node.stop()
  for (const client of clients) await client.closedFor(SERVER_SHUTTING_DOWN)
  assert.deepEqual(await exit, { code: 0, signal: null })
})

test('a node that stops waits a while for clients to come to other nodes, then hands the rest of their sessions over', async (t) => {
  const stopping = await clusterFor(t, { nodes: 2, config: { drain: { handover: '1s' } } })
  const [n1, n2] = [stopping.node(1), stopping.node(2)]
  const kept = { clean: false, properties: { sessionExpiryInterval: 60 } }
  const [comes, stays] = [
    await PacketClient.connect(t, n1.ports.mqtt, 5, { ...kept, clientId: 'comes' }),
    await PacketClient.connect(t, n1.ports.mqtt, 5, { ...kept, clientId: 'stays-away' }),
  ]
  await comes.subscribe('handover', 1)
  const exit = n1.stop()
  for (const client of [comes, stays]) await client.closedFor(SERVER_SHUTTING_DOWN)
  const closed = performance.now()
  const back = await PacketClient.connect(t, n2.ports.mqtt, 5, { ...kept, clientId: 'comes' })
  assert.equal(back.connack?.sessionPresent, true)
  assert.deepEqual(await exit, { code: 0, signal: null })
  assert.ok(performance.now() - closed > 500, `waited ${performance.now() - closed} ms for the other`)
  const late = await PacketClient.connect(t, n2.ports.mqtt, 5, { ...kept, clientId: 'stays-away' })
  assert.equal(late.connack?.sessionPresent, true)
})

test('in the grace time the balancer is told and nobody is closed; clients are closed after it', async (t) => {
  const stopping = await clusterFor(t, { nodes: 1, config: { drain: { grace: '3s' } } })
  const node = stopping.node(1)
  const client = await PacketClient.connect(t, node.ports.mqtt)
  const started = performance.now()
  const exit = node.stop()
  await eventually(async () => assert.equal(await readiness(node), 503))
  await client.expectNothing()
  assert.ok(performance.now() - started < 3_000, 'the grace time is not over')
  await client.closedFor(SERVER_SHUTTING_DOWN)
  assert.ok(performance.now() - started >= 2_900, `closed after ${performance.now() - started} ms`)
  assert.deepEqual(await exit, { code: 0, signal: null })
})
