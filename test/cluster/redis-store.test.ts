import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { clientFor, type TestClient } from '../support/client.js'
import { clusterFor, TestCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import { freePort } from '../support/free-port.js'
import type { ConfigTree, NodeProcess } from '../support/node-process.js'
import { PacketClient, textOf } from '../support/packet-client.js'
import { type RedisServer, redisFor } from '../support/redis.js'

const LONG = { within: 20_000 }

/** What Redis has acknowledged is on its disk. */
const DURABLE = ['--appendonly', 'yes', '--appendfsync', 'always']

function storeIn(server: RedisServer, waitTime: string): ConfigTree {
  return { store: { kind: 'redis', redis: { url: server.url, waitTime } } }
}

/** What a new subscriber on this node is given below `kept/`, as topic to payload. */
async function retainedAt(t: TestContext, node: NodeProcess): Promise<Map<string, string>> {
  const client = await clientFor(t, `mqtt://127.0.0.1:${node.ports.mqtt}`)
  await client.subscribe(['kept/#', 'fence'], 1)
  // The retained messages come before the next live one.
  await client.publish('fence', 'x', { qos: 1 })
  await eventually(() => assert.equal(client.payloads('fence').length, 1))
  client.drop()
  return new Map(client.received.filter(({ topic }) => topic !== 'fence').map(({ topic, payload }) => [topic, payload]))
}

async function isFailing(node: NodeProcess): Promise<number | undefined> {
  return (await node.metrics()).value('shoalmq_store_failing')
}

/** Publishes retained messages, several at a time, until it is stopped; refusals are no reason to stop. */
class Publisher {
  readonly acknowledged = new Map<string, number>()
  refused = 0
  private isRunning = true
  private readonly ended: Promise<void>

  constructor(
    private readonly client: TestClient,
    private readonly name: string,
  ) {
    this.ended = this.run()
  }

  get last(): number {
    return Math.max(0, ...this.acknowledged.values())
  }

  async stop(): Promise<void> {
    this.isRunning = false
    await this.ended
  }

  private async run(): Promise<void> {
    for (let value = 1; this.isRunning && this.client.isConnected; value += 1) {
      const topics = Array.from({ length: 10 }, (_, count) => `kept/${this.name}/${count}`)
      await Promise.all(topics.map((topic) => this.publish(topic, value)))
      // What fails at once must not keep the news of it out.
      await new Promise(setImmediate)
    }
  }

  private async publish(topic: string, value: number): Promise<void> {
    try {
      await this.client.publish(topic, String(value), { qos: 1, retain: true })
      this.acknowledged.set(topic, value)
    } catch (error) {
      if ((error as { code?: number }).code !== 0x83) throw error
      this.refused += 1
    }
  }
}

test('retained and delayed messages in a shared Redis outlive kill -9 of every node', async (t) => {
  const server = await redisFor(t, ...DURABLE)
  const cluster = await clusterFor(t, { nodes: 2, config: storeIn(server, '2s') })
  const expected = new Map<string, string>()
  for (const node of cluster.nodes) {
    const client = await clientFor(t, `mqtt://127.0.0.1:${node.ports.mqtt}`)
    const topics = Array.from({ length: 50 }, (_, count) => `kept/${node.name}/${count}`)
    for (const value of ['old', 'new']) {
      const publish = (topic: string, count: number): Promise<void> =>
        client.publish(topic, value, { qos: count % 2 === 0 ? 1 : 2, retain: true })
      await Promise.all(topics.map(publish))
    }
    for (const topic of topics) expected.set(topic, 'new')
    await client.publish('kept/removed', 'x', { qos: 1, retain: true })
    await client.publish('kept/removed', '', { qos: 1, retain: true })
  }
  const publisher = await PacketClient.connect(t, cluster.node(1).ports.mqtt)
  const later = Array.from({ length: 5 }, (_, number) => `later/${number}`)
  for (const topic of later) await publisher.publishAcked({ topic: `$delayed/2/${topic}`, payload: 'x', qos: 1 })
  await Promise.all(cluster.nodes.map((node) => node.kill()))
  const tables = (await server.ask('keys', '*')).split('\n')
  assert.equal(tables.filter((key) => key.endsWith(':table:map.retained')).length, 2, 'each node has its own')
  await Promise.all(cluster.nodes.map((node) => node.start()))
  const subscriber = await PacketClient.connect(t, cluster.node(2).ports.mqtt)
  await subscriber.subscribe('later/#', 1)
  await cluster.whenWhole()
  for (const node of cluster.nodes) {
    await eventually(async () => assert.deepEqual(await retainedAt(t, node), expected), LONG)
  }
  const got = new Set<string>()
  while (got.size < later.length) for (const message of await subscriber.receive(1)) got.add(textOf(message))
  assert.deepEqual([...got].sort(), later.map((topic) => `${topic} x`).sort())
})

test('Redis killed and frozen under load: publishers wait or are refused, and what was acknowledged is there', async (t) => {
  const server = await redisFor(t, ...DURABLE)
  const cluster = await clusterFor(t, { nodes: 2, config: storeIn(server, '400ms') })
  const [one, two] = [cluster.node(1), cluster.node(2)]
  const publishers = await Promise.all(
    [one, two].map(
      async ({ name, ports }) => new Publisher(await clientFor(t, `mqtt://127.0.0.1:${ports.mqtt}`), name),
    ),
  )
  const whenWritten = (count: number): Promise<void> => {
    const seen = publishers.map(({ last }) => last)
    return eventually(() => {
      for (const [index, { last }] of publishers.entries()) assert.ok(last > (seen[index] ?? 0) + count, 'all waits')
    }, LONG)
  }
  const passer = await clientFor(t, `mqtt://127.0.0.1:${one.ports.mqtt}`)
  const listener = await clientFor(t, `mqtt://127.0.0.1:${two.ports.mqtt}`)
  await listener.subscribe('passing', 1)
  const away: Record<string, { take(): unknown; bring(): unknown }> = {
    killed: { take: () => server.kill(), bring: () => server.resume() },
    frozen: { take: () => server.freeze(), bring: () => server.thaw() },
  }
  for (const [how, { take, bring }] of Object.entries(away)) {
    await whenWritten(20)
    await take()
    for (const node of [one, two]) await eventually(async () => assert.equal(await isFailing(node), 1, how), LONG)
    // What need not be kept goes on, also at QoS 1.
    await passer.publish('passing', how, { qos: 0 })
    await passer.publish('passing', how, { qos: 1 })
    await eventually(() => assert.equal(listener.payloads('passing').filter((payload) => payload === how).length, 2))
    await eventually(async () => {
      const { data } = await one.ask<{ data: { alarm: string; detail: string }[] }>('alarms')
      const alarm = data.find((each) => each.alarm === 'store_failing')
      assert.match(alarm?.detail ?? '', /^Redis at redis:.*cannot be reached/)
    })
    await bring()
    for (const node of [one, two]) await eventually(async () => assert.equal(await isFailing(node), 0, how), LONG)
  }
  await whenWritten(20)
  await Promise.all(publishers.map((publisher) => publisher.stop()))
  for (const publisher of publishers) assert.notEqual(publisher.refused, 0)
  await Promise.all([one, two].map((node) => node.kill()))
  await Promise.all([one, two].map((node) => node.start()))
  for (const node of [one, two]) {
    const kept = await retainedAt(t, node)
    for (const { acknowledged } of publishers) {
      for (const [topic, value] of acknowledged) {
        if (!topic.includes(node.name)) continue
        // What was refused may have been kept, too: it was published later.
        assert.ok(
          Number(kept.get(topic) ?? 0) >= value,
          `${topic}: ${value} was acknowledged, ${kept.get(topic)} is there`,
        )
      }
    }
  }
})

test('without Redis a node does not start, and says where it looked and why, but no password', async (t) => {
  const url = `redis://127.0.0.1:${await freePort()}`
  const redis = { url, connectTimeout: '500ms' }
  const environment = { SHOALMQ_STORE__REDIS__PASSWORD: 'open-sesame' }
  const cluster = await TestCluster.create({ nodes: 1, config: { store: { kind: 'redis', redis } }, environment })
  t.after(() => cluster.stop())
  const node = cluster.node(1)
  node.spawn()
  assert.deepEqual(await node.exited(), { code: 1, signal: null })
  const line = node.logs().find(({ code }) => code === 'REDIS_UNREACHABLE')
  assert.match(line?.msg ?? '', /^Redis at redis:\/\/127\.0\.0\.1:\d+ cannot be reached: connect ECONNREFUSED/)
  assert.doesNotMatch(node.text(), /open-sesame/)
})
