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
  /** How the message came by a shared subscription: one that another member may get instead. */
  readonly share?: Share
}

/** How a message came by a shared subscription. */
export interface Share {
  /** The group of which the session is a member. */
  readonly group: object
  /**
   * No other member is to get the message any more: its client has acknowledged it, or been sent it at QoS 2, or it was
   * dropped by a limit. Not called when the session gives the message away (`Session.takeShared`), nor when it ends.
   */
  settle(): void
  /** The session gives it away (`Session.takeShared`): that it is kept with the session, or will be, says nothing any more. */
  takeOut?(): void
}

/** A message that came by a shared subscription. */
export interface SharedMessage {
  readonly message: Message
  readonly share: Share
  /** Where it was kept; 0 for nowhere. */
  readonly place: number
}
