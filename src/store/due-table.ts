/** The keys of a table or shelf that have changed since they were last kept; what all stores know of one. */

import type { Hold, Keeping, Postponed, StoreTable, TableContents } from '../broker/store-port.js'

/**
 * When the store is to act on a change: at the end of this turn; in a while, when nothing has made it act before; or not at
 * all, since what somebody waits for need not be kept any more.
 */
export type When = 'now' | 'later' | 'never'

/** Tells the store of a change, and who waits for it. */
export type OnChange = (pending: Hold | undefined, when: When) => void

export abstract class DueKeys<Key extends string | number> {
  /** In the order of their first change. Bounded by the number of keys of the table. */
  protected due = new Set<Key>()

  constructor(protected readonly onChange: OnChange) {}

  /** Keys that go with the next commit. */
  get length(): number {
    return this.due.size
  }

  /** Keys that may wait, and that somebody waits for. */
  get postponedLength(): number {
    return 0
  }

  /** Takes the keys that wait, for one commit. */
  takeDue(): Set<Key> {
    const taken = this.due
    this.due = new Set()
    return taken
  }

  /** The commit has failed: they wait again, before those that have changed meanwhile. */
  putBack(keys: Set<Key>): void {
    for (const key of this.due) keys.add(key)
    this.due = keys
  }

  /** A period is over: what has waited for a whole one goes with the next commit. */
  ripen(): void {}

  /** The commit is done: tells the owner. */
  abstract tellKept(keys: Set<Key>): void

  /** @param mayWait where nobody waits, it goes with whatever is next */
  protected add(key: Key, pending: Hold | undefined, mayWait: boolean): void {
    this.due.add(key)
    this.onChange(pending, mayWait && pending === undefined ? 'later' : 'now')
  }
}

/** What is due of a shelf. */
export abstract class DueNumbers extends DueKeys<number> {
  /** What may wait: of this period of the store, and of the one before. With what has been settled since. */
  private young: Postponed[] = []
  private ripening: Postponed[] = []
  private postponedCount = 0

  override get postponedLength(): number {
    return this.postponedCount
  }

  changed(number: number, pending: Hold | undefined): void {
    this.add(number, pending, false)
  }

  changedLater(number: number): void {
    this.add(number, undefined, true)
  }

  unchanged(number: number): void {
    this.due.delete(number)
  }

  postpone(entry: Postponed): void {
    entry.isPostponed = true
    entry.pending.hold()
    entry.pending.defer?.()
    this.young.push(entry)
    this.postponedCount += 1
    this.onChange(undefined, 'later')
  }

  hurry(entry: Postponed): void {
    entry.isPostponed = false
    this.postponedCount -= 1
    entry.pending.resume?.()
    this.changed(entry.number, entry.pending)
    entry.pending.release()
  }

  settle(entry: Postponed): void {
    entry.isPostponed = false
    this.postponedCount -= 1
    entry.pending.resume?.()
    this.onChange(entry.pending, 'never')
  }

  override ripen(): void {
    const ripe = this.ripening
    this.ripening = this.young
    this.young = []
    for (const entry of ripe) if (entry.isPostponed) this.hurry(entry)
  }
}

export class DueTable extends DueKeys<string> implements StoreTable {
  constructor(
    readonly name: string,
    protected readonly contents: TableContents,
    onChange: OnChange,
  ) {
    super(onChange)
  }

  changed(key: string, keeping: Keeping | undefined, mayWait = false): void {
    this.add(key, keeping, mayWait)
  }

  tellKept(keys: Set<string>): void {
    const { contents } = this
    if (contents.kept !== undefined) for (const key of keys) contents.kept(key)
  }
}
