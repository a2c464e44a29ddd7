/**
 * A message that came over a link for a group: the peer keeps it until it is settled here, so that another member gets
 * it should this node go before that.
 */

import type { DeliveryOptions, Share } from '../mqtt/session/session.js'
import type { QoS } from '../mqtt/wire/packets.js'
import type { Receipts } from './ports.js'

export class GuardedCopy implements Share {
  private isSettled = false

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
