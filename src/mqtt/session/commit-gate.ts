/**
 * What a session that is kept has to say and may not say before a commit: a PUBLISH of QoS 2, whose packet id must be
 * known after a restart, a PUBREL, behind which the message must not come again, and a PUBCOMP, behind which its id is a
 * new one. Bounded by the packet ids of both sides.
 */

import type { InFlight } from './in-flight-window.js'

/** A PUBCOMP that is owed. */
export interface Completion {
  readonly packetId: number
  readonly reasonCode: number
}

export type Gated = InFlight | Completion

export class CommitGate {
  private waiting: Gated[] = []
  /** What the commit that is on its way has read. */
  private covered: Gated[] = []

  /** Nothing waits. */
  get isClear(): boolean {
    return this.waiting.length === 0 && this.covered.length === 0
  }

  add(gated: Gated): void {
    this.waiting.push(gated)
  }

  /** A commit reads the session now; one before it that has failed has let nothing through. */
  cover(): void {
    if (this.waiting.length === 0) return
    this.covered = this.covered.length === 0 ? this.waiting : this.covered.concat(this.waiting)
    this.waiting = []
  }

  /** The commit is done: what it has read may go out, in the order in which it was added. */
  open(): readonly Gated[] {
    const { covered } = this
    if (covered.length > 0) this.covered = []
    return covered
  }
}
