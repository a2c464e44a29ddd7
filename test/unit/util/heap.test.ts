import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { Heap } from '../../../src/util/heap.js'

describe('a heap', () => {
  it('gives its items in order, whatever was put in, taken out and dropped before', () => {
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('push' as const), item: fc.nat(50) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('pop' as const) }) },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant('keepOnly' as const), divisor: fc.integer({ min: 2, max: 5 }) }),
      },
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100, size: 'max' }), (steps) => {
        const heap = new Heap<number>((a, b) => a - b)
        let model: number[] = []
        for (const one of steps) {
          if (one.kind === 'push') {
            heap.push(one.item)
            model.push(one.item)
            model.sort((a, b) => a - b)
          } else if (one.kind === 'pop') assert.equal(heap.pop(), model.shift())
          else {
            heap.keepOnly((item) => item % one.divisor !== 0)
            model = model.filter((item) => item % one.divisor !== 0)
          }
          assert.deepEqual([heap.length, heap.peek()], [model.length, model[0]])
        }
        while (model.length > 0) assert.equal(heap.pop(), model.shift())
        assert.equal(heap.pop(), undefined)
      }),
    )
  })
})
