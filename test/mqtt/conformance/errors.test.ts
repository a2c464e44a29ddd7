/** Errors, and what they do to a connection and to nobody else. [MQTT 5.0 section 4.13, MQTT 3.1.1 section 4.8] */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../../support/broker.js'
import { cite } from '../../support/cite.js'
import type { Version } from '../../support/client.js'
import { packet, properties, subscribe, text, twoBytes, variable } from '../../support/mqtt-bytes.js'
import { type ConnectFields, PacketClient, textOf, uniqueClientId } from '../../support/packet-client.js'

const MAXIMUM_PACKET_SIZE = 2_048
const RECEIVE_MAXIMUM = 4
const TOPIC_ALIAS_MAXIMUM = 2

const broker = useBroker({
  mqtt: {
    maximumPacketSize: MAXIMUM_PACKET_SIZE,
    receiveMaximum: RECEIVE_MAXIMUM,
    topicAliasMaximum: TOPIC_ALIAS_MAXIMUM,
  },
})
const VERSIONS: readonly Version[] = [4, 5]

const MALFORMED = 0x81
const PROTOCOL_ERROR = 0x82
const PACKET_TOO_LARGE = 0x95
const RECEIVE_MAXIMUM_EXCEEDED = 0x93
const TOPIC_NAME_INVALID = 0x90
const TOPIC_ALIAS_INVALID = 0x94

interface Fault {
  what: string
  bytes: Uint8Array
  /** What MQTT 5 says; before it there are no words. */
  code: number
}

/** Faults of both versions, in the bytes of each. */
function faultsOf(version: Version): readonly Fault[] {
  const none = version === 5 ? [properties()] : []
  return [
    { what: 'packet type 0', bytes: packet(0x00), code: MALFORMED },
    {
      what: 'a Remaining Length of five bytes',
      bytes: Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80, 1]),
      code: MALFORMED,
    },
    { what: 'a Remaining Length longer than needed', bytes: Buffer.from([0xc0, 0x80, 0]), code: MALFORMED },
    { what: 'a PUBLISH of one byte', bytes: packet(0x30, 0), code: MALFORMED },
    { what: 'a PUBLISH whose topic is longer than it', bytes: packet(0x30, 0, 200, 0x61), code: MALFORMED },
    { what: 'a PUBLISH of QoS 3', bytes: packet(0x36, text('a'), 0, 1, ...none), code: MALFORMED },
    { what: 'a PUBLISH of QoS 0 with DUP', bytes: packet(0x38, text('a'), ...none), code: MALFORMED },
    { what: 'a PUBLISH of QoS 1 without a packet id', bytes: packet(0x32, text('a')), code: MALFORMED },
    { what: 'a PUBLISH with packet id 0', bytes: packet(0x32, text('a'), 0, 0, ...none), code: PROTOCOL_ERROR },
    { what: 'a topic that is not UTF-8', bytes: packet(0x30, 0, 2, 0xc3, 0x28, ...none), code: MALFORMED },
    { what: 'a topic with a wildcard', bytes: packet(0x30, text('a/#'), ...none), code: TOPIC_NAME_INVALID },
    { what: 'a PUBACK of one byte', bytes: packet(0x40, 0), code: MALFORMED },
    { what: 'a PUBREL with flags 0', bytes: packet(0x60, 0, 1), code: MALFORMED },
    { what: 'a SUBSCRIBE with packet id 0', bytes: subscribe(version, 0, ['a', 0]), code: PROTOCOL_ERROR },
    { what: 'a SUBSCRIBE without filters', bytes: subscribe(version, 1), code: PROTOCOL_ERROR },
    { what: 'a SUBSCRIBE without a packet id', bytes: packet(0x82), code: MALFORMED },
    { what: 'an UNSUBSCRIBE with packet id 0', bytes: packet(0xa2, 0, 0, ...none, text('a')), code: PROTOCOL_ERROR },
    { what: 'a PINGREQ with a body', bytes: packet(0xc0, 0), code: MALFORMED },
    { what: 'a CONNECT on a connection that is open', bytes: secondConnect(version), code: PROTOCOL_ERROR },
    { what: 'a CONNACK', bytes: packet(0x20, 0, 0, ...none), code: PROTOCOL_ERROR },
    { what: 'a SUBACK', bytes: packet(0x90, 0, 1, ...none, 0), code: PROTOCOL_ERROR },
    { what: 'an UNSUBACK', bytes: packet(0xb0, 0, 1, ...none), code: PROTOCOL_ERROR },
    { what: 'a PINGRESP', bytes: packet(0xd0), code: PROTOCOL_ERROR },
  ]
}

/** Faults that only MQTT 5 can have. */
const FAULTS_OF_5: readonly Fault[] = [
  {
    what: 'an unknown property',
    bytes: packet(0x30, text('a'), properties(0x7f, 0)),
    code: MALFORMED,
  },
  {
    what: 'a property of another packet',
    bytes: packet(0x30, text('a'), properties(0x21, 0, 1)),
    code: MALFORMED,
  },
  {
    what: 'properties longer than their packet',
    bytes: packet(0x30, text('a'), variable(9), 0x01, 0),
    code: MALFORMED,
  },
  {
    what: 'a property that is cut short',
    bytes: packet(0x30, text('a'), properties(0x02, 0, 0)),
    code: MALFORMED,
  },
  {
    what: 'a property twice',
    bytes: packet(0x30, text('a'), properties(0x03, text('a'), 0x03, text('a'))),
    code: PROTOCOL_ERROR,
  },
  {
    what: 'a flag that is 2',
    bytes: packet(0x30, text('a'), properties(0x01, 2)),
    code: PROTOCOL_ERROR,
  },
  {
    what: 'a topic alias above the maximum',
    bytes: packet(0x30, text('a'), properties(0x23, 0, TOPIC_ALIAS_MAXIMUM + 1)),
    code: TOPIC_ALIAS_INVALID,
  },
  { what: 'topic alias 0', bytes: packet(0x30, text('a'), properties(0x23, 0, 0)), code: TOPIC_ALIAS_INVALID },
  {
    what: 'a topic alias that was not set',
    bytes: packet(0x30, text(''), properties(0x23, 0, 1)),
    code: PROTOCOL_ERROR,
  },
  { what: 'Retain Handling 3', bytes: subscribe(5, 1, ['a', 0x30]), code: PROTOCOL_ERROR },
  { what: 'reserved subscription options', bytes: subscribe(5, 1, ['a', 0x40]), code: MALFORMED },
  { what: 'a PUBACK with a reason code that is none', bytes: packet(0x40, 0, 1, 0x7f), code: PROTOCOL_ERROR },
  {
    what: 'an AUTH where no method was agreed',
    bytes: packet(0xf0, 0x18, properties(0x15, text('method'))),
    code: PROTOCOL_ERROR,
  },
]

function secondConnect(version: Version): Buffer {
  const none = version === 5 ? [properties()] : []
  return packet(0x10, text('MQTT'), version, 2, 0, 0, ...none, text('second'))
}

/** A client with a will, so that a bystander sees how the connection ended. */
function willOn(topic: string): ConnectFields {
  return { will: { topic, payload: Buffer.from('gone'), qos: 1, retain: false } }
}

for (const version of VERSIONS) {
  const v = `(version ${version})`
  const faults = version === 5 ? [...faultsOf(5), ...FAULTS_OF_5] : faultsOf(4)

  for (const { what, bytes, code } of faults) {
    test(`${cite(version, { 5: '4.13.1-1 4.13.2-1', 4: '4.8.0-1' })} ${what} closes the connection ${v}`, async (t) => {
      const watcher = await PacketClient.connect(t, broker().port, version)
      await watcher.subscribe('errors/will', 1)
      const client = await PacketClient.connect(t, broker().port, version, willOn('errors/will'))
      client.write(bytes)
      await client.closedFor(code)
      assert.deepEqual((await watcher.receive(1)).map(textOf), ['errors/will gone'], 'and is no DISCONNECT')
    })
  }

  test(`${cite(version, { 5: '4.13.2-1', 4: '4.8.0-1' })} an error ends no other connection or session, that of the same client ID included ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const session = version === 5 ? { properties: { sessionExpiryInterval: 60 } } : {}
    const bystander = await PacketClient.connect(t, broker().port, version)
    await bystander.subscribe('errors/bystander', 1)
    const client = await PacketClient.connect(t, broker().port, version, { clientId, clean: false, ...session })
    await client.subscribe('errors/session', 1)
    const publisher = await PacketClient.connect(t, broker().port, version)
    client.write(packet(0x00))
    await client.closedFor(MALFORMED)
    for (const topic of ['errors/bystander', 'errors/session']) await publisher.publishAcked({ topic, payload: 'x' })
    assert.deepEqual((await bystander.receive(1)).map(textOf), ['errors/bystander x'])
    const back = await PacketClient.connect(t, broker().port, version, { clientId, clean: false, ...session })
    assert.equal(back.connack?.sessionPresent, true)
    assert.deepEqual((await back.receive(1)).map(textOf), ['errors/session x'])
  })

  test(`${cite(version, { 5: '4.13.1-1', 4: '4.8.0-2' })} a packet for which there is no room closes the connection, before its bytes have come ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    client.write(Buffer.concat([Buffer.of(0x30), variable(MAXIMUM_PACKET_SIZE)]))
    await client.closedFor(PACKET_TOO_LARGE)
  })

  test(`packets before the error are handled, those behind it are not ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port, version)
    await watcher.subscribe('errors/around/+')
    const client = await PacketClient.connect(t, broker().port, version)
    const publish = (topic: string): Buffer =>
      packet(0x30, text(topic), ...(version === 5 ? [properties()] : []), text('x'))
    client.write(Buffer.concat([publish('errors/around/before'), packet(0x00), publish('errors/around/behind')]))
    await client.closedFor(MALFORMED)
    const got = (await watcher.settle()).map((one) => (one.cmd === 'publish' ? one.topic : one.cmd))
    assert.deepEqual(got, ['errors/around/before'])
  })
}

test('[MQTT-4.13.1-1] more messages without acknowledgement than the Receive Maximum close the connection', async (t) => {
  const client = await PacketClient.connect(t, broker().port)
  for (let messageId = 1; messageId <= RECEIVE_MAXIMUM + 1; messageId += 1) {
    client.publish({ topic: 'overrun', qos: 2, messageId })
  }
  const before = await client.closed()
  const last = before.pop()
  assert.ok(last?.cmd === 'disconnect')
  assert.equal(last.reasonCode, RECEIVE_MAXIMUM_EXCEEDED)
  assert.ok(before.every(({ cmd }) => cmd === 'pubrec'))
})

test('[MQTT-4.13.2-1] a CONNACK that refuses is followed by the end of the connection', async (t) => {
  const refused = [
    { what: 'another level', bytes: packet(0x10, text('MQTT'), 6, 2, 0, 0, properties(), text('a')) },
    { what: 'a reserved flag', bytes: packet(0x10, text('MQTT'), 5, 3, 0, 0, properties(), text('a')) },
    { what: 'a long client ID', bytes: packet(0x10, text('MQTT'), 5, 2, 0, 0, properties(), text('a'.repeat(1_000))) },
    { what: 'Receive Maximum 0', bytes: packet(0x10, text('MQTT'), 5, 2, 0, 0, properties(0x21, 0, 0), text('a')) },
    {
      what: 'a will topic with a wildcard',
      bytes: packet(0x10, text('MQTT'), 5, 6, 0, 0, properties(), text('a'), properties(), text('#'), twoBytes(0)),
    },
  ]
  for (const { what, bytes } of refused) {
    const client = await PacketClient.open(t, broker().port, 5)
    client.write(Buffer.concat([bytes, packet(0xc0)]))
    const answers = await client.closed()
    assert.deepEqual(
      answers.map(({ cmd }) => cmd),
      ['connack'],
      what,
    )
  }
})
