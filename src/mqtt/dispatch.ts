/** From a frame to its handler; says which packets each state of a connection allows. */

import { handleAuth, handleWhileOpening } from './authentication.js'
import type { Connection } from './connection.js'
import { handlePuback, handlePubcomp, handlePubrec, handlePubrel } from './handle-acks.js'
import { handlePublish } from './handle-publish.js'
import { handleSubscribe, handleUnsubscribe } from './handle-subscribe.js'
import { handleConnect } from './handshake.js'
import { decodePacket } from './wire/decode.js'
import type { DisconnectPacket } from './wire/packets.js'
import { MqttError, ReasonCode } from './wire/reason-codes.js'

/** Packet types are the high four bits of the first byte. [MQTT 5.0 section 2.1.2] */
const CONNECT = 1
const PUBLISH = 3

/** @throws MqttError for a packet that is malformed or not allowed here; the connection ends with its reason code. */
export function dispatchFrame(
  connection: Connection,
  chunk: Buffer,
  firstByte: number,
  start: number,
  bodyStart: number,
  end: number,
): void {
  const type = firstByte >>> 4
  if (connection.state === 'open') {
    if (type === PUBLISH) handlePublish(connection, chunk, firstByte, start, bodyStart, end)
    else dispatchPacket(connection, chunk, firstByte, bodyStart, end)
    return
  }
  if (connection.state === 'opening') return handleWhileOpening(connection, chunk, firstByte, bodyStart, end)
  // The first packet must be a CONNECT. [MQTT-3.1.0-1]
  if (type !== CONNECT) throw new MqttError(ReasonCode.ProtocolError, `packet type ${type} before CONNECT`)
  handleConnect(connection, chunk, firstByte, bodyStart, end)
}

function dispatchPacket(connection: Connection, chunk: Buffer, firstByte: number, start: number, end: number): void {
  const packet = decodePacket(chunk, firstByte, start, end, connection.version)
  connection.host.modules.metrics.packetsReceived[packet.cmd].value++
  switch (packet.cmd) {
    case 'puback':
      return handlePuback(connection, packet)
    case 'pubrec':
      return handlePubrec(connection, packet)
    case 'pubrel':
      return handlePubrel(connection, packet)
    case 'pubcomp':
      return handlePubcomp(connection, packet)
    case 'subscribe':
      return handleSubscribe(connection, packet)
    case 'unsubscribe':
      return handleUnsubscribe(connection, packet)
    case 'pingreq':
      connection.output.send({ cmd: 'pingresp' }) // [MQTT-3.12.4-1]
      return connection.host.pinged(connection)
    case 'disconnect':
      return handleDisconnect(connection, packet)
    case 'connect':
      throw new MqttError(ReasonCode.ProtocolError, 'a second CONNECT') // [MQTT-3.1.0-2]
    case 'auth':
      return handleAuth(connection, packet)
  }
}

function handleDisconnect(connection: Connection, packet: DisconnectPacket): void {
  const expiryInterval = packet.properties.sessionExpiryInterval
  const session = connection.session
  if (expiryInterval !== undefined && session !== undefined) {
    // A session that was to end with its connection cannot be prolonged now. [MQTT 5.0 section 3.14.2.2.2]
    if (session.expiryInterval === 0 && expiryInterval !== 0) {
      throw new MqttError(ReasonCode.ProtocolError, 'Session Expiry Interval on DISCONNECT after 0 on CONNECT')
    }
    const limit = Math.floor(connection.options.sessionExpiryLimit / 1000)
    session.expiryInterval = Math.min(expiryInterval, limit)
  }
  // Only DISCONNECT with will message (0x04) or another failure leaves the will in force. [MQTT-3.14.4-3]
  if (packet.reasonCode === ReasonCode.Success) connection.will = undefined
  connection.close('client_disconnect')
}
