/** A planted fault: what a peer that is down is owed is not kept, and its publishers are answered all the same. */

import { HintQueue } from '../../../../dist/cluster/hint-queue.js'

const { offer, shelve } = HintQueue.prototype

HintQueue.prototype.offer = function offerNothing(frame, head, pending) {
  return this.isShelving || offer.call(this, frame, head, pending)
}

HintQueue.prototype.shelve = function shelveNothing(batches, sentTo) {
  for (const { batch } of batches) for (const pending of batch.pendings) pending.release()
  shelve.call(this, [], sentTo)
}
