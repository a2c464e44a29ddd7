#!/usr/bin/env node
/**
 * One node against other brokers, scenario by scenario and in alternation. The broker has core 1, the generator core 0.
 * Prints medians and ratios as a table. What a link between two nodes costs is measured by `mesh.mjs`.
 *
 *   npm run bench -- [--runs 3] [--seconds 5] [--scenarios a1,b1q0] [--peers mosquitto,nats] [--version 4|5] [--write]
 *     [--profiles directory]
 *
 * --profiles leaves CPU profiles of the nodes, for the developer tools of Chromium.
 * --write keeps the result as test/bench/results/<date>.json and puts the table into docs/benchmarks.md.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { build } from '../support/scripts/build.mjs'
import { ROOT, runScript, ScriptError } from '../support/scripts/run-command.mjs'
import { freePort, startMosquitto, startNats, startNode } from './brokers.mjs'
import { fillIn } from './document.mjs'
import { compileGenerator, load } from './generator.mjs'
import { SCENARIOS } from './scenarios.mjs'

const BROKER_CORE = '1'
const PEERS = { mosquitto: startMosquitto, nats: startNats }
const RESULTS = join(ROOT, 'test/bench/results')

async function main() {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '5' },
      scenarios: { type: 'string', default: Object.keys(SCENARIOS).join(',') },
      peers: { type: 'string', default: 'mosquitto,nats' },
      version: { type: 'string', default: '4' },
      write: { type: 'boolean', default: false },
      profiles: { type: 'string', default: '' },
    },
  })
  const chosen = values.scenarios.split(',')
  const peers = values.peers.split(',').filter((name) => name !== '')
  for (const id of chosen) {
    if (!(id in SCENARIOS)) throw new ScriptError(`There is no scenario ${id}.`)
  }
  for (const name of peers) if (!(name in PEERS)) throw new ScriptError(`There is no peer ${name}.`)
  if (cpus().length < 2) throw new ScriptError('This needs two cores: one for the broker, one for the generator.')
  await build()
  const options = {
    program: compileGenerator(),
    runs: Number(values.runs),
    seconds: Number(values.seconds),
    version: Number(values.version),
    profiles: values.profiles,
  }
  const machine = `Node ${process.version}, ${cpus()[0]?.model ?? 'unknown CPU'}, ${options.runs} runs of ${options.seconds} s, MQTT ${options.version === 5 ? '5.0' : '3.1.1'}`
  console.log(`${machine}\n`)
  const alone = await measureAlone(chosen, peers, options)
  if (values.write) keep({ machine, alone }, peers)
  return 0
}

/** Every broker is started afresh for each scenario; within it they take turns, run by run. */
async function measureAlone(ids, peers, options) {
  const results = []
  if (ids.length > 0) console.log(tableHead(peers))
  for (const id of ids) {
    const scenario = SCENARIOS[id]
    const usable = peers.filter((name) => name !== 'nats' || isForNats(scenario, options.version))
    const { profiles } = options
    const brokers = {
      shoalmq: await startNode({ name: 'bench', cores: BROKER_CORE, clusterPort: await freePort(), profiles }),
    }
    for (const name of usable) brokers[name] = await PEERS[name](BROKER_CORE)
    const runs = []
    try {
      for (let round = 0; round < options.runs; round += 1) {
        const results = {}
        for (const [name, { port, pid }] of Object.entries(brokers)) {
          const where = ['--port', `${port}`, '--pid', `${pid}`]
          results[name] = await load(options, scenario.parameters, where, { mayDisconnect: name !== 'shoalmq' })
        }
        runs.push(results)
      }
    } finally {
      for (const broker of Object.values(brokers)) await broker.stop()
    }
    const result = { id, what: scenario.what, unit: scenario.unit, runs }
    results.push(result)
    console.log(tableRow(result, peers))
  }
  if (ids.length > 0) console.log('')
  return results
}

/** nats-server 2.9 knows neither MQTT 5, nor QoS 2, nor shared subscriptions of MQTT clients. */
function isForNats({ parameters, isSharedSubscription = false }, version) {
  return version !== 5 && !isSharedSubscription && !parameters.includes('--qos 2')
}

function tableHead(peers) {
  const names = peers.map((name) => `${name} | ratio`).join(' | ')
  return `| scenario | unit | ShoalMQ | ${names} | lost, repeated, disordered | generator CPU |\n|---|---|--:|${'--:|--:|'.repeat(peers.length)}--:|--:|`
}

/** Medians; the ratio is the median of the ratios of runs that follow one another. */
function tableRow({ id, what, unit, runs }, peers) {
  const { figure, isLowerBetter = false, also = [] } = SCENARIOS[id]
  const of = (name, field) => median(runs.map((one) => one[name][field]))
  const cell = (name) => {
    const more = also.map((field) => `${field.replace(/_.*/, '')} ${quantity(of(name, field))}`).join(', ')
    if (runs.some((one) => one[name].disconnects > 0)) return `${quantity(of(name, figure))} (closes clients)`
    return more === '' ? quantity(of(name, figure)) : `${quantity(of(name, figure))} (${more})`
  }
  const compared = peers.flatMap((name) => {
    if (runs[0]?.[name] === undefined) return ['–', '–']
    const ratios = runs.map((one) => one.shoalmq[figure] / one[name][figure])
    return [cell(name), `${median(ratios).toFixed(2)}${isLowerBetter ? ' (less is better)' : ''}`]
  })
  const ours = runs.map((one) => one.shoalmq)
  const cpu = ours[0]?.own_cpu === undefined ? '' : `${median(ours.map((one) => one.own_cpu)).toFixed(0)} %`
  return `| ${[`${id}: ${what}`, unit, cell('shoalmq'), ...compared, faults(ours), cpu].join(' | ')} |`
}

function keep(result, peers) {
  const date = new Date().toISOString().slice(0, 10)
  mkdirSync(RESULTS, { recursive: true })
  writeFileSync(join(RESULTS, `${date}.json`), `${JSON.stringify({ date, ...result }, undefined, 1)}\n`)
  const rows = result.alone.map((one) => tableRow(one, peers))
  fillIn('one node', `${date}: ${result.machine}.\n\n${[tableHead(peers), ...rows].join('\n')}`)
}

function faults(runs) {
  if (runs[0]?.lost === undefined) return ''
  return ['lost', 'duplicates', 'disordered'].map((field) => Math.max(...runs.map((one) => one[field]))).join(', ')
}

function quantity(value) {
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`
  return value >= 1e4 ? `${(value / 1e3).toFixed(1)} k` : value.toFixed(0)
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

await runScript(main)
