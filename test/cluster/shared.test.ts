import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { clientFor, type QoS, type TestClient, type TestClientOptions } from '../support/client.js'
import { useCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import { PacketClient } from '../support/packet-client.js'

const NODES = [1, 2, 3]
const QOS: readonly QoS[] = [0, 1, 2]
const MESSAGES = 60

const cluster = useCluster({
  nodes: 3,
  config: {
    cluster: { heartbeatInterval: '200ms', suspectAfter: '600ms', downAfter: '1s' },
    mqtt: {
      sharedGroups: {
        any: 'random',
        near: 'local',
        steady: 'sticky',
        topics: 'hash_topic',
        publishers: 'hash_clientid',
      },
    },
  },
})

function url(node: number): string {
  return `mqtt://127.0.0.1:${cluster().node(node).ports.mqtt}`
}

async function members(
  t: TestContext,
  nodes: readonly number[],
  filter: string,
  qos: QoS,
  options: TestClientOptions = {},
): Promise<TestClient[]> {
  const clients: TestClient[] = []
  for (const node of nodes) {
    const client = await clientFor(t, url(node), options)
    await client.subscribe(filter, qos)
    clients.push(client)
  }
  return clients
}

function numbers(prefix: string, count = MESSAGES): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix} ${index + 1}`)
}

async function publish(client: TestClient, topic: string, payloads: readonly string[], qos: QoS): Promise<void> {
  await Promise.all(payloads.map((payload) => client.publish(topic, payload, { qos })))
}

function received(clients: readonly TestClient[], topic?: string): string[] {
  return clients.flatMap((client) => client.payloads(topic)).sort()
}

/** What came, once nothing more does: published behind it to everyone, through the same links. */
async function settled(t: TestContext, clients: readonly TestClient[]): Promise<void> {
  const topic = `settled/${Math.random()}`
  for (const client of clients) await client.subscribe(topic, 1)
  for (const node of NODES) {
    if (!cluster().node(node).isRunning) continue
    const publisher = await clientFor(t, url(node))
    await publisher.publish(topic, `${node}`, { qos: 1 })
  }
  const count = NODES.filter((node) => cluster().node(node).isRunning).length
  await eventually(() => {
    for (const client of clients) assert.equal(client.payloads(topic).length, count)
  })
}

for (const qos of QOS) {
  test(`each QoS ${qos} message of any node goes to one member of the group, and members of all nodes get some`, async (t) => {
    const topic = `spread/${qos}`
    const clients = await members(t, [1, 2, 2, 3], `$share/g/${topic}`, qos)
    const plain = await clientFor(t, url(2))
    await plain.subscribe(topic, qos)
    const sent: string[] = []
    for (const node of NODES) {
      const publisher = await clientFor(t, url(node))
      const payloads = numbers(`n${node}`)
      await publish(publisher, topic, payloads, qos)
      sent.push(...payloads)
    }
    await eventually(() => assert.deepEqual(received(clients, topic), sent.sort()))
    await settled(t, [...clients, plain])
    assert.deepEqual(received(clients, topic), sent.sort(), 'and to no other')
    assert.deepEqual(received([plain], topic), sent.sort(), 'a plain subscription beside it gets all of them')
    for (const [index, client] of clients.entries()) {
      assert.ok(client.payloads(topic).length >= MESSAGES / 4, `member ${index}: ${client.payloads(topic).length}`)
    }
  })
}

test('two groups of one filter each get every message', async (t) => {
  const one = await members(t, [1, 3], '$share/one/groups', 1)
  const two = await members(t, [2, 3], '$share/two/groups', 1)
  const queue = await members(t, [3], '$queue/+', 1)
  const publisher = await clientFor(t, url(1))
  const sent = numbers('x', 40)
  await publish(publisher, 'groups', sent, 1)
  for (const group of [one, two, queue]) {
    await eventually(() => assert.deepEqual(received(group, 'groups'), [...sent].sort()))
  }
  await settled(t, [...one, ...two, ...queue])
  for (const group of [one, two, queue]) assert.deepEqual(received(group, 'groups'), [...sent].sort())
})

test('local prefers members of the publisher’s node, and takes others when it has none', async (t) => {
  const clients = await members(t, [1, 2], '$share/near/local', 1)
  for (const node of NODES) {
    await publish(await clientFor(t, url(node)), 'local', numbers(`n${node}`, 20), 1)
  }
  await eventually(() => assert.equal(received(clients).length, 60))
  const [first, second] = clients.map((client) => client.payloads('local'))
  assert.equal(first?.filter((payload) => payload.startsWith('n1 ')).length, 20)
  assert.equal(second?.filter((payload) => payload.startsWith('n2 ')).length, 20)
  assert.equal(first?.filter((payload) => payload.startsWith('n3 ')).length, 10, 'in turn')
})

test('random gives every member some, whichever node it is on', async (t) => {
  const clients = await members(t, [1, 2, 3, 3], '$share/any/random', 1)
  const sent = numbers('x', 200)
  const publisher = await clientFor(t, url(1))
  await publisher.publishAll(sent.map((payload) => ({ topic: 'random', payload })))
  await eventually(() => assert.deepEqual(received(clients, 'random'), [...sent].sort()))
  for (const client of clients) assert.ok(client.received.length >= 20, `${client.received.length} of 200`)
})

test('sticky stays with one member for each node that publishes, and takes another when that one goes', async (t) => {
  const clients = await members(t, [1, 2, 3], '$share/steady/sticky', 1)
  const publisher = await clientFor(t, url(2))
  await publish(publisher, 'sticky', numbers('x', 30), 1)
  await eventually(() => assert.equal(received(clients, 'sticky').length, 30))
  const taker = clients.find((client) => client.received.length > 0)
  assert.equal(taker?.received.length, 30)
  await taker.end()
  const others = clients.filter((client) => client !== taker)
  await publish(publisher, 'sticky', numbers('y', 30), 1)
  await eventually(() => assert.equal(received(others, 'sticky').length, 30))
  await eventually(async () => {
    const before = others.map((client) => client.received.length)
    await publish(publisher, 'sticky', numbers('z', 10), 1)
    await eventually(() => {
      const gained = others.map((client, index) => client.received.length - (before[index] ?? 0)).sort()
      assert.deepEqual(gained, [0, 10])
    })
  })
})

test('a client with a plain subscription beside its shared one gets a message for each of them', async (t) => {
  const [both] = (await members(t, [2], '$share/g/both', 1)) as [TestClient]
  const [other] = (await members(t, [3], '$share/g/both', 1)) as [TestClient]
  await both.subscribe('both', 1, { properties: { subscriptionIdentifier: 7 } })
  const sent = numbers('x', 40)
  for (const node of [1, 2])
    await publish(await clientFor(t, url(node)), 'both', sent.slice(node * 20 - 20, node * 20), 1)
  await settled(t, [both, other])
  const plain = both.received.filter(({ properties }) => properties.subscriptionIdentifier === 7)
  const byGroup = both.received.filter(
    ({ topic, properties }) => topic === 'both' && properties.subscriptionIdentifier === undefined,
  )
  assert.deepEqual(plain.map(({ payload }) => payload).sort(), [...sent].sort(), 'all, by the plain one')
  assert.deepEqual(
    [...byGroup.map(({ payload }) => payload), ...other.payloads('both')].sort(),
    [...sent].sort(),
    'and its share by the other',
  )
  assert.ok(byGroup.length > 0)
})

test('hash_topic keeps a topic with one member, whichever node it is published on', async (t) => {
  const clients = await members(t, [1, 2, 3], '$share/topics/hash/+', 1)
  const publishers = await Promise.all(NODES.map((node) => clientFor(t, url(node))))
  for (let topic = 0; topic < 20; topic += 1) {
    for (const publisher of publishers) await publisher.publish(`hash/${topic}`, 'x', { qos: 1 })
  }
  await eventually(() => assert.equal(received(clients).length, 60))
  for (let topic = 0; topic < 20; topic += 1) {
    const takers = clients.map((client) => client.payloads(`hash/${topic}`).length)
    assert.deepEqual(takers.sort(), [0, 0, 3], `topic ${topic}`)
  }
  for (const client of clients) assert.ok(client.received.length > 0)
})

test('hash_clientid keeps a publisher with one member', async (t) => {
  const clients = await members(t, [1, 2, 3], '$share/publishers/ids', 1)
  for (let publisher = 0; publisher < 15; publisher += 1) {
    const client = await clientFor(t, url((publisher % 3) + 1))
    await publish(client, 'ids', [`${publisher}`, `${publisher}`, `${publisher}`], 1)
  }
  await eventually(() => assert.equal(received(clients).length, 45))
  for (let publisher = 0; publisher < 15; publisher += 1) {
    const takers = clients.map((client) => client.payloads().filter((payload) => payload === `${publisher}`).length)
    assert.deepEqual(takers.sort(), [0, 0, 3], `publisher ${publisher}`)
  }
})

test('a member that is away waits while one on another node is here, and gets its share when none is', async (t) => {
  const options = { clientId: 'shared-away', clean: false, properties: { sessionExpiryInterval: 60 } }
  const [away] = (await members(t, [1], '$share/g/away', 1, options)) as [TestClient]
  const [here] = (await members(t, [2], '$share/g/away', 1)) as [TestClient]
  await away.end()
  const publisher = await clientFor(t, url(3))
  await eventually(async () => {
    const before = here.received.length
    await publish(publisher, 'away', ['x', 'x', 'x'], 1)
    await eventually(() => assert.equal(here.received.length, before + 3), { within: 500 })
  })
  await here.end()
  await eventually(async () => assert.equal((await cluster().node(2).metrics()).value('shoalmq_subscriptions'), 0))
  await publisher.publish('away', 'kept', { qos: 1 })
  const back = await clientFor(t, url(1), options)
  assert.equal(back.sessionPresent, true)
  await eventually(() => assert.equal(back.payloads().at(-1), 'kept'))
})

test('what a member has not acknowledged goes to one on another node', async (t) => {
  const stuck = await PacketClient.connect(t, cluster().node(1).ports.mqtt)
  await stuck.subscribe('$share/g/moves', 1)
  const publisher = await clientFor(t, url(3))
  const sent = numbers('x', 10)
  await publish(publisher, 'moves', sent, 1)
  await stuck.nextMany('publish', 10)
  const [other] = (await members(t, [2], '$share/g/moves', 1)) as [TestClient]
  stuck.drop()
  await eventually(() => assert.deepEqual(other.payloads(), sent))
})

test('members of a node that was killed are passed over at once, and those of one that leaves too', async (t) => {
  const stayers = await members(t, [1, 2], '$share/g/killed', 1)
  const goers = await members(t, [3], '$share/g/killed', 1)
  const publisher = await clientFor(t, url(1))
  await publish(publisher, 'killed', numbers('before', 30), 1)
  await eventually(() => assert.equal(received([...stayers, ...goers], 'killed').length, 30))
  assert.ok((goers[0]?.received.length ?? 0) > 0)

  await cluster().node(3).kill()
  await eventually(async () => {
    const state = (await cluster().node(1).statusOf(cluster().node(3).name)).link
    assert.notEqual(state, 'up')
  })
  const before = received(stayers, 'killed').length
  await publish(publisher, 'killed', numbers('after', 30), 1)
  await eventually(() => assert.equal(received(stayers, 'killed').length, before + 30))

  await cluster().node(3).start()
  await cluster().whenWhole()
  const [again] = (await members(t, [3], '$share/g/killed', 1)) as [TestClient]
  await publish(publisher, 'killed', numbers('again', 30), 1)
  await eventually(() => assert.ok(again.received.length >= 5, 'a new member there takes part'))

  const sent = numbers('leaving', 300)
  const running = publishSteadily(publisher, 'killed', sent)
  await cluster().node(3).stop()
  await running
  await eventually(() => {
    const got = new Set(received([...stayers, again], 'killed').filter((payload) => payload.startsWith('leaving')))
    assert.deepEqual(
      sent.filter((payload) => !got.has(payload)),
      [],
      'nothing acknowledged is lost when a node leaves',
    )
  })
  await cluster().node(3).start()
  await cluster().whenWhole()
})

async function publishSteadily(client: TestClient, topic: string, payloads: readonly string[]): Promise<void> {
  for (const payload of payloads) await client.publish(topic, payload, { qos: 1 })
}
