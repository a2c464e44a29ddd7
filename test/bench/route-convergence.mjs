#!/usr/bin/env node
/**
 * How fast routes get around: 100,000 filters subscribed on node A until node B has them; B killed, started again and
 * given a snapshot; a third node that joins late; and all of them withdrawn.
 *
 *   npm run build && node test/bench/route-convergence.mjs [--routes 100000]
 */

import { parseArgs } from 'node:util'
import mqtt from 'mqtt'
import { runScript } from '../support/scripts/run-command.mjs'
import { freePort, metricOf, startNode, statusOf, until } from './brokers.mjs'

const SESSIONS = 20
const FILTERS_PER_PACKET = 500
const LIMIT_MS = 120_000

async function main() {
  const { values } = parseArgs({ options: { routes: { type: 'string', default: '100000' } } })
  const count = Number(values.routes)
  const perSession = Math.ceil(count / SESSIONS)
  const filters = Array.from({ length: count }, (_, index) =>
    index % 4 === 0 ? `plant/${index}/+/state` : `plant/${index % 97}/machine/${index}`,
  )
  const ports = { a: await freePort(), b: await freePort(), c: await freePort() }
  const startNamed = (name, cores) =>
    startNode({
      name,
      cores,
      clusterPort: ports[name],
      seeds: Object.values(ports).filter((port) => port !== ports[name]),
      config: { log: { level: 'error' }, mqtt: { maximumSubscriptions: count } },
    })
  const has = (node, wanted) => async () => (await metricOf(node, 'shoalmq_peer_routes{peer="a@127.0.0.1"}')) === wanted
  const isLinked = (node) => async () => {
    const { nodes } = await statusOf(node)
    return nodes.some((one) => one.name === 'a@127.0.0.1' && one.link === 'up')
  }

  const running = []
  const clients = []
  try {
    const a = await startNamed('a', '0')
    running.push(a)
    let b = await startNamed('b', '1')
    running.push(b)
    await until(isLinked(b), 'a and b are linked')

    console.log(`${count} filters in ${SESSIONS} sessions on node A, node ${process.version}\n`)
    for (let session = 0; session < SESSIONS; session += 1) {
      clients.push(await mqtt.connectAsync(`mqtt://127.0.0.1:${a.port}`, { protocolVersion: 5, reconnectPeriod: 0 }))
    }
    let started = performance.now()
    await Promise.all(
      clients.map(async (client, session) => {
        const end = Math.min((session + 1) * perSession, count)
        for (let from = session * perSession; from < end; from += FILTERS_PER_PACKET) {
          await client.subscribeAsync(filters.slice(from, Math.min(from + FILTERS_PER_PACKET, end)), { qos: 0 })
        }
      }),
    )
    const acknowledged = performance.now()
    await until(has(b, count), 'b has every route', LIMIT_MS)
    print('subscribed and acknowledged, each SUBACK after its routes are known', acknowledged - started)
    print('after the last SUBACK, B has every route', performance.now() - acknowledged)

    await b.stop()
    running.splice(running.indexOf(b), 1)
    b = await startNamed('b', '1')
    running.push(b)
    await until(isLinked(b), 'a and b are linked again')
    started = performance.now()
    await until(has(b, count), 'b has every route again', LIMIT_MS)
    print('B restarted: from its link being up to every route', performance.now() - started)

    const c = await startNamed('c', '1')
    running.push(c)
    await until(isLinked(c), 'a and c are linked')
    started = performance.now()
    await until(has(c, count), 'c has every route', LIMIT_MS)
    print('C joins late: from its link being up to every route', performance.now() - started)

    started = performance.now()
    for (const client of clients.splice(0)) client.end(true)
    await until(has(b, 0), 'b has no route left', LIMIT_MS)
    print('every session gone: until B has none of the routes', performance.now() - started)
  } finally {
    for (const client of clients) client.end(true)
    for (const node of running) await node.stop()
  }
  return 0
}

function print(what, milliseconds) {
  console.log(`${what}: ${milliseconds.toFixed(0)} ms`)
}

await runScript(main)
