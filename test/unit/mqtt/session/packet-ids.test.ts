import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { PacketIds } from '../../../../src/mqtt/session/packet-ids.js'

describe('packet ids', () => {
  it('are handed out in turn, from 1', () => {
    const ids = new PacketIds()
    const none = new Set<number>()
    assert.deepEqual([ids.next(none), ids.next(none), ids.next(none)], [1, 2, 3])
  })

  it('begin again at 1 after 65,535, never with 0', () => {
    const ids = new PacketIds()
    const none = new Set<number>()
    let last = 0
    for (let count = 0; count < 65_535; count += 1) last = ids.next(none)
    assert.equal(last, 65_535)
    assert.equal(ids.next(none), 1)
  })

  it('pass over those in use, also across the end', () => {
    const ids = new PacketIds()
    const none = new Set<number>()
    for (let count = 0; count < 65_533; count += 1) ids.next(none)
    assert.equal(ids.next(new Set([65_534, 65_535, 1, 2])), 3)
  })

  it('are 0 when all are in use, and go on when one is free', () => {
    const ids = new PacketIds()
    const all = new Set(Array.from({ length: 65_535 }, (_, index) => index + 1))
    assert.equal(ids.next(all), 0)
    all.delete(40_000)
    assert.equal(ids.next(all), 40_000)
  })
})
