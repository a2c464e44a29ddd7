import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { clientFor, type TestClient } from '../support/client.js'
import { TestCluster } from '../support/cluster.js'
import { CuttableProxy } from '../support/cuttable-proxy.js'
import { eventually } from '../support/eventually.js'
import { deliveryFaults, NO_FAULTS } from '../support/numbered.js'
import { PacketClient } from '../support/packet-client.js'
import { shoalmq } from '../support/shoalmq-command.js'
import { publishSteadily } from '../support/steady-publisher.js'

/** Publishes in flight at a time of each publisher. */
const WINDOW = 20

/** What no CONNECT takes longer than, whomever its node can reach. */
const CONNECT_WITHIN_MS = 5_000

interface Divided {
  cluster: TestCluster
  /** The network in front of each node, whoever dials. */
  proxies: readonly CuttableProxy[]
}

/** Two nodes that reach each other only through proxies. */
async function divided(context: TestContext): Promise<Divided> {
  const proxies = [1, 2].map((number) => new CuttableProxy(() => cluster.node(number).ports.cluster))
  for (const proxy of proxies) await proxy.start()
  const [first = '', second = ''] = proxies.map((proxy) => proxy.address)
  const cluster = await TestCluster.create({
    nodes: 2,
    perNode: {
      1: { seeds: [second], config: { cluster: { advertise: first } } },
      2: { seeds: [first], config: { cluster: { advertise: second } } },
    },
  })
  context.after(async () => {
    if ((context as { passed?: boolean }).passed === false) process.stderr.write(`${await cluster.report()}\n`)
    await cluster.stop()
    for (const proxy of proxies) await proxy.stop()
  })
  await cluster.start()
  return { cluster, proxies }
}

/** Three of them. */
async function threeDivided(t: TestContext): Promise<Divided> {
  const proxies = [1, 2, 3].map((number) => new CuttableProxy(() => cluster.node(number).ports.cluster))
  for (const proxy of proxies) await proxy.start()
  const seeds = proxies.map(({ address }) => address)
  const through = (number: number) => ({
    seeds: seeds.filter((_, index) => index !== number - 1),
    config: { cluster: { advertise: seeds[number - 1] as string } },
  })
  const cluster = await TestCluster.create({ nodes: 3, perNode: { 1: through(1), 2: through(2), 3: through(3) } })
  t.after(async () => {
    if ((t as { passed?: boolean }).passed === false) process.stderr.write(`${await cluster.report()}\n`)
    await cluster.stop()
    for (const proxy of proxies) await proxy.stop()
  })
  await cluster.start()
  return { cluster, proxies }
}

async function seen(cluster: TestCluster, state: string): Promise<void> {
  const [n1, n2] = [cluster.node(1), cluster.node(2)]
  await eventually(
    async () => {
      assert.equal((await n1.statusOf(n2.name)).state, state)
      assert.equal((await n2.statusOf(n1.name)).state, state)
    },
    { within: 15_000 },
  )
}

/** Both directions, QoS 1 and 2, while `disturb` does its worst: every acked message arrives once and in order. */
async function keepsAcked(
  t: TestContext,
  { cluster }: Divided,
  disturb: (progress: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const url = (node: number): string => `mqtt://127.0.0.1:${cluster.node(node).ports.mqtt}`
  const subscribers = [await clientFor(t, url(1)), await clientFor(t, url(2), { version: 4 })]
  for (const subscriber of subscribers) await subscriber.subscribe('acked/+/+', 2)
  const stops = new Map<string, () => Promise<number>>()
  for (const node of [1, 2]) {
    for (const qos of [1, 2] as const) {
      const name = `n${node}-q${qos}`
      const publisher = await clientFor(t, url(node))
      stops.set(name, publishSteadily(publisher, { topic: `acked/${node}/${qos}`, name, qos, window: WINDOW }))
    }
  }
  /** Every publisher's messages get through to every subscriber again. */
  const progress = async (): Promise<void> => {
    const counts = subscribers.map(
      (subscriber) => new Map([...stops.keys()].map((name) => [name, countOf(subscriber, name)])),
    )
    await eventually(
      () => {
        for (const [index, subscriber] of subscribers.entries()) {
          for (const name of stops.keys()) {
            assert.ok(countOf(subscriber, name) > (counts[index]?.get(name) ?? 0) + WINDOW, `${name} goes on`)
          }
        }
      },
      { within: 15_000 },
    )
  }
  await progress()
  await disturb(progress)
  await progress()
  const sent: Record<string, number> = {}
  for (const [name, stop] of stops) sent[name] = await stop()
  t.diagnostic(`acked: ${JSON.stringify(sent)}`)
  await eventually(
    () => {
      for (const subscriber of subscribers) assert.deepEqual(deliveryFaults(sent, subscriber.payloads()), NO_FAULTS)
    },
    { within: 10_000 },
  )
}

function countOf(client: TestClient, publisher: string): number {
  return client.received.filter((one) => one.payload.startsWith(`${publisher} `)).length
}

/** Fails when CONNECT takes longer than it may. */
async function connectSoon(t: TestContext, port: number, clientId: string): Promise<PacketClient> {
  const begun = performance.now()
  const client = await PacketClient.connect(t, port, 5, { clientId })
  const took = Math.round(performance.now() - begun)
  assert.ok(took < CONNECT_WITHIN_MS, `${clientId} was let in after ${took} ms`)
  return client
}

test('acked messages survive links that are cut again and again, once and in order', { timeout: 90_000 }, async (t) => {
  const network = await divided(t)
  await keepsAcked(t, network, async (progress) => {
    for (let cuts = 0; cuts < 5; cuts += 1) {
      for (const proxy of network.proxies) proxy.cut()
      await progress()
    }
  })
})

test('acked messages survive a partition that both sides have noticed and that heals', {
  timeout: 90_000,
}, async (t) => {
  const network = await divided(t)
  await keepsAcked(t, network, async () => {
    for (const proxy of network.proxies) proxy.split()
    await seen(network.cluster, 'stopped')
    for (const proxy of network.proxies) proxy.heal()
    await seen(network.cluster, 'running')
  })
})

test('acked messages survive a network that goes silent without closing anything', { timeout: 90_000 }, async (t) => {
  const network = await divided(t)
  await keepsAcked(t, network, async () => {
    for (const proxy of network.proxies) proxy.freeze()
    await seen(network.cluster, 'stopped')
    for (const proxy of network.proxies) proxy.heal()
    await seen(network.cluster, 'running')
  })
})

test('what was subscribed and left on either side of a partition is known 2 s after it has healed', {
  timeout: 60_000,
}, async (t) => {
  const { cluster, proxies } = await divided(t)
  const [n1, n2] = [cluster.node(1), cluster.node(2)]
  const clients = [
    await clientFor(t, `mqtt://127.0.0.1:${n1.ports.mqtt}`),
    await clientFor(t, `mqtt://127.0.0.1:${n2.ports.mqtt}`),
  ]
  for (const [index, client] of clients.entries()) await client.subscribe(`before/${index}`, 1)
  for (const proxy of proxies) proxy.split()
  await seen(cluster, 'stopped')
  for (const [index, client] of clients.entries()) {
    await client.unsubscribe(`before/${index}`)
    await client.subscribe([`during/${index}`, `also/${index}/#`], 1)
  }
  for (const proxy of proxies) proxy.heal()
  await seen(cluster, 'running')
  await eventually(
    async () => {
      assert.equal((await n1.metrics()).value('shoalmq_peer_routes', { peer: n2.name }), 2)
      assert.equal((await n2.metrics()).value('shoalmq_peer_routes', { peer: n1.name }), 2)
    },
    { within: 2_000 },
  )
  await clients[0]?.publish('during/1', 'to n2', { qos: 1 })
  await clients[1]?.publish('also/0/x', 'to n1', { qos: 1 })
  await eventually(() => {
    assert.deepEqual(clients[1]?.payloads(), ['to n2'])
    assert.deepEqual(clients[0]?.payloads(), ['to n1'])
  })
})

test('a client is let in within 5 s while nobody has noticed that the other nodes are out of reach', async (t) => {
  const { cluster, proxies } = await divided(t)
  const ports = cluster.nodes.map((node) => node.ports.mqtt)
  // Some client IDs have the other node on the ring, and its sessions are there.
  const ids = Array.from({ length: 20 }, (_, index) => `kept-${index}`)
  const session = { clean: false, properties: { sessionExpiryInterval: 60 } }
  for (const clientId of ids) await PacketClient.connect(t, ports[0] ?? 0, 5, { clientId, ...session })
  for (const proxy of proxies) proxy.freeze()
  const begun = performance.now()
  await Promise.all(ids.map((clientId) => PacketClient.connect(t, ports[1] ?? 0, 5, { clientId, ...session })))
  const took = Math.round(performance.now() - begun)
  t.diagnostic(`the last of ${ids.length} was let in after ${took} ms`)
  assert.ok(took < CONNECT_WITHIN_MS, `the last was let in after ${took} ms`)
})

test('a client ID that came to both sides of a split has the later connection 2 s after it has healed', {
  timeout: 60_000,
}, async (t) => {
  const { cluster, proxies } = await divided(t)
  const [n1, n2] = [cluster.node(1), cluster.node(2)]
  for (const proxy of proxies) proxy.split()
  await seen(cluster, 'stopped')
  const ids = Array.from({ length: 20 }, (_, index) => `both-${index}`)
  const older: PacketClient[] = []
  const newer: PacketClient[] = []
  for (const clientId of ids) older.push(await connectSoon(t, n1.ports.mqtt, clientId))
  for (const clientId of ids) newer.push(await connectSoon(t, n2.ports.mqtt, clientId))
  for (const client of [...older, ...newer]) await client.expectNothing()
  for (const proxy of proxies) proxy.heal()
  await seen(cluster, 'running')
  await eventually(() => assert.equal(older.filter(({ isClosed }) => !isClosed).length, 0), { within: 2_000 })
  for (const client of older) await client.closedFor(0x8e)
  for (const client of newer) await client.expectNothing()
})

test('what a third node has acknowledged for a session that moved while it was cut off follows it, once and in order', {
  timeout: 90_000,
}, async (t) => {
  const { cluster, proxies } = await threeDivided(t)
  const [n1, n2, n3] = [cluster.node(1), cluster.node(2), cluster.node(3)]
  // These two know a way past the proxies, so that the third one can be cut off alone.
  await shoalmq(['cluster', 'join', `127.0.0.1:${n2.ports.cluster}`, '--admin', n1.adminAddress])
  const session = { clientId: 'moves-in-a-split', clean: false, properties: { sessionExpiryInterval: 600 } }
  const before = await PacketClient.connect(t, n2.ports.mqtt, 5, session)
  for (const qos of [1, 2] as const) await before.subscribe(`third/${qos}`, qos)
  await before.disconnect()
  const publisher = await PacketClient.connect(t, n3.ports.mqtt)
  const sent = { 1: 0, 2: 0 }
  const publish = async (count: number): Promise<void> => {
    for (let index = 0; index < count; index += 1) {
      for (const qos of [1, 2] as const) {
        assert.ok((await publisher.publishAcked({ topic: `third/${qos}`, payload: `${sent[qos]++}`, qos })) < 0x80)
      }
    }
  }
  await publish(5)
  for (const proxy of proxies) proxy.split()
  await eventually(
    async () => {
      assert.equal((await n1.statusOf(n2.name)).state, 'running')
      for (const node of [n1, n2]) assert.equal((await node.statusOf(n3.name)).state, 'stopped')
      for (const node of [n1, n2]) assert.equal((await n3.statusOf(node.name)).state, 'stopped')
    },
    { within: 20_000 },
  )
  await publish(20)
  const current = await PacketClient.connect(t, n1.ports.mqtt, 5, session)
  assert.equal(current.connack?.sessionPresent, true)
  await publish(20)
  const received: string[] = []
  const take = async (count: number): Promise<void> => {
    for (const { topic, payload } of await current.receive(count)) received.push(`${topic} ${payload}`)
  }
  await take(10)
  for (const proxy of proxies) proxy.heal()
  await publish(20)
  await take(120)
  // The way from the first node is as good as any by now, and nothing waits for the other any more.
  await eventually(async () => assert.equal((await n2.metrics()).value('shoalmq_session_rests'), 0), { within: 20_000 })
  await publish(5)
  await take(10)
  for (const qos of [1, 2] as const) {
    const expected = Array.from({ length: sent[qos] }, (_, number) => `third/${qos} ${number}`)
    assert.deepEqual(
      received.filter((one) => one.startsWith(`third/${qos}`)),
      expected,
    )
  }
  await current.expectNothing()
})

test('what a third node has acknowledged and left on its disk, stopping in order while one could not hear it, follows the session', {
  timeout: 90_000,
}, async (t) => {
  const { cluster, proxies } = await threeDivided(t)
  const [n1, n2, n3] = [cluster.node(1), cluster.node(2), cluster.node(3)]
  // The first node is in reach of both others past the proxies.
  for (const node of [n2, n3]) {
    await shoalmq(['cluster', 'join', `127.0.0.1:${node.ports.cluster}`, '--admin', n1.adminAddress])
  }
  const session = { clientId: 'moves-meanwhile', clean: false, properties: { sessionExpiryInterval: 600 } }
  const before = await PacketClient.connect(t, n2.ports.mqtt, 5, session)
  await before.subscribe('left/behind', 2)
  await before.disconnect()
  const publisher = await PacketClient.connect(t, n3.ports.mqtt)
  const publish = async (from: number, to: number): Promise<void> => {
    for (let number = from; number < to; number += 1) {
      const reasonCode = await publisher.publishAcked({ topic: 'left/behind', payload: `${number}`, qos: 2 })
      assert.ok(reasonCode < 0x80)
    }
  }
  await publish(0, 5)
  for (const proxy of proxies) proxy.split()
  await eventually(
    async () => {
      for (const node of [n2, n3]) assert.equal((await n1.statusOf(node.name)).state, 'running')
      assert.equal((await n2.statusOf(n3.name)).state, 'stopped')
      assert.equal((await n3.statusOf(n2.name)).state, 'stopped')
    },
    { within: 20_000 },
  )
  await publish(5, 15)
  await n3.stop()
  await eventually(async () => assert.equal((await n1.statusOf(n3.name)).reason, 'left'), { within: 10_000 })
  const current = await PacketClient.connect(t, n1.ports.mqtt, 5, session)
  assert.equal(current.connack?.sessionPresent, true)
  for (const proxy of proxies) proxy.heal()
  await n3.start()
  const received = (await current.receive(15)).map(({ payload }) => String(payload))
  assert.deepEqual(
    received,
    Array.from({ length: 15 }, (_, number) => `${number}`),
  )
  await current.expectNothing()
  await eventually(async () => assert.equal((await n2.metrics()).value('shoalmq_session_rests'), 0), { within: 20_000 })
})
