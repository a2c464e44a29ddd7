import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import { eventually } from '../support/eventually.js'
import { PacketClient, textOf, uniqueClientId } from '../support/packet-client.js'

const MAXIMUM_PACKET_SIZE = 2_048
const TOPIC_ALIAS_MAXIMUM = 4

const broker = useBroker({ mqtt: { maximumPacketSize: MAXIMUM_PACKET_SIZE, topicAliasMaximum: TOPIC_ALIAS_MAXIMUM } })

test('[MQTT-3.3.2-17] the properties of a PUBLISH reach every 5.0 subscriber unaltered, user properties in their order', async (t) => {
  const subscribers = [await PacketClient.connect(t, broker().port), await PacketClient.connect(t, broker().port)]
  await subscribers[0]?.subscribe('properties', 0)
  await subscribers[1]?.subscribe('properties', 2, { subscriptionIdentifier: 9 })
  const publisher = await PacketClient.connect(t, broker().port)
  const properties = {
    payloadFormatIndicator: true,
    contentType: 'application/json',
    responseTopic: 'answers/to/ö',
    correlationData: Buffer.from([0, 255, 1]),
  }
  const userProperties = { z: ['1', '1', ''], '': 'empty name', a: '2' }
  await publisher.publishAcked({
    topic: 'properties',
    payload: '{}',
    qos: 2,
    properties: { ...properties, userProperties },
  })
  for (const [index, subscriber] of subscribers.entries()) {
    const [got] = await subscriber.receive(1)
    const { userProperties: gotUser, subscriptionIdentifier, ...rest } = got?.properties ?? {}
    assert.deepEqual(rest, properties)
    assert.deepEqual({ ...gotUser }, userProperties)
    assert.equal(subscriptionIdentifier, index === 1 ? 9 : undefined)
  }
})

test('[MQTT-3.3.2-14] a Response Topic with a wildcard closes the connection', async (t) => {
  const client = await PacketClient.connect(t, broker().port)
  client.publish({ topic: 'a', properties: { responseTopic: 'a/#' } })
  await client.closedFor(0x82)
})

test('[MQTT-3.3.2-12] a topic alias stands for its topic until it is set to another, on its own connection', async (t) => {
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

test('[MQTT-3.3.2-9] a topic alias of 0 or above the maximum closes the connection', async (t) => {
  for (const topicAlias of [0, TOPIC_ALIAS_MAXIMUM + 1, 65_535]) {
    const client = await PacketClient.connect(t, broker().port)
    const properties = [0x23, topicAlias >> 8, topicAlias & 0xff]
    client.write(Buffer.from([0x30, 7, 0, 1, 0x61, properties.length, ...properties]))
    await client.closedFor(0x94)
  }
})

test('[MQTT-3.1.2-25] a message that is too large for a subscriber is not sent to it, and counts as delivered', async (t) => {
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

test('[MQTT-3.3.2-5] a message that expires while it waits is not delivered, and one that does not says what is left [MQTT-3.3.2-6]', async (t) => {
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
  await back.disconnect({ properties: { sessionExpiryInterval: 0 } })
})

test('a property that its packet may not have, or twice, closes the connection', async (t) => {
  const publishes = [
    { what: 'unknown property', properties: [0x7f, 0], code: 0x81 },
    { what: 'property of another packet', properties: [0x21, 0, 1], code: 0x81 },
    { what: 'content type twice', properties: [0x03, 0, 1, 0x61, 0x03, 0, 1, 0x61], code: 0x82 },
    { what: 'payload format of 2', properties: [0x01, 2], code: 0x82 },
    { what: 'truncated property', properties: [0x02, 0, 0], code: 0x81 },
  ]
  for (const { what, properties, code } of publishes) {
    const client = await PacketClient.connect(t, broker().port)
    client.write(Buffer.from([0x30, 4 + properties.length, 0, 1, 0x61, properties.length, ...properties]))
    const before = await client.closed()
    assert.equal(before[0]?.cmd, 'disconnect', what)
    assert.equal((before[0] as { reasonCode?: number }).reasonCode, code, what)
  }
})
