import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type TestContext, test } from 'node:test'
import { AdminServer } from '../../../src/admin/http-server.js'
import { renderStatus } from '../../../src/cli/cluster-status.js'
import type { ClusterStatus, NodeStatus } from '../../../src/cluster/status.js'
import { Health } from '../../../src/telemetry/health.js'
import { createLogger } from '../../../src/telemetry/logger.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { freePort } from '../../support/free-port.js'
import { operationsOf } from '../../support/operations.js'
import { runShoalmq } from './shoalmq-process.js'

const RUNNING: NodeStatus = {
  name: 'n2@127.0.0.1',
  state: 'running',
  link: 'up',
  version: '0.1.0',
  incarnation: 2,
  uptime: 61,
  connections: 1200,
  routes: 3,
  rtt: 0.42,
  address: '127.0.0.1:5371',
}

const STATUS: ClusterStatus = {
  cluster: 'shoalmq',
  node: 'n1@127.0.0.1',
  ready: true,
  nodes: [
    {
      ...RUNNING,
      name: 'n3@127.0.0.1',
      state: 'stopped',
      link: 'down',
      uptime: 0,
      connections: 0,
      rtt: null,
      reason: 'left',
    },
    { ...RUNNING, name: 'n10@127.0.0.1', state: 'suspect', rtt: null },
    RUNNING,
    { ...RUNNING, name: 'n1@127.0.0.1', link: 'self', uptime: 7_384, connections: 7, rtt: null },
    {
      ...RUNNING,
      name: 'n4@127.0.0.1',
      state: 'stopped',
      link: 'down',
      version: '',
      uptime: 0,
      routes: 0,
      rtt: null,
      reason: 'unreachable',
    },
  ],
}

const TABLE = `\
Cluster shoalmq: 2 running, 2 stopped (as n1@127.0.0.1 sees it)

NODE            STATUS                  VERSION   UPTIME   CONNECTIONS   ROUTES   LINK      RTT
n1@127.0.0.1    running                 0.1.0      2h 3m             7        3   self        -
n2@127.0.0.1    running                 0.1.0      1m 1s          1200        3   up     0.4 ms
n10@127.0.0.1   suspect                 0.1.0      1m 1s          1200        3   up          -
n3@127.0.0.1    stopped (left)          0.1.0          -             -        3   down        -
n4@127.0.0.1    stopped (unreachable)   -              -             -        0   down        -`

async function adminAddress(context: TestContext): Promise<string> {
  const server = new AdminServer(
    { listen: '127.0.0.1:0' },
    {
      registry: new MetricRegistry(),
      health: new Health(),
      operations: operationsOf(() => STATUS),
      log: createLogger({ level: 'silent', format: 'json' }, {}),
    },
  )
  await server.start()
  context.after(() => server.stop())
  return server.address
}

test('running nodes come first, stopped ones last, each in the order of their names', () => {
  assert.equal(renderStatus(STATUS), TABLE)
})

test('a node that is not ready says so', () => {
  assert.match(
    renderStatus({ ...STATUS, ready: false, nodes: [RUNNING] }),
    /^Cluster shoalmq: 1 running \(as n1@127\.0\.0\.1 sees it, not ready\)/,
  )
})

test('cluster status prints the table', async (context) => {
  const ended = await runShoalmq(['cluster', 'status', '--admin', await adminAddress(context)])
  assert.deepEqual(ended, { code: 0, stdout: `${TABLE}\n`, stderr: '' })
})

test('cluster status --json prints what the node answers; the address may come from the environment', async (context) => {
  const { code, stdout } = await runShoalmq(['cluster', 'status', '--json'], {
    env: { SHOALMQ_ADMIN: await adminAddress(context) },
  })
  assert.equal(code, 0)
  assert.deepEqual(JSON.parse(stdout), STATUS)
})

test('when no node answers there is one line and exit code 1', async () => {
  const address = `127.0.0.1:${await freePort()}`
  const ended = await runShoalmq(['cluster', 'status', '--json', '--admin', address])
  assert.deepEqual(ended, {
    code: 1,
    stdout: '',
    stderr: `shoalmq: no node answers at ${address}: connection refused\n`,
  })
})

test('an HTTP server that is no node is told from one', async (context) => {
  const server = createServer((_, response) => response.end('<html>')).listen(0, '127.0.0.1')
  context.after(() => server.close())
  await once(server, 'listening')
  const bound = server.address()
  assert(bound !== null && typeof bound === 'object')
  const { code, stderr } = await runShoalmq(['cluster', 'status', '--admin', `127.0.0.1:${bound.port}`])
  assert.equal(code, 1)
  assert.equal(stderr, `shoalmq: 127.0.0.1:${bound.port} answers, but is not the admin port of a ShoalMQ node\n`)
})
