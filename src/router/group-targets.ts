/**
 * For which groups of shared subscriptions a message goes to which nodes: lists side by side that are filled and read
 * again and again, so that naming them costs no memory per message.
 */

import type { NodeId } from './route-table.js'

export class GroupTargets {
  /** How many are in the lists. */
  count = 0
  readonly nodes: NodeId[] = []
  /** The group's number on that node. */
  readonly ids: number[] = []
  /** What a strategy that hashes chooses by; 0 for the others. */
  readonly hashes: number[] = []
  /** How this node knows the group: its filter. */
  readonly keys: string[] = []
  /** Under which number the sender keeps the message until it is told that it is settled; 0: it does not. */
  readonly receipts: number[] = []
  /** For no plain subscription of those nodes: only for the groups. */
  isOnly = false
  /** It goes on from a node that has lost its members: whoever gets it places it or drops it. */
  isAgain = false

  clear(): void {
    this.count = 0
    this.isOnly = false
    this.isAgain = false
  }

  add(node: NodeId, id: number, hash: number, key = '', receipt = 0): void {
    this.nodes[this.count] = node
    this.ids[this.count] = id
    this.hashes[this.count] = hash
    this.keys[this.count] = key
    this.receipts[this.count] = receipt
    this.count += 1
  }

  has(node: NodeId): boolean {
    for (let index = 0; index < this.count; index += 1) if (this.nodes[index] === node) return true
    return false
  }
}
