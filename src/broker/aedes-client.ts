/**
 * A connection as Aedes' hooks and events know it: their `client`. Made when a hook or an event first needs it, so
 * that connections without either do not pay for an emitter each.
 */

import { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Client, PublishPacket, SubscribePacket, Subscription, Subscriptions, UnsubscribePacket } from 'aedes'
import type { Connection } from '../mqtt/connection.js'
import type { Message } from '../mqtt/wire/message.js'
import type { QoS, SubscriptionRequest } from '../mqtt/wire/packets.js'
import { ReasonCode } from '../mqtt/wire/reason-codes.js'
import { fromAedesPacket, publishProblem } from './aedes-packets.js'

/** What this client gets in the place of a message: `authorizeForward`, where a program has set it. */
export type ClientReview = (connection: Connection, message: Message) => Message | undefined

export class AedesClient extends EventEmitter implements Client {
  declare req?: IncomingMessage

  /** True while `preConnect` is asked: who it is, is not known then, as in Aedes. */
  isStranger = false

  constructor(
    private readonly connection: Connection,
    private readonly review: ClientReview,
  ) {
    super()
    if (connection.origin.request !== undefined) this.req = connection.origin.request
  }

  get id(): string {
    return this.isStranger ? '' : this.connection.clientId
  }

  get clean(): boolean {
    return this.connection.session === undefined || this.connection.session.expiryInterval === 0
  }

  get version(): number {
    return this.connection.version
  }

  get conn(): Duplex {
    return this.connection.stream
  }

  get connecting(): boolean {
    return this.connection.state === 'opening'
  }

  get connected(): boolean {
    return this.connection.state === 'open'
  }

  get closed(): boolean {
    return this.connection.state === 'closed'
  }

  /** Delivers a message to this client alone. */
  publish(message: PublishPacket, callback?: (error?: Error) => void): void {
    const session = this.connection.session
    if (session === undefined) {
      setImmediate(() => callback?.(new Error('the client is not connected')))
      return
    }
    const problem = publishProblem(message)
    if (problem !== undefined) {
      setImmediate(() => callback?.(new Error(problem)))
      return
    }
    const options = {
      qos: (message.qos ?? 0) as QoS,
      noLocal: false,
      retainAsPublished: true,
      subscriptionIds: undefined,
    }
    const reviewed = this.review(this.connection, fromAedesPacket(message, ''))
    if (reviewed !== undefined) session.deliver(reviewed, options, undefined)
    setImmediate(() => callback?.())
  }

  /** Subscribes in the client's name; with a `messageId` as a packet has one, the client gets a SUBACK. */
  subscribe(
    subscriptions: Subscriptions | Subscription | Subscription[] | SubscribePacket,
    callback?: (error?: Error) => void,
  ): void {
    const requests = toList(subscriptions).map(toRequest)
    const { connection } = this
    connection.host.subscribe(connection, requests, (granted) => {
      if (connection.state === 'open') {
        const packetId = 'messageId' in subscriptions ? subscriptions.messageId : undefined
        if (packetId !== undefined) {
          const reasonCodes = granted.map(({ reasonCode }) => reasonCode)
          connection.output.send({ cmd: 'suback', packetId, reasonCodes, properties: {} })
        }
        connection.host.subscribed(connection, granted)
      }
      const isRefused = granted.some(({ reasonCode }) => reasonCode >= ReasonCode.UnspecifiedError)
      callback?.(isRefused ? new Error('a subscription was refused') : undefined)
    })
  }

  unsubscribe(
    topicObjects: Subscriptions | Subscription | Subscription[] | UnsubscribePacket,
    callback?: (error?: Error) => void,
  ): void {
    const filters =
      'unsubscriptions' in topicObjects
        ? topicObjects.unsubscriptions
        : toList(topicObjects).map((subscription) => subscription.topic)
    this.connection.host.unsubscribe(this.connection, filters, () => callback?.())
  }

  close(callback?: () => void): void {
    this.connection.close('administrative', ReasonCode.AdministrativeAction, 'closed by the broker')
    if (callback !== undefined) setImmediate(callback)
  }

  /** The session sends what it may by itself; there is nothing to push. */
  emptyOutgoingQueue(callback?: () => void): void {
    this.connection.session?.pump()
    if (callback !== undefined) setImmediate(callback)
  }
}

function toList(subscriptions: Subscriptions | Subscription | Subscription[] | SubscribePacket): Subscription[] {
  if (Array.isArray(subscriptions)) return subscriptions
  return 'subscriptions' in subscriptions ? subscriptions.subscriptions : [subscriptions]
}

function toRequest(subscription: Subscription): SubscriptionRequest {
  return {
    topicFilter: subscription.topic,
    options: {
      qos: subscription.qos as QoS,
      noLocal: subscription.nl ?? false,
      retainAsPublished: subscription.rap ?? false,
      retainHandling: (subscription.rh ?? 0) as 0 | 1 | 2,
      subscriptionId: undefined,
    },
  }
}
