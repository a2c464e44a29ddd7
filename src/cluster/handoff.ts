/**
 * What a silent peer is still owed. When a peer is down, the QoS 1 and 2 messages that it has not acknowledged are kept,
 * with those that follow: hints. Of a peer whose sessions outlive it they go to the store of this node, their publishers
 * wait for that, and they are sent when any life of the peer is back. Of another peer they stay in memory, their
 * publishers are answered, and they are sent when the same incarnation is back: a new one shows that the old one has ended.
 * After the retention they are given up and counted. While hints are kept the peer keeps its routes.
 */

import type { Logger } from 'pino'
import type { Exchange } from './exchange.js'
import type { ClusterMetrics } from './metrics.js'

export type GiveUpReason = 'hint_expired' | 'peer_restarted' | 'peer_left'

/** How long, in milliseconds, hints and routes of a peer that is down are kept. */
export interface HandoffOptions {
  /** Of one whose sessions end with it. */
  readonly routeRetention: number
  readonly handoff: {
    /** Of one whose sessions outlive it. */
    readonly retention: number
  }
}

/** A peer, as far as it is owed something. */
export interface Creditor {
  readonly name: string
  readonly exchange: Exchange
  /** Its sessions outlive its restarts. */
  readonly keepsSessions: boolean
}

export interface HandoffModules {
  readonly metrics: ClusterMetrics
  /** The time is over. */
  readonly onExpired: () => void
  readonly log: Logger
}

export class Handoff {
  private timer: NodeJS.Timeout | undefined

  constructor(
    private readonly options: HandoffOptions,
    private readonly modules: HandoffModules,
  ) {}

  /** The peer is down: nobody waits for it any more. */
  begin({ exchange, keepsSessions }: Creditor): void {
    this.modules.metrics.drops.peer_down.value += exchange.loose.clear()
    if (keepsSessions) exchange.kept.shelve()
    else exchange.kept.releaseAll()
    exchange.rescue(false)
    clearTimeout(this.timer)
    const retention = keepsSessions ? this.options.handoff.retention : this.options.routeRetention
    this.timer = setTimeout(this.modules.onExpired, retention)
    this.timer.unref()
  }

  /** The peer is back, as it was: its lane goes on. */
  cancel(): void {
    clearTimeout(this.timer)
    this.timer = undefined
  }

  /** The peer is back in another incarnation, with all it had: its lane goes on there. */
  passOn({ exchange }: Creditor): void {
    this.modules.metrics.drops.peer_down.value += exchange.loose.clear()
    exchange.passOn()
  }

  /** This node ends: what the peer has not got goes to the store, where it can, and is sent by the next life. */
  part({ exchange, keepsSessions }: Creditor): void {
    this.cancel()
    exchange.mirror.clear()
    this.modules.metrics.drops.peer_down.value += exchange.loose.clear()
    if (keepsSessions && exchange.kept.hints !== undefined) exchange.kept.shelve()
    else this.modules.metrics.drops.peer_left.value += exchange.kept.settle()
  }

  /** Clears the routes in one step, answers whoever waits, and counts what the peer did not get. */
  giveUp({ name, exchange }: Creditor, reason: GiveUpReason): void {
    this.cancel()
    const routes = exchange.mirror.count
    this.modules.metrics.drops.peer_down.value += exchange.loose.clear()
    const messages = exchange.abandon()
    this.modules.metrics.drops[reason].value += messages
    if (routes > 0 || messages > 0) {
      this.modules.log.info(
        { peer: name, reason, routes, messages },
        'routes of a peer and what was kept for it are dropped',
      )
    }
  }
}
