/** What every store has to do, as a suite that is run with each of them on what it really keeps its data in. */

import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type { Store, TableContents } from '../../src/broker/store-port.js'
import { eventually } from '../support/eventually.js'
import { CountingHold } from '../unit/mqtt/session/recording-outlet.js'

/** A store in one of its lives. */
export interface StoreLife {
  readonly store: Store
  load(): Promise<void>
  stop(): Promise<void>
}

/** Where a store has its data, for one test: each `open` is a new life on the data of the one before. */
export interface StoreBed {
  open(): Promise<StoreLife>
}

/** A table in memory, as owners of tables have it. */
export class TestTable implements TableContents {
  readonly entries = new Map<string, Buffer>()
  /** Keys that were read for a commit. */
  readonly reads: string[] = []

  read(key: string): Buffer | undefined {
    this.reads.push(key)
    return this.entries.get(key)
  }

  restore(key: string, value: Buffer): void {
    // As owners must: the store may use the bytes again.
    this.entries.set(key, Buffer.from(value))
  }

  content(): [string, string][] {
    return [...this.entries].map(([key, value]): [string, string] => [key, value.toString()]).sort()
  }
}

/** A life of a store with one table. */
export class OpenTable {
  readonly table = new TestTable()
  private readonly changed: (key: string, hold: CountingHold | undefined) => void

  private constructor(readonly life: StoreLife) {
    const kept = life.store.table('words', this.table)
    this.changed = (key, hold) => kept.changed(key, hold)
  }

  static async open(bed: StoreBed): Promise<OpenTable> {
    const open = new OpenTable(await bed.open())
    await open.life.load()
    return open
  }

  set(key: string, value: string | undefined): CountingHold {
    if (value === undefined) this.table.entries.delete(key)
    else this.table.entries.set(key, Buffer.from(value))
    const hold = new CountingHold()
    this.changed(key, hold)
    // The publish path's own hold, as after its turn.
    hold.release()
    return hold
  }
}

export async function untilReleased(...holds: CountingHold[]): Promise<void> {
  await eventually(() => assert.equal(holds.filter(({ isReleased }) => !isReleased).length, 0))
}

export function describeStore(name: string, bedFor: (context: TestContext) => StoreBed): void {
  describe(`the ${name} store`, () => {
    it('gives back in the next life what it has kept, and nothing else', async (t) => {
      const bed = bedFor(t)
      const first = await OpenTable.open(bed)
      const holds = [first.set('a', '1'), first.set('b', '2'), first.set('c', '3')]
      await untilReleased(...holds)
      await untilReleased(first.set('a', 'one'), first.set('b', undefined))
      await first.life.stop()
      const second = await OpenTable.open(bed)
      assert.deepEqual(second.table.content(), [
        ['a', 'one'],
        ['c', '3'],
      ])
      await second.life.stop()
    })

    it('releases who waits after the commit, never in the turn of the change', async (t) => {
      const open = await OpenTable.open(bedFor(t))
      const hold = open.set('a', '1')
      assert.deepEqual([hold.isReleased, open.table.reads], [false, []])
      await untilReleased(hold)
      assert.deepEqual([hold.isRefused, open.table.reads], [false, ['a']])
      await open.life.stop()
    })

    it('writes a key once per turn, however often it changes, and the last value counts', async (t) => {
      const bed = bedFor(t)
      const first = await OpenTable.open(bed)
      const holds = Array.from({ length: 100 }, (_, count) => first.set('busy', String(count)))
      await untilReleased(...holds)
      assert.deepEqual(first.table.reads, ['busy'])
      await first.life.stop()
      const second = await OpenTable.open(bed)
      assert.deepEqual(second.table.content(), [['busy', '99']])
      await second.life.stop()
    })

    it('keeps keys of any length and any text, and empty values', async (t) => {
      const bed = bedFor(t)
      const keys = ['', ' ', '\u0001', 'ÿ', '🐟', 'x'.repeat(1_900), 'x'.repeat(1_901), 'ö'.repeat(30_000)]
      const first = await OpenTable.open(bed)
      await untilReleased(...keys.map((key) => first.set(key, key === ' ' ? '' : `value of ${key}`)))
      await first.life.stop()
      const second = await OpenTable.open(bed)
      assert.deepEqual(second.table.content(), keys.map((key) => [key, key === ' ' ? '' : `value of ${key}`]).sort())
      await untilReleased(...keys.map((key) => second.set(key, undefined)))
      await second.life.stop()
      const third = await OpenTable.open(bed)
      assert.deepEqual(third.table.content(), [])
      await third.life.stop()
    })

    it('keeps what is due when it stops', async (t) => {
      const bed = bedFor(t)
      const first = await OpenTable.open(bed)
      const hold = first.set('late', 'kept')
      await first.life.stop()
      assert.deepEqual([hold.isReleased, hold.isRefused], [true, false])
      const second = await OpenTable.open(bed)
      assert.deepEqual(second.table.content(), [['late', 'kept']])
      await second.life.stop()
    })

    it('refuses a second table of one name', async (t) => {
      const { life } = await OpenTable.open(bedFor(t))
      assert.throws(() => life.store.table('words', new TestTable()), { code: 'TABLE_EXISTS' })
      await life.stop()
    })
  })
}
