#!/usr/bin/env node
/**
 * One node against Mosquitto, scenario by scenario and in alternation, then a publisher on one node and its subscriber
 * on another. The broker has core 1, the generator core 0; 64-byte payloads. Prints medians and ratios as a table.
 *
 *   npm run build && node test/bench/load.mjs [--runs 3] [--seconds 5] [--scenarios a1,b1q0]
 *
 * The generator is mqload: the program named by SHOALMQ_MQLOAD, or built from ../shared/mqload beside the checkout.
 */

import { execFile, execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { ROOT, runScript, ScriptError } from '../support/scripts/run-command.mjs'
import { freePort, startMosquitto, startNode, statusOf, until } from './brokers.mjs'

const run = promisify(execFile)

const BROKER_CORE = '1'
const GENERATOR_CORE = '0'
const WARM_UP_SECONDS = 1
/** Beyond measured time and warm-up: connecting, and draining what is queued. */
const OVERHEAD_MS = 60_000

/** What is published and subscribed, and which figure counts. */
const SCENARIOS = {
  a1: { what: 'ingest: 1 publisher, nobody subscribed, QoS 0', parameters: '--pubs 1 --subs 0', figure: 'sent_s' },
  b1q0: { what: '1 to 1, QoS 0', parameters: '--pubs 1 --subs 1 --qos 0', figure: 'delivered_s' },
  b1q1: { what: '1 to 1, QoS 1', parameters: '--pubs 1 --subs 1 --qos 1', figure: 'delivered_s' },
  b50q0: {
    what: '50 pairs, QoS 0',
    parameters: '--pubs 50 --subs 50 --topic-map paired --qos 0',
    figure: 'delivered_s',
  },
  c50q1: { what: 'fan-in 50 to 1, QoS 1', parameters: '--pubs 50 --subs 1 --qos 1', figure: 'delivered_s' },
  d50q0: { what: 'fan-out 1 to 50, QoS 0', parameters: '--pubs 1 --subs 50 --qos 0', figure: 'delivered_s' },
  d50q1: { what: 'fan-out 1 to 50, QoS 1', parameters: '--pubs 1 --subs 50 --qos 1', figure: 'delivered_s' },
  d500q0: { what: 'fan-out 1 to 500, QoS 0', parameters: '--pubs 1 --subs 500 --qos 0', figure: 'delivered_s' },
}

/** From node A to node B. */
const ACROSS = {
  x1q0: { what: 'node A to node B, 1 to 1, QoS 0', parameters: '--pubs 1 --subs 1 --qos 0', figure: 'delivered_s' },
  x50q0: {
    what: 'node A to node B, 50 pairs, QoS 0',
    parameters: '--pubs 50 --subs 50 --topic-map paired --qos 0',
    figure: 'delivered_s',
  },
  x1q1: { what: 'node A to node B, 1 to 1, QoS 1', parameters: '--pubs 1 --subs 1 --qos 1', figure: 'delivered_s' },
}

async function main() {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '5' },
      scenarios: { type: 'string', default: [...Object.keys(SCENARIOS), ...Object.keys(ACROSS)].join(',') },
    },
  })
  const chosen = values.scenarios.split(',')
  for (const id of chosen) {
    if (!(id in SCENARIOS) && !(id in ACROSS)) throw new ScriptError(`There is no scenario ${id}.`)
  }
  if (cpus().length < 2) throw new ScriptError('This needs two cores: one for the broker, one for the generator.')
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-mqload-'))
  try {
    const options = { mqload: generator(directory), runs: Number(values.runs), seconds: Number(values.seconds) }
    console.log(
      `node ${process.version}, ${cpus()[0]?.model ?? 'unknown CPU'}, ${options.runs} runs of ${options.seconds} s\n`,
    )
    await measureAlone(chosen, options)
    await measureAcross(chosen, options)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
  return 0
}

/** The generator: given, or compiled from its one file. */
function generator(directory) {
  const given = process.env.SHOALMQ_MQLOAD
  if (given !== undefined) return given
  const source = join(ROOT, '../shared/mqload/mqload.c')
  if (!existsSync(source))
    throw new ScriptError(`Set SHOALMQ_MQLOAD to mqload; there is no ${source} to build it from.`)
  const program = join(directory, 'mqload')
  execFileSync('cc', ['-O2', '-std=gnu11', '-o', program, source])
  return program
}

async function measureAlone(chosen, options) {
  const ids = chosen.filter((id) => id in SCENARIOS)
  if (ids.length === 0) return
  const mosquitto = await startMosquitto(BROKER_CORE)
  const node = await startNode({ name: 'bench', cores: BROKER_CORE, clusterPort: await freePort() })
  try {
    console.log(
      '| scenario | messages/s | Mosquitto | ShoalMQ | ratio | lost, dup, disordered: Mosquitto | ShoalMQ | generator CPU |',
    )
    console.log('|---|---|--:|--:|--:|--:|--:|--:|')
    for (const id of ids) {
      const scenario = SCENARIOS[id]
      const pairs = []
      for (let round = 0; round < options.runs; round += 1) {
        const reference = await load(options, scenario, ['--port', `${mosquitto.port}`, '--pid', `${mosquitto.pid}`])
        const ours = await load(options, scenario, ['--port', `${node.port}`, '--pid', `${node.pid}`])
        pairs.push({ reference, ours })
      }
      const { figure } = scenario
      const ratio = median(pairs.map(({ reference, ours }) => ours[figure] / reference[figure]))
      const ours = pairs.map((pair) => pair.ours)
      console.log(
        `| ${id}: ${scenario.what} | ${figure === 'sent_s' ? 'sent' : 'delivered'} ` +
          `| ${rate(pairs.map((pair) => pair.reference[figure]))} | ${rate(ours.map((one) => one[figure]))} ` +
          `| ${ratio.toFixed(2)} | ${faults(pairs.map((pair) => pair.reference))} | ${faults(ours)} | ${median(ours.map((one) => one.gen_cpu)).toFixed(0)} % |`,
      )
    }
    console.log('')
  } finally {
    await node.stop()
    await mosquitto.stop()
  }
}

/** With two cores the generator has to share: node A has core 0 with it, node B has core 1. */
async function measureAcross(chosen, options) {
  const ids = chosen.filter((id) => id in ACROSS)
  if (ids.length === 0) return
  const [portA, portB] = [await freePort(), await freePort()]
  const a = await startNode({ name: 'a', cores: GENERATOR_CORE, clusterPort: portA, seeds: [portB] })
  const b = await startNode({ name: 'b', cores: BROKER_CORE, clusterPort: portB, seeds: [portA] })
  try {
    await until(async () => {
      const { nodes } = await statusOf(a)
      return nodes.filter((one) => one.state === 'running').length === 2
    }, 'two nodes are linked')
    console.log('| scenario | delivered/s | lost, dup, disordered | p50 | p99 |')
    console.log('|---|--:|--:|--:|--:|')
    for (const id of ids) {
      const runs = []
      for (let round = 0; round < options.runs; round += 1) {
        runs.push(await load(options, ACROSS[id], ['--pub-port', `${a.port}`, '--sub-port', `${b.port}`]))
      }
      const micros = (field) => `${(median(runs.map((one) => one[field])) / 1_000).toFixed(1)} ms`
      const delivered = rate(runs.map((one) => one.delivered_s))
      console.log(
        `| ${id}: ${ACROSS[id].what} | ${delivered} | ${faults(runs)} | ${micros('p50_us')} | ${micros('p99_us')} |`,
      )
    }
  } finally {
    await a.stop()
    await b.stop()
  }
}

/** One run of mqload; its JSON line. */
async function load({ mqload, seconds }, { parameters }, where) {
  const command = [
    ...['-c', GENERATOR_CORE, mqload, ...where, ...parameters.split(' ')],
    ...['--secs', `${seconds}`, '--warmup', `${WARM_UP_SECONDS}`],
  ]
  const timeout = (seconds + WARM_UP_SECONDS) * 1_000 + OVERHEAD_MS
  const { stdout } = await run('taskset', command, { timeout })
  return JSON.parse(stdout)
}

function faults(runs) {
  return ['lost', 'dup', 'ooo'].map((field) => Math.max(...runs.map((one) => one[field] ?? 0))).join(', ')
}

function rate(values) {
  const value = median(values)
  return value >= 1e6 ? `${(value / 1e6).toFixed(2)} M` : `${(value / 1e3).toFixed(1)} k`
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

await runScript(main)
