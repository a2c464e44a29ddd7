/**
 * Whether a peer lives.
 *
 * States: `joining` (known, not yet reached) → `up` ⇄ `suspect` (silent for a while, or it says that it does not hear this
 * node) → `down` (silent too long, or never reached); `left` when it said so. From `down` and `left` it comes back to `up` with a link.
 */

import type { Logger } from 'pino'
import type { NodeId } from '../router/route-table.js'
import type { PeerStateName } from './metrics.js'

/** Why a peer is not there: it said so, it has been silent too long, or it was never reached. */
export type StopReason = 'left' | 'down' | 'unreachable'

export class PeerState {
  private current: PeerStateName = 'joining'
  private changedAt = 0
  private reason: StopReason | undefined

  constructor(
    private readonly peer: NodeId,
    private readonly log: Logger,
  ) {}

  get name(): PeerStateName {
    return this.current
  }

  /** True when it counts as a member that is or may be there. */
  get isLive(): boolean {
    return this.current === 'up' || this.current === 'joining' || this.current === 'suspect'
  }

  /** True when it was reached, and has not stopped as far as is known. */
  get isRunning(): boolean {
    return this.current === 'up' || this.current === 'suspect'
  }

  /** When it stopped, as `performance.now` tells; Infinity while it has not. */
  get stoppedAt(): number {
    return this.isLive ? Infinity : this.changedAt
  }

  /** Why it stopped; undefined while it has not. */
  get stoppedReason(): StopReason | undefined {
    return this.reason
  }

  /** False when that is its state already. */
  moveTo(next: PeerStateName, reason: StopReason | undefined, incarnation: number): boolean {
    const before = this.current
    this.reason = reason
    if (before === next) return false
    this.current = next
    this.changedAt = performance.now()
    const fields = { peer: this.peer, incarnation, from: before, to: next, reason }
    if (next === 'suspect' || next === 'down') this.log.warn(fields, 'peer state')
    else this.log.info(fields, 'peer state')
    return true
  }
}
