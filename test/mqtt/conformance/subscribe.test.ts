/** SUBSCRIBE and SUBACK. [MQTT 5.0 sections 3.8 and 3.9] */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../../support/broker.js'
import { cite } from '../../support/cite.js'
import type { QoS, Version } from '../../support/client.js'
import { packet, properties, subscribe, text, twoBytes } from '../../support/mqtt-bytes.js'
import { PacketClient, textOf } from '../../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]
const QOS: readonly QoS[] = [0, 1, 2]

const SUBACK = 0x90
/** How each version says that a filter is not one. */
const FILTER_INVALID: Record<Version, number> = { 4: 0x80, 5: 0x8f }
/** Options of MQTT 5 beside the QoS in the lowest two bits. */
const NO_LOCAL = 0x04
const RETAIN_HANDLING_SHIFT = 4

for (const version of VERSIONS) {
  const v = `(version ${version})`
  const noProperties = version === 5 ? [0] : []

  test(`${cite(version, { 5: '3.8.1-1', 4: '3.8.1-1' })} the flags of SUBSCRIBE are 0010, and all others close the connection ${v}`, async (t) => {
    for (let flags = 0; flags < 16; flags += 1) {
      const client = await PacketClient.connect(t, broker().port, version)
      client.write(packet(0x80 | flags, 0, 1, ...noProperties, text('a'), 0))
      if (flags === 2) await client.next('suback')
      else await client.closedFor(0x81)
    }
  })

  test(`${cite(version, { 5: '3.8.3-1', 4: '3.8.3-1' })} a topic filter that is not well-formed UTF-8 closes the connection ${v}`, async (t) => {
    const broken = {
      'a continuation byte without a start': [0x61, 0x80],
      'a start without its continuation': [0xc3, 0x28],
      'a surrogate': [0xed, 0xa0, 0x80],
      'a form longer than needed': [0xc0, 0xaf],
      'above U+10FFFF': [0xf4, 0x90, 0x80, 0x80],
      'U+0000': [0x61, 0x00, 0x62],
    }
    for (const [what, bytes] of Object.entries(broken)) {
      const client = await PacketClient.connect(t, broker().port, version)
      client.write(subscribe(version, 1, ['sound', 0], [Uint8Array.from(bytes), 0]))
      await client.closedFor(0x81).catch((error: unknown) => {
        throw new Error(what, { cause: error })
      })
    }
  })

  test(`${cite(version, { 5: '3.8.3-2 3.8.3-3', 4: '3.8.3-3' })} a SUBSCRIBE without a topic filter closes the connection ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    client.write(subscribe(version, 1))
    await client.closedFor(0x82)
  })

  test(`a SUBSCRIBE that ends within a filter, or before its options, closes the connection ${v}`, async (t) => {
    for (const payload of [[0], [0, 5, 0x61], [text('a')], [text('a'), 0, text('b')]]) {
      const client = await PacketClient.connect(t, broker().port, version)
      client.write(packet(0x82, 0, 1, ...noProperties, ...payload))
      await client.closedFor(0x81)
    }
  })

  test(`${cite(version, { 4: '3.8.3-2' })} filters with wildcards are taken ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    assert.deepEqual(await client.subscribe([{ topic: '#' }, { topic: '+' }, { topic: 'a/+/b/#' }]), [0, 0, 0])
  })

  test(`${cite(version, { 5: '3.8.3-5', 4: '3.8.3-4' })} reserved bits beside the requested QoS, and QoS 3, close the connection ${v}`, async (t) => {
    // 5.0 gives bits 2 to 5 a meaning, and for values that mean nothing it names another reason.
    const refused =
      version === 4
        ? [0x03, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80].map((options) => [options, 0x81] as const)
        : ([
            [0x40, 0x81],
            [0x80, 0x81],
            [0xc1, 0x81],
            [0x03, 0x82],
            [3 << RETAIN_HANDLING_SHIFT, 0x82],
          ] as const)
    for (const [options, code] of refused) {
      const client = await PacketClient.connect(t, broker().port, version)
      client.write(subscribe(version, 1, ['sound', 0], ['a', options]))
      await client.closedFor(code)
    }
  })

  test(`${cite(version, { 5: '3.8.4-1 3.8.4-2 3.9.2-1', 4: '3.8.4-1 3.8.4-2' })} each SUBSCRIBE is answered by one SUBACK with its packet id, in bytes ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    client.takeBytes()
    for (const packetId of [1, 0x0100, 0xffff]) {
      client.write(subscribe(version, packetId, ['a', 1]))
      await client.next('suback')
      await client.expectNothing()
      assert.deepEqual(
        [...client.takeBytes().subarray(0, -2)],
        [SUBACK, 3 + noProperties.length, ...twoBytes(packetId), ...noProperties, 1],
      )
    }
  })

  test(`${cite(version, { 5: '3.8.4-6 3.8.4-7 3.9.3-1 3.9.3-2', 4: '3.8.4-5 3.9.3-1 3.9.3-2' })} SUBACK has a code for each filter in their order, the granted QoS or why not ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    const filters = [
      ['a', 2],
      ['b/#', 0],
      ['c/#/d', 1],
      ['+/c', 1],
      ['', 0],
      ['a', 0],
    ] as const
    client.write(subscribe(version, 7, ...filters))
    const refused = FILTER_INVALID[version]
    assert.deepEqual((await client.next('suback')).granted, [2, 0, refused, 1, refused, 0])
    await client.expectNothing()
  })

  test(`${cite(version, { 5: '3.8.4-3', 4: '3.8.4-3' })} the same filter again replaces the subscription, its options included ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    const publisher = await PacketClient.connect(t, broker().port, version)
    for (const qos of [0, 2, 1] as const) {
      assert.deepEqual(await client.subscribe('replaced', qos), [qos])
      await publisher.publishAcked({ topic: 'replaced', payload: 'x', qos: 2 })
      const got = await client.receive(1)
      await client.expectNothing()
      assert.deepEqual(
        got.map((message) => message.qos),
        [qos],
        'once, as the last SUBSCRIBE asked for',
      )
    }
    // One byte of difference makes another filter, which stands beside the first.
    await client.subscribe('replaced/', 0)
    await client.unsubscribe('replaced')
    await publisher.publishAcked({ topic: 'replaced', payload: 'y' })
    await client.expectNothing()
  })

  test(`${cite(version, { 5: '3.8.4-4', 4: '3.8.4-3' })} replacing a subscription sends the retained messages again and loses none of those that come meanwhile ${v}`, async (t) => {
    const topics = ['again/1', 'again/2']
    const publisher = await PacketClient.connect(t, broker().port, version)
    for (const topic of topics) await publisher.publishAcked({ topic, payload: 'kept', retain: true })
    const client = await PacketClient.connect(t, broker().port, version)
    for (const _ of ['new', 'replaced', 'replaced again']) {
      await client.subscribe('again/+', 1)
      const got = await client.receive(2)
      await client.expectNothing()
      assert.deepEqual(got.map(textOf).sort(), ['again/1 kept', 'again/2 kept'])
      assert.ok(got.every((message) => message.retain))
    }

    const count = 400
    const listener = await PacketClient.connect(t, broker().port, version)
    await listener.subscribe('flow', 1)
    for (let number = 1; number <= count; number += 1) {
      publisher.publish({ topic: 'flow', payload: `${number}`, qos: 1 })
      if (number % 10 === 0) {
        listener.write(subscribe(version, number, ['flow', number % 20 === 0 ? 1 : 2]))
        await publisher.nextMany('puback', 10)
      }
    }
    const numbers: string[] = []
    let subacks = 0
    while (numbers.length < count || subacks < count / 10) {
      const arrived = await listener.nextOfAny()
      assert.ok(arrived !== undefined, `closed after ${numbers.length} messages`)
      if (arrived.cmd === 'suback') subacks += 1
      else if (arrived.cmd === 'publish') {
        numbers.push(arrived.payload.toString())
        listener.acknowledge(arrived)
      }
    }
    await listener.expectNothing()
    assert.deepEqual(
      numbers,
      Array.from({ length: count }, (_, index) => `${index + 1}`),
    )
    for (const topic of topics) await publisher.publishAcked({ topic, retain: true })
  })

  test(`${cite(version, { 5: '3.8.4-5', 4: '3.8.4-4' })} several filters in one SUBSCRIBE are as several SUBSCRIBE packets with one answer ${v}`, async (t) => {
    const publisher = await PacketClient.connect(t, broker().port, version)
    await publisher.publishAcked({ topic: 'several/kept', payload: 'kept', retain: true })
    const client = await PacketClient.connect(t, broker().port, version)
    const filters = [
      { topic: 'several/a', qos: 0 },
      { topic: 'several/kept', qos: 0 },
      { topic: 'several/kept', qos: 1 },
      { topic: 'several/b', qos: 2 },
    ] as const
    assert.deepEqual(await client.subscribe(filters), [0, 0, 1, 2])
    const retained = await client.receive(2)
    assert.deepEqual(
      retained.map((message) => `${textOf(message)} at ${message.qos}`),
      ['several/kept kept at 0', 'several/kept kept at 1'],
      'once for each time that it was subscribed',
    )
    for (const topic of ['several/a', 'several/b', 'several/kept'])
      await publisher.publishAcked({ topic, payload: 'x', qos: 2 })
    assert.deepEqual(
      (await client.receive(3)).map((message) => `${textOf(message)} at ${message.qos}`),
      ['several/a x at 0', 'several/b x at 2', 'several/kept x at 1'],
    )
    await client.expectNothing()
    await publisher.publishAcked({ topic: 'several/kept', retain: true })
  })

  test(`${cite(version, { 5: '3.8.4-8', 4: '3.8.4-6' })} a message arrives at the lower QoS of its publisher and its subscription ${v}`, async (t) => {
    const publisher = await PacketClient.connect(t, broker().port, version)
    for (const granted of QOS) {
      const subscriber = await PacketClient.connect(t, broker().port, version)
      assert.deepEqual(await subscriber.subscribe('lower/qos', granted), [granted])
      for (const qos of QOS) {
        await publisher.publishAcked({ topic: 'lower/qos', payload: `${qos}`, qos })
        const [got] = await subscriber.receive(1)
        assert.ok(got !== undefined)
        assert.deepEqual(
          { qos: got.qos, dup: got.dup, retain: got.retain, text: textOf(got) },
          { qos: Math.min(qos, granted), dup: false, retain: false, text: `lower/qos ${qos}` },
        )
      }
      await subscriber.expectNothing()
      await subscriber.disconnect()
    }
  })

  test(`the retained messages of a filter come after its SUBACK ${v}`, async (t) => {
    const publisher = await PacketClient.connect(t, broker().port, version)
    await publisher.publishAcked({ topic: 'after/suback', payload: 'x', retain: true })
    const client = await PacketClient.connect(t, broker().port, version)
    client.write(subscribe(version, 1, ['after/suback', 0]))
    await client.next('suback')
    await client.next('publish')
    await publisher.publishAcked({ topic: 'after/suback', retain: true })
  })

  test(`a subscription that is taken back at once gets no retained messages after its UNSUBACK ${v}`, async (t) => {
    const publisher = await PacketClient.connect(t, broker().port, version)
    await publisher.publishAcked({ topic: 'taken/back', payload: 'x', retain: true })
    const client = await PacketClient.connect(t, broker().port, version)
    for (let round = 0; round < 20; round += 1) {
      client.write(subscribe(version, 1, ['taken/back', 0]))
      client.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['taken/back'] })
      const order: string[] = []
      while (!order.includes('unsuback') || !order.includes('suback'))
        order.push((await client.nextOfAny())?.cmd ?? 'closed')
      const rest = (await client.settle()).map(({ cmd }) => cmd)
      assert.deepEqual(rest, [], `after ${order.join(', ')}`)
    }
    await publisher.publishAcked({ topic: 'taken/back', retain: true })
  })
}

test('[MQTT-3.8.3-4] No Local on a shared subscription closes the connection', async (t) => {
  for (const filter of ['$share/group/a', '$share/group/#']) {
    const client = await PacketClient.connect(t, broker().port)
    client.write(subscribe(5, 1, [filter, NO_LOCAL]))
    await client.closedFor(0x82)
  }
})

test('[MQTT-3.8.3-3] of overlapping subscriptions those with No Local do not count for the own messages of a client', async (t) => {
  const client = await PacketClient.connect(t, broker().port)
  await client.subscribe([{ topic: 'overlap/+', qos: 0, nl: true }], 0, { subscriptionIdentifier: 1 })
  await client.subscribe([{ topic: 'overlap/own', qos: 0, nl: false }], 0, { subscriptionIdentifier: 2 })
  const other = await PacketClient.connect(t, broker().port)
  for (const [publisher, identifiers] of [
    [client, 2],
    [other, [1, 2]],
  ] as const) {
    publisher.publish({ topic: 'overlap/own', payload: 'x' })
    const [message] = await client.receive(1)
    assert.deepEqual(message?.properties?.subscriptionIdentifier, identifiers)
  }
})

test('[MQTT-3.8.3-3] No Local keeps a message from its own publisher, and from nobody else', async (t) => {
  const client = await PacketClient.connect(t, broker().port)
  const other = await PacketClient.connect(t, broker().port)
  for (const one of [client, other]) await one.subscribe([{ topic: 'local', nl: true }])
  await client.publishAcked({ topic: 'local', payload: 'x' })
  await client.expectNothing()
  assert.deepEqual((await other.settle()).map(textOf), ['local x'])
})

test('[MQTT-3.8.4-4] Retain Handling of the new subscription decides what is sent again: 0 always, 1 if it is new, 2 never', async (t) => {
  const publisher = await PacketClient.connect(t, broker().port)
  await publisher.publishAcked({ topic: 'handling/again', payload: 'x', retain: true })
  const client = await PacketClient.connect(t, broker().port)
  const gotAt = async (rh: number): Promise<number> => {
    await client.subscribe([{ topic: 'handling/again', rh }])
    return (await client.settle()).length
  }
  assert.deepEqual([await gotAt(2), await gotAt(1), await gotAt(0), await gotAt(0), await gotAt(2)], [0, 0, 1, 1, 0])
  await client.unsubscribe('handling/again')
  assert.deepEqual([await gotAt(1), await gotAt(1), await gotAt(0)], [1, 0, 1])
  await publisher.publishAcked({ topic: 'handling/again', retain: true })
})

test('[MQTT-3.9.2-2] a SUBACK keeps within the Maximum Packet Size of its receiver', async (t) => {
  const maximumPacketSize = 40
  const client = await PacketClient.connect(t, broker().port, 5, { properties: { maximumPacketSize } })
  client.takeBytes()
  client.write(subscribe(5, 1, ['a/#/b', 0]))
  assert.deepEqual((await client.next('suback')).granted, [0x8f])
  const { length } = client.takeBytes()
  assert.ok(length <= maximumPacketSize, `${length} bytes`)
})

test('a SUBSCRIBE with a property of another packet, a property twice, or an identifier of 0 closes the connection', async (t) => {
  const refused = [
    { what: 'Content Type', list: [0x03, text('a')], code: 0x81 },
    { what: 'Subscription Identifier twice', list: [0x0b, 1, 0x0b, 2], code: 0x82 },
    { what: 'Subscription Identifier 0', list: [0x0b, 0], code: 0x82 },
    { what: 'Subscription Identifier of five bytes', list: [0x0b, 0x80, 0x80, 0x80, 0x80, 0x01], code: 0x81 },
  ]
  for (const { what, list, code } of refused) {
    const client = await PacketClient.connect(t, broker().port)
    client.write(packet(0x82, 0, 1, properties(...list), text('a'), 0))
    await client.closedFor(code).catch((error: unknown) => {
      throw new Error(what, { cause: error })
    })
  }
})
