import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientFor, type QoS, type Version } from '../support/client.js'
import { useCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import type { NodeProcess } from '../support/node-process.js'
import { deliveryFaults, NO_FAULTS, numbered } from '../support/numbered.js'
import { playScript } from '../support/script.js'

const NODES = [1, 2, 3]
const VERSIONS: readonly Version[] = [4, 5]
const QOS: readonly QoS[] = [0, 1, 2]

/** All at once, and no more than the Receive Maximum that a node announces. */
const MESSAGES_PER_PUBLISHER = 100

const cluster = useCluster({ nodes: 3 })

function url(node: number): string {
  return `mqtt://127.0.0.1:${cluster().node(node).ports.mqtt}`
}

/** Messages that `from` has forwarded to `to` since its start. */
async function forwarded(from: NodeProcess, to: NodeProcess): Promise<number> {
  return (await from.metrics()).value('shoalmq_forwarded_messages_total', { peer: to.name })
}

for (const qos of QOS) {
  test(`every subscriber on every node gets every QoS ${qos} message of every node once and in order`, async (t) => {
    const topic = `matrix/${qos}`
    const subscribers: { name: string; payloads: () => string[]; qos: () => QoS[] }[] = []
    for (const node of NODES) {
      for (const version of VERSIONS) {
        const client = await clientFor(t, url(node), { version })
        await client.subscribe(`${topic}/+`, qos)
        subscribers.push({
          name: `subscriber on n${node}, version ${version}`,
          payloads: () => client.payloads(),
          qos: () => [...new Set(client.received.map((one) => one.qos))],
        })
      }
    }
    const sent: Record<string, number> = {}
    const publishing: Promise<void>[] = []
    for (const node of NODES) {
      for (const version of VERSIONS) {
        const publisher = `n${node}-v${version}`
        sent[publisher] = MESSAGES_PER_PUBLISHER
        const client = await clientFor(t, url(node), { version })
        for (let number = 1; number <= MESSAGES_PER_PUBLISHER; number += 1) {
          publishing.push(client.publish(`${topic}/${publisher}`, numbered(publisher, number), { qos }))
        }
      }
    }
    await Promise.all(publishing)
    await eventually(
      () => {
        for (const { name, payloads } of subscribers)
          assert.deepEqual(deliveryFaults(sent, payloads()), NO_FAULTS, name)
      },
      { within: 15_000 },
    )
    for (const subscriber of subscribers) assert.deepEqual(subscriber.qos(), [qos], subscriber.name)
  })
}

test('exact, + and # filters select the same messages on every node', async () => {
  const deliveries = await playScript(
    {
      exact: { url: url(1) },
      plus: { url: url(2) },
      hash: { url: url(3), version: 4 },
      both: { url: url(2), version: 4 },
      publisher: { url: url(1) },
    },
    [
      { client: 'exact', subscribes: 'house/kitchen/light' },
      { client: 'plus', subscribes: 'house/+/light' },
      { client: 'hash', subscribes: 'house/#' },
      { client: 'both', subscribes: '+/kitchen/#' },
      { client: 'publisher', publishes: 'house/kitchen/light', payload: 'a' },
      { client: 'publisher', publishes: 'house/cellar/light', payload: 'b' },
      { client: 'publisher', publishes: 'house', payload: 'c' },
      { client: 'publisher', publishes: 'house/kitchen', payload: 'd' },
      { client: 'publisher', publishes: 'house/kitchen/light/left', payload: 'e' },
      { client: 'publisher', publishes: 'house//light', payload: 'f' },
      { client: 'publisher', publishes: '/house/kitchen/light', payload: 'g' },
      { client: 'publisher', publishes: 'House/kitchen/light', payload: 'h' },
    ],
  )
  assert.deepEqual(deliveries, {
    exact: ['house/kitchen/light a'],
    plus: ['house//light f', 'house/cellar/light b', 'house/kitchen/light a'],
    hash: [
      'house c',
      'house//light f',
      'house/cellar/light b',
      'house/kitchen d',
      'house/kitchen/light a',
      'house/kitchen/light/left e',
    ],
    both: ['House/kitchen/light h', 'house/kitchen d', 'house/kitchen/light a', 'house/kitchen/light/left e'],
    publisher: [],
  })
})

test('[MQTT-4.7.2-1] a filter that starts with a wildcard does not see topics that start with $, on any node', async () => {
  const deliveries = await playScript(
    {
      everything: { url: url(1) },
      oneLevel: { url: url(2), version: 4 },
      dollar: { url: url(3) },
      publisher: { url: url(2) },
    },
    [
      { client: 'everything', subscribes: '#' },
      { client: 'oneLevel', subscribes: '+/state' },
      { client: 'dollar', subscribes: '$plant/#' },
      { client: 'publisher', publishes: '$plant/state', payload: 'hidden' },
      { client: 'publisher', publishes: 'plant/state', payload: 'seen' },
    ],
  )
  assert.deepEqual(deliveries, {
    everything: ['plant/state seen'],
    oneLevel: ['plant/state seen'],
    dollar: ['$plant/state hidden'],
    publisher: [],
  })
})

test('a client that left a filter gets nothing of it any more, and the others on other nodes still do', async () => {
  const deliveries = await playScript(
    { leaver: { url: url(1) }, neighbor: { url: url(1) }, stayer: { url: url(2) }, publisher: { url: url(3) } },
    [
      { client: 'leaver', subscribes: 'news/+' },
      { client: 'neighbor', subscribes: 'news/today' },
      { client: 'stayer', subscribes: 'news/+' },
      { client: 'publisher', publishes: 'news/today', payload: '1' },
      { client: 'leaver', unsubscribes: 'news/+' },
      { client: 'publisher', publishes: 'news/today', payload: '2' },
      { client: 'publisher', publishes: 'news/later', payload: '3' },
      { client: 'leaver', subscribes: 'news/later' },
      { client: 'publisher', publishes: 'news/later', payload: '4' },
    ],
  )
  assert.deepEqual(deliveries, {
    leaver: ['news/later 4', 'news/today 1'],
    neighbor: ['news/today 1', 'news/today 2'],
    stayer: ['news/later 3', 'news/later 4', 'news/today 1', 'news/today 2'],
    publisher: [],
  })
})

test('a message is forwarded once to each node with a matching route and to no other', async (t) => {
  const [n1, n2, n3] = [cluster().node(1), cluster().node(2), cluster().node(3)]
  const subscribers = [await clientFor(t, url(2)), await clientFor(t, url(2), { version: 4 })]
  for (const subscriber of subscribers) await subscriber.subscribe(['only/n2', 'only/+'], 1)
  const publisher = await clientFor(t, url(1))
  const before = { n2: await forwarded(n1, n2), n3: await forwarded(n1, n3), back: await forwarded(n2, n1) }
  for (let number = 1; number <= 25; number += 1) {
    await publisher.publish('only/n2', numbered('at most once', number), { qos: 0 })
    await publisher.publish('only/n2', numbered('at least once', number), { qos: 1 })
  }
  await publisher.publish('nobody/wants/this', 'x', { qos: 1 })
  const sent = { 'at most once': 25, 'at least once': 25 }
  await eventually(() => {
    for (const subscriber of subscribers) assert.deepEqual(deliveryFaults(sent, subscriber.payloads()), NO_FAULTS)
  })
  assert.equal(
    (await forwarded(n1, n2)) - before.n2,
    50,
    'to the node with the route, once for two subscribers and two filters',
  )
  assert.equal((await forwarded(n1, n3)) - before.n3, 0, 'to the node without a route')
  assert.equal((await forwarded(n2, n1)) - before.back, 0, 'a forwarded message is never forwarded again')
})

test('a thousand filters subscribed on one node are known to the others when they are acknowledged, and withdrawn in the end', async (t) => {
  const [n1, n2, n3] = [cluster().node(1), cluster().node(2), cluster().node(3)]
  const routesBefore = (await n1.statusOf(n1.name)).routes
  const filters = Array.from({ length: 1_000 }, (_, index) =>
    index % 2 === 0 ? `many/${index}/exact` : `many/${index}/+/x`,
  )
  const subscriber = await clientFor(t, url(1))
  await subscriber.subscribe(filters, 1)
  for (const other of [n2, n3]) {
    assert.equal((await other.statusOf(n1.name)).routes, routesBefore + filters.length, `${other.name} at SUBACK`)
  }

  const publishers = [await clientFor(t, url(2)), await clientFor(t, url(3))]
  const expected: string[] = []
  for (const [which, publisher] of publishers.entries()) {
    const topics = filters.filter((_, index) => Math.floor(index / 2) % 2 === which)
    await publisher.publishAll(topics.map((filter) => ({ topic: filter.replace('+', 'any'), payload: filter })))
    expected.push(...topics)
  }
  await eventually(() => assert.deepEqual(subscriber.payloads().sort(), expected.sort()))

  await subscriber.unsubscribe(filters)
  await eventually(async () => {
    for (const other of [n1, n2, n3]) assert.equal((await other.statusOf(n1.name)).routes, routesBefore, other.name)
  })
  const before = await forwarded(n2, n1)
  await publishers[0]?.publish('many/0/exact', 'late', { qos: 1 })
  assert.equal((await forwarded(n2, n1)) - before, 0, 'a withdrawn route takes no message')
})

test('a route goes with the last session that wanted it, not with the first', async (t) => {
  const [n1, n2] = [cluster().node(1), cluster().node(2)]
  const routesBefore = (await n2.statusOf(n1.name)).routes
  const first = await clientFor(t, url(1))
  const last = await clientFor(t, url(1))
  await first.subscribe('shared/route')
  await last.subscribe('shared/route')
  assert.equal((await n2.statusOf(n1.name)).routes, routesBefore + 1)
  await first.end()
  const publisher = await clientFor(t, url(2))
  await publisher.publish('shared/route', 'still here', { qos: 1 })
  await eventually(() => assert.deepEqual(last.payloads(), ['still here']))
  last.drop()
  await eventually(async () => assert.equal((await n2.statusOf(n1.name)).routes, routesBefore))
})
