import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientFor } from '../support/client.js'
import { clusterFor } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import { processorWait } from '../support/processor-wait.js'

const ROUTES = 100_000
const SESSIONS = 20
/** Filters per SUBSCRIBE; 500 of them stay far below the maximum packet size. */
const FILTERS_PER_PACKET = 500
/** From the links being up to having every route, without the time in which others had the processors. */
const SNAPSHOT_WITHIN_MS = 2_000
const PATIENTLY = { within: 60_000 }

test(`a late joiner has a snapshot of ${ROUTES} routes when its links are up, and serves`, {
  timeout: 120_000,
}, async (t) => {
  const cluster = await clusterFor(t, { nodes: 3, start: false })
  const [n1, n2, n3] = [cluster.node(1), cluster.node(2), cluster.node(3)]
  await Promise.all([n1.start(), n2.start()])
  await cluster.whenWhole()

  const filters = Array.from({ length: ROUTES }, (_, index) =>
    index % 4 === 0 ? `plant/${index}/+/state` : `plant/${index % 97}/machine/${index}`,
  )
  const perSession = ROUTES / SESSIONS
  const sessions = await Promise.all(
    Array.from({ length: SESSIONS }, async (_, session) => {
      const client = await clientFor(t, `mqtt://127.0.0.1:${n1.ports.mqtt}`)
      for (let start = session * perSession; start < (session + 1) * perSession; start += FILTERS_PER_PACKET) {
        await client.subscribe(filters.slice(start, start + FILTERS_PER_PACKET), 1)
      }
      return client
    }),
  )
  await eventually(async () => assert.equal((await n2.statusOf(n1.name)).routes, ROUTES), PATIENTLY)

  await n3.start()
  await eventually(async () => assert.equal((await n3.statusOf(n1.name)).link, 'up'), PATIENTLY)
  const waited = (): number => [n1.pid, n3.pid, process.pid].reduce((sum, pid) => sum + processorWait(pid), 0)
  const [linked, waitedBefore] = [performance.now(), waited()]
  await eventually(
    async () => assert.equal((await n3.metrics()).value('shoalmq_peer_routes', { peer: n1.name }), ROUTES),
    PATIENTLY,
  )
  const [took, waiting] = [performance.now() - linked, waited() - waitedBefore]
  t.diagnostic(
    `${ROUTES} routes ${Math.round(took)} ms after the link was up, with ${Math.round(waiting)} ms of waiting for a processor`,
  )
  assert.ok(took - waiting < SNAPSHOT_WITHIN_MS, `it took ${took} ms, ${waiting} ms of them waiting for a processor`)
  await cluster.whenWhole(PATIENTLY.within)

  const publisher = await clientFor(t, `mqtt://127.0.0.1:${n3.ports.mqtt}`)
  for (const index of [0, 1, 50_000, 99_997, 99_999]) {
    const topic = (filters[index] ?? '').replace('+', 'any')
    await publisher.publish(topic, `${index}`, { qos: 1 })
    const session = sessions[Math.floor(index / perSession)]
    await eventually(() => assert.deepEqual(session?.payloads(topic), [`${index}`]))
  }
  const received = sessions.reduce((sum, session) => sum + session.received.length, 0)
  assert.equal(received, 5, 'and nobody else got any')
})
