/** How messages come to a session, and how those of shared subscriptions leave it again. */

import type { Message } from '../wire/message.js'
import type { QoS } from '../wire/packets.js'

/** How one subscription (or several overlapping ones) wants its messages. */
export interface DeliveryOptions {
  readonly qos: QoS
  readonly noLocal: boolean
  readonly retainAsPublished: boolean
  readonly subscriptionIds: readonly number[] | undefined
  /** With `noLocal`: what the other subscriptions want of the client's own messages; undefined when there are none. */
  readonly own?: DeliveryOptions | undefined
  /** The group by which the message came, of a shared subscription: a message that another member may get instead. */
  readonly share?: object
}

/** A message that came by a shared subscription. */
export interface SharedMessage {
  readonly message: Message
  readonly share: object
}
