/** A planted fault: publishers are answered before the store has what they sent; it is written now and then. */

import { CommitQueue } from '../../../../dist/store/commit-queue.js'

const WRITE_EVERY_MS = 500

const { wake, runTurn } = CommitQueue.prototype

CommitQueue.prototype.wake = function wakeUnawaited() {
  wake.call(this, undefined)
}

CommitQueue.prototype.runTurn = function runLater() {
  setTimeout(() => runTurn.call(this), WRITE_EVERY_MS)
}
