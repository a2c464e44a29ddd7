/**
 * What the broker and the cluster ask of a store: tables and shelves whose entries outlive the process. What has changed
 * is read from its owner when the store commits, once per event-loop turn, all of it in one step: so what is kept is how
 * things were at one moment, a key that changes often costs one write per turn, and nothing waits in the store but keys.
 * A table stays in its owner's memory; what is on a shelf is read back when it is needed.
 */

import type { Hold, Keeping } from '../mqtt/session/session.js'

export type { Hold, Keeping } from '../mqtt/session/session.js'

/** A table as its owner has it in memory. */
export interface TableContents {
  /** What the store is to keep under this key now; undefined when nothing. */
  read(key: string): Uint8Array | undefined
  /** Called once for each entry that the store has kept, before anything else happens to the table. */
  restore(key: string, value: Buffer): void
  /** The commit for which this key was read last is done. */
  kept?(key: string): void
  /**
   * Every key that `read` has something for; may change meanwhile. Asked by a store that has lost what it had kept, to
   * keep it again: of a table that cannot say, only what changes from then on.
   */
  keys?(): Iterable<string>
  /**
   * Whether `read` has something for this key: asked outside commits, by the same store. To be there where an owner takes
   * what was read for what will be kept.
   */
  has?(key: string): boolean
  /**
   * It says what of the shelves is known to others, or settled. A store that cannot write a large commit as a whole writes it
   * behind what was put on shelves, and before what was taken from them: whoever is told that something is here finds it.
   */
  readonly tellsOfShelves?: boolean
}

/** A table as the store sees it. */
export interface StoreTable {
  /**
   * The entry of this key is not what it was: it is read and kept with everything else of this turn.
   * @param keeping is held until the commit, and refused when it fails
   * @param mayWait nobody waits for it: see `StoreShelf.changedLater`
   */
  changed(key: string, keeping: Keeping | undefined, mayWait?: boolean): void
}

/** What is on a shelf, under numbers from 1 to 2^48 - 1. */
export interface ShelfContents {
  /** What is to be under this number now; undefined when nothing. */
  read(number: number): Uint8Array | undefined
  /** Called once for each entry that the store has kept, lowest number first, before anything else happens to the shelf. */
  restore(number: number, value: Buffer): void
  /** The commit for which this number was read last is done. */
  kept(number: number): void
}

/** What may be settled before it has to be kept. */
export interface Postponed {
  readonly number: number
  /** Held until it is kept or settled. Refused, if it can be, when the commit fails. */
  readonly pending: Hold
  /** The store's: whether it still waits. False at first. */
  isPostponed: boolean
}

/** Entries by number, of which their owner has little or nothing in memory. */
export interface StoreShelf {
  /**
   * The entry is not what it was: it is read and kept with everything else of this turn.
   * @param pending is held until the commit. One that can be refused is when the commit fails; another waits on.
   */
  changed(number: number, pending: Hold | undefined): void
  /** As `changed`, when nobody waits for it: it goes with the next commit, which is one of the next `GRACE_MS`. */
  changedLater(number: number): void
  /** It is on the disk as it should be, or not there as it should be: it need not be read. */
  unchanged(number: number): void
  /**
   * A new entry that may be settled soon: only when it is not, `GRACE_MS` to twice that from now, it is as `changed`. Its
   * number is higher than any that was postponed before.
   */
  postpone(entry: Postponed): void
  /** One that is postponed is as `changed` now. */
  hurry(entry: Postponed): void
  /** One that is postponed need not be kept: who waits is released at the end of this turn. */
  settle(entry: Postponed): void
  /** What the last commits have left there, in bytes that stay as they are. They may keep larger ones in memory. @throws StoreError */
  get(number: number): Buffer | undefined
}

export interface Store {
  /** The last commit has failed, such as for want of room, and none has succeeded since. */
  readonly isFailing: boolean

  /** Before the store is loaded, which fills the contents. Names are unique. */
  table(name: string, contents: TableContents): StoreTable
}

/** A store with shelves, which can be read at once: from a disk of this node, or from a copy in its memory. */
export interface LocalStore extends Store {
  /** As `table`; both have one set of names. What was made first is loaded first. */
  shelf(name: string, contents: ShelfContents): StoreShelf
}
