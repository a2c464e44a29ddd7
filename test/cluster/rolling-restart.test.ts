/** A new release, node by node, under load: nobody waits longer than a reconnect takes, and nothing acknowledged is lost. */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { TestClient } from '../support/client.js'
import { useCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import type { NodeProcess } from '../support/node-process.js'
import { deliveryFaults } from '../support/numbered.js'
import { PacketClient } from '../support/packet-client.js'
import { publishSteadily } from '../support/steady-publisher.js'

const NODES = [1, 2, 3]
/** A client that was told to go tries the next node at once; a busy machine takes its time. */
const AWAY_LIMIT_MS = 10_000
const PATIENTLY = { within: 30_000 }

const cluster = useCluster({
  nodes: 3,
  config: { mqtt: { queueLength: 100_000 }, drain: { grace: '300ms', rate: 20, handover: '15s', offer: '30s' } },
})

/** A client with a session that goes to another node when it loses its own, as a real one does. */
class Roamer {
  longestAway = 0
  reconnects = 0
  private awaySince: number | undefined

  private constructor(
    readonly name: string,
    readonly client: TestClient,
  ) {
    client.mqtt.on('close', () => {
      this.awaySince ??= performance.now()
    })
    client.mqtt.on('connect', ({ sessionPresent }) => {
      assert.equal(sessionPresent, true, `${name} finds its session`)
      this.reconnects += 1
      this.longestAway = Math.max(this.longestAway, performance.now() - (this.awaySince ?? performance.now()))
      this.awaySince = undefined
    })
    // A node that is down refuses the connection; the next attempt is at the next node.
    client.mqtt.on('error', () => {})
  }

  static async connect(t: TestContext, name: string, first: number): Promise<Roamer> {
    const order = [...NODES.slice(first - 1), ...NODES.slice(0, first - 1)]
    const servers = order.map((node) => ({
      protocol: 'mqtt' as const,
      host: '127.0.0.1',
      port: cluster().node(node).ports.mqtt,
    }))
    const client = await TestClient.connect(`mqtt://127.0.0.1:${servers[0]?.port}`, {
      clientId: name,
      clean: false,
      properties: { sessionExpiryInterval: 600 },
      servers,
      reconnectPeriod: 100,
      resubscribe: false,
    })
    t.after(() => client.drop())
    return new Roamer(name, client)
  }
}

/** The session of a client that is away while all nodes restart, and only looks in now and then. */
class Absentee {
  readonly received: string[] = []
  private readonly seen = new Set<string>()

  private constructor(
    readonly name: string,
    private readonly context: TestContext,
  ) {}

  static async leave(t: TestContext, name: string, node: number, qos: 1 | 2): Promise<Absentee> {
    const absentee = new Absentee(name, t)
    const client = await absentee.connect(node)
    await client.subscribe('rolling/#', qos)
    await client.disconnect()
    return absentee
  }

  /** It comes, takes so many messages of those that wait, and is gone without a word. */
  async lookIn(node: number, count: number): Promise<void> {
    const client = await this.connect(node)
    assert.equal(client.connack?.sessionPresent, true, `${this.name} finds its session`)
    await this.take(client, count)
    client.drop()
  }

  /** It stays until it has so many different messages. */
  async comeBack(node: number, total: number): Promise<void> {
    const client = await this.connect(node)
    assert.equal(client.connack?.sessionPresent, true, `${this.name} finds its session`)
    while (this.seen.size < total) await this.take(client, 1)
    await client.disconnect()
  }

  private async take(client: PacketClient, count: number): Promise<void> {
    for (const message of await client.receive(count)) {
      const payload = message.payload.toString()
      this.received.push(payload)
      this.seen.add(payload)
    }
  }

  private connect(node: number): Promise<PacketClient> {
    const fields = { clientId: this.name, clean: false, properties: { sessionExpiryInterval: 600 } }
    return PacketClient.connect(this.context, cluster().node(node).ports.mqtt, 5, fields)
  }
}

async function readiness(node: NodeProcess): Promise<number> {
  return (await fetch(`http://127.0.0.1:${node.ports.admin}/readyz`)).status
}

test('all nodes restart one after the other while publishers send: nothing acknowledged is lost', {
  timeout: 240_000,
}, async (t) => {
  const subscribers: Roamer[] = []
  for (const node of NODES) {
    for (const which of ['a', 'b']) {
      const roamer = await Roamer.connect(t, `subscriber-${node}${which}`, node)
      await roamer.client.subscribe('rolling/#', which === 'a' ? 1 : 2)
      subscribers.push(roamer)
    }
  }
  const absentees: Absentee[] = []
  for (const node of NODES) {
    for (const qos of [1, 2] as const) absentees.push(await Absentee.leave(t, `absent-${node}-qos${qos}`, node, qos))
  }
  const publishers = await Promise.all(NODES.map((node) => Roamer.connect(t, `publisher-${node}`, node)))
  const stops = publishers.map(({ name, client }) =>
    publishSteadily(client, { topic: `rolling/${name}`, name, window: 5 }),
  )
  const received = () => Math.min(...subscribers.map(({ client }) => client.received.length))

  for (const number of NODES) {
    const node = cluster().node(number)
    const before = received()
    await eventually(() => assert.ok(received() > before + 20, 'messages flow before the node goes'), PATIENTLY)
    const stopping = node.stop()
    await eventually(async () => assert.equal(await readiness(node), 503), { within: 5_000, every: 5 })
    assert.deepEqual(await stopping, { code: 0, signal: null })
    const without = received()
    await eventually(() => assert.ok(received() > without + 20, 'messages flow without it'), PATIENTLY)
    await node.start()
    await node.whenReady()
    await cluster().whenWhole()
    // One of each node looks in at the node that has just come back, wherever its session is.
    for (const absentee of absentees.filter(({ name }) => name.endsWith('qos1'))) await absentee.lookIn(number, 10)
  }

  const sent = Object.fromEntries(
    await Promise.all(stops.map(async (stop, index) => [publishers[index]?.name ?? '', await stop()] as const)),
  )
  const all = [...subscribers, ...publishers]
  const away = Math.round(Math.max(...all.map(({ longestAway }) => longestAway)))
  t.diagnostic(
    `${Object.values(sent).reduce((sum, count) => sum + count, 0)} messages; reconnects: ${all.map(({ reconnects }) => reconnects).join(' ')}; away for ${away} ms at most`,
  )
  await eventually(() => {
    for (const { name, client } of subscribers) {
      const { lost, foreign, disordered } = deliveryFaults(sent, client.payloads())
      // What was under way when a node went is sent again: QoS 1 promises no more.
      assert.deepEqual({ lost, foreign, disordered }, { lost: [], foreign: [], disordered: [] }, name)
    }
  }, PATIENTLY)
  const total = Object.values(sent).reduce((sum, count) => sum + count, 0)
  for (const [index, absentee] of absentees.entries()) {
    await absentee.comeBack(1 + (index % 3), total)
    const { lost, foreign, disordered } = deliveryFaults(sent, absentee.received)
    assert.deepEqual({ lost, foreign, disordered }, { lost: [], foreign: [], disordered: [] }, absentee.name)
  }
  assert.ok(away < AWAY_LIMIT_MS, `a client was away for ${away} ms`)
  // Each of the three nodes was left by whoever was there; two of a client's three nodes are never its third.
  for (const { name, reconnects } of all) assert.ok(reconnects >= 1, `${name} was never told to go`)
})
