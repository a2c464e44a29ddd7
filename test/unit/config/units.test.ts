import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { formatDuration, formatSize, parseDuration, parseSize, UnitError } from '../../../src/config/units.js'

test('durations are read in every unit, bare numbers as milliseconds', () => {
  const cases = { '500ms': 500, '30s': 30_000, '5m': 300_000, '2h': 7_200_000, '7d': 604_800_000, '250': 250, '0': 0 }
  for (const [text, expected] of Object.entries(cases)) assert.equal(parseDuration(text), expected, text)
  assert.equal(parseDuration(1_500), 1_500)
  assert.equal(parseDuration(' 30 S '), 30_000)
})

test('sizes are read in every unit, as powers of 1024', () => {
  const cases = { '512b': 512, '64kb': 65_536, '1mb': 1_048_576, '2gb': 2_147_483_648, '4096': 4_096 }
  for (const [text, expected] of Object.entries(cases)) assert.equal(parseSize(text), expected, text)
})

test('what is neither a duration nor a size is refused', () => {
  const refused = [
    '',
    's',
    '-1s',
    '1.5s',
    '1h30m',
    '30 s s',
    '1kb',
    '1e3',
    '0x10',
    '１s',
    'constructor',
    '9007199254740993d',
  ]
  for (const text of refused) assert.throws(() => parseDuration(text), UnitError, text)
  for (const text of ['64k', '1s', '1tb', '1.5mb', 'toString']) assert.throws(() => parseSize(text), UnitError, text)
  for (const value of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.throws(() => parseDuration(value), UnitError)
    assert.throws(() => parseSize(value), UnitError)
  }
})

test('what is written is read again as the same number', () => {
  fc.assert(
    fc.property(fc.nat(), fc.constantFrom(1, 1_000, 60_000, 1_024, 1_048_576), (amount, factor) => {
      const value = amount * factor
      assert.equal(parseDuration(formatDuration(value)), value)
      assert.equal(parseSize(formatSize(value)), value)
    }),
  )
})

test('the shortest exact unit is written', () => {
  assert.deepEqual([60_000, 90_000, 1_500, 0, 86_400_000].map(formatDuration), ['1m', '90s', '1500ms', '0', '1d'])
  assert.deepEqual([32_768, 1_000, 1_048_576].map(formatSize), ['32kb', '1000b', '1mb'])
})
