/** Who stands in the local subscription table: a session, or a function that the embedding program subscribed. */

import type { DeliveryOptions, Hold } from '../mqtt/session/session.js'
import type { Message } from '../mqtt/wire/message.js'
import type { GroupMember } from '../router/shared-group.js'

export interface Subscriber extends GroupMember {
  /** What it gets at QoS 1 and 2 is kept on disk. */
  readonly isKept?: boolean
  /** It is a session on its way here from another node. */
  readonly isArriving?: boolean
  deliver(message: Message, delivery: DeliveryOptions, pending: Hold | undefined): void
}

/** May change or withhold (undefined) what one subscriber gets: Aedes' `authorizeForward`. */
export type DeliveryFilter = (subscriber: Subscriber, message: Message) => Message | undefined
