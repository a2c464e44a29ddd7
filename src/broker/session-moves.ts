/**
 * Sessions that move between nodes, as the broker sees them: one that leaves is frozen where it is until the other node
 * has it, one that arrives is a session without a connection, which gets its queue from elsewhere.
 *
 * While both nodes are subscribed for it, each message is taken by one of them: both know for every node from which
 * message on its messages are the taker's (see `cluster/takeover`), and a `MoveGate` in the session keeps to that.
 */

import type { DeliveryGate, Session, Share } from '../mqtt/session/session.js'
import type { Will } from '../mqtt/wire/packets.js'
import type { NodeId } from '../router/route-table.js'
import { SharedGroup } from '../router/shared-group.js'
import type { SharedGroups } from '../router/shared-groups.js'
import type { Logger } from '../telemetry/logger.js'
import type { TimerWheel } from '../util/timer-wheel.js'
import type { DelayedMessages } from './delayed.js'
import type { Estate } from './estate-port.js'
import { type EstateContents, readEstate } from './kept/inherited-sessions.js'
import type {
  ArrivingSession,
  InheritedSession,
  LeavingSession,
  MovedInFlight,
  MovedMessage,
  MovedState,
  MovedSubscription,
  MovedWaits,
  OfferedSession,
  SessionMoves,
} from './move-ports.js'
import { MovedQos2 } from './moved-qos2.js'
import type { DeliverySource } from './publish.js'
import type { ArmedWill, Deadlines, SessionEntry } from './session-registry.js'
import type { SubscriptionDesk } from './subscribe.js'
import type { Subscriber } from './subscriber.js'

/** What moves ask of the sessions by client ID; see `SessionOpener`. */
export interface MovableSessions {
  find(clientId: string): SessionEntry | undefined
  all(): Iterable<SessionEntry>
  /** See `SessionMoves.adopt`. */
  adopt(session: OfferedSession, from: NodeId): boolean
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
  readonly desk: SubscriptionDesk
  readonly groups: SharedGroups<Subscriber>
  readonly source: DeliverySource
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
    return this.modules.sessions.adopt(session, from)
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

  settle(clientId: string, packetIds: readonly number[]): void {
    const session = this.modules.sessions.find(clientId)?.session
    for (const packetId of packetIds) {
      const received = session?.inboundQos2.get(packetId)
      if (received instanceof MovedQos2) received.settle()
    }
  }
}

/** Of one session: which nodes' messages the taker gets. */
class MoveGate implements DeliveryGate {
  readonly cuts = new Set<NodeId>()
  /** On the taker: those that are asked to say from when on; undefined while nobody is. */
  private awaited: Set<NodeId> | undefined

  /** @param estate the node, now down, from which the session was inherited */
  constructor(
    private readonly source: DeliverySource,
    private readonly isTaker: boolean,
    private readonly estate?: NodeId,
  ) {
    source.watchers += 1
  }

  await(nodes: Iterable<NodeId>): void {
    this.awaited = new Set(nodes)
  }

  admits(): boolean {
    const { node, estate } = this.source
    // What was owed to the node that is down stands for what came here before the mark.
    if (estate !== undefined) return estate === this.estate && !this.cuts.has(node)
    if (!this.isTaker) return !this.cuts.has(node)
    return this.cuts.has(node) || (this.awaited !== undefined && !this.awaited.has(node))
  }

  close(): void {
    this.source.watchers -= 1
  }
}

class Leaving implements LeavingSession {
  private readonly gate: MoveGate
  private readonly session: Session
  private readonly will: ArmedWill | undefined
  private readonly waits: Deadlines
  private isOver = false

  constructor(
    private readonly entry: SessionEntry,
    private readonly modules: SessionMovesModules,
  ) {
    this.session = entry.session
    this.gate = new MoveGate(modules.source, false)
    this.session.gate = this.gate
    entry.isMoving = true
    this.waits = entry.deadlines
    this.will = entry.takeWill()
    entry.resume()
  }

  get clientId(): string {
    return this.session.clientId
  }

  get subscriptions(): Iterable<MovedSubscription> {
    return Array.from(this.session.subscriptions, ([filter, options]) => ({ filter, options }))
  }

  get inFlight(): Iterable<MovedInFlight> {
    const { session } = this
    return Array.from(session.describe().inFlight, (packet) => ({
      ...packet,
      message: session.messageOf(packet),
      share: keyOf(packet.share),
    }))
  }

  get state(): MovedState {
    const { expiryInterval, lastPacketId, received, retainedFeeds } = this.session.describe()
    const ids = [...received]
    return {
      expiryInterval,
      lastPacketId,
      received: ids.map(([packetId]) => packetId),
      unsettled: ids.flatMap(([packetId, { isSettled }]) => (isSettled ? [] : [packetId])),
      retainedFeeds: [...retainedFeeds],
      waits: this.remaining(),
    }
  }

  get queueLength(): number {
    return this.session.queueLength
  }

  messageAt(place: number): MovedMessage | undefined {
    const item = this.session.queuedAt(place)
    return item === undefined ? undefined : { ...item, share: keyOf(item.share) }
  }

  cut(node: NodeId): void {
    this.gate.cuts.add(node)
  }

  close(): void {
    this.modules.desk.unsubscribeAll(this.session)
  }

  watchUnsettled(settled: (packetId: number) => void): void {
    for (const [packetId, received] of this.session.describe().received) {
      if (!received.isSettled) received.addFollower({ hold() {}, refuse() {}, release: () => settled(packetId) })
    }
  }

  commit(): void {
    if (!this.leaveGate()) return
    this.modules.sessions.moved(this.entry)
  }

  end(): void {
    if (!this.leaveGate()) return
    if (this.will !== undefined) this.modules.sessions.publishWill(this.will)
    this.modules.sessions.moved(this.entry)
  }

  abort(): void {
    if (!this.leaveGate() || this.session.isEnded) return
    this.session.gate = undefined
    // Those that `close` has taken away; the others are there already.
    for (const [filter, options] of this.session.subscriptions) {
      this.modules.desk.restore(this.session, filter, options)
    }
    this.entry.waitUntil(this.waits, this.will)
    this.modules.sessions.keep(this.entry)
  }

  private remaining(): MovedWaits {
    const { waits, will } = this
    const now = performance.now()
    const isWillMoved = will !== undefined && this.modules.sessions.mayPublishWill(will)
    return {
      endsIn: waits.endsAt - now,
      will: isWillMoved ? { will: will.will, dueIn: waits.willAt - now } : undefined,
    }
  }

  private leaveGate(): boolean {
    if (this.isOver) return false
    this.isOver = true
    this.gate.close()
    this.entry.isMoving = false
    return true
  }
}

class Arriving implements ArrivingSession {
  private readonly gate: MoveGate
  private readonly session: Session
  private hasGate = true
  /** What it has waited for at the other node, if its client does not come. */
  private waits: { readonly deadlines: Deadlines; readonly will: ArmedWill | undefined } | undefined

  /** @param estate the node that is down, of a session that was inherited */
  constructor(
    private readonly entry: SessionEntry,
    private readonly modules: SessionMovesModules,
    estate?: NodeId,
  ) {
    this.session = entry.session
    this.gate = new MoveGate(modules.source, true, estate)
    this.session.gate = this.gate
    this.session.beginArrival()
    entry.isMoving = true
  }

  subscribe({ filter, options }: MovedSubscription): void {
    this.modules.desk.restore(this.session, filter, options)
  }

  restore(state: MovedState, inFlight: readonly MovedInFlight[]): void {
    const { session } = this
    session.expiryInterval = state.expiryInterval
    if (state.waits !== undefined) this.waits = this.waitsOf(state.waits)
    const packets = inFlight.map((packet) => ({ ...packet, share: this.groupOf(packet.share) }))
    session.restoreInFlight(packets, state.lastPacketId)
    const { timers } = this.modules
    const unsettled = new Set(state.unsettled)
    for (const packetId of state.received)
      session.inboundQos2.add(packetId, new MovedQos2(!unsettled.has(packetId), timers))
    for (const filter of state.retainedFeeds) this.modules.desk.resumeRetained(session, filter)
  }

  add(message: MovedMessage): void {
    this.session.addMoved({ ...message, share: this.groupOf(message.share) })
    this.session.pump()
  }

  await(nodes: Iterable<NodeId>): void {
    this.gate.await(nodes)
  }

  cut(node: NodeId): void {
    this.gate.cuts.add(node)
  }

  openGate(): void {
    if (!this.hasGate) return
    this.hasGate = false
    this.gate.close()
    this.session.gate = undefined
  }

  endQueue(): void {
    this.session.endArrival()
  }

  finish(): void {
    this.openGate()
    this.entry.isMoving = false
    this.session.endArrival()
    if (this.entry.kept === undefined) this.modules.sessions.arrived(this.entry, () => undefined)
    const { connection, isWaiting } = this.entry
    if (connection !== undefined || isWaiting || this.session.isEnded) return
    if (this.waits === undefined) this.entry.wait(undefined)
    else {
      this.entry.waitUntil(this.waits.deadlines, this.waits.will)
      this.modules.sessions.keepWaiting(this.entry)
    }
  }

  whenKept(done: (isKept: boolean) => void): void {
    this.modules.sessions.arrived(this.entry, done)
  }

  drop(): void {
    this.openGate()
    this.entry.isMoving = false
    this.modules.sessions.forget(this.entry)
  }

  private waitsOf({ endsIn, will }: MovedWaits): NonNullable<Arriving['waits']> {
    const now = performance.now()
    const { clientId } = this.session
    return {
      deadlines: { endsAt: now + endsIn, willAt: now + (will?.dueIn ?? Number.POSITIVE_INFINITY) },
      will: will && { will: will.will, clientId, connection: undefined },
    }
  }

  /** The group here, of which the session is a member by now. */
  private groupOf(key: string | undefined): Share | undefined {
    return key === undefined ? undefined : this.modules.groups.get(key)
  }
}

function keyOf(share: Share | undefined): string | undefined {
  return share?.group instanceof SharedGroup ? share.group.key : undefined
}
