import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { LoadAverages } from '../../../../src/broker/sys/load-averages.js'

const STEP_MS = 10_000

function setUp() {
  let now = 0
  let count = 100
  const loads = new LoadAverages({ messages: () => count }, () => now)
  return {
    loads,
    /** Ten seconds with so many. */
    pass(more: number): void {
      now += STEP_MS
      count += more
      loads.update()
    },
    values: () => Object.fromEntries(Array.from(loads.topics(), ([name, read]) => [name, Number(read())])),
  }
}

describe('load averages', () => {
  it('begin at 0, whatever was counted before', () => {
    const { values } = setUp()
    assert.deepEqual(values(), { 'messages/1min': 0, 'messages/5min': 0, 'messages/15min': 0 })
  })

  it('take in a step as e^(-t/T) says', () => {
    const { pass, values } = setUp()
    pass(50)
    // 50 in ten seconds are 300 a minute.
    const expected = [1, 5, 15].map((minutes) => Number((300 * (1 - Math.exp(-1 / (6 * minutes)))).toFixed(2)))
    assert.deepEqual(Object.values(values()), expected)
  })

  it('come to what happens per minute, the shortest first, and sink again', () => {
    const { pass, values } = setUp()
    for (let step = 0; step < 60; step += 1) pass(50)
    const busy = values()
    assert.ok(Math.abs((busy['messages/1min'] ?? 0) - 300) < 0.1, JSON.stringify(busy))
    assert.ok((busy['messages/5min'] ?? 0) > 250 && (busy['messages/15min'] ?? 0) < 200, JSON.stringify(busy))
    for (let step = 0; step < 60; step += 1) pass(0)
    const idle = values()
    assert.ok((idle['messages/1min'] ?? 0) < 0.1 && (idle['messages/15min'] ?? 0) > 50, JSON.stringify(idle))
  })

  it('stay as they are when no time has passed', () => {
    const { loads, pass, values } = setUp()
    pass(50)
    const before = values()
    loads.update()
    assert.deepEqual(values(), before)
  })
})
