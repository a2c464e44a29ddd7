#!/usr/bin/env node
/**
 * What it costs to keep sessions on disk, beside Mosquitto, which has all in memory: messages for clients that are away,
 * their replay, clients that are there, room on the disk, and a start with a million messages in queues. The broker has
 * core 1, the thread that writes included, the load core 0; the brokers take turns.
 *
 *   node test/bench/kept-sessions.mjs [--only away,live,disk,start] [--runs 3] [--seconds 5]
 *     [--messages 300000] [--kept 1000000] [--durability commit|fsync] [--profiles directory] [--write]
 *   node test/bench/kept-sessions.mjs --only redis: the first two with a Redis on core 0
 *
 * --profiles leaves CPU profiles of the nodes. Figures on a busy machine: ratios in one run, and processor time per message.
 */

import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { connectAsync } from 'mqtt'
import { build } from '../support/scripts/build.mjs'
import { runScript, ScriptError } from '../support/scripts/run-command.mjs'
import { freePort, startMosquitto, startNode, startRedis } from './brokers.mjs'
import { circumstances, fillIn } from './document.mjs'
import { compileGenerator, load } from './generator.mjs'

const BROKER_CORE = '1'
const LOAD_CORE = '0'
const PAIRS = '--publishers 50 --subscribers 50 --choice own --qos 1'
/** Jiffies of /proc in a second. */
const CLOCK_TICKS = 100

const PARTS = { away: measureAway, live: measureLive, disk: measureDisk, start: measureStart }
/** By itself: its table has other columns. */
const REDIS = 'redis'

async function main() {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', default: Object.keys(PARTS).join(',') },
      runs: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '5' },
      messages: { type: 'string', default: '300000' },
      kept: { type: 'string', default: '1000000' },
      durability: { type: 'string', default: 'commit' },
      profiles: { type: 'string', default: '' },
      write: { type: 'boolean', default: false },
    },
  })
  const chosen = values.only.split(',')
  for (const name of chosen)
    if (!(name in PARTS) && values.only !== REDIS) throw new ScriptError(`There is no part ${name}.`)
  await build()
  const options = {
    generator: { program: compileGenerator(), seconds: Number(values.seconds), version: 4 },
    runs: Number(values.runs),
    messages: Number(values.messages),
    kept: Number(values.kept),
    durability: values.durability,
    profiles: values.profiles,
  }
  if (values.only === REDIS) {
    await measureRedis(options)
    return 0
  }
  const lines = []
  const print = (line) => {
    lines.push(line)
    console.log(line)
  }
  print(`${circumstances()}.`)
  print(`Medians of ${options.runs} runs, durability: ${options.durability}.\n`)
  print('| | ShoalMQ, embedded | Mosquitto, in memory | ratio | processor time per message |')
  print('|---|--:|--:|--:|--:|')
  for (const name of chosen) await PARTS[name](options, print)
  if (values.write) fillIn('kept sessions', lines.join('\n'))
  return 0
}

/** 50 clients that are away, and come back. */
async function measureAway(options, print) {
  const parameters = `--mode offline ${PAIRS} --count ${options.messages}`
  const runs = await inTurn(options, ['shoalmq', 'mosquitto'], (broker) => run(options, parameters, broker))
  print(
    rowOf(
      `${thousands(options.messages)} messages for 50 clients that are away, acknowledged`,
      runs,
      'acked_s',
      'us_taken',
    ),
  )
  print(rowOf('replayed when they come back', runs, 'replayed_s', 'us_replayed'))
}

/** 50 clients that are there, with sessions that outlive their connections and without. */
async function measureLive(options, print) {
  for (const clean of [0, 1]) {
    const runs = await inTurn(options, ['shoalmq', 'mosquitto'], (broker) =>
      run(options, `${PAIRS} --clean ${clean}`, broker),
    )
    const kind = clean === 0 ? 'sessions that are kept' : 'clean sessions'
    print(rowOf(`50 publishers to 50 clients that are there, ${kind}`, runs, 'delivered_s', 'us_passed'))
  }
}

/** Sessions in Redis: round trips per message, and what Redis itself uses. */
async function measureRedis(options) {
  const rows = [
    [
      'messages for 50 clients that are away, acknowledged',
      'acked_s',
      `--mode offline ${PAIRS} --count ${options.messages}`,
      'us_taken',
    ],
    ['50 publishers to 50 clients that are there', 'delivered_s', `${PAIRS} --clean 0`, 'us_passed'],
  ]
  console.log(`${circumstances()}.\n`)
  console.log('| sessions in Redis | messages/s | round trips per message | processor time per message: node, Redis |')
  console.log('|---|--:|--:|--:|')
  for (const fsync of ['no', 'everysec']) {
    const redis = await startRedis(LOAD_CORE, fsync)
    const store = { kind: 'redis', redis: { url: `redis://127.0.0.1:${redis.port}`, waitTime: '30s' } }
    const node = await startOurs(options, '', store)
    try {
      for (const [what, figure, parameters, own] of rows) {
        const before = await redisUse(node, redis)
        const result = await run(options, parameters, node)
        const after = await redisUse(node, redis)
        const handled = result.sent + result.arrived
        const trips = ((after.roundTrips - before.roundTrips) / result.sent).toFixed(4)
        const us = (((after.seconds - before.seconds) * 1e6) / handled).toFixed(1)
        const replay = result.replayed_s === undefined ? '' : `, replayed ${Math.round(result.replayed_s / 1000)} k/s`
        const faults = result.lost + result.duplicates + result.disordered
        const note = faults === 0 ? '' : ` (${faults} lost, repeated or out of order)`
        const rate = `${Math.round(result[figure] / 1000)} k/s${replay}`
        const file = fsync === 'no' ? 'no file' : fsync
        console.log(`| ${what}, ${file}${note} | ${rate} | ${trips} | ${result[own].toFixed(1)}, ${us} µs |`)
      }
    } finally {
      await node.stop()
      await redis.stop()
    }
  }
}

async function redisUse(node, redis) {
  const text = await (await fetch(`http://${node.admin}/metrics`)).text()
  const roundTrips = Number(/^shoalmq_store_redis_round_trips_total (\d+)/m.exec(text)?.[1])
  return { roundTrips, seconds: processorTime(redis.pid) }
}

async function measureDisk(options, print) {
  const queued = await withData(
    options,
    { sessions: 50, filterOf: (number) => `bench/${number}` },
    async (broker, path) => {
      const { acked } = await run(
        options,
        `--publishers 50 --subscribers 0 --choice own --qos 1 --count ${options.messages}`,
        broker,
      )
      return statSync(path).size / acked
    },
  )
  print(`| bytes on the disk per message of 64 bytes that is queued | ${Math.round(queued)} | | | |`)
  const [crowd, messages] = [10_000, 100]
  const each = await withData(options, { sessions: crowd, filterOf: () => 'bench/0' }, async (broker, path) => {
    const before = statSync(path).size
    const { acked } = await run(options, `--publishers 1 --subscribers 0 --qos 1 --count ${messages}`, broker)
    return (statSync(path).size - before) / acked / crowd
  })
  print(`| bytes per session of a message to ${thousands(crowd)} sessions that are away | ${each.toFixed(1)} | | | |`)
}

async function measureStart(options, print) {
  const data = mkdtempSync(join(tmpdir(), 'shoalmq-bench-'))
  try {
    const first = await startOurs(options, data)
    await leaveSessions(first.port, 50, (number) => `bench/${number}`)
    const { acked } = await run(
      options,
      `--publishers 50 --subscribers 0 --choice own --qos 1 --count ${options.kept}`,
      first,
    )
    await first.stop()
    const startedAt = performance.now()
    const second = await startOurs(options, data)
    const seconds = (performance.now() - startedAt) / 1000
    const memory = memoryOf(second.pid)
    await second.stop()
    const bare = await startOurs(options, '')
    const without = memoryOf(bare.pid)
    await bare.stop()
    print(
      `| a start with ${thousands(acked)} messages in 50 queues, from the process to the first client | ${seconds.toFixed(1)} s | | | |`,
    )
    print(`| memory then: resident, of it not of a file | ${memory.resident} MB, ${memory.anonymous} MB | | | |`)
    print(`| the same of a node that has none | ${without.resident} MB, ${without.anonymous} MB | | | |`)
  } finally {
    rmSync(data, { recursive: true, force: true })
  }
}

/** Every broker is started afresh for each row; within it they take turns, run by run. */
async function inTurn(options, names, measure) {
  const brokers = {}
  const runs = []
  try {
    for (const name of names)
      brokers[name] = name === 'shoalmq' ? await startOurs(options) : await startMosquitto(BROKER_CORE)
    for (let round = 0; round < options.runs; round += 1) {
      const results = {}
      for (const name of names) results[name] = await measure(brokers[name])
      runs.push(results)
    }
  } finally {
    for (const broker of Object.values(brokers)) await broker.stop()
  }
  return runs
}

/** Beside the result, microseconds of the broker's processor per message that was taken, and per one that was delivered. */
async function run({ generator }, parameters, { port, pid }) {
  const before = processorTime(pid)
  const result = await load(generator, parameters, ['--port', `${port}`, '--pid', `${pid}`])
  const all = (processorTime(pid) - before) * 1e6
  const taken = result.acked_s === 0 ? 0 : (result.broker_cpu * 1e4) / result.acked_s
  return { ...result, us_taken: taken, us_replayed: all / result.arrived - taken, us_passed: all / result.arrived }
}

async function withData(options, { sessions, filterOf }, measure) {
  const data = mkdtempSync(join(tmpdir(), 'shoalmq-bench-'))
  const broker = await startOurs(options, data)
  try {
    await leaveSessions(broker.port, sessions, filterOf)
    return await measure(broker, join(data, 'store', 'data.mdb'))
  } finally {
    await broker.stop()
    rmSync(data, { recursive: true, force: true })
  }
}

async function startOurs({ durability, profiles }, data = '', store = { kind: 'embedded', durability }) {
  const config = {
    store,
    mqtt: { queueLength: 1_000_000, queueBytes: '4gb' },
    log: { level: 'error' },
  }
  return startNode({ name: 'bench', cores: BROKER_CORE, clusterPort: await freePort(), config, data, profiles })
}

/** Clients that subscribe and go away, and whose sessions stay. */
async function leaveSessions(port, count, filterOf) {
  for (let first = 0; first < count; first += 100) {
    const numbers = Array.from({ length: Math.min(100, count - first) }, (_, index) => first + index)
    await Promise.all(
      numbers.map(async (number) => {
        const client = await connectAsync(`mqtt://127.0.0.1:${port}`, { clientId: `away-${number}`, clean: false })
        await client.subscribeAsync(filterOf(number), { qos: 1 })
        await client.endAsync()
      }),
    )
  }
}

function rowOf(what, runs, figure, costField) {
  const of = (name, field) => median(runs.map((one) => one[name][field]))
  const ratio = median(runs.map((one) => one.shoalmq[figure] / one.mosquitto[figure]))
  const faults = runs.filter(({ shoalmq }) => shoalmq.lost + shoalmq.duplicates + shoalmq.disordered > 0).length
  const note = faults === 0 ? '' : ` (${faults} runs with losses, repeats or disorder)`
  const rate = (name) => `${Math.round(of(name, figure) / 1000)} k/s`
  const cost = `${of('shoalmq', costField).toFixed(1)}, ${of('mosquitto', costField).toFixed(1)} µs`
  return `| ${what}${note} | ${rate('shoalmq')} | ${rate('mosquitto')} | ${ratio.toFixed(2)} | ${cost} |`
}

/** Seconds that a process has used, all its threads. */
function processorTime(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS
}

/** Megabytes. */
function memoryOf(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const of = (field) => Math.round(Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1024)
  return { resident: of('VmRSS'), anonymous: of('RssAnon') }
}

function thousands(count) {
  return count.toLocaleString('en')
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

await runScript(main)
