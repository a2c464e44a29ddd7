import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { BatchReader, BatchWriter } from '../../../src/cluster/batch.js'
import { EntryHeads } from '../../../src/cluster/entry-extension.js'
import { Message } from '../../../src/mqtt/wire/message.js'
import { decodePublishProperties } from '../../../src/mqtt/wire/publish-frame.js'

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
