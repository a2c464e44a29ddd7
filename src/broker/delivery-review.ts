/** Aedes' `authorizeForward`: may change or withhold what one client gets. Set at any time; without it nothing is looked at. */

import type { Aedes } from 'aedes'
import type { Connection } from '../mqtt/connection.js'
import { Session } from '../mqtt/session/session.js'
import type { Message } from '../mqtt/wire/message.js'
import type { AedesClient } from './aedes-client.js'
import { type AedesPublishPacket, afterHook, publishProblem } from './aedes-packets.js'
import type { Hooks } from './hooks.js'
import type { Publisher } from './publish.js'
import type { DeliveryFilter } from './subscriber.js'

export interface DeliveryReviewModules {
  readonly aedes: Aedes
  readonly hooks: Hooks
  readonly publisher: Publisher
  readonly clientOf: (connection: Connection) => AedesClient
  /** Undefined while the client is away. */
  readonly connectionOf: (session: Session) => Connection | undefined
  readonly packetOf: (message: Message) => AedesPublishPacket
}

export class DeliveryReview {
  private readonly filter: DeliveryFilter = (subscriber, message) => {
    const connection = subscriber instanceof Session ? this.modules.connectionOf(subscriber) : undefined
    return connection === undefined ? message : this.review(connection, message)
  }

  constructor(private readonly modules: DeliveryReviewModules) {}

  /** Before messages are delivered: whether each delivery is to be looked at. */
  watch(): void {
    const { hooks, publisher } = this.modules
    publisher.deliveryFilter = hooks.isDeliveryGuarded ? this.filter : undefined
  }

  /** What a client gets in the place of a message; undefined when `authorizeForward` withholds it. */
  review(connection: Connection, message: Message): Message | undefined {
    const { aedes, hooks, clientOf, packetOf } = this.modules
    if (!hooks.isDeliveryGuarded) return message
    const packet = packetOf(message)
    const shown = { ...packet }
    const forwarded = aedes.authorizeForward(clientOf(connection), packet)
    if (!forwarded || publishProblem(forwarded) !== undefined) return undefined
    return afterHook(message, shown, forwarded)
  }
}
