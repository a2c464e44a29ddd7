/**
 * Requests for sessions that wait until others have what this node owes them (see `OwedFirst`). One for each move: asked again, on
 * another link or for another reason, the last counts. What the node that asks says meanwhile finds them here.
 */

import type { NodeId } from '../../router/route-table.js'
import type { LinkBodyOf } from '../wire.js'

export type SessionRequest = LinkBodyOf<'takeoverRequest'>['value']

/** How long a session waits at most, and where the node that asks does not say how long it does, in milliseconds. */
const LONGEST_MS = 1_000
const SHORTEST_MS = 150

export class WaitingRequests {
  private readonly byMove = new Map<string, SessionRequest>()

  /** @param whenPaid calls `done` at once where nothing is owed */
  constructor(private readonly whenPaid: (within: number, done: () => void) => void) {}

  get length(): number {
    return this.byMove.size
  }

  /** Calls `due`, unless another request for this move takes the place of this one, or it is taken or forgotten first. */
  add(from: NodeId, request: SessionRequest, due: () => void): void {
    const key = keyOf(from, request.move)
    this.byMove.set(key, request)
    this.whenPaid(patienceOf(request), () => {
      if (this.byMove.get(key) !== request) return
      this.byMove.delete(key)
      due()
    })
  }

  /** It waits no longer. */
  take(from: NodeId, move: number): SessionRequest | undefined {
    const key = keyOf(from, move)
    const request = this.byMove.get(key)
    this.byMove.delete(key)
    return request
  }

  /** The node is gone, or has a new link, on which it asks again. */
  forget(node: NodeId): void {
    for (const key of this.byMove.keys()) if (key.startsWith(`${node} `)) this.byMove.delete(key)
  }
}

/** It is answered while the node still listens, which has a client that waits. */
function patienceOf({ patience }: SessionRequest): number {
  return patience === undefined ? SHORTEST_MS : Math.min(LONGEST_MS, patience / 2)
}

function keyOf(node: NodeId, move: number): string {
  return `${node} ${move}`
}
