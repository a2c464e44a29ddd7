/**
 * What happens to a message once the broker has it: retain, match, deliver here, forward to the peers that want it.
 * Whoever has yet to keep a QoS 1 or 2 message takes a hold on `pending`; the acknowledgement is the caller's.
 */

import type { DeliveryOptions, Hold, Keeping, Share } from '../mqtt/session/session.js'
import { Message } from '../mqtt/wire/message.js'
import { GroupTargets } from '../router/group-targets.js'
import type { Match, MatchCache } from '../router/match-cache.js'
import { Membership } from '../router/membership.js'
import type { Choice, SharedGroup } from '../router/shared-group.js'
import type { SharedGroups } from '../router/shared-groups.js'
import { GuardedCopy, GuardedDelivery } from './guarded-copy.js'
import type { BrokerMetrics } from './metrics.js'
import type { ForwardedSink, Forwarder, NodeId, PendingPublish, Receipts } from './ports.js'
import type { RetainedMessages } from './retained.js'
import { StoredFirst } from './stored-first.js'
import type { Subscriber } from './subscriber.js'
import type { WaitingGroups } from './waiting-groups.js'

/** May change or withhold (undefined) what one subscriber gets: Aedes' `authorizeForward`. */
export type DeliveryFilter = (subscriber: Subscriber, message: Message) => Message | undefined

/** Which node has published or forwarded what is being delivered; kept only while somebody watches. */
export class DeliverySource {
  /** Sessions that move. */
  watchers = 0
  /** A node that is down, while what it was owed is delivered to the sessions that this node has inherited from it. */
  estate: NodeId | undefined
  /** It comes by a node that its session has left, or was held back for what does: no gate passes it over. */
  isPassedOn = false

  constructor(public node: NodeId) {}

  /** Whatever is delivered by `deliver` was passed on. */
  passOn(deliver: () => void): void {
    const before = this.isPassedOn
    this.isPassedOn = true
    try {
      deliver()
    } finally {
      this.isPassedOn = before
    }
  }
}

/** Publishers of these messages were answered: nobody waits, but a queue must take them as if somebody did. */
export const ANSWERED: Hold = {
  hold() {},
  release() {},
  // It leaves another place in the commit by which it is kept.
  isExact: true,
}

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
  /** Reused; undefined while it is in use, since a subscriber may publish while it is given a message. */
  private spareTargets: GroupTargets | undefined
  /** Undefined on the fast path: nobody has asked to see each delivery. */
  deliveryFilter: DeliveryFilter | undefined

  constructor(
    forwarder: Forwarder,
    private readonly modules: PublisherModules,
  ) {
    this.forwarder = forwarder
  }

  forwardThrough(forwarder: Forwarder): void {
    this.forwarder = forwarder
  }

  /** From now on sessions are kept in this store, and what no member of a group can have waits there. */
  keepSessionsIn(store: { readonly isFailing: boolean }, waiting?: WaitingGroups): void {
    this.store = store
    this.waiting = waiting
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
    const targets = match.groups === undefined ? undefined : this.deliverShared(match.groups, message, pending)
    if (this.waiting?.isOpen === true && message.qos > 0) this.waiting.keepOpen(message, match.groups, pending)
    if (match.nodes.length > 0 || targets !== undefined) {
      this.forwarder.forward(message, match.nodes, owed, targets)
      if (targets !== undefined) this.spareTargets = targets
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
    const targets = match.groups === undefined ? undefined : this.deliverShared(match.groups, message, undefined)
    if (isForwarded || (!isLocal && targets !== undefined)) {
      this.forwarder.forward(message, match.nodes, undefined, targets)
    }
    if (targets !== undefined) this.spareTargets = targets
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
    if (targets === undefined) return
    for (let i = 0; i < targets.count; i++) {
      const receipt = targets.receipts[i] as number
      if (receipt === 0 || receipts === undefined) {
        if (!isPast) this.deliverToGroup(targets, i, message, pending, undefined)
      } else if (receipts.admit(receipt)) {
        if (isPast) receipts.settle(receipt)
        else this.deliverToGroup(targets, i, message, pending, { receipt, receipts })
      }
    }
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
        const allowed = this.deliveryFilter === undefined ? message : this.deliveryFilter(subscriber, message)
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
    const allowed = this.deliveryFilter === undefined ? message : this.deliveryFilter(subscriber, message)
    if (allowed === undefined) return
    source.passOn(() => {
      for (const delivery of deliveries) subscriber.deliver(allowed, delivery, pending)
    })
  }

  private deliverToGroup(
    targets: GroupTargets,
    index: number,
    message: Message,
    pending: PendingPublish | undefined,
    guard: { receipt: number; receipts: Receipts } | undefined,
  ): void {
    const key = targets.keys[index] as string
    const group = this.modules.groups.withId(targets.ids[index] as number) ?? this.modules.groups.get(key)
    const membership = group?.chooseHere(targets.hashes[index] as number)
    if (group === undefined) {
      this.strand(key, message, pending)
      guard?.receipts.settle(guard.receipt)
      return
    }
    const copy = guard && new GuardedCopy(group, guard.receipt, guard.receipts)
    if (membership !== undefined) {
      this.deliverTo(membership, message, pending, copy)
    } else if (targets.isAgain) {
      this.strand(group.key, message, pending)
      copy?.settle()
    } else {
      // Its members have left while the message was on its way.
      this.place(group, message, pending, { isAgain: true, share: copy })
    }
  }

  placeAgain(key: string, message: Message, isLast: boolean, pending: PendingPublish = ANSWERED): boolean {
    const { groups, metrics } = this.modules
    const group = groups.get(key)
    if (!isLast && group?.isWithinReach !== true) return false
    message.isAged = true
    if (this.isPast(message)) return true
    if (group === undefined) {
      this.strand(key, message, pending)
    } else {
      metrics.redispatched.value++
      this.place(group, message, pending)
    }
    return true
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

  /** There is nobody to have it: it waits, if there may be somebody, and is dropped and counted otherwise. */
  private strand(key: string, message: Message, pending: Hold | undefined): void {
    if (key !== '' && message.qos > 0 && this.waiting?.keep(key, message, pending) === true) return
    this.modules.metrics.unplaced.value++
  }

  private deliver(match: Match<Subscriber>, message: Message, pending: PendingPublish | undefined): void {
    const { deliveries } = match
    const filter = this.deliveryFilter
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

  /** To one member of each group that is here; the other groups are returned with their nodes, if any. */
  private deliverShared(
    groups: readonly SharedGroup<Subscriber>[],
    message: Message,
    pending: Hold | undefined,
  ): GroupTargets | undefined {
    const targets = this.spareTargets ?? new GroupTargets()
    this.spareTargets = undefined
    targets.clear()
    for (let i = 0; i < groups.length; i++) {
      const group = groups[i] as SharedGroup<Subscriber>
      const hash = group.hashOf(message.topic, message.publisherId)
      const choice = group.choose(hash)
      if (this.waiting !== undefined && message.qos > 0 && this.mustWait(this.waiting, group, choice))
        this.strand(group.key, message, pending)
      else if (choice instanceof Membership) this.deliverTo(choice, message, pending)
      else if (choice !== undefined) targets.add(choice.node, choice.id, hash, group.key)
      this.modules.metrics.shared[group.strategy].value++
    }
    if (targets.count > 0) return targets
    this.spareTargets = targets
    return undefined
  }

  /** Nobody is within reach, or others wait, and are before it. */
  private mustWait(
    waiting: WaitingGroups,
    { key }: SharedGroup<Subscriber>,
    choice: Choice<Subscriber> | undefined,
  ): boolean {
    return waiting.has(key) || choice === undefined || (!(choice instanceof Membership) && choice.reach === 'lost')
  }

  /**
   * To a member of one group, wherever it is; one of QoS 1 or 2 waits when there is none, and others are counted.
   * @param isAgain it was at another node already: the next one keeps it or drops it
   * @param share how it has come by the group before
   */
  place(
    group: SharedGroup<Subscriber>,
    message: Message,
    pending: Hold | undefined,
    { isAgain = false, share }: { isAgain?: boolean; share?: Share | undefined } = {},
  ): void {
    const hash = group.hashOf(message.topic, message.publisherId)
    const choice = group.choose(hash)
    if (
      choice === undefined ||
      (!(choice instanceof Membership) && choice.reach === 'lost' && this.waiting !== undefined)
    ) {
      this.strand(group.key, message, pending)
      share?.settle()
    } else if (choice instanceof Membership) {
      this.deliverTo(choice, message, pending, share instanceof GuardedCopy ? share : undefined)
    } else {
      const targets = new GroupTargets()
      targets.isAgain = isAgain
      targets.add(choice.node, choice.id, hash, group.key)
      // It goes on from where it was kept: to the store first, if there is one, so that it is always in one of the two.
      this.forwarder.forward(message, [], message.qos === 0 ? undefined : StoredFirst.of(pending), targets)
      // From now on it is this node that keeps it for the next.
      share?.settle()
    }
  }

  private deliverTo(
    membership: Membership<Subscriber>,
    message: Message,
    pending: Hold | undefined,
    copy?: GuardedCopy,
  ): void {
    const { subscriber } = membership
    const allowed = this.deliveryFilter === undefined ? message : this.deliveryFilter(subscriber, message)
    if (allowed !== undefined && copy !== undefined && allowed.qos > 0 && membership.qos > 0) {
      const isKept = pending !== undefined && subscriber.isKept === true
      const held = isKept ? copy.keepWith(pending, message.qos === 2) : pending
      subscriber.deliver(allowed, new GuardedDelivery(membership, copy), held)
      return
    }
    if (allowed !== undefined) subscriber.deliver(allowed, membership, pending)
    // At QoS 0, or withheld: nobody will say more of it.
    copy?.settle()
  }
}
