/**
 * The store of one node, in one LMDB file of its data directory. What a turn brings is one transaction (`CommitQueue`).
 * When one fails, as on a full disk, what had waited for it is refused at once.
 */

import { statfsSync } from 'node:fs'
import type { LocalStore, ShelfContents, StoreShelf, StoreTable, TableContents } from '../broker/store-port.js'
import type { AlarmCondition } from '../telemetry/alarms.js'
import { asError } from '../util/errors.js'
import { type CommitPlace, CommitQueue, type CommitQueueModules, type TakenKeys } from './commit-queue.js'
import { EmbeddedShelf } from './embedded-shelf.js'
import { EmbeddedTable } from './embedded-table.js'
import { Engine, type EngineTable, type EngineWrite } from './engine.js'
import { damaged, StoreError } from './errors.js'
import type { CommitFailure } from './metrics.js'

/** How often a store that fails is tried again. */
const RETRY_INTERVAL_MS = 1_000

/** Entries that are given back at a time while the store is loaded, before anything else has its turn. */
const LOAD_SLICE = 5_000

/** A file that is larger is opened anew when it has been read: see `Engine.reopen`. */
const REOPENED_BYTES = 16 * 1024 * 1024

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

export type EmbeddedStoreModules = CommitQueueModules

export class EmbeddedStore implements LocalStore {
  private readonly queue: CommitQueue<EmbeddedTable | EmbeddedShelf>
  private isStopped = false
  /** A transaction that is on its way. */
  private writing: Promise<number> | undefined
  /** The file is not to be written before. */
  private reopening: Promise<void> | undefined

  private constructor(
    private readonly engine: Engine,
    private readonly options: EmbeddedStoreOptions,
    private readonly modules: EmbeddedStoreModules,
  ) {
    const place: CommitPlace<EmbeddedTable | EmbeddedShelf> = {
      logFields: { directory: options.directory },
      write: (taken) => this.write(taken),
      reasonOf: (error) => this.reasonOf(error),
    }
    // A disk that is full now will not have room in a moment: who waits is told at once.
    this.queue = new CommitQueue(place, { patience: 0, retryDelay: () => RETRY_INTERVAL_MS }, modules)
    modules.metrics.bind({ bytes: () => engine.bytes, copies: () => 0, ...this.queue.gauges })
  }

  /** @throws StoreError */
  static async open(options: EmbeddedStoreOptions, modules: EmbeddedStoreModules): Promise<EmbeddedStore> {
    return new EmbeddedStore(await Engine.open(options.directory), options, modules)
  }

  get isFailing(): boolean {
    return this.queue.isFailing
  }

  table(name: string, contents: TableContents): StoreTable {
    return this.queue.add(name, (onChange) => new EmbeddedTable(name, this.engine.table(name), contents, onChange))
  }

  shelf(name: string, contents: ShelfContents): StoreShelf {
    const { engine } = this
    return this.queue.add(name, (onChange) => new EmbeddedShelf(engine, engine.table(name), contents, onChange))
  }

  /** Gives every table and shelf what was kept of it; other work has its turns meanwhile. @throws StoreError STORE_DAMAGED */
  async load(): Promise<void> {
    const startedAt = performance.now()
    let entries = 0
    let slice = 0
    for (const table of this.queue.tables()) {
      for (const { key, value } of this.engine.entries(table.table)) {
        entries += this.restored(table, () => table.restore(key, value))
        if (entries - slice < LOAD_SLICE) continue
        slice = entries
        await new Promise(setImmediate)
      }
      entries += this.restored(table, () => table.restored())
    }
    if (this.engine.bytes > REOPENED_BYTES) await this.reopen()
    const milliseconds = Math.round(performance.now() - startedAt)
    const fields = { entries, milliseconds, bytes: this.engine.bytes }
    if (entries > 0) this.modules.log.info(fields, 'store loaded')
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
    await this.queue.stop()
    this.isStopped = true
    await this.engine.close()
  }

  private async write(taken: readonly TakenKeys<EmbeddedTable | EmbeddedShelf>[]): Promise<number> {
    await this.reopening
    this.writing = this.engine.write(writesOf(taken), this.options.durability === 'fsync')
    try {
      return await this.writing
    } finally {
      this.writing = undefined
    }
  }

  /** @throws StoreError STORE_DAMAGED when whoever owns the entry cannot read it */
  private restored({ table }: { readonly table: EngineTable }, restore: () => number): number {
    try {
      return restore()
    } catch (error) {
      if (error instanceof StoreError) throw error
      throw damaged(
        this.options.directory,
        `an entry of ${table.name} cannot be read (${asError(error).message})`,
        error,
      )
    }
  }

  private async reopen(): Promise<void> {
    // What was restored may have begun a commit. One that fails is dealt with where it began.
    while (this.writing !== undefined) await Promise.allSettled([this.writing])
    this.reopening = this.engine.reopen()
    await this.reopening
    this.reopening = undefined
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
}

function* writesOf(taken: readonly TakenKeys<EmbeddedTable | EmbeddedShelf>[]): Generator<EngineWrite> {
  for (const [table, keys] of taken) yield* (table as Writes).writes(keys)
}

/** Each has taken keys of its own kind. */
interface Writes {
  writes(keys: Iterable<string | number>): Generator<EngineWrite>
}
