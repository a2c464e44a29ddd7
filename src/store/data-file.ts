/**
 * A look at LMDB's data file before LMDB maps it into memory: of a file that is something else, or is cut off, the
 * first access would end the process instead of failing. Layout: `MDB_meta` of lmdb 3.5 (data version 2).
 */

import { closeSync, existsSync, fstatSync, ftruncateSync, openSync, readSync } from 'node:fs'
import { damaged } from './errors.js'

const MAGIC = 0xbeefc0de
/** Offsets in a page that holds a meta record. */
const MAGIC_AT = 24
const PAGE_SIZE_AT = 48
const LAST_PAGE_AT = 144
const META_BYTES = 152

/** LMDB's own bounds. */
const SMALLEST_PAGE_BYTES = 512
const LARGEST_PAGE_BYTES = 65_536

/**
 * Makes a data file safe to map; one that is not there yet is. A file may well end before its last page, when that was
 * free, or after a loss of power, when LMDB goes back to an earlier commit. So what is missing is made up with zeros,
 * which LMDB takes for damage if it ever reads them.
 * @throws StoreError STORE_DAMAGED
 */
export function prepareDataFile(directory: string, path: string): void {
  if (!existsSync(path)) return
  const file = openSync(path, 'r+')
  try {
    const { size } = fstatSync(file)
    if (size === 0) throw damaged(directory, 'its data file is empty')
    const first = readMeta(file, 0)
    const second = first && readMeta(file, first.pageSize)
    if (first === undefined || second === undefined) throw damaged(directory, 'its data file does not begin as one')
    const whole = (Math.max(first.lastPage, second.lastPage) + 1) * first.pageSize
    if (whole > size) ftruncateSync(file, whole)
  } finally {
    closeSync(file)
  }
}

function readMeta(file: number, at: number): { pageSize: number; lastPage: number } | undefined {
  const meta = Buffer.alloc(META_BYTES)
  if (readSync(file, meta, 0, META_BYTES, at) < META_BYTES || meta.readUInt32LE(MAGIC_AT) !== MAGIC) return undefined
  const pageSize = meta.readUInt32LE(PAGE_SIZE_AT)
  const lastPage = Number(meta.readBigUInt64LE(LAST_PAGE_AT))
  const isPossible = pageSize >= SMALLEST_PAGE_BYTES && pageSize <= LARGEST_PAGE_BYTES
  return isPossible && Number.isSafeInteger(lastPage * pageSize) ? { pageSize, lastPage } : undefined
}
