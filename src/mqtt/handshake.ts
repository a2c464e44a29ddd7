/** CONNECT to a session and a CONNACK. [MQTT 5.0 sections 3.1 and 3.2] */

import { randomUUID } from 'node:crypto'
import type { MqttOptions } from '../config/options.js'
import { capabilityProperties, willProblem } from './capabilities.js'
import type { Connection } from './connection.js'
import { connectRefusalOf } from './refusals.js'
import { announcedVersion, decodePacket } from './wire/decode.js'
import type { ConnackPacket, ConnackProperties, ConnectPacket } from './wire/packets.js'
import { MqttError, ReasonCode } from './wire/reason-codes.js'

/** What a client without Receive Maximum accepts. [MQTT 5.0 section 3.1.2.11.3] */
const DEFAULT_RECEIVE_MAXIMUM = 65_535

/** Characters of a client ID before 3.1.1, which asks for 23 bytes only to be accepted. [MQTT 3.1 section 3.1] */
const V3_1_CLIENT_ID_LENGTH = 23

/** @throws MqttError for a CONNECT so broken that no answer is possible; other faults are answered here. */
export function handleConnect(
  connection: Connection,
  chunk: Buffer,
  firstByte: number,
  start: number,
  end: number,
): void {
  const packet = readConnect(connection, chunk, firstByte, start, end)
  if (packet === undefined) return
  const { options, metrics } = connection.host.modules
  metrics.packetsReceived.connect.value++
  connection.version = packet.protocolVersion
  connection.isV5 = packet.protocolVersion === 5
  connection.maximumPacketSize = packet.properties.maximumPacketSize ?? connection.maximumPacketSize
  const refusal = checkConnect(packet, options)
  if (refusal !== undefined) return refuse(connection, refusal)

  const isAssigned = packet.clientId === ''
  // A client that leaves the choice to us gets a unique id [MQTT-3.1.3-6], told in MQTT 5.
  connection.clientId = isAssigned ? `auto-${randomUUID()}` : packet.clientId
  connection.username = packet.username
  connection.wantsProblemInformation = packet.properties.requestProblemInformation !== false
  connection.sendMaximum = Math.min(options.inflightWindow, packet.properties.receiveMaximum ?? DEFAULT_RECEIVE_MAXIMUM)
  connection.keepAlive = keepAliveOf(packet, options)
  connection.beginOpening()
  connection.host.open(connection, packet, (outcome) => {
    if (connection.state !== 'opening') return
    if ('refusal' in outcome) {
      return refuse(connection, new MqttError(outcome.refusal, outcome.reason))
    }
    connection.will = packet.will
    connection.open(outcome.session, {
      cmd: 'connack',
      sessionPresent: outcome.sessionPresent, // [MQTT-3.2.2-2], [MQTT-3.2.2-3]
      reasonCode: ReasonCode.Success,
      properties: connection.isV5 ? connackProperties(connection, packet, options, isAssigned) : {},
    })
  })
}

/** Seconds a session outlives its connection, as asked for and within the limit. */
export function sessionExpiryOf(packet: ConnectPacket, options: MqttOptions): number {
  const limit = Math.floor(options.sessionExpiryLimit / 1000)
  if (packet.protocolVersion === 5) return Math.min(packet.properties.sessionExpiryInterval ?? 0, limit)
  // Before MQTT 5 a session that is not clean has no end of its own: the limit stands in for it.
  return packet.cleanStart ? 0 : limit
}

/** A CONNECT that can be told apart but is wrong gets a CONNACK with the reason, then the connection ends. */
function readConnect(
  connection: Connection,
  chunk: Buffer,
  firstByte: number,
  start: number,
  end: number,
): ConnectPacket | undefined {
  try {
    const packet = decodePacket(chunk, firstByte, start, end, connection.version)
    if (packet.cmd === 'connect') return packet
    throw new MqttError(ReasonCode.ProtocolError, `${packet.cmd} before CONNECT`)
  } catch (error) {
    if (!(error instanceof MqttError)) throw error
    // [MQTT-3.1.2-2]: an unknown version is answered in the words of the version that the client may know.
    const version = announcedVersion(chunk, start, end)
    connection.version = version === 5 ? 5 : 4
    connection.isV5 = version === 5
    const isAnswerable = version === 5 || error.reasonCode === ReasonCode.UnsupportedProtocolVersion
    refuse(connection, error, isAnswerable)
    return undefined
  }
}

function checkConnect(packet: ConnectPacket, options: MqttOptions): MqttError | undefined {
  if (packet.properties.authenticationMethod !== undefined) {
    return new MqttError(ReasonCode.BadAuthenticationMethod, 'no enhanced authentication is configured')
  }
  if (packet.clientId === '' && packet.protocolVersion < 5 && !packet.cleanStart) {
    return new MqttError(ReasonCode.ClientIdentifierNotValid, 'an empty client ID needs a clean session') // 3.1.1 [MQTT-3.1.3-8]
  }
  if (packet.protocolVersion === 3 && (packet.clientId === '' || [...packet.clientId].length > V3_1_CLIENT_ID_LENGTH)) {
    return new MqttError(ReasonCode.ClientIdentifierNotValid, 'MQTT 3.1 has client IDs of 1 to 23 characters')
  }
  if (Buffer.byteLength(packet.clientId) > options.maximumClientIdLength) {
    return new MqttError(
      ReasonCode.ClientIdentifierNotValid,
      `the client ID is longer than ${options.maximumClientIdLength} bytes`,
    )
  }
  return packet.will === undefined ? undefined : willProblem(packet.will, options)
}

/** Answers with a CONNACK where the client can read one, counts, and ends the connection. */
function refuse(connection: Connection, { reasonCode, message }: MqttError, isAnswerable = true): void {
  const { metrics, log } = connection.host.modules
  metrics.connectRefused[connectRefusalOf(reasonCode)].value++
  log.debug({ clientId: connection.clientId, reasonCode, detail: message }, 'CONNECT refused')
  const connack: ConnackPacket = {
    cmd: 'connack',
    sessionPresent: false, // [MQTT-3.2.2-6]
    reasonCode,
    properties: { reasonString: message },
  }
  connection.refuse(isAnswerable ? connack : undefined)
}

function keepAliveOf(packet: ConnectPacket, options: MqttOptions): number {
  const limit = options.keepAliveLimit
  // A client before MQTT 5 cannot be told, and would be closed again and again for what it was never asked.
  if (limit === 0 || packet.protocolVersion < 5) return packet.keepAlive
  return packet.keepAlive === 0 ? limit : Math.min(packet.keepAlive, limit)
}

/** Only what differs from the protocol's defaults or from what the client asked for is said. */
function connackProperties(
  connection: Connection,
  packet: ConnectPacket,
  options: MqttOptions,
  isAssigned: boolean,
): ConnackProperties {
  const properties: ConnackProperties = { ...capabilityProperties(options), sharedSubscriptionAvailable: false }
  if (isAssigned) properties.assignedClientIdentifier = connection.clientId // [MQTT-3.2.2-16]
  const expiryInterval = sessionExpiryOf(packet, options)
  if (expiryInterval !== (packet.properties.sessionExpiryInterval ?? 0)) {
    properties.sessionExpiryInterval = expiryInterval
  }
  if (connection.keepAlive !== packet.keepAlive) properties.serverKeepAlive = connection.keepAlive // [MQTT-3.2.2-21]
  return properties
}
