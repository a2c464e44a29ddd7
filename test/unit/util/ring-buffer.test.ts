import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { RingBuffer } from '../../../src/util/ring-buffer.js'

describe('ring buffer', () => {
  it('is a queue, under any sequence of pushes and shifts', () => {
    const step = fc.option(fc.integer(), { nil: undefined, freq: 3 })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), fc.integer({ min: 1, max: 100 }), (steps, maximumLength) => {
        const buffer = new RingBuffer<number>(maximumLength)
        const model: number[] = []
        for (const item of steps) {
          if (item === undefined) {
            assert.equal(buffer.shift(), model.shift())
          } else {
            assert.equal(buffer.push(item), model.length < maximumLength)
            if (model.length < maximumLength) model.push(item)
          }
          assert.equal(buffer.length, model.length)
          assert.equal(buffer.peek(), model[0])
          assert.equal(buffer.at(model.length - 1), model.at(-1))
          assert.equal(buffer.isFull, model.length === maximumLength)
        }
        assert.deepEqual([...buffer], model)
        buffer.clear()
        assert.ok(buffer.isEmpty)
        assert.deepEqual([...buffer], [])
      }),
    )
  })

  it('refuses an item at its bound, also when the bound is no power of two', () => {
    const buffer = new RingBuffer<string>(3)
    assert.deepEqual(
      ['a', 'b', 'c', 'd'].map((item) => buffer.push(item)),
      [true, true, true, false],
    )
    assert.equal(buffer.shift(), 'a')
    assert.ok(buffer.push('e'))
    assert.deepEqual([...buffer], ['b', 'c', 'e'])
  })

  it('answers undefined outside of its items', () => {
    const buffer = new RingBuffer<string>(10)
    assert.equal(buffer.shift(), undefined)
    assert.equal(buffer.peek(), undefined)
    buffer.push('a')
    assert.equal(buffer.at(-1), undefined)
    assert.equal(buffer.at(1), undefined)
  })

  it('wants a bound of at least one', () => {
    for (const bound of [0, -1, Number.NaN]) assert.throws(() => new RingBuffer(bound), RangeError)
  })
})
