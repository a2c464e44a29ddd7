/**
 * `npm run chaos -- [--seed N] [--minutes N] [--nodes N] [--store embedded|redis|memory] [--sentinels | --redis-cluster] [--faults a,b]
 * [--plant NAME] [--log-level LEVEL] [--proxies]`
 *
 * `npm run chaos -- --history FILE [--store KIND]`: judges a history that a failed run has written.
 *
 * A cluster under load and under faults, whose clients write down all they do and see; after each fault the checker looks for
 * what was promised and is not so. The same seed makes the same faults. With `--plant` the nodes have a fault of their
 * own, and the run succeeds when the checker finds it.
 */

import { parseArgs } from 'node:util'
import { FAULT_KINDS, type FaultKind, FURTHER_FAULT_KINDS, GROUND_FAULT_KINDS } from '../mesh/schedule.js'
import { check } from './checker.js'
import { guaranteesOf, type StoreKind } from './guarantees.js'
import { PLANTS } from './plants.js'
import { readHistory } from './recorder.js'
import type { RedisKind } from './redis-backing.js'
import { report } from './report.js'
import { runHistory } from './run.js'
import { shortestOfEachKind } from './shortest.js'

const DEFAULT_MINUTES = 3
const DEFAULT_NODES = 3
const MAXIMUM_NODES = 16
const STORES: readonly StoreKind[] = ['embedded', 'redis', 'memory']

const REDIS_FLAGS: Readonly<Record<RedisKind, string>> = {
  single: '',
  sentinels: ' --sentinels',
  cluster: ' --redis-cluster',
}

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    minutes: { type: 'string' },
    nodes: { type: 'string' },
    store: { type: 'string' },
    faults: { type: 'string' },
    plant: { type: 'string' },
    'log-level': { type: 'string', default: 'info' },
    history: { type: 'string' },
    proxies: { type: 'boolean', default: false },
    sentinels: { type: 'boolean', default: false },
    'redis-cluster': { type: 'boolean', default: false },
  },
})

function numberOf(text: string | undefined, name: string, fallback: number, lowest: number, highest: number): number {
  const value = text === undefined ? fallback : Number(text)
  if (value >= lowest && value <= highest) return value
  throw new Error(`--${name} ${text}: expected a number from ${lowest} to ${highest}`)
}

function oneOf<T extends string>(text: string, name: string, known: readonly T[]): T {
  const found = known.find((one) => one === text)
  if (found === undefined) throw new Error(`--${name} ${text}: expected ${known.join(', ')}`)
  return found
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

async function main(): Promise<number> {
  const seed = numberOf(values.seed, 'seed', Date.now() % 1_000_000, 0, 0xffff_ffff)
  const minutes = numberOf(values.minutes, 'minutes', DEFAULT_MINUTES, 0, 24 * 60)
  const nodes = numberOf(values.nodes, 'nodes', DEFAULT_NODES, 2, MAXIMUM_NODES)
  const store = oneOf(values.store ?? 'embedded', 'store', STORES)
  const kinds: readonly FaultKind[] = [...FAULT_KINDS, ...FURTHER_FAULT_KINDS, ...GROUND_FAULT_KINDS]
  if (values.history !== undefined) return judge(values.history, store, seed)
  const chosen = values.faults?.split(',').map((kind) => oneOf(kind, 'faults', kinds))
  const plant = values.plant === undefined ? undefined : PLANTS[oneOf(values.plant, 'plant', Object.keys(PLANTS))]
  const faults = chosen ?? plant?.faults
  const redis = redisKind()
  if (redis !== 'single' && store !== 'redis') throw new Error('--sentinels and --redis-cluster go with --store redis')
  say(
    `seed ${seed}: ${nodes} nodes, store ${store}, ${minutes} minutes${plant === undefined ? '' : `, planted: ${values.plant}`}`,
  )
  const outcome = await runHistory({
    seed,
    minutes,
    nodes,
    store,
    say,
    isBehindProxies: values.proxies,
    redis,
    logLevel: values['log-level'],
    ...(faults === undefined ? {} : { faults }),
    ...(plant === undefined ? {} : { plant: plant.file }),
  })
  const { rounds, events, violations } = outcome
  say(`${rounds} faults, ${events} events, ${violations.length} violations`)
  if (violations.length > 0) say(outcome.report)
  if (plant !== undefined) {
    const found = violations.find(({ kind }) => plant.foundAs.includes(kind))
    say(found === undefined ? 'the planted fault was NOT found' : `the planted fault was found: ${found.kind}`)
    return found === undefined ? 1 : 0
  }
  if (violations.length === 0) return 0
  say(
    `again: npm run chaos -- --seed ${seed} --minutes ${minutes} --nodes ${nodes} --store ${store}${REDIS_FLAGS[redis]}${values.proxies ? ' --proxies' : ''}${values.faults === undefined ? '' : ` --faults '${values.faults}'`}`,
  )
  return 1
}

function redisKind(): RedisKind {
  if (values.sentinels && values['redis-cluster'])
    throw new Error('--sentinels and --redis-cluster: expected one of them')
  if (values.sentinels) return 'sentinels'
  return values['redis-cluster'] ? 'cluster' : 'single'
}

function judge(file: string, store: StoreKind, seed: number): number {
  const history = readHistory(file)
  const guarantees = guaranteesOf(store)
  const violations = check(history, guarantees)
  say(`${history.length} events, ${violations.length} violations`)
  if (violations.length === 0) return 0
  say(report(seed, history, violations, shortestOfEachKind(history, violations, guarantees)))
  return 1
}

process.exitCode = await main().catch((error: unknown) => {
  say(`FAILED: ${error instanceof Error ? error.stack : String(error)}`)
  return 1
})
// Clients of nodes that were killed may still wait for an answer.
process.exit()
