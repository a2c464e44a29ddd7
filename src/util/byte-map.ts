/**
 * A map from texts to bytes that may have millions of entries, outside V8's heap: no object, no string and no buffer for
 * each, nothing for the garbage collector to walk. An entry is one cell of `Cells`: the length of the key with a bit that
 * says how it is written, the length of the value, the key, the value. A table of addresses and hashes finds it.
 */

import { randomBytes } from 'node:crypto'
import { Cells } from './cells.js'
import { hashBytes, hashText, mix } from './text-hash.js'

const VALUE_LENGTH_AT = 4
const KEY_AT = 8

/** Of the first four bytes of an entry, which are not 0: the key has two bytes for each code unit. */
const WIDE = 1
const IN_USE = 2
const KEY_LENGTH_SHIFT = 2

const SMALLEST_TABLE = 16
/** A table is doubled when it is this full. */
const FULLEST = 0.75

export class ByteMap {
  private readonly cells = new Cells()
  /** By chance, so that nobody can choose keys that all have one place in the table. */
  private readonly seed = randomBytes(4).readUInt32LE(0)
  /** Open addressing: the address of an entry, 0 where there is none, and the hash of its key. */
  private addresses = new Uint32Array(SMALLEST_TABLE)
  private hashes = new Uint32Array(SMALLEST_TABLE)
  private count = 0
  /** What is asked for is often what is written next: its hash is known then. */
  private lastKey = ''
  private lastHash: number

  constructor() {
    this.lastHash = mix(hashText(this.lastKey, this.seed))
  }

  /** Number of keys. */
  get size(): number {
    return this.count
  }

  /** What the entries take, with the room that is left between them, and the table. */
  get bytes(): number {
    return this.cells.bytes + this.addresses.byteLength + this.hashes.byteLength
  }

  has(key: string): boolean {
    return this.addresses[this.find(key, this.hash(key))] !== 0
  }

  /** The bytes themselves, not a copy: good until the map changes. */
  get(key: string): Buffer | undefined {
    const address = this.addresses[this.find(key, this.hash(key))] as number
    if (address === 0) return undefined
    const page = this.cells.page(address)
    const at = this.cells.offset(address)
    const start = at + KEY_AT + keyBytes(page.readUInt32LE(at))
    return page.subarray(start, start + page.readUInt32LE(at + VALUE_LENGTH_AT))
  }

  /** Copies the bytes, which must not be those that `get` has given. */
  set(key: string, value: Uint8Array): void {
    const hash = this.hash(key)
    const place = this.find(key, hash)
    const old = this.addresses[place] as number
    if (old !== 0) {
      const info = this.cells.page(old).readUInt32LE(this.cells.offset(old))
      const length = KEY_AT + keyBytes(info) + value.length
      if (this.cells.fits(old, length)) return this.writeValue(old, info, value)
    }
    const isWide = !isNarrow(key)
    const address = this.cells.take(KEY_AT + (isWide ? 2 * key.length : key.length) + value.length)
    this.write(address, key, isWide, value)
    if (old !== 0) this.cells.give(old)
    else this.count += 1
    this.addresses[place] = address
    this.hashes[place] = hash
    if (this.count > FULLEST * this.addresses.length) this.grow()
  }

  /** False when the key was not there. */
  delete(key: string): boolean {
    const place = this.find(key, this.hash(key))
    const address = this.addresses[place] as number
    if (address === 0) return false
    this.cells.give(address)
    this.count -= 1
    this.vacate(place)
    return true
  }

  /** In no particular order. The map may change meanwhile: keys that were there all the time and are not set come once. */
  *keys(): Generator<string> {
    for (const address of this.cells.addresses()) yield this.keyAt(address)
  }

  /** As `keys`, those whose hash by `hashText` is accepted: no text is made for the others. */
  *keysWhere(seed: number, accepts: (hash: number) => boolean): Generator<string> {
    for (const address of this.cells.addresses()) {
      const page = this.cells.page(address)
      const at = this.cells.offset(address)
      const info = page.readUInt32LE(at)
      const end = at + KEY_AT + keyBytes(info)
      if (accepts(hashBytes(page, at + KEY_AT, end, (info & WIDE) !== 0, seed))) yield this.keyAt(address)
    }
  }

  private hash(key: string): number {
    if (key === this.lastKey) return this.lastHash
    this.lastKey = key
    this.lastHash = mix(hashText(key, this.seed))
    return this.lastHash
  }

  /** The place of a key in the table, or the one that it would have. */
  private find(key: string, hash: number): number {
    const { addresses, hashes } = this
    const mask = addresses.length - 1
    for (let place = hash & mask; ; place = (place + 1) & mask) {
      const address = addresses[place] as number
      if (address === 0 || (hashes[place] === hash && this.isKeyAt(address, key))) return place
    }
  }

  private isKeyAt(address: number, key: string): boolean {
    const page = this.cells.page(address)
    let at = this.cells.offset(address)
    const info = page.readUInt32LE(at)
    if (info >>> KEY_LENGTH_SHIFT !== key.length) return false
    at += KEY_AT
    if ((info & WIDE) !== 0) {
      for (let index = 0; index < key.length; index += 1, at += 2) {
        if (page.readUInt16LE(at) !== key.charCodeAt(index)) return false
      }
      return true
    }
    for (let index = 0; index < key.length; index += 1) if (page[at + index] !== key.charCodeAt(index)) return false
    return true
  }

  private keyAt(address: number): string {
    const page = this.cells.page(address)
    const at = this.cells.offset(address)
    const info = page.readUInt32LE(at)
    return page.toString((info & WIDE) === 0 ? 'latin1' : 'utf16le', at + KEY_AT, at + KEY_AT + keyBytes(info))
  }

  private write(address: number, key: string, isWide: boolean, value: Uint8Array): void {
    const page = this.cells.page(address)
    const at = this.cells.offset(address)
    const info = key.length * (1 << KEY_LENGTH_SHIFT) + IN_USE + (isWide ? WIDE : 0)
    page.writeUInt32LE(info, at)
    page.write(key, at + KEY_AT, isWide ? 'utf16le' : 'latin1')
    this.writeValue(address, info, value)
  }

  private writeValue(address: number, info: number, value: Uint8Array): void {
    const page = this.cells.page(address)
    const at = this.cells.offset(address)
    page.writeUInt32LE(value.length, at + VALUE_LENGTH_AT)
    page.set(value, at + KEY_AT + keyBytes(info))
  }

  /** Closes the gap that a key leaves behind: whoever was pushed on by it comes nearer to its own place. */
  private vacate(place: number): void {
    const { addresses, hashes } = this
    const mask = addresses.length - 1
    let gap = place
    for (let next = (gap + 1) & mask; addresses[next] !== 0; next = (next + 1) & mask) {
      const home = (hashes[next] as number) & mask
      if (((next - home) & mask) < ((next - gap) & mask)) continue
      addresses[gap] = addresses[next] as number
      hashes[gap] = hashes[next] as number
      gap = next
    }
    addresses[gap] = 0
  }

  private grow(): void {
    const { addresses, hashes } = this
    const length = 2 * addresses.length
    this.addresses = new Uint32Array(length)
    this.hashes = new Uint32Array(length)
    for (let index = 0; index < addresses.length; index += 1) {
      if (addresses[index] === 0) continue
      const hash = hashes[index] as number
      let place = hash & (length - 1)
      while (this.addresses[place] !== 0) place = (place + 1) & (length - 1)
      this.addresses[place] = addresses[index] as number
      this.hashes[place] = hash
    }
  }
}

function keyBytes(info: number): number {
  const length = info >>> KEY_LENGTH_SHIFT
  return (info & WIDE) === 0 ? length : 2 * length
}

/** Whether a byte is enough for each code unit. */
function isNarrow(text: string): boolean {
  for (let index = 0; index < text.length; index += 1) if (text.charCodeAt(index) > 0xff) return false
  return true
}
