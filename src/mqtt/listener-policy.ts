/** What the listener where it came in says of a CONNECT: which versions are served, who the client is by certificate. */

import type { Connection } from './connection.js'
import type { CertificateName, ClientCertificate } from './origin.js'
import type { ConnectPacket } from './wire/packets.js'
import { MqttError, ReasonCode } from './wire/reason-codes.js'

/**
 * Puts the names that the client has proved to TLS into its CONNECT, where the listener wants them and for a pre-shared
 * key always; or says why it is refused.
 */
export function applyListenerPolicy(connection: Connection, packet: ConnectPacket): MqttError | undefined {
  const { policy, certificate, pskIdentity } = connection.origin
  if (policy === undefined) return undefined
  if (!policy.protocolVersions.includes(packet.protocolVersion)) {
    return new MqttError(ReasonCode.UnsupportedProtocolVersion, 'this listener does not serve this version of MQTT')
  }
  if (pskIdentity !== undefined) {
    if (!isName(pskIdentity)) return namelessError()
    packet.username = pskIdentity
    connection.provenBy = 'preshared_key'
  }
  if (certificate === undefined) return undefined
  const username = nameOf(certificate, policy.usernameFrom)
  const clientId = nameOf(certificate, policy.clientIdFrom)
  // Who has no such name must not come in under one of its own choice.
  if ((username !== undefined && !isName(username)) || (clientId !== undefined && !isName(clientId))) {
    return namelessError()
  }
  if (clientId !== undefined) packet.clientId = clientId
  if (username !== undefined) {
    packet.username = username
    connection.provenBy = 'certificate'
  }
  return undefined
}

function nameOf(certificate: ClientCertificate, name: CertificateName): string | undefined {
  switch (name) {
    case 'cn':
      return certificate.commonName
    case 'dn':
      return certificate.distinguishedName
    case 'off':
      return undefined
  }
}

/** Not empty, and without control characters, which MQTT's own names may not have either. [MQTT-1.5.4-2] */
function isName(name: string): boolean {
  if (name === '') return false
  for (let index = 0; index < name.length; index += 1) if (name.charCodeAt(index) < 0x20) return false
  return true
}

function namelessError(): MqttError {
  return new MqttError(ReasonCode.NotAuthorized, 'the certificate or the identity has no usable name')
}
