/**
 * A message that came over a link for a group: the peer keeps it until it is settled here, so that another member gets
 * it should this node go before that.
 */

import type { DeliveryOptions, Hold, Share } from '../mqtt/session/session.js'
import type { QoS } from '../mqtt/wire/packets.js'
import type { Receipts } from './ports.js'

export class GuardedCopy implements Share, Hold {
  private isSettled = false
  private pending: Hold | undefined
  private holds = 0

  /** @param isOnce of QoS 2: it must not come to two members */
  constructor(
    readonly group: object,
    private readonly receipt: number,
    private readonly receipts: Receipts,
    private readonly isOnce: boolean,
  ) {}

  /**
   * It goes to a session that is kept: from the moment when that has been done it need not be in custody for the sake of this
   * node, and one of QoS 2 is settled.
   * @returns who is to be held in place of `pending`
   */
  keptWith(pending: Hold): Hold {
    this.pending = pending
    return this
  }

  hold(): void {
    this.holds += 1
    this.pending?.hold()
  }

  release(): void {
    this.holds -= 1
    if (this.holds === 0 && !this.isSettled) {
      if (this.isOnce) this.settle()
      else this.receipts.keep(this.receipt)
    }
    this.pending?.release()
  }

  defer(): void {
    this.pending?.defer?.()
  }

  resume(): void {
    this.pending?.resume?.()
  }

  get isExact(): boolean {
    return this.pending?.isExact === true
  }

  settle(): void {
    if (this.isSettled) return
    this.isSettled = true
    this.receipts.settle(this.receipt)
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
