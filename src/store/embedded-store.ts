/**
 * The store of one node, in one LMDB file of its data directory. What a turn brings is one transaction; while one is on
 * its way the next turns gather for the one after it, so the slower the disk, the larger the transactions.
 *
 * When a commit fails, as on a full disk, what had waited for it is refused, what has changed stays due, and the store
 * is `failing` until a commit succeeds: a look once a second, or whenever something asks to be kept.
 */

import { statfsSync } from 'node:fs'
import type { Keeping, Store, StoreTable, TableContents } from '../broker/store-port.js'
import type { AlarmCondition } from '../telemetry/alarms.js'
import type { Logger } from '../telemetry/logger.js'
import { asError, NodeError } from '../util/errors.js'
import type { TurnQueue, TurnTask } from '../util/turn.js'
import { EmbeddedTable } from './embedded-table.js'
import { Engine, type EngineWrite } from './engine.js'
import type { CommitFailure, StoreMetrics } from './metrics.js'

/** How often a store that fails is tried again. */
const RETRY_INTERVAL_MS = 1_000

/** Entries that are given back at a time while the store is loaded, before anything else has its turn. */
const LOAD_SLICE = 5_000

/** ENOSPC, EDQUOT, MDB_MAP_FULL. */
const FULL_CODES: ReadonlySet<unknown> = new Set([28, 122, -30792])

/** With less room than this on the disk, whatever the system says of a failed write, this is why. */
const LITTLE_ROOM_BYTES = 256 * 1024

export interface EmbeddedStoreOptions {
  /** The data directory; the store has `store` in it. */
  readonly directory: string
  /** What `kept` means: the operating system has it (`commit`), or the disk has (`fsync`). */
  readonly durability: 'commit' | 'fsync'
}

export interface EmbeddedStoreModules {
  readonly turn: TurnQueue
  readonly metrics: StoreMetrics
  readonly log: Logger
}

export class EmbeddedStore implements Store, TurnTask {
  isQueued = false
  isFailing = false
  private readonly tables = new Map<string, EmbeddedTable>()
  /** Who waits for the next commit. */
  private waiting: Keeping[] = []
  /** The commit that is on its way. */
  private committing: Promise<void> | undefined
  private retryTimer: NodeJS.Timeout | undefined
  private isStopped = false
  private readonly onChange = (keeping: Keeping | undefined): void => this.wake(keeping)

  private constructor(
    private readonly engine: Engine,
    private readonly options: EmbeddedStoreOptions,
    private readonly modules: EmbeddedStoreModules,
  ) {
    const { tables } = this
    modules.metrics.bind({
      bytes: () => engine.bytes,
      pendingEntries: () => Array.from(tables.values()).reduce((sum, table) => sum + table.length, 0),
      pendingPublishes: () => this.waiting.length,
      isFailing: () => this.isFailing,
    })
  }

  /** @throws StoreError */
  static async open(options: EmbeddedStoreOptions, modules: EmbeddedStoreModules): Promise<EmbeddedStore> {
    return new EmbeddedStore(await Engine.open(options.directory), options, modules)
  }

  table(name: string, contents: TableContents): StoreTable {
    if (this.tables.has(name)) throw new NodeError(`there is a table ${name} already`, { code: 'TABLE_EXISTS', name })
    const table = new EmbeddedTable(name, this.engine.table(name), contents, this.onChange)
    this.tables.set(name, table)
    return table
  }

  /** Gives every table what was kept of it; other work has its turns meanwhile. @throws StoreError STORE_DAMAGED */
  async load(): Promise<void> {
    const startedAt = performance.now()
    let entries = 0
    for (const table of this.tables.values()) {
      for (const { key, value } of this.engine.entries(table.table)) {
        table.restore(key, value)
        entries += 1
        if (entries % LOAD_SLICE === 0) await new Promise(setImmediate)
      }
    }
    const milliseconds = Math.round(performance.now() - startedAt)
    const fields = { entries, milliseconds, bytes: this.engine.bytes }
    if (entries > 0) this.modules.log.info(fields, 'store loaded')
  }

  runTurn(): void {
    // What comes while a commit is on its way is the next one's.
    if (this.committing === undefined) this.begin()
  }

  *alarms(): Generator<AlarmCondition> {
    if (!this.isFailing || this.isStopped) return
    yield {
      alarm: 'store_failing',
      subject: this.options.directory,
      severity: 'critical',
      detail: `nothing can be written to ${this.options.directory}: publishers are refused what would have to be kept`,
    }
  }

  /** Commits what is due, and closes the files. Idempotent. */
  async stop(): Promise<void> {
    if (this.isStopped) return
    await this.committing
    if (this.isDue) {
      this.begin()
      await this.committing
    }
    this.isStopped = true
    clearTimeout(this.retryTimer)
    this.refuse(this.waiting)
    await this.engine.close()
  }

  private get isDue(): boolean {
    for (const table of this.tables.values()) if (table.length > 0) return true
    return this.waiting.length > 0
  }

  private wake(keeping: Keeping | undefined): void {
    if (keeping !== undefined) {
      keeping.hold()
      this.waiting.push(keeping)
    }
    // A store that fails is not tried for what nobody waits for.
    if (!this.isFailing || keeping !== undefined) this.modules.turn.add(this)
  }

  private begin(): void {
    if (this.isStopped || !this.isDue) return
    this.committing = this.commit()
  }

  private async commit(): Promise<void> {
    const { metrics } = this.modules
    const { waiting } = this
    this.waiting = []
    const taken = Array.from(this.tables.values(), (table) => [table, table.takeDue()] as const)
    const startedAt = performance.now()
    try {
      metrics.bytes.value += await this.engine.write(writesOf(taken), this.options.durability === 'fsync')
      for (const [, keys] of taken) metrics.entries.value += keys.size
      metrics.commits.value += 1
      metrics.seconds.observe((performance.now() - startedAt) / 1000)
      this.recovered()
      for (const keeping of waiting) keeping.release()
    } catch (error) {
      for (const [table, keys] of taken) table.putBack(keys)
      this.failed(asError(error))
      this.refuse(waiting)
    } finally {
      this.committing = undefined
      // Not within the callback of the engine: what has gathered goes with the rest of this turn.
      if (this.waiting.length > 0 || (!this.isFailing && this.isDue)) this.modules.turn.add(this)
    }
  }

  private failed(error: Error): void {
    const { metrics, log } = this.modules
    const reason = this.reasonOf(error)
    metrics.failures[reason].value += 1
    if (!this.isFailing) {
      this.isFailing = true
      log.error({ err: error, reason, directory: this.options.directory }, 'the store cannot write')
    }
    clearTimeout(this.retryTimer)
    this.retryTimer = setTimeout(() => this.modules.turn.add(this), RETRY_INTERVAL_MS).unref()
  }

  private recovered(): void {
    if (!this.isFailing) return
    this.isFailing = false
    clearTimeout(this.retryTimer)
    this.modules.log.info({ directory: this.options.directory }, 'the store can write again')
  }

  private reasonOf(error: Error & { code?: unknown }): CommitFailure {
    if (FULL_CODES.has(error.code)) return 'full'
    try {
      const { bavail, bsize } = statfsSync(this.options.directory)
      return bavail * bsize < LITTLE_ROOM_BYTES ? 'full' : 'error'
    } catch {
      // The directory itself has gone.
      return 'error'
    }
  }

  private refuse(waiting: readonly Keeping[]): void {
    this.modules.metrics.refused.value += waiting.length
    for (const keeping of waiting) {
      keeping.refuse()
      keeping.release()
    }
  }
}

function* writesOf(taken: readonly (readonly [EmbeddedTable, ReadonlySet<string>])[]): Generator<EngineWrite> {
  for (const [table, keys] of taken) yield* table.writes(keys)
}
