/**
 * A look at LMDB's data file before LMDB maps it into memory: of a file that is cut off, or that is something else,
 * the first access would end the process instead of failing. Layout: `MDB_meta` of lmdb 3.5 (data version 2).
 */

import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs'
import { damaged } from './errors.js'

const MAGIC = 0xbeefc0de
/** Offsets in a page that holds a meta record. */
const MAGIC_AT = 24
const PAGE_SIZE_AT = 48
const LAST_PAGE_AT = 144
const META_BYTES = 152

/** Looks at a data file; nothing is wrong with one that is not there yet. @throws StoreError STORE_DAMAGED */
export function inspectDataFile(directory: string, path: string): void {
  if (!existsSync(path)) return
  const file = openSync(path, 'r')
  try {
    const { size } = fstatSync(file)
    if (size === 0) throw damaged(directory, 'its data file is empty')
    const first = readMeta(file, 0)
    const second = first && readMeta(file, first.pageSize)
    if (first === undefined || second === undefined) throw damaged(directory, 'its data file does not begin as one')
    // After a loss of power the later one may point behind the end; LMDB then goes back to the earlier.
    const isWhole = [first, second].some(({ pageSize, lastPage }) => (lastPage + 1) * pageSize <= size)
    if (!isWhole) throw damaged(directory, 'its data file is cut off')
  } finally {
    closeSync(file)
  }
}

function readMeta(file: number, at: number): { pageSize: number; lastPage: number } | undefined {
  const meta = Buffer.alloc(META_BYTES)
  if (readSync(file, meta, 0, META_BYTES, at) < META_BYTES || meta.readUInt32LE(MAGIC_AT) !== MAGIC) return undefined
  const pageSize = meta.readUInt32LE(PAGE_SIZE_AT)
  if (pageSize < 512 || pageSize > 65_536) return undefined
  return { pageSize, lastPage: Number(meta.readBigUInt64LE(LAST_PAGE_AT)) }
}
