/** Where a connection came in, and what its listener says of the clients that come there. */

import type { IncomingMessage } from 'node:http'
import type { MqttOptions } from '../config/options.js'
import type { ProtocolVersion } from './wire/packets.js'

/** Who a client is by the certificate that it proved to own. */
export interface ClientCertificate {
  /** The last CN of its subject; '' when there is none. */
  readonly commonName: string
  /** Its subject as RFC 4514 writes it, the most specific part first: `CN=device-1,O=Acme`. */
  readonly distinguishedName: string
}

/** What of a client certificate stands in for a field of CONNECT. */
export type CertificateName = 'cn' | 'dn' | 'off'

/** What a listener asks of a CONNECT, and allows the client afterwards. */
export interface ListenerPolicy {
  /** The options of the protocol for its clients. */
  readonly options: MqttOptions
  /** The versions that are served there. */
  readonly protocolVersions: readonly ProtocolVersion[]
  /** Whether a client may come in without credentials. */
  readonly allowAnonymous: boolean
  readonly usernameFrom: CertificateName
  readonly clientIdFrom: CertificateName
}

/** Where a connection came in, for hooks, access rules, logs and metrics. */
export interface ConnectionOrigin {
  /** The listener, such as `mqtt://127.0.0.1:1883`; '' for a stream that an embedder handed over. */
  readonly listener: string
  /**
   * The IP address of the client, IPv4 in its dotted form: behind a trusted proxy the one that the proxy names. '' for
   * a Unix domain socket.
   */
  readonly remoteAddress: string
  /** The HTTP upgrade request of a WebSocket connection. */
  readonly request: IncomingMessage | undefined
  /** The certificate that the client has shown, verified; undefined when there is none. */
  readonly certificate?: ClientCertificate | undefined
  /** The identity whose pre-shared key the client has proved to know (TLS-PSK). */
  readonly pskIdentity?: string | undefined
  /** Of the listener; undefined for a stream that an embedder handed over, which may do as it likes. */
  readonly policy?: ListenerPolicy | undefined
}
