/**
 * What happens to a message once the broker has it: retain, match, deliver here, forward to the peers that want it.
 * Whoever has yet to keep a QoS 1 or 2 message takes a hold on `pending`; the acknowledgement is the caller's.
 */

import type { DeliveryOptions, Hold } from '../mqtt/session/session.js'
import { Message } from '../mqtt/wire/message.js'
import type { Match, MatchCache } from '../router/match-cache.js'
import type { SharedGroup } from '../router/shared-group.js'
import type { BrokerMetrics } from './metrics.js'
import type { ForwardedSink, Forwarder, NodeId, PendingPublish } from './ports.js'
import type { RetainedMessages } from './retained.js'
import type { Subscriber } from './subscriber.js'

/** May change or withhold (undefined) what one subscriber gets: Aedes' `authorizeForward`. */
export type DeliveryFilter = (subscriber: Subscriber, message: Message) => Message | undefined

export interface PublisherModules {
  readonly matches: MatchCache<Subscriber>
  readonly retained: RetainedMessages
  readonly metrics: BrokerMetrics
}

export class Publisher implements ForwardedSink {
  private forwarder: Forwarder
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

  whenRoutesConfirmed(done: () => void): void {
    this.forwarder.whenRoutesConfirmed(done)
  }

  /** Whether there is room for a message with the RETAIN flag; counted when not. */
  admitsRetained(message: Message): boolean {
    return this.modules.retained.admits(message)
  }

  /** A message that entered the cluster here. Returns whether any subscription, here or on a peer, matched. */
  publish(message: Message, pending: PendingPublish | undefined): boolean {
    if (message.retain) this.modules.retained.keep(message)
    const match = this.modules.matches.match(message.topic)
    this.deliver(match, message, pending)
    // An embedding program has a callback for QoS 0 too, but nobody on a link answers for those.
    const owed = message.qos === 0 ? undefined : pending
    if (match.nodes.length > 0) this.forwarder.forward(message, match.nodes, owed)
    else if (match.deliveries.length === 0 && match.groups === undefined) {
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
    if (isForwarded) this.forwarder.forward(message, match.nodes, undefined)
  }

  /** A message that a peer forwarded: for the sessions here only, it never leaves over a link again. */
  deliverForwarded(message: Message, _from: NodeId, pending: PendingPublish | undefined): void {
    this.modules.metrics.forwardedIn.value++
    if (this.isPast(message)) return
    this.deliver(this.modules.matches.match(message.topic), message, pending)
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
    if (match.groups !== undefined) this.deliverShared(match.groups, message, pending)
  }

  /** It has expired on its way here, and goes no further [MQTT-3.3.2-5]; counted. */
  isPast(message: Message): boolean {
    if (!message.isAged || !message.isExpired(Date.now())) return false
    this.modules.metrics.session.dropped.expired.value++
    return true
  }

  /** To one member of each group. */
  private deliverShared(groups: readonly SharedGroup<Subscriber>[], message: Message, pending: Hold | undefined): void {
    for (let i = 0; i < groups.length; i++) this.deliverToMember(groups[i] as SharedGroup<Subscriber>, message, pending)
  }

  /** To the member that the group chooses; false when it has none. */
  deliverToMember(group: SharedGroup<Subscriber>, message: Message, pending: Hold | undefined): boolean {
    const membership = group.choose(message.topic, message.publisherId)
    if (membership === undefined) return false
    const { subscriber } = membership
    const allowed = this.deliveryFilter === undefined ? message : this.deliveryFilter(subscriber, message)
    if (allowed !== undefined) subscriber.deliver(allowed, membership, pending)
    return true
  }
}
