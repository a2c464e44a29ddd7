/** What listeners count: sockets that never became client connections, by why; files of TLS that were read again. */

import type { Counter, MetricRegistry } from '../../telemetry/registry.js'

/** Why a socket was closed before it became a client connection. */
export const REFUSAL_REASONS = [
  /** `mqtt.maximumConnections` */
  'node_limit',
  /** `maximumConnections` of the listener. */
  'listener_limit',
  /** `maximumConnectionsPerAddress` of the node or of the listener. */
  'address_limit',
  /** `mqtt.connectRate` */
  'node_rate',
  /** `connectRate` of the listener. */
  'listener_rate',
  /** A listener with `proxyProtocol` was reached by somebody who is not in `trustedProxies`. */
  'proxy_untrusted',
  /** What came first is not a header of the PROXY protocol in the version that is asked for. */
  'proxy_header',
  /** No TLS: no common version or cipher, no good certificate where one is asked for, an unknown key, no answer. */
  'tls_handshake',
  /** Not a WebSocket upgrade: another path, no subprotocol `mqtt`, plain HTTP. */
  'upgrade',
  /** A web page of an origin that is not in `allowedOrigins`. */
  'origin',
  /** PROXY header, TLS handshake and WebSocket upgrade together took longer than `mqtt.connectTimeout`. */
  'timeout',
  /** The client has gone before all that was done. */
  'gone',
  /** The listener was stopped meanwhile. */
  'stopping',
] as const

export type RefusalReason = (typeof REFUSAL_REASONS)[number]

/** One certificate in use, for the gauge of expiry times. */
export interface CertificateExpiry {
  /** URL of the listener, as configured. */
  readonly listener: string
  /** '' for the certificate of those who ask for no name. */
  readonly serverName: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

export interface ListenerMetrics {
  readonly refused: Record<RefusalReason, Counter>
  readonly reloads: Record<'ok' | 'failed', Counter>
  /** Adds certificates whose expiry is shown; read at each scrape. */
  showExpiry(read: () => Iterable<CertificateExpiry>): void
  /** All of them, as they are now. */
  expiries(): Iterable<CertificateExpiry>
}

export function createListenerMetrics(registry: MetricRegistry): ListenerMetrics {
  const sources: (() => Iterable<CertificateExpiry>)[] = []
  function* expiries(): Generator<CertificateExpiry> {
    for (const read of sources) yield* read()
  }
  registry.gaugeOf(
    {
      name: 'tls_certificate_expiry_seconds',
      help: 'When the certificate of a TLS listener expires, in seconds since the epoch, by listener and server name.',
    },
    ['listener', 'server_name'],
    function* () {
      for (const { listener, serverName, expiresAt } of expiries()) {
        yield [{ listener, server_name: serverName }, expiresAt / 1_000] as const
      }
    },
  )
  return {
    refused: registry.counters(
      {
        name: 'connections_refused_total',
        help: 'Sockets that were closed before they became client connections, by reason.',
      },
      'reason',
      REFUSAL_REASONS,
    ),
    reloads: registry.counters(
      {
        name: 'tls_reloads_total',
        help: 'Times that changed certificates, keys or pre-shared keys were read: put into use, or failed and the old ones kept.',
      },
      'result',
      ['ok', 'failed'],
    ),
    showExpiry: (read) => void sources.push(read),
    expiries,
  }
}
