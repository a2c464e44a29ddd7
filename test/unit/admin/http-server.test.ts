import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { AdminListenError, type AdminModules, AdminServer } from '../../../src/admin/http-server.js'
import type { ClusterStatus } from '../../../src/cluster/status.js'
import { parseHostPort } from '../../../src/config/addresses.js'
import { Health } from '../../../src/telemetry/health.js'
import { createLogger } from '../../../src/telemetry/logger.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { operationsOf } from '../../support/operations.js'

const STATUS: ClusterStatus = { cluster: 'shoalmq', node: 'n1@host', ready: true, nodes: [] }

async function adminFor(context: TestContext, modules: Partial<AdminModules> = {}) {
  const log = createLogger({ level: 'silent', format: 'json' }, {})
  const server = new AdminServer(
    { listen: '127.0.0.1:0' },
    { registry: new MetricRegistry(), health: new Health(), operations: operationsOf(() => STATUS), log, ...modules },
  )
  await server.start()
  context.after(() => server.stop())
  return { server, fetch: (path: string, init?: RequestInit) => fetch(`http://${server.address}${path}`, init) }
}

test('/metrics is the text of the registry, in the format that Prometheus asks for', async (context) => {
  const registry = new MetricRegistry()
  registry.counter({ name: 'things_total', help: 'Things.' }).value = 7
  const admin = await adminFor(context, { registry })
  const response = await admin.fetch('/metrics')
  assert.equal(response.status, 200)
  assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/)
  assert.match(await response.text(), /^shoalmq_things_total 7$/m)
})

test('/livez is ok while the process answers, ready or not', async (context) => {
  const health = new Health()
  health.add('mesh', () => 'waiting')
  const admin = await adminFor(context, { health })
  const response = await admin.fetch('/livez')
  assert.deepEqual([response.status, await response.text()], [200, 'ok\n'])
})

test('/readyz is 503 with what is missing, and 200 once nothing is', async (context) => {
  const health = new Health()
  let missing: string | undefined = 'waiting for n2@host'
  health.add('mesh', () => missing)
  const admin = await adminFor(context, { health })
  const waiting = await admin.fetch('/readyz')
  assert.equal(waiting.status, 503)
  assert.deepEqual(await waiting.json(), { ready: false, failing: { mesh: 'waiting for n2@host' } })
  missing = undefined
  const ready = await admin.fetch('/readyz')
  assert.equal(ready.status, 200)
  assert.deepEqual(await ready.json(), { ready: true, failing: {} })
})

test('/api/v1/cluster is the status as JSON', async (context) => {
  const admin = await adminFor(context)
  const response = await admin.fetch('/api/v1/cluster?pretty')
  assert.equal(response.headers.get('content-type'), 'application/json; charset=utf-8')
  assert.deepEqual(await response.json(), STATUS)
})

test('/ lists what there is', async (context) => {
  const text = await (await (await adminFor(context)).fetch('/')).text()
  for (const path of ['/metrics', '/livez', '/readyz', '/api/v1/cluster']) assert.equal(text.includes(path), true, path)
})

test('HEAD is answered like GET, without a body', async (context) => {
  const response = await (await adminFor(context)).fetch('/api/v1/cluster', { method: 'HEAD' })
  assert.deepEqual([response.status, await response.text()], [200, ''])
})

test('unknown paths are 404 and other methods 405, in JSON', async (context) => {
  const admin = await adminFor(context)
  for (const path of ['/nope', '/constructor', '/metrics/']) {
    const missing = await admin.fetch(path)
    assert.deepEqual([missing.status, await missing.json()], [404, { error: 'not found', path }])
  }
  const wrong = await admin.fetch('/metrics', { method: 'POST', body: 'x' })
  assert.equal(wrong.status, 405)
  assert.equal(wrong.headers.get('allow'), 'GET, HEAD')
  assert.deepEqual(await wrong.json(), { error: 'method not allowed', allowed: ['GET', 'HEAD'] })
})

test('a page that fails is a 500, and the next one is served', async (context) => {
  let isBroken = true
  const admin = await adminFor(context, {
    operations: operationsOf(() => {
      if (isBroken) throw new Error('broken')
      return STATUS
    }),
  })
  const failed = await admin.fetch('/api/v1/cluster')
  assert.deepEqual([failed.status, await failed.json()], [500, { error: 'internal error' }])
  isBroken = false
  assert.equal((await admin.fetch('/api/v1/cluster')).status, 200)
})

test('a taken port is an error that names it', async (context) => {
  const { server } = await adminFor(context)
  const port = server.address.split(':')[1]
  const log = createLogger({ level: 'silent', format: 'json' }, {})
  const second = new AdminServer(
    { listen: server.address },
    { registry: new MetricRegistry(), health: new Health(), operations: operationsOf(() => STATUS), log },
  )
  await assert.rejects(second.start(), (error) => {
    assert(error instanceof AdminListenError)
    assert.equal(error.code, 'PORT_TAKEN')
    assert.equal(error.message, `port ${port} (admin 127.0.0.1:${port}) is already in use`)
    return true
  })
  await second.stop()
})

test('stopping does not wait for connections that are kept alive, and may be done twice', async (context) => {
  const { server } = await adminFor(context)
  const { host, port } = parseHostPort(server.address)
  const socket = connect(port, host)
  context.after(() => socket.destroy())
  socket.write('GET /livez HTTP/1.1\r\nHost: n1\r\n\r\n')
  const [answer] = (await once(socket, 'data')) as [Buffer]
  assert.match(answer.toString(), /^Connection: keep-alive\r$/m)
  const closed = once(socket, 'close')
  await server.stop()
  await closed
  await server.stop()
  assert.equal(server.address, '')
})

test('what changes something is refused to web pages, and only to them', async (context) => {
  const admin = await adminFor(context)
  const page = await admin.fetch('/api/v1/clients/c', { method: 'DELETE', headers: { origin: 'http://example.com' } })
  assert.equal(page.status, 403)
  const operator = await admin.fetch('/api/v1/clients/c', { method: 'DELETE' })
  assert.deepEqual([operator.status, await operator.json()], [404, { error: 'no client c on this node' }])
})

test('a parameter that is not as it should be is named with its value and what is accepted', async (context) => {
  const admin = await adminFor(context)
  for (const [query, error] of [
    ['limit=0', 'limit=0: expected a whole number from 1 to 10000'],
    ['page=x', 'page=x: expected a whole number from 1 to 9007199254740991'],
    ['connected=yes', 'connected=yes: expected true or false'],
  ]) {
    const answer = await admin.fetch(`/api/v1/clients?${query}`)
    assert.deepEqual([answer.status, await answer.json()], [400, { error }])
  }
  const join = await admin.fetch('/api/v1/cluster/join?address=nowhere', { method: 'POST' })
  assert.equal(join.status, 400)
  assert.equal((await admin.fetch('/api/v1/clients/%E0%A4%A')).status, 400)
})

test('a method that a resource does not have is 405, with those it has', async (context) => {
  const answer = await (await adminFor(context)).fetch('/api/v1/clients/c', { method: 'PUT' })
  assert.deepEqual([answer.status, answer.headers.get('allow')], [405, 'GET, HEAD, DELETE'])
})
