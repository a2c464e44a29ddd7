/** One member's subscription to a group: all by itself a delivery, like every subscription. */

import type { QoS, SubscriptionOptions } from '../mqtt/wire/packets.js'
import type { Subscription } from './subscription-table.js'

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
    /** The group itself: what was published here is kept for nobody. */
    readonly share: { readonly group: object; settle(): void },
  ) {
    this.qos = options.qos
    this.retainAsPublished = options.retainAsPublished
    this.subscriptionIds = options.subscriptionId === undefined ? undefined : [options.subscriptionId]
  }
}
