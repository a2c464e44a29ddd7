/**
 * How many 64-byte QoS 0 publishes one core splits and decodes a second, from chunks as a socket gives them.
 * Run: `node --import tsx test/bench/decode.bench.ts`
 */

import { decodePublish, decodeTopic, PublishHeader } from '../../src/mqtt/wire/decode.js'
import { type FrameSink, FrameSplitter } from '../../src/mqtt/wire/frame-splitter.js'
import { measure } from './micro.js'

const CHUNK_BYTES = 65_536
const PAYLOAD_BYTES = 64
const TOPIC = 'bench/a/topic'

class Decoder implements FrameSink {
  readonly header = new PublishHeader()
  frames = 0
  payloadBytes = 0
  characters = 0

  constructor(
    readonly isV5: boolean,
    readonly readsTopic: boolean,
  ) {}

  frame(chunk: Buffer, firstByte: number, _start: number, bodyStart: number, end: number): boolean {
    const header = this.header
    decodePublish(chunk, firstByte, bodyStart, end, this.isV5, header)
    if (this.readsTopic) this.characters += decodeTopic(chunk, header.topicStart, header.topicEnd).length
    this.frames += 1
    this.payloadBytes += header.payloadEnd - header.payloadStart
    return true
  }
}

/** Chunks of 64 KiB cut from a stream of equal frames, so that the last frame of each straddles. */
function chunksOf(frame: Buffer): Buffer[] {
  const stream = Buffer.concat(Array.from({ length: CHUNK_BYTES }, () => frame))
  return Array.from({ length: frame.length }, (_, index) =>
    stream.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES),
  )
}

function publish(isV5: boolean, properties: Buffer): Buffer {
  const variableHeader = Buffer.concat([
    Buffer.from([0, TOPIC.length]),
    Buffer.from(TOPIC),
    ...(isV5 ? [Buffer.from([properties.length]), properties] : []),
  ])
  const remaining = variableHeader.length + PAYLOAD_BYTES
  return Buffer.concat([Buffer.from([0x30, remaining]), variableHeader, Buffer.alloc(PAYLOAD_BYTES, 'x')])
}

function measureDecoding(name: string, frame: Buffer, decoder: Decoder): void {
  const chunks = chunksOf(frame)
  const splitter = new FrameSplitter(1_048_576)
  measure(name, 'messages', () => {
    const before = decoder.frames
    for (const chunk of chunks) splitter.push(chunk, decoder)
    return decoder.frames - before
  })
}

const expiry = Buffer.from([0x02, 0, 0, 0, 60])
measureDecoding('3.1.1: split, decode', publish(false, Buffer.alloc(0)), new Decoder(false, false))
measureDecoding('3.1.1: split, decode, topic', publish(false, Buffer.alloc(0)), new Decoder(false, true))
measureDecoding('5.0: split, decode', publish(true, Buffer.alloc(0)), new Decoder(true, false))
measureDecoding('5.0 with an expiry interval: split, decode', publish(true, expiry), new Decoder(true, false))
