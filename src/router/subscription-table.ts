/**
 * The local subscription table: topic filter to the sessions of this node that subscribed to it. It never leaves the
 * node; what the cluster hears of it is a filter's first subscriber and its last. Sized for a hundred thousand
 * filters, nearly all with one subscriber: such a filter holds its subscription itself, a Map comes with the second.
 */

import type { QoS, SubscriptionOptions } from '../mqtt/wire/packets.js'
import { FilterMap } from './filter-map.js'
import { DigestAccumulator, type RouteDigest } from './route-digest.js'

/** How one subscriber gets a message. Immutable. */
export interface Delivery<S> {
  readonly subscriber: S
  /** The highest QoS granted; the message goes out with the lower of this and its own. */
  readonly qos: QoS
  /** Not to the client that published the message. [MQTT 5.0 section 3.8.3.1] */
  readonly noLocal: boolean
  /** The RETAIN flag stays as published. [MQTT-3.3.1-12] [MQTT-3.3.1-13] */
  readonly retainAsPublished: boolean
  /** The identifiers of all subscriptions that matched [MQTT-3.3.4-3]; undefined when none has one. */
  readonly subscriptionIds: readonly number[] | undefined
  /** Of several subscriptions of which some have No Local, what the others want; see `DeliveryOptions`. */
  readonly own?: Delivery<S> | undefined
  /** How it came by a shared subscription; see `Share` of the session. */
  readonly share?: { readonly group: object; settle(): void }
}

/** One subscriber's interest in one filter: all by itself it is a delivery, so that a match can hold it as it is. */
export interface Subscription<S> extends Delivery<S> {
  readonly filter: string
  readonly options: Readonly<SubscriptionOptions>
}

/** Hears of edges only: the first local subscriber of a filter, and the last. Called after the table has changed. */
export interface RouteListener {
  filterAdded(filter: string): void
  filterRemoved(filter: string): void
}

/**
 * Announced like a filter while there is a No Local subscription here: peers tell this node who publishes what they
 * forward, so that a client's own messages are known for its own also when they come from another node. No client
 * can subscribe to it: U+0000 is in no topic filter. [MQTT-1.5.4-2]
 */
export const PUBLISHERS_ROUTE = '$\u0000publishers'

/** Those of one filter. */
type Subscribers<S> = Subscription<S> | Map<S, Subscription<S>>

/** @template S the subscriber, a session; compared by identity. */
export class SubscriptionTable<S extends object> {
  private readonly byFilter = new FilterMap<Subscribers<S>>()
  private readonly announced = new DigestAccumulator()
  private readonly matched: Subscribers<S>[] = []
  private listener: RouteListener | undefined
  private changes = 0
  private total = 0
  private noLocalCount = 0

  constructor(listener?: RouteListener) {
    this.listener = listener
  }

  /** Moves on every change of what a match would find. */
  get generation(): number {
    return this.changes
  }

  /** Number of subscriptions. */
  get size(): number {
    return this.total
  }

  /** Number of distinct filters. */
  get filterCount(): number {
    return this.byFilter.size
  }

  /** Sets who hears of edges from now on; `filters` tells what came before. */
  setListener(listener: RouteListener | undefined): void {
    this.listener = listener
  }

  /**
   * Adds a subscription, or replaces the subscriber's earlier one to the same filter [MQTT-3.8.4-3]; true when it is
   * new. The options must not be changed afterwards.
   */
  subscribe(subscriber: S, filter: string, options: SubscriptionOptions): boolean {
    const known = this.byFilter.get(filter)
    const previous = ownOf(subscriber, known)
    if (previous !== undefined && areEqual(previous.options, options)) return false
    const subscription = new StoredSubscription(subscriber, filter, options)
    if (known instanceof Map) known.set(subscriber, subscription)
    else if (known === undefined || known === previous) this.byFilter.set(filter, subscription)
    else
      this.byFilter.set(
        filter,
        new Map<S, Subscription<S>>([
          [known.subscriber, known],
          [subscriber, subscription],
        ]),
      )
    this.changes += 1
    // Before the filter itself, so that no peer knows of this subscription and not of what it needs.
    this.countNoLocal(Number(options.noLocal) - Number(previous?.noLocal ?? false))
    if (previous !== undefined) return false
    this.total += 1
    if (known === undefined) this.announce(filter)
    return true
  }

  /** Removes a subscription; false when there was none. */
  unsubscribe(subscriber: S, filter: string): boolean {
    const known = this.byFilter.get(filter)
    const previous = ownOf(subscriber, known)
    if (previous === undefined) return false
    if (known instanceof Map) {
      known.delete(subscriber)
      if (known.size === 1) for (const last of known.values()) this.byFilter.set(filter, last)
    } else {
      this.byFilter.delete(filter)
    }
    this.changes += 1
    this.total -= 1
    if (!(known instanceof Map)) this.withdraw(filter)
    this.countNoLocal(-Number(previous.noLocal))
    return true
  }

  private countNoLocal(change: number): void {
    const before = this.noLocalCount
    this.noLocalCount += change
    if (before === 0 && change > 0) this.announce(PUBLISHERS_ROUTE)
    else if (before > 0 && this.noLocalCount === 0) this.withdraw(PUBLISHERS_ROUTE)
  }

  private announce(filter: string): void {
    this.announced.add(filter)
    this.listener?.filterAdded(filter)
  }

  private withdraw(filter: string): void {
    this.announced.remove(filter)
    this.listener?.filterRemoved(filter)
  }

  /** The subscriber's own subscription to exactly this filter. */
  get(subscriber: S, filter: string): Subscription<S> | undefined {
    return ownOf(subscriber, this.byFilter.get(filter))
  }

  /** What must be announced: the distinct filters, and `PUBLISHERS_ROUTE`. They may come and go meanwhile. */
  *filters(): IterableIterator<string> {
    if (this.noLocalCount > 0) yield PUBLISHERS_ROUTE
    for (const known of this.byFilter.values()) {
      if (known instanceof Map) {
        for (const { filter } of known.values()) {
          yield filter
          break
        }
      } else {
        yield known.filter
      }
    }
  }

  /** The digest of `filters`, comparable with what a peer's route table says of this node. */
  digest(): RouteDigest {
    return this.announced.value
  }

  /**
   * Appends every subscription whose filter matches the topic name. A subscriber appears once per matching filter;
   * the subscriptions of one filter stand together.
   */
  matchInto(topic: string, into: Subscription<S>[]): void {
    const matched = this.matched
    this.byFilter.matchInto(topic, matched)
    for (let known = matched.pop(); known !== undefined; known = matched.pop()) {
      if (known instanceof Map) for (const subscription of known.values()) into.push(subscription)
      else into.push(known)
    }
  }

  /** Levels held for wildcard filters: 0 when there are none. */
  countNodes(): number {
    return this.byFilter.countNodes()
  }
}

class StoredSubscription<S> implements Subscription<S> {
  readonly subscriber: S
  readonly filter: string
  readonly options: Readonly<SubscriptionOptions>
  readonly qos: QoS
  readonly noLocal: boolean
  readonly retainAsPublished: boolean
  readonly subscriptionIds: readonly number[] | undefined

  constructor(subscriber: S, filter: string, options: SubscriptionOptions) {
    this.subscriber = subscriber
    this.filter = filter
    this.options = options
    this.qos = options.qos
    this.noLocal = options.noLocal
    this.retainAsPublished = options.retainAsPublished
    this.subscriptionIds = options.subscriptionId === undefined ? undefined : [options.subscriptionId]
  }
}

function ownOf<S>(subscriber: S, known: Subscribers<S> | undefined): Subscription<S> | undefined {
  if (known instanceof Map) return known.get(subscriber)
  return known?.subscriber === subscriber ? known : undefined
}

/** A client that repeats its subscriptions (after each reconnect, say) must not void everyone's matches. */
function areEqual(one: Readonly<SubscriptionOptions>, other: Readonly<SubscriptionOptions>): boolean {
  return (
    one.qos === other.qos &&
    one.noLocal === other.noLocal &&
    one.retainAsPublished === other.retainAsPublished &&
    one.retainHandling === other.retainHandling &&
    one.subscriptionId === other.subscriptionId
  )
}
