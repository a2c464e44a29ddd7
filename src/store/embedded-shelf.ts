/** One shelf of the embedded store: numbers are keys of six bytes, so that their order is that of the file. */

import type { Hold, ShelfContents, StoreShelf } from '../broker/store-port.js'
import { DueKeys, type OnChange } from './due-table.js'
import type { Engine, EngineTable, EngineWrite } from './engine.js'

const KEY_BYTES = 6

export class EmbeddedShelf extends DueKeys<number> implements StoreShelf {
  /** For reads, which are over when it is used again. */
  private readonly key = Buffer.alloc(KEY_BYTES)

  constructor(
    private readonly engine: Engine,
    readonly table: EngineTable,
    private readonly contents: ShelfContents,
    private readonly onChange: OnChange,
  ) {
    super()
  }

  changed(number: number, pending: Hold | undefined): void {
    this.due.add(number)
    this.onChange(pending)
  }

  unchanged(number: number): void {
    this.due.delete(number)
  }

  get(number: number): Buffer | undefined {
    this.key.writeUIntBE(number, 0, KEY_BYTES)
    return this.engine.get(this.table, this.key)
  }

  restore(key: Buffer, value: Buffer): void {
    this.contents.restore(key.readUIntBE(0, KEY_BYTES), value)
  }

  *writes(numbers: Iterable<number>): Generator<EngineWrite> {
    const { table } = this
    for (const number of numbers) {
      const key = Buffer.allocUnsafe(KEY_BYTES)
      key.writeUIntBE(number, 0, KEY_BYTES)
      yield { table, key, value: this.contents.read(number) }
    }
  }

  tellKept(numbers: Set<number>): void {
    for (const number of numbers) this.contents.kept(number)
  }
}
