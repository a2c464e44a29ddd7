/** One table of the store in Redis: a hash, whose fields are the keys of the table as they are. */

import type { TableContents } from '../../broker/store-port.js'
import { DueTable, type OnChange } from '../due-table.js'
import type { RedisPart } from './redis-part.js'

export class RedisTable extends DueTable implements RedisPart {
  constructor(
    name: string,
    readonly redisKey: string,
    contents: TableContents,
    onChange: OnChange,
  ) {
    super(name, contents, onChange)
  }

  get tellsOfShelves(): boolean {
    return this.contents.tellsOfShelves === true
  }

  read(key: string | number): Uint8Array | undefined {
    return this.contents.read(String(key))
  }

  restore(field: string, value: Buffer): void {
    this.contents.restore(field, value)
  }

  *restored(): Generator<void> {
    // Each was given on as it came.
  }

  fields(): Iterable<string> {
    return this.contents.keys?.() ?? []
  }

  has(field: string): boolean {
    const { contents } = this
    return contents.has === undefined ? contents.read(field) !== undefined : contents.has(field)
  }

  writeAgain(field: string): void {
    this.changed(field, undefined)
  }
}
