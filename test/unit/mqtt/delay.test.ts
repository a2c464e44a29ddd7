import assert from 'node:assert/strict'
import { it } from 'node:test'
import { INVALID_DELAY, isDelayed, LONGEST_DELAY_SECONDS, readDelay } from '../../../src/mqtt/delay.js'

it('a topic name with a delay is taken apart, and any other is left alone', () => {
  const rows: readonly (readonly [name: string, topic: string, delay: number])[] = [
    ['$delayed/10/a/b', 'a/b', 10],
    ['$delayed/0/a', 'a', 0],
    ['$delayed/007/a', 'a', 7],
    [`$delayed/${LONGEST_DELAY_SECONDS}/a`, 'a', LONGEST_DELAY_SECONDS],
    ['$delayed/1//', '/', 1],
    ['$delayed/1/a\nb', 'a\nb', 1],
    ['$delayed/1/$SYS/a', '$SYS/a', 1],
    ['delayed/1/a', 'delayed/1/a', 0],
    ['a/$delayed/1/a', 'a/$delayed/1/a', 0],
    ['$delayed', '$delayed', 0],
  ]
  for (const [name, topic, delay] of rows) assert.deepEqual(readDelay(name), { topic, delay }, name)
  const invalid = [
    '1',
    '1/',
    '/a',
    'x/a',
    '-1/a',
    '1.5/a',
    '1e3/a',
    '４/a',
    '4294968/a',
    '99999999/a',
    '1/$delayed/1/a',
    '',
  ]
  for (const rest of invalid) {
    const name = `$delayed/${rest}`
    assert.equal(isDelayed(name), true)
    assert.deepEqual(readDelay(name), { topic: name, delay: INVALID_DELAY }, name)
  }
})
