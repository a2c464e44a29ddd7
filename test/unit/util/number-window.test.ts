import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { NumberWindow } from '../../../src/util/number-window.js'

describe('a window of numbers', () => {
  it('has what a map has, whatever is added and deleted in which order', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('add' as const), gap: fc.constantFrom(1, 1, 1, 2, 90, 2 ** 33) }),
      fc.record({ kind: fc.constant('delete' as const), pick: fc.nat() }),
      fc.record({ kind: fc.constant('delete oldest' as const), count: fc.integer({ min: 1, max: 40 }) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
        const window = new NumberWindow<string>()
        const model = new Map<number, string>()
        let last = 0
        for (const one of steps) {
          const numbers = [...model.keys()]
          if (one.kind === 'add') {
            last += model.size > 0 ? Math.min(one.gap, 90) : one.gap
            window.add(last, `item ${last}`)
            model.set(last, `item ${last}`)
            continue
          }
          const gone = one.kind === 'delete' ? [numbers[one.pick % numbers.length] ?? 7] : numbers.slice(0, one.count)
          for (const number of gone) {
            window.delete(number)
            model.delete(number)
          }
        }
        assert.equal(window.size, model.size)
        for (const [number, item] of model) assert.equal(window.get(number), item)
        for (const limit of [0, Math.floor(last / 2), last - 1, last, last + 1]) {
          const expected = [...model].filter(([number]) => number <= limit).map(([, item]) => item)
          assert.deepEqual(window.upTo(limit), expected)
        }
        for (const number of [0, last + 1, last + 70_000]) assert.equal(window.get(number), undefined)
      }),
      { numRuns: 200 },
    )
  })

  it('keeps few that stay behind many', () => {
    const window = new NumberWindow<number>()
    for (let number = 1; number <= 300_000; number += 1) {
      window.add(number, number)
      if (number % 50_000 !== 1) window.delete(number)
    }
    assert.equal(window.size, 6)
    assert.deepEqual(window.upTo(150_001), [1, 50_001, 100_001, 150_001])
    for (let number = 1; number <= 300_000; number += 50_000) {
      assert.equal(window.get(number), number)
      window.delete(number)
      assert.equal(window.get(number), undefined)
    }
    assert.equal(window.size, 0)
  })
})
