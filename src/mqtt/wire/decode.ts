/** Received packets to plain data, strictly: a packet is either all that the specification says, or an `MqttError`. */

import { ByteReader } from './byte-reader.js'
import { decodeConnect } from './connect-packet.js'
import { PacketType } from './packet-type.js'
import type {
  AckPacket,
  AuthPacket,
  DisconnectPacket,
  InboundPacket,
  ProtocolVersion,
  QoS,
  SubscribePacket,
  SubscriptionOptions,
  UnsubscribePacket,
} from './packets.js'
import { NO_PROPERTIES, readProperties } from './properties.js'
import { malformed, protocolError, ReasonCode } from './reason-codes.js'
import { isShared } from './topic.js'

export { announcedVersion } from './connect-packet.js'
export { decodePublish, decodeTopic, PublishHeader } from './publish-header.js'

/**
 * The reason codes a client may give, by packet; codes that only a server sends are not among them. 0x10 is: only
 * servers have subscribers to miss, but a broker that bridges to this one is a client here. [MQTT-3.4.2-1]
 */
const PUBLISH_RECEIVED_CODES: ReadonlySet<number> = new Set([0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])
const PUBLISH_RELEASED_CODES: ReadonlySet<number> = new Set([0x00, ReasonCode.PacketIdentifierNotFound])
const DISCONNECT_CODES: ReadonlySet<number> = new Set([
  0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
])
const AUTH_CODES: ReadonlySet<number> = new Set([ReasonCode.ContinueAuthentication, ReasonCode.ReAuthenticate])

/** Flags of PUBREL, SUBSCRIBE and UNSUBSCRIBE: what 3.1 knew as QoS 1. [MQTT-2.1.3-1] */
const QOS_1_FLAGS = 2
const DUP_FLAG = 8

/**
 * Reads one packet from a client, any but PUBLISH (see `decodePublish`).
 * @param start of the body, behind the fixed header
 * @param version what the connection speaks; CONNECT finds its own and ignores it
 * @throws MqttError 0x81 when the bytes are not such a packet, 0x82 when they say what the protocol does not allow,
 * 0x84 for a CONNECT of another protocol, 0x90 for an invalid will topic.
 */
export function decodePacket(
  chunk: Buffer,
  firstByte: number,
  start: number,
  end: number,
  version: ProtocolVersion,
): InboundPacket {
  const flags = firstByte & 0x0f
  switch (firstByte >> 4) {
    case PacketType.Connect:
      expectFlags(flags, 0)
      return decodeConnect(new ByteReader(chunk, start, end))
    case PacketType.Puback:
      expectFlags(flags, 0)
      return decodeAck(chunk, start, end, version, 'puback', PacketType.Puback, PUBLISH_RECEIVED_CODES)
    case PacketType.Pubrec:
      expectFlags(flags, 0)
      return decodeAck(chunk, start, end, version, 'pubrec', PacketType.Pubrec, PUBLISH_RECEIVED_CODES)
    case PacketType.Pubrel:
      expectQos1Flags(flags, version)
      return decodeAck(chunk, start, end, version, 'pubrel', PacketType.Pubrel, PUBLISH_RELEASED_CODES)
    case PacketType.Pubcomp:
      expectFlags(flags, 0)
      return decodeAck(chunk, start, end, version, 'pubcomp', PacketType.Pubcomp, PUBLISH_RELEASED_CODES)
    case PacketType.Subscribe:
      expectQos1Flags(flags, version)
      return decodeSubscribe(new ByteReader(chunk, start, end), version === 5)
    case PacketType.Unsubscribe:
      expectQos1Flags(flags, version)
      return decodeUnsubscribe(new ByteReader(chunk, start, end), version === 5)
    case PacketType.Pingreq:
      expectFlags(flags, 0)
      new ByteReader(chunk, start, end).expectEnd()
      return { cmd: 'pingreq' }
    case PacketType.Disconnect:
      expectFlags(flags, 0)
      return decodeDisconnect(new ByteReader(chunk, start, end), version === 5)
    case PacketType.Auth:
      // Type 15 is reserved before MQTT 5, as type 0 always is.
      if (version !== 5) throw malformed('packet type 15 before MQTT 5 [MQTT 3.1.1 section 2.2.1]')
      expectFlags(flags, 0)
      return decodeAuth(new ByteReader(chunk, start, end))
    case 0:
      throw malformed('packet type 0 [MQTT 5.0 section 2.1.2]')
    default:
      throw protocolError(`packet type ${firstByte >> 4} is not one that is read here [MQTT 5.0 section 2.1.2]`)
  }
}

function expectFlags(flags: number, expected: number): void {
  if (flags !== expected) throw malformed('reserved flags of the fixed header [MQTT-2.1.3-1]')
}

/** PUBREL, SUBSCRIBE and UNSUBSCRIBE; a 3.1 client sets DUP when it sends one again. [MQTT 3.1 section 2.1] */
function expectQos1Flags(flags: number, version: ProtocolVersion): void {
  expectFlags(version === 3 ? flags & ~DUP_FLAG : flags, QOS_1_FLAGS)
}

/** The four acknowledgements have one form. [MQTT 5.0 sections 3.4 to 3.7] */
function decodeAck(
  chunk: Buffer,
  start: number,
  end: number,
  version: ProtocolVersion,
  cmd: AckPacket['cmd'],
  type: number,
  codes: ReadonlySet<number>,
): AckPacket {
  const reader = new ByteReader(chunk, start, end)
  const packetId = readPacketId(reader)
  // Without a reason code it is Success; before MQTT 5 there is none.
  if (reader.isAtEnd) return { cmd, packetId, reasonCode: ReasonCode.Success, properties: NO_PROPERTIES }
  if (version !== 5) throw malformed(`${cmd} is longer than its packet id [MQTT 3.1.1 section 3.4]`)
  const reasonCode = readReasonCode(reader, codes)
  const properties = reader.isAtEnd ? NO_PROPERTIES : readProperties(reader, type)
  reader.expectEnd()
  return { cmd, packetId, reasonCode, properties }
}

function decodeSubscribe(reader: ByteReader, isV5: boolean): SubscribePacket {
  const packetId = readPacketId(reader)
  const { subscriptionIdentifier, userProperties } = isV5 ? readProperties(reader, PacketType.Subscribe) : NO_PROPERTIES
  if (reader.isAtEnd) throw protocolError('SUBSCRIBE without a topic filter [MQTT-3.8.3-2]')
  const subscriptions: SubscribePacket['subscriptions'] = []
  while (!reader.isAtEnd) {
    const topicFilter = reader.string()
    const options = isV5 ? readOptions(reader, topicFilter) : readRequestedQos(reader)
    options.subscriptionId = subscriptionIdentifier
    subscriptions.push({ topicFilter, options })
  }
  return { cmd: 'subscribe', packetId, subscriptions, ...(userProperties === undefined ? {} : { userProperties }) }
}

/** The Subscription Options byte. [MQTT 5.0 section 3.8.3.1] */
function readOptions(reader: ByteReader, topicFilter: string): SubscriptionOptions {
  const bits = reader.byte()
  const qos = bits & 3
  const noLocal = (bits & 4) !== 0
  const retainHandling = (bits >> 4) & 3
  if ((bits & 0xc0) !== 0) throw malformed('reserved bits of the subscription options [MQTT-3.8.3-5]')
  if (qos === 3) throw protocolError('Maximum QoS 3 [MQTT 5.0 section 3.8.3.1]')
  if (retainHandling === 3) throw protocolError('Retain Handling 3 [MQTT 5.0 section 3.8.3.1]')
  if (noLocal && isShared(topicFilter)) throw protocolError('No Local on a shared subscription [MQTT-3.8.3-4]')
  return {
    qos: qos as QoS,
    noLocal,
    retainAsPublished: (bits & 8) !== 0,
    retainHandling: retainHandling as 0 | 1 | 2,
    subscriptionId: undefined,
  }
}

/** The Requested QoS byte of 3.1 and 3.1.1, as the options that it comes to. [MQTT 3.1.1 section 3.8.3] */
function readRequestedQos(reader: ByteReader): SubscriptionOptions {
  const qos = reader.byte()
  if (qos > 2) throw malformed('requested QoS is not 0, 1 or 2 [MQTT 3.1.1 section 3.8.3]')
  return { qos: qos as QoS, noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionId: undefined }
}

function decodeUnsubscribe(reader: ByteReader, isV5: boolean): UnsubscribePacket {
  const packetId = readPacketId(reader)
  const { userProperties } = isV5 ? readProperties(reader, PacketType.Unsubscribe) : NO_PROPERTIES
  if (reader.isAtEnd) throw protocolError('UNSUBSCRIBE without a topic filter [MQTT-3.10.3-2]')
  const topicFilters: string[] = []
  while (!reader.isAtEnd) topicFilters.push(reader.string())
  return { cmd: 'unsubscribe', packetId, topicFilters, ...(userProperties === undefined ? {} : { userProperties }) }
}

function decodeDisconnect(reader: ByteReader, isV5: boolean): DisconnectPacket {
  if (!isV5) reader.expectEnd()
  // Both the reason code and the properties may be left out. [MQTT 5.0 section 3.14.2.1]
  const reasonCode = reader.isAtEnd ? ReasonCode.NormalDisconnection : readReasonCode(reader, DISCONNECT_CODES)
  const properties = reader.isAtEnd ? NO_PROPERTIES : readProperties(reader, PacketType.Disconnect)
  reader.expectEnd()
  return { cmd: 'disconnect', reasonCode, properties }
}

/** An AUTH without a reason code says Success, which only a server does. [MQTT 5.0 section 3.15.2.1] */
function decodeAuth(reader: ByteReader): AuthPacket {
  const reasonCode = readReasonCode(reader, AUTH_CODES)
  const properties = reader.isAtEnd ? NO_PROPERTIES : readProperties(reader, PacketType.Auth)
  reader.expectEnd()
  if (properties.authenticationMethod === undefined) {
    throw protocolError('AUTH without an Authentication Method [MQTT 5.0 section 3.15.2.2.2]')
  }
  return { cmd: 'auth', reasonCode, properties }
}

function readPacketId(reader: ByteReader): number {
  const packetId = reader.twoByteInteger()
  if (packetId === 0) throw protocolError('packet id is 0 [MQTT-2.2.1-3]')
  return packetId
}

function readReasonCode(reader: ByteReader, codes: ReadonlySet<number>): number {
  const code = reader.byte()
  if (!codes.has(code)) throw protocolError(`reason code ${code} is not one a client gives here [MQTT 5.0 section 2.4]`)
  return code
}
