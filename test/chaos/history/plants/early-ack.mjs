/** A planted fault: the publisher has its acknowledgement before the peers have its message. */

import { KeptLane } from '../../../../dist/cluster/kept-lane.js'

const { offer } = KeptLane.prototype

KeptLane.prototype.offer = function offerUnawaited(frame, _pending, head) {
  return offer.call(this, frame, undefined, head)
}
