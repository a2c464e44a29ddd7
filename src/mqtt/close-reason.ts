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
  /** Another node has taken this one for dead, and has the session. */
  'session_adopted',
  'malformed_packet',
  'protocol_error',
  'not_authorized',
  'packet_too_large',
  'receive_maximum_exceeded',
  'topic_invalid',
  /** It asked for what it was told this node does not offer: a QoS, RETAIN, a kind of subscription. */
  'not_supported',
  'quota_exceeded',
  /** A message of a client before MQTT 5 cannot be kept, and its acknowledgement could not say so. */
  'store_failing',
  'server_shutdown',
  /** An operator or the embedding program closed it. */
  'administrative',
  'internal_error',
] as const

export type CloseReason = (typeof CLOSE_REASONS)[number]

/** Errors of `ws` that say that a message, or what it is made of, is beyond the size of a packet. */
const WEB_SOCKET_SIZE_ERRORS: ReadonlySet<string> = new Set([
  'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH',
  'WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH',
  'WS_ERR_TOO_MANY_BUFFERED_PARTS',
])

/** The close reason that stands for an error of the stream: of its socket, or of the WebSocket frames that came. */
export function closeReasonOfStream({ code }: NodeJS.ErrnoException): CloseReason {
  if (code?.startsWith('WS_ERR_') !== true) return 'socket_error'
  return WEB_SOCKET_SIZE_ERRORS.has(code) ? 'packet_too_large' : 'malformed_packet'
}

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
    case ReasonCode.ImplementationSpecificError:
      return 'store_failing'
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
