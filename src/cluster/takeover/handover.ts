/**
 * What becomes of the sessions of a node that stops: their clients are away and do not come for them, and their
 * messages are acknowledged. They are offered to the other nodes in turn, each of which takes its share as if the clients
 * had come there. [docs/decisions/016]
 */

import type { Logger } from 'pino'
import type { OfferedSession, SessionMoves } from '../../broker/move-ports.js'
import type { NodeId } from '../../router/route-table.js'
import { Deferred } from '../../util/deferred.js'
import type { LinkBody, LinkBodyOf } from '../wire.js'
import type { TakeoverMetrics } from './metrics.js'

/** How often it looks what is left, in milliseconds. */
const STEP_MS = 20
/** What was offered and has not gone by then is offered to the next node, in milliseconds. */
const OFFER_TIMEOUT_MS = 3_000
/** Sessions that are offered and have not gone, at most: each costs the ring node and all others a few messages. */
const WINDOW = 256

export interface HandoverModules {
  readonly send: (to: NodeId, body: LinkBody) => void
  /** Nodes that can be reached, know what an offer is, and do not say that they are draining. */
  readonly takers: () => readonly NodeId[]
  readonly sessions: SessionMoves
  /** Whether this node takes the sessions of others. */
  readonly isTaking: () => boolean
  readonly metrics: TakeoverMetrics
  readonly log: Logger
}

interface Offer {
  readonly to: NodeId
  /** As `performance.now` tells. */
  readonly until: number
}

export class Handover {
  /** By client ID: what is offered, and is still here. */
  private readonly offers = new Map<string, Offer>()
  /** Nodes that take no more. */
  private readonly unwilling = new Set<NodeId>()
  private running: Promise<number> | undefined
  private ended = new Deferred()
  private timer: NodeJS.Timeout | undefined
  private next = 0

  constructor(private readonly modules: HandoverModules) {}

  /**
   * Offers the sessions whose clients are away until none is left, nobody takes them, or the time is over. Call it when
   * clients cannot come here any more; while it runs, a second call waits for the same.
   * @param within milliseconds
   * @returns how many sessions are left
   */
  run(within: number): Promise<number> {
    this.running ??= this.handAll(within).finally(() => {
      this.running = undefined
    })
    return this.running
  }

  /** Offers no more; idempotent. */
  stop(): void {
    clearInterval(this.timer)
    this.offers.clear()
    this.ended.resolve()
  }

  /** Another node is about to stop. */
  offered(from: NodeId, { sessions }: LinkBodyOf<'sessionOffer'>['value']): void {
    const isTaking = this.running === undefined && this.modules.isTaking()
    const taken = isTaking ? sessions.filter((session) => this.modules.sessions.adopt(session, from)) : []
    this.modules.metrics.offers.taken.value += taken.length
    if (taken.length === sessions.length) return
    this.modules.metrics.offers.declined.value += sessions.length - taken.length
    this.modules.send(from, { $case: 'sessionDecline', value: {} })
  }

  /** A node takes no more; what it was offered is free for the next. */
  declined(from: NodeId): void {
    this.unwilling.add(from)
    this.nodeGone(from)
  }

  nodeGone(node: NodeId): void {
    for (const [clientId, { to }] of this.offers) if (to === node) this.offers.delete(clientId)
  }

  private async handAll(within: number): Promise<number> {
    const { sessions, metrics, log } = this.modules
    const before = sessions.countWaiting()
    if (before === 0) return 0
    const startedAt = performance.now()
    this.ended = new Deferred()
    this.unwilling.clear()
    const deadline = startedAt + within
    this.timer = setInterval(() => this.step(deadline), STEP_MS)
    this.step(deadline)
    await this.ended.promise
    const left = sessions.countWaiting()
    metrics.left.value += left
    const fields = { sessions: before, left, milliseconds: Math.round(performance.now() - startedAt) }
    if (left === 0) log.info(fields, 'sessions are handed over')
    else log.warn(fields, 'sessions are left that no other node has taken')
    return left
  }

  private step(deadline: number): void {
    const { modules, unwilling } = this
    const now = performance.now()
    const takers = modules.takers().filter((node) => !unwilling.has(node))
    if (takers.length === 0 || now >= deadline || !modules.sessions.hasWaiting) return this.stop()
    const chosen = this.choose(now)
    const share = Math.ceil(chosen.length / takers.length)
    for (let from = 0; from < chosen.length; from += share) {
      const to = takers[this.next++ % takers.length] as NodeId
      const sessions = chosen.slice(from, from + share)
      for (const { clientId } of sessions) this.offers.set(clientId, { to, until: now + OFFER_TIMEOUT_MS })
      modules.send(to, { $case: 'sessionOffer', value: { sessions } })
    }
  }

  /** As many as the window has room for; of those that were offered, the ones that nobody has come for in time. */
  private choose(now: number): OfferedSession[] {
    const { sessions } = this.modules
    for (const [clientId, { until }] of this.offers) {
      if (until <= now || !sessions.isWaiting(clientId)) this.offers.delete(clientId)
    }
    const room = WINDOW - this.offers.size
    const chosen: OfferedSession[] = []
    if (room <= 0) return chosen
    for (const session of sessions.waiting()) {
      if (this.offers.has(session.clientId)) continue
      chosen.push(session)
      if (chosen.length === room) break
    }
    return chosen
  }
}
