import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientFor } from '../support/client.js'
import { clusterFor, useCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import type { NodeProcess } from '../support/node-process.js'
import { PacketClient } from '../support/packet-client.js'
import { runShoalmq } from '../unit/cli/shoalmq-process.js'

const cluster = useCluster({ nodes: 2 })

async function ask(node: NodeProcess, ...words: string[]) {
  return runShoalmq([...words, '--admin', `127.0.0.1:${node.ports.admin}`])
}

async function askJson(node: NodeProcess, ...words: string[]): Promise<unknown> {
  const { code, stdout, stderr } = await ask(node, ...words, '--json')
  assert.equal(code, 0, stderr)
  return JSON.parse(stdout)
}

test('clients are listed, filtered, paged, shown and closed', async (t) => {
  const node = cluster().node(1)
  const url = `mqtt://127.0.0.1:${node.ports.mqtt}`
  for (const name of ['pump-1', 'pump-2', 'valve/1']) {
    const client = await clientFor(t, url, { clientId: name, username: name.slice(0, 4) })
    await client.subscribe([`${name}/in`, 'all/#'], 1)
  }
  const away = await clientFor(t, url, { clientId: 'away', clean: false, properties: { sessionExpiryInterval: 60 } })
  await away.end()
  const table = await ask(node, 'clients', 'list')
  assert.match(table.stdout, /^CLIENT +USER +STATE +ADDRESS +PROTOCOL +SUBSCRIPTIONS +QUEUED +IN FLIGHT\n/)
  assert.match(table.stdout, /^pump-1 +pump +connected +127\.0\.0\.1 +5\.0 +2 +0 +0$/m)
  assert.match(table.stdout, /^away +- +away +- +- +0 +0 +0$/m)
  const named = (answer: unknown): string[] =>
    (answer as { data: { clientId: string }[] }).data.map(({ clientId }) => clientId).sort()
  assert.deepEqual(named(await askJson(node, 'clients', 'list', '--like', 'pump')), ['pump-1', 'pump-2'])
  assert.deepEqual(named(await askJson(node, 'clients', 'list', '--connected', 'false')), ['away'])
  assert.deepEqual(named(await askJson(node, 'clients', 'list', '--username', 'valv')), ['valve/1'])
  const page = await ask(node, 'clients', 'list', '--limit', '3')
  assert.match(page.stdout, /\n1 to 3 of 4\n$/)
  const beyond = await ask(node, 'clients', 'list', '--limit', '3', '--page', '7')
  assert.match(beyond.stdout, /\nnothing on page 7: there are 4\n$/)
  assert.match((await ask(node, 'clients', 'show', 'valve/1')).stdout, /^clientId +valve\/1$/m)
  const missing = await ask(node, 'clients', 'show', 'nobody')
  assert.equal(missing.code, 1)
  assert.match(missing.stderr, /^shoalmq: 127\.0\.0\.1:\d+ answers no client nobody on this node\n$/)

  const victim = await PacketClient.connect(t, node.ports.mqtt, 5, { clientId: 'victim' })
  assert.equal((await ask(node, 'clients', 'kick', 'victim')).stdout, 'victim is closed\n')
  await victim.closedFor(0x98)
  assert.equal((await ask(node, 'clients', 'kick', 'victim')).code, 1)
})

test('subscriptions and routes are listed by client, filter and topic, and routes are verified', async (t) => {
  const [n1, n2] = [cluster().node(1), cluster().node(2)]
  const client = await clientFor(t, `mqtt://127.0.0.1:${n1.ports.mqtt}`, { clientId: 'subscriber' })
  await client.subscribe(['plant/+/speed', 'plant/7/#', 'other'], 2)
  const filters = (answer: unknown): string[] =>
    (answer as { data: { filter: string }[] }).data.map(({ filter }) => filter).sort()
  assert.deepEqual(
    filters(await askJson(n1, 'subscriptions', 'list', '--client', 'subscriber', '--topic', 'plant/7/speed')),
    ['plant/+/speed', 'plant/7/#'],
  )
  assert.match((await ask(n1, 'subscriptions', 'list', '--filter', 'other')).stdout, /^subscriber +other +2$/m)
  // SUBACK has waited for n2, which knows them as routes of n1.
  assert.deepEqual(filters(await askJson(n2, 'routes', 'list', '--node', n1.name, '--topic', 'plant/7/speed')), [
    'plant/+/speed',
    'plant/7/#',
  ])
  await eventually(async () => {
    const verified = await ask(n2, 'routes', 'verify')
    assert.equal(verified.code, 0, verified.stdout)
    assert.match(verified.stdout, new RegExp(`^${n1.name} +\\d+ +\\d+ +yes$`, 'm'))
  })
})

test('groups of shared subscriptions are among subscriptions and routes, with their members', async (t) => {
  const [n1, n2] = [cluster().node(1), cluster().node(2)]
  const filter = '$share/workers/jobs/+'
  for (const [clientId, node] of [
    ['w1', n1],
    ['w2', n1],
    ['w3', n2],
  ] as const) {
    const options = { clientId, clean: false, properties: { sessionExpiryInterval: 60 } }
    const client = await clientFor(t, `mqtt://127.0.0.1:${node.ports.mqtt}`, options)
    await client.subscribe(filter, 1)
    if (clientId === 'w2') await client.end()
  }
  assert.match(
    (await ask(n1, 'subscriptions', 'list', '--client', 'w1')).stdout,
    /^w1 +\$share\/workers\/jobs\/\+ +1$/m,
  )
  for (const node of [n1, n2]) {
    await eventually(async () => {
      const { data } = (await askJson(node, 'routes', 'list', '--topic', 'jobs/1')) as { data: unknown[] }
      assert.deepEqual(
        new Set(data.map((route) => JSON.stringify(route))),
        new Set([
          JSON.stringify({ filter, node: n1.name, connected: 1, members: 2 }),
          JSON.stringify({ filter, node: n2.name, connected: 1, members: 1 }),
        ]),
      )
      assert.match((await ask(node, 'routes', 'list', '--node', n1.name)).stdout, / 1\/2$/m)
    })
  }
  await eventually(async () => {
    const verified = await ask(n2, 'routes', 'verify')
    assert.match(verified.stdout, new RegExp(`^${n1.name} +\\d+ +\\d+ +yes$`, 'm'))
  })
})

test('nodes that know nobody are joined by hand, and one that has stopped is forgotten', async (t) => {
  const lone = await clusterFor(t, { nodes: 2, seeds: 'none', start: false })
  await Promise.all(lone.nodes.map((node) => node.start()))
  const [n1, n2] = [lone.node(1), lone.node(2)]
  assert.equal((await n1.status()).nodes.length, 1)
  const joined = await ask(n1, 'cluster', 'join', `127.0.0.1:${n2.ports.cluster}`)
  assert.match(joined.stdout, /^dialing 127\.0\.0\.1:\d+; /)
  await lone.whenWhole()
  assert.equal((await ask(n1, 'cluster', 'forget', n2.name)).code, 1, 'a node that runs is not forgotten')
  await n2.stop()
  await eventually(async () => assert.equal((await n1.statusOf(n2.name)).state, 'stopped'))
  assert.equal((await ask(n1, 'cluster', 'forget', n2.name)).stdout, `${n2.name} is forgotten\n`)
  assert.deepEqual(
    (await n1.status()).nodes.map(({ name }) => name),
    [n1.name],
  )
  const wrong = await ask(n1, 'cluster', 'join', 'nowhere')
  assert.equal(wrong.code, 1)
  assert.match(wrong.stderr, /address=nowhere: expected host:port of the cluster port of another node/)
})
