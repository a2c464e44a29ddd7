/**
 * The network between the nodes and Redis, cut as a network is: what is sent is lost, nobody is told, and a connection that
 * was there goes on when it is whole again and nobody has given it up.
 */

import { CuttableProxy } from '../../support/cuttable-proxy.js'
import type { Wires } from '../mesh/nemesis.js'

export interface RedisCuts {
  /** @param nodes by number from 1 */
  cut(nodes: readonly number[]): Promise<void>
  heal(): Promise<void>
  stop(): Promise<void>
}

/** Redis on a host of its own, on the wire that the nodes are on. */
export class WiredCuts implements RedisCuts {
  constructor(
    private readonly wires: Wires,
    private readonly host: number,
  ) {}

  cut(nodes: readonly number[]): Promise<void> {
    return this.wires.set(
      nodes.flatMap((node) => [
        { from: node, to: this.host, cut: true },
        { from: this.host, to: node, cut: true },
      ]),
    )
  }

  heal(): Promise<void> {
    return this.wires.set([])
  }

  stop(): Promise<void> {
    return Promise.resolve()
  }
}

/** A TCP proxy in front of Redis for each node: connections are taken all the time, and nothing passes while it is cut. */
export class ProxiedCuts implements RedisCuts {
  private constructor(private readonly proxies: readonly CuttableProxy[]) {}

  /** @param port of Redis on 127.0.0.1 */
  static async start(nodes: number, port: number): Promise<ProxiedCuts> {
    const proxies = Array.from({ length: nodes }, () => new CuttableProxy(() => port))
    for (const proxy of proxies) await proxy.start()
    return new ProxiedCuts(proxies)
  }

  /** Where a node, by number from 1, finds Redis. */
  url(node: number): string {
    return `redis://${this.proxyOf(node).address}`
  }

  cut(nodes: readonly number[]): Promise<void> {
    for (const node of nodes) this.proxyOf(node).freeze()
    return Promise.resolve()
  }

  heal(): Promise<void> {
    for (const proxy of this.proxies) proxy.heal()
    return Promise.resolve()
  }

  async stop(): Promise<void> {
    for (const proxy of this.proxies) await proxy.stop()
  }

  private proxyOf(node: number): CuttableProxy {
    const proxy = this.proxies[node - 1]
    if (proxy === undefined) throw new Error(`no node ${node}`)
    return proxy
  }
}
