/** The hot path out: a PUBLISH encoded in one allocation of its exact size. [MQTT 5.0 section 3.3] */

import { ByteReader } from './byte-reader.js'
import type { Message } from './message.js'
import { PacketType } from './packet-type.js'
import type { PublishProperties, QoS } from './packets.js'
import { propertiesSize, readDefinition, readPropertyList, skipValue, writeProperties } from './properties.js'
import { MqttError, ReasonCode } from './reason-codes.js'
import {
  MAXIMUM_VARIABLE_INTEGER,
  readVariableInteger,
  variableIntegerSize,
  writeVariableInteger,
} from './variable-integer.js'

/**
 * A whole PUBLISH packet in `buffer[start, end)`. A class: where many object literals have outlived a scavenge, V8 makes
 * all later ones of that place in the old generation at once, and they stay there until that is collected.
 */
export class Frame {
  /** @param packetIdOffset where the packet id is, as an offset into `buffer`; -1 for QoS 0 */
  constructor(
    readonly buffer: Buffer,
    readonly start: number,
    readonly end: number,
    readonly packetIdOffset: number,
  ) {}
}

const MESSAGE_EXPIRY_ID = 0x02
const SUBSCRIPTION_IDENTIFIER_ID = 0x0b

/** Bytes of a Message Expiry Interval property: identifier and four bytes. */
const MESSAGE_EXPIRY_BYTES = 5

/**
 * Encodes a message for one variant. DUP is 0 and the packet id is 0: both are each receiver's own.
 * @param subscriptionIds written as Subscription Identifiers, for MQTT 5 only [MQTT-3.3.4-3]
 * @param remainingExpiry seconds that take the place of the Message Expiry Interval [MQTT-3.3.2-6]; -1: as it is
 * @param room bytes left free in front of the frame
 * @throws MqttError 0x90 when the topic name is longer than 65,535 bytes, 0x95 when the packet is over 256 MiB.
 */
export function encodePublish(
  message: Message,
  isV5: boolean,
  qos: QoS,
  retain: boolean,
  subscriptionIds: readonly number[] | undefined,
  remainingExpiry: number,
  room = 0,
): Frame {
  const topicBytes = Buffer.byteLength(message.topic)
  if (topicBytes > 0xffff) {
    throw new MqttError(ReasonCode.TopicNameInvalid, 'topic name over 65535 bytes [MQTT-4.7.3-3]')
  }
  const expiryOffset = isV5 && remainingExpiry !== -1 ? findValue(message.properties, 'messageExpiryInterval') : -1
  // An interval that is wanted and not among the message's own properties is added to them.
  const addedExpiry = expiryOffset === -1 ? remainingExpiry : -1
  const propertyBytes = isV5 ? forwardedBytes(message.properties, addedExpiry, subscriptionIds) : 0
  const remaining =
    2 +
    topicBytes +
    (qos === 0 ? 0 : 2) +
    (isV5 ? variableIntegerSize(propertyBytes) + propertyBytes : 0) +
    (message.payloadEnd - message.payloadStart)
  if (remaining > MAXIMUM_VARIABLE_INTEGER) throw new MqttError(ReasonCode.PacketTooLarge, 'packet over 256 MiB')

  const buffer = Buffer.allocUnsafe(room + 1 + variableIntegerSize(remaining) + remaining)
  buffer[room] = (PacketType.Publish << 4) | (qos << 1) | (retain ? 1 : 0)
  let at = writeVariableInteger(buffer, room + 1, remaining)
  buffer[at] = topicBytes >> 8
  buffer[at + 1] = topicBytes & 0xff
  // As many bytes as characters: it is ASCII, which is written faster as such.
  at += 2 + buffer.write(message.topic, at + 2, topicBytes === message.topic.length ? 'latin1' : 'utf8')
  let packetIdOffset = -1
  if (qos !== 0) {
    packetIdOffset = at
    buffer[at] = 0
    buffer[at + 1] = 0
    at += 2
  }
  if (isV5) {
    at = writeVariableInteger(buffer, at, propertyBytes)
    const listStart = at
    at = writeForwarded(buffer, listStart, message.properties, addedExpiry, subscriptionIds)
    if (expiryOffset !== -1) buffer.writeUInt32BE(remainingExpiry, listStart + expiryOffset)
  }
  message.chunk.copy(buffer, at, message.payloadStart, message.payloadEnd)
  return new Frame(buffer, room, buffer.length, packetIdOffset)
}

/** Bytes of a Topic Alias property: identifier and two bytes. */
const TOPIC_ALIAS_BYTES = 3
const TOPIC_ALIAS_ID = 0x23

/** What an alias adds to a packet at most: its property, and a byte more for either of two lengths. */
export const TOPIC_ALIAS_GROWTH_BYTES = TOPIC_ALIAS_BYTES + 2

/**
 * A whole MQTT 5 PUBLISH again, with a Topic Alias: together with its topic name, which gives the alias its meaning,
 * or in place of it. [MQTT 5.0 section 3.3.2.3.4]
 */
export function withTopicAlias(frame: Frame, alias: number, keepsTopic: boolean): Frame {
  const { buffer, start, end, packetIdOffset } = frame
  const topicStart = start + 1 + variableIntegerSize(readVariableInteger(buffer, start + 1, end))
  const topicEnd = topicStart + 2 + buffer.readUInt16BE(topicStart)
  const lengthAt = packetIdOffset === -1 ? topicEnd : packetIdOffset + 2
  const oldProperties = readVariableInteger(buffer, lengthAt, end)
  const propertiesAt = lengthAt + variableIntegerSize(oldProperties)
  const properties = oldProperties + TOPIC_ALIAS_BYTES
  const headBytes = (keepsTopic ? topicEnd - topicStart : 2) + lengthAt - topicEnd
  const remaining = headBytes + variableIntegerSize(properties) + TOPIC_ALIAS_BYTES + end - propertiesAt
  const target = Buffer.allocUnsafe(1 + variableIntegerSize(remaining) + remaining)
  target[0] = buffer[start] as number
  let at = writeVariableInteger(target, 1, remaining)
  if (keepsTopic) at += buffer.copy(target, at, topicStart, topicEnd)
  else at = target.writeUInt16BE(0, at)
  const newPacketIdOffset = packetIdOffset === -1 ? -1 : at
  at += buffer.copy(target, at, topicEnd, lengthAt)
  at = writeVariableInteger(target, at, properties)
  target[at] = TOPIC_ALIAS_ID
  at = target.writeUInt16BE(alias, at + 1)
  buffer.copy(target, at, propertiesAt, end)
  return new Frame(target, 0, target.length, newPacketIdOffset)
}

/** The bytes that `Message.properties` holds: without their length; undefined when nothing is set. */
export function encodePublishProperties(properties: PublishProperties): Buffer | undefined {
  const size = propertiesSize(properties, PacketType.Publish)
  if (size === 0) return undefined
  const bytes = Buffer.allocUnsafeSlow(size)
  writeProperties(bytes, 0, properties)
  return bytes
}

/** Reads what `Message.properties` holds. @throws MqttError 0x81, 0x82 or 0x94 when the bytes are not such properties. */
export function decodePublishProperties(bytes: Buffer): PublishProperties {
  return readPropertyList(new ByteReader(bytes, 0, bytes.length), PacketType.Publish)
}

/** Bytes of the properties of one PUBLISH to a subscriber. */
function forwardedBytes(own: Buffer | undefined, addedExpiry: number, ids: readonly number[] | undefined): number {
  let size = own === undefined ? 0 : own.length
  if (addedExpiry !== -1) size += MESSAGE_EXPIRY_BYTES
  if (ids !== undefined) for (const id of ids) size += 1 + variableIntegerSize(id)
  return size
}

/** Writes what `forwardedBytes` has measured; returns the offset behind it. */
function writeForwarded(
  target: Buffer,
  start: number,
  own: Buffer | undefined,
  addedExpiry: number,
  ids: readonly number[] | undefined,
): number {
  let at = start
  if (own !== undefined) at += own.copy(target, at)
  if (addedExpiry !== -1) {
    target[at] = MESSAGE_EXPIRY_ID
    at = target.writeUInt32BE(addedExpiry, at + 1)
  }
  if (ids !== undefined) {
    for (const id of ids) {
      target[at] = SUBSCRIPTION_IDENTIFIER_ID
      at = writeVariableInteger(target, at + 1, id)
    }
  }
  return at
}

/** The Payload Format Indicator in encoded properties: 1 says that the payload is UTF-8. [MQTT 5.0 section 3.3.2.3.2] */
export function payloadFormatOf(properties: Buffer | undefined): number {
  const offset = findValue(properties, 'payloadFormatIndicator')
  return offset === -1 ? 0 : (properties?.[offset] ?? 0)
}

/** Offset of a property's value in encoded properties, -1 when it is not there. */
function findValue(properties: Buffer | undefined, name: keyof PublishProperties): number {
  if (properties === undefined) return -1
  const reader = new ByteReader(properties, 0, properties.length)
  let seen = 0
  while (!reader.isAtEnd) {
    const definition = readDefinition(reader, PacketType.Publish, seen)
    seen |= definition.bit
    if (definition.name === name) return reader.at
    skipValue(reader, definition)
  }
  return -1
}
