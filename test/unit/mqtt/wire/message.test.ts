import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Message } from '../../../../src/mqtt/wire/message.js'
import { decodePublishProperties } from '../../../../src/mqtt/wire/publish-frame.js'
import { packet, properties, text } from '../../../support/mqtt-bytes.js'

const PAYLOAD = Buffer.from('payload')

/** A message as it lies in a received chunk of 64 KiB. */
function received(expiryInterval = 0): Message {
  const frame = packet(0x30, text('t'), properties(0x03, text('json')), PAYLOAD)
  const chunk = Buffer.concat([Buffer.alloc(1_000), frame, Buffer.alloc(64_536 - frame.length)])
  const payloadEnd = 1_000 + frame.length
  return new Message(
    {
      ...{ topic: 't', qos: 1, retain: true, chunk, expiryInterval },
      payloadStart: payloadEnd - PAYLOAD.length,
      payloadEnd,
      properties: chunk.subarray(1_006, 1_013),
    },
    'publisher',
  )
}

describe('Message', () => {
  test('is encoded once per variant, and each variant is another frame', () => {
    const message = received()
    const frames = new Set<unknown>()
    for (let round = 0; round < 2; round++) {
      for (const isV5 of [false, true]) {
        for (const qos of [0, 1, 2] as const) {
          for (const retain of [false, true]) frames.add(message.frame(isV5, qos, retain))
        }
      }
    }
    assert.equal(frames.size, 12)
  })

  test('sends the bytes it came in where it was told that they will do', () => {
    for (const [qos, firstByte, idBytes] of [
      [0, 0x30, []],
      [1, 0x32, [0, 7]],
    ] as const) {
      const chunk = packet(firstByte, text('t'), Buffer.from(idBytes), PAYLOAD)
      const parts = { payloadStart: chunk.length - PAYLOAD.length, payloadEnd: chunk.length, properties: undefined }
      const message = new Message({ topic: 't', qos, retain: false, chunk, expiryInterval: 0, ...parts }, 'publisher')
      const packetIdOffset = qos === 0 ? -1 : 5
      const frame = { buffer: chunk, start: 0, end: chunk.length, packetIdOffset }
      message.adopt(false, frame)
      assert.equal(message.frame(false, qos, false), frame)
      assert.notEqual(message.frame(false, qos, true), frame)
      assert.notEqual(message.frame(true, qos, false), frame)
      const made = message.detach().frame(false, qos, false)
      // Made anew it has no packet id.
      if (qos !== 0) made.buffer[made.start + packetIdOffset + 1] = 7
      assert.deepEqual(made.buffer.subarray(made.start, made.end), chunk)
      assert.equal(made.packetIdOffset - made.start, qos === 0 ? -1 : packetIdOffset)
    }
  })

  test('detached it says the same in bytes of its own, and all share the copy', () => {
    const message = received(60)
    const copy = message.detach()
    assert.equal(copy.chunk.buffer.byteLength, PAYLOAD.length + 7)
    assert.equal(copy.properties?.buffer, copy.chunk.buffer)
    assert.deepEqual(packetOf(copy), packetOf(message))
    assert.deepEqual(
      [copy.qos, copy.retain, copy.publisherId, copy.expiresAt],
      [message.qos, message.retain, message.publisherId, message.expiresAt],
    )
    assert.equal(message.detach(), copy)
    assert.equal(copy.detach(), copy)
  })

  test('expires when its interval has passed, and says what is left of it [MQTT-3.3.2-5] [MQTT-3.3.2-6]', () => {
    const message = Message.from('t', PAYLOAD, { properties: { messageExpiryInterval: 60 } })
    assert.equal(message.isExpired(message.expiresAt - 1), false)
    assert.equal(message.isExpired(message.expiresAt), true)
    for (const [waited, left] of [
      [0, 60],
      [1, 60],
      [1_000, 59],
      [59_999, 1],
      [70_000, 0],
    ] as const) {
      const frame = message.frameFor(0, false, undefined, message.expiresAt - 60_000 + waited)
      const list = frame.buffer.subarray(frame.start + 6, frame.end - PAYLOAD.length)
      assert.equal(decodePublishProperties(list).messageExpiryInterval, left, `after ${waited} ms`)
    }
    assert.equal(received().isExpired(Number.MAX_SAFE_INTEGER), false)
  })
})

/** The message as an MQTT 5 PUBLISH of QoS 0. */
function packetOf(message: Message): Buffer {
  const list = message.properties ?? Buffer.alloc(0)
  return packet(0x30, text(message.topic), properties(list), message.payload)
}
