/**
 * Messages for groups of shared subscriptions: each goes to one member, here or on another node, or waits until there is one.
 * Who publishes chooses; who is chosen gives it to a member of its own (`GroupTargets`).
 */

import type { Hold, Share } from '../mqtt/session/session.js'
import type { Message } from '../mqtt/wire/message.js'
import { GroupTargets } from '../router/group-targets.js'
import { Membership } from '../router/membership.js'
import type { Choice, SharedGroup } from '../router/shared-group.js'
import type { SharedGroups } from '../router/shared-groups.js'
import { GuardedCopy, GuardedDelivery } from './guarded-copy.js'
import type { BrokerMetrics } from './metrics.js'
import type { PendingPublish, Receipts } from './ports.js'
import { StoredFirst } from './stored-first.js'
import type { DeliveryFilter, Subscriber } from './subscriber.js'
import type { WaitingGroups } from './waiting-groups.js'

/** Publishers of these messages were answered: nobody waits, but a queue must take them as if somebody did. */
export const ANSWERED: Hold = {
  hold() {},
  release() {},
  // It leaves another place in the commit by which it is kept.
  isExact: true,
}

export interface GroupDeliveryModules {
  readonly groups: SharedGroups<Subscriber>
  readonly metrics: BrokerMetrics
  /** To the nodes that are chosen, for these groups only. */
  readonly forward: (message: Message, pending: PendingPublish | undefined, targets: GroupTargets) => void
  /** See `Publisher.isPast`. */
  readonly isPast: (message: Message) => boolean
}

export class GroupDelivery {
  /** Undefined on the fast path: nobody has asked to see each delivery. */
  filter: DeliveryFilter | undefined
  /** Where messages wait for a member of their group; undefined without a store. */
  waiting: WaitingGroups | undefined
  /** Reused; undefined while it is in use, since a subscriber may publish while it is given a message. */
  private spareTargets: GroupTargets | undefined

  constructor(private readonly modules: GroupDeliveryModules) {}

  /** To one member of each group that is here; the other groups are returned with their nodes, if any. */
  deliver(
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

  /** What `deliver` has returned is not needed any more. */
  release(targets: GroupTargets): void {
    this.spareTargets = targets
  }

  /**
   * A message that a peer forwarded, to a member of each group that the peer has chosen this node for.
   * @param receipts where the peer is told what becomes of what it keeps for members here
   * @param isPast it has expired: nobody gets it
   */
  deliverForwarded(
    targets: GroupTargets,
    message: Message,
    pending: PendingPublish | undefined,
    receipts: Receipts | undefined,
    isPast: boolean,
  ): void {
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

  /** See `ForwardedSink.placeAgain`. */
  placeAgain(key: string, message: Message, isLast: boolean, pending: PendingPublish = ANSWERED): boolean {
    const { groups, metrics, isPast } = this.modules
    const group = groups.get(key)
    if (!isLast && group?.isWithinReach !== true) return false
    message.isAged = true
    if (isPast(message)) return true
    if (group === undefined) {
      this.strand(key, message, pending)
    } else {
      metrics.redispatched.value++
      this.place(group, message, pending)
    }
    return true
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
      this.modules.forward(message, message.qos === 0 ? undefined : StoredFirst.of(pending), targets)
      // From now on it is this node that keeps it for the next.
      share?.settle()
    }
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

  /** Nobody is within reach, or others wait, and are before it. */
  private mustWait(
    waiting: WaitingGroups,
    { key }: SharedGroup<Subscriber>,
    choice: Choice<Subscriber> | undefined,
  ): boolean {
    return waiting.has(key) || choice === undefined || (!(choice instanceof Membership) && choice.reach === 'lost')
  }

  /** There is nobody to have it: it waits, if there may be somebody, and is dropped and counted otherwise. */
  private strand(key: string, message: Message, pending: Hold | undefined): void {
    if (key !== '' && message.qos > 0 && this.waiting?.keep(key, message, pending) === true) return
    this.modules.metrics.unplaced.value++
  }

  private deliverTo(
    membership: Membership<Subscriber>,
    message: Message,
    pending: Hold | undefined,
    copy?: GuardedCopy,
  ): void {
    const { subscriber } = membership
    const allowed = this.filter === undefined ? message : this.filter(subscriber, message)
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
