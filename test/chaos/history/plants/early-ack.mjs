/** A planted fault: the publisher has its acknowledgement before the peers have its message. */

import { KeptLane } from '../../../../dist/cluster/kept-lane.js'

const { offer } = KeptLane.prototype

KeptLane.prototype.offer = function offerUnawaited(frame, pending, head) {
  const isTaken = offer.call(this, frame, undefined, head)
  if (isTaken) pending?.release()
  return isTaken
}
