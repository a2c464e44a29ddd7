/** The keys of a table or shelf that have changed since they were last kept; what all stores know of one. */

import type { Hold, Keeping, Postponed, StoreTable, TableContents } from '../broker/store-port.js'
import { NumberWindow } from '../util/number-window.js'

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
  /** What may wait. Not with what has been settled since: at full speed that would keep each message alive for a period. */
  private readonly postponed = new NumberWindow<Postponed>()
  private lastPostponed = 0
  /** Those up to this number have waited since the period before this one. */
  private lastRipening = 0

  override get postponedLength(): number {
    return this.postponed.size
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
    this.postponed.add(entry.number, entry)
    this.lastPostponed = entry.number
    this.onChange(undefined, 'later')
  }

  hurry(entry: Postponed): void {
    entry.isPostponed = false
    this.postponed.delete(entry.number)
    entry.pending.resume?.()
    this.changed(entry.number, entry.pending)
    entry.pending.release()
  }

  settle(entry: Postponed): void {
    entry.isPostponed = false
    this.postponed.delete(entry.number)
    entry.pending.resume?.()
    this.onChange(entry.pending, 'never')
  }

  override ripen(): void {
    const ripe = this.postponed.upTo(this.lastRipening)
    this.lastRipening = this.lastPostponed
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
