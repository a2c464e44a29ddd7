import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { entryOf, readSegment, SEGMENT_BYTES, SEGMENT_SPAN, type Segment } from '../../../src/store/segment.js'
import { readKey, type SegmentEntry, Segments, type SegmentWrite } from '../../../src/store/segments.js'

type Disk = Map<string, Buffer>

/** Segments in one of their lives, on a disk that is a map. */
class Shelf {
  readonly segments: Segments
  readonly restored = new Map<number, string>()
  readonly found: Segment[] = []

  constructor(readonly disk: Disk) {
    this.segments = new Segments((key) => disk.get(key.toString('hex')))
    const keys = [...disk.keys()].sort()
    for (const [index, key] of keys.entries()) {
      const { start, isBits } = readKey(Buffer.from(key, 'hex'))
      if (isBits) {
        assert.equal(keys[index - 1], key.slice(0, 12), 'bits are behind their segment')
        continue
      }
      const record = disk.get(key) as Buffer
      const segment = readSegment(start, record, disk.get(`${key}00`))
      assert.ok(segment, 'a segment is whole')
      this.segments.restore(segment)
      this.found.push(segment)
      for (const [distance, size] of segment.sizes.entries()) {
        if (size > 0) this.restored.set(start + distance, String(entryOf(record, distance)))
      }
    }
  }

  prepare(changes: ReadonlyMap<number, string | undefined>): SegmentWrite[] {
    const removed: number[] = []
    const entries: SegmentEntry[] = []
    for (const [number, text] of changes) {
      if (text === undefined) removed.push(number)
      else entries.push({ number, value: Buffer.from(text) })
    }
    return this.segments.prepare({ removed, entries })
  }

  write(writes: readonly SegmentWrite[]): void {
    for (const { key, value } of writes) {
      if (value === undefined) this.disk.delete(key.toString('hex'))
      else this.disk.set(key.toString('hex'), value)
    }
  }

  commit(changes: ReadonlyMap<number, string | undefined>): number {
    const writes = this.prepare(changes)
    this.write(writes)
    this.segments.commit()
    return writes.length
  }
}

function range(first: number, count: number, text: (number: number) => string | undefined) {
  return new Map(Array.from({ length: count }, (_, index) => [first + index, text(first + index)]))
}

function bytesOn(disk: Disk): number {
  return [...disk.values()].reduce((sum, { length }) => sum + length, 0)
}

describe('the segments of a shelf', () => {
  it('take a thousand messages in a few records, and go as a whole', () => {
    const shelf = new Shelf(new Map())
    const text = (number: number) => `message ${number} `.padEnd(100, 'x')
    assert.equal(shelf.commit(range(1, 1_000, text)), 4)
    assert.ok(bytesOn(shelf.disk) < 107 * 1_000)
    assert.equal(shelf.segments.get(777)?.toString(), text(777))
    assert.equal(shelf.commit(range(1, 999, () => undefined)), 5)
    assert.equal(shelf.segments.length, 1)
    assert.equal(shelf.commit(range(1_000, 1, () => undefined)), 1)
    assert.deepEqual([shelf.segments.length, shelf.disk.size], [0, 0])
  })

  it('are filled by commits of a message each', () => {
    const shelf = new Shelf(new Map())
    for (let number = 1; number <= 1_000; number += 1) shelf.commit(new Map([[number, 'x'.repeat(100)]]))
    assert.ok(shelf.segments.length <= 56, `${shelf.segments.length} segments`)
  })

  it('are few again when most of their entries have gone one by one', () => {
    const shelf = new Shelf(new Map())
    for (let first = 1; first <= 20_000; first += 500) shelf.commit(range(first, 500, () => 'x'.repeat(100)))
    const before = shelf.segments.length
    for (let offset = 0; offset < 19; offset += 1) {
      shelf.commit(new Map(Array.from({ length: 1_000 }, (_, index) => [20 * index + offset + 1, undefined])))
    }
    assert.ok(shelf.segments.length < before / 4, `${shelf.segments.length} of ${before} segments for a 20th`)
    assert.ok(bytesOn(shelf.disk) < 4 * 1_000 * 106, `${bytesOn(shelf.disk)} bytes`)
    for (let number = 20; number <= 20_000; number += 20) assert.equal(shelf.segments.get(number)?.length, 100)
  })

  it('answer as before while a commit that writes them again is on its way', () => {
    const shelf = new Shelf(new Map())
    shelf.commit(range(1, 10, (number) => `early ${number}`))
    const writes = shelf.prepare(new Map([...range(1, 8, () => undefined), [10, 'late'], [11, 'new']]))
    assert.deepEqual([shelf.segments.get(9)?.toString(), shelf.segments.get(11)], ['early 9', undefined])
    shelf.write(writes)
    // Read from the disk it would be another segment of the same first number by now.
    assert.deepEqual(shelf.segments.get(10)?.toString(), 'early 10')
    shelf.segments.commit()
    const texts = [8, 9, 10, 11].map((number) => shelf.segments.get(number)?.toString())
    assert.deepEqual(texts, [undefined, 'early 9', 'late', 'new'])
  })

  it('are found to be damaged when a record is cut off, has no order, or has other bits', () => {
    const shelf = new Shelf(new Map())
    shelf.commit(range(1, 3, (number) => `message ${number}`))
    const [record = Buffer.of()] = shelf.disk.values()
    assert.ok(readSegment(1, record, undefined))
    const swapped = Buffer.from(record)
    record.copy(swapped, 4, 10, 16)
    const damaged = [Buffer.of(), record.subarray(0, 3), record.subarray(0, 20), record.subarray(0, -1), swapped]
    for (const one of damaged) assert.equal(readSegment(1, one, undefined), undefined)
    assert.equal(readSegment(1, record, Buffer.of(7, 0)), undefined)
  })

  it('have after any commits, failures and ends of the process what a map has, in bounded space', () => {
    const size = fc.oneof(
      fc.constantFrom(0, 1, 30, 100, 5_000, SEGMENT_BYTES, 70_000),
      fc.integer({ min: 0, max: 300 }),
    )
    const change = fc.oneof(
      fc.record({
        kind: fc.constant('append' as const),
        count: fc.integer({ min: 1, max: 600 }),
        gap: fc.constantFrom(0, 0, 0, 1, 9_000),
        size,
      }),
      fc.record({ kind: fc.constant('put' as const), pick: fc.nat(), shift: fc.integer({ min: -3, max: 3 }), size }),
      fc.record({
        kind: fc.constant('remove' as const),
        from: fc.nat(),
        count: fc.integer({ min: 1, max: 900 }),
        every: fc.constantFrom(1, 1, 2, 5),
      }),
    )
    const end = fc.constantFrom('done', 'done', 'done', 'failed', 'lost', 'crashed after' as const)
    const step = fc.record({ changes: fc.array(change, { minLength: 1, maxLength: 3 }), end })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 14 }), (steps) => {
        const disk: Disk = new Map()
        const model = new Map<number, string>()
        let shelf = new Shelf(disk)
        let highest = 0
        let serial = 0
        for (const { changes, end } of steps) {
          const commit = new Map<number, string | undefined>()
          for (const one of changes) {
            const numbers = [...model.keys()]
            if (one.kind === 'append') {
              for (let index = 0; index < one.count; index += 1) {
                highest += 1 + (index === 0 ? one.gap : 0)
                serial += 1
                // A large one among small ones, not as many of them.
                commit.set(highest, `${serial}`.padEnd(index % 200 === 0 ? one.size : one.size % 400, 'x'))
              }
            } else if (one.kind === 'put') {
              const number = Math.max(1, (numbers[one.pick % Math.max(1, numbers.length)] ?? 1) + one.shift)
              highest = Math.max(highest, number)
              serial += 1
              commit.set(number, one.size === 0 ? '' : `${serial}`.padEnd(one.size, 'y'))
            } else {
              for (let index = 0; index < one.count; index += one.every) {
                const number = numbers[(one.from + index) % Math.max(1, numbers.length)]
                if (number !== undefined) commit.set(number, undefined)
              }
            }
          }
          const writes = shelf.prepare(commit)
          for (const [number, text] of model) assert.equal(shelf.segments.get(number)?.toString(), text)
          if (end === 'failed') shelf.segments.discard()
          if (end === 'done' || end === 'crashed after') {
            shelf.write(writes)
            if (end === 'done') shelf.segments.commit()
            for (const [number, text] of commit) {
              if (text === undefined) model.delete(number)
              else model.set(number, text)
            }
          }
          if (end === 'lost' || end === 'crashed after') {
            shelf = new Shelf(disk)
            assert.deepEqual(shelf.restored, new Map([...model].sort(([a], [b]) => a - b)))
          }
          for (const [number, text] of commit) {
            if (!model.has(number) && text === undefined) assert.equal(shelf.segments.get(number), undefined)
          }
          for (const [number, text] of model) assert.equal(shelf.segments.get(number)?.toString(), text)
        }
        const next = new Shelf(disk)
        assert.deepEqual(next.restored, new Map([...model].sort(([a], [b]) => a - b)))
        const live = [...model.values()].reduce((sum, text) => sum + text.length + 6, 0)
        for (const { bytes, live: entries, sizes } of next.found) {
          assert.ok(bytes <= SEGMENT_BYTES || entries === 1)
          assert.ok(entries > 0 && sizes.length <= SEGMENT_SPAN)
        }
        const records = [...disk].filter(([key]) => key.length === 12)
        assert.ok(bytesOn(new Map(records)) <= 4 * live + 4 * records.length, 'four times the entries at most')
        assert.ok(records.length <= model.size)
      }),
      { numRuns: 150 },
    )
  })
})
