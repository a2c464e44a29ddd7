import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { clientFor, type TestClient } from '../support/client.js'
import { clusterFor, type TestCluster } from '../support/cluster.js'
import { CuttableProxy } from '../support/cuttable-proxy.js'
import { eventually } from '../support/eventually.js'
import { PacketClient } from '../support/packet-client.js'

const CONFIG = {
  cluster: { heartbeatInterval: '200ms', suspectAfter: '600ms', downAfter: '1500ms' },
  mqtt: { sharedGroups: { topics: 'hash_topic', turns: 'round_robin' } },
}

function url(cluster: TestCluster, node: number): string {
  return `mqtt://127.0.0.1:${cluster.node(node).ports.mqtt}`
}

async function member(t: TestContext, cluster: TestCluster, node: number, filter: string): Promise<TestClient> {
  const client = await clientFor(t, url(cluster, node))
  await client.subscribe(filter, 1)
  return client
}

function numbers(count: number, prefix = ''): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index + 1}`)
}

async function gauge(cluster: TestCluster, node: number, name: string, peer: number): Promise<number> {
  const metrics = await cluster.node(node).metrics()
  return metrics.value(name, { peer: cluster.node(peer).name })
}

/** Nothing is kept for anyone any more. */
async function nothingGuarded(cluster: TestCluster, node: number, peer: number): Promise<void> {
  await eventually(async () => assert.equal(await gauge(cluster, node, 'shoalmq_shared_guarded_messages', peer), 0))
}

test('what a member had in hand when its node was killed goes to members elsewhere, and so does what was on its way', async (t) => {
  const cluster = await clusterFor(t, { nodes: 3, config: CONFIG })
  const stuck = await PacketClient.connect(t, cluster.node(3).ports.mqtt)
  await stuck.subscribe('$share/turns/killed', 1)
  const publisher = await clientFor(t, url(cluster, 1))
  const inHand = numbers(20, 'in hand ')
  await publisher.publishAll(inHand.map((payload) => ({ topic: 'killed', payload })))
  await stuck.nextMany('publish', 20)
  const others = [
    await member(t, cluster, 1, '$share/turns/killed'),
    await member(t, cluster, 2, '$share/turns/killed'),
  ]

  const sent = numbers(600, 'under way ')
  let published = 0
  const publishing = (async () => {
    for (let start = 0; start < sent.length; start += 20) {
      const some = sent.slice(start, start + 20)
      await publisher.publishAll(some.map((payload) => ({ topic: 'killed', payload })))
      published += some.length
    }
  })()
  await eventually(() => assert.equal(published >= 100, true))
  await cluster.node(3).kill()
  await publishing
  await eventually(
    () => {
      const got = new Set(others.flatMap((client) => client.payloads('killed')))
      assert.deepEqual(
        [...inHand, ...sent].filter((payload) => !got.has(payload)),
        [],
        'everything that was acknowledged',
      )
    },
    { within: 20_000 },
  )
  await nothingGuarded(cluster, 1, 3)
})

test('hash_topic keeps the order of each topic when the node of a member is killed', async (t) => {
  const cluster = await clusterFor(t, { nodes: 3, config: CONFIG })
  const goer = await member(t, cluster, 3, '$share/topics/order/+')
  const stayer = await member(t, cluster, 2, '$share/topics/order/+')
  const publisher = await clientFor(t, url(cluster, 1))
  const topics = numbers(8, 'order/')
  const rounds = 120
  let round = 0
  const publishing = (async () => {
    for (round = 1; round <= rounds; round += 1) {
      const payload = `${round}`
      await publisher.publishAll(topics.map((topic) => ({ topic, payload })))
    }
  })()
  await eventually(() => assert.equal(round > 30, true))
  await cluster.node(3).kill()
  await publishing
  await eventually(
    () => {
      for (const topic of topics) {
        const got = new Set([...goer.payloads(topic), ...stayer.payloads(topic)])
        assert.equal(got.size, rounds, topic)
        const kept = stayer.payloads(topic).map(Number)
        assert.deepEqual(
          kept,
          [...kept].sort((one, other) => one - other),
          `${topic}: in order`,
        )
      }
    },
    { within: 20_000 },
  )
  assert.ok(goer.received.length > 0)
})

test('no member is deaf after a restart of its node, of the publisher’s, or after the last one came again', async (t) => {
  const cluster = await clusterFor(t, { nodes: 3, config: CONFIG })
  const sends = async (from: number, to: TestClient, what: string): Promise<void> => {
    const publisher = await clientFor(t, url(cluster, from))
    const payload = `${what} from n${from}`
    await publisher.publish('heard', payload, { qos: 1 })
    await eventually(() => assert.equal(to.payloads('heard').at(-1), payload))
  }
  let one = await member(t, cluster, 2, '$share/turns/heard')
  for (const from of [1, 2, 3]) await sends(from, one, 'at first')

  await cluster.node(1).kill()
  await cluster.node(1).start()
  await cluster.whenWhole()
  for (const from of [1, 2, 3]) await sends(from, one, 'after the publisher’s')

  await cluster.node(2).kill()
  await cluster.node(2).start()
  one = await member(t, cluster, 2, '$share/turns/heard')
  await cluster.whenWhole()
  for (const from of [1, 2, 3]) await sends(from, one, 'after its own')

  for (let again = 0; again < 5; again += 1) {
    await one.unsubscribe('$share/turns/heard')
    await one.subscribe('$share/turns/heard', 1)
    await sends(3, one, `again ${again}`)
  }
  await one.end()
  const other = await member(t, cluster, 3, '$share/turns/heard')
  for (const from of [1, 2, 3]) await sends(from, other, 'on another node')
})

test('a cut link makes no member deaf, and what waited for its member comes there or to another', async (t) => {
  const proxies = [1, 2].map((number) => new CuttableProxy(() => cluster.node(number).ports.cluster))
  for (const proxy of proxies) await proxy.start()
  const [first = '', second = ''] = proxies.map((proxy) => proxy.address)
  const cluster = await clusterFor(t, {
    nodes: 2,
    start: false,
    config: CONFIG,
    perNode: {
      1: { seeds: [second], config: { cluster: { advertise: first } } },
      2: { seeds: [first], config: { cluster: { advertise: second } } },
    },
  })
  t.after(async () => {
    for (const proxy of proxies) await proxy.stop()
  })
  await cluster.start()
  const far = await member(t, cluster, 2, '$share/topics/cut')
  const publisher = await clientFor(t, url(cluster, 1))
  const sent = numbers(400)
  const publishing = (async () => {
    for (const payload of sent) await publisher.publish('cut', payload, { qos: 1 })
  })()
  for (let cut = 1; cut <= 5; cut += 1) {
    await eventually(() => assert.equal(new Set(far.payloads('cut')).size >= cut * 30, true))
    for (const proxy of proxies) proxy.cut()
  }
  await publishing
  await eventually(() => assert.deepEqual(far.payloads('cut'), sent, 'once each, in order'))
  await nothingGuarded(cluster, 1, 2)

  for (const proxy of proxies) proxy.split()
  await eventually(async () => assert.equal((await cluster.node(1).statusOf(cluster.node(2).name)).state, 'stopped'), {
    within: 15_000,
  })
  await publisher.publish('cut', 'hint', { qos: 1 })
  const near = await member(t, cluster, 1, '$share/topics/cut')
  await publisher.publish('cut', 'near', { qos: 1 })
  await eventually(() => assert.equal(near.payloads('cut').at(-1), 'near'))
  for (const proxy of proxies) proxy.heal()
  await cluster.whenWhole()
  await eventually(() => {
    const got = [...far.payloads('cut'), ...near.payloads('cut')]
    assert.equal(got.filter((payload) => payload === 'hint').length, 1)
  })
  await near.end()
  await eventually(async () => assert.equal((await cluster.node(1).metrics()).value('shoalmq_subscriptions'), 0))
  await publisher.publish('cut', 'healed', { qos: 1 })
  await eventually(() => assert.equal(far.payloads('cut').at(-1), 'healed'))
  await nothingGuarded(cluster, 1, 2)
})

test('no member whose session is kept is deaf after its node was killed and is back, without subscribing again', async (t) => {
  const cluster = await clusterFor(t, { nodes: 3, config: CONFIG })
  const node = cluster.node(2)
  const filter = '$share/turns/kept'
  const others = [await member(t, cluster, 1, filter), await member(t, cluster, 3, filter)]
  const session = { clientId: 'kept', clean: false, properties: { sessionExpiryInterval: 600 } }
  const before = await clientFor(t, url(cluster, 2), session)
  await before.subscribe(filter, 1)
  await node.kill()
  await node.start()
  await cluster.whenWhole()
  const back = await clientFor(t, url(cluster, 2), session)
  assert.equal(back.sessionPresent, true)
  const members = [...others, back]
  const sent = numbers(12)
  const publishers = [await clientFor(t, url(cluster, 1)), await clientFor(t, url(cluster, 3))]
  for (const [index, payload] of sent.entries()) {
    await publishers[index % 2]?.publish('kept', payload, { qos: 1 })
  }
  const arrived = (): string[] => members.flatMap((client) => client.payloads('kept')).map(String)
  await eventually(() => assert.deepEqual(arrived().sort(), [...sent].sort()))
  for (const [index, client] of members.entries())
    assert.ok(client.payloads().length > 0, `member ${index + 1} is deaf`)
})
