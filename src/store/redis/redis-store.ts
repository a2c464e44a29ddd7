/**
 * The store of one node in Redis, which it may share with all the others: each has keys of its own, and no other node
 * reads them. What a turn brings is one step of a script, and one round trip (`CommitQueue`, `commit-script.ts`).
 *
 * While Redis is away, who waits goes on waiting for a bounded time. When it is back without what it had acknowledged,
 * as after a failover, all that should be there is written again from memory.
 */

import { randomBytes } from 'node:crypto'
import type { Inheritance, KeptPart, NodeLife, SharedStore } from '../../broker/estate-port.js'
import type { LocalStore, ShelfContents, StoreShelf, StoreTable, TableContents } from '../../broker/store-port.js'
import type { RedisOptions } from '../../config/redis-options.js'
import type { AlarmCondition } from '../../telemetry/alarms.js'
import { type CommitPlace, CommitQueue, type CommitQueueModules, type TakenKeys } from '../commit-queue.js'
import type { CommitFailure } from '../metrics.js'
import { COMMIT_SCRIPT, type StepOutcome, type StepWrites, stepsOf, type Writer } from './commit-script.js'
import { damaged, RedisStoreError } from './errors.js'
import { RENEW } from './estate-scripts.js'
import { NodeKeys, SCHEMA_VERSION } from './keys.js'
import { RedisClient } from './redis-client.js'
import { beat, type EstateOffice, findSession, inherit, isSettled, kept, pulse, whenAdopted } from './redis-estate.js'
import type { RedisPart } from './redis-part.js'
import { RedisShelf } from './redis-shelf.js'
import { RedisTable } from './redis-table.js'
import { Restoration } from './restoration.js'

/** Between two tries to commit while Redis answers with errors, in milliseconds: doubled from the first to the last. */
const FIRST_RETRY_MS = 50
const LONGEST_RETRY_MS = 1_000

/** Entries that are asked for at a time when the store is loaded. */
const LOAD_SLICE = 1_000

/** What Redis may do with keys that never expire when its memory is full; anything else removes them. */
const KEEPING_POLICIES: ReadonlySet<string | undefined> = new Set([
  undefined,
  'noeviction',
  'volatile-lru',
  'volatile-lfu',
  'volatile-random',
  'volatile-ttl',
])

export interface RedisStoreOptions {
  readonly redis: RedisOptions
  /** Name of the cluster, and of the node, whose keys these are. */
  readonly cluster: string
  readonly node: string
  /** Of this life of the node: a higher one takes its keys over. */
  readonly incarnation: number
  /** Another node has taken this one for dead, and has its sessions: they end here. All else goes on. */
  readonly onAdopted?: () => void
}

export type RedisStoreModules = CommitQueueModules

export class RedisStore implements LocalStore, SharedStore {
  private readonly keys: NodeKeys
  private writer: Writer
  /** Of the further life that was asked for, while it is not known whether Redis has heard it. */
  private renewal: Writer | undefined
  private readonly office: EstateOffice
  private readonly queue: CommitQueue<RedisTable | RedisShelf>
  private readonly restoration: Restoration
  /** Of the last step that was sent, and of the last one that was acknowledged. */
  private step = 0
  private acknowledged = 0
  private isStopped = false

  private constructor(
    private readonly client: RedisClient,
    private readonly options: RedisStoreOptions,
    private readonly modules: RedisStoreModules,
  ) {
    const { redis, cluster, node, incarnation } = options
    this.keys = new NodeKeys(redis.keyPrefix, cluster, node)
    this.writer = { incarnation, token: newToken() }
    const place: CommitPlace<RedisTable | RedisShelf> = {
      logFields: { address: client.address },
      write: (taken, within) => this.write(taken, within),
      reasonOf,
    }
    this.queue = new CommitQueue(place, { patience: redis.waitTime, retryDelay }, modules)
    this.restoration = new Restoration(client, redis.waitTime)
    this.office = {
      client,
      keysOf: (name) => new NodeKeys(redis.keyPrefix, cluster, name),
      heir: () => ({ node, incarnation: this.writer.incarnation }),
      within: redis.waitTime,
      replicas: redis.waitReplicas,
    }
    modules.metrics.bind({ bytes: () => 0, copies: () => this.copiedBytes, ...this.queue.gauges })
  }

  /**
   * Connects, and takes the keys of this node over from its lives before.
   * @throws RedisStoreError
   */
  static async open(options: RedisStoreOptions, modules: RedisStoreModules): Promise<RedisStore> {
    let store: RedisStore | undefined
    const client = await RedisClient.connect(options.redis, {
      onReady: () => store?.found(),
      onLost: (error) => store?.queue.lost(error),
    })
    try {
      store = new RedisStore(client, options, modules)
      await store.write([], options.redis.waitTime)
      await store.checkPolicies()
      return store
    } catch (error) {
      client.close()
      throw error
    }
  }

  get isFailing(): boolean {
    return this.queue.isFailing
  }

  table(name: string, contents: TableContents): StoreTable {
    return this.queue.add(name, (onChange) => new RedisTable(name, this.keys.table(name), contents, onChange))
  }

  shelf(name: string, contents: ShelfContents): StoreShelf {
    return this.queue.add(name, (onChange) => new RedisShelf(this.keys.shelf(name), contents, onChange))
  }

  /**
   * Gives every table and shelf what was kept of it; other work has its turns meanwhile. What others are about to adopt is
   * waited for, ten seconds at most.
   * @throws RedisStoreError
   */
  async load(): Promise<void> {
    const startedAt = performance.now()
    await whenAdopted(this.office, this.options.node)
    let entries = 0
    for (const part of this.queue.tables()) {
      // A hash that is scanned may show an entry twice.
      const seen = new Set<string>()
      let cursor = '0'
      do {
        const [next, parts] = await this.client.scan(part.redisKey, cursor, LOAD_SLICE, this.options.redis.waitTime)
        for (let index = 0; index + 1 < parts.length; index += 2) {
          const key = (parts[index] as Buffer).toString()
          if (seen.has(key)) continue
          seen.add(key)
          this.restore(part, key, parts[index + 1] as Buffer)
        }
        cursor = next
      } while (cursor !== '0')
      let given = 0
      for (const _ of part.restored()) {
        given += 1
        if (given % LOAD_SLICE === 0) await new Promise(setImmediate)
      }
      entries += seen.size
    }
    const milliseconds = Math.round(performance.now() - startedAt)
    if (entries > 0) this.modules.log.info({ entries, milliseconds, address: this.client.address }, 'store loaded')
  }

  /** @throws RedisStoreError STORE_DAMAGED when whoever owns the entry cannot read it */
  private restore(part: RedisPart, field: string, value: Buffer): void {
    try {
      part.restore(field, value)
    } catch (error) {
      throw damaged(this.client.address, part.redisKey, field, error)
    }
  }

  inherit(life: NodeLife, isGone: (heir: NodeLife) => boolean, pulse: string): Promise<Inheritance> {
    return inherit(this.office, life, isGone, pulse)
  }

  async beat(): Promise<boolean> {
    try {
      const isOurs = await beat(this.office, this.options.node, { token: this.writer.token, step: this.acknowledged })
      // A commit finds out why, and does what is to be done.
      if (!isOurs) this.queue.demand()
      return isOurs
    } catch (error) {
      // Redis may answer and not write: while nothing is due nobody would know.
      this.queue.suspect()
      throw error
    }
  }

  pulse(node: string): Promise<string> {
    return pulse(this.office, node)
  }

  findSession(node: string, clientId: string): Promise<'kept' | 'left' | undefined> {
    return findSession(this.office, node, clientId)
  }

  kept(node: string): Promise<readonly KeptPart[]> {
    return kept(this.office, node)
  }

  checkLife(): void {
    this.queue.demand()
  }

  isSettled(life: NodeLife): Promise<boolean> {
    return isSettled(this.office, life)
  }

  *alarms(): Generator<AlarmCondition> {
    const { failure } = this.queue
    if (!this.isFailing || this.isStopped || failure === undefined) return
    yield {
      alarm: 'store_failing',
      subject: this.client.address,
      severity: 'critical',
      detail: `${failure.message}; publishers are refused what would have to be kept`,
    }
  }

  /** Commits what is due, and closes the connection. Idempotent. */
  async stop(): Promise<void> {
    if (this.isStopped) return
    await this.queue.stop()
    this.isStopped = true
    this.client.close()
  }

  private get copiedBytes(): number {
    let bytes = 0
    for (const part of this.queue.tables()) if (part instanceof RedisShelf) bytes += part.copiedBytes
    return bytes
  }

  private found(): void {
    this.modules.metrics.redis.reconnects.value += 1
    this.queue.found()
  }

  private async write(taken: readonly TakenKeys<RedisTable | RedisShelf>[], within: number): Promise<number> {
    if (!this.client.isReady) throw this.client.away
    // A try with little patience left is given the time of an answer all the same, or it would break the connection.
    const enough = Math.max(within, this.options.redis.waitTime / 2)
    let bytes = 0
    // Read as a whole before the first answer is waited for: what is kept is how things are now.
    for (const writes of [...stepsOf(taken)]) {
      await this.take(writes, enough)
      bytes += writes.bytes
    }
    if (await this.restoration.advance()) this.queue.demand()
    return bytes
  }

  /** One step, and one round trip. */
  private async take(writes: StepWrites, within: number): Promise<void> {
    const { metrics } = this.modules
    if (this.renewal !== undefined) await this.renew()
    this.step += 1
    const { step, acknowledged } = this
    metrics.redis.roundTrips.value += 1
    metrics.redis.entries.observe(writes.entries)
    const parameters = writes.parameters(this.writer, { step, acknowledged })
    const replicas = this.options.redis.waitReplicas
    const answer = await this.client.run(COMMIT_SCRIPT, writes.keys(this.keys), parameters, { within, replicas })
    const [outcome, found] = answer as [outcome: StepOutcome, found: string]
    if (outcome === 'kept' || outcome === 'lost') this.acknowledged = step
    if (outcome === 'lost') this.lost(acknowledged, Number(found))
    if (outcome === 'adopted') await this.renew()
    if (outcome === 'late' || outcome === 'fenced' || outcome === 'schema') throw this.refusal(outcome, found)
  }

  /** Redis has gone back in time, or has been emptied: what it should have is here, in memory. */
  private lost(acknowledged: number, found: number): void {
    this.modules.metrics.redis.losses.value += 1
    const { address } = this.client
    this.modules.log.error({ address, acknowledged, found }, 'Redis has lost what it had kept, it is written again')
    this.restoration.begin(this.queue.tables())
  }

  /** Goes on in a further life there, which has nothing of the sessions before. @throws RedisStoreError always */
  private async renew(): Promise<never> {
    const { address } = this.client
    const { redis, node, onAdopted } = this.options
    this.renewal ??= { ...this.writer, token: newToken() }
    const writer = this.renewal
    const { within, replicas } = { within: redis.waitTime, replicas: redis.waitReplicas }
    const parameters = [writer.incarnation, writer.token]
    const isRenewed = Number(await this.client.run(RENEW, [this.keys.state], parameters, { within, replicas })) === 1
    this.renewal = undefined
    if (isRenewed) {
      this.writer = writer
      this.acknowledged = 0
      this.modules.log.warn(
        { node, address },
        'another node has taken this one for dead and has its sessions, they end here',
      )
      onAdopted?.()
    }
    throw new RedisStoreError(`the sessions of ${node} in Redis at ${address} are those of another node now`, {
      code: 'STORE_ADOPTED',
      address,
    })
  }

  private refusal(outcome: 'late' | 'fenced' | 'schema', found: string): RedisStoreError {
    const { address } = this.client
    const { node, incarnation } = this.options
    if (outcome === 'schema') {
      return new RedisStoreError(
        `the store of ${node} in Redis at ${address} has version ${found}; this version of ShoalMQ reads ${SCHEMA_VERSION}`,
        { code: 'STORE_NEWER', address },
      )
    }
    if (outcome === 'fenced') {
      return new RedisStoreError(
        `the store of ${node} in Redis at ${address} belongs to incarnation ${found} of it, this is ${incarnation}: ` +
          'two processes have one name, or the clock was set back',
        { code: 'STORE_FENCED', address },
      )
    }
    return new RedisStoreError(`Redis at ${address} has taken a later step already`, { code: 'REDIS_REFUSED', address })
  }

  /** Whether Redis is set up to keep things; a user who may not ask is not told. */
  private async checkPolicies(): Promise<void> {
    const { log } = this.modules
    const { address } = this.client
    try {
      const info = await this.client.info(this.options.redis.waitTime)
      const policy = info.get('maxmemory_policy')
      if (!KEEPING_POLICIES.has(policy)) {
        log.warn(
          { address, policy },
          'Redis removes keys when its memory is full, of messages that were acknowledged too',
        )
      }
      if (info.get('aof_enabled') === '0') {
        log.warn({ address }, 'Redis has no append-only file: what it acknowledges may be lost when it restarts')
      }
    } catch (error) {
      log.debug({ err: error, address }, 'Redis does not tell how it is set up')
    }
  }
}

function newToken(): string {
  return randomBytes(8).toString('hex')
}

function reasonOf(error: Error): CommitFailure {
  const code = error instanceof RedisStoreError ? error.code : undefined
  if (code === 'REDIS_FULL') return 'full'
  if (code === 'STORE_FENCED' || code === 'STORE_NEWER') return 'fenced'
  if (code === 'STORE_ADOPTED') return 'adopted'
  return code === 'REDIS_UNREACHABLE' ? 'unreachable' : 'error'
}

function retryDelay(failures: number): number {
  const longest = Math.min(FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 16), LONGEST_RETRY_MS)
  return longest * (0.5 + Math.random() / 2)
}
