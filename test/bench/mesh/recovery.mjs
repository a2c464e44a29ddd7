/**
 * A node is killed (`kill -9`) with the clients of kept sessions connected to it: how soon these have what others publish then.
 * With the embedded store the node is started again at once and its clients wait for it; with Redis it stays away and they go to
 * the other nodes. Three nodes, on the same cores as the clients.
 */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import mqtt from 'mqtt'
import { freePort, startNode, startRedis, statusOf, until } from '../brokers.mjs'
import { median } from './process-figures.mjs'

const LIMIT_MS = 60_000
const SESSIONS = 500
const PAYLOAD = Buffer.alloc(64)
/** How often a client tries to connect, in milliseconds. */
const RETRY_MS = 100
const CORES = '0-1'
const SESSION = { protocolVersion: 5, clean: false, properties: { sessionExpiryInterval: 3_600 } }

export async function measureRecovery({ runs }, print) {
  print(
    `${SESSIONS} clients of the node that is killed, a message for each of them from then on; medians of ${runs} runs.\n`,
  )
  print('| from the kill on | first message delivered | each of the sessions has its own |\n|---|--:|--:|')
  const cases = [
    ['embedded', 'the node is started again at once'],
    ['redis', 'the node stays away, its clients go to the others'],
  ]
  for (const [store, what] of cases) {
    const times = []
    for (let run = 0; run < runs; run += 1) times.push(await recover(store))
    const [first, last] = ['first', 'last'].map((field) => (median(times.map((one) => one[field])) / 1_000).toFixed(2))
    print(`| \`${store}\`: ${what} | ${first} s | ${last} s |`)
  }
}

async function recover(store) {
  const redis = store === 'redis' ? await startRedis(CORES, 'everysec') : undefined
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-bench-'))
  const config = {
    log: { level: 'error' },
    ...(redis === undefined ? {} : { store: { kind: 'redis', redis: { url: `redis://127.0.0.1:${redis.port}` } } }),
  }
  const ports = [await freePort(), await freePort(), await freePort()]
  const start = (index, ownPorts) => {
    const seeds = ports.filter((port) => port !== ports[index])
    const name = `n${index + 1}`
    const data = join(directory, name)
    return startNode({ name, cores: CORES, clusterPort: ports[index], seeds, config, data, ...ownPorts })
  }
  const nodes = []
  const clients = []
  try {
    for (const index of ports.keys()) nodes.push(await start(index, {}))
    await until(() => isWhole(nodes), 'three nodes are a mesh', LIMIT_MS)
    const [first, second, third] = nodes
    const survivors = store === 'redis' ? [second, third] : [first]
    for (let index = 0; index < SESSIONS; index += 1) clients.push(new Returning(first, survivors, index))
    await Promise.all(clients.map((client) => client.whenSubscribed()))
    const publisher = await mqtt.connectAsync({ protocolVersion: 5, port: second.port, clientId: 'publisher' })
    const killedAt = performance.now()
    await first.kill()
    const acknowledged = clients.map(({ topic }) => publisher.publishAsync(topic, PAYLOAD, { qos: 1 }))
    for (const client of clients) client.comeBack()
    if (store === 'embedded')
      nodes[0] = await start(0, { port: first.port, adminPort: Number(first.admin.split(':')[1]) })
    const deliveries = await Promise.all(clients.map((client) => client.whenDelivered()))
    await Promise.all(acknowledged)
    await publisher.endAsync()
    return { first: Math.min(...deliveries) - killedAt, last: Math.max(...deliveries) - killedAt }
  } finally {
    for (const client of clients) client.end()
    await Promise.all(nodes.map((node) => node.stop()))
    await redis?.stop()
    rmSync(directory, { recursive: true, force: true })
  }
}

/** A client that was connected to the node, and tries others, or the same again, until its session is there. */
class Returning {
  constructor(node, survivors, index) {
    this.topic = `recovery/${index}`
    this.clientId = `returning-${index}`
    this.servers = survivors.map((_, turn) => ({
      host: '127.0.0.1',
      port: survivors[(index + turn) % survivors.length].port,
    }))
    this.client = mqtt.connect({ ...SESSION, port: node.port, clientId: this.clientId, reconnectPeriod: 0 })
    // A node that is not there yet, or that says "come again".
    this.client.on('error', () => {})
  }

  async whenSubscribed() {
    await this.client.subscribeAsync(this.topic, { qos: 1 })
  }

  comeBack() {
    this.client.end(true)
    const { clientId, servers } = this
    this.client = mqtt.connect({
      ...SESSION,
      servers,
      clientId,
      reconnectPeriod: RETRY_MS,
      connectTimeout: 10_000,
      reconnectOnConnackError: true,
    })
    this.client.on('error', () => {})
    this.client.once('connect', ({ sessionPresent }) => assert.equal(sessionPresent, true, 'the session was kept'))
    this.delivered = new Promise((resolve, reject) => {
      this.client.once('message', () => resolve(performance.now()))
      setTimeout(() => reject(new Error(`nothing came to ${clientId}`)), LIMIT_MS).unref()
    })
  }

  whenDelivered() {
    return this.delivered
  }

  end() {
    this.client.end(true)
  }
}

async function isWhole(nodes) {
  const statuses = await Promise.all(nodes.map((node) => statusOf(node)))
  return statuses.every(({ nodes: seen }) => seen.filter(({ state }) => state === 'running').length === nodes.length)
}
