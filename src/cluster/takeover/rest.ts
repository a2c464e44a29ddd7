/**
 * What a node still gets for a session that it has given away: of nodes whose mark is missing, since they are silent or
 * cut off, only this node may have the routes, and what they have sent here before their mark is the session's by this
 * node. It goes to the taker in the numbered lane, each message for that session only, and behind the last of a node a
 * mark that says so. The sender is answered when the taker has it. [docs/decisions/029]
 */

import type { LeavingSession, SessionRest } from '../../broker/move-ports.js'
import type { PendingPublish } from '../../broker/ports.js'
import type { Hold } from '../../mqtt/session/session.js'
import type { Message } from '../../mqtt/wire/message.js'
import type { NodeId } from '../../router/route-table.js'
import { passedOnHead } from '../entry-extension.js'
import type { TakeoverMark } from '../wire.js'
import type { Aftermath } from './aftermath.js'

/** Sessions for which messages are passed on, at most; of one more, what comes late is lost, and that is counted. */
export const MAXIMUM_RESTS = 10_000

export interface RestModules {
  /** Into the numbered lane to a peer, or to its hints. */
  readonly passOn: (to: NodeId, message: Message, head: Buffer, pending: PendingPublish | undefined) => void
  readonly mark: (to: NodeId, mark: TakeoverMark) => void
  /** A message was passed on. */
  readonly onPassed: () => void
  /** So many were not: nobody would get them. */
  readonly onDropped: (messages: number) => void
}

/** What was sent here is not kept by anybody before the taker has it: positions of this node must not say that it is. */
class Passing implements PendingPublish {
  constructor(private readonly pending: Hold) {}

  hold(): void {
    this.pending.hold()
    this.pending.defer?.()
  }

  release(): void {
    this.pending.resume?.()
    this.pending.release()
  }
}

interface Waiting {
  readonly message: Message
  readonly pending: Passing | undefined
}

export class Rest {
  /** Nodes of which something may still come to be passed on. */
  private readonly open: Set<NodeId>
  /** Until the taker has the session: it may stay here. None of their senders is answered, so these do not send many. */
  private waiting: Waiting[] | undefined = []
  private readonly inBroker: SessionRest
  private isEnded = false

  /**
   * @param nodes whose marks are missing
   * @param before the session had come from elsewhere, and messages still come from there
   */
  constructor(
    readonly taker: NodeId,
    readonly move: number,
    private readonly session: LeavingSession,
    private readonly nodes: Set<NodeId>,
    private readonly before: Aftermath | undefined,
    private readonly modules: RestModules,
  ) {
    this.open = new Set([...nodes, ...(before?.nodes() ?? [])])
    const pass = (message: Message, pending: Hold | undefined): void => this.pass(message, pending)
    this.inBroker = session.leaveRest(nodes, pass)
    before?.goOn(this)
  }

  get clientId(): string {
    return this.session.clientId
  }

  get isOver(): boolean {
    return this.isEnded
  }

  /** Nodes that the taker has to expect messages of. */
  get unmarked(): string[] {
    return [...this.open]
  }

  /** Messages that wait until the taker has the session. */
  get waitingCount(): number {
    return this.waiting === undefined ? 0 : this.waiting.length
  }

  pass(message: Message, pending: Hold | undefined): void {
    if (this.isEnded) return this.modules.onDropped(1)
    const passing = pending && new Passing(pending)
    if (this.waiting === undefined) return this.send(message, passing)
    passing?.hold()
    this.waiting.push({ message: message.detach(), pending: passing })
  }

  /** That node's messages are the taker's from here on, or none come any more. */
  marked(node: NodeId): void {
    if (!this.nodes.delete(node)) return
    this.inBroker.cut(node)
    this.look(node)
  }

  /** Whether something of that node may still have to be passed on; if not, the taker is told. */
  look(node: NodeId): void {
    if (this.waiting !== undefined || this.nodes.has(node) || this.before?.isOpenFor(node) === true) return
    if (!this.open.delete(node)) return
    this.modules.mark(this.taker, { move: this.move, taker: this.taker, restOf: node })
    if (this.open.size === 0) this.end()
  }

  /** The taker has the session: what comes is its. */
  begin(): void {
    const waiting = this.waiting ?? []
    this.waiting = undefined
    for (const { message, pending } of waiting) {
      this.send(message, pending)
      pending?.release()
    }
    for (const node of this.unmarked) this.look(node)
    if (this.open.size === 0) this.end()
  }

  /** The session stays here after all, and has been restored. */
  giveBack(): void {
    const waiting = this.waiting ?? []
    this.waiting = undefined
    this.before?.goOn(undefined)
    this.end()
    for (const { message, pending } of waiting) {
      this.session.take(message, pending)
      pending?.release()
    }
  }

  /** No more is passed on; idempotent. */
  end(): void {
    if (this.isEnded) return
    this.isEnded = true
    this.inBroker.end()
    const waiting = this.waiting ?? []
    this.waiting = undefined
    if (waiting.length > 0) this.modules.onDropped(waiting.length)
    for (const { pending } of waiting) pending?.release()
  }

  /** Looks whether the taker is no member any more, or nothing of the others can come. */
  checkMembers(members: ReadonlySet<NodeId>, debtors: ReadonlySet<NodeId>): void {
    if (!members.has(this.taker)) return this.end()
    for (const node of [...this.nodes]) if (!debtors.has(node)) this.marked(node)
    for (const node of [...this.open]) this.look(node)
  }

  private send(message: Message, pending: Passing | undefined): void {
    const { clientId } = this.session
    const { move } = this
    this.modules.onPassed()
    this.modules.passOn(this.taker, message, passedOnHead(message.publisherId, { move, clientId }), pending)
  }
}
