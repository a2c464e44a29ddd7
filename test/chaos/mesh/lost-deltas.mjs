/**
 * A planted fault, loaded into each node before it starts: of the changes of routes that a node is told some are lost, and
 * the digests that would find them are believed unread. The checks have to say so.
 */

import { RouteMirror } from '../../../dist/cluster/route-sync.js'

const LOST_ONE_IN = 20

const { takeDeltas } = RouteMirror.prototype
let told = 0

RouteMirror.prototype.takeDeltas = function takeSomeDeltas(deltas) {
  told += 1
  const isLost = told % LOST_ONE_IN === 0
  const changes = isLost ? deltas.changes.map(({ filter }) => ({ filter, withdrawn: true })) : deltas.changes
  takeDeltas.call(this, { ...deltas, changes })
}

RouteMirror.prototype.takeCheck = function believeCheck() {
  this.synced = true
}
