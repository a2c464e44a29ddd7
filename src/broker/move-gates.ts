/**
 * Which messages a session takes while it moves: at the node that it leaves those that a node has sent before its mark,
 * at the node where it arrives those behind it. A mark may be late, since its node is silent or cut off: then the gate
 * stays, the node that the session has left passes on what is before the mark, and what is behind it is held back until
 * that is done. [docs/decisions/029]
 */

import type { DeliveryGate, DeliveryOptions, Hold } from '../mqtt/session/session.js'
import type { Message } from '../mqtt/wire/message.js'
import type { NodeId } from '../router/route-table.js'
import type { DeliverySource } from './delivery-source.js'
import type { Subscriber } from './subscriber.js'

/** To the session itself, for one of its subscriptions. */
type Deliver = (message: Message, delivery: DeliveryOptions, pending: Hold | undefined) => void

/** To the node where the session has gone on to, for all of its subscriptions. */
type Pass = (message: Message, pending: Hold | undefined) => void

/** A message from behind a mark, while what is before it may still come; its sender is not answered. */
interface HeldBack {
  readonly message: Message
  readonly delivery: DeliveryOptions
  readonly pending: Hold | undefined
}

/** Messages, and bytes of their payloads, that are kept for a session that leaves, at most. */
const SPARE_MESSAGES = 10_000
const SPARE_BYTES = 8 * 1024 * 1024

/**
 * Copies of what is the taker's, as long as the session is still here, in the order in which it came: should the taker
 * end before it has said that it has the session, nobody else has them for it.
 */
export class SpareMessages {
  private messages: Message[] = []
  private bytes = 0
  private last: WeakRef<Message> | undefined

  /** @param onDropped there is no room for one more */
  constructor(
    private readonly source: DeliverySource,
    private readonly onDropped: () => void,
  ) {}

  add(message: Message): void {
    // With several subscriptions that match it comes several times.
    if (message.qos === 0 || this.last?.deref() === message) return
    this.last = new WeakRef(message)
    const size = message.payloadEnd - message.payloadStart
    if (this.messages.length >= SPARE_MESSAGES || this.bytes + size > SPARE_BYTES) return this.onDropped()
    this.bytes += size
    this.messages.push(message.detach())
    this.source.waiting.spares += 1
  }

  /** All of them, which are not kept any longer. */
  take(): Message[] {
    const { messages } = this
    this.source.waiting.spares -= messages.length
    this.messages = []
    this.bytes = 0
    return messages
  }
}

/** At the node that the session leaves. */
export class LeavingGate implements DeliveryGate {
  readonly cuts = new Set<NodeId>()

  /** @param before the session has come from elsewhere, and not all of that move is over */
  constructor(
    private readonly source: DeliverySource,
    readonly before: DeliveryGate | undefined,
    private readonly spares: SpareMessages,
  ) {
    source.watchers += 1
  }

  admits(message: Message, delivery: DeliveryOptions, pending: Hold | undefined): boolean {
    const { node, estate, isPassedOn } = this.source
    if (isPassedOn) return true
    if (estate !== undefined) return false
    if (this.cuts.has(node)) {
      this.spares.add(message)
      return false
    }
    return this.before === undefined || this.before.admits(message, delivery, pending)
  }

  close(): void {
    this.source.watchers -= 1
  }
}

/** At the node where the session arrives. */
export class ArrivalGate implements DeliveryGate {
  private readonly cuts = new Set<NodeId>()
  /** Those that are asked to say from when on; undefined while nobody is. */
  private awaited: Set<NodeId> | undefined
  /** Of these what is before their mark may come after what is behind it. */
  private readonly late = new Set<NodeId>()
  private readonly held = new Map<NodeId, HeldBack[]>()
  private isClosed = false
  private pass: Pass | undefined

  /**
   * @param deliver to the session, what was held back
   * @param estate the node, now down, from which the session was inherited
   */
  constructor(
    private readonly source: DeliverySource,
    private readonly deliver: Deliver,
    private readonly estate?: NodeId,
  ) {
    source.watchers += 1
  }

  await(nodes: Iterable<NodeId>): void {
    this.awaited = new Set(nodes)
  }

  cut(node: NodeId): void {
    this.cuts.add(node)
  }

  /** What comes from behind its mark is held back until `release`. */
  holdBack(node: NodeId): void {
    this.late.add(node)
  }

  release(node: NodeId): void {
    this.late.delete(node)
    const held = this.held.get(node)
    this.held.delete(node)
    this.source.waiting.heldBack -= held?.length ?? 0
    let last: Message | undefined
    for (const { message, delivery, pending } of held ?? []) {
      if (this.pass === undefined) this.source.passOn(() => this.deliver(message, delivery, pending))
      // With several subscriptions that match it was held back several times; where it goes it is for all of them.
      else if (message !== last) this.pass(message, pending)
      last = message
      pending?.resume?.()
      pending?.release()
    }
  }

  /** The session has gone on to another node: what is held back follows it; undefined: it stays after all. */
  redirect(pass: Pass | undefined): void {
    this.pass = pass
  }

  admits(message: Message, delivery: DeliveryOptions, pending: Hold | undefined): boolean {
    const { node, estate, isPassedOn } = this.source
    if (isPassedOn || this.isClosed) return true
    // What was owed to the node that is down stands for what came here before the mark.
    if (estate !== undefined) return estate === this.estate && !this.cuts.has(node)
    if (this.awaited !== undefined && !this.awaited.has(node)) return true
    if (!this.cuts.has(node)) return false
    if (message.qos === 0 || !this.late.has(node)) return true
    this.hold(node, { message: message.detach(), delivery, pending })
    return false
  }

  /** From now on everything is admitted; idempotent. */
  open(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.source.watchers -= 1
    for (const node of [...this.late]) this.release(node)
  }

  /** As many as its sender may have unacknowledged on the link, at most: none of them is acknowledged. */
  private hold(node: NodeId, item: HeldBack): void {
    item.pending?.hold()
    item.pending?.defer?.()
    this.source.waiting.heldBack += 1
    const held = this.held.get(node)
    if (held === undefined) this.held.set(node, [item])
    else held.push(item)
  }
}

/** Stands for a session of which all is sent, until the node that it goes to has it. */
export class SpareSubscriber implements Subscriber {
  readonly isAttached = false
  readonly isBusy = false

  constructor(
    private readonly source: DeliverySource,
    private readonly gate: LeavingGate,
    private readonly spares: SpareMessages,
  ) {}

  deliver(message: Message): void {
    const { node, estate, isPassedOn } = this.source
    if (!isPassedOn && estate === undefined && this.gate.cuts.has(node)) this.spares.add(message)
  }
}

/** Stands for a session that has gone to another node, as long as messages may come here that are still to follow it. */
export class RestSubscriber implements Subscriber {
  readonly isAttached = false
  readonly isBusy = false
  /** The last that was passed on: with several subscriptions that match it comes several times. */
  private last: WeakRef<Message> | undefined

  /** @param nodes whose messages are still the session's by this node */
  constructor(
    private readonly nodes: Set<NodeId>,
    private readonly before: DeliveryGate | undefined,
    private readonly source: DeliverySource,
    private readonly pass: (message: Message, pending: Hold | undefined) => void,
  ) {
    source.watchers += 1
  }

  deliver(message: Message, delivery: DeliveryOptions, pending: Hold | undefined): void {
    const { node, estate, isPassedOn } = this.source
    if (message.qos === 0 || isPassedOn || estate !== undefined || !this.nodes.has(node)) return
    if (this.last?.deref() === message) return
    if (this.before?.admits(message, delivery, pending) === false) return
    this.last = new WeakRef(message)
    this.pass(message, pending)
  }

  cut(node: NodeId): void {
    this.nodes.delete(node)
  }

  close(): void {
    this.source.watchers -= 1
  }
}
