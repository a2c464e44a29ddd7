/** A planted fault: publishers are answered before the store has what they sent; it is written now and then. */

import { CommitQueue } from '../../../../dist/store/commit-queue.js'

const WRITE_EVERY_MS = 500

const { wake, runTurn } = CommitQueue.prototype

CommitQueue.prototype.wake = function wakeUnawaited(pending) {
  wake.call(this, undefined)
  pending?.hold()
  setImmediate(() => pending?.release())
}

/** Queues that will write. */
const late = new Set()

CommitQueue.prototype.runTurn = function runLater() {
  if (late.has(this)) return
  late.add(this)
  setTimeout(() => {
    late.delete(this)
    runTurn.call(this)
  }, WRITE_EVERY_MS)
}
