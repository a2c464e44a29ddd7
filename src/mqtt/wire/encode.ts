/** Packets of the server as bytes, in the form of each protocol version. PUBLISH is in `publish-frame.ts`. */

import { PacketType } from './packet-type.js'
import type { OutboundPacket, ProtocolVersion } from './packets.js'
import { type Properties, propertiesSize, writeProperties } from './properties.js'
import { connackReturnCode, ReasonCode } from './reason-codes.js'
import { variableIntegerSize, writeVariableInteger } from './variable-integer.js'

/** First bytes of the four acknowledgements, for `encodeAck`. PUBREL has flags. [MQTT-3.6.1-1] */
export const PUBACK_FIRST_BYTE = PacketType.Puback << 4
export const PUBREC_FIRST_BYTE = PacketType.Pubrec << 4
export const PUBREL_FIRST_BYTE = (PacketType.Pubrel << 4) | 2
export const PUBCOMP_FIRST_BYTE = PacketType.Pubcomp << 4

/** Size of an acknowledgement of success. */
export const ACK_BYTES = 4

/** How SUBACK says failure before MQTT 5. [MQTT 3.1.1 section 3.9.3] */
const SUBACK_FAILURE = 0x80

/**
 * Encodes one packet in a buffer of its exact size.
 * @param maximumPacketSize what the client accepts, in bytes; to keep within it, Reason String and User Properties
 * are left out [MQTT-3.2.2-19] [MQTT-3.2.2-20]
 * @throws TypeError for what must not be sent: DISCONNECT or AUTH before MQTT 5, a property of another packet.
 */
export function encodePacket(
  packet: OutboundPacket,
  version: ProtocolVersion,
  maximumPacketSize = Number.POSITIVE_INFINITY,
): Buffer {
  if (version !== 5) return encodeV3(packet)
  const bytes = encodeV5(packet, 'properties' in packet ? packet.properties : {})
  if (bytes.length <= maximumPacketSize || !('properties' in packet)) return bytes
  const { reasonString: _reason, userProperties: _user, ...properties } = packet.properties as Properties
  return encodeV5(packet, properties)
}

/** Writes the four bytes of an acknowledgement of success, which are the same in all versions. */
export function encodeAck(target: Buffer, offset: number, firstByte: number, packetId: number): void {
  target[offset] = firstByte
  target[offset + 1] = 2
  target[offset + 2] = packetId >> 8
  target[offset + 3] = packetId & 0xff
}

function encodeV5(packet: OutboundPacket, properties: Properties): Buffer {
  switch (packet.cmd) {
    case 'connack': {
      // A refusal has no session. [MQTT-3.2.2-6]
      const flags = packet.sessionPresent && packet.reasonCode === ReasonCode.Success ? 1 : 0
      return assemble(PacketType.Connack << 4, [flags, packet.reasonCode], PacketType.Connack, properties, [])
    }
    case 'puback':
    case 'pubrec':
    case 'pubrel':
    case 'pubcomp': {
      const firstByte = ackFirstByte(packet.cmd)
      const id = packetIdBytes(packet.packetId)
      // Both the reason code and the properties may be left out. [MQTT 5.0 section 3.4.2.1]
      return withOptionalCode(firstByte, id, packet.reasonCode, firstByte >> 4, properties)
    }
    case 'suback':
    case 'unsuback': {
      const type = packet.cmd === 'suback' ? PacketType.Suback : PacketType.Unsuback
      return assemble(type << 4, packetIdBytes(packet.packetId), type, properties, packet.reasonCodes)
    }
    case 'disconnect':
      if (properties.sessionExpiryInterval !== undefined) {
        throw new TypeError('a server sends no Session Expiry Interval in DISCONNECT [MQTT-3.14.2-2]')
      }
      return withOptionalCode(PacketType.Disconnect << 4, [], packet.reasonCode, PacketType.Disconnect, properties)
    case 'auth':
      return withOptionalCode(PacketType.Auth << 4, [], packet.reasonCode, PacketType.Auth, properties)
    case 'pingresp':
      return encodePingresp()
  }
}

function encodeV3(packet: OutboundPacket): Buffer {
  switch (packet.cmd) {
    case 'connack': {
      const returnCode = connackReturnCode(packet.reasonCode)
      return bare(PacketType.Connack << 4, [packet.sessionPresent && returnCode === 0 ? 1 : 0, returnCode])
    }
    case 'puback':
    case 'pubrec':
    case 'pubrel':
    case 'pubcomp':
      return bare(ackFirstByte(packet.cmd), packetIdBytes(packet.packetId))
    case 'suback': {
      const granted = packet.reasonCodes.map((code) => (code > ReasonCode.GrantedQoS2 ? SUBACK_FAILURE : code))
      return bare(PacketType.Suback << 4, [...packetIdBytes(packet.packetId), ...granted])
    }
    case 'unsuback':
      return bare(PacketType.Unsuback << 4, packetIdBytes(packet.packetId))
    case 'pingresp':
      return encodePingresp()
    case 'disconnect':
    case 'auth':
      throw new TypeError(`a server sends no ${packet.cmd} before MQTT 5`)
  }
}

function encodePingresp(): Buffer {
  return Buffer.from([PacketType.Pingresp << 4, 0])
}

function ackFirstByte(cmd: 'puback' | 'pubrec' | 'pubrel' | 'pubcomp'): number {
  switch (cmd) {
    case 'puback':
      return PUBACK_FIRST_BYTE
    case 'pubrec':
      return PUBREC_FIRST_BYTE
    case 'pubrel':
      return PUBREL_FIRST_BYTE
    case 'pubcomp':
      return PUBCOMP_FIRST_BYTE
  }
}

function packetIdBytes(packetId: number): readonly number[] {
  return [packetId >> 8, packetId & 0xff]
}

/** A packet that may end before its reason code when that is 0, and before its properties when there are none. */
function withOptionalCode(
  firstByte: number,
  head: readonly number[],
  reasonCode: number,
  type: number,
  properties: Properties,
): Buffer {
  if (propertiesSize(properties, type) > 0) return assemble(firstByte, [...head, reasonCode], type, properties, [])
  return bare(firstByte, reasonCode === ReasonCode.Success ? head : [...head, reasonCode])
}

/** Fixed header, `head`, Property Length and properties, `payload`. */
function assemble(
  firstByte: number,
  head: readonly number[],
  type: number,
  properties: Properties,
  payload: readonly number[],
): Buffer {
  const propertyBytes = propertiesSize(properties, type)
  const remaining = head.length + variableIntegerSize(propertyBytes) + propertyBytes + payload.length
  const target = Buffer.allocUnsafe(1 + variableIntegerSize(remaining) + remaining)
  let at = startPacket(target, firstByte, remaining)
  at = writeBytes(target, at, head)
  at = writeVariableInteger(target, at, propertyBytes)
  at = writeProperties(target, at, properties)
  writeBytes(target, at, payload)
  return target
}

/** Fixed header and body of a packet without properties. */
function bare(firstByte: number, body: readonly number[]): Buffer {
  const target = Buffer.allocUnsafe(1 + variableIntegerSize(body.length) + body.length)
  writeBytes(target, startPacket(target, firstByte, body.length), body)
  return target
}

function startPacket(target: Buffer, firstByte: number, remaining: number): number {
  target[0] = firstByte
  return writeVariableInteger(target, 1, remaining)
}

function writeBytes(target: Buffer, at: number, bytes: readonly number[]): number {
  for (let index = 0; index < bytes.length; index++) target[at + index] = bytes[index] as number
  return at + bytes.length
}
