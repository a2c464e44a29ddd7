/**
 * `npm run chaos:mesh -- [--seed N] [--minutes N] [--nodes N] [--plant lost-deltas]`
 *
 * A mesh of nodes, each a process on a host of its own, under load, and a nemesis that cuts, slows, kills and freezes them.
 * After each fault everything is checked. The same seed makes the same faults. With `--plant` the nodes have a fault of
 * their own, and the run succeeds when the checks find it.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { NodeProcess } from '../../support/node-process.js'
import { Random } from '../../support/random.js'
import { checkHealed } from './checks.js'
import { Load } from './load.js'
import { Nemesis } from './nemesis.js'
import { Network, networkProblem } from './network.js'
import { FAULT_KINDS, Schedule } from './schedule.js'

const DEFAULT_MINUTES = 3
const DEFAULT_NODES = 4
/** A full mesh on one machine, and one byte of its addresses. */
const MAXIMUM_NODES = 16
const PORTS = { mqtt: 1883, ws: 8083, admin: 18083, cluster: 5370 }
/** Nodes are no strangers to each other. */
const SECRET = 'a-secret-of-the-chaos-run'

const PLANTS: Readonly<Record<string, URL>> = { 'lost-deltas': new URL('lost-deltas.mjs', import.meta.url) }

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    minutes: { type: 'string' },
    nodes: { type: 'string' },
    plant: { type: 'string' },
  },
})

function numberOf(text: string | undefined, name: string, fallback: number, lowest: number, highest: number): number {
  const value = text === undefined ? fallback : Number(text)
  if (value >= lowest && value <= highest) return value
  throw new Error(`--${name} ${text}: expected a number from ${lowest} to ${highest}`)
}

function environmentOf(plant: string | undefined): Record<string, string> {
  if (plant === undefined) return {}
  const file = PLANTS[plant]
  if (file === undefined) throw new Error(`--plant ${plant}: expected ${Object.keys(PLANTS).join(', ')}`)
  return { NODE_OPTIONS: `--import ${fileURLToPath(file)}` }
}

function createNodes(network: Network, count: number, directory: string): NodeProcess[] {
  const addresses = Array.from({ length: count }, (_, index) => `${network.address(index + 1)}:${PORTS.cluster}`)
  return addresses.map(
    (own, index) =>
      new NodeProcess({
        name: `n${index + 1}@${network.address(index + 1)}`,
        directory: join(directory, `n${index + 1}`),
        ports: PORTS,
        seeds: addresses.filter((address) => address !== own),
        config: { allowAnonymous: true, cluster: { secret: SECRET } },
        environment: environmentOf(values.plant),
        launcher: network.command(index + 1),
      }),
  )
}

/** Until the time is used up; returns how many faults there were. @throws what a check found */
async function run(nodes: readonly NodeProcess[], network: Network, seed: number, minutes: number): Promise<number> {
  const random = new Random(seed)
  const schedule = new Schedule(random, nodes.length, FAULT_KINDS)
  // The load has numbers of its own: how far it gets is a matter of time, and the faults must not be.
  const load = new Load(nodes, new Random(seed + 1))
  const nemesis = new Nemesis(network, nodes, load)
  await Promise.all(nodes.map((node) => node.start()))
  await Promise.all(nodes.map((node) => node.whenReady()))
  const end = performance.now() + minutes * 60_000
  await load.start()
  let round = 0
  try {
    while (performance.now() < end) {
      round += 1
      const fault = schedule.next()
      say(`${round}. ${fault.kind}: ${fault.text}`)
      await nemesis.strike(fault)
      load.pause()
      const { linked, right, routes } = await checkHealed(nodes, load, round)
      load.resume()
      say(
        `   links up after ${linked} ms, ${routes} routes and the connections right ${right} ms later, ${load.ledger.total} acked`,
      )
    }
  } finally {
    await load.end()
  }
  return round
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

async function main(): Promise<number> {
  const seed = numberOf(values.seed, 'seed', Date.now() % 1_000_000, 0, 0xffff_ffff)
  const minutes = numberOf(values.minutes, 'minutes', DEFAULT_MINUTES, 0, 24 * 60)
  const count = numberOf(values.nodes, 'nodes', DEFAULT_NODES, 2, MAXIMUM_NODES)
  const problem = networkProblem()
  if (problem !== undefined) {
    say(`chaos:mesh cannot run here: ${problem}. The suites of test/cluster cut links with a proxy and run everywhere.`)
    return 1
  }
  say(
    `seed ${seed}: ${count} nodes, ${minutes} minutes${values.plant === undefined ? '' : `, planted: ${values.plant}`}`,
  )
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-chaos-'))
  const network = await Network.create(count, seed)
  const nodes = createNodes(network, count, directory)
  let failure: unknown
  try {
    const rounds = await run(nodes, network, seed, minutes)
    say(`${rounds} faults, nothing wrong`)
  } catch (error) {
    failure = error
  } finally {
    if (failure !== undefined && values.plant === undefined)
      for (const node of nodes) say(`--- ${node.name}\n${node.lastLines()}`)
    for (const node of nodes) if (node.isRunning) await node.kill()
    await network.stop()
    rmSync(directory, { recursive: true, force: true })
  }
  if (values.plant !== undefined) {
    say(
      failure === undefined ? 'the planted fault was NOT found' : `the planted fault was found: ${messageOf(failure)}`,
    )
    return failure === undefined ? 1 : 0
  }
  if (failure === undefined) return 0
  say(`FAILED: ${failure instanceof Error ? failure.stack : String(failure)}`)
  say(`again: npm run chaos:mesh -- --seed ${seed} --minutes ${minutes} --nodes ${count}`)
  return 1
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

process.exitCode = await main()
// Clients of nodes that were killed may still wait for an answer.
process.exit()
