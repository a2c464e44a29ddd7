/**
 * What a client publishes, from the broker's side: may it, is it kept for later, who gets it, and what Aedes' hooks and
 * events hear of it. Where nobody has set a hook or listens, a publish is one call of the Publisher.
 */

import type { Aedes, Client } from 'aedes'
import type { Logger } from 'pino'
import type { Connection } from '../mqtt/connection.js'
import type { MqttMetrics } from '../mqtt/metrics.js'
import { PUBLISH_REFUSAL_TEXTS, publishRefusalOf } from '../mqtt/refusals.js'
import type { Hold, Keeping } from '../mqtt/session/session.js'
import type { Message } from '../mqtt/wire/message.js'
import { ReasonCode } from '../mqtt/wire/reason-codes.js'
import type { AedesClient } from './aedes-client.js'
import { type AedesPublishPacket, afterHook, publishProblem } from './aedes-packets.js'
import type { CallbackPending } from './callback-pending.js'
import type { ClientEvents } from './client-events.js'
import type { DelayedMessages } from './delayed.js'
import type { DeliveryReview } from './delivery-review.js'
import { type Hooks, isReservedTopic } from './hooks.js'
import type { BrokerMetrics } from './metrics.js'
import type { Publisher } from './publish.js'
import type { ArmedWill } from './session-registry.js'
import { willMessage } from './will.js'

export interface ClientPublishingModules {
  /** On whom `publish` is emitted. */
  readonly aedes: Aedes
  readonly hooks: Hooks
  readonly events: ClientEvents
  readonly deliveries: DeliveryReview
  readonly publisher: Publisher
  readonly delayed: DelayedMessages
  readonly metrics: BrokerMetrics
  readonly log: Logger
  readonly clientOf: (connection: Connection) => AedesClient
  readonly packetOf: (message: Message) => AedesPublishPacket
}

const DOLLAR = 0x24

export class ClientPublishing {
  private readonly aedes: Aedes
  private readonly hooks: Hooks
  private readonly events: ClientEvents
  private readonly deliveries: DeliveryReview
  private readonly publisher: Publisher
  private readonly delayed: DelayedMessages
  private readonly wills: BrokerMetrics['wills']
  private readonly refused: MqttMetrics['publishesRefused']
  private readonly log: Logger
  private readonly clientOf: (connection: Connection) => AedesClient
  private readonly packetOf: (message: Message) => AedesPublishPacket

  constructor(modules: ClientPublishingModules) {
    this.aedes = modules.aedes
    this.hooks = modules.hooks
    this.events = modules.events
    this.deliveries = modules.deliveries
    this.publisher = modules.publisher
    this.delayed = modules.delayed
    this.wills = modules.metrics.wills
    this.refused = modules.metrics.mqtt.publishesRefused
    this.log = modules.log
    this.clientOf = modules.clientOf
    this.packetOf = modules.packetOf
  }

  /** See `Host`. @param connection undefined of a will that came from another node */
  authorizePublish(
    connection: Connection | undefined,
    message: Message,
    done: (reasonCode: number, message: Message) => void,
  ): void {
    const packet = this.packetOf(message)
    const shown = { ...packet }
    const client = connection === undefined ? null : this.clientOf(connection)
    this.hooks.authorizePublish(client, packet, (error) => {
      if (error !== undefined) {
        if (connection === undefined) return done(ReasonCode.NotAuthorized, message)
        // Before MQTT 5 a refusal ends the connection, and is told as its error.
        if (connection.isV5 || connection.state === 'closed') this.events.failed(connection, error)
        else connection.closeError = error
        return done(ReasonCode.NotAuthorized, message)
      }
      // The hook may have changed the packet, also into one that nobody may publish.
      if (publishProblem(packet) !== undefined) done(ReasonCode.TopicNameInvalid, message)
      else done(ReasonCode.Success, afterHook(message, shown, packet))
    })
  }

  /** See `Host`. */
  publish(connection: Connection, message: Message, pending: Keeping | undefined): number {
    // Aedes' own rule; a hook that replaced it decides for itself.
    if (message.topic.charCodeAt(0) === DOLLAR && isReservedTopic(message.topic) && !this.hooks.isPublishGuarded) {
      return ReasonCode.NotAuthorized
    }
    if (message.delay !== 0) return this.delayed.take(message, pending)
    if (message.retain && message.qos > 0 && !this.publisher.canStoreRetained(message)) {
      return ReasonCode.ImplementationSpecificError
    }
    if (message.qos > 0 && !this.publisher.canKeep(message)) return ReasonCode.ImplementationSpecificError
    // Who can be told that a message is not retained is told before anybody has it.
    if (message.retain && message.qos > 0 && connection.isV5 && !this.publisher.admitsRetained(message)) {
      return ReasonCode.QuotaExceeded
    }
    const isMatched = this.publishFor(connection, message, pending)
    return isMatched ? ReasonCode.Success : ReasonCode.NoMatchingSubscribers
  }

  /** What an embedding program publishes, itself or in the name of a client. */
  publishByProgram(message: Message, client: Client | null, pending: CallbackPending): void {
    if (message.delay === 0) {
      this.deliveries.watch()
      this.publisher.publish(message, pending)
      this.announcePublished(message, client, pending, (error) => pending.fail(error))
    } else {
      const reasonCode = this.delayed.take(message, pending)
      if (reasonCode !== ReasonCode.Success) {
        pending.fail(new Error(PUBLISH_REFUSAL_TEXTS[publishRefusalOf(reasonCode, true)]))
      }
    }
    pending.release()
  }

  /** A will is its client's last message, and needs the same permission as the others. The connection is closed. */
  publishWill(armed: ArmedWill): void {
    if (!this.mayPublishWill(armed)) {
      this.refused.access_denied.value++
      return
    }
    const { clientId, connection } = armed
    const message = willMessage(armed.will, clientId)
    const decide = (isAllowed: boolean, allowed: Message): void => {
      if (isAllowed) {
        this.wills.value++
        if (allowed.delay === 0) this.publishFor(connection, allowed, undefined)
        else this.delayWill(clientId, allowed)
      } else {
        this.refused.not_authorized.value++
      }
    }
    if (!this.hooks.isPublishGuarded) return decide(!isReservedTopic(message.topic), message)
    this.authorizePublish(connection, message, (reasonCode, allowed) => {
      decide(reasonCode === ReasonCode.Success, allowed)
    })
  }

  /** Whether the rules allow it; of a will that came from another node, that node has asked its own. */
  mayPublishWill({ will, clientId, connection }: ArmedWill): boolean {
    const rights = connection?.rights
    if (rights === undefined) return true
    const { topic, qos, retain } = willMessage(will, clientId)
    return rights.mayPublish(topic, qos, retain)
  }

  private delayWill(clientId: string, message: Message): void {
    const reasonCode = this.delayed.take(message, undefined)
    if (reasonCode === ReasonCode.Success) return
    const refusal = publishRefusalOf(reasonCode, true)
    this.refused[refusal].value++
    this.log.warn({ clientId, topic: message.topic, reason: refusal }, 'a will with a delay is not kept')
  }

  /** A message with a delay whose time has come. Its publisher may be gone. */
  publishDelayed(message: Message, settled: Keeping | undefined): void {
    if (this.publisher.isPast(message)) return
    this.deliveries.watch()
    this.publisher.publish(message, settled)
    if (this.hooks.isPublishedAsked || this.aedes.listenerCount('publish') > 0) {
      this.announcePublished(message, null, settled, (error) => {
        this.log.warn({ err: error, topic: message.topic }, 'the published hook failed for a message with a delay')
      })
    }
  }

  /** @param connection undefined where the client is not known here */
  private publishFor(connection: Connection | undefined, message: Message, pending: Keeping | undefined): boolean {
    this.deliveries.watch()
    const isMatched = this.publisher.publish(message, pending)
    if (this.hooks.isPublishedAsked || this.aedes.listenerCount('publish') > 0) {
      const client = connection === undefined ? null : this.clientOf(connection)
      this.announcePublished(message, client, pending, (error) => {
        if (connection === undefined) {
          this.log.warn({ err: error, topic: message.topic }, 'the published hook failed for a will')
          return
        }
        connection.closeError ??= error
        connection.close('administrative', ReasonCode.ImplementationSpecificError, error.message)
      })
    }
    return isMatched
  }

  /**
   * Aedes' `published` hook and `publish` event; the publisher is answered only when the hook is done.
   * @param failed called when the hook could not deal with the message, before the publisher would be answered
   */
  announcePublished(
    message: Message,
    client: Client | null,
    pending: Hold | undefined,
    failed: (error: Error) => void,
  ): void {
    const packet = this.packetOf(message)
    if (this.hooks.isPublishedAsked) {
      pending?.hold()
      this.hooks.published(packet, client, (error) => {
        if (error !== undefined) failed(error)
        pending?.release()
      })
    }
    this.aedes.emit('publish', packet, client)
  }
}
