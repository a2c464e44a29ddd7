/** Removes routes of nodes that are gone from the route table, some per event-loop turn. */

import type { RouteTable } from '../router/route-table.js'
import type { TurnQueue, TurnTask } from '../util/turn.js'

/** Filters looked at per turn: well under a millisecond, and a million within a thousand turns. */
const FILTERS_PER_TURN = 1_000

export class RouteSweep implements TurnTask {
  isQueued = false

  /** From here on it hears what there is to sweep. */
  constructor(
    private readonly routes: RouteTable,
    private readonly turns: TurnQueue,
  ) {
    routes.setSweeper(() => turns.add(this))
  }

  runTurn(): void {
    if (this.routes.sweep(FILTERS_PER_TURN)) this.turns.add(this)
  }

  /** What is left stays until there is another. */
  stop(): void {
    this.routes.setSweeper(undefined)
  }
}
