/**
 * The network of a run where no namespaces can be made: a TCP proxy in front of each node's cluster listener. It cuts every
 * node from every other, whichever a rule names, since it does not know who dials; it has no directions, delay or loss.
 */

import { CuttableProxy } from '../../support/cuttable-proxy.js'
import type { Wires } from '../mesh/nemesis.js'
import type { WireRule } from '../mesh/network.js'

export class ProxyWires implements Wires {
  private readonly proxies: readonly CuttableProxy[]

  /** @param ports of the cluster listeners on 127.0.0.1, in the order of the nodes */
  constructor(ports: readonly number[]) {
    this.proxies = ports.map((port) => new CuttableProxy(() => port))
  }

  async start(): Promise<void> {
    for (const proxy of this.proxies) await proxy.start()
  }

  /** Where the others reach a node, by number from 1. */
  address(node: number): string {
    const proxy = this.proxies[node - 1]
    if (proxy === undefined) throw new Error(`no node ${node}`)
    return proxy.address
  }

  set(rules: readonly WireRule[]): Promise<void> {
    const isCut = rules.some((rule) => rule.cut === true)
    for (const proxy of this.proxies) {
      if (isCut) proxy.split()
      else proxy.heal()
    }
    return Promise.resolve()
  }

  async stop(): Promise<void> {
    for (const proxy of this.proxies) await proxy.stop()
  }
}
