/**
 * Topic name to everyone who wants it, remembered until a table changes. Publishers repeat their topics, so nearly
 * every publish is one Map lookup.
 *
 * When the cache is full it forgets its older half and keeps what was asked for since: two maps, of which the full
 * one takes the place of the old one, and a hit in the old one moves the topic over. That is O(1), keeps busy topics
 * through a scan of many rare ones, and (unlike deleting a Map's first key) leaves no holes to step over.
 */

import type { QoS } from '../mqtt/wire/packets.js'
import type { NodeId, RouteTable } from './route-table.js'
import type { GroupMember, SharedGroup } from './shared-group.js'
import type { SharedGroups } from './shared-groups.js'
import type { Delivery, Subscription, SubscriptionTable } from './subscription-table.js'

export type { Delivery } from './subscription-table.js'

/** Longer topic names, in characters, are matched anew each time: the bound on topics has to be one on memory, too. */
const CACHED_TOPIC_LENGTH_MAXIMUM = 1_024

/** Deliveries and nodes the cache holds per topic of its bound, on average: 50,000 topics at 20 of 8 bytes are 8 MB. */
const DELIVERIES_PER_TOPIC = 20

/** Who gets a message. Immutable, and right for as long as the cache's `generation` stays the same. */
export interface Match<S extends GroupMember> {
  /** Each subscriber once, however many of its subscriptions match, unless each is to have its copy. */
  readonly deliveries: readonly Delivery<S>[]
  /** Each node with a matching route, once. */
  readonly nodes: readonly NodeId[]
  /** The groups of shared subscriptions of which one member gets it; undefined when there are none, as mostly. */
  readonly groups: readonly SharedGroup<S>[] | undefined
}

/** The match of every topic that nobody wants. */
export const EMPTY_MATCH: Match<never> = Object.freeze({
  deliveries: Object.freeze([]),
  nodes: Object.freeze([]),
  groups: undefined,
})

export interface MatchCacheOptions {
  /** Topics remembered at most; below 2 the cache keeps nothing. */
  maximumTopics: number
  /** What a subscriber gets whose several subscriptions match: `one` copy for all, or one for `each`. */
  overlapping?: 'one' | 'each'
}

export interface MatchCacheTables<S extends GroupMember> {
  subscriptions: SubscriptionTable<S>
  groups: SharedGroups<S>
  routes: RouteTable
}

export class MatchCache<S extends GroupMember> {
  /** Lookups answered from the cache, and lookups that had to ask the tables. */
  hits = 0
  misses = 0
  private readonly subscriptions: SubscriptionTable<S>
  private readonly groups: SharedGroups<S>
  private readonly routes: RouteTable
  private readonly isMerging: boolean
  private readonly topicsPerHalf: number
  private readonly deliveriesPerHalf: number
  private recent = new Map<string, Match<S>>()
  private older = new Map<string, Match<S>>()
  private recentDeliveries = 0
  private filledAt = 0
  private readonly matchedSubscriptions: Subscription<S>[] = []
  private readonly matchedGroups: SharedGroup<S>[] = []
  private readonly matchedNodes: NodeId[] = []

  constructor(options: MatchCacheOptions, tables: MatchCacheTables<S>) {
    this.subscriptions = tables.subscriptions
    this.groups = tables.groups
    this.routes = tables.routes
    this.isMerging = options.overlapping !== 'each'
    this.topicsPerHalf = Math.floor(options.maximumTopics / 2)
    this.deliveriesPerHalf = this.topicsPerHalf * DELIVERIES_PER_TOPIC
  }

  /** A Match got at this generation is right as long as it lasts. All tables only count up, so their sum tells. */
  get generation(): number {
    return this.subscriptions.generation + this.groups.generation + this.routes.generation
  }

  /** Topics remembered now. */
  get size(): number {
    return this.recent.size + this.older.size
  }

  /** Everyone who wants this topic name. */
  match(topic: string): Match<S> {
    const generation = this.generation
    if (this.filledAt !== generation) {
      this.clear()
      this.filledAt = generation
    }
    const recent = this.recent.get(topic)
    if (recent !== undefined) {
      this.hits += 1
      return recent
    }
    const older = this.older.get(topic)
    if (older !== undefined) {
      this.hits += 1
      this.older.delete(topic)
      this.remember(topic, older)
      return older
    }
    this.misses += 1
    const match = this.find(topic)
    if (topic.length <= CACHED_TOPIC_LENGTH_MAXIMUM && this.topicsPerHalf > 0) this.remember(topic, match)
    return match
  }

  /** As `match`, but for a topic that will not come again soon: neither looked for nor remembered. */
  look(topic: string): Match<S> {
    return this.find(topic)
  }

  /** Forgets everything; the next lookups ask the tables. */
  clear(): void {
    if (this.recent.size > 0) this.recent = new Map()
    if (this.older.size > 0) this.older = new Map()
    this.recentDeliveries = 0
  }

  private remember(topic: string, match: Match<S>): void {
    if (this.recent.size >= this.topicsPerHalf || this.recentDeliveries >= this.deliveriesPerHalf) {
      this.older = this.recent
      this.recent = new Map()
      this.recentDeliveries = 0
    }
    this.recent.set(topic, match)
    this.recentDeliveries += match.deliveries.length + match.nodes.length + (match.groups?.length ?? 0)
  }

  private find(topic: string): Match<S> {
    const subscriptions = this.matchedSubscriptions
    const groups = this.matchedGroups
    const nodes = this.matchedNodes
    this.subscriptions.matchInto(topic, subscriptions)
    this.groups.matchInto(topic, groups)
    this.routes.matchInto(topic, nodes)
    const isEmpty = subscriptions.length === 0 && groups.length === 0 && nodes.length === 0
    const match = isEmpty
      ? EMPTY_MATCH
      : {
          deliveries: this.isMerging ? mergeOverlapping(subscriptions) : subscriptions.slice(),
          nodes: nodes.slice(),
          groups: groups.length === 0 ? undefined : groups.slice(),
        }
    subscriptions.length = 0
    groups.length = 0
    nodes.length = 0
    return match
  }
}

/** One copy per subscriber, with the highest QoS [MQTT-3.3.4-2] and the identifiers of all its subscriptions [MQTT-3.3.4-4]. */
function mergeOverlapping<S extends object>(subscriptions: readonly Subscription<S>[]): readonly Delivery<S>[] {
  if (isOneFilter(subscriptions)) return subscriptions.slice()
  const places = new Map<S, number>()
  const deliveries: Delivery<S>[] = []
  for (const subscription of subscriptions) {
    const place = places.get(subscription.subscriber)
    const earlier = place === undefined ? undefined : deliveries[place]
    if (place === undefined || earlier === undefined) {
      places.set(subscription.subscriber, deliveries.length)
      deliveries.push(subscription)
    } else if (earlier instanceof MergedDelivery) {
      earlier.merge(subscription)
    } else {
      deliveries[place] = new MergedDelivery(earlier).merge(subscription)
    }
  }
  return deliveries
}

/** A subscriber cannot be twice in one filter, and most topics match one filter only. */
function isOneFilter<S>(subscriptions: readonly Subscription<S>[]): boolean {
  // The subscriptions of a filter stand together, so first and last tell.
  return subscriptions[0]?.filter === subscriptions.at(-1)?.filter
}

/** Several subscriptions of one subscriber as one delivery; it takes more only until its Match is handed out. */
class MergedDelivery<S> implements Delivery<S> {
  readonly subscriber: S
  qos: QoS
  noLocal: boolean
  retainAsPublished: boolean
  subscriptionIds: number[] | undefined
  own: MergedDelivery<S> | undefined

  constructor(first: Delivery<S>) {
    this.subscriber = first.subscriber
    this.qos = first.qos
    this.noLocal = first.noLocal
    this.retainAsPublished = first.retainAsPublished
    this.subscriptionIds = first.subscriptionIds?.slice()
    this.own = undefined
  }

  /** An identifier that several subscriptions share is there several times. [MQTT 5.0 section 3.3.4] */
  merge(other: Delivery<S>): this {
    this.mergeOwn(other)
    if (other.qos > this.qos) this.qos = other.qos
    this.noLocal ||= other.noLocal
    this.retainAsPublished ||= other.retainAsPublished
    if (other.subscriptionIds !== undefined) {
      this.subscriptionIds ??= []
      this.subscriptionIds.push(...other.subscriptionIds)
    }
    return this
  }

  /** Keeps apart what counts for the subscriber's own messages: the subscriptions without No Local. [MQTT-3.8.3-3] */
  private mergeOwn(other: Delivery<S>): void {
    if (other.noLocal) {
      if (!this.noLocal) this.own = new MergedDelivery<S>(this)
    } else if (this.own !== undefined) this.own.merge(other)
    else if (this.noLocal) this.own = new MergedDelivery(other)
  }
}
