/** One table of the embedded store: how keys and values are laid out. */

import { createHash } from 'node:crypto'
import type { TableContents } from '../broker/store-port.js'
import { DueTable, type OnChange } from './due-table.js'
import type { EngineTable, EngineWrite } from './engine.js'

/** LMDB's keys have at most 1,978 bytes. */
const LONGEST_KEY_BYTES = 1_900

/** No text in UTF-8 has this byte: such a key is a digest, and its text precedes the value. */
const DIGEST_MARK = 0xff

export class EmbeddedTable extends DueTable {
  constructor(
    name: string,
    readonly table: EngineTable,
    contents: TableContents,
    onChange: OnChange,
  ) {
    super(name, contents, onChange)
  }

  *writes(keys: Iterable<string>): Generator<EngineWrite> {
    const { table } = this
    for (const key of keys) {
      const value = this.contents.read(key)
      const text = Buffer.from(key)
      if (text.length > 0 && text.length <= LONGEST_KEY_BYTES) yield { table, key: text, value }
      else yield { table, key: digestOf(text), value: value && joined(text, value) }
    }
  }

  /** Gives an entry of the disk back to its owner. @returns how many were given back */
  restore(key: Buffer, value: Buffer): number {
    if (key[0] === DIGEST_MARK) {
      const end = 4 + value.readUInt32BE(0)
      this.contents.restore(value.toString('utf8', 4, end), value.subarray(end))
    } else this.contents.restore(key.toString(), value)
    return 1
  }

  /** All entries were read. */
  restored(): number {
    return 0
  }
}

function digestOf(text: Buffer): Buffer {
  return Buffer.concat([Buffer.of(DIGEST_MARK), createHash('sha256').update(text).digest()])
}

function joined(text: Buffer, value: Uint8Array): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(text.length)
  return Buffer.concat([length, text, value])
}
