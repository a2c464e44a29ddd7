/** The store that a node is configured to have. */

import type { LocalStore } from '../broker/store-port.js'
import type { Config } from '../config/options.js'
import type { AlarmCondition } from '../telemetry/alarms.js'
import type { CommitQueueModules } from './commit-queue.js'
import { EmbeddedStore } from './embedded-store.js'
import { RedisStore } from './redis/redis-store.js'

/** A store as the node has it, beside what the broker and the cluster ask of it. */
export interface NodeStore extends LocalStore {
  /** Gives every table what was kept of it: once, when all tables are there. */
  load(): Promise<void>
  alarms(): Iterable<AlarmCondition>
  /** Commits what is due. Idempotent. */
  stop(): Promise<void>
}

/**
 * Undefined where nothing is kept.
 * @param incarnation of this life of the node
 * @param modules `onAdopted` is called when another node has taken the sessions of this one, see `RedisStoreOptions`
 * @throws StoreError, RedisStoreError
 */
export async function openStore(
  { name, data, cluster, store }: Config,
  incarnation: number,
  modules: CommitQueueModules & { readonly onAdopted: () => void },
): Promise<NodeStore | undefined> {
  switch (store.kind) {
    case 'memory':
      return undefined
    case 'embedded':
      return EmbeddedStore.open({ directory: data, durability: store.durability }, modules)
    case 'redis':
      return RedisStore.open(
        { redis: store.redis, cluster: cluster.name, node: name, incarnation, onAdopted: modules.onAdopted },
        modules,
      )
  }
}
