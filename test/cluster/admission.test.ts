import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { clientFor } from '../support/client.js'
import { clusterFor, type TestCluster, type TestClusterOptions } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import { freePort } from '../support/free-port.js'
import type { NodeProcess } from '../support/node-process.js'
import { dialAsNewerNode, NewerNode } from '../support/stranger.js'

const SECRET = { SHOALMQ_CLUSTER__SECRET: 'the one that both know' }
const WARN = 40

/** Two nodes that must not become one cluster: n2 knows n1 and dials it. */
async function strangers(context: TestContext, options: Partial<TestClusterOptions>): Promise<TestCluster> {
  const cluster = await clusterFor(context, {
    nodes: 2,
    seeds: 'first',
    config: { cluster: { joinTimeout: '1s' } },
    start: false,
    ...options,
  })
  await Promise.all(cluster.nodes.map((node) => node.start()))
  return cluster
}

/** Both nodes say in their log why they do not link, and stay apart. */
async function stayApart(cluster: TestCluster, why: RegExp): Promise<void> {
  for (const node of cluster.nodes) {
    await eventually(() => assertWarned(node, why), { within: 10_000 })
  }
  for (const node of cluster.nodes) {
    const status = await node.status()
    const running = status.nodes.filter((one) => one.state === 'running').map((one) => one.name)
    assert.deepEqual(running, [node.name])
  }
}

function assertWarned(node: NodeProcess, why: RegExp): void {
  const warnings = node.logs().filter((line) => line.level >= WARN)
  assert.ok(
    warnings.some((line) => why.test(JSON.stringify(line))),
    `${node.name} warns of ${why}; it has logged ${JSON.stringify(warnings)}`,
  )
}

test('nodes that know the same secret link, and neither the log nor the status shows it', async (t) => {
  const cluster = await clusterFor(t, { nodes: 2, seeds: 'first', environment: SECRET })
  for (const node of cluster.nodes) {
    const said = node.text() + JSON.stringify(await node.status())
    assert.ok(!said.includes(SECRET.SHOALMQ_CLUSTER__SECRET), node.name)
  }
})

test('a node with another secret is refused, and both sides say so', async (t) => {
  const cluster = await strangers(t, {
    environment: SECRET,
    perNode: { 2: { environment: { SHOALMQ_CLUSTER__SECRET: 'another one' } } },
  })
  await stayApart(cluster, /secrets? of the two nodes differ/)
  const text = cluster.nodes.map((node) => node.text()).join()
  assert.ok(!text.includes('the one that both know') && !text.includes('another one'), 'no secret in a log')
})

test('a node without a secret is refused by one with a secret', async (t) => {
  const cluster = await strangers(t, { perNode: { 1: { environment: SECRET } } })
  await stayApart(cluster, /secrets? of the two nodes differ/)
})

test('a node of another cluster is refused, and both sides say so', async (t) => {
  const cluster = await strangers(t, {
    environment: SECRET,
    perNode: { 2: { config: { cluster: { name: 'other' } } } },
  })
  await stayApart(cluster, /cluster names? of the two nodes differ/)
  const [n1, n2] = [cluster.node(1), cluster.node(2)]
  assert.deepEqual([(await n1.status()).cluster, (await n2.status()).cluster], ['shoalmq', 'other'])
})

test('a node with a newer protocol is refused when it dials, by name and with a log line', async (t) => {
  const cluster = await clusterFor(t, { nodes: 1 })
  const node = cluster.node(1)
  const answer = await dialAsNewerNode(node.clusterAddress)
  assert.equal(answer?.$case, 'refused')
  assert.match(answer.value.detail, /protocol version/)
  await eventually(() => assertWarned(node, /protocol version/))
  const refused = (await node.metrics()).value('shoalmq_handshake_refusals_total', { reason: 'protocol_version' })
  assert.equal(refused, 1)
})

test('a node with a newer protocol is refused when it is dialed, and is told why', async (t) => {
  const address = `127.0.0.1:${await freePort()}`
  const newer = await NewerNode.listen(address)
  t.after(() => newer.stop())
  const cluster = await clusterFor(t, {
    nodes: 1,
    perNode: { 1: { seeds: [address] } },
    config: { cluster: { joinTimeout: '1s' } },
  })
  const node = cluster.node(1)
  await eventually(() => assertWarned(node, /protocol version/))
  await eventually(() => {
    const refusals = newer.heard.filter((body) => body.$case === 'refused')
    assert.ok(refusals.length > 0, JSON.stringify(newer.heard))
    for (const { value } of refusals) assert.match(value.detail, /protocol version/)
  })
})

test('refused strangers do not fill the log, and the node serves on', async (t) => {
  const cluster = await strangers(t, {
    environment: SECRET,
    perNode: { 2: { environment: { SHOALMQ_CLUSTER__SECRET: 'another one' } } },
  })
  const node = cluster.node(1)
  const refusals = async (): Promise<number> =>
    (await node.metrics()).value('shoalmq_handshake_refusals_total', { reason: 'secret' })
  await eventually(async () => assert.ok((await refusals()) >= 3, 'the stranger tries again and again'), {
    within: 20_000,
  })
  const lines = node.logs().filter((line) => line.level >= WARN && /secret/.test(JSON.stringify(line)))
  assert.ok(lines.length < (await refusals()), `${lines.length} lines`)
  const client = await clientFor(t, `mqtt://127.0.0.1:${node.ports.mqtt}`)
  await client.subscribe('unharmed', 1)
  await client.publish('unharmed', 'x', { qos: 1 })
  await eventually(() => assert.deepEqual(client.payloads(), ['x']))
})

test('bytes that are no peer on the cluster port and the admin port harm nobody', async (t) => {
  const cluster = await clusterFor(t, { nodes: 2 })
  const node = cluster.node(1)
  const client = await clientFor(t, `mqtt://127.0.0.1:${node.ports.mqtt}`)
  await client.subscribe('unharmed', 1)
  const nonsense: readonly (readonly [port: number, bytes: Buffer])[] = [node.ports.cluster, node.ports.admin].flatMap(
    (port) => [
      [port, Buffer.alloc(100_000, 0xff)] as const,
      [port, Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')] as const,
      [port, Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\0')] as const,
      [port, Buffer.from([0x10, 14, 0, 4, 0x4d, 0x51, 0x54, 0x54, 5, 2, 0, 60, 0, 0, 1, 0x61])] as const,
    ],
  )
  await Promise.all(
    nonsense.map(
      ([port, bytes]) =>
        new Promise<void>((resolve) => {
          const socket = connect(port, '127.0.0.1')
          // A reset is as good an end as another.
          socket.on('error', () => socket.destroy())
          socket.on('close', () => resolve())
          socket.end(bytes)
          socket.resume()
        }),
    ),
  )
  await cluster.whenWhole()
  const publisher = await clientFor(t, `mqtt://127.0.0.1:${cluster.node(2).ports.mqtt}`)
  await publisher.publish('unharmed', 'x', { qos: 1 })
  await eventually(() => assert.deepEqual(client.payloads(), ['x']))
  assert.deepEqual(
    node.logs().filter((line) => line.level >= 50),
    [],
  )
})
