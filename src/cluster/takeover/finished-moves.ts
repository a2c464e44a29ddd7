/**
 * Moves of which this node has the session, as long as their givers may not have heard so: the word goes once, and the link
 * that it goes on may be taken by another one. A giver that never hears it keeps what it has given, and its session ends as
 * one that is out of date.
 */

import type { NodeId } from '../../router/route-table.js'

/** More are not remembered; the oldest go first. */
const MAXIMUM_MOVES = 65_536

interface FinishedMove {
  readonly giver: NodeId
  readonly at: number
}

export class FinishedMoves {
  /** By number, the oldest first. */
  private readonly moves = new Map<number, FinishedMove>()

  /** @param keptFor milliseconds; no giver waits longer */
  constructor(private readonly keptFor: number) {}

  /** @param move its number here */
  add(move: number, giver: NodeId): void {
    this.moves.delete(move)
    this.moves.set(move, { giver, at: performance.now() })
    if (this.moves.size <= MAXIMUM_MOVES) return
    for (const oldest of this.moves.keys()) {
      this.moves.delete(oldest)
      return
    }
  }

  /** Numbers of those that this node has given. */
  *of(giver: NodeId): Generator<number> {
    for (const [move, finished] of this.moves) if (finished.giver === giver) yield move
  }

  checkTime(now: number): void {
    for (const [move, { at }] of this.moves) {
      if (now - at <= this.keptFor) return
      this.moves.delete(move)
    }
  }
}
