/** UNSUBSCRIBE and UNSUBACK. [MQTT 5.0 sections 3.10 and 3.11] */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../../support/broker.js'
import { cite } from '../../support/cite.js'
import type { Version } from '../../support/client.js'
import { packet, properties, text, twoBytes, unsubscribe } from '../../support/mqtt-bytes.js'
import { messageIdOf, PacketClient, textOf } from '../../support/packet-client.js'

/** Small, so that messages wait behind the window. */
const INFLIGHT_WINDOW = 2

const broker = useBroker({ mqtt: { inflightWindow: INFLIGHT_WINDOW } })
const VERSIONS: readonly Version[] = [4, 5]
const UNSUBACK = 0xb0

for (const version of VERSIONS) {
  const v = `(version ${version})`
  const noProperties = version === 5 ? [0] : []

  test(`${cite(version, { 5: '3.10.1-1', 4: '3.10.1-1' })} the flags of UNSUBSCRIBE are 0010, and all others close the connection ${v}`, async (t) => {
    for (let flags = 0; flags < 16; flags += 1) {
      const client = await PacketClient.connect(t, broker().port, version)
      client.write(packet(0xa0 | flags, 0, 1, ...noProperties, text('a')))
      if (flags === 2) await client.next('unsuback')
      else await client.closedFor(0x81)
    }
  })

  test(`${cite(version, { 5: '3.10.3-1', 4: '3.10.3-1' })} filters that are not well-formed UTF-8, or not packed one behind the other, close the connection ${v}`, async (t) => {
    const broken = [
      [text('sound'), text(Uint8Array.from([0xc3, 0x28]))],
      [text(Uint8Array.from([0xed, 0xa0, 0x80]))],
      [text(Uint8Array.from([0x61, 0x00]))],
      [text('sound'), 0],
      [text('sound'), 0, 9, 0x61],
    ]
    for (const payload of broken) {
      const client = await PacketClient.connect(t, broker().port, version)
      client.write(packet(0xa2, 0, 1, ...noProperties, ...payload))
      await client.closedFor(0x81)
    }
  })

  test(`${cite(version, { 5: '3.10.3-2', 4: '3.10.3-2' })} an UNSUBSCRIBE without a topic filter closes the connection ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    client.write(unsubscribe(version, 1))
    await client.closedFor(0x82)
  })

  test(`${cite(version, { 4: '3.10.4-1' })} only a filter that is the same byte for byte is removed, wildcards standing for themselves ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    await client.subscribe([{ topic: 'Exact/a' }, { topic: 'exact/+' }])
    const codes = await client.unsubscribe('exact/a', 'exact/#', '#', 'EXACT/+', 'exact/+/', '/exact/+')
    assert.deepEqual(codes, version === 5 ? [0x11, 0x11, 0x11, 0x11, 0x11, 0x11] : [])
    const publisher = await PacketClient.connect(t, broker().port, version)
    for (const topic of ['Exact/a', 'exact/a']) await publisher.publishAcked({ topic, payload: 'x' })
    assert.deepEqual((await client.settle()).map(textOf), ['Exact/a x', 'exact/a x'])
    assert.deepEqual(await client.unsubscribe('exact/+'), version === 5 ? [0] : [])
    for (const topic of ['Exact/a', 'exact/a']) await publisher.publishAcked({ topic, payload: 'y' })
    assert.deepEqual((await client.settle()).map(textOf), ['Exact/a y'])
  })

  test(`${cite(version, { 5: '3.10.4-1 3.10.4-2', 4: '3.10.4-2' })} no message is added for delivery once the filter is removed ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    const publisher = await PacketClient.connect(t, broker().port, version)
    await client.subscribe('stops', 1)
    await publisher.publishAcked({ topic: 'stops', payload: 'before' })
    assert.deepEqual((await client.receive(1)).map(textOf), ['stops before'])
    await client.unsubscribe('stops')
    for (const qos of [0, 1, 2] as const) await publisher.publishAcked({ topic: 'stops', payload: 'after', qos })
    await client.expectNothing()
  })

  test(`${cite(version, { 5: '3.10.4-3', 4: '3.10.4-3' })} messages that were on their way when the filter was removed are delivered to their end ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    const publisher = await PacketClient.connect(t, broker().port, version)
    await client.subscribe('under/way', 2)
    await publisher.publishAcked({ topic: 'under/way', payload: '1', qos: 2 })
    await publisher.publishAcked({ topic: 'under/way', payload: '2', qos: 1 })
    const [first, second] = await client.nextMany('publish', 2)
    assert.ok(first !== undefined && second !== undefined)
    await client.unsubscribe('under/way')
    client.send({ cmd: 'pubrec', ...messageIdOf(first) })
    assert.equal((await client.next('pubrel')).messageId, first.messageId)
    client.send({ cmd: 'pubcomp', ...messageIdOf(first) })
    client.acknowledge(second)
    await client.expectNothing()
  })

  test(`${cite(version, { 5: '3.10.4-4 3.10.4-5 3.11.2-1', 4: '3.10.4-4 3.10.4-5' })} each UNSUBSCRIBE is answered by one UNSUBACK with its packet id, in bytes, also when nothing is removed ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    await client.subscribe('there')
    client.takeBytes()
    for (const [packetId, filter, code] of [
      [1, 'there', 0],
      [0x0100, 'there', 0x11],
      [0xffff, 'never/there', 0x11],
    ] as const) {
      client.write(unsubscribe(version, packetId, filter))
      await client.next('unsuback')
      await client.expectNothing()
      const rest = version === 5 ? [0, code] : []
      assert.deepEqual(
        [...client.takeBytes().subarray(0, -2)],
        [UNSUBACK, 2 + rest.length, ...twoBytes(packetId), ...rest],
      )
    }
  })

  test(`${cite(version, { 5: '3.10.4-6 3.11.3-1 3.11.3-2', 4: '3.10.4-6' })} several filters are removed one after the other with one answer, in 5.0 with a code for each ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    await client.subscribe([{ topic: 'there' }, { topic: 'there/#' }, { topic: 'stays' }])
    client.write(unsubscribe(version, 9, 'there', 'never', 'there/#', 'there', 'not/#/sound'))
    const unsuback = await client.next('unsuback')
    assert.equal(unsuback.messageId, 9)
    if (version === 5) assert.deepEqual(unsuback.granted, [0, 0x11, 0, 0x11, 0x8f])
    const publisher = await PacketClient.connect(t, broker().port, version)
    for (const topic of ['there', 'there/x', 'stays']) await publisher.publishAcked({ topic, payload: 'x' })
    assert.deepEqual((await client.settle()).map(textOf), ['stays x'])
  })
}

test('[MQTT-3.11.2-2] an UNSUBACK keeps within the Maximum Packet Size of its receiver', async (t) => {
  const maximumPacketSize = 40
  const client = await PacketClient.connect(t, broker().port, 5, { properties: { maximumPacketSize } })
  client.takeBytes()
  client.write(unsubscribe(5, 1, 'a/#/b', 'never'))
  assert.deepEqual((await client.next('unsuback')).granted, [0x8f, 0x11])
  const { length } = client.takeBytes()
  assert.ok(length <= maximumPacketSize, `${length} bytes`)
})

test('an UNSUBSCRIBE with a property of another packet closes the connection, User Properties do not', async (t) => {
  const client = await PacketClient.connect(t, broker().port)
  const pair = [0x26, text('name'), text('value')]
  client.write(packet(0xa2, 0, 1, properties(...pair, ...pair), text('a')))
  await client.next('unsuback')
  client.write(packet(0xa2, 0, 2, properties(0x0b, 1), text('a')))
  await client.closedFor(0x81)
})
