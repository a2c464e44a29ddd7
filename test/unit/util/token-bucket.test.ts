import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TokenBucket } from '../../../src/util/token-bucket.js'

test('a bucket lets a burst through, then as many a second as its rate', () => {
  let now = 1_000
  const bucket = new TokenBucket(10, 3, () => now)
  const takeAll = (): number => {
    let taken = 0
    while (bucket.take()) taken += 1
    return taken
  }
  assert.equal(takeAll(), 3)
  now += 99
  assert.deepEqual([bucket.hasToken, bucket.take()], [false, false])
  now += 1
  assert.equal(takeAll(), 1)
  let taken = 0
  for (let tick = 0; tick < 1_000; tick += 1) {
    now += 10
    taken += takeAll()
  }
  assert.ok(taken >= 99 && taken <= 100, `${taken} in 10 seconds`)
})

test('after a rest there is a burst and no more', () => {
  let now = 0
  const bucket = new TokenBucket(1_000, 5, () => now)
  now += 3_600_000
  for (let count = 0; count < 5; count += 1) assert.equal(bucket.take(), true)
  assert.equal(bucket.take(), false)
})

test('asking takes nothing', () => {
  const bucket = new TokenBucket(1, 1, () => 0)
  for (let count = 0; count < 10; count += 1) assert.equal(bucket.hasToken, true)
  assert.equal(bucket.take(), true)
})
