import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MINIMUM_PROTOCOL_VERSION, PROTOCOL_VERSION } from '../../src/cluster/wire.js'
import { clientFor } from '../support/client.js'
import { clusterFor } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import type { NodeProcess } from '../support/node-process.js'
import { dialWithVersions, type Versions } from '../support/stranger.js'

const BEFORE = PROTOCOL_VERSION - 1
const WARN = 40

/** Protocols of the links of a node, by the number of the peer. */
async function spoken(node: NodeProcess): Promise<Record<string, number | undefined>> {
  const { nodes } = await node.status()
  return Object.fromEntries(
    nodes.flatMap(({ name, link, protocol }) => (link === 'self' ? [] : [[name.slice(0, 2), protocol]])),
  )
}

/** Nobody was told what its link's version does not have: an older release could not read it. */
async function assertUnderstood(nodes: readonly NodeProcess[]): Promise<void> {
  for (const node of nodes) {
    const metrics = await node.metrics()
    assert.equal(metrics.value('shoalmq_link_protocol_errors_total'), 0, `${node.name}: protocol errors`)
    assert.equal(metrics.value('shoalmq_forwarded_malformed_batches_total'), 0, `${node.name}: malformed batches`)
  }
}

test('nodes of two neighboring versions are one cluster, before, while and after all are upgraded one by one', {
  timeout: 180_000,
}, async (t) => {
  const old = { cluster: { maximumProtocol: BEFORE } }
  const cluster = await clusterFor(t, {
    nodes: 3,
    config: { drain: { grace: '100ms' } },
    perNode: { 1: { config: old }, 2: { config: old } },
  })
  const [n1, n2, n3] = [cluster.node(1), cluster.node(2), cluster.node(3)]
  assert.deepEqual(await spoken(n3), { n1: BEFORE, n2: BEFORE })
  assert.deepEqual(await spoken(n1), { n2: BEFORE, n3: BEFORE })

  const url = (node: NodeProcess): string => `mqtt://127.0.0.1:${node.ports.mqtt}`
  const subscriber = await clientFor(t, url(n3), { clientId: 'subscriber' })
  await subscriber.subscribe(['mixed/#', '$share/g/shared/#'], 1)
  let count = 0
  const expected: string[] = []
  const publishFromAll = async (): Promise<void> => {
    for (const node of cluster.nodes) {
      const publisher = await clientFor(t, url(node), { clientId: `publisher-${count}` })
      for (const topic of ['mixed/x', 'shared/x']) {
        count += 1
        expected.push(String(count))
        await publisher.publish(topic, String(count), { qos: 1 })
      }
      await publisher.end()
    }
    await eventually(() => assert.deepEqual([...subscriber.payloads()].sort(), [...expected].sort()))
  }
  await publishFromAll()
  await assertUnderstood(cluster.nodes)

  // The configuration of a node is written when it starts: each comes back as a node of the newer release.
  for (const node of [n1, n2]) {
    await node.stop()
    node.configure({ drain: { grace: '100ms' } })
    await node.start()
    await cluster.whenWhole()
    await publishFromAll()
    await assertUnderstood(cluster.nodes)
  }
  for (const node of cluster.nodes) {
    assert.deepEqual([...new Set(Object.values(await spoken(node)))], [PROTOCOL_VERSION], node.name)
  }
})

test('a node that leaves tells a peer of the version before that it stops, and one of its own that it is gone', {
  timeout: 90_000,
}, async (t) => {
  // n1 and n2 do not have n3 among their seeds: who dials it does so by itself.
  const cluster = await clusterFor(t, {
    nodes: 3,
    seeds: 'first',
    config: { drain: { grace: '100ms' } },
    perNode: { 2: { config: { cluster: { maximumProtocol: BEFORE } } } },
  })
  const [n1, n2, n3] = [cluster.node(1), cluster.node(2), cluster.node(3)]
  const left = await fetch(`http://${n3.adminAddress}/api/v1/cluster/leave`, { method: 'POST' })
  assert.equal(left.status, 202)
  const refusals = async (node: NodeProcess): Promise<number> =>
    (await node.metrics()).value('shoalmq_handshake_refusals_total', { reason: 'departed' })
  await eventually(async () => assert.ok((await refusals(n2)) > 0, 'it dials a node that has stopped'), {
    within: 20_000,
  })
  for (const node of [n1, n2]) assert.equal((await node.statusOf(n3.name)).reason, 'left')
  await assertUnderstood([n1, n2])
  assert.equal(await refusals(n1), 0, 'it does not dial a node that is gone')
})

const STRANGERS: readonly { name: string; versions: Versions }[] = [
  { name: 'too old', versions: { protocol: MINIMUM_PROTOCOL_VERSION - 1, minimumProtocol: 0 } },
  { name: 'too new', versions: { protocol: PROTOCOL_VERSION + 2, minimumProtocol: PROTOCOL_VERSION + 1 } },
]

for (const { name, versions } of STRANGERS) {
  test(`a node that is ${name} is refused, and the log names the versions of both`, async (t) => {
    const cluster = await clusterFor(t, { nodes: 1 })
    const node = cluster.node(1)
    const answer = await dialWithVersions(node.clusterAddress, versions)
    const offered = `${versions.minimumProtocol} to ${versions.protocol} offered`
    const accepted = `${MINIMUM_PROTOCOL_VERSION} to ${PROTOCOL_VERSION} accepted`
    assert.equal(answer?.$case, 'refused')
    assert.equal(answer.value.detail, `no protocol version in common: ${offered}, ${accepted}`)
    await eventually(() => {
      const lines = node.logs().filter(({ level, reason }) => level >= WARN && reason === 'protocol_version')
      assert.deepEqual(
        lines.map(({ peer, detail }) => [peer, detail]),
        [['stranger@127.0.0.1', answer.value.detail]],
      )
    })
  })
}

test('a version that this release does not speak is no option', async (t) => {
  const cluster = await clusterFor(t, {
    nodes: 1,
    start: false,
    config: { cluster: { maximumProtocol: PROTOCOL_VERSION + 1 } },
  })
  const node = cluster.node(1)
  node.spawn()
  assert.notEqual((await node.exited()).code, 0)
  const range = `${MINIMUM_PROTOCOL_VERSION} to ${PROTOCOL_VERSION}`
  assert.match(node.text(), new RegExp(`cluster\\.maximumProtocol.*expected a whole number from ${range}`, 's'))
})
