/**
 * The MQTT control packets as plain data, one union on `cmd`, for every packet that is not on the hot path.
 * A PUBLISH is handled apart (see `message.ts` and `decode.ts`), so that it can travel as the bytes it came in.
 */

import type { Message } from './message.js'

/** Quality of service: at most once, at least once, exactly once. [MQTT 5.0 section 4.3] */
export type QoS = 0 | 1 | 2

/** The protocol level byte of CONNECT: 3 is MQTT 3.1 (`MQIsdp`), 4 is 3.1.1, 5 is 5.0. */
export type ProtocolVersion = 3 | 4 | 5

/** User properties keep their order and may repeat a name. [MQTT-3.1.3-10] */
export type UserProperty = readonly [name: string, value: string]

/** What every MQTT 5 packet that answers may carry. */
export interface ResponseProperties {
  reasonString?: string
  userProperties?: readonly UserProperty[]
}

/** PUBLISH properties that travel from publisher to subscriber unaltered, in decoded form. [MQTT 5.0 section 3.3.2.3] */
export interface PublishProperties {
  payloadFormatIndicator?: 0 | 1
  /** Seconds. */
  messageExpiryInterval?: number
  contentType?: string
  responseTopic?: string
  correlationData?: Buffer
  userProperties?: readonly UserProperty[]
}

export interface Will {
  topic: string
  payload: Buffer
  qos: QoS
  retain: boolean
  /** Seconds between the loss of the connection and the will; 0 in 3.1.1. */
  delayInterval: number
  properties: PublishProperties
}

export interface ConnectProperties {
  /** Seconds; absent means 0, 0xFFFFFFFF never expires. */
  sessionExpiryInterval?: number
  receiveMaximum?: number
  maximumPacketSize?: number
  topicAliasMaximum?: number
  requestResponseInformation?: boolean
  requestProblemInformation?: boolean
  authenticationMethod?: string
  authenticationData?: Buffer
  userProperties?: readonly UserProperty[]
}

export interface ConnectPacket {
  cmd: 'connect'
  protocolVersion: ProtocolVersion
  clientId: string
  cleanStart: boolean
  /** Seconds; 0 switches keep-alive off. */
  keepAlive: number
  will: Will | undefined
  username: string | undefined
  password: Buffer | undefined
  properties: ConnectProperties
}

export interface ConnackProperties extends ResponseProperties {
  sessionExpiryInterval?: number
  receiveMaximum?: number
  maximumQoS?: 0 | 1
  retainAvailable?: boolean
  maximumPacketSize?: number
  assignedClientIdentifier?: string
  topicAliasMaximum?: number
  wildcardSubscriptionAvailable?: boolean
  subscriptionIdentifiersAvailable?: boolean
  sharedSubscriptionAvailable?: boolean
  serverKeepAlive?: number
  responseInformation?: string
  serverReference?: string
  authenticationMethod?: string
  authenticationData?: Buffer
}

export interface ConnackPacket {
  cmd: 'connack'
  sessionPresent: boolean
  /** An MQTT 5 reason code; the encoder turns it into the return code of 3.1 and 3.1.1 where it has to. */
  reasonCode: number
  properties: ConnackProperties
}

/** The four acknowledgements of QoS 1 and 2. */
export interface AckPacket {
  cmd: 'puback' | 'pubrec' | 'pubrel' | 'pubcomp'
  packetId: number
  reasonCode: number
  properties: ResponseProperties
}

/** What a client asks of one topic filter. [MQTT 5.0 section 3.8.3.1] */
export interface SubscriptionOptions {
  qos: QoS
  noLocal: boolean
  retainAsPublished: boolean
  /** 0: retained messages at subscribe; 1: only if the subscription is new; 2: never. */
  retainHandling: 0 | 1 | 2
  /** Subscription Identifier of the SUBSCRIBE it came in; undefined when none. */
  subscriptionId: number | undefined
}

export interface SubscriptionRequest {
  topicFilter: string
  options: SubscriptionOptions
}

export interface SubscribePacket {
  cmd: 'subscribe'
  packetId: number
  subscriptions: SubscriptionRequest[]
  userProperties?: readonly UserProperty[]
}

export interface SubackPacket {
  cmd: 'suback'
  packetId: number
  /** One MQTT 5 reason code per requested filter, in order; the encoder maps failures to 0x80 for 3.1.1. */
  reasonCodes: readonly number[]
  properties: ResponseProperties
}

export interface UnsubscribePacket {
  cmd: 'unsubscribe'
  packetId: number
  topicFilters: string[]
  userProperties?: readonly UserProperty[]
}

export interface UnsubackPacket {
  cmd: 'unsuback'
  packetId: number
  /** One per filter; not on the wire before MQTT 5. */
  reasonCodes: readonly number[]
  properties: ResponseProperties
}

export interface PingreqPacket {
  cmd: 'pingreq'
}

export interface PingrespPacket {
  cmd: 'pingresp'
}

export interface DisconnectPacket {
  cmd: 'disconnect'
  reasonCode: number
  properties: ResponseProperties & { sessionExpiryInterval?: number; serverReference?: string }
}

export interface AuthPacket {
  cmd: 'auth'
  reasonCode: number
  properties: ResponseProperties & { authenticationMethod?: string; authenticationData?: Buffer }
}

/** A PUBLISH as the slow paths see it: its message and what belongs to this one transfer. */
export interface PublishPacket {
  cmd: 'publish'
  packetId: number
  duplicate: boolean
  message: Message
}

/** Everything a client may send, save PUBLISH. */
export type InboundPacket =
  | ConnectPacket
  | AckPacket
  | SubscribePacket
  | UnsubscribePacket
  | PingreqPacket
  | DisconnectPacket
  | AuthPacket

/** Everything the server may send, save PUBLISH. */
export type OutboundPacket =
  | ConnackPacket
  | AckPacket
  | SubackPacket
  | UnsubackPacket
  | PingrespPacket
  | DisconnectPacket
  | AuthPacket
