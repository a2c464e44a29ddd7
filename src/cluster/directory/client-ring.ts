/** The hash ring: which of the nodes that are there keeps the directory entry of a client ID. */

import HashRing from 'hashring'
import type { NodeId } from '../../router/route-table.js'

/** In front of each key: the ring's memory of places is a plain object, which knows `constructor` and the like. */
const KEY_PREFIX = ':'

/** The client IDs are many and asked for rarely twice in a row: remembering their places would cost and not pay. */
const RING_OPTIONS = { 'max cache size': 1 }

/** Does not change; another set of nodes is another ring. */
export class ClientRing {
  private readonly members: ReadonlySet<NodeId>
  private readonly ring: HashRing

  /** @param nodes this node among them */
  constructor(
    private readonly self: NodeId,
    nodes: Iterable<NodeId>,
  ) {
    this.members = new Set(nodes)
    this.ring = new HashRing([...this.members].sort(), 'md5', RING_OPTIONS)
  }

  /** In the order of their names. */
  get nodes(): string[] {
    return [...this.members].sort()
  }

  nodeOf(clientId: string): NodeId {
    return this.members.size === 1 ? this.self : (this.ring.get(KEY_PREFIX + clientId) ?? this.self)
  }

  /** The first so many nodes behind the place of a client ID, without this one. */
  neighborsOf(clientId: string, count: number): NodeId[] {
    const nodes = this.ring.range(KEY_PREFIX + clientId, count + 1)
    return nodes.filter((node) => node !== this.self).slice(0, count)
  }

  has(node: NodeId): boolean {
    return this.members.has(node)
  }

  /** True when it was made of the same nodes. */
  isOf(nodes: ReadonlySet<NodeId>): boolean {
    return nodes.size === this.members.size && [...nodes].every((node) => this.members.has(node))
  }
}
