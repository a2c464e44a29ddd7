/** CONNECT: the one packet that says which protocol the others will be in. [MQTT 5.0 section 3.1] */

import type { ByteReader } from './byte-reader.js'
import { PacketType } from './packet-type.js'
import type { ConnectPacket, ProtocolVersion, QoS, Will } from './packets.js'
import { NO_PROPERTIES, type Properties, readProperties, WILL } from './properties.js'
import { MqttError, malformed, protocolError, ReasonCode } from './reason-codes.js'
import { topicNameProblem } from './topic.js'

/** The bits of the Connect Flags byte. [MQTT 5.0 section 3.1.2.3] */
const Flag = {
  Reserved: 0x01,
  CleanStart: 0x02,
  Will: 0x04,
  WillQos: 0x18,
  WillRetain: 0x20,
  Password: 0x40,
  Username: 0x80,
} as const

/**
 * Reads a CONNECT whose fixed header has been checked. Its fields come in one order. [MQTT-3.1.3-1]
 * @throws MqttError 0x81, 0x82; 0x84 for another protocol or version; 0x90 for an invalid will topic.
 */
export function decodeConnect(reader: ByteReader): ConnectPacket {
  const protocolVersion = protocolVersionOf(reader.string(), reader.byte())
  if (protocolVersion === undefined) {
    throw new MqttError(
      ReasonCode.UnsupportedProtocolVersion,
      'not MQTT 3.1, 3.1.1 or 5.0 [MQTT-3.1.2-1] [MQTT-3.1.2-2]',
    )
  }
  const isV5 = protocolVersion === 5
  const flags = reader.byte()
  checkFlags(flags, isV5)
  const keepAlive = reader.twoByteInteger()
  const properties = isV5 ? readProperties(reader, PacketType.Connect) : NO_PROPERTIES
  if (properties.authenticationData !== undefined && properties.authenticationMethod === undefined) {
    throw protocolError('Authentication Data without an Authentication Method [MQTT 5.0 section 3.1.2.11.10]')
  }
  const clientId = reader.string()
  const will = (flags & Flag.Will) === 0 ? undefined : readWill(reader, flags, isV5)
  const username = (flags & Flag.Username) === 0 ? undefined : reader.string()
  const password = (flags & Flag.Password) === 0 ? undefined : reader.binary()
  reader.expectEnd()
  const cleanStart = (flags & Flag.CleanStart) !== 0
  return { cmd: 'connect', protocolVersion, clientId, cleanStart, keepAlive, will, username, password, properties }
}

/** Levels from here on are those of bridges, which mark themselves with the highest bit. */
const BRIDGE_LEVELS = 0x80

/**
 * The version in whose form a CONNECT that is refused can be answered: the one it announces, also when the rest of it
 * is wrong; for a level yet to come the newest; undefined when it is none of ours.
 */
export function announcedVersion(chunk: Buffer, start: number, end: number): ProtocolVersion | undefined {
  const nameStart = start + 2
  if (nameStart > end) return undefined
  const nameEnd = nameStart + chunk.readUInt16BE(start)
  if (nameEnd >= end) return undefined
  const name = chunk.toString('latin1', nameStart, nameEnd)
  const level = chunk[nameEnd] as number
  // Mosquitto's bridges try again without their mark when they read 3.1.1's return code 1.
  if (name === 'MQTT' && level > 5 && level < BRIDGE_LEVELS) return 5
  return protocolVersionOf(name, level)
}

function protocolVersionOf(name: string, level: number): ProtocolVersion | undefined {
  if (name === 'MQTT') return level === 4 || level === 5 ? level : undefined
  return name === 'MQIsdp' && level === 3 ? level : undefined
}

function checkFlags(flags: number, isV5: boolean): void {
  if ((flags & Flag.Reserved) !== 0) throw malformed('reserved connect flag [MQTT-3.1.2-3]')
  if ((flags & Flag.WillQos) === Flag.WillQos) throw malformed('Will QoS 3 [MQTT 5.0 section 3.1.2.6]')
  if ((flags & Flag.Will) === 0) {
    if ((flags & Flag.WillQos) !== 0) throw malformed('Will QoS without a will [MQTT-3.1.2-7]')
    if ((flags & Flag.WillRetain) !== 0) throw malformed('Will Retain without a will [MQTT-3.1.2-13]')
  }
  if (!isV5 && (flags & Flag.Password) !== 0 && (flags & Flag.Username) === 0) {
    throw malformed('password without a user name [MQTT 3.1.1 section 3.1.2.9]')
  }
}

/** Will Properties, Will Topic and Will Payload. [MQTT-3.1.2-9] */
function readWill(reader: ByteReader, flags: number, isV5: boolean): Will {
  const all: Properties = isV5 ? readProperties(reader, WILL) : NO_PROPERTIES
  const { willDelayInterval: delayInterval = 0, ...properties } = all
  const topic = reader.string()
  const problem = topicNameProblem(topic)
  if (problem !== undefined) throw new MqttError(ReasonCode.TopicNameInvalid, `Will Topic: ${problem}`)
  return {
    topic,
    payload: reader.binary(),
    qos: ((flags & Flag.WillQos) >> 3) as QoS,
    retain: (flags & Flag.WillRetain) !== 0,
    delayInterval,
    properties,
  }
}
