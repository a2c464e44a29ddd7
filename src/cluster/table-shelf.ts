/** A shelf in a store that has tables only: what is on it is in memory, too. */

import type { Hold, Keeping, Postponed, ShelfContents, Store, StoreShelf, StoreTable } from '../broker/store-port.js'

/** Digits of the highest number, so that keys are in the order of numbers. */
const KEY_DIGITS = 15

export class TableShelf implements StoreShelf {
  private readonly entries = new Map<number, Buffer>()
  /** What the commit that is on its way has read. */
  private readonly read = new Map<number, Buffer | undefined>()
  private readonly table: StoreTable

  constructor(
    store: Store,
    name: string,
    private readonly contents: ShelfContents,
  ) {
    this.table = store.table(name, {
      read: (key) => this.readEntry(Number(key)),
      restore: (key, value) => {
        const bytes = Buffer.from(value)
        this.entries.set(Number(key), bytes)
        contents.restore(Number(key), bytes)
      },
      kept: (key) => this.keepEntry(Number(key)),
      keys: () => Array.from(this.entries.keys(), keyOf),
      has: (key) => this.entries.has(Number(key)),
    })
  }

  changed(number: number, pending: Hold | undefined): void {
    this.table.changed(keyOf(number), pending && this.asKeeping(number, pending))
  }

  changedLater(number: number): void {
    this.table.changed(keyOf(number), undefined, true)
  }

  unchanged(): void {
    // What is read once more is what it was.
  }

  /** Kept at once. */
  postpone({ number, pending }: Postponed): void {
    this.changed(number, pending)
  }

  hurry(): void {
    // It was never postponed.
  }

  settle(): void {
    // It was never postponed.
  }

  get(number: number): Buffer | undefined {
    return this.entries.get(number)
  }

  /** One that cannot be refused waits for the next commit. */
  private asKeeping(number: number, pending: Hold): Keeping {
    if ('refuse' in pending) return pending as Keeping
    return {
      hold: () => pending.hold(),
      release: () => pending.release(),
      refuse: () => this.changed(number, pending),
    }
  }

  private readEntry(number: number): Buffer | undefined {
    const bytes = this.contents.read(number)
    const value = bytes === undefined ? undefined : Buffer.from(bytes)
    this.read.set(number, value)
    return value
  }

  private keepEntry(number: number): void {
    const value = this.read.get(number)
    this.read.delete(number)
    if (value === undefined) this.entries.delete(number)
    else this.entries.set(number, value)
    this.contents.kept(number)
  }
}

function keyOf(number: number): string {
  return String(number).padStart(KEY_DIGITS, '0')
}
