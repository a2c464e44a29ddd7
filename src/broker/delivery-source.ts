/** Where what is delivered has come from: the gates of sessions that move ask for it. */

import type { NodeId } from './ports.js'

/** Which node has published or forwarded what is being delivered; kept only while somebody watches. */
export class DeliverySource {
  /** Sessions that move. */
  watchers = 0
  /** Messages that wait since sessions move: spare copies of what another node takes, and what waits for what is before it. */
  readonly waiting = { spares: 0, heldBack: 0 }
  /** A node that is down, while what it was owed is delivered to the sessions that this node has inherited from it. */
  estate: NodeId | undefined
  /** It comes by a node that its session has left, or was held back for what does: no gate passes it over. */
  isPassedOn = false

  constructor(public node: NodeId) {}

  /** Whatever is delivered by `deliver` was passed on. */
  passOn(deliver: () => void): void {
    const before = this.isPassedOn
    this.isPassedOn = true
    try {
      deliver()
    } finally {
      this.isPassedOn = before
    }
  }
}
