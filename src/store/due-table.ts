/** The keys of a table or shelf that have changed since they were last kept; what all stores know of one. */

import type { Hold, Keeping, StoreTable, TableContents } from '../broker/store-port.js'

/** Tells the store of a change, and who waits for it. */
export type OnChange = (pending: Hold | undefined) => void

export abstract class DueKeys<Key extends string | number> {
  /** In the order of their first change. Bounded by the number of keys of the table. */
  protected due = new Set<Key>()

  /** Keys that wait for a commit. */
  get length(): number {
    return this.due.size
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

  /** The commit is done: tells the owner. */
  abstract tellKept(keys: Set<Key>): void
}

export class DueTable extends DueKeys<string> implements StoreTable {
  constructor(
    readonly name: string,
    protected readonly contents: TableContents,
    private readonly onChange: OnChange,
  ) {
    super()
  }

  changed(key: string, keeping: Keeping | undefined): void {
    this.due.add(key)
    this.onChange(keeping)
  }

  tellKept(keys: Set<string>): void {
    const { contents } = this
    if (contents.kept !== undefined) for (const key of keys) contents.kept(key)
  }
}
