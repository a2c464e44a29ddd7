/** The keys of one table that have changed since they were last kept; what all stores know of a table. */

import type { Keeping, StoreTable, TableContents } from '../broker/store-port.js'

/** Tells the store of a change, and who waits for it. */
export type OnChange = (keeping: Keeping | undefined) => void

export class DueTable implements StoreTable {
  /** In the order of their first change. Bounded by the number of keys of the table. */
  private due = new Set<string>()

  constructor(
    readonly name: string,
    protected readonly contents: TableContents,
    private readonly onChange: OnChange,
  ) {}

  /** Keys that wait for a commit. */
  get length(): number {
    return this.due.size
  }

  changed(key: string, keeping: Keeping | undefined): void {
    this.due.add(key)
    this.onChange(keeping)
  }

  /** Takes the keys that wait, for one commit. */
  takeDue(): Set<string> {
    const taken = this.due
    this.due = new Set()
    return taken
  }

  /** The commit has failed: they wait again, before those that have changed meanwhile. */
  putBack(keys: Set<string>): void {
    for (const key of this.due) keys.add(key)
    this.due = keys
  }
}
