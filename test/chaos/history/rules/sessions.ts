/** Which sessions have to be there, which cannot be, and since when which subscription counts. */

import type { Found, Rule } from '../checker.js'
import { type EventOf, type HistoryEvent, WHOLE_NETWORK } from '../events.js'
import type { Guarantees } from '../guarantees.js'

/** A session as its client may expect it. */
export class ClientSession {
  /**
   * Filter → since when messages are promised: its SUBACK, and later when its node was not heard by all, or the session had
   * to be found again.
   */
  readonly subscriptions = new Map<string, EventOf<'subscribed' | 'connected' | 'healed'>>()
  /** Filter → its SUBACK. */
  readonly subscribed = new Map<string, EventOf<'subscribed'>>()
  /** The connection with which it began. */
  began: EventOf<'connected'> | undefined
  /** Where the client was let in last. */
  node = ''
  /** Where it was before, as long as something may be on its way from there. */
  private before = ''
  private movedAt = 0
  connection: number | undefined
  /** Attempts that have no answer: the session may be on its way. */
  readonly attempts = new Map<number, EventOf<'connect'>>()
  /** A CONNECT came to its end without an answer: a node may have begun a session all the same. */
  mayHaveBegun = false
  /** It may be gone with its node: nothing is promised until the client is back. */
  mayBeGone = false

  constructor(readonly client: string) {}

  isOn(node: string, at: number, moveMs: number): boolean {
    if (this.node === node || (this.before === node && at - this.movedAt < moveMs)) return true
    return [...this.attempts.values()].some((attempt) => attempt.node === node)
  }

  arrive({ node, at, connection }: EventOf<'connected'>): void {
    if (this.node !== node) {
      this.before = this.node
      this.movedAt = at
    }
    this.node = node
    this.connection = connection
  }
}

export class Sessions implements Rule {
  private readonly sessions = new Map<string, ClientSession>()
  /** Nodes that others may not hear: SUBACK does not wait for those who are away. */
  private readonly unheard = new Set<string>()
  private isSplit = false

  constructor(
    private readonly guarantees: Guarantees,
    private readonly found: Found,
  ) {}

  /** Those that have subscribed and that must have everything. */
  *promised(): Generator<ClientSession> {
    for (const session of this.sessions.values()) if (!session.mayBeGone) yield session
  }

  of(client: string): ClientSession | undefined {
    return this.sessions.get(client)
  }

  take(event: HistoryEvent): void {
    switch (event.kind) {
      case 'connect':
        this.obtain(event.client).attempts.set(event.connection, event)
        break
      case 'connected':
        this.connected(event)
        break
      case 'closed':
        this.closed(event)
        break
      case 'subscribed': {
        const session = this.obtain(event.client)
        session.subscribed.set(event.filter, event)
        if (this.isHeard(session.node)) session.subscriptions.set(event.filter, event)
        break
      }
      case 'fault':
        this.fault(event)
        break
      case 'healed':
        this.healed(event)
        break
      default:
    }
  }

  private isHeard(node: string): boolean {
    return !this.isSplit && !this.unheard.has(node)
  }

  private obtain(client: string): ClientSession {
    let session = this.sessions.get(client)
    if (session === undefined) {
      session = new ClientSession(client)
      this.sessions.set(client, session)
    }
    return session
  }

  private connected(event: EventOf<'connected'>): void {
    const session = this.obtain(event.client)
    const attempt = session.attempts.get(event.connection)
    session.attempts.delete(event.connection)
    this.judgePresent(session, event)
    if (event.clean) return
    if (event.sessionPresent) {
      // It was not gone. What was published meanwhile was not promised to be in it, nor what is before it is heard of again.
      if (session.mayBeGone) {
        for (const filter of session.subscribed.keys()) {
          if (this.isHeard(event.node)) session.subscriptions.set(filter, event)
          else session.subscriptions.delete(filter)
        }
      }
    } else {
      const isGivenUp =
        attempt !== undefined && session.node !== event.node && event.at - attempt.at >= this.guarantees.answerMs
      if (session.began !== undefined && !session.mayBeGone && !isGivenUp) {
        this.found({
          kind: 'session lost',
          key: `session lost: ${event.client}, connection ${event.connection}`,
          text: `${event.client} comes to ${event.node}, and its session is not there`,
          evidence: [session.began, event],
        })
      }
      session.began = event
      session.subscriptions.clear()
      session.subscribed.clear()
    }
    session.mayBeGone = false
    session.arrive(event)
  }

  private judgePresent({ began, mayHaveBegun }: ClientSession, event: EventOf<'connected'>): void {
    if (!event.sessionPresent || (!event.clean && (began !== undefined || mayHaveBegun))) return
    const why = event.clean ? 'it wants none' : 'it never had one'
    this.found({
      kind: 'session from nowhere',
      key: `session from nowhere: ${event.client}, connection ${event.connection}`,
      text: `${event.client} is told by ${event.node} that its session is there, and ${why}`,
      evidence: [event],
    })
  }

  private closed({ client, connection }: EventOf<'closed'>): void {
    const session = this.sessions.get(client)
    if (session === undefined) return
    if (session.attempts.delete(connection)) session.mayHaveBegun = true
    if (session.connection === connection) session.connection = undefined
  }

  private healed(event: EventOf<'healed'>): void {
    this.isSplit = false
    this.unheard.clear()
    for (const { subscribed, subscriptions } of this.sessions.values()) {
      for (const filter of subscribed.keys()) if (!subscriptions.has(filter)) subscriptions.set(filter, event)
    }
  }

  private fault({ fault, nodes, at }: EventOf<'fault'>): void {
    const { sessionsOutliveKill, awaySessionsOutliveDrain, moveMs } = this.guarantees
    if (fault === 'killed' || fault === 'drained') for (const node of nodes) this.unheard.add(node)
    else if (!WHOLE_NETWORK.has(fault)) this.isSplit = true
    for (const session of this.sessions.values()) {
      if (!nodes.some((node) => session.isOn(node, at, moveMs))) continue
      if (fault === 'killed' && !sessionsOutliveKill) session.mayBeGone = true
      if (fault === 'drained' && session.connection === undefined && !awaySessionsOutliveDrain) session.mayBeGone = true
    }
  }
}
