import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientFor } from '../support/client.js'
import { clusterFor } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import type { NodeProcess } from '../support/node-process.js'
import { PacketClient } from '../support/packet-client.js'
import { runShoalmq } from '../unit/cli/shoalmq-process.js'

async function ask(node: NodeProcess, ...words: string[]) {
  return runShoalmq([...words, '--admin', node.adminAddress])
}

async function namesAt(node: NodeProcess, state = 'running'): Promise<string[]> {
  return (await node.status()).nodes.flatMap((one) => (one.state === state ? [one.name] : []))
}

async function isAlone(node: NodeProcess): Promise<void> {
  await eventually(
    async () => {
      const status = await node.status()
      assert.equal(status.apart, true)
      assert.deepEqual(
        status.nodes.map(({ name }) => name),
        [node.name],
      )
    },
    { within: 20_000 },
  )
}

test('a node that leaves drains, is forgotten by the others, serves alone also after a restart, and joins when told', {
  timeout: 120_000,
}, async (t) => {
  const cluster = await clusterFor(t, { nodes: 3, config: { drain: { grace: '100ms' } } })
  const [n1, n2, n3] = [cluster.node(1), cluster.node(2), cluster.node(3)]
  const url = (node: NodeProcess): string => `mqtt://127.0.0.1:${node.ports.mqtt}`
  const stays = await clientFor(t, url(n1), { clientId: 'stays' })
  await stays.subscribe('a/#', 1)
  const goes = await PacketClient.connect(t, n3.ports.mqtt, 5, { clientId: 'goes' })
  const lines = await ask(n3, 'cluster', 'leave')
  assert.match(lines.stdout, /^leaving; /, lines.stderr)
  await goes.closedFor(0x8b)
  await isAlone(n3)
  for (const node of [n1, n2]) {
    const seen = await node.statusOf(n3.name)
    assert.deepEqual([seen.state, seen.reason, seen.routes], ['stopped', 'left', 0])
  }
  const again = await ask(n3, 'cluster', 'leave')
  assert.equal(again.code, 1)
  assert.match(again.stderr, /in no cluster/)
  assert.match((await ask(n3, 'cluster', 'status')).stdout, /^Cluster shoalmq: 1 running \(.*has left the cluster/)

  // Alone it serves, and what is published there stays there; the others go on as two.
  const lone = await clientFor(t, url(n3), { clientId: 'lone' })
  await lone.subscribe('a/#', 1)
  await lone.publish('a/lone', 'x', { qos: 1 })
  await eventually(() => assert.deepEqual(lone.payloads(), ['x']))
  const other = await clientFor(t, url(n2), { clientId: 'other' })
  await other.publish('a/two', 'y', { qos: 1 })
  await eventually(() => assert.deepEqual(stays.payloads(), ['y']))
  assert.deepEqual(lone.payloads(), ['x'])

  // The others have its address among their seeds and dial on; it says no, and a restart changes nothing.
  await eventually(
    async () => {
      const refused = (await n1.metrics()).value('shoalmq_handshake_refusals_total', { reason: 'departed' })
      assert.equal(refused > 0, true)
    },
    { within: 20_000 },
  )
  await lone.end()
  await n3.stop()
  await n3.start()
  await isAlone(n3)
  assert.deepEqual(await namesAt(n1), [n1.name, n2.name])

  const joined = await ask(n3, 'cluster', 'join')
  assert.match(joined.stdout, /^joining again; /, joined.stderr)
  await cluster.whenWhole()
  const back = await clientFor(t, url(n3), { clientId: 'back' })
  await back.publish('a/back', 'z', { qos: 1 })
  await eventually(() => assert.deepEqual(stays.payloads(), ['y', 'z']))
})

test('a node that leaves and joins by address in the same life has all routes, and answers --json', {
  timeout: 90_000,
}, async (t) => {
  const cluster = await clusterFor(t, { nodes: 2, seeds: 'first', config: { drain: { grace: '100ms' } } })
  const [n1, n2] = [cluster.node(1), cluster.node(2)]
  const client = await clientFor(t, `mqtt://127.0.0.1:${n1.ports.mqtt}`)
  await client.subscribe(['b/+', 'b/c/#'], 1)
  let incarnation = (await n1.statusOf(n2.name)).incarnation
  for (let round = 1; round <= 3; round += 1) {
    assert.deepEqual(JSON.parse((await ask(n2, 'cluster', 'leave', '--json')).stdout), { leaving: true })
    // Also while it is still leaving: it joins when it has left.
    if (round === 1) await isAlone(n2)
    const answer = await ask(n2, 'cluster', 'join', n1.clusterAddress, '--json')
    assert.deepEqual(JSON.parse(answer.stdout), { address: n1.clusterAddress, joining: true })
    // To its peers it has begun anew.
    const before = incarnation
    await eventually(
      async () => {
        incarnation = (await n1.statusOf(n2.name)).incarnation
        assert.equal(incarnation > before, true)
      },
      { within: 20_000 },
    )
    await cluster.whenWhole()
    const publisher = await clientFor(t, `mqtt://127.0.0.1:${n2.ports.mqtt}`)
    await publisher.publish('b/c', String(round), { qos: 1 })
    await eventually(() => assert.equal(client.payloads().at(-1), String(round)))
  }
  const wrong = await ask(n2, 'cluster', 'join')
  assert.equal(wrong.code, 1, 'a member is told whom to join')
})
