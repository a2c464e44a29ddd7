/** What is said of a session that moves between nodes. */

import type { Message } from '../wire/message.js'
import type { Hold } from './back-pressure.js'
import type { DeliveryOptions } from './delivery.js'
import type { InFlight } from './in-flight-window.js'
import type { ReceivedQos2 } from './inbound-qos2.js'

/** See `Session.describe`. */
export interface SessionDescription {
  /** Seconds. */
  readonly expiryInterval: number
  readonly lastPacketId: number
  /** In order of sending. */
  readonly inFlight: Iterable<InFlight>
  readonly received: Iterable<readonly [packetId: number, message: ReceivedQos2]>
  /** Topic filters whose retained messages the client has not got in full. */
  readonly retainedFeeds: Iterable<string>
  /** Of a session that is kept: the place of the message that is first in its queue; undefined when that is empty. */
  readonly firstPlace: number | undefined
}

/** Who decides about messages for a session that moves between nodes: each node delivers its part of them. */
export interface DeliveryGate {
  /**
   * Whether the message that is being delivered is this node's to deliver, and is now: one that is held back comes again.
   * @param pending of whoever waits until the session has it
   */
  admits(message: Message, delivery: DeliveryOptions, pending: Hold | undefined): boolean
}
