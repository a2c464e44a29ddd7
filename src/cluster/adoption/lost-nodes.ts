/** Which nodes may have left sessions behind, as this node sees them. */

import type { NodeLife } from '../../broker/estate-port.js'
import type { NodeId } from '../../router/route-table.js'
import type { PeerStateName } from '../metrics.js'
import type { LostNode } from './adoptions.js'

/** A peer, as far as it matters here. */
export interface WatchedPeer {
  readonly name: NodeId
  /** 0 until it was reached. */
  readonly incarnation: number
  readonly state: PeerStateName
  readonly isReachable: boolean
  /** As `performance.now` tells; Infinity while it has not stopped. */
  readonly stoppedAt: number
}

/** Of a node that was not reached since this one has started: whatever its last life was, it is over. */
const ANY_INCARNATION = Number.MAX_SAFE_INTEGER

/** Nodes that cannot be reached, save those that have said goodbye. */
export function* lostNodes(peers: Iterable<WatchedPeer>): Generator<LostNode> {
  for (const { name, incarnation, state, isReachable, stoppedAt } of peers) {
    if (isReachable || state === 'left') continue
    yield { node: name, incarnation: incarnation === 0 ? ANY_INCARNATION : incarnation, downSince: stoppedAt }
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
