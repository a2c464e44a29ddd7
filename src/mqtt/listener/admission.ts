/**
 * Who is let in, before a byte is read: so many connections, so many from one address, so many a second; of the node
 * and of each listener. Every connection that is let in has a ticket, and gives back what it takes when it closes.
 */

import { networkOf } from '../../util/ip-address.js'
import { TokenBucket } from '../../util/token-bucket.js'
import type { RefusalReason } from './metrics.js'

export interface AdmissionLimits {
  /** 0 sets no limit, as in the others. */
  readonly maximumConnections: number
  readonly maximumConnectionsPerAddress: number
  /** A second. */
  readonly connectRate: number
  /** 0: as many as in one second. */
  readonly connectBurst: number
}

/** One set of limits and what counts against it. */
export class Admission {
  private open = 0
  private readonly rate: TokenBucket | undefined
  /** Connections by network, of those that have any; empty without a limit. */
  private readonly networks = new Map<string, number>()

  constructor(
    private readonly limits: AdmissionLimits,
    private readonly reasons: { readonly limit: RefusalReason; readonly rate: RefusalReason },
  ) {
    const { connectRate, connectBurst } = limits
    this.rate = connectRate === 0 ? undefined : new TokenBucket(connectRate, connectBurst || connectRate)
  }

  /** Connections that are let in now. */
  get connectionCount(): number {
    return this.open
  }

  /** Networks that connections are counted for now. */
  get networkCount(): number {
    return this.networks.size
  }

  /** Why one more is not let in. Takes nothing. */
  refusal(): RefusalReason | undefined {
    const { maximumConnections } = this.limits
    if (maximumConnections > 0 && this.open >= maximumConnections) return this.reasons.limit
    if (this.rate !== undefined && !this.rate.hasToken) return this.reasons.rate
    return undefined
  }

  enter(): void {
    this.open++
    this.rate?.take()
  }

  leave(): void {
    this.open--
  }

  hasRoomFor(network: string): boolean {
    const maximum = this.limits.maximumConnectionsPerAddress
    return maximum === 0 || (this.networks.get(network) ?? 0) < maximum
  }

  enterNetwork(network: string): void {
    if (this.limits.maximumConnectionsPerAddress === 0) return
    this.networks.set(network, (this.networks.get(network) ?? 0) + 1)
  }

  leaveNetwork(network: string): void {
    const count = this.networks.get(network)
    if (count === undefined) return
    if (count > 1) this.networks.set(network, count - 1)
    else this.networks.delete(network)
  }
}

/** What one connection takes of the limits of its listener and of its node. */
export class Ticket {
  private network = ''
  private isReleased = false

  private constructor(
    private readonly listener: Admission,
    private readonly node: Admission,
  ) {}

  /** A ticket, or why there is none. Whoever is refused takes nothing, so that a flood does not starve the others. */
  static take(listener: Admission, node: Admission): Ticket | RefusalReason {
    const refusal = listener.refusal() ?? node.refusal()
    if (refusal !== undefined) return refusal
    listener.enter()
    node.enter()
    return new Ticket(listener, node)
  }

  /** Counts the connection for its client's address, '' for one without; false when that has its share. */
  claim(address: string): boolean {
    if (address === '' || this.isReleased) return true
    const network = networkOf(address)
    if (!this.listener.hasRoomFor(network) || !this.node.hasRoomFor(network)) return false
    this.network = network
    this.listener.enterNetwork(network)
    this.node.enterNetwork(network)
    return true
  }

  /** The connection is closed. Idempotent. */
  release(): void {
    if (this.isReleased) return
    this.isReleased = true
    this.listener.leave()
    this.node.leave()
    if (this.network === '') return
    this.listener.leaveNetwork(this.network)
    this.node.leaveNetwork(this.network)
  }
}
