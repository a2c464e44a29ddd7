import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { type FrameSink, FrameSplitter } from '../../../../src/mqtt/wire/frame-splitter.js'
import { MqttError } from '../../../../src/mqtt/wire/reason-codes.js'
import { packet } from '../../../support/mqtt-bytes.js'

/** Longer than any frame here. */
const MAXIMUM_BYTES = 300_000_000

/** Keeps a copy of each frame, and says stop after each frame for which `stops` says so. */
class Collector implements FrameSink {
  readonly frames: string[] = []

  constructor(private readonly stops: (count: number) => boolean = () => false) {}

  frame(chunk: Buffer, firstByte: number, start: number, bodyStart: number, end: number): boolean {
    assert.equal(chunk[start], firstByte)
    // The body starts behind the last byte of the Remaining Length, the first without its high bit.
    assert.ok((chunk[bodyStart - 1] as number) < 0x80)
    assert.ok(chunk.subarray(start + 1, bodyStart - 1).every((byte) => byte >= 0x80))
    this.frames.push(chunk.toString('hex', start, end))
    return !this.stops(this.frames.length)
  }
}

/** Bodies whose Remaining Length takes one, two and three bytes. */
const frame = fc
  .tuple(fc.integer({ min: 0, max: 255 }), fc.oneof(fc.nat(20), fc.nat(400), fc.constantFrom(127, 128, 16_383, 16_384)))
  .map(([firstByte, size]) => packet(firstByte, Buffer.alloc(size, size)))

/** A stream of frames, how it is cut into chunks, and after which frames the sink stops. */
const received = fc.array(frame, { minLength: 1, maxLength: 8 }).chain((frames) =>
  fc.record({
    frames: fc.constant(frames),
    cuts: fc.array(fc.nat(Buffer.concat(frames).length), { maxLength: 20 }).map((cuts) => cuts.sort((a, b) => a - b)),
    stops: fc.array(fc.boolean(), { minLength: frames.length, maxLength: frames.length }),
  }),
)

function cut(stream: Buffer, cuts: readonly number[]): Buffer[] {
  return [0, ...cuts].map((start, index) => Buffer.from(stream.subarray(start, cuts[index] ?? stream.length)))
}

function refusalOf(act: () => unknown): number | undefined {
  try {
    act()
    return undefined
  } catch (error) {
    assert.ok(error instanceof MqttError)
    return error.reasonCode
  }
}

describe('FrameSplitter', () => {
  test('gives the same frames however the bytes are cut', () => {
    fc.assert(
      fc.property(received, ({ frames, cuts }) => {
        const splitter = new FrameSplitter(MAXIMUM_BYTES)
        const sink = new Collector()
        for (const chunk of cut(Buffer.concat(frames), cuts)) assert.equal(splitter.push(chunk, sink), true)
        assert.deepEqual(
          sink.frames,
          frames.map((one) => one.toString('hex')),
        )
        assert.equal(splitter.bufferedBytes, 0)
      }),
      { numRuns: 500 },
    )
  })

  test('gives the same frames, and counts what it holds, when the sink stops and goes on', () => {
    fc.assert(
      fc.property(received, fc.boolean(), ({ frames, cuts, stops }, resumesLate) => {
        const splitter = new FrameSplitter(MAXIMUM_BYTES)
        const sink = new Collector((count) => stops[count - 1] === true)
        const bytesOf = (hexFrames: readonly string[]) => hexFrames.reduce((sum, one) => sum + one.length / 2, 0)
        let pushed = 0
        for (const chunk of cut(Buffer.concat(frames), cuts)) {
          let isOpen = splitter.push(chunk, sink)
          pushed += chunk.length
          assert.equal(splitter.bufferedBytes, pushed - bytesOf(sink.frames))
          while (!isOpen && !resumesLate) isOpen = splitter.resume(sink)
        }
        while (!splitter.resume(sink)) assert.equal(splitter.bufferedBytes, pushed - bytesOf(sink.frames))
        assert.deepEqual(
          sink.frames,
          frames.map((one) => one.toString('hex')),
        )
        assert.equal(splitter.bufferedBytes, 0)
      }),
      { numRuns: 500 },
    )
  })

  test('hands a frame that lies in one chunk on where it lies', () => {
    const splitter = new FrameSplitter(MAXIMUM_BYTES)
    const chunk = Buffer.concat([packet(0xc0), packet(0x30, Buffer.alloc(200))])
    const chunks: Buffer[] = []
    splitter.push(chunk, { frame: (given) => chunks.push(given) > 0 })
    assert.deepEqual(
      chunks.map((given) => given === chunk),
      [true, true],
    )
  })

  test('an announcement of 100 MB that never comes costs nothing', () => {
    const splitter = new FrameSplitter(MAXIMUM_BYTES)
    const sink = new Collector()
    const before = process.memoryUsage().arrayBuffers
    splitter.push(Buffer.from([0x30, 0x80, 0xc2, 0xd7, 0x2f, 0x00]), sink)
    assert.ok(process.memoryUsage().arrayBuffers - before < 65_536)
    assert.equal(splitter.bufferedBytes, 6)
  })

  test('a megabyte that comes byte by byte is assembled in linear time', { timeout: 10_000 }, () => {
    const splitter = new FrameSplitter(MAXIMUM_BYTES)
    const sink = new Collector()
    const bytes = packet(0x30, Buffer.alloc(1_048_576, 7))
    for (let at = 0; at < bytes.length; at++) splitter.push(bytes.subarray(at, at + 1), sink)
    assert.deepEqual(sink.frames, [bytes.toString('hex')])
  })

  test('refuses a packet over the maximum as soon as its length is known, wherever the chunks end', () => {
    // The maximum counts the whole packet. [MQTT 5.0 section 3.2.2.3.6]
    const fits = packet(0x30, Buffer.alloc(98))
    const tooLarge = packet(0x30, Buffer.alloc(99))
    assert.equal(new FrameSplitter(100).push(fits, new Collector()), true)
    assert.equal(
      refusalOf(() => new FrameSplitter(100).push(tooLarge, new Collector())),
      0x95,
    )
    assert.equal(
      refusalOf(() => new FrameSplitter(100).push(tooLarge.subarray(0, 2), new Collector())),
      0x95,
    )
    const splitter = new FrameSplitter(100)
    splitter.push(tooLarge.subarray(0, 1), new Collector())
    assert.equal(
      refusalOf(() => splitter.push(tooLarge.subarray(1, 2), new Collector())),
      0x95,
    )
  })

  test('its maximum can change between packets', () => {
    const splitter = new FrameSplitter(100)
    const sink = new Collector()
    splitter.maximumPacketSize = 200
    assert.equal(splitter.push(packet(0x30, Buffer.alloc(150)), sink), true)
    assert.equal(sink.frames.length, 1)
  })

  test('refuses a Remaining Length of five bytes, or longer than needed [MQTT-1.5.5-1]', () => {
    for (const bytes of [
      [0x30, 0x80, 0x80, 0x80, 0x80, 0x01],
      [0x30, 0xff, 0xff, 0xff, 0xff],
      [0x30, 0x80, 0x00],
      [0x30, 0xff, 0x80, 0x00],
    ]) {
      const whole = new FrameSplitter(MAXIMUM_BYTES)
      assert.equal(
        refusalOf(() => whole.push(Buffer.from(bytes), new Collector())),
        0x81,
      )
      const slow = new FrameSplitter(MAXIMUM_BYTES)
      assert.equal(
        refusalOf(() => {
          for (const byte of bytes) slow.push(Buffer.from([byte]), new Collector())
        }),
        0x81,
      )
    }
  })

  test('takes frames again after a stop at the very end of a chunk', () => {
    const splitter = new FrameSplitter(MAXIMUM_BYTES)
    const sink = new Collector((count) => count === 1)
    assert.equal(splitter.push(packet(0xc0), sink), false)
    assert.equal(splitter.push(packet(0xc0), sink), false)
    assert.equal(sink.frames.length, 1)
    assert.equal(splitter.resume(sink), true)
    assert.equal(sink.frames.length, 2)
    assert.equal(splitter.resume(sink), true)
  })
})
