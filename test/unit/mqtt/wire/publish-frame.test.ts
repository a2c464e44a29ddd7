import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Message } from '../../../../src/mqtt/wire/message.js'
import type { PublishProperties, QoS } from '../../../../src/mqtt/wire/packets.js'
import {
  decodePublishProperties,
  encodePublish,
  encodePublishProperties,
  type Frame,
} from '../../../../src/mqtt/wire/publish-frame.js'
import { MqttError } from '../../../../src/mqtt/wire/reason-codes.js'
import { fourBytes, packet, properties, text, twoBytes } from '../../../support/mqtt-bytes.js'

const PAYLOAD = Buffer.from('payload')

function bytesOf(frame: Frame): string {
  return frame.buffer.toString('hex', frame.start, frame.end)
}

/** Encodes a message of topic "t" and payload "payload". */
function encode(options: {
  isV5?: boolean
  qos?: QoS
  retain?: boolean
  ids?: number[]
  expiry?: number
  properties?: PublishProperties
}): Frame {
  const message = Message.from('t', PAYLOAD, { properties: options.properties ?? {} })
  const { isV5 = true, qos = 0, retain = false, ids, expiry = -1 } = options
  return encodePublish(message, isV5, qos, retain, ids, expiry)
}

describe('encodePublish', () => {
  test('each variant: version, QoS and retain, with a packet id of zero to be filled in', () => {
    for (const isV5 of [false, true]) {
      for (const qos of [0, 1, 2] as const) {
        for (const retain of [false, true]) {
          const frame = encode({ isV5, qos, retain })
          const firstByte = 0x30 + qos * 2 + (retain ? 1 : 0)
          const id = qos === 0 ? [] : [twoBytes(0)]
          const list = isV5 ? [properties()] : []
          assert.equal(bytesOf(frame), packet(firstByte, text('t'), ...id, ...list, PAYLOAD).toString('hex'))
          assert.equal(frame.packetIdOffset, qos === 0 ? -1 : 5)
          assert.equal(frame.buffer.length, frame.end - frame.start)
        }
      }
    }
  })

  test('properties pass through in MQTT 5 and stay behind before', () => {
    const given = { contentType: 'json', userProperties: [['a', 'b']] } as const
    const list = properties(0x03, text('json'), 0x26, text('a'), text('b'))
    assert.equal(bytesOf(encode({ properties: given })), packet(0x30, text('t'), list, PAYLOAD).toString('hex'))
    assert.equal(bytesOf(encode({ properties: given, isV5: false })), packet(0x30, text('t'), PAYLOAD).toString('hex'))
  })

  test('all Subscription Identifiers are written, of every length [MQTT-3.3.4-4]', () => {
    const list = properties(0x03, text('x'), 0x0b, 1, 0x0b, 0xff, 0xff, 0xff, 0x7f)
    const frame = encode({ properties: { contentType: 'x' }, ids: [1, 268_435_455] })
    assert.equal(bytesOf(frame), packet(0x30, text('t'), list, PAYLOAD).toString('hex'))
    assert.equal(bytesOf(encode({ isV5: false, ids: [1] })), packet(0x30, text('t'), PAYLOAD).toString('hex'))
  })

  test('the Message Expiry Interval is what is left of it, wherever it stands [MQTT-3.3.2-6]', () => {
    const given = { contentType: 'x', messageExpiryInterval: 60, userProperties: [['a', 'b']] } as const
    const message = Message.from('t', PAYLOAD, { properties: given })
    const list = properties(0x03, text('x'), 0x02, fourBytes(59), 0x26, text('a'), text('b'))
    const frame = encodePublish(message, true, 0, false, undefined, 59)
    assert.equal(bytesOf(frame), packet(0x30, text('t'), list, PAYLOAD).toString('hex'))
    // The message itself still says what its publisher said.
    assert.equal(decodePublishProperties(message.properties ?? Buffer.alloc(0)).messageExpiryInterval, 60)
  })

  test('an interval that only the message knows of is added', () => {
    const list = properties(0x03, text('x'), 0x02, fourBytes(7), 0x0b, 5)
    const frame = encode({ properties: { contentType: 'x' }, expiry: 7, ids: [5] })
    assert.equal(bytesOf(frame), packet(0x30, text('t'), list, PAYLOAD).toString('hex'))
    assert.equal(bytesOf(encode({ expiry: 7, isV5: false })), packet(0x30, text('t'), PAYLOAD).toString('hex'))
  })

  test('the payload is taken from where it lies in its chunk', () => {
    const chunk = Buffer.from('..payload..')
    const parts = { topic: 'grüße/𠛔', qos: 0, retain: false, chunk, properties: undefined, expiryInterval: 0 } as const
    const message = new Message({ ...parts, payloadStart: 2, payloadEnd: 9 })
    const frame = encodePublish(message, false, 0, false, undefined, -1)
    assert.equal(bytesOf(frame), packet(0x30, text('grüße/𠛔'), PAYLOAD).toString('hex'))
  })

  test('lengths are right where the Remaining Length grows by a byte', () => {
    for (const size of [0, 120, 124, 125, 126, 16_380, 16_381, 16_382, 2_097_148, 2_097_149, 2_097_150]) {
      const payload = Buffer.alloc(size, 1)
      const frame = encodePublish(Message.from('t', payload), false, 0, false, undefined, -1)
      assert.ok(packet(0x30, text('t'), payload).equals(frame.buffer.subarray(frame.start, frame.end)), `${size}`)
    }
  })

  test('a topic name over 65,535 bytes is refused and not cut short [MQTT-4.7.3-3]', () => {
    const longest = encodePublish(Message.from('x'.repeat(65_535), PAYLOAD), true, 0, false, undefined, -1)
    assert.equal(longest.end, 1 + 3 + 2 + 65_535 + 1 + PAYLOAD.length)
    assert.throws(
      () => encodePublish(Message.from('x'.repeat(65_536), PAYLOAD), true, 0, false, undefined, -1),
      (error) => error instanceof MqttError && error.reasonCode === 0x90,
    )
  })
})

describe('publish properties', () => {
  test('come back as they went in', () => {
    const given: PublishProperties = {
      payloadFormatIndicator: 1,
      messageExpiryInterval: 0xffff_ffff,
      contentType: '',
      responseTopic: 'r/1',
      correlationData: Buffer.from([0, 255]),
      userProperties: [
        ['b', '1'],
        ['a', ''],
        ['b', '2'],
      ],
    }
    assert.deepEqual(decodePublishProperties(encodePublishProperties(given) ?? Buffer.alloc(0)), given)
  })

  test('nothing set is no bytes', () => {
    assert.equal(encodePublishProperties({}), undefined)
    assert.equal(encodePublishProperties({ userProperties: [] }), undefined)
    assert.deepEqual(decodePublishProperties(Buffer.alloc(0)), {})
  })

  test('bytes that are none are refused', () => {
    for (const bytes of [
      [0x02, 0, 0],
      [0x11, 0, 0, 0, 0],
      [0x01, 2],
      [0x03, 0, 1, 0xff],
    ]) {
      assert.throws(() => decodePublishProperties(Buffer.from(bytes)), MqttError)
    }
  })
})
