import assert from 'node:assert/strict'
import { after, before, type TestContext, test } from 'node:test'
import { CertificateAuthority } from '../support/certificates.js'
import { clientFor } from '../support/client.js'
import { clusterFor, type TestCluster } from '../support/cluster.js'
import { EtcdServer } from '../support/etcd.js'
import { eventually } from '../support/eventually.js'
import { freePort } from '../support/free-port.js'
import { KubernetesApi } from '../support/kubernetes-api.js'
import type { ConfigTree } from '../support/node-process.js'

const SECRET = { SHOALMQ_CLUSTER__SECRET: 'of all three' }

/** Nodes that know nobody but what `cluster` of their configuration finds; none is started. */
function seekers(context: TestContext, cluster: ConfigTree, more: object = {}): Promise<TestCluster> {
  return clusterFor(context, {
    nodes: 3,
    seeds: 'none',
    start: false,
    environment: SECRET,
    config: { cluster: { joinTimeout: '5s', ...cluster } },
    ...more,
  })
}

/** They all see each other, and a message crosses. */
async function areOne(context: TestContext, cluster: TestCluster): Promise<void> {
  await cluster.whenWhole()
  const subscriber = await clientFor(context, `mqtt://${cluster.node(1).host}:${cluster.node(1).ports.mqtt}`)
  await subscriber.subscribe('found', 1)
  const publisher = await clientFor(context, `mqtt://${cluster.node(3).host}:${cluster.node(3).ports.mqtt}`)
  await publisher.publish('found', 'x', { qos: 1 })
  await eventually(() => assert.deepEqual(subscriber.payloads(), ['x']))
}

test('nodes find each other by multicast, and a stranger in the group finds nobody', { timeout: 90_000 }, async (t) => {
  const ports = [await freePort(), await freePort(), await freePort(), await freePort()].map(String)
  const mcast = { iface: '127.0.0.1', ttl: 0, ports, interval: '500ms' }
  const cluster = await seekers(
    t,
    { discovery: 'mcast', mcast },
    { nodes: 4, perNode: { 4: { environment: { SHOALMQ_CLUSTER__SECRET: 'another' } } } },
  )
  const [n1, n2, n3, stranger] = [cluster.node(1), cluster.node(2), cluster.node(3), cluster.node(4)]
  await stranger.start()
  await Promise.all([n1.start(), n2.start()])
  await eventually(async () => assert.equal((await n1.statusOf(n2.name)).state, 'running'), { within: 20_000 })
  await n3.start()
  await eventually(async () => assert.equal((await n1.statusOf(n3.name)).state, 'running'), { within: 20_000 })
  await eventually(async () => {
    const { nodes } = await stranger.status()
    assert.deepEqual(
      nodes.map(({ name }) => name),
      [stranger.name],
    )
    const scrape = await stranger.metrics()
    assert.equal(scrape.value('shoalmq_discovery_dropped_datagrams_total', { reason: 'wrong_proof' }) > 0, true)
  })
  await stranger.stop()
  await areOne(t, cluster)
})

test('nodes find each other in etcd over TLS; a node that stops is gone from it, links outlive it', {
  timeout: 120_000,
}, async (t) => {
  const authority = new CertificateAuthority()
  const etcd = await EtcdServer.start({ ...authority.server(), caFile: authority.caFile })
  t.after(() => etcd.stop())
  const own = authority.issue({ subject: '/CN=node' })
  const cluster = await seekers(t, {
    discovery: 'etcd',
    etcd: { server: [etcd.url], interval: '500ms', nodeTtl: '5s', caFile: authority.caFile, ...own },
  })
  await Promise.all(cluster.nodes.map((node) => node.start()))
  await areOne(t, cluster)
  const [n1, n2, n3] = [cluster.node(1), cluster.node(2), cluster.node(3)]
  const known = async (): Promise<number> => (await n1.metrics()).value('shoalmq_discovery_addresses')
  await eventually(async () => assert.equal(await known(), 3))
  await n3.stop()
  await eventually(async () => assert.equal(await known(), 2))
  await n2.kill()
  await eventually(async () => assert.equal(await known(), 1, 'its lease has ended'), { within: 20_000 })
  await n2.start()
  await eventually(async () => assert.equal((await n1.statusOf(n2.name)).state, 'running'), { within: 20_000 })
  await etcd.pause()
  await eventually(async () => assert.equal((await n1.metrics()).value('shoalmq_discovery_failing'), 1), {
    within: 20_000,
  })
  assert.equal((await n1.statusOf(n2.name)).state, 'running', 'who is linked stays')
  await n3.start()
  await n3.whenReady()
  await etcd.resume()
  await cluster.whenWhole(40_000)
  assert.equal(n1.logs().filter(({ msg }) => msg === 'discovery fails, trying again').length, 1)
})

let api: KubernetesApi
before(async () => {
  api = await KubernetesApi.start('iot')
})
after(() => api.stop())

test('nodes find each other by the API of Kubernetes while pods come and go', { timeout: 90_000 }, async (t) => {
  const hosts = ['127.0.0.21', '127.0.0.22', '127.0.0.23']
  const clusterPort = await freePort(hosts[0])
  const k8s = { apiserver: api.url, tokenFile: api.tokenFile, caFile: api.caFile, port: clusterPort, interval: '500ms' }
  const cluster = await seekers(t, { discovery: 'k8s', k8s }, { hosts, clusterPort })
  const pods = (...addresses: (string | undefined)[]): void => {
    api.slices.set('iot/shoalmq-headless', [addresses.map((ip = '') => ({ addresses: [ip] }))])
  }
  pods(hosts[0], hosts[1])
  await Promise.all([cluster.node(1).start(), cluster.node(2).start()])
  await cluster.whenWhole()
  api.changeToken('rotated')
  pods(hosts[1], hosts[2])
  await cluster.node(3).start()
  await areOne(t, cluster)
})
