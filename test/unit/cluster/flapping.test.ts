import assert from 'node:assert/strict'
import { it } from 'node:test'
import { Flapping } from '../../../src/cluster/flapping.js'

it('a link that comes up a few times a minute is dialed at once, one that flaps after growing pauses of at most 2 s', () => {
  const flapping = new Flapping()
  const pauses: number[] = []
  for (let links = 1; links <= 12; links += 1) {
    flapping.note(links * 100)
    pauses.push(flapping.pause(links * 100))
  }
  assert.deepEqual(pauses, [0, 0, 0, 0, 0, 100, 200, 400, 800, 1_600, 2_000, 2_000])
  assert.equal(flapping.isFlapping(1_200), true)
})

it('is forgotten when it has been quiet for a minute, and never kept without end', () => {
  const flapping = new Flapping()
  for (let links = 0; links < 10_000; links += 1) flapping.note(links)
  assert.equal(flapping.recent(10_000), 32)
  assert.equal(flapping.pause(9_999), 2_000)
  assert.equal(flapping.pause(11_000), 999, 'counted from the last link')
  assert.equal(flapping.recent(80_000), 0)
  assert.equal(flapping.isFlapping(80_000), false)
})
