/**
 * What of a move is still to come when the session is a session like any other here: marks of nodes that were silent or
 * cut off, and messages that such nodes had sent to the giver, which it passes on. Until a node's mark is here its own
 * messages are passed over; until the giver has said that it has passed on all of them, what is behind the mark waits,
 * but not for long: late is better than never. When the session has gone on meanwhile, so does what comes.
 */

import type { ArrivingSession } from '../../broker/move-ports.js'
import type { Hold } from '../../mqtt/session/session.js'
import type { Message } from '../../mqtt/wire/message.js'
import type { NodeId } from '../../router/route-table.js'
import type { LinkBodyOf } from '../wire.js'
import type { Rest } from './rest.js'

/** How long what is behind a mark waits for what is before it, in milliseconds. */
const HOLD_BACK_MS = 5_000

export class Aftermath {
  private rest: Rest | undefined
  /** When what is behind its mark began to wait, by node. */
  private readonly heldSince = new Map<NodeId, number>()

  /**
   * @param unmarked whose marks are not here
   * @param owing of which the giver may have something to pass on
   */
  constructor(
    readonly clientId: string,
    readonly giver: NodeId,
    readonly move: number,
    readonly cut: LinkBodyOf<'takeoverCut'>,
    private readonly session: ArrivingSession,
    private readonly unmarked: Set<NodeId>,
    private readonly owing: Set<NodeId>,
  ) {
    const now = performance.now()
    for (const node of owing) if (!unmarked.has(node)) this.heldSince.set(node, now)
  }

  get isOver(): boolean {
    return this.unmarked.size === 0 && this.owing.size === 0
  }

  /** Nobody is here any more who would get what comes. */
  get isInVain(): boolean {
    return this.rest === undefined ? this.session.isOver : this.rest.isOver
  }

  /** The session has not gone on to another node. */
  get isCurrent(): boolean {
    return this.rest === undefined && !this.session.isOver
  }

  isOpenFor(node: NodeId): boolean {
    return this.unmarked.has(node) || this.owing.has(node)
  }

  nodes(): Set<NodeId> {
    return new Set([...this.unmarked, ...this.owing])
  }

  lacksMarkOf(node: NodeId): boolean {
    return this.unmarked.has(node)
  }

  /** Those whose marks are missing. */
  unmarkedNodes(): Iterable<NodeId> {
    return this.unmarked
  }

  take(message: Message, pending: Hold | undefined): void {
    if (this.rest === undefined) this.session.take(message, pending)
    else this.rest.pass(message, pending)
  }

  marked(node: NodeId): void {
    this.session.cut(node)
    if (!this.unmarked.delete(node)) return
    if (this.owing.has(node)) this.heldSince.set(node, performance.now())
    this.closeIfOver(node)
  }

  /** The giver has passed on all that it had of that node, or does not do so any more. */
  settled(node: NodeId): void {
    this.heldSince.delete(node)
    this.session.release(node)
    if (this.owing.delete(node)) this.closeIfOver(node)
  }

  /** The session leaves, with what is still to come; undefined: it stays. */
  goOn(rest: Rest | undefined): void {
    this.rest = rest
    this.session.redirect(rest === undefined ? undefined : (message, pending) => rest.pass(message, pending))
  }

  /** Nothing is expected of the giver any more: whoever sends, sends here. */
  end(): void {
    for (const node of this.nodes()) {
      this.marked(node)
      this.settled(node)
    }
    this.session.openGate()
  }

  /** What is behind marks waits no longer. */
  releaseAll(): void {
    for (const node of this.heldSince.keys()) this.session.release(node)
    this.heldSince.clear()
  }

  /** @param debtors other nodes whose messages may still come */
  checkTime(now: number, debtors: ReadonlySet<NodeId>): void {
    for (const [node, since] of this.heldSince) {
      if (now - since < HOLD_BACK_MS) continue
      this.heldSince.delete(node)
      this.session.release(node)
    }
    for (const node of this.nodes()) {
      if (debtors.has(node)) continue
      this.marked(node)
      this.settled(node)
    }
  }

  private closeIfOver(node: NodeId): void {
    if (!this.isOpenFor(node)) this.rest?.look(node)
    if (this.isOver) this.session.openGate()
  }
}
