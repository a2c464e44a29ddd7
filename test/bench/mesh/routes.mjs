/**
 * A million routes: what one costs in memory, how long they take to a peer, to one that restarts and to one that joins,
 * how long the event loop stands still meanwhile, and what publishing costs with them.
 */

import { setTimeout as delay } from 'node:timers/promises'
import { freePort, metricOf, startNode, statusOf, until } from '../brokers.mjs'
import { compileGenerator, load } from '../generator.mjs'
import { cpuSeconds, residentBytes } from './process-figures.mjs'
import { Subscriber } from './subscriber.mjs'

const SESSIONS = 20
const BURST = 10_000
const LIMIT_MS = 600_000
/** Garbage of a phase is collected by then, or most of it. */
const SETTLE_MS = 3_000
const OWNER = 'a@127.0.0.1'

export async function measureRoutes({ routes: count, seconds }, print) {
  const row = (what, value) => print(`| ${what} | ${value} |`)
  const filters = Array.from({ length: count }, (_, index) =>
    index % 4 === 0 ? `plant/${index}/+/state` : `plant/${index}/machine`,
  )
  const ports = { a: await freePort(), b: await freePort(), c: await freePort() }
  const startNamed = (name, cores) =>
    startNode({
      name,
      cores,
      clusterPort: ports[name],
      seeds: Object.values(ports).filter((port) => port !== ports[name]),
      config: { log: { level: 'error' }, mqtt: { maximumSubscriptions: count }, cluster: { joinTimeout: '2s' } },
    })
  const running = []
  const subscribers = []
  try {
    const a = await startNamed('a', '0')
    running.push(a)
    let b = await startNamed('b', '1')
    running.push(b)
    await until(isLinked(b), 'a and b are linked')
    await delay(SETTLE_MS)
    const before = [a, b].map(({ pid }) => residentBytes(pid))

    print(`${count.toLocaleString('en')} filters in ${SESSIONS} sessions on node A.\n`)
    print('| what | |\n|---|--:|')
    for (let session = 0; session < SESSIONS; session += 1) {
      subscribers.push(await Subscriber.connect(a.port, `routes-${session}`))
    }
    const perSession = Math.ceil(count / SESSIONS)
    const used = [a, b].map(({ pid }) => cpuSeconds(pid))
    let watch = watchLoop([a, b])
    let started = performance.now()
    await Promise.all(
      subscribers.map((one, session) => one.subscribe(filters.slice(session * perSession, (session + 1) * perSession))),
    )
    const acknowledged = performance.now()
    await until(has(b, count), 'b has every route', LIMIT_MS)
    row('subscribed, each SUBACK after its routes are known to B', `${milliseconds(acknowledged - started)}`)
    row('after the last SUBACK, B has every route', milliseconds(performance.now() - acknowledged))
    for (const [index, { name, pid }] of [a, b].entries()) {
      const cpu = ((cpuSeconds(pid) - used[index]) / count) * 1e6
      row(`processor time of ${name} per route`, `${cpu.toFixed(1)} µs`)
    }
    row('longest stop of an event loop (A, B)', (await watch()).join(', '))
    await delay(SETTLE_MS)
    const after = [a, b].map(({ pid }) => residentBytes(pid))
    row('resident memory per subscription on A', `${Math.round((after[0] - before[0]) / count)} bytes`)
    row('resident memory per route on B', `${Math.round((after[1] - before[1]) / count)} bytes`)

    const extra = await Subscriber.connect(a.port, 'burst')
    subscribers.push(extra)
    started = performance.now()
    await extra.subscribe(Array.from({ length: BURST }, (_, index) => `burst/${index}/+`))
    await until(has(b, count + BURST), 'b has the burst', LIMIT_MS)
    row(`a burst of ${BURST} more, until B has them`, milliseconds(performance.now() - started))

    await measurePublishing(a, b, subscribers, { seconds, count }, row)

    await b.stop()
    running.splice(running.indexOf(b), 1)
    const all = await metricOf(a, 'shoalmq_own_routes')
    b = await startNamed('b', '1')
    running.push(b)
    await until(isLinked(b), 'a and b are linked again')
    started = performance.now()
    watch = watchLoop([a, b])
    await until(has(b, all), 'b has every route again', LIMIT_MS)
    row('B restarted: from its link being up to every route', milliseconds(performance.now() - started))
    row('longest stop of an event loop (A, B)', (await watch()).join(', '))
    const c = await startNamed('c', '1')
    running.push(c)
    await until(isLinked(c), 'a and c are linked')
    started = performance.now()
    await until(has(c, all), 'c has every route', LIMIT_MS)
    row('C joins: from its link being up to every route', milliseconds(performance.now() - started))

    watch = watchLoop([a, b])
    started = performance.now()
    for (const one of subscribers.splice(0)) one.drop()
    await until(has(b, 0), 'b has no route left', LIMIT_MS)
    row('every session gone: until B has none of the routes', milliseconds(performance.now() - started))
    row('longest stop of an event loop (A, B)', (await watch()).join(', '))
  } finally {
    for (const one of subscribers) one.drop()
    for (const node of running) await node.stop()
  }
}

/** QoS 0 publishes on B, to topics that come again and to ever new ones; `many` matches ten filters on A and one on B. */
async function measurePublishing(a, b, subscribers, { seconds, count }, row) {
  const program = compileGenerator()
  const wanted = await Subscriber.connect(a.port, 'many')
  await wanted.subscribe([
    'many/#',
    'many/+',
    'many/+/#',
    '+/+',
    '+/+/#',
    '+/#',
    'many/+/+',
    'many/1',
    'many/2',
    'many/3',
  ])
  const local = await Subscriber.connect(b.port, 'many-local')
  await local.subscribe(['many/#'])
  subscribers.push(wanted, local)
  const cases = {
    none: 'nobody/{i}/wants/this',
    one: 'plant/{i}/machine',
    many: 'many/{i}',
  }
  for (const [name, topic] of Object.entries(cases)) {
    for (const topics of [1_000, Math.min(count, 1_000_000)]) {
      const used = cpuSeconds(b.pid)
      const parameters = `--subscribers 0 --topic ${topic} --topics ${topics} --choice at-random`
      const { sent_s: rate } = await load({ program, seconds, version: 4 }, parameters, ['--port', `${b.port}`])
      // Warm-up and measured time: one second and `seconds`, at about one rate.
      const cpu = ((cpuSeconds(b.pid) - used) / (rate * (seconds + 1))) * 1e6
      row(
        `publish that matches ${name}, ${topics} topics`,
        `${Math.round(rate / 1_000)} k/s, ${cpu.toFixed(2)} µs of B each`,
      )
    }
  }
}

function milliseconds(value) {
  return `${value.toFixed(0)} ms`
}

function has(node, wanted) {
  return async () => (await metricOf(node, `shoalmq_peer_routes{peer="${OWNER}"}`)) === wanted
}

function isLinked(node) {
  return async () => {
    const { nodes } = await statusOf(node)
    return nodes.some((one) => one.name === OWNER && one.link === 'up')
  }
}

/** The longest lag of each node's event loop from here to the call of what it returns. */
function watchLoop(nodes) {
  const longest = nodes.map(() => 0)
  let isOver = false
  const look = async () => {
    for (const [index, node] of nodes.entries()) {
      const lag = await metricOf(node, 'nodejs_eventloop_lag_max_seconds').catch(() => 0)
      longest[index] = Math.max(longest[index], Number.isFinite(lag) ? lag : 0)
    }
  }
  const watching = (async () => {
    // The first look only begins a new measurement.
    await look()
    longest.fill(0)
    while (!isOver) {
      await delay(500)
      await look()
    }
  })()
  return async () => {
    isOver = true
    await watching
    return longest.map((lag) => milliseconds(lag * 1_000))
  }
}
