import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { Outbox, Slab } from '../../../src/mqtt/outbox.js'
import { Message } from '../../../src/mqtt/wire/message.js'
import { TurnQueue } from '../../../src/util/turn.js'
import { nextTurn, SlowStream } from './slow-stream.js'

const FLUSH_BYTES = 64 * 1024

function setUp({ isSlow = false, limit = 1_000_000, highWaterMark = 16_384 } = {}) {
  const stream = new SlowStream(isSlow, highWaterMark)
  const bytesSent = { value: 0 }
  const turn = new TurnQueue({
    onError(error) {
      throw error
    },
  })
  let congestions = 0
  const outbox = new Outbox(
    stream,
    limit,
    { turn, publishSlab: new Slab(), ackSlab: new Slab(), bytesSent },
    { congested: () => (congestions += 1) },
  )
  return { stream, outbox, bytesSent, congestions: () => congestions }
}

/** Everything that leaves must be told apart by its place. */
function pattern(length: number, seed = 0): Buffer {
  return Buffer.from(Array.from({ length }, (_, index) => (index * 31 + seed) & 0xff))
}

describe('outbox', () => {
  it('writes once per turn, whatever is gathered in it', async () => {
    const { outbox, stream, bytesSent } = setUp()
    const bytes = pattern(100)
    outbox.write(bytes, 0, 10)
    outbox.write(bytes, 50, 60)
    outbox.writeShortAck(0x40, 0x1234)
    assert.equal(stream.writes.length, 0)
    assert.equal(outbox.pendingBytes, 24)
    await nextTurn()
    assert.equal(stream.writes.length, 1)
    const expected = Buffer.concat([bytes.subarray(0, 10), bytes.subarray(50, 60), Buffer.from([0x40, 2, 0x12, 0x34])])
    assert.deepEqual(stream.received, expected)
    assert.equal(bytesSent.value, 24)
    assert.equal(outbox.pendingBytes, 0)
  })

  it('passes ranges that follow each other in one buffer on as one range, without a copy', async () => {
    const { outbox, stream } = setUp()
    const chunk = pattern(30_000)
    const written: unknown[] = []
    stream._write = (bytes: Buffer, _encoding, done) => {
      written.push([bytes.buffer === chunk.buffer, bytes.byteOffset - chunk.byteOffset, bytes.length])
      done()
    }
    outbox.write(chunk, 5, 1_000)
    outbox.write(chunk, 1_000, 1_001)
    outbox.write(chunk, 1_001, 30_000)
    await nextTurn()
    assert.deepEqual(written, [[true, 5, 29_995]])
  })

  it('does not wait for the end of the turn with 64 KiB', () => {
    const { outbox, stream } = setUp({ highWaterMark: 1_000_000 })
    const bytes = pattern(1_000)
    while (stream.writes.length === 0) outbox.write(bytes, 0, 1_000)
    assert.equal(stream.writes[0]?.length, Math.ceil(FLUSH_BYTES / 1_000) * 1_000)
  })

  it('gives each receiver its packet id and DUP flag, and leaves the shared frame as it was', async () => {
    const { outbox, stream } = setUp()
    for (const payload of ['x', 'y'.repeat(5_000)]) {
      const frame = Message.from('t', Buffer.from(payload)).frame(true, 1, false)
      const before = Buffer.from(frame.buffer.subarray(frame.start, frame.end))
      const at = frame.packetIdOffset - frame.start
      stream.writes.length = 0
      outbox.writePublish(frame, 0xabcd, true)
      outbox.writePublish(frame, 2, false)
      await nextTurn()
      const [first, second] = [Buffer.from(before), Buffer.from(before)]
      first.writeUInt16BE(0xabcd, at)
      first[0] = (first[0] as number) | 0x08
      second.writeUInt16BE(2, at)
      assert.deepEqual(stream.received, Buffer.concat([first, second]))
      assert.deepEqual(frame.buffer.subarray(frame.start, frame.end), before)
    }
  })

  it('is full when what waits here and in the stream is over its limit', async () => {
    const { outbox, stream } = setUp({ isSlow: true, limit: 2_000 })
    const bytes = pattern(1_000)
    outbox.write(bytes, 0, 1_000)
    outbox.write(bytes, 0, 1_000)
    assert.equal(outbox.isFull, false)
    await nextTurn()
    outbox.write(bytes, 0, 1)
    assert.equal(outbox.isFull, true)
    await stream.proceed()
    assert.equal(outbox.isFull, false)
  })

  it('tells its owner that the stream is congested, until it has drained', async () => {
    const { outbox, stream, congestions } = setUp({ isSlow: true, highWaterMark: 100 })
    const bytes = pattern(1_000)
    outbox.write(bytes, 0, 50)
    await nextTurn()
    assert.deepEqual([congestions(), outbox.isCongested], [0, false])
    outbox.write(bytes, 0, 60)
    await nextTurn()
    assert.deepEqual([congestions(), outbox.isCongested], [1, true])
    await stream.proceed()
    await stream.proceed()
    assert.equal(outbox.isCongested, false)
  })

  it('forgets what was not flushed when it closes, and writes nothing any more', async () => {
    const { outbox, stream } = setUp()
    const bytes = pattern(10)
    outbox.write(bytes, 0, 5)
    outbox.close()
    outbox.write(bytes, 5, 10)
    outbox.writeShortAck(0x40, 1)
    outbox.flush()
    await nextTurn()
    assert.deepEqual(stream.writes, [])
    assert.equal(outbox.pendingBytes, 0)
  })

  it('keeps the bytes in order under any mix of writes, flushes and congestion', async () => {
    const chunk = pattern(FLUSH_BYTES, 7)
    const range = fc.tuple(fc.nat(FLUSH_BYTES - 1), fc.oneof(fc.nat(300), fc.nat(20_000))).map(([start, length]) => ({
      do: 'write' as const,
      start,
      end: Math.min(FLUSH_BYTES, start + length),
    }))
    const step = fc.oneof(
      { weight: 6, arbitrary: range },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('next' as const), length: fc.nat(5_000) }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('ack' as const), id: fc.integer({ min: 1, max: 65_535 }) }) },
      { weight: 1, arbitrary: fc.constant({ do: 'flush' as const }) },
      { weight: 2, arbitrary: fc.constant({ do: 'turn' as const }) },
      { weight: 2, arbitrary: fc.constant({ do: 'proceed' as const }) },
    )
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.array(step, { maxLength: 40 }), async (isSlow, steps) => {
        const { outbox, stream, bytesSent } = setUp({ isSlow })
        const expected: Buffer[] = []
        let lastEnd = 0
        for (const action of steps) {
          if (action.do === 'write' || action.do === 'next') {
            const start = action.do === 'write' ? action.start : lastEnd
            const end = action.do === 'write' ? action.end : Math.min(FLUSH_BYTES, lastEnd + action.length)
            outbox.write(chunk, start, end)
            expected.push(chunk.subarray(start, end))
            lastEnd = end
          } else if (action.do === 'ack') {
            outbox.writeShortAck(0x40, action.id)
            expected.push(Buffer.from([0x40, 2, action.id >> 8, action.id & 0xff]))
          } else if (action.do === 'flush') outbox.flush()
          else if (action.do === 'turn') await nextTurn()
          else await stream.proceed()
        }
        await nextTurn()
        while (stream.writableLength > 0) await stream.proceed()
        assert.deepEqual(stream.received, Buffer.concat(expected))
        assert.equal(bytesSent.value, stream.received.length)
        assert.equal(outbox.pendingBytes, 0)
      }),
      { numRuns: 60 },
    )
  })

  it('does not keep whole chunks alive for the few bytes of them that a slow client has yet to read', async () => {
    const { outbox, stream } = setUp({ isSlow: true })
    const kept = new Set<ArrayBufferLike>()
    const write = stream.write.bind(stream)
    stream.write = ((bytes: Buffer) => {
      kept.add(bytes.buffer)
      return write(bytes)
    }) as typeof stream.write
    for (let turn = 0; turn < 50; turn += 1) {
      const chunk = Buffer.allocUnsafeSlow(65_536).fill(turn)
      outbox.write(chunk, 100, 164)
      if (turn % 2 === 1) for (let at = 1_000; at < 13_000; at += 4_000) outbox.write(chunk, at, at + 3_000)
      if (turn % 5 === 0) outbox.writeShortAck(0x40, turn + 1)
      await nextTurn()
    }
    let keptBytes = 0
    for (const buffer of kept) keptBytes += buffer.byteLength
    // The first write is with the kernel at once, and one slab is shared by all.
    const allowed = outbox.pendingBytes * 2 + 65_536 + 16_384
    assert.ok(keptBytes <= allowed, `${keptBytes} bytes kept alive for ${outbox.pendingBytes} that wait`)
  })
})
