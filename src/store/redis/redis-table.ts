/** One table of the store in Redis: a hash, whose fields are the keys of the table as they are. */

import type { TableContents } from '../../broker/store-port.js'
import { DueTable, type OnChange } from '../due-table.js'

export class RedisTable extends DueTable {
  constructor(
    name: string,
    /** Of the hash. */
    readonly redisKey: string,
    contents: TableContents,
    onChange: OnChange,
  ) {
    super(name, contents, onChange)
  }

  read(key: string): Uint8Array | undefined {
    return this.contents.read(key)
  }

  restore(key: string, value: Buffer): void {
    this.contents.restore(key, value)
  }

  /** Everything that the store ought to have of it, as far as its owner can say. */
  keys(): Iterable<string> {
    return this.contents.keys?.() ?? []
  }
}
