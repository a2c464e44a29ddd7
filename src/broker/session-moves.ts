/**
 * Sessions that move between nodes, as the broker sees them: one that leaves is frozen where it is until the other node
 * has it, one that arrives is a session without a connection, which gets its queue from elsewhere.
 *
 * While both nodes are subscribed for it, each message is taken by one of them: both know for every node from which
 * message on its messages are the taker's (see `cluster/takeover`), and a gate in the session keeps to that.
 */

import type { Hold, Session } from '../mqtt/session/session.js'
import type { Message } from '../mqtt/wire/message.js'
import type { Will } from '../mqtt/wire/packets.js'
import type { NodeId } from '../router/route-table.js'
import type { SharedGroups } from '../router/shared-groups.js'
import type { Logger } from '../telemetry/logger.js'
import type { TimerWheel } from '../util/timer-wheel.js'
import { Arriving } from './arriving-session.js'
import type { DelayedMessages } from './delayed.js'
import type { DeliverySource } from './delivery-source.js'
import type { Estate } from './estate-port.js'
import { type EstateContents, readEstate } from './kept/inherited-sessions.js'
import { Leaving } from './leaving-session.js'
import type { ArrivingSession, InheritedSession, LeavingSession, OfferedSession, SessionMoves } from './move-ports.js'
import { MovedQos2 } from './moved-qos2.js'
import type { ArmedWill, SessionEntry } from './session-registry.js'
import type { SubscriptionDesk } from './subscribe.js'
import type { Subscriber } from './subscriber.js'

/** Has sessions of other nodes come here without their clients; see `SessionOpener`. */
export interface SessionAdopter {
  /** See `SessionMoves.adopt`. */
  adopt(session: OfferedSession, from: NodeId): boolean
}

/** What moves ask of the sessions by client ID; see `LocalSessions`. */
export interface MovableSessions {
  find(clientId: string): SessionEntry | undefined
  all(): Iterable<SessionEntry>
  publishWill(armed: ArmedWill): void
  /** Its client stays away: other nodes are to know the will that waits, if one does. */
  keepWaiting(entry: SessionEntry): void
  /** Whether the client may publish the will that waits. */
  mayPublishWill(armed: ArmedWill): boolean
  /** A new session without a connection. */
  make(clientId: string, epoch: number, owner: string | undefined): SessionEntry
  /** The session is on another node now. */
  moved(entry: SessionEntry): void
  /** It never was one, or is none any more: nothing of it is published or handed on. */
  forget(entry: SessionEntry): void
  discard(entry: SessionEntry): void
  /** All of it is here; `done` is called when it is kept, where sessions are. */
  arrived(entry: SessionEntry, done: (isKept: boolean) => void): void
  /** Calls `done` when what is known of this client by now is kept, or cannot be. */
  whenKept(clientId: string, done: (isKept: boolean) => void): void
  /** The session that was to leave stays. */
  keep(entry: SessionEntry): void
}

export interface SessionMovesModules {
  readonly sessions: MovableSessions
  readonly adopter: SessionAdopter
  readonly desk: SubscriptionDesk
  readonly groups: SharedGroups<Subscriber>
  readonly source: DeliverySource
  /** To one session, whatever its gate says. */
  readonly deliverPassedOn: (session: Session, message: Message, pending: Hold | undefined) => void
  /** Of what is kept for a session that leaves a message had no room. */
  readonly onSpareDropped: () => void
  readonly timers: TimerWheel
  readonly delayed: Pick<DelayedMessages, 'inherit'>
  /** Whether a client that is away may publish its will. */
  readonly mayPublishAbsent: (clientId: string, owner: string | undefined, will: Will) => boolean
  readonly log: Logger
}

export class MovingSessions implements SessionMoves {
  constructor(private readonly modules: SessionMovesModules) {}

  get hasWaiting(): boolean {
    for (const { connection } of this.modules.sessions.all()) if (connection === undefined) return true
    return false
  }

  isWaiting(clientId: string): boolean {
    const entry = this.modules.sessions.find(clientId)
    return entry !== undefined && entry.connection === undefined
  }

  countWaiting(): number {
    let count = 0
    for (const { connection } of this.modules.sessions.all()) if (connection === undefined) count += 1
    return count
  }

  *waiting(): IterableIterator<OfferedSession> {
    for (const { connection, isMoving, session, owner } of this.modules.sessions.all()) {
      if (connection === undefined && !isMoving) yield { clientId: session.clientId, owner }
    }
  }

  adopt(session: OfferedSession, from: NodeId): boolean {
    return this.modules.adopter.adopt(session, from)
  }

  leave(clientId: string, epoch: number, owner: string | undefined): LeavingSession | undefined {
    const entry = this.modules.sessions.find(clientId)
    // It is on its way here or elsewhere, or its client has come back meanwhile.
    if (entry === undefined || entry.isMoving) return undefined
    if (entry.connection !== undefined || entry.epoch > epoch) return undefined
    if (entry.owner !== owner) {
      this.modules.sessions.discard(entry)
      return undefined
    }
    return new Leaving(entry, this.modules)
  }

  arrive(clientId: string, epoch: number, owner: string | undefined): ArrivingSession {
    return new Arriving(this.modules.sessions.make(clientId, epoch, owner), this.modules)
  }

  deliverTo(clientId: string, message: Message, pending: Hold | undefined): void {
    const session = this.modules.sessions.find(clientId)?.session
    if (session !== undefined) this.modules.deliverPassedOn(session, message, pending)
  }

  has(clientId: string): boolean {
    return this.modules.sessions.find(clientId) !== undefined
  }

  readEstate(estate: Estate): Promise<EstateContents> {
    return readEstate(estate, this.modules)
  }

  whenKept(clientId: string, done: (isKept: boolean) => void): void {
    this.modules.sessions.whenKept(clientId, done)
  }

  inheritDelayed(values: readonly Buffer[]): Promise<void> {
    return new Promise((done) => this.modules.delayed.inherit(values, done))
  }

  inherit(session: InheritedSession, epoch: number, from: NodeId): ArrivingSession {
    const { clientId, owner, subscriptions, inFlight, queue } = session
    const arriving = new Arriving(this.modules.sessions.make(clientId, epoch, owner), this.modules, from)
    for (const subscription of subscriptions) arriving.subscribe(subscription)
    arriving.restore(session.state(), inFlight)
    for (const message of queue) arriving.add(message)
    return arriving
  }

  settle(clientId: string, packetIds: readonly number[], areRefused: boolean): void {
    const session = this.modules.sessions.find(clientId)?.session
    for (const packetId of packetIds) {
      const received = session?.inboundQos2.get(packetId)
      if (received instanceof MovedQos2) received.settle(areRefused)
    }
  }
}
