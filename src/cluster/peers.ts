/** All peers: who of them can be reached, who is a member, who takes sessions; and the way to one of them by its name. */

import type { NodeId } from '../router/route-table.js'
import type { FEATURES } from './features.js'
import type { Peer } from './peer.js'
import type { LinkBody, TakeoverMark } from './wire.js'

export class Peers {
  /** @param byName those that have stopped too */
  constructor(readonly byName: ReadonlyMap<NodeId, Peer>) {}

  [Symbol.iterator](): Iterator<Peer> {
    return this.byName.values()
  }

  get count(): number {
    return this.byName.size
  }

  // ── one of them ──────────────────────────────────────────────────────────────────────────────────────────────

  /** Lost when no link to it is up. */
  send(to: NodeId, body: LinkBody): void {
    this.byName.get(to)?.send(body)
  }

  /** Puts a mark behind what was forwarded to it until now. */
  mark(to: NodeId, mark: TakeoverMark): void {
    this.byName.get(to)?.exchange.mark(mark)
  }

  /** Whether there is a link to it, be it silent at the moment. */
  isLinked(name: NodeId): boolean {
    return this.byName.get(name)?.isLinked === true
  }

  /** Whether the link to it is of a version that knows this. */
  speaks(name: NodeId, feature: keyof typeof FEATURES): boolean {
    return this.byName.get(name)?.speaks(feature) === true
  }

  /** Whether it is down or has left; false of one that nobody knows. */
  isGone(name: NodeId): boolean {
    return this.byName.get(name)?.isLive === false
  }

  /** Of its routes, as far as they are here. */
  routeVersionOf(name: NodeId): number {
    return this.byName.get(name)?.exchange.mirror.version ?? 0
  }

  // ── sets of them ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Those that live and get what is sent to them now. */
  reachable(): NodeId[] {
    return this.namesOf((peer) => peer.isReachable)
  }

  /** Those that live and have a link, also one that takes the place of another just now. */
  inReach(): NodeId[] {
    return this.namesOf((peer) => peer.isInReach)
  }

  /** All others that are or may come back, what they sent last with them. */
  members(): NodeId[] {
    return this.namesOf((peer) => (peer.incarnation !== 0 || peer.keepsSessions) && peer.state !== 'left')
  }

  /** Members, and those that have stopped with something on their disks that others have not got. */
  debtors(): NodeId[] {
    return this.namesOf((peer) => peer.isDebtor)
  }

  /** Those to which this node may hand its sessions. */
  takers(): NodeId[] {
    return this.namesOf((peer) => peer.isReachable && peer.isHeir)
  }

  /** Those to which no link is up, in the order of names. */
  missing(): NodeId[] {
    const now = performance.now()
    return this.namesOf((peer) => peer.describe(now).link !== 'up').sort()
  }

  /** Whether one of them can be reached that takes clients. */
  get canTakeClients(): boolean {
    for (const peer of this) if (peer.isReachable && peer.isTaking) return true
    return false
  }

  /**
   * The version of this node's routes that each of them has confirmed; Infinity without peers. Only those that are up count:
   * of one that is silent nobody knows whether it will ever confirm.
   */
  lowestConfirmedVersion(): number {
    let lowest = Infinity
    for (const peer of this) {
      if (peer.state === 'up') lowest = Math.min(lowest, peer.exchange.publisher.confirmedVersion)
    }
    return lowest
  }

  private namesOf(isOne: (peer: Peer) => boolean): NodeId[] {
    return Array.from(this).flatMap((peer) => (isOne(peer) ? [peer.name] : []))
  }
}
