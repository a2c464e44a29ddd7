import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { SPLIT_AT_KEYS, SplitMap, type TextMap, withRoom } from '../../../src/util/split-map.js'

function filled(count: number): TextMap<number> {
  let map: TextMap<number> = new Map()
  for (let number = 0; number < count; number += 1) {
    map = withRoom(map)
    map.set(`key/${number}`, number)
  }
  return map
}

describe('a map of texts', () => {
  it('is a Map while it is small, and split when it grows', () => {
    assert.equal(filled(SPLIT_AT_KEYS) instanceof Map, true)
    const split = filled(SPLIT_AT_KEYS + 1)
    assert.equal(split instanceof SplitMap, true)
    assert.equal(withRoom(split), split)
  })

  it('is what a Map is, also when it is split', () => {
    const map = filled(3 * SPLIT_AT_KEYS)
    const size = 3 * SPLIT_AT_KEYS
    assert.equal(map.size, size)
    assert.deepEqual([map.get('key/7'), map.get(`key/${size - 1}`), map.get('key/x')], [7, size - 1, undefined])
    map.set('key/7', -7)
    assert.deepEqual([map.size, map.get('key/7')], [size, -7])
    assert.deepEqual([map.delete('key/7'), map.delete('key/7'), map.size], [true, false, size - 1])
    assert.deepEqual(
      [...map.values()].sort((a, b) => a - b),
      Array.from({ length: size }, (_, number) => number).filter((number) => number !== 7),
    )
    for (const [key, value] of map.entries()) assert.equal(key, `key/${value}`)
  })

  it('takes keys of any length', () => {
    const map = new SplitMap<number>(new Map())
    const keys = ['', 'a', 'x'.repeat(65_535), `${'x'.repeat(65_534)}y`]
    for (const [index, key] of keys.entries()) map.set(key, index)
    assert.deepEqual(
      keys.map((key) => map.get(key)),
      [0, 1, 2, 3],
    )
  })

  it('can be read to the end while it is split and changes', () => {
    const before = filled(SPLIT_AT_KEYS)
    const reader = before.values()
    const seen = new Set<number>([reader.next().value as number])
    const after = withRoom(before)
    after.set('more', -1)
    for (const value of reader) seen.add(value)
    for (let number = 0; number < SPLIT_AT_KEYS; number += 1) assert.equal(seen.has(number), true)
  })
})
