/** Dials one target again and again, with growing pauses, until there is a link or nothing to dial. */

import type { NodeId } from '../router/route-table.js'
import { Backoff } from '../util/backoff.js'

/** What came of one call: `self` when the address is this node's own. */
export type ConnectResult =
  | { kind: 'linked'; node: NodeId }
  | { kind: 'self' }
  | { kind: 'refused' }
  | { kind: 'failed' }

export type DialOutcome =
  /** There is a link now, or no need for one: the owner says when to dial again. */
  | 'done'
  /** Nobody there, or no handshake. */
  | 'failed'
  /** The other node or this one said no: an operator has to change something first. */
  | 'refused'

/** The first pause is short: a node that restarts is back within a moment. */
const FIRST_PAUSE_MS = 100
/** A restarted node must be linked within about this time. */
const LONGEST_PAUSE_MS = 2_000
const REFUSED_PAUSE_MS = 5_000

export class Dialer {
  private readonly backoff = new Backoff({ initialMs: FIRST_PAUSE_MS, maximumMs: LONGEST_PAUSE_MS })
  private timer: NodeJS.Timeout | undefined
  private dueAt = 0
  private isDialing = false
  private isStopped = false

  /** @param attempt makes one attempt; must not reject */
  constructor(private readonly attempt: () => Promise<DialOutcome>) {}

  /** True while an attempt is made or planned. */
  get isBusy(): boolean {
    return this.isDialing || this.timer !== undefined
  }

  /** Dials after a delay, unless that is planned for earlier or under way. */
  dial(delayMs: number): void {
    if (this.isStopped || this.isDialing) return
    const dueAt = performance.now() + delayMs
    if (this.timer !== undefined && this.dueAt <= dueAt) return
    clearTimeout(this.timer)
    this.dueAt = dueAt
    this.timer = setTimeout(() => void this.run(), delayMs)
  }

  /** There is news of the target: pauses begin anew. */
  encourage(): void {
    this.backoff.reset()
  }

  stop(): void {
    this.isStopped = true
    clearTimeout(this.timer)
    this.timer = undefined
  }

  private async run(): Promise<void> {
    this.timer = undefined
    this.isDialing = true
    const outcome = await this.attempt()
    this.isDialing = false
    if (outcome === 'done') this.backoff.reset()
    else this.dial(outcome === 'refused' ? REFUSED_PAUSE_MS : this.backoff.next())
  }
}
