/**
 * One group of one filter, `$share/{group}/{filter}`: its members here, and which of them gets a message. Members
 * whose client is connected come first; one whose client is away gets a message only when no other is there.
 */

import type { SharedStrategy } from '../config/mqtt-options.js'
import type { QoS, SubscriptionOptions } from '../mqtt/wire/packets.js'
import { hashText, placeOf } from './share-choice.js'
import type { Subscription } from './subscription-table.js'

/** What a group asks of a subscriber. */
export interface GroupMember {
  /** Its client is connected. */
  readonly isAttached: boolean
  /** It is behind with what it has: whoever may be chosen instead, should be. */
  readonly isBusy: boolean
}

/** Members looked at for one that is not busy, before the message goes to one that is. */
const LOOKED_AT_MAXIMUM = 32

/** One member's subscription: all by itself a delivery, like every subscription. */
export class Membership<S> implements Subscription<S> {
  readonly qos: QoS
  /** Nobody can ask for it here. [MQTT-3.8.3-4] */
  readonly noLocal = false
  readonly retainAsPublished: boolean
  readonly subscriptionIds: readonly number[] | undefined
  /** Belongs to the group: the list that the membership is in, and where. */
  isHere = false
  place = 0

  constructor(
    readonly subscriber: S,
    readonly filter: string,
    readonly options: Readonly<SubscriptionOptions>,
    readonly share: object,
  ) {
    this.qos = options.qos
    this.retainAsPublished = options.retainAsPublished
    this.subscriptionIds = options.subscriptionId === undefined ? undefined : [options.subscriptionId]
  }
}

export class SharedGroup<S extends GroupMember> {
  private readonly here: Membership<S>[] = []
  private readonly away: Membership<S>[] = []
  /** Round robin: who was last. */
  private cursor = 0
  /** Sticky: who it is. */
  private stuck: Membership<S> | undefined

  /**
   * @param key the filter as it was subscribed to, `$share/{group}/{filter}` or `$queue/{filter}`
   * @param topicFilter the filter that topics are matched with
   */
  constructor(
    readonly key: string,
    readonly topicFilter: string,
    private readonly strategy: SharedStrategy,
  ) {}

  /** Members whose clients are connected. */
  get connectedCount(): number {
    return this.here.length
  }

  get memberCount(): number {
    return this.here.length + this.away.length
  }

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

  /** The member's client has come or gone. */
  refresh(membership: Membership<S>): void {
    if (membership.isHere === membership.subscriber.isAttached) return
    this.remove(membership)
    this.enlist(membership, membership.subscriber.isAttached)
  }

  /**
   * The member that gets a message; undefined when there is none. A busy member is passed over where the strategy
   * leaves the choice; `sticky` and the hashes promise one member, and keep to it.
   */
  choose(topic: string, publisherId: string): Membership<S> | undefined {
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
        return members[placeOf(hashText(publisherId), members.length)]
      case 'hash_topic':
        return members[placeOf(hashText(topic), members.length)]
    }
  }

  private nextFree(members: readonly Membership<S>[]): Membership<S> | undefined {
    const chosen = freeFrom(members, (this.cursor + 1) % members.length)
    if (chosen !== undefined) this.cursor = chosen.place
    return chosen
  }

  private keepTo(members: readonly Membership<S>[]): Membership<S> | undefined {
    // Someone who is away gives way to someone who is here.
    if (this.stuck === undefined || members[this.stuck.place] !== this.stuck) {
      this.stuck = freeFrom(members, randomPlace(members.length))
    }
    return this.stuck
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
