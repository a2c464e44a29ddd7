#!/usr/bin/env node
/**
 * What keeping costs: retained messages of QoS 1, 64 bytes each, from 50 publishers to as many topics, acknowledged by
 * Mosquitto (which has them in memory), by a node that has them in memory, and by one that commits them first; then a
 * start with all of them on the disk. Broker on core 1, publishers on core 0. With `--store redis` the same with a Redis on
 * core 0, beside the publishers: with round trips per message, and what Redis itself has used of its core.
 *
 *   npm run build && taskset -c 0 node test/bench/retained-store.mjs [--store embedded|redis] [--messages 200000]
 *     [--topics 20000] [--kept 1000000] [--start]
 *
 * With `--start` only the last part: memory and time of a start with all of them, and the longest that a client which pings
 * waits while another gets them all by one subscription to `#`.
 */

import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { runScript } from '../support/scripts/run-command.mjs'
import { freePort, metricOf, startMosquitto, startNode, startRedis } from './brokers.mjs'

const PUBLISHERS = 50
const PAYLOAD = Buffer.alloc(64, 0x78)
const PUBACK_BYTES = 4
/** Of the topics of a start with a million, on average. */
const TOPIC_BYTES = 21.2445
/** A stream has ended when nothing has come for so long. */
const QUIET_MS = 1_500
/** Frames that a publisher writes at once. */
const CHUNK_FRAMES = 200

async function main() {
  const { values } = parseArgs({
    options: {
      store: { type: 'string', default: 'embedded' },
      messages: { type: 'string', default: '200000' },
      topics: { type: 'string', default: '20000' },
      kept: { type: 'string', default: '1000000' },
      start: { type: 'boolean', default: false },
    },
  })
  const [messages, topics, kept] = [values.messages, values.topics, values.kept].map(Number)
  const limits = { mqtt: { retainedMessages: 2 * kept, retainedBytes: '4gb' }, log: { level: 'error' } }
  const nodeWith = async (store, data = '') =>
    startNode({ name: 'n1', cores: '1', clusterPort: await freePort(), config: { ...limits, store }, data })
  if (values.start) return measureStart(nodeWith, kept)
  const candidates = {
    embedded: {
      'Mosquitto, in memory': () => startMosquitto('1'),
      'ShoalMQ, store.kind memory': () => nodeWith({ kind: 'memory' }),
      'ShoalMQ, embedded, commit': () => nodeWith({ kind: 'embedded', durability: 'commit' }),
      'ShoalMQ, embedded, fsync': () => nodeWith({ kind: 'embedded', durability: 'fsync' }),
    },
    redis: {
      'ShoalMQ, embedded, commit': () => nodeWith({ kind: 'embedded', durability: 'commit' }),
      'Redis, without a file': () => nodeWithRedis(nodeWith, 'no'),
      'Redis, fsync every second': () => nodeWithRedis(nodeWith, 'everysec'),
      'Redis, fsync always': () => nodeWithRedis(nodeWith, 'always'),
    },
  }[values.store]
  if (candidates === undefined) throw new Error(`--store is ${values.store}; expected embedded or redis`)
  console.log(`${messages} retained messages of QoS 1 to ${topics} topics, node ${process.version}\n`)
  for (const [name, start] of Object.entries(candidates)) {
    const broker = await start()
    await publish(broker.port, topics, topics)
    const before = await figuresOf(name, broker)
    const seconds = await publish(broker.port, messages, topics)
    const after = await figuresOf(name, broker)
    const [commits, trips, cpu] = before.map((figure, index) => after[index] - figure)
    const rate = `${Math.round(messages / seconds).toLocaleString('en')} acknowledged/s`
    const perCommit = commits === 0 ? '' : `, ${Math.round(messages / commits)} messages per commit`
    const ofRedis =
      trips === 0
        ? ''
        : `, ${(trips / messages).toFixed(4)} round trips per message, Redis ${Math.round((100 * cpu) / seconds)} % of a core`
    console.log(`${name.padEnd(28)} ${rate}${perCommit}${ofRedis}`)
    await broker.stop()
  }
  if (values.store === 'embedded') await measureStart(nodeWith, kept)
}

/** A node whose store is in a Redis of its own; both end together. */
async function nodeWithRedis(nodeWith, fsync) {
  const redis = await startRedis('0', fsync)
  const node = await nodeWith({ kind: 'redis', redis: { url: `redis://127.0.0.1:${redis.port}`, waitTime: '30s' } })
  const stop = async () => {
    await node.stop()
    await redis.stop()
  }
  return { ...node, redisPort: redis.port, stop }
}

/** Commits, round trips to Redis, and seconds of a core that Redis has used. */
async function figuresOf(name, broker) {
  if (!/embedded|Redis/.test(name)) return [0, 0, 0]
  const commits = await metricOf(broker, 'shoalmq_store_commits_total')
  if (broker.redisPort === undefined) return [commits, 0, 0]
  const text = execFileSync('redis-cli', ['-p', String(broker.redisPort), 'info', 'cpu'], { encoding: 'utf8' })
  const used = ['user', 'sys'].map((kind) => Number(new RegExp(`used_cpu_${kind}:([\\d.]+)`).exec(text)?.[1] ?? 0))
  return [commits, await metricOf(broker, 'shoalmq_store_redis_round_trips_total'), used[0] + used[1]]
}

async function measureStart(nodeWith, kept) {
  const data = mkdtempSync(join(tmpdir(), 'shoalmq-bench-'))
  try {
    const first = await nodeWith({ kind: 'embedded' }, data)
    await publish(first.port, kept, kept)
    const bytes = await metricOf(first, 'shoalmq_store_file_bytes')
    await first.stop()
    const startedAt = performance.now()
    const second = await nodeWith({ kind: 'embedded' }, data)
    const milliseconds = Math.round(performance.now() - startedAt)
    const found = await metricOf(second, 'shoalmq_retained_messages')
    console.log(
      `\n${found} of ${kept} kept: ${Math.round(bytes / kept)} bytes on disk each; served ${milliseconds} ms after the ` +
        `process began, ${memoryOf(second)}`,
    )
    const idle = await stream(second, 'none/+')
    const all = await stream(second, '#')
    console.log(
      `${all.count} streamed to one client in ${all.seconds.toFixed(1)} s, ${Math.round(all.count / all.seconds)}/s; a ping was ` +
        `answered after ${all.longest} ms at most, ${idle.longest} ms before; then ${memoryOf(second)}`,
    )
    await second.stop()
  } finally {
    rmSync(data, { recursive: true, force: true })
  }
}

/** What is resident, and what of it is not a page of a file. */
function memoryOf({ pid }) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const [resident, anonymous] = ['VmRSS', 'RssAnon'].map((name) =>
    Math.round(Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1024),
  )
  return `${resident} MB resident, ${anonymous} MB of it not of a file`
}

/** Subscribes to a filter and takes what is retained, while another client pings: in milliseconds how long it waited at most. */
async function stream({ port }, filter) {
  const [subscriber, pinging] = [await connectAs(port, 'subscriber'), await connectAs(port, 'pinging')]
  let received = 0
  let last = performance.now()
  subscriber.on('data', (chunk) => {
    received += chunk.length
    last = performance.now()
  })
  const pings = { longest: 0, sentAt: 0 }
  const ping = () => {
    pings.sentAt = performance.now()
    pinging.write(Buffer.of(0xc0, 0))
  }
  pinging.on('data', () => {
    pings.longest = Math.max(pings.longest, performance.now() - pings.sentAt)
    setTimeout(ping, 2)
  })
  const startedAt = performance.now()
  ping()
  const name = Buffer.from(filter)
  subscriber.write(Buffer.concat([Buffer.of(0x82, 5 + name.length, 0, 1, 0, name.length), name, Buffer.of(0)]))
  while (performance.now() - last < QUIET_MS) await delay(50)
  subscriber.destroy()
  pinging.destroy()
  // A PUBLISH of QoS 0 has its topic, 64 bytes and four more.
  const count = Math.round((received - 5) / (4 + PAYLOAD.length + TOPIC_BYTES))
  return { count, seconds: (last - startedAt) / 1000, longest: Math.round(pings.longest) }
}

async function connectAs(port, name) {
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  const clientId = Buffer.from(name)
  socket.write(
    Buffer.concat([
      Buffer.of(0x10, 12 + clientId.length, 0, 4),
      Buffer.from('MQTT'),
      Buffer.of(4, 2, 0, 0, 0, clientId.length),
      clientId,
    ]),
  )
  await once(socket, 'data')
  return socket
}

/** Publishes from all publishers at once; returns the seconds until the last acknowledgement. */
async function publish(port, count, topics) {
  const each = Math.ceil(count / PUBLISHERS)
  const startedAt = performance.now()
  await Promise.all(
    Array.from({ length: PUBLISHERS }, (_, number) => publishAs(port, number, each, Math.ceil(topics / PUBLISHERS))),
  )
  return (performance.now() - startedAt) / 1000
}

async function publishAs(port, number, count, topics) {
  const socket = await connectAs(port, `p${number}`)
  let received = 0
  let onReceived = () => {}
  socket.on('data', (chunk) => {
    received += chunk.length
    onReceived()
  })
  const until = (bytes) =>
    new Promise((done, fail) => {
      socket.once('close', () => fail(new Error('the broker has closed the connection')))
      onReceived = () => received >= bytes && done()
      onReceived()
    })
  for (let sent = 0; sent < count; sent += CHUNK_FRAMES) {
    const frames = []
    for (let index = sent; index < Math.min(count, sent + CHUNK_FRAMES); index += 1) {
      const topic = Buffer.from(`plant/${number}/machine/${index % topics}`)
      const packetId = 1 + (index % 60_000)
      const length = 4 + topic.length + PAYLOAD.length
      const header = Buffer.of(0x33, length, 0, topic.length)
      frames.push(header, topic, Buffer.of(packetId >> 8, packetId & 255), PAYLOAD)
    }
    if (!socket.write(Buffer.concat(frames))) await once(socket, 'drain')
  }
  await until(count * PUBACK_BYTES)
  socket.removeAllListeners('close')
  socket.destroy()
}

await runScript(main)
