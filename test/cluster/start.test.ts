import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { clientFor } from '../support/client.js'
import { clusterFor } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import { freePort } from '../support/free-port.js'
import { shoalmq } from '../support/shoalmq-command.js'

/** Listens on a free port of the given host until the test ends. */
async function takenPort(context: TestContext, host = '127.0.0.1'): Promise<number> {
  const server = createServer()
  const port = await freePort(host)
  await new Promise<void>((resolve) => server.listen(port, host, resolve))
  context.after(() => server.close())
  return port
}

function dataDirectory(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-start-'))
  context.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

for (const taken of ['MQTT', 'WebSocket', 'admin', 'cluster'] as const) {
  test(`a taken ${taken} port is an error that names the port, and nothing is left running`, async (t) => {
    const port = await takenPort(t)
    const address = async (which: typeof taken): Promise<string> =>
      `127.0.0.1:${which === taken ? port : await freePort()}`
    const outcome = await shoalmq([
      ...['start', '--name', 'n1@127.0.0.1', '--data', dataDirectory(t)],
      ...['--listen', `mqtt://${await address('MQTT')}`, '--listen', `ws://${await address('WebSocket')}/mqtt`],
      ...['--admin', await address('admin'), '--cluster', await address('cluster')],
    ])
    assert.notEqual(outcome.code, 0)
    assert.match(outcome.stderr + outcome.stdout, new RegExp(`\\b${port}\\b`))
    assert.match(outcome.stderr + outcome.stdout, /in use|taken/i)
    assert.doesNotMatch(outcome.stderr + outcome.stdout, /\n {4}at /, 'a message for people, without a stack')
  })
}

test('a second start is the same node in a new incarnation', async (t) => {
  const cluster = await clusterFor(t, { nodes: 1 })
  const node = cluster.node(1)
  const first = await node.statusOf(node.name)
  assert.deepEqual(await node.stop(), { code: 0, signal: null }, 'SIGTERM ends it with 0')
  await node.start()
  const second = await node.statusOf(node.name)
  assert.equal(second.name, first.name)
  assert.ok(second.incarnation > first.incarnation, `${second.incarnation} after ${first.incarnation}`)
  await node.kill('SIGKILL')
  await node.start()
  const third = await node.statusOf(node.name)
  assert.ok(
    third.incarnation > second.incarnation,
    `${third.incarnation} after ${second.incarnation}, though it was killed`,
  )
})

test('two nodes cannot share a data directory', async (t) => {
  const cluster = await clusterFor(t, { nodes: 1 })
  const node = cluster.node(1)
  const outcome = await shoalmq([
    ...['start', '--name', 'other@127.0.0.1', '--data', node.dataDirectory],
    ...['--listen', `mqtt://127.0.0.1:${await freePort()}`],
    ...['--admin', `127.0.0.1:${await freePort()}`, '--cluster', `127.0.0.1:${await freePort()}`],
  ])
  assert.notEqual(outcome.code, 0)
  assert.match(outcome.stderr + outcome.stdout, new RegExp(node.dataDirectory.replaceAll('/', '\\/')))
})

test('SIGTERM tells connected clients, closes them and ends with 0', async (t) => {
  const cluster = await clusterFor(t, { nodes: 1 })
  const node = cluster.node(1)
  const client = await clientFor(t, `mqtt://127.0.0.1:${node.ports.mqtt}`)
  let reasonCode: number | undefined
  client.mqtt.on('disconnect', (packet) => {
    reasonCode = packet.reasonCode
  })
  assert.deepEqual(await node.stop(), { code: 0, signal: null })
  await eventually(() => {
    assert.equal(client.isConnected, false)
    assert.equal(reasonCode, 0x8b, 'server shutting down')
  })
})

test('a listener that is not on loopback is refused unless anonymous access is written down', async (t) => {
  const parameters = async (): Promise<string[]> => [
    ...[
      'start',
      '--name',
      'n1@127.0.0.1',
      '--data',
      dataDirectory(t),
      '--listen',
      `mqtt://0.0.0.0:${await freePort('0.0.0.0')}`,
    ],
    ...['--admin', `127.0.0.1:${await freePort()}`, '--cluster', `127.0.0.1:${await freePort()}`],
  ]
  const refused = await shoalmq(await parameters())
  assert.notEqual(refused.code, 0)
  assert.match(refused.stderr + refused.stdout, /allowAnonymous/)
  assert.match(refused.stderr + refused.stdout, /0\.0\.0\.0/)

  const cluster = await clusterFor(t, { nodes: 1, config: { allowAnonymous: true }, listenHost: '0.0.0.0' })
  await clientFor(t, `mqtt://127.0.0.1:${cluster.node(1).ports.mqtt}`)
})

test('a cluster port that is not on loopback is refused without a secret', async (t) => {
  const parameters = [
    ...[
      'start',
      '--name',
      'n1@127.0.0.1',
      '--data',
      dataDirectory(t),
      '--listen',
      `mqtt://127.0.0.1:${await freePort()}`,
    ],
    ...['--admin', `127.0.0.1:${await freePort()}`, '--cluster', `0.0.0.0:${await freePort('0.0.0.0')}`],
  ]
  const refused = await shoalmq(parameters)
  assert.notEqual(refused.code, 0)
  assert.match(refused.stderr + refused.stdout, /secret/i)
})

test('an unknown key, a bad value and an unknown flag are named', async (t) => {
  const start = ['start', '--name', 'n1@127.0.0.1', '--data', dataDirectory(t)]
  const badValue = await shoalmq(start, { SHOALMQ_MQTT__RECEIVE_MAXIMUM: 'many' })
  assert.notEqual(badValue.code, 0)
  assert.match(badValue.stderr + badValue.stdout, /receiveMaximum|RECEIVE_MAXIMUM/)
  assert.match(badValue.stderr + badValue.stdout, /many/)
  const badFlag = await shoalmq([...start, '--lisen', 'mqtt://127.0.0.1:0'])
  assert.notEqual(badFlag.code, 0)
  assert.match(badFlag.stderr, /--lisen/)
})

test('cluster status prints the node, as a table and as JSON, and fails with one clear line when none answers', async (t) => {
  const cluster = await clusterFor(t, { nodes: 1 })
  const node = cluster.node(1)
  const table = await shoalmq(['cluster', 'status', '--admin', node.adminAddress])
  assert.equal(table.code, 0)
  assert.match(table.stdout, /n1@127\.0\.0\.1.*running/)
  const json = await shoalmq(['cluster', 'status', '--admin', node.adminAddress, '--json'])
  assert.deepEqual(
    (JSON.parse(json.stdout) as { nodes: { name: string; state: string }[] }).nodes.map(({ name, state }) => [
      name,
      state,
    ]),
    [['n1@127.0.0.1', 'running']],
  )
  const nobody = `127.0.0.1:${await freePort()}`
  const failed = await shoalmq(['cluster', 'status', '--admin', nobody])
  assert.notEqual(failed.code, 0)
  assert.equal(failed.stdout, '')
  assert.match(failed.stderr.trim(), new RegExp(`^[^\\n]*${nobody}[^\\n]*$`))
})
