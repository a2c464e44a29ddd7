import assert from 'node:assert/strict'
import { after, before, describe, type TestContext, test } from 'node:test'
import type { ClusterStatus, NodeStatus } from '../../src/cluster/status.js'
import { clientFor } from '../support/client.js'
import { eventually } from '../support/eventually.js'
import { Compose, httpStatus, inspect } from './engine.js'

const NODES = ['n1', 'n2', 'n3'] as const
type NodeName = (typeof NODES)[number]

/** Where the ports are published: out of the way of a cluster that listens on 127.0.0.1. */
const HOST = '127.0.0.2'

const compose = new Compose('docker-compose.cluster.yml', 'shoalmq-test', {
  SHOALMQ_BIND: HOST,
  SHOALMQ_ADMIN_BIND: HOST,
})

/** As docker-compose.cluster.yml publishes them. */
const PORTS: Record<NodeName, { mqtt: number; ws: number; admin: number }> = {
  n1: { mqtt: 1883, ws: 8083, admin: 18083 },
  n2: { mqtt: 1884, ws: 8084, admin: 18084 },
  n3: { mqtt: 1885, ws: 8085, admin: 18085 },
}
const PROMETHEUS = `http://${HOST}:9090`

/** `stop_grace_period` of the compose file: who needs longer is killed, which shows as exit code 137. */
const GRACE_PERIOD_MS = 60_000

/** Containers start side by side on few cores. */
const FORMED_WITHIN_MS = 60_000
const NOTICED_WITHIN_MS = 10_000

/** The state of each node, as `shoalmq cluster status --json` tells it in one node's container. */
async function statusIn(node: NodeName): Promise<Record<string, NodeStatus>> {
  const status = JSON.parse(await compose.exec(node, 'shoalmq', 'cluster', 'status', '--json')) as ClusterStatus
  return Object.fromEntries(status.nodes.map((one) => [one.name, one]))
}

async function assertStates(seenBy: NodeName, expected: Record<string, string>): Promise<void> {
  const states = Object.entries(await statusIn(seenBy)).map(([name, { state }]) => [name, state])
  assert.deepEqual(Object.fromEntries(states), expected, `as ${seenBy} sees it`)
}

/** One subscriber per node, one publisher per node, all three ways: every message arrives once, in order. */
async function assertMessagesPass(context: TestContext, topic: string, nodes: readonly NodeName[]): Promise<void> {
  const subscribers = await Promise.all(
    nodes.map((node) => clientFor(context, `ws://${HOST}:${PORTS[node].ws}/mqtt`, { version: 5 })),
  )
  for (const subscriber of subscribers) await subscriber.subscribe(`${topic}/#`, 2)
  for (const node of nodes) {
    const publisher = await clientFor(context, `mqtt://${HOST}:${PORTS[node].mqtt}`, { version: 4 })
    for (const qos of [0, 1, 2] as const) await publisher.publish(`${topic}/${node}`, `${node} qos ${qos}`, { qos })
    await publisher.end()
  }
  for (const [index, subscriber] of subscribers.entries()) {
    for (const node of nodes) {
      const expected = [0, 1, 2].map((qos) => `${node} qos ${qos}`)
      await eventually(() => assert.deepEqual(subscriber.payloads(`${topic}/${node}`).sort(), expected), {
        within: NOTICED_WITHIN_MS,
      }).catch((error) => assert.fail(`${node} to ${nodes[index]}: ${error.message}`))
    }
    await subscriber.end()
  }
}

/** Values of a query by `instance`, asked of Prometheus' own API. */
async function queryPrometheus(query: string): Promise<Record<string, number>> {
  const response = await fetch(`${PROMETHEUS}/api/v1/query?query=${encodeURIComponent(query)}`)
  const answer = (await response.json()) as {
    status: string
    data: { result: { metric: { instance: string }; value: [number, string] }[] }
  }
  assert.equal(answer.status, 'success')
  return Object.fromEntries(answer.data.result.map(({ metric, value }) => [metric.instance, Number(value[1])]))
}

describe('the compose file', { concurrency: false }, () => {
  before(async () => {
    await compose.run('down', '--volumes', '--remove-orphans')
    await compose.run('up', '--detach', '--build')
  })

  after(async () => {
    await compose.run('down', '--volumes', '--remove-orphans')
  })

  test('forms a cluster of three running nodes, found by DNS', async () => {
    const running = { 'n1@n1': 'running', 'n2@n2': 'running', 'n3@n3': 'running' }
    for (const node of NODES)
      await eventually(() => assertStates(node, running), { within: FORMED_WITHIN_MS, every: 500 })
    for (const { link, name } of Object.values(await statusIn('n1'))) {
      assert.equal(link, name === 'n1@n1' ? 'self' : 'up')
    }
  })

  test('has nodes that are ready and pass their health checks as written', async () => {
    for (const node of NODES) {
      const ready = `http://${HOST}:${PORTS[node].admin}/readyz`
      await eventually(async () => assert.equal(await httpStatus(ready), 200), { within: FORMED_WITHIN_MS, every: 200 })
      // Run here, because podman leaves that to systemd, which not every machine has.
      const { Config } = await inspect(await compose.containerOf(node))
      const [kind, ...command] = Config.Healthcheck?.Test ?? []
      assert.equal(kind, 'CMD')
      assert.equal(await compose.execCode(node, ...command), 0)
    }
  })

  test('runs each node as process 1, without root and on a read-only root file system', async () => {
    const questions = [
      'id -u',
      "tr '\\0' ' ' < /proc/1/cmdline; echo",
      'touch /app/dist/file 2> /dev/null && echo writable || echo read-only',
      'touch /var/lib/shoalmq/file && echo writable || echo read-only',
    ]
    for (const node of NODES) {
      const answers = (await compose.exec(node, 'sh', '-c', questions.join('; '))).trim().split('\n')
      assert.deepEqual(answers, ['1000', 'node /app/dist/cli/cli.js start ', 'read-only', 'writable'])
    }
  })

  test('passes messages between the nodes through the published ports', async (context) => {
    await assertMessagesPass(context, 'all', NODES)
  })

  test('has the series of each node in Prometheus', async () => {
    const everyNode = { n1: 1, n2: 1, n3: 1 }
    await eventually(async () => assert.deepEqual(await queryPrometheus('up{job="shoalmq"}'), everyNode), {
      within: 30_000,
      every: 500,
    })
    await eventually(
      async () => {
        const received = await queryPrometheus('sum by (instance) (shoalmq_messages_received_total)')
        assert.deepEqual(Object.keys(received).sort(), [...NODES])
        for (const [node, messages] of Object.entries(received)) assert.ok(messages >= 3, `${node}: ${messages}`)
        const peers = await queryPrometheus('sum by (instance) (shoalmq_cluster_peers{state="up"})')
        assert.deepEqual(peers, { n1: 2, n2: 2, n3: 2 })
      },
      { within: 30_000, every: 500 },
    )
  })

  test('has rules that Prometheus loads and none of which fires', async () => {
    const answer = (await (await fetch(`${PROMETHEUS}/api/v1/rules`)).json()) as {
      data: { groups: { rules: { name: string; health: string; state: string; lastError?: string }[] }[] }
    }
    const rules = answer.data.groups.flatMap((group) => group.rules)
    assert.ok(rules.length >= 5, `${rules.length} rules`)
    for (const { name, health, state, lastError } of rules) {
      assert.notEqual(health, 'err', `${name}: ${lastError}`)
      assert.notEqual(state, 'firing', name)
    }
  })

  test('shows a stopped node, serves without it, and takes it back', async (context) => {
    const before = (await statusIn('n1'))['n3@n3']
    await compose.run('stop', 'n3')
    const exit = (await inspect(await compose.containerOf('n3'))).State
    assert.equal(exit.Running, false)
    assert.equal(exit.ExitCode, 0, 'SIGTERM reached the process and it left by itself')
    const expected = { 'n1@n1': 'running', 'n2@n2': 'running', 'n3@n3': 'stopped' }
    for (const node of ['n1', 'n2'] as const) {
      await eventually(() => assertStates(node, expected), { within: NOTICED_WITHIN_MS, every: 200 })
    }
    await assertMessagesPass(context, 'two', ['n1', 'n2'])

    await compose.run('start', 'n3')
    const back = { ...expected, 'n3@n3': 'running' }
    for (const node of NODES) await eventually(() => assertStates(node, back), { within: FORMED_WITHIN_MS, every: 500 })
    const now = (await statusIn('n1'))['n3@n3']
    assert.ok(before !== undefined && now !== undefined && now.incarnation > before.incarnation, 'a new life')
    await assertMessagesPass(context, 'three', NODES)
  })

  test('goes down within the grace period, each node by itself', async () => {
    const started = performance.now()
    await compose.run('stop')
    const took = performance.now() - started
    assert.ok(took < GRACE_PERIOD_MS, `${Math.round(took)} ms`)
    for (const node of NODES) {
      const { ExitCode, Running } = (await inspect(await compose.containerOf(node))).State
      assert.deepEqual({ node, ExitCode, Running }, { node, ExitCode: 0, Running: false })
    }
  })
})
