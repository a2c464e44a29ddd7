/** The properties of MQTT 5: one table of what they are and where they may be, and both directions from it. */

import type { ByteReader } from './byte-reader.js'
import { PacketType } from './packet-type.js'
import type { UserProperty } from './packets.js'
import { MqttError, malformed, protocolError, ReasonCode } from './reason-codes.js'
import { topicNameProblem } from './topic.js'
import { variableIntegerSize, writeVariableInteger } from './variable-integer.js'

/** Every property under the name that `packets.ts` gives it. What a packet holds is a part of this. */
export interface Properties {
  payloadFormatIndicator?: 0 | 1
  messageExpiryInterval?: number
  contentType?: string
  responseTopic?: string
  correlationData?: Buffer
  subscriptionIdentifier?: number
  sessionExpiryInterval?: number
  assignedClientIdentifier?: string
  serverKeepAlive?: number
  authenticationMethod?: string
  authenticationData?: Buffer
  requestProblemInformation?: boolean
  willDelayInterval?: number
  requestResponseInformation?: boolean
  responseInformation?: string
  serverReference?: string
  reasonString?: string
  receiveMaximum?: number
  topicAliasMaximum?: number
  topicAlias?: number
  maximumQoS?: 0 | 1
  retainAvailable?: boolean
  userProperties?: readonly UserProperty[]
  maximumPacketSize?: number
  wildcardSubscriptionAvailable?: boolean
  subscriptionIdentifiersAvailable?: boolean
  sharedSubscriptionAvailable?: boolean
}

/** How a value is written; `boolean` and `bit` are one byte, 0 or 1. [MQTT 5.0 section 2.2.2.2] */
type ValueType = 'boolean' | 'bit' | 'twoByte' | 'fourByte' | 'variable' | 'string' | 'binary' | 'pairs'

type PropertyValue = boolean | number | string | Buffer | readonly UserProperty[]

export interface PropertyDefinition {
  readonly id: number
  readonly name: keyof Properties
  readonly type: ValueType
  /** One bit per packet that may carry the property: `1 << PacketType`, and `1 << WILL`. */
  readonly packets: number
  /** One bit of its own, for sets of properties. */
  readonly bit: number
  /** What is answered to the value 0, where that is forbidden; otherwise undefined. */
  readonly zeroRefusal: number | undefined
}

/** The will's properties count as a packet of their own; no control packet has the type 0. */
export const WILL = 0

const { Connect, Connack, Publish, Puback, Pubrec, Pubrel, Pubcomp, Subscribe } = PacketType
const { Suback, Unsubscribe, Unsuback, Disconnect, Auth } = PacketType
const ACKS = [Puback, Pubrec, Pubrel, Pubcomp] as const
const ANSWERS = [Connack, ...ACKS, Suback, Unsuback, Disconnect, Auth] as const
const { ProtocolError, TopicAliasInvalid } = ReasonCode

/** Table 2-4 of MQTT 5.0: id, name, type, packets, and the answer to a forbidden zero. */
const TABLE: readonly (readonly [number, keyof Properties, ValueType, readonly number[], number?])[] = [
  [0x01, 'payloadFormatIndicator', 'bit', [Publish, WILL]],
  [0x02, 'messageExpiryInterval', 'fourByte', [Publish, WILL]],
  [0x03, 'contentType', 'string', [Publish, WILL]],
  [0x08, 'responseTopic', 'string', [Publish, WILL]],
  [0x09, 'correlationData', 'binary', [Publish, WILL]],
  [0x0b, 'subscriptionIdentifier', 'variable', [Publish, Subscribe], ProtocolError],
  [0x11, 'sessionExpiryInterval', 'fourByte', [Connect, Connack, Disconnect]],
  [0x12, 'assignedClientIdentifier', 'string', [Connack]],
  [0x13, 'serverKeepAlive', 'twoByte', [Connack]],
  [0x15, 'authenticationMethod', 'string', [Connect, Connack, Auth]],
  [0x16, 'authenticationData', 'binary', [Connect, Connack, Auth]],
  [0x17, 'requestProblemInformation', 'boolean', [Connect]],
  [0x18, 'willDelayInterval', 'fourByte', [WILL]],
  [0x19, 'requestResponseInformation', 'boolean', [Connect]],
  [0x1a, 'responseInformation', 'string', [Connack]],
  [0x1c, 'serverReference', 'string', [Connack, Disconnect]],
  [0x1f, 'reasonString', 'string', ANSWERS],
  [0x21, 'receiveMaximum', 'twoByte', [Connect, Connack], ProtocolError],
  [0x22, 'topicAliasMaximum', 'twoByte', [Connect, Connack]],
  [0x23, 'topicAlias', 'twoByte', [Publish], TopicAliasInvalid],
  [0x24, 'maximumQoS', 'bit', [Connack]],
  [0x25, 'retainAvailable', 'boolean', [Connack]],
  [0x26, 'userProperties', 'pairs', [Connect, Publish, WILL, Subscribe, Unsubscribe, ...ANSWERS]],
  [0x27, 'maximumPacketSize', 'fourByte', [Connect, Connack], ProtocolError],
  [0x28, 'wildcardSubscriptionAvailable', 'boolean', [Connack]],
  [0x29, 'subscriptionIdentifiersAvailable', 'boolean', [Connack]],
  [0x2a, 'sharedSubscriptionAvailable', 'boolean', [Connack]],
]

const DEFINITIONS: readonly PropertyDefinition[] = TABLE.map(([id, name, type, packets, zeroRefusal], index) => ({
  id,
  name,
  type,
  packets: packets.reduce((bits, packet) => bits | (1 << packet), 0),
  bit: 1 << index,
  zeroRefusal,
}))

const BY_ID: readonly (PropertyDefinition | undefined)[] = Array.from({ length: 0x2b }, (_, id) =>
  DEFINITIONS.find((definition) => definition.id === id),
)

const BY_NAME: ReadonlyMap<string, PropertyDefinition> = new Map(
  DEFINITIONS.map((definition) => [definition.name, definition]),
)

/** What a packet without properties has. */
export const NO_PROPERTIES: Properties = Object.freeze({})

/**
 * Reads the Property Length and the properties of one packet.
 * @param packet a `PacketType`, or `WILL`
 * @throws MqttError 0x81, 0x82 or 0x94, see `readDefinition` and `readValue`.
 */
export function readProperties(reader: ByteReader, packet: number): Properties {
  const length = reader.variableInteger()
  return length === 0 ? NO_PROPERTIES : readPropertyList(reader.section(length), packet)
}

/** Reads properties up to the reader's end. */
export function readPropertyList(reader: ByteReader, packet: number): Properties {
  const properties: Partial<Record<keyof Properties, PropertyValue>> = {}
  const userProperties: UserProperty[] = []
  let seen = 0
  while (!reader.isAtEnd) {
    const definition = readDefinition(reader, packet, seen)
    seen |= definition.bit
    if (definition.type === 'pairs') userProperties.push(reader.pair())
    else properties[definition.name] = readValue(reader, definition)
  }
  if (userProperties.length > 0) properties.userProperties = userProperties
  // The table gives each name the type that it has in Properties.
  return properties as Properties
}

/**
 * Reads a property's identifier.
 * @param seen the bits of the properties that came before in this packet
 * @throws MqttError 0x81 when the packet may not carry it [MQTT 5.0 section 2.2.2.2], 0x82 when it is there twice.
 */
export function readDefinition(reader: ByteReader, packet: number, seen: number): PropertyDefinition {
  const id = reader.variableInteger()
  const definition = BY_ID[id]
  if (definition === undefined || (definition.packets & (1 << packet)) === 0) {
    throw malformed(`property ${id} is not one of this packet [MQTT 5.0 section 2.2.2.2]`)
  }
  if ((definition.bit & seen) !== 0 && definition.type !== 'pairs') {
    throw protocolError(`${definition.name} is included more than once [MQTT 5.0 section 2.2.2.2]`)
  }
  return definition
}

/**
 * Reads the value of any property but a user property, and checks its range.
 * @throws MqttError 0x81 for a value that cannot be read, 0x82 or 0x94 for one that is not allowed.
 */
export function readValue(reader: ByteReader, definition: PropertyDefinition): boolean | number | string | Buffer {
  switch (definition.type) {
    case 'boolean':
      return readBit(reader, definition) === 1
    case 'bit':
      return readBit(reader, definition)
    case 'twoByte':
      return refuseZero(reader.twoByteInteger(), definition)
    case 'fourByte':
      return refuseZero(reader.fourByteInteger(), definition)
    case 'variable':
      return refuseZero(reader.variableInteger(), definition)
    case 'binary':
      return reader.binary()
    default:
      return readString(reader, definition)
  }
}

/**
 * Checks the value of any property and makes none of a string. That a Response Topic has no wildcards it does not see.
 * @throws MqttError as `readValue` does.
 */
export function skipValue(reader: ByteReader, definition: PropertyDefinition): void {
  switch (definition.type) {
    case 'string':
      reader.skipString()
      break
    case 'binary':
      reader.skipBinary()
      break
    case 'pairs':
      reader.skipString()
      reader.skipString()
      break
    default:
      readValue(reader, definition)
  }
}

function readBit(reader: ByteReader, definition: PropertyDefinition): number {
  const value = reader.byte()
  if (value > 1) throw protocolError(`${definition.name} is neither 0 nor 1 [MQTT 5.0 section 4.13.1]`)
  return value
}

function refuseZero(value: number, definition: PropertyDefinition): number {
  if (value === 0 && definition.zeroRefusal !== undefined) {
    throw new MqttError(definition.zeroRefusal, `${definition.name} is 0`)
  }
  return value
}

function readString(reader: ByteReader, definition: PropertyDefinition): string {
  const value = reader.string()
  if (definition.name === 'responseTopic') {
    const problem = topicNameProblem(value)
    if (problem !== undefined) throw protocolError(`Response Topic: ${problem} [MQTT-3.3.2-14]`)
  }
  return value
}

/**
 * Bytes that the properties take, without the Property Length. Undefined values count as absent.
 * @throws TypeError when the packet may not carry one of them, or a string or data is over 65,535 bytes.
 */
export function propertiesSize(properties: Properties, packet: number): number {
  let size = 0
  for (const [name, value] of Object.entries(properties) as [keyof Properties, PropertyValue | undefined][]) {
    if (value === undefined) continue
    const definition = BY_NAME.get(name)
    if (definition === undefined || (definition.packets & (1 << packet)) === 0) {
      throw new TypeError(`${name} is not a property of packet type ${packet}`)
    }
    size += valueSize(definition, value)
  }
  return size
}

/** Writes properties that `propertiesSize` has measured, without the Property Length; returns the offset behind them. */
export function writeProperties(target: Buffer, at: number, properties: Properties): number {
  let offset = at
  for (const [name, value] of Object.entries(properties) as [keyof Properties, PropertyValue | undefined][]) {
    const definition = BY_NAME.get(name)
    if (value !== undefined && definition !== undefined) offset = writeProperty(target, offset, definition, value)
  }
  return offset
}

/** Bytes of one property with its identifier; for user properties, of all pairs. */
function valueSize(definition: PropertyDefinition, value: PropertyValue): number {
  switch (definition.type) {
    case 'boolean':
    case 'bit':
      return 2
    case 'twoByte':
      return 3
    case 'fourByte':
      return 5
    case 'variable':
      return 1 + variableIntegerSize(value as number)
    case 'string':
      return 1 + stringSize(value as string)
    case 'binary':
      return 3 + checkLength((value as Buffer).length)
    case 'pairs':
      return (value as readonly UserProperty[]).reduce(
        (size, pair) => size + 1 + stringSize(pair[0]) + stringSize(pair[1]),
        0,
      )
  }
}

function writeProperty(target: Buffer, at: number, definition: PropertyDefinition, value: PropertyValue): number {
  target[at] = definition.id
  switch (definition.type) {
    case 'boolean':
    case 'bit':
      return target.writeUInt8(Number(value), at + 1)
    case 'twoByte':
      return target.writeUInt16BE(value as number, at + 1)
    case 'fourByte':
      return target.writeUInt32BE(value as number, at + 1)
    case 'variable':
      return writeVariableInteger(target, at + 1, value as number)
    case 'string':
      return writeString(target, at + 1, value as string)
    case 'binary': {
      const data = value as Buffer
      const offset = target.writeUInt16BE(data.length, at + 1)
      return offset + data.copy(target, offset)
    }
    case 'pairs':
      return writePairs(target, at, definition.id, value as readonly UserProperty[])
  }
}

/** Each pair is a property of its own. */
function writePairs(target: Buffer, at: number, id: number, pairs: readonly UserProperty[]): number {
  let offset = at
  for (const [name, value] of pairs) {
    target[offset] = id
    offset = writeString(target, writeString(target, offset + 1, name), value)
  }
  return offset
}

/** Bytes of a UTF-8 Encoded String with its length prefix. */
function stringSize(text: string): number {
  return 2 + checkLength(Buffer.byteLength(text))
}

/** Writes a UTF-8 Encoded String that `stringSize` has measured; returns the offset behind it. */
function writeString(target: Buffer, at: number, text: string): number {
  const length = target.write(text, at + 2)
  target.writeUInt16BE(length, at)
  return at + 2 + length
}

function checkLength(length: number): number {
  if (length > 0xffff) throw new TypeError(`a field of ${length} bytes, at most 65535 can be written`)
  return length
}
