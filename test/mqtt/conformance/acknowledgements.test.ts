/** PUBACK, PUBREC, PUBREL and PUBCOMP. [MQTT 5.0 sections 3.4 to 3.7] */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../../support/broker.js'
import { cite } from '../../support/cite.js'
import type { Version } from '../../support/client.js'
import { packet, properties, text, twoBytes } from '../../support/mqtt-bytes.js'
import { messageIdOf, PacketClient } from '../../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]

const PUBACK = 0x40
const PUBREC = 0x50
const PUBREL = 0x62
const PUBCOMP = 0x70
/** All four by the first byte a sound one has. */
const ACKNOWLEDGEMENTS = { puback: PUBACK, pubrec: PUBREC, pubrel: PUBREL, pubcomp: PUBCOMP }

const REASON_STRING = 0x1f
const USER_PROPERTY = 0x26

/** What a broker says to a message for nobody, by version: 3.1.1 has no word for it. */
const UNHEARD: Record<Version, readonly number[]> = { 4: [], 5: [0x10] }

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`${cite(version, { 5: '3.4.2-1' })} PUBACK says what became of a message, in bytes: heard, and heard by nobody ${v}`, async (t) => {
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('puback/heard')
    const client = await PacketClient.connect(t, broker().port, version)
    client.takeBytes()
    client.publish({ topic: 'puback/unheard', qos: 1, messageId: 0x0102 })
    await client.next('puback')
    assert.deepEqual([...client.takeBytes()], [PUBACK, 2 + UNHEARD[version].length, 1, 2, ...UNHEARD[version]])
    client.publish({ topic: 'puback/heard', qos: 1, messageId: 0xffff })
    await client.next('puback')
    assert.deepEqual([...client.takeBytes()], [PUBACK, 2, 0xff, 0xff])
  })

  test(`${cite(version, { 5: '3.5.2-1' })} PUBREC says what became of a message, in bytes: heard, and heard by nobody ${v}`, async (t) => {
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('pubrec/heard')
    const client = await PacketClient.connect(t, broker().port, version)
    client.takeBytes()
    client.publish({ topic: 'pubrec/unheard', qos: 2, messageId: 0x0102 })
    await client.next('pubrec')
    assert.deepEqual([...client.takeBytes()], [PUBREC, 2 + UNHEARD[version].length, 1, 2, ...UNHEARD[version]])
    client.publish({ topic: 'pubrec/heard', qos: 2, messageId: 0xffff })
    await client.next('pubrec')
    assert.deepEqual([...client.takeBytes()], [PUBREC, 2, 0xff, 0xff])
  })

  test(`${cite(version, { 5: '3.6.2-1' })} PUBREL says that a packet id was found, or in 5.0 that it was not ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    await client.subscribe('pubrel/found', 2)
    const publisher = await PacketClient.connect(t, broker().port, version)
    publisher.publish({ topic: 'pubrel/found', qos: 2 })
    const { messageId } = messageIdOf(await client.next('publish'))
    client.takeBytes()
    client.send({ cmd: 'pubrec', messageId })
    await client.next('pubrel')
    assert.deepEqual([...client.takeBytes()], [PUBREL, 2, ...twoBytes(messageId)])

    client.send({ cmd: 'pubrec', messageId: 4711 })
    const { reasonCode } = await client.next('pubrel')
    assert.deepEqual([...client.takeBytes().subarray(2, 4)], [...twoBytes(4711)])
    // 3.1.1 cannot say that the id is unknown: the flow is brought to its end.
    if (version === 5) assert.equal(reasonCode, 0x92)
  })

  test(`${cite(version, { 5: '3.7.2-1' })} PUBCOMP says that a packet id was found, or in 5.0 that it was not ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    client.publish({ topic: 'pubcomp', qos: 2, messageId: 9 })
    await client.next('pubrec')
    client.takeBytes()
    client.send({ cmd: 'pubrel', messageId: 9 })
    await client.next('pubcomp')
    assert.deepEqual([...client.takeBytes()], [PUBCOMP, 2, 0, 9])
    client.send({ cmd: 'pubrel', messageId: 9 })
    const { messageId, reasonCode } = await client.next('pubcomp')
    assert.equal(messageId, 9)
    if (version === 5) assert.equal(reasonCode, 0x92)
    await client.expectNothing()
  })

  test(`${cite(version, { 5: '3.6.1-1', 4: '3.6.1-1' })} the flags of PUBREL are 0010, and all others close the connection ${v}`, async (t) => {
    for (let flags = 0; flags < 16; flags += 1) {
      const client = await PacketClient.connect(t, broker().port, version)
      client.publish({ topic: 'flags', qos: 2, messageId: 1 })
      await client.next('pubrec')
      client.write(packet(0x60 | flags, 0, 1))
      if (flags === 2) await client.next('pubcomp')
      else await client.closedFor(0x81)
    }
  })

  test(`acknowledgements nobody waits for do no harm ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    client.send({ cmd: 'puback', messageId: 1 })
    client.send({ cmd: 'pubcomp', messageId: 2 })
    await client.expectNothing()
    client.send({ cmd: 'pubrec', messageId: 3 })
    const answers = await client.settle()
    assert.ok(
      answers.every((answer) => answer.cmd === 'pubrel'),
      JSON.stringify(answers),
    )
  })

  test(`an acknowledgement that is too short, too long, or for packet id 0 closes the connection ${v}`, async (t) => {
    const long = version === 5 ? [0, 7, 0, properties(), 0] : [0, 7, 0]
    for (const firstByte of Object.values(ACKNOWLEDGEMENTS)) {
      for (const [fields, code] of [
        [[], 0x81],
        [[7], 0x81],
        [long, 0x81],
        [[0, 0], 0x82],
      ] as const) {
        const client = await PacketClient.connect(t, broker().port, version)
        client.write(packet(firstByte, ...fields))
        await client.closedFor(code)
      }
    }
  })
}

/** Every code of MQTT 5.0 and some that are none. */
const ALL_CODES = Array.from({ length: 256 }, (_, code) => code)
const RECEIVED_CODES = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]
const RELEASED_CODES = [0x00, 0x92]

test('[MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] a reason code of the table is taken, any other closes the connection', async (t) => {
  for (const [cmd, firstByte] of Object.entries(ACKNOWLEDGEMENTS)) {
    const allowed = cmd === 'puback' || cmd === 'pubrec' ? RECEIVED_CODES : RELEASED_CODES
    const friend = await PacketClient.connect(t, broker().port)
    for (const code of allowed) friend.write(packet(firstByte, twoBytes(77), code))
    await friend.settle()
    assert.ok(!friend.isClosed)
    // The neighbors of what is allowed, and the ends; the full 247 would be as many connections.
    const others = ALL_CODES.filter(
      (code) =>
        !allowed.includes(code) && (allowed.includes(code - 1) || allowed.includes(code + 1) || code % 0x33 === 0),
    )
    for (const code of others) {
      const client = await PacketClient.connect(t, broker().port)
      client.write(packet(firstByte, twoBytes(77), code))
      await client.closedFor(0x82)
    }
  }
})

test('[MQTT-3.4.2-2] [MQTT-3.5.2-2] [MQTT-3.6.2-2] [MQTT-3.7.2-2] a Reason String comes once, User Properties as often as they like', async (t) => {
  const reasonString = [REASON_STRING, text('why')]
  const userProperty = [USER_PROPERTY, text('name'), text('value')]
  for (const firstByte of Object.values(ACKNOWLEDGEMENTS)) {
    const client = await PacketClient.connect(t, broker().port)
    client.write(packet(firstByte, 0, 7, 0, properties(...reasonString, ...userProperty, ...userProperty)))
    await client.settle()
    client.write(packet(firstByte, 0, 7, 0, properties(...reasonString, ...reasonString)))
    await client.closedFor(0x82)
  }
})

test('an acknowledgement with a property of another packet closes the connection', async (t) => {
  for (const firstByte of Object.values(ACKNOWLEDGEMENTS)) {
    const client = await PacketClient.connect(t, broker().port)
    client.write(packet(firstByte, 0, 7, 0, properties(0x11, 0, 0, 0, 1)))
    await client.closedFor(0x81)
  }
})

/** Room for CONNACK, and none for what a broker might have to explain. */
const MAXIMUM_PACKET_SIZE = 40

test('[MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2] [MQTT-3.7.2-3] an acknowledgement of failure keeps within the Maximum Packet Size of its receiver', async (t) => {
  const client = await PacketClient.connect(t, broker().port, 5, {
    properties: { maximumPacketSize: MAXIMUM_PACKET_SIZE },
  })
  client.takeBytes()
  const refused = '$SYS/not/for/clients'
  const failures = [
    { cause: () => client.publish({ topic: refused, qos: 1 }), answer: 'puback', code: 0x87 },
    { cause: () => client.publish({ topic: refused, qos: 2 }), answer: 'pubrec', code: 0x87 },
    { cause: () => client.send({ cmd: 'pubrec', messageId: 4711 }), answer: 'pubrel', code: 0x92 },
    { cause: () => client.send({ cmd: 'pubrel', messageId: 4711 }), answer: 'pubcomp', code: 0x92 },
  ] as const
  for (const { cause, answer, code } of failures) {
    cause()
    assert.equal((await client.next(answer)).reasonCode, code)
    const { length } = client.takeBytes()
    assert.ok(length <= MAXIMUM_PACKET_SIZE, `${answer} of ${length} bytes`)
  }
})
