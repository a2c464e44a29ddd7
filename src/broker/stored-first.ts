/**
 * Whoever had a message for a group before lets it go when it is handed on: so it is to be in the store of this node with the
 * same commit, where there is one, and not only on its way.
 */

import type { Hold } from '../mqtt/session/session.js'
import type { PendingPublish } from './ports.js'

export class StoredFirst implements PendingPublish {
  readonly isRemembered = true

  private constructor(private readonly pending: Hold | undefined) {}

  /** @param pending who waits for the message; a publisher whose packet id is kept with it already is what it should be */
  static of(pending: PendingPublish | undefined): PendingPublish {
    return pending?.isRemembered === true ? pending : new StoredFirst(pending)
  }

  hold(): void {
    this.pending?.hold()
  }

  release(): void {
    this.pending?.release()
  }
}
