/** The hot path in: what a received PUBLISH says, as offsets into the bytes it came in. [MQTT 5.0 section 3.3] */

import { ByteReader, decodeString } from './byte-reader.js'
import { PacketType } from './packet-type.js'
import type { QoS } from './packets.js'
import { readDefinition, readValue, skipValue } from './properties.js'
import { malformed, protocolError } from './reason-codes.js'

/**
 * What an explicit Message Expiry Interval of 0 is reported as: 0 itself says that the publisher gave none. Such a
 * message goes to whoever is there now and is past by the next millisecond. [MQTT-3.3.2-5]
 */
export const EXPIRES_AT_ONCE_SECONDS = 0.001

/** One received PUBLISH. A connection has one and fills it again for each packet. Offsets are into the chunk. */
export class PublishHeader {
  duplicate = false
  qos: QoS = 0
  retain = false
  topicStart = 0
  /** Equal to `topicStart` only when `topicAlias` stands for the topic name. */
  topicEnd = 0
  /** 0 for QoS 0. */
  packetId = 0
  /** 0 when there is none. Whether it is within the announced maximum is for the connection to say. */
  topicAlias = 0
  payloadFormatIndicator: 0 | 1 = 0
  /** Seconds; 0 when the publisher gave none, 0.001 when the publisher gave 0. */
  expiryInterval = 0
  /**
   * The properties that go on to subscribers, encoded, without their length and without Topic Alias; undefined when
   * there are none. A view of the chunk, or bytes of their own when an alias had to be cut out of the middle.
   */
  properties: Buffer | undefined = undefined
  payloadStart = 0
  payloadEnd = 0
}

/**
 * Reads a PUBLISH from a client into `out`. Allocates nothing when there are no properties. The topic name's
 * characters are not looked at: see `decodeTopic` and `topicNameProblem`.
 * @param start of the body, behind the fixed header
 * @throws MqttError 0x81, 0x82 or 0x94 (Topic Alias 0); what is in `out` then means nothing.
 */
export function decodePublish(
  chunk: Buffer,
  firstByte: number,
  start: number,
  end: number,
  isV5: boolean,
  out: PublishHeader,
): void {
  const qos = (firstByte >> 1) & 3
  if (qos === 3) throw malformed('QoS 3 [MQTT-3.3.1-4]')
  out.qos = qos as QoS
  out.duplicate = (firstByte & 8) !== 0
  out.retain = (firstByte & 1) !== 0
  out.packetId = 0
  out.topicAlias = 0
  out.payloadFormatIndicator = 0
  out.expiryInterval = 0
  out.properties = undefined

  if (end - start < 2) throw malformed('packet ends before its topic name [MQTT-3.3.2-1]')
  const topicStart = start + 2
  let at = topicStart + (((chunk[start] as number) << 8) | (chunk[start + 1] as number))
  if (at > end) throw malformed('packet ends within its topic name [MQTT-3.3.2-1]')
  out.topicStart = topicStart
  out.topicEnd = at

  if (qos !== 0) {
    if (end - at < 2) throw malformed('packet ends before its packet id [MQTT 5.0 section 3.3.2.2]')
    out.packetId = ((chunk[at] as number) << 8) | (chunk[at + 1] as number)
    if (out.packetId === 0) throw protocolError('packet id is 0 [MQTT-2.2.1-3]')
    at += 2
  } else if (out.duplicate) {
    throw malformed('DUP with QoS 0 [MQTT-3.3.1-2]')
  }

  if (isV5) {
    // Most packets have no properties: their length is one zero byte.
    if (at < end && chunk[at] === 0) at += 1
    else at = readForwardable(chunk, at, end, out)
  }
  if (out.topicEnd === topicStart && out.topicAlias === 0) {
    throw protocolError('no topic name and no alias [MQTT 5.0 section 3.3.2.1]')
  }
  out.payloadStart = at
  out.payloadEnd = end
}

/** The topic name in `chunk[start, end)`. @throws MqttError 0x81 when it is not well-formed UTF-8 or contains U+0000. */
export function decodeTopic(chunk: Buffer, start: number, end: number): string {
  return decodeString(chunk, start, end)
}

/** Checks the properties, notes what the broker itself needs, and returns the offset behind them. */
function readForwardable(chunk: Buffer, at: number, end: number, out: PublishHeader): number {
  const packet = new ByteReader(chunk, at, end)
  const reader = packet.section(packet.variableInteger())
  const start = reader.at
  let aliasStart = -1
  let aliasEnd = -1
  let seen = 0
  while (!reader.isAtEnd) {
    const propertyStart = reader.at
    const definition = readDefinition(reader, PacketType.Publish, seen)
    seen |= definition.bit
    switch (definition.name) {
      case 'topicAlias':
        out.topicAlias = readValue(reader, definition) as number
        aliasStart = propertyStart
        aliasEnd = reader.at
        break
      case 'messageExpiryInterval':
        out.expiryInterval = (readValue(reader, definition) as number) || EXPIRES_AT_ONCE_SECONDS
        break
      case 'payloadFormatIndicator':
        out.payloadFormatIndicator = readValue(reader, definition) as 0 | 1
        break
      case 'subscriptionIdentifier':
        throw protocolError('Subscription Identifier from a client [MQTT-3.3.4-6]')
      case 'responseTopic':
        readValue(reader, definition)
        break
      default:
        skipValue(reader, definition)
    }
  }
  out.properties = without(chunk, start, reader.end, aliasStart, aliasEnd)
  return reader.end
}

/** `chunk[start, end)` without `[cutStart, cutEnd)`: a view where that is in one piece, undefined where it is empty. */
function without(chunk: Buffer, start: number, end: number, cutStart: number, cutEnd: number): Buffer | undefined {
  if (cutStart === -1) return start === end ? undefined : chunk.subarray(start, end)
  if (cutStart === start) return cutEnd === end ? undefined : chunk.subarray(cutEnd, end)
  if (cutEnd === end) return chunk.subarray(start, cutStart)
  return Buffer.concat([chunk.subarray(start, cutStart), chunk.subarray(cutEnd, end)])
}
