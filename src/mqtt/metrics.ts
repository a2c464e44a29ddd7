/** What connections count: sockets, handshakes, packets, bytes and why connections ended. */

import type { Counter, MetricRegistry } from '../telemetry/registry.js'
import { CLOSE_REASONS, type CloseReason } from './close-reason.js'
import {
  CONNECT_REFUSALS,
  type ConnectRefusal,
  PUBLISH_REFUSALS,
  type PublishRefusal,
  SUBSCRIPTION_REFUSALS,
  type SubscriptionRefusal,
} from './refusals.js'

/** Control packets by name; a PUBLISH is counted by QoS in `messages_received_total` and `messages_sent_total`. */
export const PACKET_TYPES = [
  'connect',
  'connack',
  'puback',
  'pubrec',
  'pubrel',
  'pubcomp',
  'subscribe',
  'suback',
  'unsubscribe',
  'unsuback',
  'pingreq',
  'pingresp',
  'disconnect',
  'auth',
] as const

export type PacketType = (typeof PACKET_TYPES)[number]

/** How an enhanced authentication ended; `failed` is an error of the authenticator. */
export const AUTHENTICATION_RESULTS = ['accepted', 'refused', 'unknown_method', 'timed_out', 'failed'] as const

/** Why a client was read no further for a while. */
export const INPUT_PAUSES = [
  /** More packets than `mqtt.packetsPerSecond`. */
  'packet_rate',
  /** More bytes than `mqtt.bytesPerSecond`. */
  'byte_rate',
  /** Before MQTT 5: `mqtt.receiveMaximum` messages without acknowledgement. */
  'unacknowledged',
  /** Too many SUBSCRIBE packets without SUBACK. */
  'subscribing',
  /** It did not read what was written to it, up to `mqtt.outboxLimit`. */
  'outbox_full',
  /** This process stood still, and asks whether it was taken for dead meanwhile. */
  'stood_still',
] as const

export type InputPause = (typeof INPUT_PAUSES)[number]

export interface MqttMetrics {
  readonly connectionsOpened: Counter
  readonly connectionsClosed: Record<CloseReason, Counter>
  readonly connectRefused: Record<ConnectRefusal, Counter>
  readonly inputPaused: Record<InputPause, Counter>
  /** Bytes that wait because they were read ahead; a gauge. */
  readonly readAheadBytes: { value: number }
  readonly bytesReceived: Counter
  readonly bytesSent: Counter
  readonly packetsReceived: Record<PacketType, Counter>
  readonly packetsSent: Record<PacketType, Counter>
  readonly messagesReceived: Record<'0' | '1' | '2', Counter>
  readonly publishesRefused: Record<PublishRefusal, Counter>
  readonly subscriptionsRefused: Record<SubscriptionRefusal, Counter>
  readonly authentications: Record<(typeof AUTHENTICATION_RESULTS)[number], Counter>
}

export function createMqttMetrics(registry: MetricRegistry): MqttMetrics {
  const readAheadBytes = { value: 0 }
  registry.gauge(
    {
      name: 'read_ahead_bytes',
      help: 'Bytes read ahead of publishers that wait for acknowledgements, for the acknowledgements behind them.',
    },
    () => readAheadBytes.value,
  )
  return {
    inputPaused: registry.counters(
      { name: 'input_paused_total', help: 'Times that a client was read no further for a while, by reason.' },
      'reason',
      INPUT_PAUSES,
    ),
    readAheadBytes,
    connectionsOpened: registry.counter({
      name: 'connections_opened_total',
      help: 'Client sockets accepted, also those that never sent a CONNECT.',
    }),
    connectionsClosed: registry.counters(
      { name: 'connections_closed_total', help: 'Client sockets closed, by reason.' },
      'reason',
      CLOSE_REASONS,
    ),
    connectRefused: registry.counters(
      { name: 'connect_refused_total', help: 'CONNECT packets that were refused, by reason.' },
      'reason',
      CONNECT_REFUSALS,
    ),
    bytesReceived: registry.counter({ name: 'received_bytes_total', help: 'Bytes received from clients.' }),
    bytesSent: registry.counter({ name: 'sent_bytes_total', help: 'Bytes handed to client sockets.' }),
    packetsReceived: registry.counters(
      { name: 'packets_received_total', help: 'Control packets received from clients, save PUBLISH, by type.' },
      'type',
      PACKET_TYPES,
    ),
    packetsSent: registry.counters(
      { name: 'packets_sent_total', help: 'Control packets sent to clients, save PUBLISH, by type.' },
      'type',
      PACKET_TYPES,
    ),
    messagesReceived: registry.counters(
      { name: 'messages_received_total', help: 'PUBLISH packets received from clients, by QoS.' },
      'qos',
      ['0', '1', '2'],
    ),
    authentications: registry.counters(
      {
        name: 'enhanced_authentications_total',
        help: 'MQTT 5 authentication exchanges and re-authentications, by result; one that its connection did not outlive is not counted.',
      },
      'result',
      AUTHENTICATION_RESULTS,
    ),
    publishesRefused: registry.counters(
      {
        name: 'publishes_refused_total',
        help: 'PUBLISH packets from clients that were not delivered to anybody, by reason.',
      },
      'reason',
      PUBLISH_REFUSALS,
    ),
    subscriptionsRefused: registry.counters(
      { name: 'subscriptions_refused_total', help: 'Subscriptions that clients asked for and did not get, by reason.' },
      'reason',
      SUBSCRIPTION_REFUSALS,
    ),
  }
}
