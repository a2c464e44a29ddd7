import assert from 'node:assert/strict'
import { after, before, type TestContext, test } from 'node:test'
import { clientFor } from '../support/client.js'
import { clusterFor, type TestCluster } from '../support/cluster.js'
import { DnsServer, ZONE } from '../support/dnsmasq.js'
import { eventually } from '../support/eventually.js'
import { freePort } from '../support/free-port.js'

const MESH = `mesh.${ZONE}`
const SERVICE = `_shoalmq._tcp.${ZONE}`

let dns: DnsServer
before(async () => {
  dns = await DnsServer.start()
})
after(() => dns.stop())

/** Nodes that know each other from DNS alone, on hosts of their own and one port, as pods have them; none is started. */
async function podsFor(context: TestContext, nodes: number): Promise<TestCluster> {
  const hosts = Array.from({ length: nodes }, (_, index) => `127.0.0.${11 + index}`)
  const clusterPort = await freePort(hosts[0])
  return clusterFor(context, {
    nodes,
    hosts,
    clusterPort,
    seeds: 'none',
    start: false,
    config: {
      cluster: {
        discovery: 'dns',
        joinTimeout: '2s',
        dns: { name: MESH, type: 'a', port: clusterPort, servers: [dns.address], interval: '1s' },
      },
    },
  })
}

async function runningAsSeenBy(cluster: TestCluster, number: number): Promise<string[]> {
  const { nodes } = await cluster.node(number).status()
  return nodes
    .filter((node) => node.state === 'running')
    .map((node) => node.name.slice(0, 2))
    .sort()
}

test('nodes find each other by A records that change while nodes come and go', { timeout: 90_000 }, async (t) => {
  await dns.serve({})
  const cluster = await podsFor(t, 4)
  const [n1, n2, n3, n4] = [cluster.node(1), cluster.node(2), cluster.node(3), cluster.node(4)]

  await Promise.all([n1.start(), n2.start()])
  await Promise.all([n1.whenReady(), n2.whenReady()])
  assert.deepEqual(await runningAsSeenBy(cluster, 1), ['n1'], 'nobody is found under a name without addresses')

  await dns.serve({ hosts: { [MESH]: [n1.host, n2.host] } })
  await eventually(async () => assert.deepEqual(await runningAsSeenBy(cluster, 1), ['n1', 'n2']), { within: 10_000 })

  await dns.serve({ hosts: { [MESH]: [n2.host, n3.host] } })
  await n3.start()
  await cluster.whenWhole()
  assert.deepEqual(
    await runningAsSeenBy(cluster, 3),
    ['n1', 'n2', 'n3'],
    'n1 left the answers and is a member all the same',
  )

  await n1.stop()
  await n2.kill()
  await dns.serve({ hosts: { [MESH]: [n3.host, n4.host] } })
  await n4.start()
  await cluster.whenWhole()
  await eventually(async () => assert.deepEqual(await runningAsSeenBy(cluster, 4), ['n3', 'n4']))

  const subscriber = await clientFor(t, `mqtt://${n3.host}:${n3.ports.mqtt}`)
  await subscriber.subscribe('found/by/dns', 1)
  const publisher = await clientFor(t, `mqtt://${n4.host}:${n4.ports.mqtt}`)
  await publisher.publish('found/by/dns', 'x', { qos: 1 })
  await eventually(() => assert.deepEqual(subscriber.payloads(), ['x']))
})

test('links stay when the DNS server is gone, and a node that starts without it joins when it is back', {
  timeout: 90_000,
}, async (t) => {
  const cluster = await podsFor(t, 3)
  const [n1, n2, n3] = [cluster.node(1), cluster.node(2), cluster.node(3)]
  await dns.serve({ hosts: { [MESH]: [n1.host, n2.host] } })
  await Promise.all([n1.start(), n2.start()])
  await cluster.whenWhole()

  await dns.stopProcess()
  await n3.start()
  await n3.whenReady()
  assert.deepEqual(await runningAsSeenBy(cluster, 3), ['n3'], 'alone, but ready once the join timeout has passed')
  assert.deepEqual(await runningAsSeenBy(cluster, 1), ['n1', 'n2'])

  await dns.serve({ hosts: { [MESH]: [n1.host, n2.host, n3.host] } })
  await cluster.whenWhole()
  assert.deepEqual(await runningAsSeenBy(cluster, 1), ['n1', 'n2', 'n3'])
})

test('nodes find each other by SRV records, each with a port of its own', { timeout: 60_000 }, async (t) => {
  const cluster = await clusterFor(t, {
    nodes: 3,
    seeds: 'none',
    start: false,
    config: {
      cluster: {
        discovery: 'dns',
        dns: { name: SERVICE, type: 'srv', servers: [dns.address], interval: '1s' },
      },
    },
  })
  const targets = cluster.nodes.map((node, index) => ({ target: `n${index + 1}.${ZONE}`, port: node.ports.cluster }))
  const hosts = Object.fromEntries(targets.map(({ target }) => [target, ['127.0.0.1']]))
  await dns.serve({ hosts, services: { [SERVICE]: targets.slice(0, 2) } })
  await Promise.all(cluster.nodes.slice(0, 2).map((node) => node.start()))
  await cluster.whenWhole()
  await dns.serve({ hosts, services: { [SERVICE]: targets } })
  await cluster.node(3).start()
  await cluster.whenWhole()
  assert.deepEqual(await runningAsSeenBy(cluster, 3), ['n1', 'n2', 'n3'])
})
