/** To which node clients go: what they may know, which is what an operator of the cluster would tell them. */

import type { NodeProcess } from '../../support/node-process.js'
import type { Random } from '../../support/random.js'
import type { WireRule } from '../mesh/network.js'

export class Whereabouts {
  /** Nodes that have ended, or are about to. */
  private readonly down = new Set<NodeProcess>()
  /** Whether clients may go to another node although theirs runs: sessions go along only where nodes hear each other. */
  mayMove = true
  /** Which nodes are cut off from each other while subscribers may move all the same, each among those that its own hears. */
  private division: readonly WireRule[] = []

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

  /** Without rules nobody moves. */
  divide(rules: readonly WireRule[]): void {
    this.division = rules
  }

  /** Whether sessions go along. */
  get mayRoam(): boolean {
    return this.mayMove || this.division.length > 0
  }

  /** Any node that the session of a client at this one can go to. */
  near(node: NodeProcess): NodeProcess {
    const number = this.nodes.indexOf(node) + 1
    const isCut = (other: number): boolean =>
      this.division.some(({ from, to }) => (from === number && to === other) || (from === other && to === number))
    const near = this.nodes.filter((other, index) => this.isUp(other) && !isCut(index + 1))
    return this.random.pick(near.length === 0 ? [node] : near)
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
