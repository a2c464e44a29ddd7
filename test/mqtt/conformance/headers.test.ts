/** Sections 1.5.5, 2.1 and 2.2 of MQTT 5.0, and 2.2 and 2.3 of MQTT 3.1.1: lengths, flags and packet ids. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../../support/broker.js'
import { cite } from '../../support/cite.js'
import type { Version } from '../../support/client.js'
import { connectBytes, FrameClient } from '../../support/frame-client.js'
import { packet, properties, text, twoBytes, variable } from '../../support/mqtt-bytes.js'

const broker = useBroker({ mqtt: { maximumPacketSize: '4mb' } })
const VERSIONS: readonly Version[] = [4, 5]

const PUBLISH = 0x30
const QOS_1 = 0x02
const QOS_2 = 0x04
const PUBACK = 0x40
const PUBREC = 0x50
const PUBREL = 0x62
const PUBCOMP = 0x70
const SUBSCRIBE = 0x82
const UNSUBSCRIBE = 0xa2

const PACKET_IDS = [1, 255, 256, 32_768, 65_535]

function none(version: Version): Buffer[] {
  return version === 5 ? [properties()] : []
}

function publish(version: Version, topic: string, payload: string | Uint8Array, qos = 0, packetId = 0): Buffer {
  const id = qos === 0 ? [] : [twoBytes(packetId)]
  return packet(PUBLISH | (qos << 1), text(topic), ...id, ...none(version), Buffer.from(payload))
}

/** Packets of a client that are sound but for the low four bits of their first byte, by type. */
function packetsOf(
  version: Version,
): readonly (readonly [name: string, type: number, flags: number, body: Buffer[]])[] {
  const id = twoBytes(1)
  return [
    ['PUBACK', 4, 0, [id]],
    ['PUBREC', 5, 0, [id]],
    ['PUBREL', 6, 2, [id]],
    ['PUBCOMP', 7, 0, [id]],
    ['SUBSCRIBE', 8, 2, [id, ...none(version), text('a'), Buffer.of(0)]],
    ['UNSUBSCRIBE', 10, 2, [id, ...none(version), text('a')]],
    ['PINGREQ', 12, 0, []],
    ['DISCONNECT', 14, 0, []],
  ]
}

for (const version of VERSIONS) {
  const v = `(version ${version})`

  for (const [name, type, flags, body] of packetsOf(version)) {
    test(`${cite(version, { 5: '2.1.3-1', 4: '2.2.2-1 2.2.2-2' })} ${name} with any other than its own flags closes the connection ${v}`, async (t) => {
      for (let wrong = 0; wrong < 16; wrong += 1) {
        if (wrong === flags) continue
        const client = await FrameClient.connect(t, broker().port, version)
        client.write(packet((type << 4) | wrong, ...body))
        await client.closedFor(0x81, `flags ${wrong}`)
      }
    })
  }

  test(`${cite(version, { 5: '2.1.3-1 3.1.2-12', 4: '2.2.2-1 2.2.2-2' })} CONNECT with flags in its fixed header closes the connection ${v}`, async (t) => {
    for (let wrong = 1; wrong < 16; wrong += 1) {
      const client = await FrameClient.open(t, broker().port, version)
      const connect = connectBytes(version)
      connect[0] = 0x10 | wrong
      client.write(connect)
      await client.closedFor(0x81, `flags ${wrong}`)
    }
  })

  test(`${cite(version, { 5: '2.1.3-1', 4: '2.2.2-1' })} every packet of the server has the flags that the table gives ${v}`, async (t) => {
    const client = await FrameClient.open(t, broker().port, version)
    client.write(connectBytes(version))
    const first = [await client.next()]
    const id = twoBytes(7)
    client.write(
      packet(SUBSCRIBE, id, ...none(version), text('flags'), 2),
      publish(version, 'flags', 'x', 1, 8),
      publish(version, 'flags', 'x', 2, 9),
      packet(PUBREL, twoBytes(9)),
      packet(PUBREC, twoBytes(2)),
      packet(UNSUBSCRIBE, id, ...none(version), text('flags')),
    )
    const seen = [...first, ...(await client.settle())].map((frame) => frame[0] ?? 0).sort((a, b) => a - b)
    // CONNACK, two PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK
    assert.deepEqual(seen, [0x20, 0x32, 0x34, 0x40, 0x50, 0x62, 0x70, 0x90, 0xb0])
  })

  test(`packet types that do not exist, or only servers send, close the connection ${v}`, async (t) => {
    const types = [
      { type: 0, code: 0x81 },
      { type: 2, code: 0x82 },
      { type: 9, code: 0x82 },
      { type: 11, code: 0x82 },
      { type: 13, code: 0x82 },
      ...(version === 4 ? [{ type: 15, code: 0x81 }] : []),
    ]
    for (const { type, code } of types) {
      const client = await FrameClient.connect(t, broker().port, version)
      client.write(packet(type << 4, twoBytes(1)))
      await client.closedFor(code, `type ${type}`)
    }
  })

  const minimal = cite(version, { 5: '1.5.5-1' })

  test(`${minimal} what the server sends says its length in as few bytes as it takes ${v}`.trim(), async (t) => {
    const subscriber = await FrameClient.connect(t, broker().port, version)
    await subscriber.subscribe('m')
    const publisher = await FrameClient.connect(t, broker().port, version, {})
    // What comes before the payload: topic, and in MQTT 5 the Property Length.
    const overhead = version === 5 ? 4 : 3
    for (const remaining of [127, 128, 16_383, 16_384, 2_097_151, 2_097_152]) {
      const frame = publish(version, 'm', Buffer.alloc(remaining - overhead, 0x61))
      // At QoS 1 it cannot be the received frame that goes on to the subscriber.
      publisher.write(publish(version, 'm', Buffer.alloc(remaining - overhead, 0x61), 1, 1))
      await publisher.next()
      const got = await subscriber.next()
      assert.deepEqual(got.subarray(1, 5), frame.subarray(1, 5), `${remaining} bytes`)
      assert.equal(Buffer.compare(got, frame), 0, `${remaining} bytes`)
    }
  })

  const withId = cite(version, { 5: '2.2.1-5', 4: '2.3.1-6' })

  test(`${withId} PUBACK, PUBREC and PUBCOMP carry the packet id of what they answer ${v}`, async (t) => {
    const client = await FrameClient.connect(t, broker().port, version)
    for (const packetId of PACKET_IDS) {
      const id = twoBytes(packetId)
      client.write(publish(version, 'ids', 'x', 1, packetId))
      const puback = await client.next()
      assert.deepEqual([puback[0], puback.subarray(2, 4)], [PUBACK, id])
      client.write(publish(version, 'ids', 'x', 2, packetId))
      const pubrec = await client.next()
      assert.deepEqual([pubrec[0], pubrec.subarray(2, 4)], [PUBREC, id])
      client.write(packet(PUBREL, id))
      assert.deepEqual(await client.next(), packet(PUBCOMP, id))
    }
  })

  test(`${withId} PUBREL carries the packet id of the PUBLISH whose PUBREC it answers ${v}`, async (t) => {
    const client = await FrameClient.connect(t, broker().port, version)
    await client.subscribe('ids/out', 2)
    const publisher = await FrameClient.connect(t, broker().port, version)
    for (const packetId of [1, 2, 3]) {
      publisher.write(publish(version, 'ids/out', 'x', 2, packetId), packet(PUBREL, twoBytes(packetId)))
    }
    const ids = (await client.nextMany(3)).map((frame) => frame.subarray(11, 13))
    for (const id of ids.reverse()) {
      client.write(packet(PUBREC, id))
      assert.deepEqual(await client.next(), packet(PUBREL, id))
    }
  })

  test(`${cite(version, { 5: '2.2.1-6', 4: '2.3.1-7' })} SUBACK and UNSUBACK carry the packet id of what they answer ${v}`, async (t) => {
    const client = await FrameClient.connect(t, broker().port, version)
    for (const packetId of PACKET_IDS) {
      const id = twoBytes(packetId)
      client.write(packet(SUBSCRIBE, id, ...none(version), text('ids'), 1))
      assert.deepEqual(await client.next(), packet(0x90, id, ...none(version), 1))
      client.write(packet(UNSUBSCRIBE, id, ...none(version), text('ids')))
      assert.deepEqual(await client.next(), version === 5 ? packet(0xb0, id, properties(), 0) : packet(0xb0, id))
    }
  })

  test(`${cite(version, { 5: '2.2.1-2', 4: '2.3.1-5' })} a PUBLISH of QoS 0 has no packet id, neither in nor out ${v}`, async (t) => {
    const subscriber = await FrameClient.connect(t, broker().port, version)
    await subscriber.subscribe('no/id', 2)
    const publisher = await FrameClient.connect(t, broker().port, version)
    // Were two bytes behind the topic taken for an id, they would be missing from the payload.
    const sent = publish(version, 'no/id', Buffer.from([0, 1, 2, 3]))
    publisher.write(sent)
    await publisher.settle()
    assert.deepEqual(await subscriber.settle(), [sent])
    const downgraded = await FrameClient.connect(t, broker().port, version)
    await downgraded.subscribe('no/id', 0)
    publisher.write(publish(version, 'no/id', Buffer.from([0, 1, 2, 3]), 1, 5))
    await publisher.next()
    assert.deepEqual(await downgraded.settle(), [sent], 'QoS 1 in, QoS 0 out')
  })

  test(`${cite(version, { 5: '2.2.1-3', 4: '2.3.1-1' })} a packet id of 0 closes the connection ${v}`, async (t) => {
    const packets: readonly (readonly [string, Buffer])[] = [
      ['PUBLISH at QoS 1', publish(version, 'a', 'x', 1, 0)],
      ['PUBLISH at QoS 2', publish(version, 'a', 'x', 2, 0)],
      ['SUBSCRIBE', packet(SUBSCRIBE, twoBytes(0), ...none(version), text('a'), 0)],
      ['UNSUBSCRIBE', packet(UNSUBSCRIBE, twoBytes(0), ...none(version), text('a'))],
      ['PUBACK', packet(PUBACK, twoBytes(0))],
      ['PUBREL', packet(PUBREL, twoBytes(0))],
    ]
    for (const [name, bytes] of packets) {
      const client = await FrameClient.connect(t, broker().port, version)
      client.write(bytes)
      await client.closedFor(0x82, name)
    }
  })

  test(`${cite(version, { 5: '2.2.1-4', 4: '2.3.1-1 2.3.1-4' })} the server numbers what it sends with ids that are free and not 0, also when all have been used once ${v}`, async (t) => {
    const client = await FrameClient.connect(t, broker().port, version)
    await client.subscribe('wrap', 1)
    const publisher = await FrameClient.connect(t, broker().port, version)
    const message = publish(version, 'wrap', 'x', 1, 1)
    const idOf = (frame: Buffer): number => frame.readUInt16BE(8)
    publisher.write(message)
    const held = idOf(await client.next())
    const rounds = 1_100
    const perRound = 60
    const seen = new Set<number>()
    for (let round = 0; round < rounds; round += 1) {
      publisher.write(...Array.from({ length: perRound }, () => message))
      const ids = (await client.nextMany(perRound)).map(idOf)
      assert.equal(new Set(ids).size, perRound, 'each in flight has its own')
      for (const id of ids) seen.add(id)
      client.write(...ids.map((id) => packet(PUBACK, twoBytes(id))))
    }
    assert.ok(rounds * perRound > 65_535)
    assert.ok(seen.size > 60_000, `${seen.size} ids were used`)
    assert.deepEqual([seen.has(0), seen.has(held)], [false, false], 'the one that was never acknowledged is not free')
  })
}

test('[MQTT-1.5.5-1] a length or number in more bytes than it takes, or in five, is malformed', async (t) => {
  const cases: readonly (readonly [string, Buffer])[] = [
    ['a Remaining Length of 0 in two bytes', Buffer.from([0xc0, 0x80, 0x00])],
    ['a Remaining Length of 0 in four bytes', Buffer.from([0xc0, 0x80, 0x80, 0x80, 0x00])],
    ['a Remaining Length in five bytes', Buffer.from([0xc0, 0x80, 0x80, 0x80, 0x80, 0x01])],
    ['a Property Length of 0 in two bytes', packet(PUBLISH, text('a'), 0x80, 0x00, 0x78)],
    ['a Property Length in five bytes', packet(PUBLISH, text('a'), 0x80, 0x80, 0x80, 0x80, 0x00, 0x78)],
    ['a property identifier in two bytes', packet(PUBLISH, text('a'), properties(0x81, 0x00, 1), 0x78)],
    [
      'a Subscription Identifier of 1 in two bytes',
      packet(SUBSCRIBE, twoBytes(1), properties(0x0b, 0x81, 0x00), text('a'), 0),
    ],
    [
      'a Subscription Identifier in five bytes',
      packet(SUBSCRIBE, twoBytes(1), properties(0x0b, 0xff, 0xff, 0xff, 0xff, 0x01), text('a'), 0),
    ],
  ]
  for (const [what, bytes] of cases) {
    const client = await FrameClient.connect(t, broker().port)
    client.write(bytes)
    await client.closedFor(0x81, what)
  }
})

test('[MQTT-1.5.5-1] Subscription Identifiers go out in as few bytes as they take', async (t) => {
  for (const identifier of [1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455]) {
    const client = await FrameClient.connect(t, broker().port)
    const list = properties(0x0b, variable(identifier))
    client.write(packet(SUBSCRIBE, twoBytes(1), list, text('identified'), 0))
    await client.next()
    client.write(publish(5, 'identified', 'x'))
    assert.deepEqual(await client.settle(), [packet(PUBLISH, text('identified'), list, 0x78)])
  }
})

test('[MQTT-2.2.2-1] a packet without properties says so with a Property Length of 0', async (t) => {
  const client = await FrameClient.connect(t, broker().port)
  const id = twoBytes(5)
  client.write(packet(SUBSCRIBE, id, properties(), text('bare'), 2))
  assert.deepEqual(await client.next(), packet(0x90, id, 0, 2), 'SUBACK')
  client.write(publish(5, 'bare', 'x'))
  assert.deepEqual(await client.next(), packet(PUBLISH, text('bare'), 0, 0x78), 'PUBLISH at QoS 0')
  for (const qos of [QOS_1, QOS_2]) {
    client.write(publish(5, 'bare', 'x', qos >> 1, 5))
    const delivered = (await client.nextMany(2)).find((frame) => frame[0] === (PUBLISH | qos))
    const packetId = delivered?.subarray(8, 10) ?? Buffer.alloc(0)
    assert.deepEqual(delivered, packet(PUBLISH | qos, text('bare'), packetId, 0, 0x78), `PUBLISH with flags ${qos}`)
  }
  client.write(packet(UNSUBSCRIBE, id, properties(), text('bare')))
  assert.deepEqual(await client.next(), packet(0xb0, id, 0, 0), 'UNSUBACK')
})

test('[MQTT-2.2.2-1] a packet whose Property Length is missing is malformed', async (t) => {
  const cases: readonly (readonly [string, Buffer])[] = [
    ['PUBLISH', packet(PUBLISH, text('a'))],
    ['SUBSCRIBE', packet(SUBSCRIBE, twoBytes(1))],
    ['UNSUBSCRIBE', packet(UNSUBSCRIBE, twoBytes(1))],
  ]
  for (const [what, bytes] of cases) {
    const client = await FrameClient.connect(t, broker().port)
    client.write(bytes)
    await client.closedFor(0x81, what)
  }
})
