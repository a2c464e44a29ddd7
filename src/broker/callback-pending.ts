/** A publish by the embedding program: its callback is called when everyone has kept the message. */

import type { PendingPublish } from './ports.js'

export class CallbackPending implements PendingPublish {
  /** The publish path's own hold. */
  private holds = 1

  constructor(private readonly callback: () => void) {}

  hold(): void {
    this.holds++
  }

  release(): void {
    this.holds--
    // Never within the call to publish: a callback that publishes again must not nest.
    if (this.holds === 0) setImmediate(this.callback)
  }
}
