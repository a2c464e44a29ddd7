/**
 * Members whose sessions outlive them, kept in the store: when this node starts it owes them everything until they have
 * said what they want, since it cannot know.
 */

import type { NodeId } from '../broker/ports.js'
import type { Store, StoreTable, TableContents } from '../broker/store-port.js'

export class KeptMembers implements TableContents {
  /** Addresses by name; '' where none is known. */
  private readonly addresses = new Map<NodeId, string>()
  private readonly table: StoreTable | undefined

  /** @param store undefined where nothing outlives this node: then nobody is known when it starts */
  constructor(store: Store | undefined) {
    this.table = store?.table('members', this)
  }

  /** It is linked, and keeps its sessions. */
  note(name: NodeId, address: string): void {
    if (this.addresses.get(name) === address) return
    this.addresses.set(name, address)
    this.table?.changed(name, undefined)
  }

  /** It is owed nothing any more. */
  forget(name: NodeId): void {
    if (this.addresses.delete(name)) this.table?.changed(name, undefined)
  }

  entries(): IterableIterator<[name: NodeId, address: string]> {
    return this.addresses.entries()
  }

  keys(): Iterable<string> {
    return this.addresses.keys()
  }

  read(name: string): Buffer | undefined {
    const address = this.addresses.get(name)
    return address === undefined ? undefined : Buffer.from(address)
  }

  restore(name: string, value: Buffer): void {
    this.addresses.set(name, value.toString())
  }
}
