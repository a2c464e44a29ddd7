/** A session that leaves for another node: frozen here, and whole, until it is there. See `LeavingSession`. */

import type { Hold, Session, Share } from '../mqtt/session/session.js'
import type { Message } from '../mqtt/wire/message.js'
import type { SubscriptionOptions } from '../mqtt/wire/packets.js'
import type { NodeId } from '../router/route-table.js'
import { SharedGroup } from '../router/shared-group.js'
import { LeavingGate, RestSubscriber, SpareMessages, SpareSubscriber } from './move-gates.js'
import type {
  LeavingSession,
  MovedInFlight,
  MovedMessage,
  MovedState,
  MovedSubscription,
  MovedWaits,
  SessionRest,
} from './move-ports.js'
import type { SessionMovesModules } from './session-moves.js'
import type { ArmedWill, Deadlines, SessionEntry } from './session-registry.js'

export class Leaving implements LeavingSession {
  private readonly gate: LeavingGate
  private readonly session: Session
  private readonly will: ArmedWill | undefined
  private readonly waits: Deadlines
  private readonly spares: SpareMessages
  private readonly spareSubscriber: SpareSubscriber
  /** What the session was subscribed to when all of it was sent. */
  private closedWith: ReadonlyMap<string, SubscriptionOptions> | undefined
  private isOver = false

  constructor(
    private readonly entry: SessionEntry,
    private readonly modules: SessionMovesModules,
  ) {
    this.session = entry.session
    this.spares = new SpareMessages(modules.source, modules.onSpareDropped)
    this.gate = new LeavingGate(modules.source, this.session.gate, this.spares)
    this.spareSubscriber = new SpareSubscriber(modules.source, this.gate, this.spares)
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
      refused: ids.flatMap(([packetId, { isRefused }]) => (isRefused ? [packetId] : [])),
      retainedFeeds: [...retainedFeeds],
      waits: this.remaining(),
    }
  }

  get queueLength(): number {
    return this.session.queueLength
  }

  messageAt(place: number): MovedMessage | undefined {
    const item = this.session.queuedAt(place)
    if (item !== undefined) this.session.givenUpTo = Math.max(this.session.givenUpTo, item.place)
    return item === undefined ? undefined : { ...item, share: keyOf(item.share) }
  }

  cut(node: NodeId): void {
    this.gate.cuts.add(node)
  }

  leaveRest(nodes: Iterable<NodeId>, pass: (message: Message, pending: Hold | undefined) => void): SessionRest {
    return new Rest(this.session, new Set(nodes), this.gate, pass, this.modules)
  }

  close(): void {
    if (this.closedWith !== undefined) return
    this.closedWith = new Map(this.session.subscriptions)
    this.modules.desk.follow(this.spareSubscriber, this.closedWith)
    this.modules.desk.unsubscribeAll(this.session)
  }

  take(message: Message, pending: Hold | undefined): void {
    this.modules.deliverPassedOn(this.session, message, pending)
  }

  watchUnsettled(settled: (packetId: number, isRefused: boolean) => void): void {
    for (const [packetId, received] of this.session.describe().received) {
      if (received.isSettled) continue
      received.addFollower({ hold() {}, refuse() {}, release: () => settled(packetId, received.isRefused) })
    }
  }

  commit(): void {
    if (!this.leaveGate()) return
    this.spares.take()
    this.modules.sessions.moved(this.entry)
  }

  end(): void {
    if (!this.leaveGate()) return
    this.spares.take()
    if (this.will !== undefined) this.modules.sessions.publishWill(this.will)
    this.modules.sessions.moved(this.entry)
  }

  abort(takesSpares = false): void {
    if (!this.leaveGate()) return
    const spares = this.spares.take()
    if (this.session.isEnded) return
    this.session.gate = this.gate.before
    // Those that `close` has taken away; the others are there already.
    for (const [filter, options] of this.session.subscriptions) {
      this.modules.desk.restore(this.session, filter, options)
    }
    this.entry.waitUntil(this.waits, this.will)
    if (takesSpares) for (const message of spares) this.take(message, undefined)
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
    if (this.closedWith !== undefined) this.modules.desk.unfollow(this.spareSubscriber, this.closedWith)
    this.gate.close()
    this.entry.isMoving = false
    return true
  }
}

/** Keeps the routes of the session here until nothing is to follow it any more. */
class Rest implements SessionRest {
  private readonly subscriber: RestSubscriber
  private readonly subscriptions: ReadonlyMap<string, SubscriptionOptions>
  private isOver = false

  constructor(
    session: Session,
    nodes: Set<NodeId>,
    gate: LeavingGate,
    pass: (message: Message, pending: Hold | undefined) => void,
    private readonly modules: SessionMovesModules,
  ) {
    this.subscriptions = new Map(session.subscriptions)
    this.subscriber = new RestSubscriber(nodes, gate.before, modules.source, pass)
    modules.desk.follow(this.subscriber, this.subscriptions)
  }

  cut(node: NodeId): void {
    this.subscriber.cut(node)
  }

  end(): void {
    if (this.isOver) return
    this.isOver = true
    this.subscriber.close()
    this.modules.desk.unfollow(this.subscriber, this.subscriptions)
  }
}

function keyOf(share: Share | undefined): string | undefined {
  return share?.group instanceof SharedGroup ? share.group.key : undefined
}
