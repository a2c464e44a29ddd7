/** To which node clients go: what they may know, which is what an operator of the cluster would tell them. */

import type { NodeProcess } from '../../support/node-process.js'
import type { Random } from '../../support/random.js'

export class Whereabouts {
  /** Nodes that have ended, or are about to. */
  private readonly down = new Set<NodeProcess>()
  /** Whether clients may go to another node although theirs runs: sessions go along only where nodes hear each other. */
  mayMove = true

  constructor(
    readonly nodes: readonly NodeProcess[],
    readonly random: Random,
  ) {}

  markDown(node: NodeProcess): void {
    this.down.add(node)
  }

  markUp(...nodes: readonly NodeProcess[]): void {
    for (const node of nodes) this.down.delete(node)
  }

  isUp(node: NodeProcess): boolean {
    return !this.down.has(node)
  }

  /** For a client that has to connect: its own node if that runs, else any that does. */
  again(node: NodeProcess): NodeProcess {
    return this.isUp(node) ? node : this.any()
  }

  any(): NodeProcess {
    const up = this.nodes.filter((node) => this.isUp(node))
    return this.random.pick(up.length === 0 ? this.nodes : up)
  }
}
