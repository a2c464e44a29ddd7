/** A new release, node by node, under load: nobody waits longer than a reconnect takes, and nothing acknowledged is lost. */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { TestClient } from '../support/client.js'
import { useCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import type { NodeProcess } from '../support/node-process.js'
import { deliveryFaults } from '../support/numbered.js'
import { publishSteadily } from '../support/steady-publisher.js'

const NODES = [1, 2, 3]
/** A client that was told to go tries the next node at once; a busy machine takes its time. */
const AWAY_LIMIT_MS = 10_000
const PATIENTLY = { within: 30_000 }

const cluster = useCluster({ nodes: 3, config: { drain: { grace: '300ms', rate: 20, handover: '15s' } } })

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
  assert.ok(away < AWAY_LIMIT_MS, `a client was away for ${away} ms`)
  // Each of the three nodes was left by whoever was there; two of a client's three nodes are never its third.
  for (const { name, reconnects } of all) assert.ok(reconnects >= 1, `${name} was never told to go`)
})
