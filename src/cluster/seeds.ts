/**
 * Addresses where the first peers may be, as discovery finds them or an operator gives them: each is dialed until it is known
 * who is there, and again when nobody is any more.
 */

import type { NodeId } from '../router/route-table.js'
import { type ConnectResult, Dialer, type DialOutcome } from './dialer.js'
import type { SeedSource } from './discovery/seed-source.js'
import type { Peer } from './peer.js'
import type { Identity } from './wire.js'

export interface SeedsModules {
  /** Who this node is; its address is known once the port is bound. */
  readonly self: () => Identity
  readonly source: SeedSource
  readonly peers: ReadonlyMap<NodeId, Peer>
  /** Dials and shakes hands. */
  readonly connect: (address: string) => Promise<ConnectResult>
  /** Whether anybody is dialed now. */
  readonly isJoining: () => boolean
}

/** An address and what is known of who is there. */
interface Seed {
  readonly dialer: Dialer
  /** Node that answered there; this node's own name for its own address. */
  node: NodeId | undefined
}

export class Seeds {
  private readonly seeds = new Map<string, Seed>()
  /** Those that an operator gave; no discovery takes them away. */
  private readonly joined = new Set<string>()
  private wereFound = false

  constructor(private readonly modules: SeedsModules) {}

  /** True when discovery has answered, and so has somebody at every address. */
  get haveAnswered(): boolean {
    if (!this.wereFound) return false
    for (const { node } of this.seeds.values()) if (node === undefined) return false
    return true
  }

  /** Addresses where nobody has answered yet. */
  get silent(): string[] {
    return Array.from(this.seeds).flatMap(([address, { node }]) => (node === undefined ? [address] : []))
  }

  start(): void {
    this.modules.source.start(this.onFound)
  }

  /** No more dialing; idempotent. */
  stop(): void {
    void this.modules.source.stop()
    for (const { dialer } of this.seeds.values()) dialer.stop()
  }

  /** No more dialing, and no address is known any more. */
  forgetAll(): void {
    this.stop()
    this.seeds.clear()
    this.joined.clear()
  }

  /** An operator names another node by its cluster address: it is dialed until it answers. */
  join(address: string): void {
    this.joined.add(address)
    this.add(address)
  }

  /** Whatever a dialer has missed: addresses where nobody is known to be are dialed. */
  dialMissing(): void {
    for (const [address, seed] of this.seeds) {
      if (seed.dialer.isBusy || this.isCovered(address, seed)) continue
      seed.dialer.dial(this.pauseOf(seed))
    }
  }

  private readonly onFound = (addresses: readonly string[]): void => {
    this.wereFound = true
    for (const [address, { dialer }] of this.seeds) {
      if (addresses.includes(address) || this.joined.has(address)) continue
      dialer.stop()
      this.seeds.delete(address)
    }
    for (const address of addresses) this.add(address)
  }

  private add(address: string): void {
    if (this.seeds.has(address)) return
    const seed: Seed = { dialer: new Dialer(() => this.dial(address, seed)), node: undefined }
    this.seeds.set(address, seed)
    if (address === this.modules.self().address) seed.node = this.modules.self().node
    else seed.dialer.dial(0)
  }

  private async dial(address: string, seed: Seed): Promise<DialOutcome> {
    const { self, peers, connect, isJoining } = this.modules
    if (!isJoining() || this.isCovered(address, seed) || this.pauseOf(seed) > 0) return 'done'
    const result = await connect(address)
    if (result.kind === 'self') seed.node = self().node
    else if (result.kind === 'linked') {
      seed.node = result.node
      peers.get(result.node)?.addresses.add(address, false)
    }
    return result.kind === 'linked' || result.kind === 'self' ? 'done' : result.kind
  }

  /** True when somebody who is known to be at an address needs no call there: a linked peer, or this node. */
  private isCovered(address: string, seed: Seed): boolean {
    if (seed.node === this.modules.self().node) return true
    for (const peer of this.modules.peers.values()) {
      if (!peer.isLinked) continue
      if (peer.name !== seed.node && !peer.addresses.all.includes(address)) continue
      seed.node = peer.name
      return true
    }
    return false
  }

  /** Milliseconds for which the node that was found there is not to be dialed, because its link flaps. */
  private pauseOf({ node }: Seed): number {
    return this.modules.peers.get(node ?? '')?.links.flapping.pause(performance.now()) ?? 0
  }
}
