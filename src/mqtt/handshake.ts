/** CONNECT to a session and a CONNACK. [MQTT 5.0 sections 3.1 and 3.2] */

import { randomUUID } from 'node:crypto'
import type { MqttOptions } from '../config/options.js'
import { Authentication } from './authentication.js'
import { capabilityProperties, willProblem } from './capabilities.js'
import { refuseConnect } from './connect-refusal.js'
import type { Connection } from './connection.js'
import { applyListenerPolicy } from './listener-policy.js'
import { responseInformationOf } from './response-information.js'
import { OutboundTopicAliases } from './topic-alias.js'
import { announcedVersion, decodePacket } from './wire/decode.js'
import type { ConnackProperties, ConnectPacket } from './wire/packets.js'
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
  const { options } = connection
  const { metrics } = connection.host.modules
  metrics.packetsReceived.connect.value++
  const { output } = connection
  output.speak(packet.protocolVersion)
  output.maximumPacketSize = packet.properties.maximumPacketSize ?? output.maximumPacketSize
  const refusal = applyListenerPolicy(connection, packet) ?? checkConnect(packet, options)
  if (refusal !== undefined) return refuseConnect(connection, refusal)

  const { authenticationMethod } = packet.properties
  const authenticator =
    authenticationMethod === undefined ? undefined : connection.host.modules.authenticators.get(authenticationMethod)
  if (authenticationMethod !== undefined && authenticator === undefined) {
    metrics.authentications.unknown_method.value++
    const detail = 'the authentication method is not one of this server'
    return refuseConnect(connection, new MqttError(ReasonCode.BadAuthenticationMethod, detail)) // [MQTT-4.12.0-1]
  }
  takeTerms(connection, packet, options)
  connection.beginOpening()
  if (authenticator === undefined) return openSession(connection, packet, undefined)
  connection.authentication = new Authentication(connection, authenticator)
  connection.authentication.open(packet.properties.authenticationData, (data) => {
    // Whom the exchange has proved is the user, whatever CONNECT says.
    packet.username = connection.username
    openSession(connection, packet, data)
  })
}

/** What CONNECT says about the connection, within our limits. */
function takeTerms(connection: Connection, packet: ConnectPacket, options: MqttOptions): void {
  const { output } = connection
  // A client that leaves the choice to us gets a unique id [MQTT-3.1.3-6], told in MQTT 5.
  connection.clientId = packet.clientId === '' ? `auto-${randomUUID()}` : packet.clientId
  connection.username = packet.username
  output.wantsProblemInformation = packet.properties.requestProblemInformation !== false
  output.sendMaximum = Math.min(options.inflightWindow, packet.properties.receiveMaximum ?? DEFAULT_RECEIVE_MAXIMUM)
  connection.liveness.keepAlive = keepAliveOf(packet, options)
  const aliases = Math.min(options.outboundTopicAliasMaximum, packet.properties.topicAliasMaximum ?? 0)
  if (aliases > 0) output.aliases = new OutboundTopicAliases(aliases, output.maximumPacketSize) // [MQTT-3.1.2-26]
}

/** @param authenticationData of the last step of an enhanced authentication, for CONNACK */
function openSession(connection: Connection, packet: ConnectPacket, authenticationData: Buffer | undefined): void {
  const { options } = connection
  connection.host.open(connection, packet, (outcome) => {
    if (connection.state !== 'opening') return
    if ('refusal' in outcome) {
      return refuseConnect(connection, new MqttError(outcome.refusal, outcome.reason))
    }
    const properties = connection.isV5 ? connackProperties(connection, packet, options) : {}
    if (authenticationData !== undefined) properties.authenticationData = authenticationData
    const { session, sessionPresent } = outcome // [MQTT-3.2.2-2], [MQTT-3.2.2-3]
    connection.open(
      session,
      { cmd: 'connack', sessionPresent, reasonCode: ReasonCode.Success, properties },
      packet.will,
    )
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
    connection.output.speak(version === 5 ? 5 : 4)
    const isAnswerable = version === 5 || error.reasonCode === ReasonCode.UnsupportedProtocolVersion
    refuseConnect(connection, error, isAnswerable)
    return undefined
  }
}

function checkConnect(packet: ConnectPacket, options: MqttOptions): MqttError | undefined {
  if (options.serverMoved) return new MqttError(ReasonCode.UseAnotherServer, 'this server has moved')
  if (packet.clientId === '' && packet.protocolVersion < 5 && !packet.cleanStart) {
    return new MqttError(ReasonCode.ClientIdentifierNotValid, 'an empty client ID needs a clean session') // 3.1.1 [MQTT-3.1.3-8]
  }
  if (packet.protocolVersion === 3 && !isMqtt31ClientId(packet.clientId, options)) {
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

/** The first specification left no choice; many clients and servers took one all the same. */
function isMqtt31ClientId(clientId: string, { longMqtt31ClientIds }: MqttOptions): boolean {
  return clientId !== '' && (longMqtt31ClientIds || [...clientId].length <= V3_1_CLIENT_ID_LENGTH)
}

function keepAliveOf(packet: ConnectPacket, options: MqttOptions): number {
  const limit = options.keepAliveLimit
  // A client before MQTT 5 cannot be told, and would be closed again and again for what it was never asked.
  if (limit === 0 || packet.protocolVersion < 5) return packet.keepAlive
  return packet.keepAlive === 0 ? limit : Math.min(packet.keepAlive, limit)
}

/** Only what differs from the protocol's defaults or from what the client asked for is said. */
function connackProperties(connection: Connection, packet: ConnectPacket, options: MqttOptions): ConnackProperties {
  const properties: ConnackProperties = capabilityProperties(options)
  if (packet.clientId === '') properties.assignedClientIdentifier = connection.clientId // [MQTT-3.2.2-16]
  const expiryInterval = sessionExpiryOf(packet, options)
  if (expiryInterval !== (packet.properties.sessionExpiryInterval ?? 0)) {
    properties.sessionExpiryInterval = expiryInterval
  }
  if (connection.liveness.keepAlive !== packet.keepAlive) properties.serverKeepAlive = connection.liveness.keepAlive // [MQTT-3.2.2-21]
  const responseInformation = responseInformationOf(connection.clientId, packet, options)
  if (responseInformation !== undefined) properties.responseInformation = responseInformation
  if (connection.authentication !== undefined) {
    properties.authenticationMethod = connection.authentication.method // [MQTT-4.12.0-5]
  }
  return properties
}
