/** The CONNACK that turns a client away. [MQTT-3.1.4-1] */

import type { Connection } from './connection.js'
import { connectRefusalOf } from './refusals.js'
import type { MqttError } from './wire/reason-codes.js'

/**
 * Answers CONNECT with a CONNACK that says why, counts, and ends the connection.
 * @param isAnswerable false for a client that could not read a CONNACK
 */
export function refuseConnect(connection: Connection, { reasonCode, message }: MqttError, isAnswerable = true): void {
  const { metrics, log } = connection.host.modules
  metrics.connectRefused[connectRefusalOf(reasonCode)].value++
  log.debug({ clientId: connection.clientId, reasonCode, detail: message }, 'CONNECT refused')
  const sessionPresent = false // [MQTT-3.2.2-6]
  const properties = { reasonString: message }
  connection.refuse(isAnswerable ? { cmd: 'connack', sessionPresent, reasonCode, properties } : undefined)
}
