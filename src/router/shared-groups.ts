/**
 * All groups of shared subscriptions with members, here or on other nodes: by the filter that was subscribed to
 * (`$share/{group}/{filter}`), and by the filter inside it, which topics are matched with. Who of a group gets a
 * message, the group says. What the members here are, is told to a listener, for the other nodes.
 */

import type { SharedStrategy } from '../config/mqtt-options.js'
import type { SubscriptionOptions } from '../mqtt/wire/packets.js'
import { parseShared } from '../mqtt/wire/topic.js'
import { FilterMap } from './filter-map.js'
import { type GroupPlacement, type GroupRoute, routeText } from './group-routes.js'
import { Membership } from './membership.js'
import { DigestAccumulator, type RouteDigest } from './route-digest.js'
import type { NodeId } from './route-table.js'
import { type GroupMember, type Reach, SharedGroup } from './shared-group.js'

export interface SharedGroupsOptions {
  /** Of every group that is not in `strategies`. */
  readonly strategy: SharedStrategy
  /** By the name of the group; that of `$queue/{filter}` is `$queue`. */
  readonly strategies: Readonly<Record<string, SharedStrategy>>
  /** The name of this node. */
  readonly node: NodeId
}

/** Hears how many members a group has here now, whenever that changes. */
export interface GroupListener {
  groupChanged(route: GroupRoute): void
}

/** The members that a node has of a group. */
export interface GroupPlace {
  readonly filter: string
  readonly node: NodeId
  /** Those whose clients are connected. */
  readonly connected: number
  readonly members: number
}

/** @template S the subscriber, a session; compared by identity. */
export class SharedGroups<S extends GroupMember> implements GroupPlacement {
  private readonly byKey = new Map<string, SharedGroup<S>>()
  private readonly byId = new Map<number, SharedGroup<S>>()
  private readonly byTopicFilter = new FilterMap<SharedGroup<S>[]>()
  private readonly memberships = new Map<S, Map<string, Membership<S>>>()
  private readonly strategies: ReadonlyMap<string, SharedStrategy>
  private readonly matched: SharedGroup<S>[][] = []
  private readonly announced = new DigestAccumulator()
  private readonly announcedTexts = new Map<SharedGroup<S>, string>()
  /** Of the nodes that are not reachable. */
  private readonly reaches = new Map<NodeId, Reach>()
  private listener: GroupListener | undefined
  private lastId = 0
  private changes = 0
  private movements = 0
  private total = 0

  constructor(private readonly options: SharedGroupsOptions) {
    this.strategies = new Map(Object.entries(options.strategies))
  }

  /** Moves when a group appears or goes, which changes what a match would find; not when members come and go. */
  get generation(): number {
    return this.changes
  }

  /** Moves when members come, go or are reached otherwise than before, here or elsewhere. */
  get memberChanges(): number {
    return this.movements
  }

  /** Number of memberships here. */
  get size(): number {
    return this.total
  }

  /** The group with this key, as long as it has members anywhere. */
  get(key: string): SharedGroup<S> | undefined {
    return this.byKey.get(key)
  }

  /** The group by the number that this node has told others. */
  withId(id: number): SharedGroup<S> | undefined {
    return this.byId.get(id)
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
    this.announce(group)
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
    this.announce(group)
    this.closeIfEmpty(group)
    return true
  }

  /** The subscriber's client has come or gone; false when it is a member of nothing. */
  refresh(subscriber: S): boolean {
    const own = this.memberships.get(subscriber)
    if (own === undefined) return false
    for (const membership of own.values()) {
      const group = this.byKey.get(membership.filter)
      if (group?.refresh(membership) === true) this.announce(group)
    }
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

  // ── what the other nodes are told ────────────────────────────────────────────────────────────────────────────

  /** Sets who hears of members here from now on; `routes` tells what came before. */
  setListener(listener: GroupListener | undefined): void {
    this.listener = listener
  }

  /** The groups with members here. May be read while they change: what was there all the time is in it. */
  *routes(): IterableIterator<GroupRoute> {
    for (const group of this.byKey.values()) if (group.memberCount > 0) yield group.route
  }

  /** Where members are, by node and group: those here, then those of other nodes as these have told. */
  *placements(): IterableIterator<GroupPlace> {
    for (const { filter, connected, members } of this.routes()) {
      yield { filter, node: this.options.node, connected, members }
    }
    for (const { key, elsewhere } of this.byKey.values()) {
      for (const { node, connected, members } of elsewhere) yield { filter: key, node, connected, members }
    }
  }

  /** The digest of `routes`. */
  digest(): RouteDigest {
    return this.announced.value
  }

  /** The node stops: what comes from now on goes to members elsewhere, if there are any. */
  leave(): void {
    for (const group of this.byKey.values()) {
      if (group.memberCount === 0) continue
      group.leave()
      this.announce(group)
    }
  }

  // ── what they tell ───────────────────────────────────────────────────────────────────────────────────────────

  place(node: NodeId, route: GroupRoute): void {
    // A peer's word is not taken for what would not be accepted from a client.
    if (parseShared(route.filter) === undefined) return
    const group = this.byKey.get(route.filter) ?? this.open(route.filter)
    this.movements += 1
    group.place(node, route, this.reaches.get(node) ?? 'reachable')
  }

  withdraw(node: NodeId, filter: string): void {
    const group = this.byKey.get(filter)
    if (group === undefined) return
    this.movements += 1
    group.withdraw(node)
    this.closeIfEmpty(group)
  }

  /** A node that is not reachable is chosen only when nobody else is there. */
  setReach(node: NodeId, reach: Reach): void {
    if ((this.reaches.get(node) ?? 'reachable') === reach) return
    if (reach === 'reachable') this.reaches.delete(node)
    else this.reaches.set(node, reach)
    this.movements += 1
    for (const group of this.byKey.values()) group.setReach(node, reach)
  }

  private announce(group: SharedGroup<S>): void {
    const { route } = group
    this.movements += 1
    const before = this.announcedTexts.get(group)
    if (before !== undefined) this.announced.remove(before)
    if (route.members === 0) {
      this.announcedTexts.delete(group)
    } else {
      const text = routeText(route)
      this.announced.add(text)
      this.announcedTexts.set(group, text)
    }
    this.listener?.groupChanged(route)
  }

  private open(key: string): SharedGroup<S> {
    const shared = parseShared(key)
    if (shared === undefined) throw new TypeError(`not a shared subscription: ${key}`)
    const { strategy, node } = this.options
    this.lastId += 1
    const group = new SharedGroup<S>({
      key,
      topicFilter: shared.filter,
      strategy: this.strategies.get(shared.group) ?? strategy,
      id: this.lastId,
      node,
    })
    this.byKey.set(key, group)
    this.byId.set(group.id, group)
    const groups = this.byTopicFilter.get(shared.filter)
    if (groups === undefined) this.byTopicFilter.set(shared.filter, [group])
    else groups.push(group)
    this.changes += 1
    return group
  }

  private closeIfEmpty(group: SharedGroup<S>): void {
    if (!group.isEmpty) return
    this.byKey.delete(group.key)
    this.byId.delete(group.id)
    const groups = this.byTopicFilter.get(group.topicFilter) ?? []
    groups.splice(groups.indexOf(group), 1)
    if (groups.length === 0) this.byTopicFilter.delete(group.topicFilter)
    this.changes += 1
  }
}
