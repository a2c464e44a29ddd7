import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import mqttPacket, { type IPublishPacket } from 'mqtt-packet'
import { InboundTopicAliases, OutboundTopicAliases } from '../../../src/mqtt/topic-alias.js'
import { Message } from '../../../src/mqtt/wire/message.js'
import type { QoS } from '../../../src/mqtt/wire/packets.js'
import type { Frame } from '../../../src/mqtt/wire/publish-frame.js'

describe('topic aliases of a client', () => {
  it('stand for the topic they were last set to', () => {
    const aliases = new InboundTopicAliases(2)
    assert.equal(aliases.resolve(1, 'a'), 'a')
    assert.equal(aliases.resolve(2, 'b'), 'b')
    assert.equal(aliases.resolve(1, ''), 'a')
    assert.equal(aliases.resolve(1, 'c'), 'c')
    assert.equal(aliases.resolve(1, ''), 'c')
    assert.equal(aliases.resolve(2, ''), 'b')
  })

  it('are refused above the announced maximum, and all of them when it is 0 [MQTT-3.3.2-9]', () => {
    assert.throws(() => new InboundTopicAliases(2).resolve(3, 'a'), { reasonCode: 0x94 })
    assert.throws(() => new InboundTopicAliases(0).resolve(1, 'a'), { reasonCode: 0x94 })
  })

  it('are refused before they were set', () => {
    assert.throws(() => new InboundTopicAliases(2).resolve(2, ''), { reasonCode: 0x82 })
  })
})

/** What a client reads, by mqtt-packet: `topic` is empty where the alias stands for it. */
function read(frame: Frame): IPublishPacket {
  const parser = mqttPacket.parser({ protocolVersion: 5 })
  const packets: IPublishPacket[] = []
  parser.on('packet', (packet) => packets.push(packet as IPublishPacket))
  parser.on('error', (error) => {
    throw error
  })
  parser.parse(frame.buffer.subarray(frame.start, frame.end))
  const [packet] = packets
  assert.ok(packet !== undefined && packets.length === 1)
  return packet
}

function frameOf(topic: string, payload = 'x', qos: QoS = 0): Frame {
  const frame = Message.from(topic, Buffer.from(payload), { qos }).frame(true, qos, false)
  // As the outbox does; a packet id of 0 would be refused.
  if (frame.packetIdOffset !== -1) frame.buffer.writeUInt16BE(7, frame.packetIdOffset)
  return frame
}

/** `topic`, `topic = alias` or `= alias`, as it goes out. */
function sent(aliases: OutboundTopicAliases, topic: string): string {
  const packet = read(aliases.apply(frameOf(topic), topic))
  const alias = packet.properties?.topicAlias
  return alias === undefined ? packet.topic : `${packet.topic} = ${alias}`.trim()
}

describe('topic aliases for a client', () => {
  it('are given to a topic that comes again, and stand for it from then on', () => {
    const aliases = new OutboundTopicAliases(2, 1_000)
    const topics = ['topic/one', 'topic/two', 'topic/one', 'topic/one', 'topic/two', 'topic/two', 'topic/one']
    assert.deepEqual(
      topics.map((topic) => sent(aliases, topic)),
      ['topic/one', 'topic/two', 'topic/one = 1', '= 1', 'topic/two = 2', '= 2', '= 1'],
    )
  })

  it('pass from the topic that was used least recently to the next one that comes again', () => {
    const aliases = new OutboundTopicAliases(2, 1_000)
    for (const topic of ['topic/one', 'topic/one', 'topic/two', 'topic/two', 'topic/one']) sent(aliases, topic)
    const topics = ['topic/new', 'topic/one', 'topic/new', 'topic/one', 'topic/new', 'topic/two', 'topic/two']
    assert.deepEqual(
      topics.map((topic) => sent(aliases, topic)),
      ['topic/new', '= 1', 'topic/new = 2', '= 1', '= 2', 'topic/two', 'topic/two = 1'],
    )
  })

  it('are not given to topics that come once, however many', () => {
    const aliases = new OutboundTopicAliases(2, 1_000)
    for (let index = 0; index < 100; index += 1) {
      const frame = frameOf(`topic/${index}`)
      assert.equal(aliases.apply(frame, `topic/${index}`), frame, 'the shared frame itself')
    }
  })

  it('are not given where they do not pay or do not fit', () => {
    for (const [topic, payload, maximumPacketSize] of [
      ['short', 'x', 1_000],
      ['long/topic', 'x'.repeat(5_000), 10_000],
      ['long/topic', 'x', 16],
    ] as const) {
      const aliases = new OutboundTopicAliases(2, maximumPacketSize)
      const frame = frameOf(topic, payload)
      for (let count = 0; count < 3; count += 1) assert.equal(aliases.apply(frame, topic), frame)
    }
  })

  it('change nothing else, whatever the message, and mean at any time what they were last given to', () => {
    const message = fc.record({
      topic: fc.constantFrom('topic/one', 'topic/two', 'topic/ö/three', `topic/${'4'.repeat(200)}`),
      payload: fc.string({ maxLength: 200 }),
      qos: fc.constantFrom<QoS[]>(0, 1, 2),
      contentType: fc.option(fc.string({ maxLength: 130 }), { nil: undefined }),
      ids: fc.option(fc.array(fc.integer({ min: 1, max: 268_435_455 }), { minLength: 1, maxLength: 3 }), {
        nil: undefined,
      }),
    })
    fc.assert(
      fc.property(fc.array(message, { maxLength: 40 }), fc.integer({ min: 1, max: 3 }), (messages, maximum) => {
        const aliases = new OutboundTopicAliases(maximum, 10_000)
        const client = new InboundTopicAliases(maximum)
        for (const { topic, payload, qos, contentType, ids } of messages) {
          const properties = contentType === undefined ? {} : { contentType: contentType.replaceAll('\0', '') }
          const frame = Message.from(topic, Buffer.from(payload), { properties }).frameFor(qos, false, ids, 0)
          if (frame.packetIdOffset !== -1) frame.buffer.writeUInt16BE(7, frame.packetIdOffset)
          const plain = read(frame)
          const out = aliases.apply(frame, topic)
          if (out.packetIdOffset !== -1) assert.equal(out.buffer.readUInt16BE(out.packetIdOffset), 7)
          const { topicAlias, ...rest } = read(out).properties ?? {}
          const packet = read(out)
          if (topicAlias === undefined) assert.equal(packet.topic, topic)
          else assert.equal(client.resolve(topicAlias, packet.topic), topic)
          assert.deepEqual({ ...rest }, { ...plain.properties })
          assert.deepEqual(
            [packet.payload, packet.qos, packet.messageId, packet.retain],
            [plain.payload, plain.qos, plain.messageId, plain.retain],
          )
        }
      }),
    )
  })
})
