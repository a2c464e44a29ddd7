import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PacketTable } from '../../../../src/mqtt/session/packet-table.js'
import { Random } from '../../../support/random.js'

test('a table of packets finds, removes and lists as a Map of them would', () => {
  const random = new Random(7)
  const table = new PacketTable<{ packetId: number }>()
  const map = new Map<number, { packetId: number }>()
  for (let step = 0; step < 20_000; step++) {
    // Ids close together, far apart, and those that share a slot in a small table.
    const packetId = 1 + random.below(40) * (step % 3 === 0 ? 1_638 : 1)
    if (random.oneIn(2)) {
      const entry = { packetId }
      if (!map.has(packetId)) {
        table.set(entry)
        map.set(packetId, entry)
      }
    } else {
      table.delete(packetId)
      map.delete(packetId)
    }
    assert.equal(table.size, map.size)
    assert.equal(table.get(packetId), map.get(packetId))
    if (step % 10 === 0) assert.deepEqual(table.values(), [...map.values()])
  }
})

test('a table has room for every packet id at once, and the ids go on from their highest to the first', () => {
  const table = new PacketTable<{ packetId: number }>()
  for (let packetId = 65_535; packetId > 0; packetId--) table.set({ packetId })
  assert.equal(table.size, 65_535)
  assert.equal(table.has(0), false)
  for (let packetId = 1; packetId <= 65_535; packetId++) {
    assert.equal(table.get(packetId)?.packetId, packetId)
    if (packetId > 2) table.delete(packetId)
  }
  assert.deepEqual(
    table.values().map(({ packetId }) => packetId),
    [2, 1],
  )
})

test('what takes the place of a packet with the same id has its place in the order, too', () => {
  const table = new PacketTable<{ packetId: number; name: string }>()
  table.set({ packetId: 1, name: 'first' })
  table.set({ packetId: 2, name: 'second' })
  table.set({ packetId: 1, name: 'first again' })
  assert.deepEqual(
    table.values().map(({ name }) => name),
    ['first again', 'second'],
  )
})
