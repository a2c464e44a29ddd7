/** What every store has to do, as a suite that is run with each of them on what it really keeps its data in. */

import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type {
  Hold,
  LocalStore,
  Postponed,
  ShelfContents,
  Store,
  StoreShelf,
  TableContents,
} from '../../src/broker/store-port.js'
import { eventually } from '../support/eventually.js'
import { CountingHold } from '../unit/mqtt/session/recording-outlet.js'

/** A store in one of its lives. */
export interface StoreLife<Kind extends Store = Store> {
  readonly store: Kind
  load(): Promise<void>
  stop(): Promise<void>
}

/** Where a store has its data, for one test: each `open` is a new life on the data of the one before. */
export interface StoreBed<Kind extends Store = Store> {
  open(): Promise<StoreLife<Kind>>
}

/** A table in memory, as owners of tables have it. */
export class TestTable implements TableContents {
  readonly entries = new Map<string, Buffer>()
  /** Keys that were read for a commit. */
  readonly reads: string[] = []
  kept?: (key: string) => void

  read(key: string): Buffer | undefined {
    this.reads.push(key)
    return this.entries.get(key)
  }

  restore(key: string, value: Buffer): void {
    // As owners must: the store may use the bytes again.
    this.entries.set(key, Buffer.from(value))
  }

  keys(): Iterable<string> {
    return this.entries.keys()
  }

  has(key: string): boolean {
    return this.entries.has(key)
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

/** A shelf whose owner forgets what is kept. */
export class TestShelf implements ShelfContents {
  /** Not kept yet; undefined where something is to be removed. */
  readonly fresh = new Map<number, string | undefined>()
  readonly restored: [number, string][] = []
  /** Numbers that were read for a commit. */
  readonly reads: number[] = []
  readonly shelf: StoreShelf

  constructor(readonly life: StoreLife<LocalStore>) {
    this.shelf = life.store.shelf('messages', this)
  }

  static async open(bed: StoreBed<LocalStore>): Promise<TestShelf> {
    const open = new TestShelf(await bed.open())
    await open.life.load()
    return open
  }

  set(number: number, value: string | undefined): CountingHold {
    this.fresh.set(number, value)
    const hold = new CountingHold()
    this.shelf.changed(number, hold)
    hold.release()
    return hold
  }

  /** As `set`, of what may be settled before it has to be kept. */
  postpone(number: number, value: string): Postponed & { readonly pending: CountingHold } {
    this.fresh.set(number, value)
    const entry = { number, pending: new CountingHold(), isPostponed: false }
    this.shelf.postpone(entry)
    entry.pending.release()
    return entry
  }

  read(number: number): Buffer | undefined {
    this.reads.push(number)
    const value = this.fresh.get(number)
    return value === undefined ? undefined : Buffer.from(value)
  }

  kept(number: number): void {
    this.fresh.delete(number)
  }

  restore(number: number, value: Buffer): void {
    this.restored.push([number, value.toString()])
  }

  at(number: number): string | undefined {
    return this.shelf.get(number)?.toString()
  }
}

/** Somebody who waits and cannot be refused, such as a peer. */
export class PlainHold implements Hold {
  holds = 1

  hold(): void {
    this.holds += 1
  }

  release(): void {
    this.holds -= 1
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

    it('keeps the last value of a key that changes while a commit with it is on its way', async (t) => {
      const bed = bedFor(t)
      const first = await OpenTable.open(bed)
      const early = first.set('busy', 'early')
      await eventually(() => assert.deepEqual(first.table.reads, ['busy']), { every: 0 })
      // Its first value is on its way, or there already.
      const late = [first.set('busy', 'late'), first.set('gone', undefined)]
      await untilReleased(early, ...late)
      assert.deepEqual([early.isRefused, late[0]?.isRefused], [false, false])
      await first.life.stop()
      const second = await OpenTable.open(bed)
      assert.deepEqual(second.table.content(), [['busy', 'late']])
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

    it('tells a table which keys are kept, before it releases who waited for them', async (t) => {
      const open = await OpenTable.open(bedFor(t))
      const told: string[] = []
      open.table.kept = (key) => told.push(key)
      const hold = open.set('a', '1')
      open.set('b', '2')
      assert.deepEqual(told, [])
      await untilReleased(hold)
      assert.deepEqual(told, ['a', 'b'])
      await open.life.stop()
    })

    it('refuses a second table of one name', async (t) => {
      const { life } = await OpenTable.open(bedFor(t))
      assert.throws(() => life.store.table('words', new TestTable()), { code: 'TABLE_EXISTS' })
      await life.stop()
    })
  })
}

/** What a store outside of this process has to do beside. */
export function describeDamage(name: string, bedFor: (context: TestContext) => StoreBed): void {
  describe(`the ${name} store, when it is damaged`, () => {
    it('does not load with an entry that its owner cannot read, and says where that is', async (t) => {
      const bed = bedFor(t)
      const first = await OpenTable.open(bed)
      await untilReleased(first.set('a', '1'))
      await first.life.stop()
      const { store, load, stop } = await bed.open()
      class Illiterate extends TestTable {
        override restore(): void {
          throw new Error('not a word')
        }
      }
      store.table('words', new Illiterate())
      await assert.rejects(load(), { code: 'STORE_DAMAGED', message: /is damaged: .*words.*\(not a word\)/ })
      await stop()
    })
  })
}

/** What a store on a disk of this node has to do beside. */
export function describeShelves(name: string, bedFor: (context: TestContext) => StoreBed<LocalStore>): void {
  describe(`the shelves of the ${name} store`, () => {
    it('gives back what is on a shelf, one by one and in the order of the numbers', async (t) => {
      const bed = bedFor(t)
      const first = await TestShelf.open(bed)
      const numbers = [3, 1, 2 ** 48 - 1, 256, 2 ** 32, 255]
      const holds = numbers.map((number) => first.set(number, `entry ${number}`))
      assert.deepEqual([first.at(3), holds[0]?.isReleased], [undefined, false])
      await untilReleased(...holds)
      assert.deepEqual([first.at(3), first.at(2 ** 32), first.at(4)], ['entry 3', `entry ${2 ** 32}`, undefined])
      await untilReleased(first.set(256, undefined), first.set(3, 'another'))
      assert.deepEqual([first.at(256), first.at(3)], [undefined, 'another'])
      await first.life.stop()
      const second = await TestShelf.open(bed)
      const kept = [1, 3, 255, 2 ** 32, 2 ** 48 - 1]
      assert.deepEqual(
        second.restored,
        kept.map((number) => [number, number === 3 ? 'another' : `entry ${number}`]),
      )
      await second.life.stop()
    })

    it('does not ask for what needs not be written after all', async (t) => {
      const open = await TestShelf.open(bedFor(t))
      const hold = open.set(1, 'x')
      open.shelf.unchanged(1)
      await untilReleased(hold, open.set(2, 'y'))
      assert.deepEqual([open.reads, open.at(1), open.at(2)], [[2], undefined, 'y'])
      await open.life.stop()
    })

    it('keeps what has changed in one turn in tables and on shelves in one step', async (t) => {
      const bed = bedFor(t)
      const life = await bed.open()
      const order: string[] = []
      const table = new TestTable()
      const words = life.store.table('words', {
        read: (key) => {
          order.push(`read ${key}`)
          return table.read(key)
        },
        restore: () => undefined,
        kept: (key) => order.push(`kept ${key}`),
      })
      const shelf = life.store.shelf('messages', {
        read: (number) => {
          order.push(`read ${number}`)
          // What is changed while a commit is read or on its way is for the next one.
          return Buffer.from('x')
        },
        restore: () => undefined,
        kept: (number) => order.push(`kept ${number}`),
      })
      await life.load()
      table.entries.set('a', Buffer.from('1'))
      const plain = new PlainHold()
      words.changed('a', undefined)
      shelf.changed(7, plain)
      plain.release()
      await eventually(() => assert.equal(plain.holds, 0))
      assert.deepEqual(order, ['read a', 'read 7', 'kept a', 'kept 7'])
      await life.stop()
    })

    it('releases who waits for what is settled before it had to be kept, and never asks for it', async (t) => {
      const open = await TestShelf.open(bedFor(t))
      const [settled, kept] = [open.postpone(1, 'x'), open.postpone(2, 'y')]
      open.shelf.settle(settled)
      assert.equal(settled.pending.isReleased, false, 'not within the call that settles it')
      await untilReleased(settled.pending, kept.pending)
      assert.deepEqual([open.reads, settled.pending.isRefused, kept.pending.isRefused], [[2], false, false])
      assert.deepEqual([open.at(1), open.at(2)], [undefined, 'y'])
      await open.life.stop()
    })

    it('keeps what may wait at once when it must not any more, or when the store stops', async (t) => {
      const bed = bedFor(t)
      const first = await TestShelf.open(bed)
      const hurried = first.postpone(1, 'x')
      first.shelf.hurry(hurried)
      await untilReleased(hurried.pending)
      assert.deepEqual([first.reads, first.at(1)], [[1], 'x'])
      const { pending } = first.postpone(2, 'y')
      first.shelf.changedLater(3)
      first.fresh.set(3, 'z')
      await first.life.stop()
      assert.deepEqual([pending.isReleased, pending.isRefused], [true, false])
      const second = await TestShelf.open(bed)
      assert.deepEqual(second.restored, [
        [1, 'x'],
        [2, 'y'],
        [3, 'z'],
      ])
      await second.life.stop()
    })

    it('keeps entries of all sizes, through the removal of most of them', async (t) => {
      const bed = bedFor(t)
      const first = await TestShelf.open(bed)
      const numbers = Array.from({ length: 3_000 }, (_, index) => index + 1)
      const text = (number: number) => `${number}`.padEnd(number % 500 === 0 ? 100_000 : number % 250, 'x')
      await untilReleased(...numbers.map((number) => first.set(number, text(number))))
      for (const number of numbers) assert.equal(first.at(number), text(number))
      const gone = numbers.filter((number) => number % 7 !== 0)
      await untilReleased(...gone.map((number) => first.set(number, undefined)))
      const left = numbers.filter((number) => number % 7 === 0)
      for (const number of left) assert.equal(first.at(number), text(number))
      assert.equal(first.at(6), undefined)
      await first.life.stop()
      const second = await TestShelf.open(bed)
      assert.deepEqual(
        second.restored,
        left.map((number) => [number, text(number)]),
      )
      await second.life.stop()
    })

    it('have no name that a table has', async (t) => {
      const life = await bedFor(t).open()
      life.store.table('words', new TestTable())
      const contents = { read: () => undefined, restore: () => undefined, kept: () => undefined }
      assert.throws(() => life.store.shelf('words', contents), { code: 'TABLE_EXISTS' })
      await life.stop()
    })
  })
}
