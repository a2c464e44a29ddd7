/** Why a connection ended: one list, used in the log, the metric and for the reason code of DISCONNECT alike. */

import { ReasonCode } from './wire/reason-codes.js'

export const CLOSE_REASONS = [
  /** DISCONNECT from the client. */
  'client_disconnect',
  /** The client closed its socket without a DISCONNECT. */
  'client_closed',
  'socket_error',
  'keep_alive_timeout',
  'connect_timeout',
  /** A re-authentication was begun and not finished. */
  'authentication_timeout',
  'drain_timeout',
  /** CONNECT was answered with a refusal. */
  'refused',
  /** One connection more than `mqtt.maximumConnections`. */
  'connection_limit',
  'taken_over',
  'malformed_packet',
  'protocol_error',
  'not_authorized',
  'packet_too_large',
  'receive_maximum_exceeded',
  'topic_invalid',
  /** It asked for what it was told this node does not offer: a QoS, RETAIN, a kind of subscription. */
  'not_supported',
  'quota_exceeded',
  'server_shutdown',
  /** An operator or the embedding program closed it. */
  'administrative',
  'internal_error',
] as const

export type CloseReason = (typeof CLOSE_REASONS)[number]

/** The close reason that stands for a reason code found while reading from the client. */
export function closeReasonOf(reasonCode: number): CloseReason {
  switch (reasonCode) {
    case ReasonCode.MalformedPacket:
      return 'malformed_packet'
    case ReasonCode.PacketTooLarge:
      return 'packet_too_large'
    case ReasonCode.ReceiveMaximumExceeded:
      return 'receive_maximum_exceeded'
    case ReasonCode.NotAuthorized:
      return 'not_authorized'
    case ReasonCode.TopicNameInvalid:
    case ReasonCode.TopicFilterInvalid:
    case ReasonCode.TopicAliasInvalid:
      return 'topic_invalid'
    case ReasonCode.QuotaExceeded:
      return 'quota_exceeded'
    case ReasonCode.RetainNotSupported:
    case ReasonCode.QoSNotSupported:
    case ReasonCode.SharedSubscriptionsNotSupported:
    case ReasonCode.SubscriptionIdentifiersNotSupported:
    case ReasonCode.WildcardSubscriptionsNotSupported:
      return 'not_supported'
    default:
      return 'protocol_error'
  }
}
