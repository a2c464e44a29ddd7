/** Which nodes may have left sessions behind, as this node sees them. */

import type { NodeLife } from '../../broker/estate-port.js'
import type { NodeId } from '../../router/route-table.js'
import type { PeerStateName } from '../metrics.js'

/** A node that was there, and cannot be reached. */
export interface LostNode extends NodeLife {
  /** It has said goodbye, and takes nothing from anybody. */
  readonly hasStopped: boolean
  /** As `performance.now` tells; Infinity while it may only be late. */
  readonly downSince: number
}

/** A peer, as far as it matters here. */
export interface WatchedPeer {
  readonly name: NodeId
  /** 0 until it was reached. */
  readonly incarnation: number
  readonly state: PeerStateName
  /** It is no member any more, and may live on alone. */
  readonly hasDeparted: boolean
  readonly isReachable: boolean
  /** As `performance.now` tells; Infinity while it has not stopped. */
  readonly stoppedAt: number
}

/** Of a node that was not reached since this one has started: whatever its last life was, it is over. */
const ANY_INCARNATION = Number.MAX_SAFE_INTEGER

/**
 * Nodes that cannot be reached, save those that have left the cluster for good: one that has stopped may have left what no other
 * node has taken in time.
 */
export function* lostNodes(peers: Iterable<WatchedPeer>): Generator<LostNode> {
  for (const { name, incarnation, state, hasDeparted, isReachable, stoppedAt } of peers) {
    if (isReachable || hasDeparted) continue
    const life = { node: name, incarnation: incarnation === 0 ? ANY_INCARNATION : incarnation }
    yield { ...life, downSince: stoppedAt, hasStopped: state === 'left' }
  }
}

/** Whether that life of a node is down or over. @param self this life of this node */
export function isGone(
  peers: ReadonlyMap<NodeId, WatchedPeer>,
  { node, incarnation }: NodeLife,
  self: NodeLife,
): boolean {
  if (node === self.node) return incarnation < self.incarnation
  const peer = peers.get(node)
  if (peer === undefined || peer.incarnation > incarnation) return true
  return peer.state === 'down' || peer.state === 'left'
}
