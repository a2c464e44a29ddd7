/**
 * The codec, in this process. Whatever the bytes are, it must bring out packets and an MqttError and nothing else; the
 * same ones in whatever chunks the bytes come; within the bytes it was given; and what it accepts of a PUBLISH must
 * come out again as a packet that says the same.
 */

import assert from 'node:assert/strict'
import { decodePacket, decodePublish, decodeTopic, PublishHeader } from '../../src/mqtt/wire/decode.js'
import { FrameSplitter } from '../../src/mqtt/wire/frame-splitter.js'
import { Message } from '../../src/mqtt/wire/message.js'
import { decodePublishProperties } from '../../src/mqtt/wire/publish-frame.js'
import { MqttError } from '../../src/mqtt/wire/reason-codes.js'
import { topicFilterProblem, topicNameProblem } from '../../src/mqtt/wire/topic.js'
import type { FuzzVersion } from './grammar.js'
import type { Input } from './inputs.js'

const MAXIMUM_PACKET_SIZE = 100_000
const PUBLISH = 3

/** Lengths of frames and how it ended: enough to tell two readings of the same bytes apart. */
interface Reading {
  frames: number[]
  refusal: string | undefined
}

/** Inputs that were read to their end, and those that were refused. */
export interface CodecCounts {
  accepted: number
  refused: number
  packets: number
}

export class CodecTarget {
  readonly counts: CodecCounts = { accepted: 0, refused: 0, packets: 0 }
  private readonly header = new PublishHeader()
  private readonly again = new PublishHeader()

  /** @throws whatever the codec must not throw, and AssertionError for what it must not do. */
  try(input: Pick<Input, 'version' | 'chunks'>): void {
    const inChunks = this.read(input.chunks, input.version)
    if (input.chunks.length > 1) {
      const whole = this.read([Buffer.concat(input.chunks)], input.version)
      assert.deepEqual(inChunks, whole, 'the same bytes in other chunks are other packets')
    }
    this.counts.packets += inChunks.frames.length
    if (inChunks.refusal === undefined) this.counts.accepted += 1
    else this.counts.refused += 1
  }

  private read(chunks: readonly Buffer[], version: FuzzVersion): Reading {
    const splitter = new FrameSplitter(MAXIMUM_PACKET_SIZE)
    const reading: Reading = { frames: [], refusal: undefined }
    const sink = {
      frame: (chunk: Buffer, firstByte: number, start: number, bodyStart: number, end: number): boolean => {
        assert.ok(start < bodyStart && bodyStart <= end && end <= chunk.length, 'a frame lies in its chunk')
        reading.frames.push(end - start)
        if (firstByte >> 4 === PUBLISH) this.readPublish(chunk, firstByte, bodyStart, end, version)
        else readOther(chunk, firstByte, bodyStart, end, version)
        return true
      },
    }
    let given = 0
    try {
      for (const chunk of chunks) {
        given += chunk.length
        splitter.push(chunk, sink)
        assert.ok(splitter.bufferedBytes <= given, 'no more is buffered than has come')
      }
    } catch (error) {
      if (!(error instanceof MqttError)) throw error
      assert.ok(error.reasonCode >= 0x80 && error.reasonCode <= 0xa2, `reason code ${error.reasonCode}`)
      reading.refusal = `${error.reasonCode} ${error.message}`
    }
    return reading
  }

  private readPublish(chunk: Buffer, firstByte: number, start: number, end: number, version: FuzzVersion): void {
    const { header } = this
    decodePublish(chunk, firstByte, start, end, version === 5, header)
    const { topicStart, topicEnd, payloadStart, payloadEnd, properties, qos, retain } = header
    assert.ok(start < topicStart && topicStart <= topicEnd, 'the topic lies in the packet')
    assert.ok(
      topicEnd <= payloadStart && payloadStart <= payloadEnd && payloadEnd === end,
      'the payload lies behind it',
    )
    if (topicStart === topicEnd) return
    const topic = decodeTopic(chunk, topicStart, topicEnd)
    if (topicNameProblem(topic) !== undefined) return
    if (properties !== undefined) decodePublishProperties(properties)
    const { expiryInterval } = header
    const message = new Message({ topic, qos, retain, chunk, payloadStart, payloadEnd, properties, expiryInterval })
    for (const isV5 of [false, true]) this.expectSame(message, isV5)
  }

  /** What goes on to subscribers is read by the same decoder, and is the same message. */
  private expectSame(message: Message, isV5: boolean): void {
    const { again } = this
    const frame = message.detach().frame(isV5, message.qos, message.retain)
    const packet = frame.buffer.subarray(frame.start, frame.end)
    // Each receiver has its own packet id; 0 is no packet id.
    if (message.qos > 0) packet[frame.packetIdOffset - frame.start + 1] = 1
    let frames = 0
    new FrameSplitter(packet.length).push(packet, {
      frame(chunk, firstByte, _start, bodyStart, end) {
        frames += 1
        decodePublish(chunk, firstByte, bodyStart, end, isV5, again)
        assert.equal(decodeTopic(chunk, again.topicStart, again.topicEnd), message.topic)
        assert.ok(chunk.subarray(again.payloadStart, again.payloadEnd).equals(message.payload), 'the same payload')
        assert.equal(again.qos, message.qos)
        const properties = isV5 ? message.properties : undefined
        assert.deepEqual(again.properties, properties, 'the same properties')
        return true
      },
    })
    assert.equal(frames, 1)
  }
}

function readOther(chunk: Buffer, firstByte: number, start: number, end: number, version: FuzzVersion): void {
  const packet = decodePacket(chunk, firstByte, start, end, version)
  // Handlers ask these of every filter, whatever it is made of.
  if (packet.cmd === 'subscribe') for (const { topicFilter } of packet.subscriptions) topicFilterProblem(topicFilter)
  if (packet.cmd === 'unsubscribe') for (const filter of packet.topicFilters) topicFilterProblem(filter)
}
