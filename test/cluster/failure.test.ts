import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientFor } from '../support/client.js'
import { useCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import type { NodeProcess } from '../support/node-process.js'
import { deliveryFaults, NO_FAULTS, numbered } from '../support/numbered.js'
import { shoalmq } from '../support/shoalmq-command.js'
import { publishSteadily } from '../support/steady-publisher.js'

/** What a machine that is busy with other things may add to the times that are promised. */
const BUSY_MS = 2_000
/** A dead node is noticed within this time, whatever kills it. */
const NOTICED_WITHIN_MS = 5_000 + BUSY_MS
/** A clean leave is said, not guessed. */
const LEAVE_NOTICED_WITHIN_MS = 1_000
/** From its links being up to serving with every route. */
const SERVES_WITHIN_MS = 2_000 + BUSY_MS

/** For what has no promised time, on a machine with other things to do. */
const PATIENTLY = { within: 15_000 }

const cluster = useCluster({ nodes: 3 })

function url(node: number): string {
  return `mqtt://127.0.0.1:${cluster().node(node).ports.mqtt}`
}

async function whenStopped(observers: readonly NodeProcess[], name: string, within: number): Promise<void> {
  await eventually(
    async () => {
      for (const observer of observers) {
        const seen = await observer.statusOf(name)
        assert.deepEqual([seen.state, seen.link], ['stopped', 'down'], `${observer.name} sees ${name}`)
      }
    },
    { within },
  )
}

async function whenLinked(observers: readonly NodeProcess[], name: string): Promise<void> {
  await eventually(async () => {
    for (const observer of observers) {
      const seen = await observer.statusOf(name)
      assert.deepEqual([seen.state, seen.link], ['running', 'up'], `${observer.name} sees ${name}`)
    }
  }, PATIENTLY)
}

test('a node killed while traffic flows is noticed in time, the survivors lose nothing, and it comes back to serve', async (t) => {
  const [n1, n2, n3] = [cluster().node(1), cluster().node(2), cluster().node(3)]
  const subscribers = [await clientFor(t, url(1)), await clientFor(t, url(2), { version: 4 })]
  for (const subscriber of subscribers) await subscriber.subscribe('survivors/#', 1)
  const doomed = await clientFor(t, url(3))
  await doomed.subscribe('survivors/#', 1)
  const publishers = [await clientFor(t, url(1)), await clientFor(t, url(2))]
  const stops = publishers.map((publisher, index) =>
    publishSteadily(publisher, { topic: `survivors/${index}`, name: `p${index}` }),
  )
  await eventually(
    () => assert.ok(doomed.received.length > 20, 'traffic flows to the node that will be killed'),
    PATIENTLY,
  )
  const before = (await n1.statusOf(n3.name)).incarnation

  const killed = performance.now()
  await n3.kill('SIGKILL')
  await whenStopped([n1, n2], n3.name, NOTICED_WITHIN_MS)
  t.diagnostic(`noticed ${Math.round(performance.now() - killed)} ms after kill -9`)
  const atDeath = subscribers.map((subscriber) => subscriber.received.length)
  await eventually(() => {
    for (const [index, subscriber] of subscribers.entries()) {
      assert.ok(subscriber.received.length > (atDeath[index] ?? 0) + 20, 'the survivors keep serving')
    }
  }, PATIENTLY)

  await n3.start()
  await whenLinked([n1, n2], n3.name)
  const linked = performance.now()
  const returned = await clientFor(t, url(3))
  await returned.subscribe('survivors/#', 1)
  const own = await clientFor(t, url(3))
  await own.publish('survivors/2', numbered('p2', 1), { qos: 1 })
  await eventually(
    () => {
      assert.ok(returned.received.length > 0, 'the restarted node has its route known')
      for (const subscriber of subscribers) assert.deepEqual(subscriber.payloads('survivors/2'), [numbered('p2', 1)])
    },
    { within: SERVES_WITHIN_MS - (performance.now() - linked) },
  )
  t.diagnostic(`served ${Math.round(performance.now() - linked)} ms after its links were up`)
  assert.ok((await n1.statusOf(n3.name)).incarnation > before, 'with a new incarnation')

  const [p0 = 0, p1 = 0] = await Promise.all(stops.map((stop) => stop()))
  await eventually(() => {
    for (const subscriber of subscribers) {
      assert.deepEqual(deliveryFaults({ p0, p1, p2: 1 }, subscriber.payloads()), NO_FAULTS)
    }
  }, PATIENTLY)
  await cluster().whenWhole()
})

test('publishing to a topic that only the dead node wanted goes on, and its routes are back with it', async (t) => {
  const [n1, n2, n3] = [cluster().node(1), cluster().node(2), cluster().node(3)]
  const doomed = await clientFor(t, url(3))
  await doomed.subscribe('only/dead', 0)
  await n3.kill()
  await whenStopped([n1, n2], n3.name, NOTICED_WITHIN_MS)
  const publisher = await clientFor(t, url(1))
  for (let number = 1; number <= 20; number += 1) await publisher.publish('only/dead', `${number}`, { qos: 0 })
  const subscriber = await clientFor(t, url(2))
  await subscriber.subscribe('only/+', 1)
  await publisher.publish('only/living', 'x', { qos: 1 })
  await eventually(() => assert.deepEqual(subscriber.payloads('only/living'), ['x']))
  await n3.start()
  await cluster().whenWhole()
})

test('a subscription is acknowledged while a node is dead', async (t) => {
  const [n1, n2, n3] = [cluster().node(1), cluster().node(2), cluster().node(3)]
  await n3.kill()
  await whenStopped([n1, n2], n3.name, NOTICED_WITHIN_MS)
  const subscriber = await clientFor(t, url(1))
  const started = performance.now()
  await subscriber.subscribe('while/dead', 1)
  assert.ok(performance.now() - started < 500, `SUBACK after ${Math.round(performance.now() - started)} ms`)
  await n3.start()
  await cluster().whenWhole()
  const publisher = await clientFor(t, url(3))
  await publisher.publish('while/dead', 'known to the returned node', { qos: 1 })
  await eventually(() => assert.deepEqual(subscriber.payloads(), ['known to the returned node']))
})

test('a clean stop is seen at once, and its routes go with it', async (t) => {
  const [n1, n2, n3] = [cluster().node(1), cluster().node(2), cluster().node(3)]
  const subscriber = await clientFor(t, url(3))
  await subscriber.subscribe('clean/stop', 1)
  const exit = await n3.stop()
  const exited = performance.now()
  await whenStopped([n1, n2], n3.name, LEAVE_NOTICED_WITHIN_MS)
  t.diagnostic(`seen ${Math.round(performance.now() - exited)} ms after its exit`)
  assert.deepEqual(exit, { code: 0, signal: null })
  for (const observer of [n1, n2]) {
    const seen = await observer.statusOf(n3.name)
    assert.deepEqual([seen.reason, seen.routes], ['left', 0], observer.name)
    const { stdout } = await shoalmq(['cluster', 'status', '--admin', observer.adminAddress])
    assert.match(stdout, /n3@127\.0\.0\.1.*stopped/, 'and the command says so')
  }
  await n3.start()
  await cluster().whenWhole()
})

test('a frozen node is noticed by its silence, and rejoins by itself when it thaws', async (t) => {
  const [n1, n2, n3] = [cluster().node(1), cluster().node(2), cluster().node(3)]
  const frozen = performance.now()
  process.kill(n3.pid, 'SIGSTOP')
  try {
    // It says nothing and its sockets stay open: only the heartbeats can tell.
    await whenStopped([n1, n2], n3.name, NOTICED_WITHIN_MS)
    t.diagnostic(`noticed ${Math.round(performance.now() - frozen)} ms after it froze`)
    const subscriber = await clientFor(t, url(1))
    await subscriber.subscribe('while/frozen', 1)
    const publisher = await clientFor(t, url(2))
    await publisher.publish('while/frozen', 'x', { qos: 1 })
    await eventually(() => assert.deepEqual(subscriber.payloads(), ['x']))
  } finally {
    process.kill(n3.pid, 'SIGCONT')
  }
  await cluster().whenWhole()
  const subscriber = await clientFor(t, url(3))
  await subscriber.subscribe('after/thaw', 1)
  const publisher = await clientFor(t, url(1))
  await publisher.publish('after/thaw', 'x', { qos: 1 })
  await eventually(() => assert.deepEqual(subscriber.payloads(), ['x']))
})
