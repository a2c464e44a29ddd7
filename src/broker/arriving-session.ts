/** A session that arrives from another node, or from the store of one that is down. See `ArrivingSession`. */

import type { Hold, Session, Share } from '../mqtt/session/session.js'
import type { Message } from '../mqtt/wire/message.js'
import type { NodeId } from '../router/route-table.js'
import { ArrivalGate } from './move-gates.js'
import type {
  ArrivingSession,
  MovedInFlight,
  MovedMessage,
  MovedState,
  MovedSubscription,
  MovedWaits,
} from './move-ports.js'
import { MovedQos2 } from './moved-qos2.js'
import type { SessionMovesModules } from './session-moves.js'
import type { ArmedWill, Deadlines, SessionEntry } from './session-registry.js'

export class Arriving implements ArrivingSession {
  private readonly gate: ArrivalGate
  private readonly session: Session
  /** What it has waited for at the other node, if its client does not come. */
  private waits: { readonly deadlines: Deadlines; readonly will: ArmedWill | undefined } | undefined

  /** @param estate the node that is down, of a session that was inherited */
  constructor(
    private readonly entry: SessionEntry,
    private readonly modules: SessionMovesModules,
    estate?: NodeId,
  ) {
    this.session = entry.session
    this.gate = new ArrivalGate(modules.source, this.session.deliver.bind(this.session), estate)
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
    const refused = new Set(state.refused)
    for (const packetId of state.received)
      session.inboundQos2.add(packetId, new MovedQos2(!unsettled.has(packetId), refused.has(packetId), timers))
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
    this.gate.cut(node)
  }

  holdBack(node: NodeId): void {
    this.gate.holdBack(node)
  }

  release(node: NodeId): void {
    this.gate.release(node)
  }

  openGate(): void {
    this.gate.open()
    if (this.session.gate === this.gate) this.session.gate = undefined
  }

  take(message: Message, pending: Hold | undefined): void {
    this.modules.deliverPassedOn(this.session, message, pending)
  }

  redirect(pass: ((message: Message, pending: Hold | undefined) => void) | undefined): void {
    this.gate.redirect(pass)
  }

  get isOver(): boolean {
    return this.session.isEnded
  }

  endQueue(): void {
    this.session.endArrival()
  }

  finish(keepsGate = false): void {
    if (!keepsGate) this.openGate()
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
