import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Redis } from 'ioredis'
import { clusterFor, type TestCluster } from '../support/cluster.js'
import { CuttableProxy } from '../support/cuttable-proxy.js'
import { eventually } from '../support/eventually.js'
import { kept } from '../support/kept-session.js'
import type { ConfigTree, NodeProcess } from '../support/node-process.js'
import { PacketClient, textOf } from '../support/packet-client.js'
import { redisFor } from '../support/redis.js'
import { RedisCluster } from '../support/redis-cluster.js'

const LONG = { within: 30_000 }

function storeIn(redis: object): ConfigTree {
  return { store: { kind: 'redis', redis: redis as ConfigTree } }
}

/** A session whose client is away. */
async function leaveSession(t: TestContext, node: NodeProcess, clientId: string): Promise<void> {
  const client = await PacketClient.connect(t, node.ports.mqtt, 5, kept(5, clientId))
  await client.subscribe([
    { topic: `${clientId}/one`, qos: 1 },
    { topic: `${clientId}/two`, qos: 2 },
  ])
  client.drop()
}

async function reconnect(t: TestContext, node: NodeProcess, clientId: string): Promise<Receiver> {
  return new Receiver(clientId, await connectAgain(t, node, clientId))
}

/** Connects again and again, as clients do, until it has its session. */
async function connectAgain(t: TestContext, node: NodeProcess, clientId: string): Promise<PacketClient> {
  return eventually(async () => {
    const next = await PacketClient.open(t, node.ports.mqtt, 5)
    next.sendConnect(kept(5, clientId))
    const { reasonCode, sessionPresent } = await next.next('connack')
    // 0x88, server unavailable: the session is on its way.
    assert.equal(reasonCode, 0, 'the session has not come yet')
    if (!sessionPresent) throw new Error(`${clientId} has got a new session`)
    return next
  }, LONG)
}

/** Publishes, one behind the other, alternating QoS 1 and 2; what was acknowledged, by topic. */
class Sender {
  readonly acknowledged = new Map<string, string[]>()
  private count = 0
  private isRunning = false
  private ended: Promise<void> = Promise.resolve()

  constructor(
    private readonly client: PacketClient,
    private readonly name: string,
    private readonly receivers: readonly string[],
  ) {}

  async send(rounds: number): Promise<void> {
    for (let round = 0; round < rounds; round += 1) {
      this.count += 1
      for (const receiver of this.receivers) {
        for (const [topic, qos] of [
          [`${receiver}/one`, 1],
          [`${receiver}/two`, 2],
        ] as const) {
          const payload = `${this.name} ${this.count}`
          const reasonCode = await this.client.publishAcked({ topic, payload, qos })
          assert.equal(reasonCode, 0, `${topic} ${payload}`)
          const list = this.acknowledged.get(topic) ?? []
          this.acknowledged.set(topic, list)
          list.push(payload)
        }
      }
    }
  }

  /** Until it is stopped. */
  start(): void {
    this.isRunning = true
    this.ended = (async () => {
      while (this.isRunning) await this.send(1)
    })()
  }

  async stop(): Promise<void> {
    this.isRunning = false
    await this.ended
  }
}

/** What comes to a client, each acknowledged in full. */
class Receiver {
  readonly got: string[] = []
  private ended: Promise<void>

  constructor(
    readonly clientId: string,
    private readonly client: PacketClient,
  ) {
    this.ended = this.run()
  }

  /** Everything that was acknowledged to these has come, in the order of each; nothing twice. */
  async assertAll(senders: readonly Sender[]): Promise<void> {
    const topics = [`${this.clientId}/one`, `${this.clientId}/two`]
    const sent = topics.flatMap((topic) =>
      senders.map((sender) => (sender.acknowledged.get(topic) ?? []).map((payload) => `${topic} ${payload}`)),
    )
    await eventually(() => {
      const missing = sent.flat().filter((text) => !this.got.includes(text))
      assert.deepEqual(missing, [])
    }, LONG)
    for (const list of sent) {
      const stream = list[0]?.replace(/\d+$/, '') ?? ''
      const arrived = this.got.filter((text) => text.startsWith(stream))
      assert.deepEqual(arrived, list)
    }
  }

  async stop(): Promise<void> {
    this.client.drop()
    await this.ended
  }

  private async run(): Promise<void> {
    for (;;) {
      const packet = await this.client.nextOfAny().catch(() => undefined)
      if (packet === undefined && this.client.isClosed) return
      if (packet?.cmd === 'pubrel') this.client.send({ cmd: 'pubcomp', messageId: packet.messageId ?? 0 })
      if (packet?.cmd !== 'publish') continue
      this.got.push(textOf(packet))
      this.client.send({ cmd: packet.qos === 1 ? 'puback' : 'pubrec', messageId: packet.messageId ?? 0 })
    }
  }
}

async function adopted(cluster: TestCluster, without: NodeProcess): Promise<number> {
  const others = cluster.nodes.filter((node) => node !== without)
  const counts = await Promise.all(
    others.map(async (node) => (await node.metrics()).value('shoalmq_adopted_sessions_total', { outcome: 'adopted' })),
  )
  return counts.reduce<number>((sum, count) => sum + (count ?? 0), 0)
}

test('sessions of a node that is killed are served by a survivor, with all that is acknowledged meanwhile', async (t) => {
  const { url } = await redisFor(t)
  const cluster = await clusterFor(t, { nodes: 3, config: storeIn({ url }) })
  const [one, dead, three] = [cluster.node(1), cluster.node(2), cluster.node(3)]
  const names = ['early', 'late', 'elsewhere']
  for (const name of names) await leaveSession(t, dead, name)
  const senders = [one, three].map(
    async (node) => new Sender(await PacketClient.connect(t, node.ports.mqtt), node.name, names),
  )
  const publishing = await Promise.all(senders)
  await Promise.all(publishing.map((sender) => sender.send(5)))
  for (const sender of publishing) sender.start()
  await dead.kill()
  const killedAt = performance.now()
  // At once, while the node is not known to be down yet.
  const early = await reconnect(t, one, 'early')
  t.diagnostic(`a session was served ${Math.round(performance.now() - killedAt)} ms after kill -9`)
  const elsewhere = await reconnect(t, three, 'elsewhere')
  await eventually(async () => assert.equal(await adopted(cluster, dead), names.length), LONG)
  const late = await reconnect(t, three, 'late')
  const receivers = [early, elsewhere, late]
  await Promise.all(publishing.map((sender) => sender.stop()))
  for (const receiver of receivers) await receiver.assertAll(publishing)
  // The node comes back: it has nothing of them, and nothing comes twice.
  await dead.start()
  await cluster.whenWhole()
  assert.equal((await dead.metrics()).value('shoalmq_sessions'), 0)
  await Promise.all(publishing.map((sender) => sender.send(2)))
  for (const receiver of receivers) await receiver.assertAll(publishing)
  await Promise.all(receivers.map((receiver) => receiver.stop()))
})

test('a node that was only frozen ends the sessions that another has adopted, and goes on without a restart', async (t) => {
  const redis = await RedisCluster.start()
  t.after(() => redis.stop())
  const cluster = await clusterFor(t, { nodes: 2, config: storeIn(redis.options) })
  const [one, frozen] = [cluster.node(1), cluster.node(2)]
  const before = await PacketClient.connect(t, frozen.ports.mqtt, 5, kept(5, 'client'))
  await before.subscribe([
    { topic: 'client/one', qos: 1 },
    { topic: 'client/two', qos: 2 },
  ])
  const clean = await PacketClient.connect(t, frozen.ports.mqtt)
  await clean.subscribe('clean', 1)
  const sender = new Sender(await PacketClient.connect(t, one.ports.mqtt), 'sender', ['client'])
  process.kill(frozen.pid, 'SIGSTOP')
  await sender.send(3)
  const client = await reconnect(t, one, 'client')
  assert.equal(await adopted(cluster, frozen), 1)
  await sender.send(3)
  process.kill(frozen.pid, 'SIGCONT')
  // 0x9C, the session is elsewhere, or 0x8E, when the directory has said so first.
  const { reasonCode } = (await before.closed()).at(-1) as { reasonCode?: number }
  assert.ok(reasonCode === 0x9c || reasonCode === 0x8e, `closed with ${reasonCode}`)
  await cluster.whenWhole()
  await sender.send(3)
  await client.assertAll([sender])
  const publisher = await PacketClient.connect(t, frozen.ports.mqtt)
  assert.equal(await publisher.publishAcked({ topic: 'clean', payload: 'x' }), 0)
  assert.deepEqual((await clean.receive(1)).map(textOf), ['clean x'])
  assert.equal((await frozen.metrics()).value('shoalmq_store_commit_failures_total', { reason: 'adopted' }), 1)
  // What is kept there from then on is kept.
  await leaveSession(t, frozen, 'next')
  assert.equal(await publisher.publishAcked({ topic: 'next/one', payload: 'y' }), 0)
  await frozen.kill()
  await frozen.start()
  const next = await reconnect(t, frozen, 'next')
  await eventually(() => assert.deepEqual(next.got, ['next/one y']))
  await Promise.all([client.stop(), next.stop()])
})

test('what a client sends to a frozen node is taken when the node knows whose its sessions are: once, and in order', async (t) => {
  const redis = await RedisCluster.start()
  t.after(() => redis.stop())
  const cluster = await clusterFor(t, { nodes: 2, config: storeIn(redis.options) })
  const [one, frozen] = [cluster.node(1), cluster.node(2)]
  await leaveSession(t, frozen, 'away')
  const publisher = await PacketClient.connect(t, frozen.ports.mqtt, 5, kept(5, 'publisher'))
  const watcher = await PacketClient.connect(t, one.ports.mqtt)
  await watcher.subscribe('away/+', 2)
  const watching = new Receiver('watcher', watcher)
  await publisher.publishAcked({ topic: 'away/two', payload: 'before', qos: 2 })
  process.kill(frozen.pid, 'SIGSTOP')
  const sent = ['1', '2', '3'].map(
    (payload, index) => ({ topic: 'away/two', payload, qos: 2, messageId: 100 + index }) as const,
  )
  for (const packet of sent) publisher.publish(packet)
  await eventually(async () => assert.equal(await adopted(cluster, frozen), 2), LONG)
  process.kill(frozen.pid, 'SIGCONT')
  await publisher.closedFor(0x9c)
  const metrics = await frozen.metrics()
  assert.equal(metrics.value('shoalmq_messages_received_total', { qos: '2' }), 1, 'what came meanwhile is not taken')
  assert.equal(metrics.value('shoalmq_input_paused_total', { reason: 'stood_still' }), 1)
  const again = await connectAgain(t, frozen, 'publisher')
  for (const packet of sent) assert.equal(await again.publishAcked({ ...packet, dup: true }), 0)
  const away = await reconnect(t, one, 'away')
  const wanted = ['before', '1', '2', '3'].map((payload) => `away/two ${payload}`)
  for (const { got } of [watching, away]) await eventually(() => assert.deepEqual(got, wanted), LONG)
  await Promise.all([watching, away].map((receiver) => receiver.stop()))
})

test('a node that is killed leaves wills and messages with a delay to another, each is published once', async (t) => {
  const { url } = await redisFor(t)
  const cluster = await clusterFor(t, { nodes: 3, config: storeIn({ url }) })
  const [one, three] = [cluster.node(1), cluster.node(3)]
  const watcher = await PacketClient.connect(t, three.ports.mqtt)
  await watcher.subscribe([
    { topic: 'will/#', qos: 1 },
    { topic: 'later/#', qos: 1 },
  ])
  const seen = new Receiver('watcher', watcher)
  await leaveSession(t, one, 'first')
  await leaveSession(t, one, 'second')
  for (const delay of [0, 2]) {
    const topic = `will/${delay}`
    const properties = { willDelayInterval: delay }
    const will = { topic, payload: Buffer.from('gone'), qos: 1, retain: false, properties } as const
    await PacketClient.connect(t, one.ports.mqtt, 5, { ...kept(5, `will ${delay}`), will })
  }
  const sender = new Sender(await PacketClient.connect(t, three.ports.mqtt), 'sender', ['first', 'second'])
  await sender.send(3)
  const publisher = await PacketClient.connect(t, one.ports.mqtt)
  await publisher.publishAcked({ topic: '$delayed/4/later/x', payload: 'due', qos: 1 })
  await one.kill()
  await sender.send(3)
  const receivers = [await reconnect(t, three, 'first'), await reconnect(t, three, 'second')]
  await sender.send(3)
  for (const receiver of receivers) await receiver.assertAll([sender])
  const wanted = ['later/x due', 'will/0 gone', 'will/2 gone']
  await eventually(() => assert.deepEqual([...seen.got].sort(), wanted), LONG)
  await one.start()
  await cluster.whenWhole()
  await sender.send(1)
  for (const receiver of receivers) await receiver.assertAll([sender])
  assert.deepEqual([...seen.got].sort(), wanted)
  await Promise.all([...receivers, seen].map((receiver) => receiver.stop()))
})

test('a split ends no session while its node gives signs of life: who comes to the other side waits for the network', async (t) => {
  const { url } = await redisFor(t)
  const proxies = [1, 2].map((number) => new CuttableProxy(() => cluster.node(number).ports.cluster))
  for (const proxy of proxies) await proxy.start()
  t.after(() => Promise.all(proxies.map((proxy) => proxy.stop())))
  const [first = '', second = ''] = proxies.map((proxy) => proxy.address)
  const silence = { heartbeatInterval: '250ms', suspectAfter: '750ms', downAfter: '1500ms' }
  const cluster = await clusterFor(t, {
    nodes: 2,
    start: false,
    config: storeIn({ url }),
    perNode: {
      1: { seeds: [second], config: { cluster: { ...silence, advertise: first } } },
      2: { seeds: [first], config: { cluster: { ...silence, advertise: second } } },
    },
  })
  await cluster.start()
  const [one, two] = [cluster.node(1), cluster.node(2)]
  await leaveSession(t, two, 'away')
  const stays = await PacketClient.connect(t, two.ports.mqtt, 5, kept(5, 'stays'))
  await stays.subscribe([
    { topic: 'stays/one', qos: 1 },
    { topic: 'stays/two', qos: 2 },
  ])
  const staying = new Receiver('stays', stays)
  const sender = new Sender(await PacketClient.connect(t, one.ports.mqtt), 'sender', ['away', 'stays'])
  await sender.send(2)
  for (const proxy of proxies) proxy.split()
  // Both see that the other one is down, and that it lives.
  for (const node of cluster.nodes) {
    await eventually(async () => assert.equal((await node.metrics()).value('shoalmq_adoption_withheld_nodes'), 1), LONG)
  }
  await sender.send(2)
  const next = await PacketClient.open(t, one.ports.mqtt, 5)
  next.sendConnect(kept(5, 'away'))
  assert.equal((await next.next('connack')).reasonCode, 0x88)
  for (const proxy of proxies) proxy.heal()
  const away = await reconnect(t, one, 'away')
  await sender.send(2)
  for (const receiver of [away, staying]) await receiver.assertAll([sender])
  assert.equal(await adopted(cluster, two), 0)
  await Promise.all([away.stop(), staying.stop()])
})

test('one of three nodes that is left adopts what both others had, and what the first heir was at when it was killed', async (t) => {
  const { url, port } = await redisFor(t)
  const cluster = await clusterFor(t, { nodes: 3, config: storeIn({ url }) })
  const dead = cluster.node(1)
  const names = Array.from({ length: 30 }, (_, index) => `client-${index}`)
  for (const name of names) await leaveSession(t, dead, name)
  for (const node of cluster.nodes.slice(1)) await leaveSession(t, node, `at ${node.name}`)
  const sender = new Sender(await PacketClient.connect(t, dead.ports.mqtt), 'sender', names)
  await sender.send(1)
  await dead.kill()
  const heir = await heirOf(port, cluster)
  await heir.kill()
  const last = cluster.nodes.find((node) => node.isRunning) as NodeProcess
  const receivers = await Promise.all(names.map((name) => reconnect(t, last, name)))
  for (const receiver of receivers) await receiver.assertAll([sender])
  const others = await Promise.all([heir, last].map((node) => reconnect(t, last, `at ${node.name}`)))
  await Promise.all([...receivers, ...others].map((receiver) => receiver.stop()))
})

test('what a node that stops could not hand over is adopted once it is gone', async (t) => {
  const { url } = await redisFor(t)
  const cluster = await clusterFor(t, { nodes: 2, config: { ...storeIn({ url }), drain: { offer: '0' } } })
  const [one, two] = [cluster.node(1), cluster.node(2)]
  await leaveSession(t, two, 'away')
  const sender = new Sender(await PacketClient.connect(t, two.ports.mqtt), 'sender', ['away'])
  await sender.send(2)
  const publisher = await PacketClient.connect(t, two.ports.mqtt)
  await publisher.publishAcked({ topic: '$delayed/2/away/one', payload: 'due', qos: 1 })
  assert.deepEqual(await two.stop(), { code: 0, signal: null })
  const away = await reconnect(t, one, 'away')
  await eventually(() => assert.ok(away.got.includes('away/one due')), LONG)
  await away.assertAll([sender])
  await away.stop()
})

for (const first of ['receiver', 'debtor']) {
  test(`what a node has owed another that is killed as well comes to the sessions of that one, the ${first} adopted first`, async (t) => {
    const { url } = await redisFor(t)
    const silence = { heartbeatInterval: '250ms', suspectAfter: '750ms', downAfter: '1500ms' }
    // Long enough that both are dead before either is adopted.
    const redis = { url, adoptAfter: '4s' }
    const cluster = await clusterFor(t, { nodes: 4, config: { ...storeIn(redis), cluster: silence } })
    // The ring names another heir for each of the two that are killed.
    const [debtor, last, receiver] = [cluster.node(1), cluster.node(2), cluster.node(3)]
    await leaveSession(t, receiver, 'client')
    const senders = await Promise.all(
      [last, debtor].map(
        async (node) => new Sender(await PacketClient.connect(t, node.ports.mqtt), node.name, ['client']),
      ),
    )
    await Promise.all(senders.map((sender) => sender.send(2)))
    process.kill(receiver.pid, 'SIGSTOP')
    // Acknowledged when it is written down for the one that does not answer.
    await Promise.all(senders.map((sender) => sender.send(3)))
    await debtor.kill()
    if (first === 'debtor') {
      process.kill(receiver.pid, 'SIGCONT')
      await eventually(async () => assert.equal((await last.statusOf(receiver.name)).link, 'up'), LONG)
      await eventually(async () => assert.equal((await last.statusOf(debtor.name)).link, 'down'), LONG)
    }
    await receiver.kill()
    const client = await reconnect(t, last, 'client')
    await senders[0]?.send(2)
    await client.assertAll(senders)
    for (const node of [last, cluster.node(4)]) {
      await eventually(async () => {
        const metrics = await node.metrics()
        assert.equal(metrics.value('shoalmq_adoptions_total'), 1, `${node.name} is the heir of one`)
        assert.equal(metrics.value('shoalmq_forward_dropped_messages_total', { reason: 'peer_adopted' }), 0)
      }, LONG)
    }
    await client.stop()
  })
}

/** Who has taken an estate, as soon as somebody has. */
async function heirOf(port: number, cluster: TestCluster): Promise<NodeProcess> {
  const redis = new Redis({ host: '127.0.0.1', port })
  try {
    return await eventually(
      async () => {
        const [key = ''] = await redis.keys('*:estates')
        const [holder = ''] = await redis.hvals(key)
        const heir = cluster.nodes.find(({ name }) => holder.startsWith(`${name} `))
        assert.ok(heir !== undefined, 'nobody has taken the estate yet')
        return heir
      },
      { within: 30_000, every: 2 },
    )
  } finally {
    redis.disconnect()
  }
}
