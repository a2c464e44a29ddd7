/** What is refused and why: the labels of the metrics, and the words for the client. */

import { ReasonCode } from './wire/reason-codes.js'

export const CONNECT_REFUSALS = [
  'malformed_packet',
  'protocol_error',
  'protocol_version',
  /** Empty where it may not be, longer than `mqtt.maximumClientIdLength`, or not accepted by a hook. */
  'client_id',
  'bad_credentials',
  'not_authorized',
  'server_unavailable',
  /** The node is overloaded, or takes no more connections at the moment. */
  'server_busy',
  /** A limit of the node: sessions, memory, the payload of the will. */
  'quota_exceeded',
  /** More connections in a time than are taken. */
  'rate_exceeded',
  /** The topic of the will. */
  'topic_invalid',
  /** This node is gone for good: `mqtt.serverMoved`. */
  'server_moved',
  /** A will whose payload is not UTF-8 as it says: `mqtt.checkPayloadFormat`. */
  'payload_format',
  /** A will with a QoS or a RETAIN flag that this node does not offer. */
  'not_supported',
  'other',
] as const

export type ConnectRefusal = (typeof CONNECT_REFUSALS)[number]

/** Why a received PUBLISH did not go any further. */
export const PUBLISH_REFUSALS = [
  'not_authorized',
  /** By a rule of the ACL; the others are refused by a hook, or are nobody's to publish. */
  'access_denied',
  'duplicate_qos2',
  /** More unacknowledged than `mqtt.receiveMaximum`. */
  'quota_exceeded',
  /** More payload than `mqtt.maximumPayload`. */
  'payload_too_large',
  /** RETAIN, where no further retained message is kept. */
  'retained_full',
  /** No further message with a delay is kept. */
  'delayed_full',
  /** `$delayed/…` that is not `$delayed/{seconds}/{topic}`, or where nothing is delayed. */
  'delay_invalid',
  /** The store cannot keep it, such as for want of room on the disk. */
  'store_failing',
  'topic_invalid',
  /** Not UTF-8 as it says: `mqtt.checkPayloadFormat`. */
  'payload_format',
] as const

export type PublishRefusal = (typeof PUBLISH_REFUSALS)[number]

export const SUBSCRIPTION_REFUSALS = [
  'not_authorized',
  /** Not a topic filter, or one with more levels or bytes than are allowed. */
  'topic_filter_invalid',
  /** More than `mqtt.maximumSubscriptions`. */
  'quota_exceeded',
  /** A kind of subscription that this node does not offer. */
  'not_supported',
  'other',
] as const

export type SubscriptionRefusal = (typeof SUBSCRIPTION_REFUSALS)[number]

/** The label of a CONNECT that is refused with this reason code. */
export function connectRefusalOf(reasonCode: number): ConnectRefusal {
  switch (reasonCode) {
    case ReasonCode.MalformedPacket:
      return 'malformed_packet'
    case ReasonCode.ProtocolError:
      return 'protocol_error'
    case ReasonCode.UnsupportedProtocolVersion:
      return 'protocol_version'
    case ReasonCode.ClientIdentifierNotValid:
      return 'client_id'
    case ReasonCode.BadUserNameOrPassword:
      return 'bad_credentials'
    case ReasonCode.NotAuthorized:
    case ReasonCode.Banned:
    case ReasonCode.BadAuthenticationMethod:
      return 'not_authorized'
    case ReasonCode.ServerUnavailable:
      return 'server_unavailable'
    case ReasonCode.ServerBusy:
      return 'server_busy'
    case ReasonCode.QuotaExceeded:
      return 'quota_exceeded'
    case ReasonCode.ConnectionRateExceeded:
      return 'rate_exceeded'
    case ReasonCode.UseAnotherServer:
      return 'server_moved'
    case ReasonCode.PayloadFormatInvalid:
      return 'payload_format'
    case ReasonCode.TopicNameInvalid:
      return 'topic_invalid'
    case ReasonCode.RetainNotSupported:
    case ReasonCode.QoSNotSupported:
      return 'not_supported'
    default:
      return 'other'
  }
}

/** The label of a subscription that is refused with this reason code. */
export function subscriptionRefusalOf(reasonCode: number): SubscriptionRefusal {
  switch (reasonCode) {
    case ReasonCode.NotAuthorized:
      return 'not_authorized'
    case ReasonCode.TopicFilterInvalid:
      return 'topic_filter_invalid'
    case ReasonCode.QuotaExceeded:
      return 'quota_exceeded'
    case ReasonCode.SharedSubscriptionsNotSupported:
    case ReasonCode.SubscriptionIdentifiersNotSupported:
    case ReasonCode.WildcardSubscriptionsNotSupported:
      return 'not_supported'
    default:
      return 'other'
  }
}

/** The label of a PUBLISH that the host has refused with this reason code. */
export function publishRefusalOf(reasonCode: number, isDelayed = false): PublishRefusal {
  switch (reasonCode) {
    case ReasonCode.QuotaExceeded:
      return isDelayed ? 'delayed_full' : 'retained_full'
    case ReasonCode.ImplementationSpecificError:
      return 'store_failing'
    case ReasonCode.TopicNameInvalid:
      return isDelayed ? 'delay_invalid' : 'topic_invalid'
    default:
      return 'not_authorized'
  }
}

/** What a Reason String says of it. [MQTT 5.0 section 3.4.2.2.2] */
export const PUBLISH_REFUSAL_TEXTS: Readonly<Record<PublishRefusal, string>> = {
  not_authorized: 'not authorized to publish to this topic',
  access_denied: 'not authorized to publish to this topic',
  duplicate_qos2: 'the packet id is in use',
  quota_exceeded: 'too many messages without acknowledgement',
  payload_too_large: 'the payload is larger than this node accepts',
  store_failing: 'the node cannot keep the message',
  delayed_full: 'no further message with a delay is kept',
  delay_invalid: 'not $delayed/{seconds}/{topic} with at most 4294967 seconds, or nothing is delayed here',
  retained_full: 'no further retained message is kept',
  topic_invalid: 'not a topic name that may be published to',
  payload_format: 'the payload is not UTF-8, as its Payload Format Indicator says',
}
