/**
 * Heirs that have asked for what a node that is down is owed, and whose routes are not all here yet: what is forwarded behind the
 * mark has to come to them.
 */

import type { NodeId } from '../../router/route-table.js'
import type { LinkBodyOf } from '../wire.js'

export type EstateTaken = LinkBodyOf<'estateTaken'>['value']

/** An heir whose routes have not come for so long has asked again or is gone, in milliseconds. */
const ROUTES_TIMEOUT_MS = 10_000

export interface WaitingHeirsModules {
  readonly self: NodeId
  readonly routeVersionOf: (peer: NodeId) => number
  /** Its routes are here. */
  readonly pay: (heir: NodeId, taken: EstateTaken) => void
}

interface WaitingHeir {
  readonly heir: NodeId
  readonly taken: EstateTaken
  readonly deadline: number
}

export class WaitingHeirs {
  private waiting: WaitingHeir[] = []

  constructor(private readonly modules: WaitingHeirsModules) {}

  /** It is paid as soon as its routes are here, perhaps at once. */
  add(heir: NodeId, taken: EstateTaken): void {
    const waiting = { heir, taken, deadline: performance.now() + ROUTES_TIMEOUT_MS }
    if (this.hasRoutes(waiting)) this.modules.pay(heir, taken)
    else this.waiting.push(waiting)
  }

  /** More of a peer's routes is here. */
  routesTaken(peer: NodeId): void {
    if (this.waiting.length === 0) return
    const ready = this.waiting.filter((waiting) => waiting.heir === peer && this.hasRoutes(waiting))
    if (ready.length === 0) return
    this.waiting = this.waiting.filter((waiting) => !ready.includes(waiting))
    for (const { heir, taken } of ready) this.modules.pay(heir, taken)
  }

  nodeGone(node: NodeId): void {
    this.waiting = this.waiting.filter(({ heir }) => heir !== node)
  }

  checkTime(now: number): void {
    this.waiting = this.waiting.filter(({ deadline }) => deadline > now)
  }

  private hasRoutes({ heir, taken }: WaitingHeir): boolean {
    return heir === this.modules.self || this.modules.routeVersionOf(heir) >= taken.routeVersion
  }
}
