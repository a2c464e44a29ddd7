/** What has become of what other nodes have left, as far as this one knows. */

import type { NodeLife, SharedStore } from '../../broker/estate-port.js'
import type { NodeId } from '../../router/route-table.js'
import type { Fate } from './bequest-sender.js'

export interface FatesModules {
  readonly self: NodeId
  /** Nodes that can be reached. */
  readonly peers: () => readonly NodeId[]
  /** Nodes that cannot, and have not left the cluster. */
  readonly lost: () => Iterable<NodeLife>
  /** Everything of that life has its heir, so far as this node was told. */
  readonly isSettled: (life: NodeLife) => boolean
  readonly store: Pick<SharedStore, 'isSettled'>
}

export class Fates {
  /** Nodes whose sessions are on their way to an heir. */
  private readonly taken = new Set<NodeId>()

  constructor(private readonly modules: FatesModules) {}

  /** An heir has asked for what that node is owed. */
  noteTaken(node: NodeId): void {
    this.taken.add(node)
  }

  /** The node is back. */
  noteUp(node: NodeId): void {
    this.taken.delete(node)
  }

  /** @throws Error when the store does not answer */
  async of(node: NodeId): Promise<Fate> {
    const { self, peers, lost, store, isSettled } = this.modules
    if (node === self || peers().includes(node)) return 'here'
    const life = [...lost()].find((one) => one.node === node)
    if (life === undefined) return 'gone'
    if (isSettled(life) || (await store.isSettled(life))) return 'settled'
    return this.taken.has(node) ? 'taken' : 'lost'
  }

  /**
   * Who cannot say what it owes a node whose estate comes here. This node itself is sent what it is owed, by whoever owes it or
   * that one's heir.
   */
  debtorsOf(node: NodeId): NodeId[] {
    const { self, lost } = this.modules
    if (node === self) return []
    return Array.from(lost(), (other) => other.node).filter((other) => other !== node)
  }
}
