/**
 * What the broker and the cluster ask of a store: tables whose entries outlive the process. A table is in memory and
 * its owner's; the store keeps a copy and reads what has changed when it commits, once per event-loop turn. So a key
 * that changes often costs one write per turn, and nothing waits in the store but names of keys.
 */

import type { Keeping } from '../mqtt/session/session.js'

export type { Keeping } from '../mqtt/session/session.js'

/** A table as its owner has it in memory. */
export interface TableContents {
  /** What the store is to keep under this key now; undefined when nothing. */
  read(key: string): Uint8Array | undefined
  /** Called once for each entry that the store has kept, before anything else happens to the table. */
  restore(key: string, value: Buffer): void
}

/** A table as the store sees it. */
export interface StoreTable {
  /**
   * The entry of this key is not what it was: it is read and kept with everything else of this turn.
   * @param keeping is held until the commit, and refused when it fails
   */
  changed(key: string, keeping: Keeping | undefined): void
}

export interface Store {
  /** The last commit has failed, such as for want of room, and none has succeeded since. */
  readonly isFailing: boolean

  /** Before the store is loaded, which fills the contents. Names are unique. */
  table(name: string, contents: TableContents): StoreTable
}
