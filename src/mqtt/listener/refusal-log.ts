/** Says that connections are refused, without a line for each: a flood must not fill the log too. */

import type { Logger } from 'pino'
import type { RefusalReason } from './metrics.js'

/** Between two lines of one listener. */
const LINE_EVERY_MS = 10_000

/** What an operator wants to know of; the others are of one client and its own affair. */
const WORTH_A_LINE: ReadonlySet<RefusalReason> = new Set([
  'node_limit',
  'listener_limit',
  'address_limit',
  'node_rate',
  'listener_rate',
  'proxy_untrusted',
  'proxy_header',
])

export class RefusalLog {
  private counts: Partial<Record<RefusalReason, number>> = {}
  private saidAt = Number.NEGATIVE_INFINITY

  /** @param listener its URL. */
  constructor(
    private readonly listener: string,
    private readonly log: Logger,
  ) {}

  note(reason: RefusalReason): void {
    if (!WORTH_A_LINE.has(reason)) return
    this.counts[reason] = (this.counts[reason] ?? 0) + 1
    const now = performance.now()
    if (now - this.saidAt < LINE_EVERY_MS) return
    this.saidAt = now
    this.log.warn({ listener: this.listener, refused: this.counts }, 'connections refused since the last such line')
    this.counts = {}
  }
}
