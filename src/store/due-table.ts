/** The keys of a table or shelf that have changed since they were last kept; what all stores know of one. */

import type { Hold, Keeping, StoreTable, TableContents } from '../broker/store-port.js'

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
  /** What may wait, and who waits for it: of this period of the store, and of the one before. */
  private young = new Map<Key, Hold>()
  private ripening = new Map<Key, Hold>()

  constructor(protected readonly onChange: OnChange) {}

  /** Keys that go with the next commit. */
  get length(): number {
    return this.due.size
  }

  /** Keys that may wait. */
  get waitingLength(): number {
    return this.young.size + this.ripening.size
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
  ripen(): void {
    const ripe = this.ripening
    this.ripening = this.young
    this.young = new Map()
    for (const [key, pending] of ripe) this.makeDue(key, pending)
  }

  /** The commit is done: tells the owner. */
  abstract tellKept(keys: Set<Key>): void

  /** @param mayWait see `StoreShelf.changed` */
  protected add(key: Key, pending: Hold | undefined, mayWait: boolean): void {
    if (!mayWait || (pending !== undefined && (this.due.has(key) || this.isWaiting(key)))) {
      this.hurry(key)
      this.due.add(key)
      this.onChange(pending, 'now')
    } else if (pending === undefined) {
      // Nobody waits: it goes with whatever is next.
      if (!this.isWaiting(key)) this.due.add(key)
      this.onChange(undefined, 'later')
    } else {
      pending.hold()
      this.young.set(key, pending)
      this.onChange(undefined, 'later')
    }
  }

  /** It need not be kept after all. */
  protected cancel(key: Key): void {
    this.due.delete(key)
    const pending = this.takeWaiting(key)
    if (pending !== undefined) this.onChange(pending, 'never')
  }

  private isWaiting(key: Key): boolean {
    return this.young.has(key) || this.ripening.has(key)
  }

  private hurry(key: Key): void {
    if (this.young.size + this.ripening.size === 0) return
    const pending = this.takeWaiting(key)
    if (pending !== undefined) this.makeDue(key, pending)
  }

  private takeWaiting(key: Key): Hold | undefined {
    for (const period of [this.young, this.ripening]) {
      const pending = period.get(key)
      if (pending === undefined) continue
      period.delete(key)
      return pending
    }
    return undefined
  }

  private makeDue(key: Key, pending: Hold): void {
    this.due.add(key)
    this.onChange(pending, 'now')
    pending.release()
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
