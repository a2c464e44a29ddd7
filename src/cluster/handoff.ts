/**
 * What a silent peer is still owed. When a peer is down its publishers are answered, and the QoS 1 and 2 messages that
 * it has not acknowledged stay in its lane, with those that follow, up to the lane's bound: hints, in memory. They are
 * sent when the same incarnation is back; after the retention, or when a new incarnation shows that the old one has
 * ended, they are given up and counted. While hints are kept the peer keeps its routes.
 */

import type { Logger } from 'pino'
import type { Exchange } from './exchange.js'
import type { ClusterMetrics } from './metrics.js'

export type GiveUpReason = 'hint_expired' | 'peer_restarted' | 'peer_left'

export class Handoff {
  private timer: NodeJS.Timeout | undefined

  /** @param retentionMs how long hints and routes of a peer that is down are kept */
  constructor(
    private readonly retentionMs: number,
    private readonly modules: { metrics: ClusterMetrics; log: Logger },
  ) {}

  /** The peer is down: nobody waits for it any more. */
  begin(peer: string, exchange: Exchange): void {
    this.modules.metrics.drops.peer_down.value += exchange.loose.clear()
    exchange.kept.releaseAll()
    exchange.rescue(false)
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.giveUp(peer, exchange, 'hint_expired'), this.retentionMs)
    this.timer.unref()
  }

  /** The peer is back, as it was: its lane goes on. */
  cancel(): void {
    clearTimeout(this.timer)
    this.timer = undefined
  }

  /** Clears the routes in one step, answers whoever waits, and counts what the peer did not get. */
  giveUp(peer: string, exchange: Exchange, reason: GiveUpReason): void {
    this.cancel()
    const routes = exchange.mirror.count
    this.modules.metrics.drops.peer_down.value += exchange.loose.clear()
    const messages = exchange.abandon()
    this.modules.metrics.drops[reason].value += messages
    if (routes > 0 || messages > 0) {
      this.modules.log.info({ peer, reason, routes, messages }, 'routes of a peer and what was kept for it are dropped')
    }
  }
}
