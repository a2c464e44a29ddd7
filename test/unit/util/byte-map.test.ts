import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { ByteMap } from '../../../src/util/byte-map.js'
import { PAGE_BYTES } from '../../../src/util/cells.js'
import { FNV_SEED, hashText } from '../../../src/util/text-hash.js'

const KEY = fc.oneof(
  fc.constantFrom('', 'a', 'b', '__proto__', 'ÿ', 'Ā', '\ud800', '\0', 'x'.repeat(300)),
  fc.integer({ min: 0, max: 200 }).map((number) => `plant/${number}`),
)
const LENGTH = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.constantFrom(PAGE_BYTES / 8, PAGE_BYTES, PAGE_BYTES + 1))
const STEP = fc.record({ key: KEY, length: fc.option(LENGTH, { nil: undefined }), fill: fc.nat(255) })

function contentOf(map: ByteMap): Map<string, string> {
  return new Map(Array.from(map.keys(), (key) => [key, map.get(key)?.toString('latin1') ?? 'nothing']))
}

describe('a map of bytes', () => {
  it('has what a Map would have, through any writes and removals, of any sizes and texts', () => {
    fc.assert(
      fc.property(fc.array(STEP, { maxLength: 400, size: 'max' }), (steps) => {
        const map = new ByteMap()
        const model = new Map<string, string>()
        for (const { key, length, fill } of steps) {
          if (length === undefined) assert.equal(map.delete(key), model.delete(key))
          else {
            const value = Buffer.alloc(length, fill)
            map.set(key, value)
            model.set(key, value.toString('latin1'))
          }
          assert.equal(map.size, model.size)
          assert.equal(map.has(key), model.has(key))
        }
        assert.deepEqual(new Map([...contentOf(map)].sort()), new Map([...model].sort()))
      }),
      { numRuns: 100 },
    )
  })

  it('gives room back, for things of other sizes, too', () => {
    const map = new ByteMap()
    const empty = map.bytes
    const fill = (length: number): number => {
      for (let number = 0; number < 5_000; number += 1) map.set(`key ${number}`, Buffer.alloc(length))
      return map.bytes
    }
    const small = fill(100)
    const large = fill(1_000)
    assert.ok(large > 5_000_000 && large < 7_000_000, `${large} bytes`)
    assert.ok(Math.abs(fill(100) - small) <= 3 * PAGE_BYTES)
    for (let number = 0; number < 5_000; number += 1) map.delete(`key ${number}`)
    assert.equal(map.size, 0)
    // The table stays as large as it was, and one page of each size that there has been.
    assert.ok(map.bytes < empty + 2 * 4 * 8_192 + 6 * PAGE_BYTES, `${map.bytes} bytes`)
  })

  it('takes little more than the bytes themselves', () => {
    const map = new ByteMap()
    const value = Buffer.alloc(100)
    for (let number = 0; number < 100_000; number += 1) map.set(`plant/${number}`, value)
    assert.ok(map.bytes / 100_000 < 150, `${map.bytes / 100_000} bytes each`)
  })

  it('gives each key once while it changes, and those with a hash that is wanted', () => {
    const map = new ByteMap()
    const keys = Array.from({ length: 3_000 }, (_, number) => `${number % 2 === 0 ? 'Ä€' : 'key'} ${number}`)
    for (const key of keys) map.set(key, Buffer.alloc(10))
    const seen: string[] = []
    for (const key of map.keys()) {
      seen.push(key)
      if (seen.length === 100) for (const other of keys.slice(2_000)) map.delete(other)
      if (seen.length === 200)
        for (let number = 0; number < 5_000; number += 1) map.set(`new ${number}`, Buffer.alloc(500))
    }
    assert.equal(new Set(seen).size, seen.length)
    for (const key of keys.slice(0, 2_000)) assert.ok(seen.includes(key))
    const isWanted = (hash: number): boolean => hash % 8 === 3
    const wanted = keys.slice(0, 2_000).filter((key) => isWanted(hashText(key, FNV_SEED)))
    const found = [...map.keysWhere(FNV_SEED, isWanted)].filter((key) => !key.startsWith('new'))
    assert.deepEqual(found.sort(), wanted.sort())
  })
})
