/**
 * LMDB as the store uses it: named tables of bytes in one file, and one transaction for all writes of one turn, which
 * a thread of its own commits. What has committed survives the process; what has been flushed survives the machine.
 */

import { statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type Database, open, type RootDatabase } from 'lmdb'
import { asError } from '../util/errors.js'
import { prepareDataFile } from './data-file.js'
import { damaged, StoreError, unusable } from './errors.js'
import { makeDirectory } from './node-identity.js'

/** Of the data as a whole; a node reads this version and no other. */
export const SCHEMA_VERSION = 2

/** Tables of later versions included. */
const MAXIMUM_TABLES = 64

/** In LMDB's words. */
const DAMAGE = /MDB_(INVALID|CORRUPTED|VERSION_MISMATCH|PAGE_NOTFOUND|PANIC|BAD_VALSIZE)/

const SCHEMA_KEY = Buffer.from('schema')
const BINARY = { encoding: 'binary', keyEncoding: 'binary', cache: false, compression: false } as const

/** LMDB's own batches of a turn have a promise that nobody sees, and that fails with a commit. */
const OWN_BATCHES = { eventTurnBatching: false } as const

/** A named table. What LMDB knows it by is another when the file has been opened anew. */
export class EngineTable {
  constructor(
    readonly name: string,
    public database: Database<Buffer, Buffer>,
  ) {}
}

export interface EngineWrite {
  readonly table: EngineTable
  readonly key: Buffer
  /** Undefined removes the key. */
  readonly value: Uint8Array | undefined
}

export class Engine {
  private readonly tables: EngineTable[] = []

  private constructor(
    private root: RootDatabase<Buffer, Buffer>,
    private readonly directory: string,
    private readonly file: string,
  ) {}

  /** @throws StoreError */
  static async open(directory: string): Promise<Engine> {
    const path = pathOf(directory)
    const file = join(path, 'data.mdb')
    let engine: Engine
    try {
      makeDirectory(path)
      prepareDataFile(directory, file)
      engine = new Engine(openRoot(directory), directory, file)
    } catch (error) {
      throw failureOf(directory, 'opened as a store', error)
    }
    try {
      engine.checkSchema()
    } catch (error) {
      await engine.close()
      throw error
    }
    return engine
  }

  /** Bytes of the data file; 0 when it cannot be asked. */
  get bytes(): number {
    return statSync(this.file, { throwIfNoEntry: false })?.size ?? 0
  }

  /** Made when it is not there yet. @throws StoreError */
  table(name: string): EngineTable {
    try {
      const table = new EngineTable(name, this.openTable(name))
      this.tables.push(table)
      return table
    } catch (error) {
      throw failureOf(this.directory, 'opened as a store', error)
    }
  }

  /**
   * Opens the file anew: what was read of it is memory of this process as long as it is mapped. Nothing must be read or
   * written meanwhile. @throws StoreError
   */
  async reopen(): Promise<void> {
    await this.close()
    try {
      this.root = openRoot(this.directory)
      for (const table of this.tables) table.database = this.openTable(table.name)
    } catch (error) {
      throw failureOf(this.directory, 'opened as a store', error)
    }
  }

  /** Every entry of a table, in the order of the keys' bytes. @throws StoreError STORE_DAMAGED */
  *entries(table: EngineTable): Generator<{ key: Buffer; value: Buffer }> {
    try {
      yield* table.database.getRange()
    } catch (error) {
      throw failureOf(this.directory, 'read', error)
    }
  }

  /** One entry, in bytes of its own. @throws StoreError STORE_DAMAGED */
  get({ database }: EngineTable, key: Buffer): Buffer | undefined {
    return this.read(database, key)
  }

  /**
   * One transaction; resolves when it has committed, with its size in bytes of keys and values.
   * @param isFlushed when the disk has it, rather than the operating system
   */
  async write(writes: Iterable<EngineWrite>, isFlushed: boolean): Promise<number> {
    let bytes = 0
    const parts = new Set<Promise<boolean>>()
    const whole = this.root.batch(() => {
      for (const { table, key, value } of writes) {
        const { database } = table
        bytes += key.length + (value?.length ?? 0)
        parts.add(value === undefined ? database.remove(key) : database.put(key, value as Buffer))
      }
    })
    // All of them fail when one does, each with a promise of its own that has to be looked at.
    const outcomes = await Promise.allSettled([whole, ...parts])
    const failed = outcomes.find((outcome) => outcome.status === 'rejected')
    if (failed !== undefined) throw await causeOf(failed.reason)
    if (isFlushed) await this.root.flushed
    return bytes
  }

  /** For what was read and is not what was written. */
  damage(what: string): StoreError {
    return damaged(this.directory, what)
  }

  async close(): Promise<void> {
    await this.root.close()
  }

  private openTable(name: string): Database<Buffer, Buffer> {
    return this.root.openDB<Buffer, Buffer>({ name, ...BINARY })
  }

  private read(database: Pick<Database<Buffer, Buffer>, 'get'>, key: Buffer): Buffer | undefined {
    try {
      return database.get(key)
    } catch (error) {
      throw failureOf(this.directory, 'read', error)
    }
  }

  private checkSchema(): void {
    const found = this.read(this.root, SCHEMA_KEY)
    if (found === undefined) return this.begin()
    const version = found.length === 4 ? found.readUInt32BE(0) : 0
    if (version === SCHEMA_VERSION) return
    const { directory } = this
    if (version === 0) throw damaged(directory, 'its version cannot be read')
    const code = version < SCHEMA_VERSION ? 'STORE_OLDER' : 'STORE_NEWER'
    const reads = `this version of ShoalMQ reads ${SCHEMA_VERSION}`
    throw new StoreError(`the store in ${directory} has version ${version}; ${reads}`, { code, directory })
  }

  private begin(): void {
    const version = Buffer.alloc(4)
    version.writeUInt32BE(SCHEMA_VERSION)
    try {
      this.root.transactionSync(() => this.root.putSync(SCHEMA_KEY, version))
    } catch (error) {
      throw unusable(this.directory, 'written', error)
    }
  }
}

function pathOf(directory: string): string {
  return join(resolve(directory), 'store')
}

function openRoot(directory: string): RootDatabase<Buffer, Buffer> {
  const path = pathOf(directory)
  return open<Buffer, Buffer>({ path, noSubdir: false, maxDbs: MAXIMUM_TABLES, ...OWN_BATCHES, ...BINARY })
}

/** What LMDB or the system says while a store is opened or read. */
function failureOf(directory: string, how: string, error: unknown): StoreError {
  if (error instanceof StoreError) return error
  const { message } = asError(error)
  return DAMAGE.test(message) ? damaged(directory, message, error) : unusable(directory, how, error)
}

/** LMDB says that a commit has failed, and promises to say why. */
async function causeOf(error: unknown): Promise<Error> {
  const { commitError } = asError(error) as { commitError?: Promise<never> }
  if (commitError === undefined) return asError(error)
  return commitError.then(() => asError(error), asError)
}
