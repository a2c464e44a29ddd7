/**
 * What happens to a message once the broker has it: retain, match, deliver here, forward to the peers that want it.
 * Whoever has yet to keep a QoS 1 or 2 message takes a hold on `pending`; the acknowledgement is the caller's.
 */

import type { DeliveryOptions, Hold, Keeping } from '../mqtt/session/session.js'
import { Message } from '../mqtt/wire/message.js'
import type { GroupTargets } from '../router/group-targets.js'
import type { Match, MatchCache } from '../router/match-cache.js'
import type { SharedGroups } from '../router/shared-groups.js'
import type { DeliverySource } from './delivery-source.js'
import { GroupDelivery } from './group-delivery.js'
import type { BrokerMetrics } from './metrics.js'
import type { ForwardedSink, Forwarder, NodeId, PendingPublish, Receipts } from './ports.js'
import type { RetainedMessages } from './retained.js'
import type { DeliveryFilter, Subscriber } from './subscriber.js'
import type { WaitingGroups } from './waiting-groups.js'

export interface PublisherModules {
  readonly matches: MatchCache<Subscriber>
  readonly groups: SharedGroups<Subscriber>
  readonly retained: RetainedMessages
  readonly metrics: BrokerMetrics
  readonly source: DeliverySource
}

export class Publisher implements ForwardedSink {
  private forwarder: Forwarder
  private store: { readonly isFailing: boolean } | undefined
  /** Where messages wait for a member of their group; undefined without a store. */
  private waiting: WaitingGroups | undefined
  /** Undefined on the fast path: nobody has asked to see each delivery. */
  private filter: DeliveryFilter | undefined
  /** To members of groups of shared subscriptions. */
  readonly groupDelivery: GroupDelivery

  constructor(
    forwarder: Forwarder,
    private readonly modules: PublisherModules,
  ) {
    this.forwarder = forwarder
    this.groupDelivery = new GroupDelivery({
      groups: modules.groups,
      metrics: modules.metrics,
      forward: (message, pending, targets) => this.forwarder.forward(message, [], pending, targets),
      isPast: (message) => this.isPast(message),
    })
  }

  /** Who sees each delivery from now on, if anybody. */
  set deliveryFilter(filter: DeliveryFilter | undefined) {
    if (filter === this.filter) return
    this.filter = filter
    this.groupDelivery.filter = filter
  }

  forwardThrough(forwarder: Forwarder): void {
    this.forwarder = forwarder
  }

  /** From now on sessions are kept in this store, and what no member of a group can have waits there. */
  keepSessionsIn(store: { readonly isFailing: boolean }, waiting?: WaitingGroups): void {
    this.store = store
    this.waiting = waiting
    this.groupDelivery.waiting = waiting
  }

  /**
   * False while the store fails and the message would be written there, for a session here or for a group that waits for
   * its members; and where what waits for them has no room left.
   */
  canKeep(message: Message): boolean {
    const { store, waiting } = this
    const isFailing = store?.isFailing === true
    const isFull = waiting?.hasRoomFor(message) === false
    if (!isFailing && !isFull) return true
    const { deliveries, groups } = this.modules.matches.match(message.topic)
    if (waiting !== undefined && groups?.some((group) => !group.isWithinReach || waiting.has(group.key)) === true)
      return false
    if (!isFailing) return true
    return waiting?.isOpen !== true && !deliveries.some(({ subscriber, qos }) => qos > 0 && subscriber.isKept === true)
  }

  whenRoutesConfirmed(done: () => void): void {
    this.forwarder.whenRoutesConfirmed(done)
  }

  /** Whether there is room for a message with the RETAIN flag; counted when not. */
  admitsRetained(message: Message): boolean {
    return this.modules.retained.admits(message)
  }

  /** Whether the store takes a message with the RETAIN flag at the moment. */
  canStoreRetained(message: Message): boolean {
    return this.modules.retained.canStore(message)
  }

  /** A message that entered the cluster here. Returns whether any subscription, here or on a peer, matched. */
  publish(message: Message, pending: Keeping | undefined): boolean {
    // One of QoS 0 waits for nothing.
    if (message.retain) this.modules.retained.keep(message, message.qos === 0 ? undefined : pending)
    const match = this.modules.matches.match(message.topic)
    this.deliver(match, message, pending)
    // An embedding program has a callback for QoS 0 too, but nobody on a link answers for those.
    const owed = message.qos === 0 ? undefined : pending
    const targets = match.groups === undefined ? undefined : this.groupDelivery.deliver(match.groups, message, pending)
    if (this.waiting?.isOpen === true && message.qos > 0) this.waiting.keepOpen(message, match.groups, pending)
    if (match.nodes.length > 0 || targets !== undefined) {
      this.forwarder.forward(message, match.nodes, owed, targets)
      if (targets !== undefined) this.groupDelivery.release(targets)
    } else if (match.deliveries.length === 0 && match.groups === undefined) {
      this.modules.metrics.unmatched.value++
      return false
    }
    return true
  }

  /**
   * A QoS 0 message of the broker itself; what it says is asked for only when somebody wants the topic.
   * @param isLocal for subscribers of this node only
   */
  publishOwn(topic: string, isLocal: boolean, read: () => string): void {
    const match = this.modules.matches.look(topic)
    const isWantedHere = match.deliveries.length > 0 || match.groups !== undefined
    const isForwarded = !isLocal && match.nodes.length > 0
    if (!isWantedHere && !isForwarded) return
    const message = Message.from(topic, Buffer.from(read()))
    this.deliver(match, message, undefined)
    const targets =
      match.groups === undefined ? undefined : this.groupDelivery.deliver(match.groups, message, undefined)
    if (isForwarded || (!isLocal && targets !== undefined)) {
      this.forwarder.forward(message, match.nodes, undefined, targets)
    }
    if (targets !== undefined) this.groupDelivery.release(targets)
  }

  /**
   * A message that a peer forwarded: for the sessions here only, it never leaves over a link again. For groups it goes
   * to a member of those that the peer has chosen this node for, and to no other group.
   */
  deliverForwarded(
    message: Message,
    from: NodeId,
    pending: PendingPublish | undefined,
    targets: GroupTargets | undefined,
    receipts?: Receipts,
  ): void {
    this.modules.metrics.forwardedIn.value++
    const isPast = this.isPast(message)
    if (!isPast && targets?.isOnly !== true) {
      const match = this.modules.matches.match(message.topic)
      if (this.modules.source.watchers === 0) this.deliver(match, message, pending)
      else this.deliverFrom(from, match, message, pending)
    }
    if (targets !== undefined) this.groupDelivery.deliverForwarded(targets, message, pending, receipts, isPast)
  }

  /** While sessions move: whose messages are whose depends on the node that they come from. */
  private deliverFrom(
    from: NodeId,
    match: Match<Subscriber>,
    message: Message,
    pending: PendingPublish | undefined,
  ): void {
    const { source } = this.modules
    const self = source.node
    source.node = from
    try {
      this.deliver(match, message, pending)
    } finally {
      source.node = self
    }
  }

  /** See `ForwardedSink.deliverInherited`. A session that has arrived already takes no more of it. */
  deliverInherited(message: Message, from: NodeId, pending: PendingPublish | undefined, estate: NodeId): void {
    const { source, matches, metrics } = this.modules
    metrics.forwardedIn.value++
    if (source.watchers === 0 || this.isPast(message)) return
    const { deliveries } = matches.match(message.topic)
    const self = source.node
    source.node = from
    source.estate = estate
    try {
      for (const delivery of deliveries) {
        const { subscriber } = delivery
        if (subscriber.isArriving !== true) continue
        const allowed = this.filter === undefined ? message : this.filter(subscriber, message)
        if (allowed !== undefined) subscriber.deliver(allowed, delivery, pending)
      }
    } finally {
      source.node = self
      source.estate = undefined
    }
  }

  /** A message for one session, from the node that it has left. */
  deliverPassedOn(subscriber: Subscriber, message: Message, pending: Hold | undefined): void {
    const { source, matches, metrics } = this.modules
    metrics.forwardedIn.value++
    if (this.isPast(message)) return
    const deliveries = matches.match(message.topic).deliveries.filter((delivery) => delivery.subscriber === subscriber)
    const allowed = this.filter === undefined ? message : this.filter(subscriber, message)
    if (allowed === undefined) return
    source.passOn(() => {
      for (const delivery of deliveries) subscriber.deliver(allowed, delivery, pending)
    })
  }

  placeAgain(key: string, message: Message, isLast: boolean, pending?: PendingPublish): boolean {
    return this.groupDelivery.placeAgain(key, message, isLast, pending)
  }

  groupsChanged(untold: number): void {
    this.waiting?.groupsChanged(untold)
  }

  inheritWaiting(values: readonly Buffer[]): Promise<void> {
    return this.waiting?.inherit(values) ?? Promise.resolve()
  }

  /** What waits for members of groups here is another node's. */
  disownWaiting(): void {
    this.waiting?.disown()
  }

  private deliver(match: Match<Subscriber>, message: Message, pending: PendingPublish | undefined): void {
    const { deliveries } = match
    const filter = this.filter
    // An indexed loop: this is the fan-out (bench: load, row d500q0).
    for (let i = 0; i < deliveries.length; i++) {
      const delivery = deliveries[i] as DeliveryOptions & { readonly subscriber: Subscriber }
      if (filter === undefined) {
        delivery.subscriber.deliver(message, delivery, pending)
      } else {
        const filtered = filter(delivery.subscriber, message)
        if (filtered !== undefined) delivery.subscriber.deliver(filtered, delivery, pending)
      }
    }
  }

  /** It has expired on its way here, and goes no further [MQTT-3.3.2-5]; counted. */
  isPast(message: Message): boolean {
    if (!message.isAged || !message.isExpired(Date.now())) return false
    this.modules.metrics.session.dropped.expired.value++
    return true
  }
}
