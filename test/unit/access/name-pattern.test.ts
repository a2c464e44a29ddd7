import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { NamePattern } from '../../../src/access/name-pattern.js'

const text = (letters: readonly string[]): fc.Arbitrary<string> =>
  fc.array(fc.constantFrom(...letters), { maxLength: 6 }).map((parts) => parts.join(''))

test('a star stands for any text, everything else for itself', () => {
  fc.assert(
    fc.property(text(['a', 'b', '.', '*']), text(['a', 'b', '.']), (pattern, name) => {
      const expression = pattern
        .split('*')
        .map((part) => part.replaceAll('.', '\\.'))
        .join('.*')
      assert.equal(new NamePattern(pattern).matches(name), new RegExp(`^${expression}$`).test(name))
    }),
    { numRuns: 5_000 },
  )
})

test('a pattern of many stars takes no longer for a name that nearly matches', () => {
  const pattern = new NamePattern(`${'*a'.repeat(30)}*b`)
  const started = performance.now()
  assert.equal(pattern.matches('a'.repeat(65_000)), false)
  assert.ok(performance.now() - started < 1_000, 'an expression with backtracking would not come back')
})
