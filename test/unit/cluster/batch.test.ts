import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { BatchReader, BatchWriter } from '../../../src/cluster/batch.js'
import { EntryHeads, LONG_HEAD, PLAIN_HEAD, RUN, SHORT, SHORT_HEAD } from '../../../src/cluster/entry-extension.js'
import { LooseLane } from '../../../src/cluster/loose-lane.js'
import { type Frame, Message } from '../../../src/mqtt/wire/message.js'
import { decodePublishProperties } from '../../../src/mqtt/wire/publish-frame.js'
import { MqttError } from '../../../src/mqtt/wire/reason-codes.js'
import { NodeError } from '../../../src/util/errors.js'

interface Sent {
  payload: string
  publisherId: string
  expiry?: number | undefined
}

/** Everything in one batch of whatever size it takes. */
function batchOf(messages: readonly Sent[]): Buffer {
  const batches: Buffer[] = []
  const heads = new EntryHeads()
  const writer = new BatchWriter(4_096, ({ entries }) => batches.push(Buffer.from(entries)))
  for (const { payload, publisherId, expiry } of messages) {
    const properties = expiry === undefined ? {} : { messageExpiryInterval: expiry }
    writer.add(Message.from('t', Buffer.from(payload), { properties }).frame(true, 0, false), heads.headOf(publisherId))
  }
  writer.seal()
  return Buffer.concat(batches)
}

function read(entries: Buffer, waitedMs = 0): Message[] {
  const messages: Message[] = []
  new BatchReader().read(entries, waitedMs, (message) => messages.push(message))
  return messages
}

/** What an MQTT 5 subscriber of QoS 0 is told of the expiry interval. */
function toldOf(message: Message): number | undefined {
  const frame = message.isAged ? message.frameFor(0, false, undefined, Date.now()) : message.frame(true, 0, false)
  const [again] = read(Buffer.concat([Buffer.from([0]), frame.buffer.subarray(frame.start, frame.end)]))
  const properties = again?.properties
  return properties === undefined ? undefined : decodePublishProperties(properties).messageExpiryInterval
}

describe('a batch', () => {
  it('carries each message with its publisher, where one is told', () => {
    const sent = fc.record({
      payload: fc.string({ maxLength: 50 }),
      publisherId: fc.oneof(
        fc.constant(''),
        fc.constantFrom('a', 'ö', 'x'.repeat(300)),
        fc.string({ unit: 'grapheme' }),
      ),
    })
    fc.assert(
      fc.property(fc.array(sent, { maxLength: 20 }), (messages) => {
        const got = read(batchOf(messages))
        assert.deepEqual(
          got.map(({ payload, publisherId }) => ({ payload: payload.toString(), publisherId })),
          messages.map((message) => ({ ...message })),
        )
      }),
    )
  })

  it('holds runs of messages that came one behind the other, of either version, and counts what it was given', () => {
    const sent = fc.record({
      payload: fc.string({ maxLength: 40 }),
      qos: fc.constantFrom(0 as const, 0 as const, 0 as const, 1 as const),
      form: fc.constantFrom('short', 'short', 'long', 'plain'),
      /** In a chunk of its own, so that a run ends before it. */
      isApart: fc.boolean(),
      isNumbered: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.array(sent, { maxLength: 40 }), fc.integer({ min: 64, max: 400 }), (messages, batchBytes) => {
        const lane = new LooseLane({ batchBytes, limitBytes: 1_000_000 })
        let chunk = Buffer.alloc(0)
        let end = 0
        for (const { payload, qos, form, isApart, isNumbered } of messages) {
          const made = Message.from('t', Buffer.from(payload), { qos }).frame(form !== 'short', qos, false)
          const size = made.end - made.start
          if (isApart || end + size > chunk.length) {
            chunk = Buffer.alloc(1_000)
            end = 0
          }
          made.buffer.copy(chunk, end, made.start, made.end)
          const packetIdOffset = made.packetIdOffset === -1 ? -1 : made.packetIdOffset - made.start + end
          // As a publisher numbers it, or as it is where it was made here.
          if (packetIdOffset !== -1 && isNumbered) chunk[packetIdOffset] = 7
          const frame: Frame = { buffer: chunk, start: end, end: end + size, packetIdOffset }
          lane.offer(frame, { short: SHORT_HEAD, long: LONG_HEAD, plain: PLAIN_HEAD }[form])
          end += size
        }
        const got: Message[] = []
        for (let batch = lane.next(true); batch !== undefined; batch = lane.next(true)) {
          assert.equal(batch.value.entries.length <= batchBytes, true)
          got.push(...read(Buffer.from(batch.value.entries)))
        }
        assert.deepEqual(
          got.map(({ payload, qos }) => [payload.toString(), qos]),
          messages.map(({ payload, qos }) => [payload, qos]),
        )
        for (const [index, message] of got.entries()) {
          const isShort = messages[index]?.form === 'short'
          const { qos } = message
          assert.deepEqual(
            [message.hasFrame(false, qos, false), message.hasFrame(true, qos, false)],
            [isShort, !isShort],
          )
        }
        assert.deepEqual([lane.bytes, lane.length], [0, 0])
      }),
      { numRuns: 500 },
    )
  })

  it('is refused where a run is cut, or goes on behind its end', () => {
    const { buffer, start, end } = Message.from('t', Buffer.from('x')).frame(true, 0, false)
    const packet = buffer.subarray(start, end)
    const run = (length: number, ...packets: Buffer[]): Buffer =>
      Buffer.concat([Buffer.from([RUN, 0, 0, 0, length]), ...packets])
    assert.equal(read(run(2 * packet.length, packet, packet)).length, 2)
    assert.throws(() => read(Buffer.from([RUN, 0, 0])), /a run is cut/)
    assert.throws(() => read(run(packet.length + 1, packet)), /a run is cut/)
    assert.throws(() => read(run(packet.length - 1, packet)), /an entry is cut/)
    assert.throws(() => read(run(0, packet)), /an entry is/)
  })

  it('of any bytes is read or refused by name, and never further than it goes', () => {
    const { buffer, start, end } = Message.from('t', Buffer.from('x')).frame(false, 0, false)
    const packet = buffer.subarray(start, end)
    const healthy = Buffer.concat([
      Buffer.from([RUN | SHORT, 0, 0, 0, 3 * packet.length]),
      ...[packet, packet, packet],
      Buffer.from([SHORT]),
      packet,
    ])
    const mutation = fc.record({ at: fc.nat(healthy.length - 1), to: fc.integer({ min: 0, max: 255 }) })
    let refused = 0
    fc.assert(
      fc.property(fc.array(mutation, { maxLength: 3 }), fc.nat(healthy.length), (mutations, length) => {
        const entries = Buffer.from(healthy)
        for (const { at, to } of mutations) entries[at] = to
        const cut = entries.subarray(0, length)
        try {
          // The shortest PUBLISH there is has a byte of type, one of length, and two of the topic's length.
          assert.equal(read(cut).length <= cut.length / 4, true)
        } catch (error) {
          if (!(error instanceof MqttError)) assert.equal(error instanceof NodeError && error.code, 'BATCH_MALFORMED')
          refused += 1
        }
      }),
      { numRuns: 2_000 },
    )
    assert.equal(refused > 100, true)
  })

  it('tells a publisher of a message that no batch holds, too, and none whose name is too long', () => {
    for (const [payload, publisherId, expected] of [
      ['x'.repeat(10_000), 'a', 'a'],
      ['x', 'y'.repeat(65_535), ''],
    ] as const) {
      const [message] = read(batchOf([{ payload, publisherId }]))
      assert.deepEqual([message?.payload.toString(), message?.publisherId], [payload, expected])
    }
  })

  it('is read past what is not known of an extension, and refused where that is cut', () => {
    const plain = batchOf([{ payload: 'x', publisherId: '' }])
    const extension = (...bytes: number[]): Buffer => Buffer.from([0x80, 0, bytes.length, ...bytes])
    const extensions = {
      'a kind that is not known': [extension(9, 0, 2, 1, 2), ''],
      'and then one that is': [extension(9, 0, 1, 1, 1, 0, 1, 0x61), 'a'],
      'a field that is cut': [extension(1, 0, 5, 0x61), ''],
      'bytes that are no field': [extension(1, 0), ''],
    } as const
    for (const [what, [head, publisherId]] of Object.entries(extensions)) {
      const [message] = read(Buffer.concat([head, plain.subarray(1)]))
      assert.deepEqual([message?.payload.toString(), message?.publisherId], ['x', publisherId], what)
    }
    assert.throws(() => read(Buffer.from([0x80, 0, 9, 1])), /an extension is cut/)
    assert.throws(() => read(Buffer.from([0x80, 0])), /an extension is cut/)
  })

  it('takes the time that it waited off the expiry intervals [MQTT-3.3.2-6]', () => {
    const entries = batchOf([
      { payload: 'long', publisherId: '', expiry: 100 },
      { payload: 'none', publisherId: '' },
      { payload: 'past', publisherId: '', expiry: 30 },
    ])
    const [long, none, past] = read(entries, 30_000)
    assert.ok(long !== undefined && none !== undefined && past !== undefined)
    assert.equal(toldOf(long), 70)
    assert.equal(toldOf(none), undefined)
    assert.deepEqual(
      [long, none, past].map((message) => message.isExpired(Date.now())),
      [false, false, true],
    )
    const [fresh] = read(entries, 900)
    assert.deepEqual([fresh?.isAged, fresh && toldOf(fresh)], [false, 100])
  })
})
