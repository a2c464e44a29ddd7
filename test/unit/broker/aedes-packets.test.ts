import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { afterHook, fromAedesPacket, toAedesPacket } from '../../../src/broker/aedes-packets.js'
import { Message } from '../../../src/mqtt/wire/message.js'
import type { PublishProperties } from '../../../src/mqtt/wire/packets.js'
import { decodePublishProperties } from '../../../src/mqtt/wire/publish-frame.js'

const PROPERTIES: PublishProperties = {
  payloadFormatIndicator: 1,
  messageExpiryInterval: 60,
  contentType: 'text/plain',
  responseTopic: 'answer',
  correlationData: Buffer.from([0, 1, 255]),
  userProperties: [
    ['a', '1'],
    ['a', '2'],
    ['__proto__', '3'],
  ],
}

function propertiesOf(message: Message): PublishProperties {
  return decodePublishProperties(message.properties ?? Buffer.alloc(0))
}

describe('a message in the shape of an Aedes packet', () => {
  it('has what Aedes puts on a packet', () => {
    const message = Message.from('t', Buffer.from('x'), { qos: 2, retain: true, publisherId: 'me' })
    assert.deepEqual(toAedesPacket(message, 'n1@test', 7), {
      cmd: 'publish',
      brokerId: 'n1@test',
      brokerCounter: 7,
      topic: 't',
      payload: Buffer.from('x'),
      qos: 2,
      retain: true,
      dup: false,
      clientId: 'me',
    })
  })

  it('comes back as it was, with its properties', () => {
    const message = Message.from('t', Buffer.from('x'), { qos: 1, properties: PROPERTIES })
    const back = fromAedesPacket(toAedesPacket(message, 'n1@test', 1), 'me')
    assert.deepEqual(
      [back.topic, back.payload.toString(), back.qos, back.retain, back.publisherId],
      ['t', 'x', 1, false, 'me'],
    )
    assert.deepEqual(propertiesOf(back), PROPERTIES)
  })

  it('may be as little as a topic', () => {
    const message = fromAedesPacket({ topic: 't' }, '')
    assert.deepEqual(
      [message.payload.length, message.qos, message.retain, message.properties],
      [0, 0, false, undefined],
    )
    assert.equal(fromAedesPacket({ topic: 't', payload: 'täxt' }, '').payload.toString(), 'täxt')
  })
})

describe('a message after a hook has seen it', () => {
  const show = (message: Message) => {
    const packet = toAedesPacket(message, 'n1@test', 1)
    return { packet, shown: { ...packet } }
  }

  it('is the same object when the hook left it alone', () => {
    const message = Message.from('t', Buffer.from('x'), { properties: PROPERTIES })
    const { packet, shown } = show(message)
    assert.equal(afterHook(message, shown, packet), message)
    assert.equal(afterHook(message, shown, { ...packet }), message)
  })

  it('is another one when the hook changed something, with the deadline it had', (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: 1_000_000 })
    const message = Message.from('t', Buffer.from('x'), { qos: 1, properties: PROPERTIES, publisherId: 'me' })
    t.mock.timers.tick(20_000)
    const { packet, shown } = show(message)
    packet.topic = 'other'
    packet.payload = 'y'
    const changed = afterHook(message, shown, packet)
    assert.deepEqual(
      [changed.topic, changed.payload.toString(), changed.qos, changed.publisherId],
      ['other', 'y', 1, 'me'],
    )
    assert.equal(changed.expiresAt, 1_060_000)
    assert.deepEqual(propertiesOf(changed), PROPERTIES)
    assert.equal(message.topic, 't')
  })
})
