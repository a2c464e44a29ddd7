import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { Backoff } from '../../../src/util/backoff.js'

describe('backoff', () => {
  it('doubles up to its maximum, and starts again after a reset', () => {
    const backoff = new Backoff({ initialMs: 100, maximumMs: 1_000, jitter: 0 })
    const pauses = (): number[] => Array.from({ length: 6 }, () => backoff.next())
    assert.deepEqual(pauses(), [100, 200, 400, 800, 1_000, 1_000])
    assert.equal(backoff.attempts, 6)
    backoff.reset()
    assert.equal(backoff.attempts, 0)
    assert.deepEqual(pauses(), [100, 200, 400, 800, 1_000, 1_000])
  })

  it('keeps each pause between its step and what jitter leaves of it, whatever chance says', () => {
    const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
    fc.assert(
      fc.property(
        fc.array(chance, { minLength: 1, maxLength: 20 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (chances, jitter) => {
          let index = 0
          const random = (): number => chances[index++ % chances.length] ?? 0
          const backoff = new Backoff({ initialMs: 100, maximumMs: 5_000, factor: 3, jitter, random })
          let step = 100
          for (let attempt = 0; attempt < 20; attempt += 1) {
            const pause = backoff.next()
            assert.ok(pause <= step && pause >= Math.floor(step * (1 - jitter)), `${pause} of ${step}`)
            step = Math.min(step * 3, 5_000)
          }
        },
      ),
    )
  })

  it('spreads the pauses of many', () => {
    const pauses = new Set(
      Array.from({ length: 100 }, () => new Backoff({ initialMs: 10_000, maximumMs: 10_000 }).next()),
    )
    assert.ok(pauses.size > 50)
  })

  it('refuses figures that make no pause', () => {
    assert.throws(() => new Backoff({ initialMs: 0, maximumMs: 1 }), RangeError)
    assert.throws(() => new Backoff({ initialMs: 2, maximumMs: 1 }), RangeError)
    assert.throws(() => new Backoff({ initialMs: 1, maximumMs: 1, factor: 0.5 }), RangeError)
    assert.throws(() => new Backoff({ initialMs: 1, maximumMs: 1, jitter: 2 }), RangeError)
  })
})
