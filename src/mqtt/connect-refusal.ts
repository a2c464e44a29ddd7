/** The CONNACK that turns a client away. [MQTT-3.1.4-1] */

import type { Connection } from './connection.js'
import { connectRefusalOf } from './refusals.js'
import { redirectionOf } from './server-reference.js'
import type { ConnackPacket } from './wire/packets.js'
import { type MqttError, ReasonCode } from './wire/reason-codes.js'

/**
 * Answers CONNECT with a CONNACK that says why, and where to go instead where that may help; counts, and ends the
 * connection.
 * @param isAnswerable false for a client that could not read a CONNACK
 */
export function refuseConnect(connection: Connection, error: MqttError, isAnswerable = true): void {
  const { reasonCode, message } = error
  const { options } = connection
  const { metrics, log } = connection.host.modules
  metrics.connectRefused[connectRefusalOf(reasonCode)].value++
  log.debug({ clientId: connection.clientId, reasonCode, detail: message }, 'CONNECT refused')
  const connack: ConnackPacket = {
    cmd: 'connack',
    sessionPresent: false, // [MQTT-3.2.2-6]
    reasonCode,
    properties: { reasonString: message },
  }
  // Once the client itself is found good, a quota is the node's: sessions, or memory.
  const isFull = reasonCode === ReasonCode.QuotaExceeded && connection.state === 'opening'
  const serverReason = isFull ? ReasonCode.ServerBusy : reasonCode
  const redirection = connection.isV5 ? redirectionOf(serverReason, options) : undefined
  if (redirection !== undefined) {
    connack.reasonCode = redirection.reasonCode
    connack.properties.serverReference = redirection.serverReference
  }
  connection.refuse(isAnswerable ? connack : undefined, error)
}
