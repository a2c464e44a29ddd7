/** A message as bytes that outlive the process or go to peers: deadline, QoS, and the frame that says the rest. */

import { decodePublish, decodeTopic, PublishHeader } from '../mqtt/wire/decode.js'
import { Message } from '../mqtt/wire/message.js'
import type { QoS } from '../mqtt/wire/packets.js'
import { encodePublish } from '../mqtt/wire/publish-frame.js'
import { readVariableInteger, variableIntegerSize } from '../mqtt/wire/variable-integer.js'

/** The deadline in milliseconds since the epoch as a double, the QoS as a byte, the frame. */
const QOS_AT = 8
const FRAME_AT = 9

/**
 * The frame is of MQTT 5 and QoS 0, which needs no packet id.
 * @param room bytes left free in front of it
 */
export function encodeKept(message: Message, room = 0): Buffer {
  const { buffer } = encodePublish(message, true, 0, message.retain, undefined, -1, room + FRAME_AT)
  buffer.writeDoubleBE(message.expiresAt, room)
  buffer[room + QOS_AT] = message.qos
  return buffer
}

/** The message is made of the bytes, not of a copy. @throws MqttError when they are not what `encodeKept` makes. */
export function decodeKept(value: Buffer, publisherId = ''): Message {
  const header = new PublishHeader()
  const bodyStart = FRAME_AT + 1 + variableIntegerSize(readVariableInteger(value, FRAME_AT + 1, value.length))
  decodePublish(value, value[FRAME_AT] ?? 0, bodyStart, value.length, true, header)
  const message = new Message(
    {
      topic: decodeTopic(value, header.topicStart, header.topicEnd),
      qos: ((value[QOS_AT] ?? 0) & 3) as QoS,
      retain: header.retain,
      chunk: value,
      payloadStart: header.payloadStart,
      payloadEnd: header.payloadEnd,
      properties: header.properties,
      expiryInterval: 0,
    },
    publisherId,
  )
  message.expiresAt = value.readDoubleBE(0)
  return message
}

/** What it takes of a limit in bytes: topic name, payload and properties. */
export function keptSize({ topic, payloadStart, payloadEnd, properties }: Message): number {
  return Buffer.byteLength(topic) + payloadEnd - payloadStart + (properties === undefined ? 0 : properties.length)
}

/** The same of a message that `encodeKept` has encoded, from its lengths alone. */
export function encodedSize(value: Buffer): number {
  const bodyAt = FRAME_AT + 1 + variableIntegerSize(readVariableInteger(value, FRAME_AT + 1, value.length))
  const propertiesAt = bodyAt + 2 + value.readUInt16BE(bodyAt)
  const propertiesBytes = readVariableInteger(value, propertiesAt, value.length)
  return value.length - bodyAt - 2 - variableIntegerSize(propertiesBytes)
}
