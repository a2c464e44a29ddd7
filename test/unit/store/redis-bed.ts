import type { TestContext } from 'node:test'
import { pino } from 'pino'
import { type ConfigSources, loadConfig } from '../../../src/config/load.js'
import type { RedisOptions } from '../../../src/config/redis-options.js'
import { createStoreMetrics, type StoreMetrics } from '../../../src/store/metrics.js'
import { RedisStore } from '../../../src/store/redis/redis-store.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { TurnQueue } from '../../../src/util/turn.js'
import type { StoreBed, StoreLife } from '../../contract/store.js'

export interface RedisLife extends StoreLife<RedisStore> {
  readonly metrics: StoreMetrics
  readonly log: { level: number; msg: string; err?: { message: string } }[]
}

/** Options as a node has them, from what its file says below `store.redis`. */
export function redisOptions(values: object): RedisOptions {
  const sources: ConfigSources = { values: { store: { kind: 'redis', redis: values } }, env: {}, flags: {} }
  return loadConfig(sources).store.redis
}

export interface RedisNode {
  name: string
  incarnation: number
}

/** A life of a node's store. */
export async function openRedis(values: object, { name, incarnation }: RedisNode): Promise<RedisLife> {
  const turn = new TurnQueue({
    onError: (error) => {
      throw error
    },
  })
  const metrics = createStoreMetrics(new MetricRegistry())
  const log: RedisLife['log'] = []
  const store = await RedisStore.open(
    { redis: redisOptions(values), cluster: 'test', node: name, incarnation },
    { turn, metrics, log: pino({ level: 'debug' }, { write: (line) => log.push(JSON.parse(line)) }) },
  )
  return {
    store,
    metrics,
    log,
    load: () => store.load(),
    stop: async () => {
      await store.stop()
      turn.stop()
    },
  }
}

let nodes = 0

/** A node that nobody else is, each of whose lives is later than the one before; all of them end with the test. */
export function redisBed(
  context: TestContext,
  values: () => object,
): StoreBed<RedisStore> & { name: string; open(): Promise<RedisLife> } {
  nodes += 1
  const name = `n${nodes}@127.0.0.1`
  let incarnation = 0
  return {
    name,
    async open() {
      incarnation += 1
      const life = await openRedis(values(), { name, incarnation })
      context.after(() => life.stop())
      return life
    },
  }
}
