/**
 * A message that came over a link for a group: the peer keeps it until it is settled here, so that another member gets
 * it should this node go before that.
 */

import type { DeliveryOptions, Hold, Share } from '../mqtt/session/session.js'
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

  /** A session has it that outlives this node. @param isOnce it must not come to two members, so no other needs it any more */
  keep(isOnce: boolean): void {
    if (isOnce) this.settle()
    else if (!this.isSettled) this.receipts.keep(this.receipt)
  }
}

/** Stands for who waits for a message that goes to a session which is kept: once it is, the peer is told. */
export class KeptCopy implements Hold {
  private holds = 0

  /** @param isOnce of QoS 2 */
  constructor(
    private readonly copy: GuardedCopy,
    private readonly isOnce: boolean,
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
    if (this.holds === 0) this.copy.keep(this.isOnce)
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
