/**
 * A message that came over a link for a group: the peer keeps it until it is settled here, so that another member gets
 * it should this node go before that.
 */

import type { DeliveryOptions, Hold, Share } from '../mqtt/session/session.js'
import type { QoS } from '../mqtt/wire/packets.js'
import type { Receipts } from './ports.js'

export class GuardedCopy implements Share {
  private isSettled = false
  /** Hears when the session that has it is kept with it; undefined: it is with none that is to be. */
  private keeper: KeptCopy | undefined
  /** The peer has been told that the disk here has it. */
  private isKept = false

  constructor(
    readonly group: object,
    private readonly receipt: number,
    private readonly receipts: Receipts,
  ) {}

  settle(): void {
    if (this.isSettled) return
    this.isSettled = true
    this.receipts.settle(this.receipt)
  }

  /** It goes on to another member: what a commit of the session that had it says counts no more. */
  takeOut(): void {
    this.keeper = undefined
    if (!this.isKept) return
    this.isKept = false
    if (!this.isSettled) this.receipts.unkeep(this.receipt)
  }

  /**
   * It goes to a session that is kept; returns what that session holds for it.
   * @param isOnce it must not come to two members: once it is kept no other needs it any more
   */
  keepWith(pending: Hold, isOnce: boolean): Hold {
    this.keeper = new KeptCopy(this, isOnce, pending)
    return this.keeper
  }

  /** A session has it that outlives this node. */
  kept(keeper: KeptCopy): void {
    if (keeper !== this.keeper || this.isSettled || this.isKept) return
    if (keeper.isOnce) return this.settle()
    this.isKept = true
    this.receipts.keep(this.receipt)
  }
}

/** Stands for who waits for a message that goes to a session which is kept: once it is, the peer is told. */
class KeptCopy implements Hold {
  private holds = 0

  constructor(
    private readonly copy: GuardedCopy,
    readonly isOnce: boolean,
    private readonly pending: Hold,
  ) {}

  get isExact(): boolean {
    return this.pending.isExact === true
  }

  hold(): void {
    this.holds += 1
    this.pending.hold()
  }

  release(): void {
    this.holds -= 1
    if (this.holds === 0) this.copy.kept(this)
    this.pending.release()
  }

  defer(): void {
    this.pending.defer?.()
  }

  resume(): void {
    this.pending.resume?.()
  }
}

/** A membership as it is for one such message. */
export class GuardedDelivery implements DeliveryOptions {
  readonly qos: QoS
  readonly noLocal = false
  readonly retainAsPublished: boolean
  readonly subscriptionIds: readonly number[] | undefined

  constructor(
    membership: DeliveryOptions,
    readonly share: GuardedCopy,
  ) {
    this.qos = membership.qos
    this.retainAsPublished = membership.retainAsPublished
    this.subscriptionIds = membership.subscriptionIds
  }
}
