/** Lives of nodes of which everything has its heir: all nodes hear of them, those that come later too. */

import type { NodeLife } from '../../broker/estate-port.js'
import type { NodeId } from '../../router/route-table.js'
import type { LinkBody } from '../wire.js'

export interface SettledLivesModules {
  readonly send: (to: NodeId, body: LinkBody) => void
  /** Nodes that can be reached. */
  readonly peers: () => readonly NodeId[]
  /** Nothing that this life of a node had waits for it any more. */
  readonly onSettled: (dead: NodeLife) => void
}

export class SettledLives {
  /** The last of each node. */
  private readonly byNode = new Map<NodeId, number>()

  constructor(private readonly modules: SettledLivesModules) {}

  has({ node, incarnation }: NodeLife): boolean {
    return (this.byNode.get(node) ?? 0) >= incarnation && incarnation > 0
  }

  /** This node, or another, has found that life settled. */
  add({ node, incarnation }: NodeLife): void {
    this.byNode.set(node, Math.max(incarnation, this.byNode.get(node) ?? 0))
    this.modules.onSettled({ node, incarnation })
  }

  /** Says so to all that can be reached. */
  tell({ node, incarnation }: NodeLife): void {
    for (const peer of this.modules.peers()) this.tellOne(peer, { node, incarnation })
  }

  /** A link to a node is open. It may have been taken for dead itself, and not have been there to hear of others. */
  nodeUp(node: NodeId, incarnation: number): void {
    const settled = this.byNode.get(node) ?? 0
    // From here on it may leave something again.
    this.byNode.delete(node)
    if (settled >= incarnation) this.tellOne(node, { node, incarnation })
    for (const [other, life] of this.byNode) this.tellOne(node, { node: other, incarnation: life })
  }

  private tellOne(to: NodeId, { node, incarnation }: NodeLife): void {
    this.modules.send(to, { $case: 'estateSettled', value: { node, incarnation } })
  }
}
