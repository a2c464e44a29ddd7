/** Section 3.3.2.3 of MQTT 5.0: what the properties of a PUBLISH do, and what becomes of them. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../../support/broker.js'
import { eventually } from '../../support/eventually.js'
import { FrameClient } from '../../support/frame-client.js'
import { packet, properties, text, twoBytes } from '../../support/mqtt-bytes.js'
import { PacketClient, textOf, uniqueClientId } from '../../support/packet-client.js'
import { publishProperties } from '../../support/publish-properties.js'

const MAXIMUM_PACKET_SIZE = 2_048
const TOPIC_ALIAS_MAXIMUM = 4

const SESSION_EXPIRY = Buffer.from([0x11, 0, 0, 0, 60])
const ALIAS_1 = Buffer.from([0x23, 0, 1])

const broker = useBroker({ mqtt: { maximumPacketSize: MAXIMUM_PACKET_SIZE, topicAliasMaximum: TOPIC_ALIAS_MAXIMUM } })

const pair = (name: string, value: string): Buffer => Buffer.concat([Buffer.of(0x26), text(name), text(value)])
const string = (id: number, value: string | Uint8Array): Buffer => Buffer.concat([Buffer.of(id), text(value)])

/** All that a publisher may say for its subscribers, with user properties in an order of their own, also in between. */
const FORWARDED: readonly Buffer[] = [
  pair('z', '1'),
  string(0x03, 'application/json'),
  pair('z', '1'),
  Buffer.from([0x01, 1]),
  pair('', 'empty name'),
  string(0x08, 'answers/to/ö'),
  pair('a', ''),
  string(0x09, Buffer.from([0, 255, 1])),
  pair('z', '0'),
]

function isUserProperty(property: Buffer): boolean {
  return property[0] === 0x26
}

/** Asserts that a frame at QoS 0 has these properties, the user properties in their order, and no others but `extra`. */
function assertForwarded(frame: Buffer, what: string, extra: readonly Buffer[] = []): void {
  const list = publishProperties(frame)
  assert.deepEqual(list.filter(isUserProperty), FORWARDED.filter(isUserProperty), `${what}: user properties`)
  assert.deepEqual(list.sort(Buffer.compare), [...FORWARDED, ...extra].sort(Buffer.compare), `${what}: all`)
}

const UNALTERED = '[MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]'

test(`${UNALTERED} the properties of a PUBLISH reach every subscriber unaltered, user properties in their order`, async (t) => {
  const identified = Buffer.from([0x0b, 9])
  const [first, second, kept] = [
    await FrameClient.connect(t, broker().port),
    await FrameClient.connect(t, broker().port),
    await FrameClient.connect(t, broker().port, 5, { clientId: 'propertiesKept', list: [SESSION_EXPIRY] }),
  ]
  for (const one of [first, kept]) await one.subscribe('properties')
  second.write(packet(0x82, twoBytes(1), properties(identified), text('properties'), 0))
  await second.next()
  const publisher = await FrameClient.connect(t, broker().port)
  // As it came, of a higher QoS, with an alias to be taken out, and retained.
  for (const [what, bytes] of [
    ['QoS 0', packet(0x30, text('properties'), properties(...FORWARDED), 0x78)],
    ['QoS 1', packet(0x32, text('properties'), twoBytes(1), properties(...FORWARDED), 0x78)],
    [
      'an alias',
      packet(0x30, text('properties'), properties(...FORWARDED.slice(0, 5), ALIAS_1, ...FORWARDED.slice(5)), 0x78),
    ],
    ['retained', packet(0x31, text('properties'), properties(...FORWARDED), 0x78)],
  ] as const) {
    publisher.write(bytes)
    await publisher.settle()
    assertForwarded(await first.next(), what)
    assertForwarded(await kept.next(), what)
    assertForwarded(await second.next(), `${what}, with a Subscription Identifier`, [identified])
  }
  const late = await FrameClient.connect(t, broker().port)
  await late.subscribe('properties')
  assertForwarded(await late.next(), 'kept as a retained message')
  publisher.write(packet(0x31, text('properties'), properties()))
  await publisher.settle()
})

test(`${UNALTERED} properties are unaltered in what waited for its session, too`, async (t) => {
  const fields = { clean: false, clientId: uniqueClientId(), properties: { sessionExpiryInterval: 60 } }
  const away = await PacketClient.connect(t, broker().port, 5, fields)
  await away.subscribe('properties/wait', 1)
  await away.disconnect()
  const publisher = await PacketClient.connect(t, broker().port)
  const sent = {
    payloadFormatIndicator: true,
    contentType: 'application/json',
    responseTopic: 'answers/to/ö',
    correlationData: Buffer.from([0, 255, 1]),
  }
  const userProperties = { z: ['1', '1', ''], '': 'empty name', a: '2' }
  await publisher.publishAcked({ topic: 'properties/wait', payload: '{}', properties: { ...sent, userProperties } })
  const back = await PacketClient.connect(t, broker().port, 5, fields)
  const [got] = await back.receive(1)
  const { userProperties: gotUser, ...rest } = got?.properties ?? {}
  assert.deepEqual([rest, { ...gotUser }], [sent, userProperties])
})

test('[MQTT-3.3.2-4] a Payload Format Indicator is passed on as 0, as 1, or not at all', async (t) => {
  const subscriber = await FrameClient.connect(t, broker().port)
  await subscriber.subscribe('indicator')
  const publisher = await FrameClient.connect(t, broker().port)
  const frames = [[], [Buffer.from([0x01, 0])], [Buffer.from([0x01, 1])]].map((list) =>
    packet(0x30, text('indicator'), properties(...list), 0x78),
  )
  publisher.write(...frames)
  await publisher.settle()
  assert.deepEqual(await subscriber.settle(), frames)
})

test('[MQTT-3.3.2-14] a Response Topic with a wildcard closes the connection', async (t) => {
  for (const responseTopic of ['a/#', '#', '+', 'a/+/b']) {
    const client = await PacketClient.connect(t, broker().port)
    client.publish({ topic: 'a', properties: { responseTopic } })
    await client.closedFor(0x82)
  }
})

test('[MQTT-3.3.2-7] [MQTT-3.3.2-10] [MQTT-3.3.2-12] a topic alias stands for its topic until it is set to another, on its own connection', async (t) => {
  const subscriber = await PacketClient.connect(t, broker().port)
  await subscriber.subscribe('alias/#', 1)
  const publisher = await PacketClient.connect(t, broker().port)
  assert.equal(publisher.connack?.properties?.topicAliasMaximum, TOPIC_ALIAS_MAXIMUM)
  const send = (topic: string, payload: string, topicAlias: number, qos: 0 | 1 = 0): void => {
    publisher.publish({ topic, payload, qos, properties: { topicAlias } })
  }
  send('alias/one', '1', 1)
  send('', '2', 1)
  send('alias/four', '3', TOPIC_ALIAS_MAXIMUM, 1)
  send('', '4', TOPIC_ALIAS_MAXIMUM)
  send('', '5', 1)
  send('alias/new', '6', 1)
  send('', '7', 1)
  const got = (await subscriber.receive(7)).sort((a, b) => (a.payload < b.payload ? -1 : 1))
  assert.deepEqual(got.map(textOf), [
    'alias/one 1',
    'alias/one 2',
    'alias/four 3',
    'alias/four 4',
    'alias/one 5',
    'alias/new 6',
    'alias/new 7',
  ])
  assert.ok(
    got.every((packet) => packet.properties?.topicAlias === undefined),
    '[MQTT-3.1.2-27] a subscriber that allows none is sent none',
  )
  const next = await PacketClient.connect(t, broker().port)
  next.publish({ topic: '', payload: 'x', properties: { topicAlias: 1 } })
  await next.closedFor(0x82)
})

test('[MQTT-3.3.2-7] [MQTT-3.3.2-8] [MQTT-3.3.2-9] a topic alias of 0 or above the maximum closes the connection', async (t) => {
  for (const topicAlias of [0, TOPIC_ALIAS_MAXIMUM + 1, 65_535]) {
    const client = await PacketClient.connect(t, broker().port)
    const properties = [0x23, topicAlias >> 8, topicAlias & 0xff]
    client.write(Buffer.from([0x30, 7, 0, 1, 0x61, properties.length, ...properties]))
    await client.closedFor(0x94)
  }
})

test('[MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-8] [MQTT-3.3.2-11] a subscriber is sent no topic alias above its maximum, none where it allows none, and each stands for its topic', async (t) => {
  const publisher = await PacketClient.connect(t, broker().port)
  const topics = Array.from({ length: 5 }, (_, index) => `alias/out/${index}`)
  for (const topicAliasMaximum of [undefined, 0, 1, 2, 10]) {
    const list = topicAliasMaximum === undefined ? {} : { properties: { topicAliasMaximum } }
    const subscriber = await PacketClient.connect(t, broker().port, 5, list)
    await subscriber.subscribe('alias/out/+', 1)
    const expected: string[] = []
    for (let round = 0; round < 3; round += 1) {
      for (const topic of topics) {
        const payload = `${round}`
        await publisher.publishAcked({ topic, payload, qos: round === 1 ? 0 : 1 })
        expected.push(`${topic} ${payload}`)
      }
    }
    const aliases = new Map<number, string>()
    const got = (await subscriber.receive(expected.length)).map((one) => {
      const alias = one.properties?.topicAlias
      if (alias === undefined) return textOf(one)
      assert.ok(alias >= 1 && alias <= (topicAliasMaximum ?? 0), `alias ${alias} of ${topicAliasMaximum}`)
      if (one.topic !== '') aliases.set(alias, one.topic)
      return `${aliases.get(alias)} ${one.payload.toString()}`
    })
    assert.deepEqual(got, expected)
    await subscriber.disconnect()
  }
})

test('[MQTT-3.1.2-24] [MQTT-3.1.2-25] a message that is too large for a subscriber is not sent to it, and counts as delivered', async (t) => {
  const small = await PacketClient.connect(t, broker().port, 5, {
    properties: { maximumPacketSize: 100, receiveMaximum: 1 },
  })
  const large = await PacketClient.connect(t, broker().port)
  for (const subscriber of [small, large]) await subscriber.subscribe('size', 1)
  const publisher = await PacketClient.connect(t, broker().port)
  const payloads = ['fits', 'x'.repeat(200), 'fits too']
  for (const payload of payloads) await publisher.publishAcked({ topic: 'size', payload })
  assert.deepEqual((await small.receive(2)).map(textOf), ['size fits', 'size fits too'])
  await small.expectNothing()
  assert.equal((await large.receive(3)).length, 3)
})

test('a packet larger than the node accepts closes the connection with 0x95, before its bytes have come', async (t) => {
  const client = await PacketClient.connect(t, broker().port)
  assert.equal(client.connack?.properties?.maximumPacketSize, MAXIMUM_PACKET_SIZE)
  // A remaining length of 200,000 and nothing of it.
  client.write(Buffer.from([0x30, 0xc0, 0x9a, 0x0c]))
  await client.closedFor(0x95)
  const exact = await PacketClient.connect(t, broker().port)
  const overhead = 1 + 2 + 2 + 1 + 1
  await exact.subscribe('m')
  exact.publish({ topic: 'm', payload: Buffer.alloc(MAXIMUM_PACKET_SIZE - overhead) })
  assert.equal((await exact.receive(1)).length, 1, 'exactly as large is accepted')
})

test('[MQTT-3.3.2-5] [MQTT-3.3.2-6] a message that expires while it waits is not delivered, and one that does not says what is left', async (t) => {
  const clientId = uniqueClientId()
  const fields = { clientId, clean: false, properties: { sessionExpiryInterval: 60 } }
  const away = await PacketClient.connect(t, broker().port, 5, fields)
  await away.subscribe('expiry', 1)
  await away.disconnect()
  const publisher = await PacketClient.connect(t, broker().port)
  const publish = async (payload: string, messageExpiryInterval?: number): Promise<void> => {
    await publisher.publishAcked({
      topic: 'expiry',
      payload,
      properties: messageExpiryInterval === undefined ? {} : { messageExpiryInterval },
    })
  }
  await publish('short', 1)
  await publish('long', 100)
  await publish('forever')
  const properties = { messageExpiryInterval: 100 }
  await publisher.publishAcked({ topic: 'expiry/kept', payload: 'x', retain: true, properties })
  // The session of this client lives as long as the short message does, so its end is the clock.
  const clock = await PacketClient.connect(t, broker().port, 5, {
    clean: false,
    properties: { sessionExpiryInterval: 2 },
  })
  await clock.subscribe('clock', 1)
  await clock.disconnect()
  await eventually(async () => assert.equal(await publisher.publishAcked({ topic: 'clock' }), 0x10))
  const back = await PacketClient.connect(t, broker().port, 5, fields)
  const got = await back.receive(2)
  await back.expectNothing()
  assert.deepEqual(got.map(textOf), ['expiry long', 'expiry forever'])
  const left = got[0]?.properties?.messageExpiryInterval ?? 0
  assert.ok(left >= 90 && left <= 99, `${left} s left of 100 after about 2`)
  assert.equal(got[1]?.properties?.messageExpiryInterval, undefined)
  for (const qos of [0, 1, 2] as const) {
    await back.subscribe('expiry/kept', qos)
    const [kept] = await back.receive(1)
    const keptLeft = kept?.properties?.messageExpiryInterval ?? 0
    assert.ok(keptLeft >= 90 && keptLeft <= 99, `${keptLeft} s left of a retained message, at QoS ${qos}`)
  }
  await back.disconnect({ properties: { sessionExpiryInterval: 0 } })
  await publisher.publishAcked({ topic: 'expiry/kept', retain: true })
})

test('a PUBLISH with a property that it may not have, or has twice, or whose value is none, closes the connection', async (t) => {
  const closes = async (what: string, list: readonly Buffer[], code: number): Promise<void> => {
    const client = await FrameClient.connect(t, broker().port)
    client.write(packet(0x30, text('a'), properties(...list), 0x78))
    await client.closedFor(code, what)
  }
  const once = [
    Buffer.from([0x01, 0]),
    Buffer.from([0x02, 0, 0, 0, 1]),
    string(0x03, 'a'),
    string(0x08, 'a'),
    string(0x09, 'a'),
    ALIAS_1,
  ]
  for (const one of once) await closes(`twice: ${one.toString('hex')}`, [one, one], 0x82)
  const others = [0x00, 0x04, 0x11, 0x12, 0x13, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1c, 0x1f, 0x21, 0x22, 0x24, 0x25]
  for (const id of [...others, 0x27, 0x28, 0x29, 0x2a, 0x2b, 0x7f]) {
    await closes(`property ${id}`, [Buffer.from([id, 0, 1, 1, 1])], 0x81)
  }
  await closes('a format of 2', [Buffer.from([0x01, 2])], 0x82)
  await closes('an interval cut short', [Buffer.from([0x02, 0, 0])], 0x81)
  await closes('a string cut short', [Buffer.from([0x03, 0, 2, 0x61])], 0x81)
  await closes('half a pair', [Buffer.concat([Buffer.of(0x26), text('name')])], 0x81)
  const client = await FrameClient.connect(t, broker().port)
  client.write(packet(0x30, text('a'), 200, 0x78))
  await client.closedFor(0x81, 'a Property Length beyond the packet')
})
