import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Page } from '../../src/admin/page.js'
import type { ClusterStatus } from '../../src/cluster/status.js'
import type { Alarm } from '../../src/telemetry/alarms.js'
import { clientFor, type TestClient } from '../support/client.js'
import { TestCluster } from '../support/cluster.js'
import { CuttableProxy } from '../support/cuttable-proxy.js'
import { eventually } from '../support/eventually.js'
import type { NodeProcess } from '../support/node-process.js'
import { PacketClient } from '../support/packet-client.js'
import { shoalmq } from '../support/shoalmq-command.js'

/** From the links being up to everything being right. */
const RIGHT_WITHIN_MS = 2_000
/** For what has no promised time, on a machine with other things to do. */
const PATIENTLY = { within: 15_000 }

/** Three nodes; the way between the first two leads over these proxies, that of either to the third does not. */
async function triangle(context: TestContext): Promise<{ cluster: TestCluster; between: readonly CuttableProxy[] }> {
  const between = [1, 2].map((number) => new CuttableProxy(() => cluster.node(number).ports.cluster))
  for (const proxy of between) await proxy.start()
  const [first = '', second = ''] = between.map(({ address }) => address)
  // The first two dial the third, and it nobody: they are reached only where they advertise, and that is a proxy.
  const cluster = await TestCluster.create({
    nodes: 3,
    config: { mqtt: { sharedStrategy: 'round_robin' } },
    perNode: {
      1: { seeds: [], config: { cluster: { advertise: first } } },
      2: { seeds: [], config: { cluster: { advertise: second } } },
      3: { seeds: [] },
    },
  })
  context.after(async () => {
    if ((context as { passed?: boolean }).passed === false) process.stderr.write(`${await cluster.report()}\n`)
    await cluster.stop()
    for (const proxy of between) await proxy.stop()
  })
  return { cluster, between }
}

async function whenSeen(node: NodeProcess, peer: NodeProcess, state: string): Promise<void> {
  await eventually(
    async () => assert.equal((await node.statusOf(peer.name)).state, state, `${node.name} sees ${peer.name}`),
    PATIENTLY,
  )
}

async function memberAt(context: TestContext, node: NodeProcess): Promise<TestClient> {
  const member = await clientFor(context, `mqtt://127.0.0.1:${node.ports.mqtt}`)
  await member.subscribe('$share/group/work', 1)
  return member
}

/** Publishes twice for each member, and waits until each message has come to one of them, and to no other. */
async function share(
  publisher: TestClient,
  members: readonly TestClient[],
  name: string,
  within = PATIENTLY.within,
): Promise<void> {
  const payloads = members.flatMap((_, index) => [`${name} ${index} a`, `${name} ${index} b`])
  for (const payload of payloads) await publisher.publish('work', payload, { qos: 1 })
  const arrived = (): string[] => members.flatMap((member) => member.payloads()).filter((one) => payloads.includes(one))
  await eventually(() => assert.deepEqual(arrived().sort(), payloads.sort()), { within })
}

async function alarmsOf(node: NodeProcess): Promise<string[]> {
  const { data } = await node.ask<Page<Alarm>>('alarms')
  return data.map(({ alarm, subject }) => `${alarm}: ${subject}`).sort()
}

test('two nodes that are cut from each other, and both see a third, raise alarms on all three, serve, and are one again 2 s after it has healed', {
  timeout: 60_000,
}, async (t) => {
  const { cluster, between } = await triangle(t)
  const [n1, n2, n3] = [cluster.node(1), cluster.node(2), cluster.node(3)]
  for (const node of cluster.nodes) node.spawn()
  for (const node of cluster.nodes) await node.whenReady()
  for (const node of [n1, n2]) await shoalmq(['cluster', 'join', n3.clusterAddress, '--admin', node.adminAddress])
  await cluster.whenWhole()
  const third = await clientFor(t, `mqtt://127.0.0.1:${n3.ports.mqtt}`)
  await third.subscribe('from/#', 1)
  const members = await Promise.all(cluster.nodes.map((node) => memberAt(t, node)))

  const begun = performance.now()
  for (const proxy of between) proxy.split()
  await Promise.all([whenSeen(n1, n2, 'stopped'), whenSeen(n2, n1, 'stopped')])
  t.diagnostic(`noticed ${Math.round(performance.now() - begun)} ms after the cut`)
  await eventually(async () => {
    assert.deepEqual(await alarmsOf(n1), [`peer_down: ${n2.name}`, `views_differ: ${n3.name} on ${n2.name}`])
    assert.deepEqual(await alarmsOf(n2), [`peer_down: ${n1.name}`, `views_differ: ${n3.name} on ${n1.name}`])
    assert.deepEqual(await alarmsOf(n3), [
      `views_differ: ${n1.name} on ${n2.name}`,
      `views_differ: ${n2.name} on ${n1.name}`,
    ])
  }, PATIENTLY)
  for (const [index, node] of cluster.nodes.entries()) {
    const metrics = await node.metrics()
    assert.equal(metrics.value('shoalmq_views_differ'), [1, 1, 2][index])
    assert.equal(metrics.value('shoalmq_alarms', { alarm: 'views_differ' }), [1, 1, 2][index])
    assert.equal(
      node.logs().filter(({ msg, alarm }) => msg === 'alarm raised' && alarm === 'views_differ').length,
      [1, 1, 2][index],
    )
  }
  const list = await shoalmq(['alarms', 'list', '--alarm', 'peer_down', '--admin', n1.adminAddress])
  assert.match(list.stdout, /^peer_down +critical +n2@127\.0\.0\.1 /m)
  assert.doesNotMatch(list.stdout, /views_differ/)
  const table = await shoalmq(['cluster', 'status', '--admin', n3.adminAddress])
  assert.match(table.stdout, /^ALARM views_differ: n2@127\.0\.0\.1 is up for this node and gone for n1@127\.0\.0\.1$/m)
  const json = await shoalmq(['cluster', 'status', '--json', '--admin', n3.adminAddress])
  assert.equal((JSON.parse(json.stdout) as ClusterStatus).alarms?.length, 2)

  // Both sides serve: a client ID on each, subscriptions that come, messages to the third.
  const before: PacketClient[] = []
  for (let number = 0; number < 10; number += 1) {
    before.push(await PacketClient.connect(t, n1.ports.mqtt, 5, { clientId: `both-${number}` }))
    await PacketClient.connect(t, n2.ports.mqtt, 5, { clientId: `both-${number}` })
  }
  const [one, other] = [
    await clientFor(t, `mqtt://127.0.0.1:${n1.ports.mqtt}`),
    await clientFor(t, `mqtt://127.0.0.1:${n2.ports.mqtt}`),
  ]
  await one.subscribe('to/one', 1)
  await other.subscribe('to/other', 1)
  await one.publish('from/one', '1', { qos: 1 })
  await other.publish('from/other', '2', { qos: 1 })
  await eventually(() => assert.deepEqual(third.payloads().sort(), ['1', '2']), PATIENTLY)
  for (const [index, publisher] of [one, other].entries()) await share(publisher, members, `cut ${index}`)
  assert.ok(
    members.every((member) => member.payloads().length > 0),
    'each has members that it sees',
  )

  for (const proxy of between) proxy.heal()
  await Promise.all([whenSeen(n1, n2, 'running'), whenSeen(n2, n1, 'running')])
  await eventually(
    async () => {
      for (const node of cluster.nodes) {
        const { inStep } = await node.ask<{ inStep: boolean }>('routes/verify')
        assert.equal(inStep, true, `the routes of ${node.name}`)
      }
      assert.equal(
        before.filter(({ isClosed }) => !isClosed).length,
        0,
        'the older connection of each client ID is closed',
      )
      const soFar = members.map((member) => member.payloads().length)
      for (const publisher of [one, other]) {
        await share(publisher, members, `whole ${performance.now()}`, RIGHT_WITHIN_MS)
      }
      const deaf = members.filter((member, index) => member.payloads().length === soFar[index])
      assert.equal(deaf.length, 0, 'every member of the group gets its turn')
    },
    { within: RIGHT_WITHIN_MS },
  )
  await one.publish('to/other', 'x', { qos: 1 })
  await other.publish('to/one', 'y', { qos: 1 })
  await eventually(() => assert.deepEqual([one.payloads(), other.payloads()], [['y'], ['x']]))
  await eventually(async () => {
    for (const node of cluster.nodes) {
      assert.deepEqual(await alarmsOf(node), [], node.name)
      assert.equal((await node.metrics()).value('shoalmq_views_differ'), 0)
    }
  }, PATIENTLY)
  const shared = members.flatMap((member) => member.payloads())
  assert.equal(new Set(shared).size, shared.length, 'no shared message came twice')
  const cleared = n1.logs().filter(({ msg, alarm }) => msg === 'alarm cleared' && alarm === 'views_differ')
  assert.equal(cleared.length, 1)
})
