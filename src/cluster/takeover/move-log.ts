/**
 * Says which sessions have not come as they should: at once of the first, and of those that follow in one line every ten
 * seconds. When a node falls, or has too much to do, they are thousands, and the log must not be what fails next.
 */

import type { Logger } from 'pino'
import type { NodeId } from '../../router/route-table.js'
import type { MoveOutcome } from './metrics.js'

const LINE_EVERY_MS = 10_000

/** `marks_missing`: the client was let in before all nodes knew where its session is. */
export type MoveTrouble = MoveOutcome | 'marks_missing'

export class MoveLog {
  private counts: Partial<Record<MoveTrouble, number>> = {}
  private saidAt = Number.NEGATIVE_INFINITY
  private isOwed = false

  /** @param now a clock in milliseconds that never goes back */
  constructor(
    private readonly log: Logger,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** @param peers the node that had the session, or those that have not said where its messages go */
  note(outcome: MoveTrouble, clientId: string, peers: readonly NodeId[]): void {
    const now = this.now()
    if (now - this.saidAt >= LINE_EVERY_MS) {
      this.flush()
      this.saidAt = now
      this.log.warn({ clientId, peers, outcome }, 'session has not come whole from another node')
      return
    }
    this.counts[outcome] = (this.counts[outcome] ?? 0) + 1
    this.isOwed = true
  }

  /** Says what has gathered, when it is time. */
  checkTime(now: number): void {
    if (!this.isOwed || now - this.saidAt < LINE_EVERY_MS) return
    this.saidAt = now
    this.flush()
  }

  private flush(): void {
    if (!this.isOwed) return
    this.isOwed = false
    this.log.warn({ sessions: this.counts }, 'sessions have not come whole from other nodes since the last such line')
    this.counts = {}
  }
}
