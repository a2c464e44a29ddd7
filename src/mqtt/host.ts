/**
 * Host: what a connection asks of the broker. The connection speaks MQTT; whose session it is, who may do what and
 * where a message goes, the Host knows. `broker/` implements it.
 */

import type { Logger } from 'pino'
import type { MqttOptions } from '../config/options.js'
import type { TimerWheel } from '../util/timer-wheel.js'
import type { EnhancedAuthenticator } from './authenticator.js'
import type { CloseReason } from './close-reason.js'
import type { Connection } from './connection.js'
import type { MqttMetrics } from './metrics.js'
import type { OutboxModules } from './outbox.js'
import type { InFlight } from './session/in-flight-window.js'
import type { Keeping, Session } from './session/session.js'
import type { PublishHeader } from './wire/decode.js'
import type { Message } from './wire/message.js'
import type { ConnackPacket, ConnectPacket, QoS, SubscriptionOptions, SubscriptionRequest } from './wire/packets.js'
import type { TopicNames } from './wire/topic-names.js'

/** What all connections of a node share. */
export interface ConnectionModules {
  readonly options: MqttOptions
  readonly timers: TimerWheel
  readonly outbox: OutboxModules
  /** Scratch of the PUBLISH decoder: valid until the next PUBLISH is decoded. */
  readonly publishHeader: PublishHeader
  /** Of the publishers. */
  readonly topicNames: TopicNames
  readonly metrics: MqttMetrics
  /** By Authentication Method. */
  readonly authenticators: ReadonlyMap<string, EnhancedAuthenticator>
  readonly log: Logger
}

/** How a CONNECT ends. */
export type OpenOutcome =
  | { readonly session: Session; readonly sessionPresent: boolean }
  | { readonly refusal: number; readonly reason: string }

/** What became of one requested subscription. */
export interface Grant {
  readonly topicFilter: string
  /** The granted QoS, or why it was refused. */
  readonly reasonCode: number
  /** Why it was refused, in words. */
  readonly reason?: string
  readonly options: SubscriptionOptions
  /** False when it replaced one that the session had already. */
  readonly isNew: boolean
}

/** What one client may do, asked for every message: answers at once. */
export interface ClientRights {
  /** Whether a client that oversteps its rights is disconnected, rather than its message or subscription refused. */
  readonly closesWhenDenied: boolean
  mayPublish(topic: string, qos: QoS, retain: boolean): boolean
  /** @param filter as in the SUBSCRIBE packet, that of a shared subscription included. */
  maySubscribe(filter: string, qos: QoS): boolean
}

/** How a client has shown who it is. */
export type IdentityProof = 'password' | 'certificate' | 'preshared_key' | 'enhanced' | 'hook'

/** Whether the sessions here may be another node's, since this process has stood still. */
export interface Doubt {
  /** Asked for every chunk that comes. */
  readonly isInDoubt: boolean
  /** @param until of `performance.now` */
  whenSure(until: number, done: () => void): void
}

export interface Host {
  readonly modules: ConnectionModules

  /** What clients send waits while there is doubt; undefined where there cannot be. */
  readonly doubt: Doubt | undefined

  /** Authenticates the client, unless its `authentication` has done so; closes another connection of its client ID, finds or makes its session. */
  open(connection: Connection, packet: ConnectPacket, done: (outcome: OpenOutcome) => void): void

  /** A CONNACK is on its way, one that refuses included. */
  connackSent(connection: Connection, packet: ConnackPacket): void

  /** The CONNACK is out and the session attached. */
  opened(connection: Connection): void

  /** Whether `authorizePublish` has to be asked; if not, publishes take the synchronous path. */
  readonly isPublishGuarded: boolean

  /** Asks whether the client may publish this; `done` gets a reason code, 0 for yes, and the message as it may be. */
  authorizePublish(connection: Connection, message: Message, done: (reasonCode: number, message: Message) => void): void

  /**
   * Delivers a message to the sessions here and forwards it to the peers that want it; everyone who has yet to keep
   * it takes a hold. Returns a reason code: 0, or NoMatchingSubscribers, or why nobody may publish to this topic.
   */
  publish(connection: Connection, message: Message, pending: Keeping | undefined): number

  /** Adds the subscriptions; `done` gets a reason code for each, in order, when the cluster knows of them. */
  subscribe(
    connection: Connection,
    subscriptions: readonly SubscriptionRequest[],
    done: (granted: readonly Grant[]) => void,
  ): void

  /** After the SUBACK: sends the retained messages that match what was just granted. */
  subscribed(connection: Connection, granted: readonly Grant[]): void

  unsubscribe(connection: Connection, topicFilters: readonly string[], done: (reasonCodes: number[]) => void): void

  /** A PINGREQ has come and is answered. */
  pinged(connection: Connection): void

  /** A delivery was acknowledged by the client (PUBACK, PUBCOMP). */
  acknowledged(connection: Connection, packet: InFlight): void

  /** The connection is over; called once for each connection, also for one that never opened a session. */
  closed(connection: Connection, reason: CloseReason, error: Error | undefined): void
}
