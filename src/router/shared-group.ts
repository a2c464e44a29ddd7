/**
 * One group of one filter, `$share/{group}/{filter}`: its members here, the numbers of its members on other nodes, and
 * which of them gets a message. A node that is chosen for its members chooses one of them itself. Members whose clients
 * are connected come first; one whose client is away gets a message only when no other is there.
 */

import type { SharedStrategy } from '../config/mqtt-options.js'
import type { GroupRoute } from './group-routes.js'
import { Membership } from './membership.js'
import type { NodeId } from './route-table.js'
import { hashText, placeOf, rehash } from './share-choice.js'

/** What a group asks of a subscriber. */
export interface GroupMember {
  /** Its client is connected. */
  readonly isAttached: boolean
  /** It is behind with what it has: whoever may be chosen instead, should be. */
  readonly isBusy: boolean
}

/**
 * What a node that has members can be expected to do: it hears of a message at once; it is silent, and may be back in
 * seconds; or it is down or has left.
 */
export type Reach = 'reachable' | 'awaited' | 'lost'

/** The members that another node has. */
export class RemoteMembers {
  connected = 0
  members = 0
  /** The group's number there. */
  id = 0

  constructor(
    readonly node: NodeId,
    public reach: Reach,
  ) {}
}

/** Who gets a message: a member here, or a node that has members. */
export type Choice<S> = Membership<S> | RemoteMembers

/** Members looked at for one that is not busy, before the message goes to one that is. */
const LOOKED_AT_MAXIMUM = 32

export interface SharedGroupOptions {
  /** The filter as it was subscribed to, `$share/{group}/{filter}` or `$queue/{filter}`. */
  readonly key: string
  /** The filter that topics are matched with. */
  readonly topicFilter: string
  readonly strategy: SharedStrategy
  /** By which messages from other nodes name it. */
  readonly id: number
  /** The name of this node: with those of the others it gives an order that is the same everywhere. */
  readonly node: NodeId
}

export class SharedGroup<S extends GroupMember> {
  readonly key: string
  readonly topicFilter: string
  readonly id: number
  readonly strategy: SharedStrategy
  /** A node that is silent keeps what a hash gives it until it counts as down: so a topic keeps its order. */
  private readonly isPatient: boolean
  private readonly node: NodeId
  private readonly here: Membership<S>[] = []
  private readonly away: Membership<S>[] = []
  /** In the order of their names. */
  private readonly remotes: RemoteMembers[] = []
  /** Round robin: who was last, here and of all nodes. */
  private cursor = 0
  private turn = 0
  /** The node stops: its members give way to those elsewhere, and the other nodes do not count them. */
  private isLeaving = false
  /** Sticky: who it is. */
  private stuck: Choice<S> | undefined

  constructor({ key, topicFilter, strategy, id, node }: SharedGroupOptions) {
    this.key = key
    this.topicFilter = topicFilter
    this.strategy = strategy
    this.isPatient = strategy === 'hash_topic' || strategy === 'hash_clientid'
    this.id = id
    this.node = node
  }

  /** Members here. */
  get memberCount(): number {
    return this.here.length + this.away.length
  }

  /** Members on other nodes, as these have told. */
  get elsewhere(): readonly RemoteMembers[] {
    return this.remotes
  }

  /** Neither here nor elsewhere is a member. */
  get isEmpty(): boolean {
    return this.memberCount === 0 && this.remotes.length === 0
  }

  /** Some member's client is connected, here or on a node that is there. */
  get isServed(): boolean {
    return (this.here.length > 0 && !this.isLeaving) || this.weighRemotes(true) > 0
  }

  /** Some member, its client connected or not, is here or on a node that is there. */
  get isWithinReach(): boolean {
    return (this.memberCount > 0 && !this.isLeaving) || this.weighRemotes(false) > 0
  }

  /** Whoever may be chosen for a message is here and behind with what it has. */
  get isBehind(): boolean {
    if (this.memberCount === 0 || this.isLeaving) return false
    const members = this.here.length > 0 ? this.here : this.away
    const isBusy = (member: Membership<S> | undefined): boolean => member?.subscriber.isBusy === true
    const looked = Math.min(members.length, LOOKED_AT_MAXIMUM)
    // These keep to one member, and it is not known to which before it is chosen.
    const keepsToOne = this.strategy === 'sticky' || this.isPatient
    if (!keepsToOne && this.weighRemotes(this.here.length > 0) > 0) return false
    for (let place = 0; place < looked; place += 1) if (isBusy(members[place]) === keepsToOne) return keepsToOne
    return !keepsToOne
  }

  /** How a message published here has come to its member: the group itself, and nobody has to know when it is settled. */
  get group(): this {
    return this
  }

  settle(): void {}

  /** What the other nodes are to know. */
  get route(): GroupRoute {
    const [connected, members] = this.isLeaving ? [0, 0] : [this.here.length, this.memberCount]
    return { filter: this.key, id: this.id, connected, members }
  }

  // ── members here ─────────────────────────────────────────────────────────────────────────────────────────────

  add(membership: Membership<S>): void {
    this.enlist(membership, membership.subscriber.isAttached)
  }

  remove(membership: Membership<S>): void {
    const members = membership.isHere ? this.here : this.away
    // The last one takes its place: the others keep theirs, and with them what a hash gives them.
    const last = members.pop() as Membership<S>
    if (last !== membership) {
      members[membership.place] = last
      last.place = membership.place
    }
    if (this.stuck === membership) this.stuck = undefined
  }

  /** A membership with other options takes the place of an earlier one of the same subscriber. */
  replace(earlier: Membership<S>, membership: Membership<S>): void {
    membership.isHere = earlier.isHere
    membership.place = earlier.place
    const members = earlier.isHere ? this.here : this.away
    members[earlier.place] = membership
    if (this.stuck === earlier) this.stuck = membership
  }

  /** The member's client has come or gone; false when that is known. */
  refresh(membership: Membership<S>): boolean {
    if (membership.isHere === membership.subscriber.isAttached) return false
    this.remove(membership)
    this.enlist(membership, membership.subscriber.isAttached)
    return true
  }

  leave(): void {
    this.isLeaving = true
  }

  // ── members elsewhere ────────────────────────────────────────────────────────────────────────────────────────

  place(node: NodeId, { id, connected, members }: GroupRoute, reach: Reach): void {
    let remote = this.remoteOf(node)
    if (remote === undefined) {
      remote = new RemoteMembers(node, reach)
      this.remotes.push(remote)
      this.remotes.sort((one, other) => (one.node < other.node ? -1 : 1))
    }
    remote.id = id
    remote.connected = connected
    remote.members = members
  }

  withdraw(node: NodeId): void {
    const remote = this.remoteOf(node)
    if (remote === undefined) return
    this.remotes.splice(this.remotes.indexOf(remote), 1)
    if (this.stuck === remote) this.stuck = undefined
  }

  setReach(node: NodeId, reach: Reach): void {
    const remote = this.remoteOf(node)
    if (remote !== undefined) remote.reach = reach
  }

  // ── the choice ───────────────────────────────────────────────────────────────────────────────────────────────

  /** What a strategy that hashes chooses by, for `choose` and `chooseHere`; 0 for the others. */
  hashOf(topic: string, publisherId: string): number {
    if (this.strategy === 'hash_topic') return hashText(topic)
    return this.strategy === 'hash_clientid' ? hashText(publisherId) : 0
  }

  /** Who gets a message; undefined when there is nobody. Costs the same however many members there are. */
  choose(hash: number): Choice<S> | undefined {
    if (this.remotes.length === 0) return this.chooseHere(hash)
    const isConnected = this.isServed
    const here = this.isLeaving ? 0 : isConnected ? this.here.length : this.away.length
    const elsewhere = this.weighRemotes(isConnected)
    // Rather to a node that may come back than to nobody.
    if (here + elsewhere === 0) return this.isLeaving ? this.chooseHere(hash) : this.nextBack()
    if (elsewhere === 0 || (here > 0 && this.strategy === 'local')) return this.chooseHere(hash)
    const count = here + elsewhere
    switch (this.strategy) {
      case 'sticky':
        if (!this.isStillGood(isConnected)) this.stuck = this.chooseAt(randomPlace(count), hash, here, isConnected)
        return this.stuck
      case 'hash_clientid':
      case 'hash_topic':
        return this.chooseAt(placeOf(hash, count), hash, here, isConnected)
      case 'random':
        return this.relieve(this.chooseAt(randomPlace(count), hash, here, isConnected), elsewhere, isConnected)
      case 'round_robin':
      case 'local':
        this.turn = (this.turn + 1) % count
        return this.relieve(this.chooseAt(this.turn, hash, here, isConnected), elsewhere, isConnected)
    }
  }

  /**
   * The member here that gets a message; undefined when there is none. A busy member is passed over where the strategy
   * leaves the choice; `sticky` and the hashes promise one member, and keep to it.
   */
  chooseHere(hash: number): Membership<S> | undefined {
    if (this.isLeaving && this.isServed) return undefined
    const members = this.here.length > 0 ? this.here : this.away
    if (members.length <= 1) return members[0]
    switch (this.strategy) {
      case 'random':
        return freeFrom(members, randomPlace(members.length))
      case 'round_robin':
      case 'local':
        return this.nextFree(members)
      case 'sticky':
        return this.keepTo(members)
      case 'hash_clientid':
      case 'hash_topic':
        // Another hash than the one that chose the node, or some members of a node would never be chosen.
        return members[placeOf(rehash(hash), members.length)]
    }
  }

  private nextFree(members: readonly Membership<S>[]): Membership<S> | undefined {
    const chosen = freeFrom(members, (this.cursor + 1) % members.length)
    if (chosen !== undefined) this.cursor = chosen.place
    return chosen
  }

  private keepTo(members: readonly Membership<S>[]): Membership<S> | undefined {
    const { stuck } = this
    // Someone who is away gives way to someone who is here.
    if (stuck instanceof Membership && members[stuck.place] === stuck) return stuck
    const chosen = freeFrom(members, randomPlace(members.length))
    this.stuck = chosen
    return chosen
  }

  /** Counts through the nodes in the order of their names, this one among them. */
  private chooseAt(place: number, hash: number, here: number, isConnected: boolean): Choice<S> | undefined {
    let left = place
    let isOwnPassed = false
    for (const remote of this.remotes) {
      if (!isOwnPassed && remote.node > this.node) {
        if (left < here) return this.chooseHere(hash)
        left -= here
        isOwnPassed = true
      }
      const weight = this.weightOf(remote, isConnected)
      if (left < weight) return remote
      left -= weight
    }
    return this.chooseHere(hash)
  }

  /** A member here that is busy gives way to another node; whether its members are, that one knows. */
  private relieve(choice: Choice<S> | undefined, elsewhere: number, isConnected: boolean): Choice<S> | undefined {
    if (!(choice instanceof Membership) || !choice.subscriber.isBusy) return choice
    let left = randomPlace(elsewhere)
    for (const remote of this.remotes) {
      const weight = this.weightOf(remote, isConnected)
      if (left < weight) return remote
      left -= weight
    }
    return choice
  }

  private nextBack(): RemoteMembers | undefined {
    return this.remotes.find(({ reach }) => reach === 'awaited') ?? this.remotes[0]
  }

  private isStillGood(isConnected: boolean): boolean {
    const { stuck } = this
    if (stuck instanceof Membership) return (isConnected ? this.here : this.away)[stuck.place] === stuck
    return stuck !== undefined && this.weightOf(stuck, isConnected) > 0
  }

  private weighRemotes(isConnected: boolean): number {
    let total = 0
    for (const remote of this.remotes) total += this.weightOf(remote, isConnected)
    return total
  }

  private weightOf(remote: RemoteMembers, isConnected: boolean): number {
    if (remote.reach === 'lost' || (remote.reach === 'awaited' && !this.isPatient)) return 0
    return isConnected ? remote.connected : remote.members
  }

  private remoteOf(node: NodeId): RemoteMembers | undefined {
    return this.remotes.find((remote) => remote.node === node)
  }

  private enlist(membership: Membership<S>, isHere: boolean): void {
    const members = isHere ? this.here : this.away
    membership.isHere = isHere
    membership.place = members.length
    members.push(membership)
  }
}

/** The first member from a place on that is not busy; the one at that place when all that were looked at are. */
function freeFrom<S extends GroupMember>(members: readonly Membership<S>[], start: number): Membership<S> | undefined {
  const count = members.length
  let place = start
  for (let looked = Math.min(count, LOOKED_AT_MAXIMUM); looked > 0; looked -= 1) {
    const membership = members[place]
    if (membership?.subscriber.isBusy === false) return membership
    place = place + 1 === count ? 0 : place + 1
  }
  return members[start]
}

function randomPlace(count: number): number {
  return Math.floor(Math.random() * count)
}
