import assert from 'node:assert/strict'
import { decodePacket, decodePublish, decodeTopic, PublishHeader } from '../../../../src/mqtt/wire/decode.js'
import { FrameSplitter } from '../../../../src/mqtt/wire/frame-splitter.js'
import type { InboundPacket, ProtocolVersion, PublishProperties, QoS } from '../../../../src/mqtt/wire/packets.js'
import { decodePublishProperties } from '../../../../src/mqtt/wire/publish-frame.js'
import { MqttError } from '../../../../src/mqtt/wire/reason-codes.js'

/** A PUBLISH with everything its header points at. */
export interface ReceivedPublish {
  cmd: 'publish'
  topic: string
  payload: string
  qos: QoS
  retain: boolean
  duplicate: boolean
  packetId: number
  topicAlias: number
  expiryInterval: number
  payloadFormatIndicator: 0 | 1
  properties: PublishProperties
}

export type Received = InboundPacket | ReceivedPublish

/** Everything in `bytes`, as the broker reads it. @throws what the codec throws. */
export function receive(bytes: Buffer, version: ProtocolVersion = 5): Received[] {
  const received: Received[] = []
  const splitter = new FrameSplitter(1_048_576)
  splitter.push(bytes, {
    frame(chunk, firstByte, _start, bodyStart, end) {
      if (firstByte >> 4 === 3) received.push(receivePublish(chunk, firstByte, bodyStart, end, version === 5))
      else received.push(decodePacket(chunk, firstByte, bodyStart, end, version))
      return true
    },
  })
  return received
}

/** The one packet that `bytes` is. */
export function receiveOne(bytes: Buffer, version: ProtocolVersion = 5): Received {
  const [first, ...more] = receive(bytes, version)
  assert.ok(first !== undefined && more.length === 0, `${more.length + 1} packets`)
  return first
}

/** The reason code that `bytes` are refused with, undefined when they are not. */
export function refusal(bytes: Buffer, version: ProtocolVersion = 5): number | undefined {
  try {
    receive(bytes, version)
    return undefined
  } catch (error) {
    if (error instanceof MqttError) return error.reasonCode
    throw error
  }
}

export function hex(code: number | undefined): string {
  return code === undefined ? 'none' : `0x${code.toString(16)}`
}

function receivePublish(
  chunk: Buffer,
  firstByte: number,
  bodyStart: number,
  end: number,
  isV5: boolean,
): ReceivedPublish {
  const header = new PublishHeader()
  decodePublish(chunk, firstByte, bodyStart, end, isV5, header)
  return {
    cmd: 'publish',
    topic: decodeTopic(chunk, header.topicStart, header.topicEnd),
    payload: chunk.toString('latin1', header.payloadStart, header.payloadEnd),
    qos: header.qos,
    retain: header.retain,
    duplicate: header.duplicate,
    packetId: header.packetId,
    topicAlias: header.topicAlias,
    expiryInterval: header.expiryInterval,
    payloadFormatIndicator: header.payloadFormatIndicator,
    properties: header.properties === undefined ? {} : decodePublishProperties(header.properties),
  }
}
