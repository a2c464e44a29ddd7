/**
 * All shared subscriptions of this node: groups by the filter that was subscribed to (`$share/{group}/{filter}`), and
 * by the filter inside it, which topics are matched with. Who of a group gets a message, the group says.
 */

import type { SharedStrategy } from '../config/mqtt-options.js'
import type { SubscriptionOptions } from '../mqtt/wire/packets.js'
import { parseShared } from '../mqtt/wire/topic.js'
import { FilterMap } from './filter-map.js'
import { type GroupMember, Membership, SharedGroup } from './shared-group.js'

export interface SharedGroupsOptions {
  /** Of every group that is not in `strategies`. */
  readonly strategy: SharedStrategy
  /** By the name of the group; that of `$queue/{filter}` is `$queue`. */
  readonly strategies: Readonly<Record<string, SharedStrategy>>
}

/** @template S the subscriber, a session; compared by identity. */
export class SharedGroups<S extends GroupMember> {
  private readonly byKey = new Map<string, SharedGroup<S>>()
  private readonly byTopicFilter = new FilterMap<SharedGroup<S>[]>()
  private readonly memberships = new Map<S, Map<string, Membership<S>>>()
  private readonly strategy: SharedStrategy
  private readonly strategies: ReadonlyMap<string, SharedStrategy>
  private readonly matched: SharedGroup<S>[][] = []
  private changes = 0
  private total = 0

  constructor({ strategy, strategies }: SharedGroupsOptions) {
    this.strategy = strategy
    this.strategies = new Map(Object.entries(strategies))
  }

  /** Moves when a group appears or goes, which changes what a match would find; not when members come and go. */
  get generation(): number {
    return this.changes
  }

  /** Number of memberships. */
  get size(): number {
    return this.total
  }

  /** The group with this key, as long as it has members. */
  get(key: string): SharedGroup<S> | undefined {
    return this.byKey.get(key)
  }

  /**
   * Makes the subscriber a member, or gives its membership other options [MQTT-3.8.4-3]; true when it is new.
   * @param key a valid `$share/{group}/{filter}` or `$queue/{filter}`
   */
  subscribe(subscriber: S, key: string, options: SubscriptionOptions): boolean {
    const group = this.byKey.get(key) ?? this.open(key)
    const membership = new Membership(subscriber, key, options, group)
    const own = this.memberships.get(subscriber)
    const earlier = own?.get(key)
    if (own === undefined) this.memberships.set(subscriber, new Map([[key, membership]]))
    else own.set(key, membership)
    if (earlier !== undefined) {
      group.replace(earlier, membership)
      return false
    }
    group.add(membership)
    this.total += 1
    return true
  }

  /** False when the subscriber was not a member. */
  unsubscribe(subscriber: S, key: string): boolean {
    const own = this.memberships.get(subscriber)
    const membership = own?.get(key)
    const group = this.byKey.get(key)
    if (own === undefined || membership === undefined || group === undefined) return false
    own.delete(key)
    if (own.size === 0) this.memberships.delete(subscriber)
    group.remove(membership)
    this.total -= 1
    if (group.memberCount === 0) this.close(group)
    return true
  }

  /** The subscriber's client has come or gone; false when it is a member of nothing. */
  refresh(subscriber: S): boolean {
    const own = this.memberships.get(subscriber)
    if (own === undefined) return false
    for (const membership of own.values()) this.byKey.get(membership.filter)?.refresh(membership)
    return true
  }

  /** Appends each group whose filter matches the topic name. */
  matchInto(topic: string, into: SharedGroup<S>[]): void {
    if (this.byKey.size === 0) return
    const { matched } = this
    this.byTopicFilter.matchInto(topic, matched)
    for (let groups = matched.pop(); groups !== undefined; groups = matched.pop()) {
      for (const group of groups) into.push(group)
    }
  }

  private open(key: string): SharedGroup<S> {
    const shared = parseShared(key)
    if (shared === undefined) throw new TypeError(`not a shared subscription: ${key}`)
    const group = new SharedGroup<S>(key, shared.filter, this.strategies.get(shared.group) ?? this.strategy)
    this.byKey.set(key, group)
    const groups = this.byTopicFilter.get(shared.filter)
    if (groups === undefined) this.byTopicFilter.set(shared.filter, [group])
    else groups.push(group)
    this.changes += 1
    return group
  }

  private close(group: SharedGroup<S>): void {
    this.byKey.delete(group.key)
    const groups = this.byTopicFilter.get(group.topicFilter) ?? []
    groups.splice(groups.indexOf(group), 1)
    if (groups.length === 0) this.byTopicFilter.delete(group.topicFilter)
    this.changes += 1
  }
}
