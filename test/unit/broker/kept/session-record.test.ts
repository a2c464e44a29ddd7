import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import {
  decodeProgress,
  decodeRecord,
  encodeProgress,
  encodeRecord,
  type SessionProgress,
  type SessionRecord,
} from '../../../../src/broker/kept/session-record.js'
import type { SubscriptionOptions } from '../../../../src/mqtt/wire/packets.js'
import { NodeError } from '../../../../src/util/errors.js'

const UNREADABLE = (error: unknown) => error instanceof NodeError && error.code === 'SESSION_RECORD_INVALID'

const OPTIONS: SubscriptionOptions = {
  qos: 2,
  noLocal: true,
  retainAsPublished: false,
  retainHandling: 1,
  subscriptionId: 7,
}

const RECORD: SessionRecord = {
  number: 12,
  epoch: 1_700_000_000_000,
  owner: 'jörg',
  expiryInterval: 0xffff_ffff,
  isWaiting: true,
  endsAt: 1_800_000_000_000.5,
  willAt: undefined,
  will: {
    topic: 'gone/€',
    payload: Buffer.from([0, 255, 128, 10]),
    qos: 1,
    retain: true,
    delayInterval: 30,
    properties: {
      payloadFormatIndicator: 0,
      correlationData: Buffer.from([0, 1, 254]),
      // Names that the record itself uses are a client's to choose.
      userProperties: [
        ['correlationData', 'base64:AAAA'],
        ['version', '2'],
        ['__proto__', 'x'],
      ],
    },
  },
  subscriptions: [
    ['a/+/#', OPTIONS],
    ['$share/group/b', { ...OPTIONS, noLocal: false, subscriptionId: undefined }],
    ['__proto__', OPTIONS],
  ],
}

const uint16 = fc.integer({ min: 0, max: 0xffff })
const place = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })
/** Objects as code makes them. */
const ORDINARY = { noNullPrototype: true } as const
const inFlight = fc
  .record(
    { packetId: uint16, place, releaseOrder: fc.integer({ min: 0, max: 0xffff_fffe }), isFresh: fc.boolean() },
    ORDINARY,
  )
  // What is fresh has no PUBREL.
  .map((one) => (one.isFresh ? { ...one, releaseOrder: 0 } : one))
const progress: fc.Arbitrary<SessionProgress> = fc.record(
  {
    head: place,
    lastPacketId: uint16,
    inFlight: fc.array(inFlight, { maxLength: 20 }),
    received: fc.array(uint16, { maxLength: 20 }),
    retainedFeeds: fc.array(fc.string({ unit: 'grapheme' }), { maxLength: 3 }),
  },
  ORDINARY,
)

describe('a session on the disk', () => {
  it('is read as it was written: owner, times, will and subscriptions', () => {
    assert.deepEqual(decodeRecord(encodeRecord(RECORD)), RECORD)
  })

  it('needs neither owner nor will', () => {
    const record: SessionRecord = { ...RECORD, owner: undefined, endsAt: undefined, will: undefined, subscriptions: [] }
    assert.deepEqual(decodeRecord(encodeRecord(record)), record)
  })

  it('of another version, cut off or no session at all is an error that says so', () => {
    const bytes = encodeRecord(RECORD)
    const bad = [
      Buffer.from(bytes.toString().replace('"version":1', '"version":2')),
      Buffer.from(bytes.toString().replace('"number":12', '"number":"12"')),
      bytes.subarray(0, -1),
      Buffer.alloc(0),
      Buffer.from('null'),
    ]
    for (const one of bad) assert.throws(() => decodeRecord(one), UNREADABLE, one.toString())
  })
})

describe('how far a session has come', () => {
  it('is read as it was written', () => {
    fc.assert(fc.property(progress, (one) => assert.deepEqual(decodeProgress(encodeProgress(one)), one)))
  })

  it('has room for every packet id that there is, in both directions', () => {
    const one: SessionProgress = {
      head: 1,
      lastPacketId: 0xffff,
      inFlight: Array.from({ length: 0xffff }, (_, at) => ({
        packetId: at + 1,
        place: at,
        releaseOrder: 0,
        isFresh: true,
      })),
      received: Array.from({ length: 0xffff }, (_, at) => at + 1),
      retainedFeeds: ['#'],
    }
    assert.deepEqual(decodeProgress(encodeProgress(one)), one)
  })

  it('cut off anywhere is an error that says so, or has lost a list of filters as a whole', () => {
    const one: SessionProgress = {
      head: 5,
      lastPacketId: 2,
      inFlight: [{ packetId: 1, place: 16, releaseOrder: 3, isFresh: false }],
      received: [9, 10],
      retainedFeeds: ['a/#'],
    }
    const bytes = encodeProgress(one)
    const withoutFeeds = encodeProgress({ ...one, retainedFeeds: [] }).length
    for (let length = 0; length < bytes.length; length += 1) {
      const cut = bytes.subarray(0, length)
      if (length === withoutFeeds) assert.deepEqual(decodeProgress(cut), { ...one, retainedFeeds: [] })
      else assert.throws(() => decodeProgress(cut), UNREADABLE, `${length} bytes`)
    }
  })

  it('of another version is an error that says so', () => {
    const bytes = encodeProgress({ head: 0, lastPacketId: 0, inFlight: [], received: [], retainedFeeds: [] })
    bytes.writeUInt16BE(2, 14)
    assert.throws(() => decodeProgress(bytes), UNREADABLE)
  })
})
