import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import type { Version } from '../support/client.js'
import { PacketClient, textOf } from '../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]

/** Each is refused as a filter, by either version. */
const INVALID_FILTERS = ['a/#/b', 'a#', '#a', 'a/b#', 'a+', '+a', 'a/+b/c', 'a/b+']

/** Filter, topics it matches, topics it does not. [MQTT 5.0 section 4.7] */
const MATCHES: readonly (readonly [filter: string, yes: readonly string[], no: readonly string[]])[] = [
  [
    'sport/tennis/player1/#',
    ['sport/tennis/player1', 'sport/tennis/player1/ranking', 'sport/tennis/player1/score/x'],
    ['sport/tennis'],
  ],
  ['sport/#', ['sport', 'sport/', 'sport/a'], ['sports', '/sport']],
  ['#', ['a', '/', 'a/b/c', ' '], ['$a', '$a/b']],
  ['sport/+', ['sport/', 'sport/a'], ['sport', 'sport/a/b']],
  ['+/+', ['/finance', 'a/b', '/'], ['a', 'a/b/c', '$a/b']],
  ['/+', ['/finance', '/'], ['finance', 'a/b']],
  ['+', ['finance', 'ö'], ['/finance', '$a']],
  ['+/a/#', ['/a', 'x/a/b/c'], ['a', 'x/b/a']],
  ['$a/#', ['$a', '$a/b'], ['a', 'b/$a']],
  ['a b/ö', ['a b/ö'], ['a b/o\u0308', 'A b/ö']],
]

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`[MQTT-3.8.4-6] SUBACK carries a code for each filter, in their order ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    assert.deepEqual(
      await client.subscribe([
        { topic: 'a', qos: 2 },
        { topic: 'b/#', qos: 0 },
        { topic: '+/c', qos: 1 },
      ]),
      [2, 0, 1],
    )
  })

  test(`[MQTT-4.7.1-1] an invalid filter is refused in SUBACK, and the filters beside it are not ${v}`, async (t) => {
    for (const filter of INVALID_FILTERS) {
      const client = await PacketClient.connect(t, broker().port, version)
      // By hand: mqtt-packet would not make it.
      const filters = Buffer.concat(
        [filter, 'valid'].map((one) => Buffer.from([0, one.length, ...Buffer.from(one), 0])),
      )
      const body = Buffer.concat([Buffer.from(version === 5 ? [0, 1, 0] : [0, 1]), filters])
      client.write(Buffer.concat([Buffer.from([0x82, body.length]), body]))
      assert.deepEqual((await client.next('suback')).granted, [version === 5 ? 0x8f : 0x80, 0], filter)
      await client.expectNothing()
    }
  })

  test(`[MQTT-3.8.3-2] a SUBSCRIBE without a filter closes the connection, an UNSUBSCRIBE too [MQTT-3.10.3-2] ${v}`, async (t) => {
    for (const type of [0x82, 0xa2]) {
      const client = await PacketClient.connect(t, broker().port, version)
      client.write(Buffer.from(version === 5 ? [type, 3, 0, 1, 0] : [type, 2, 0, 1]))
      await client.closedFor(0x82)
    }
  })

  test(`[MQTT-3.8.1-1] wrong flags in the fixed header of SUBSCRIBE, UNSUBSCRIBE or PUBREL close the connection ${v}`, async (t) => {
    for (const type of [0x80, 0xa0, 0x60]) {
      const client = await PacketClient.connect(t, broker().port, version)
      const properties = version === 5 ? [0] : []
      const body =
        type === 0x60
          ? [0, 1]
          : type === 0x80
            ? [0, 1, ...properties, 0, 1, 0x61, 0]
            : [0, 1, ...properties, 0, 1, 0x61]
      client.write(Buffer.from([type, body.length, ...body]))
      await client.closedFor(0x81)
    }
  })

  test(`[MQTT-3.8.3-5] reserved bits and QoS 3 in the subscription options close the connection ${v}`, async (t) => {
    for (const options of [0x03, 0x40, 0x80, ...(version === 5 ? [0x30] : [0x04])]) {
      const client = await PacketClient.connect(t, broker().port, version)
      const body = [0, 1, ...(version === 5 ? [0] : []), 0, 1, 0x61, options]
      client.write(Buffer.from([0x82, body.length, ...body]))
      const before = await client.closed()
      if (version === 4) assert.deepEqual(before, [])
      else {
        assert.equal(before[0]?.cmd, 'disconnect', `options ${options}`)
        assert.ok([0x81, 0x82].includes((before[0] as { reasonCode?: number }).reasonCode ?? 0), `options ${options}`)
      }
    }
  })

  test(`topic filters match as the specification says ${v}`, async (t) => {
    const publisher = await PacketClient.connect(t, broker().port, version)
    for (const [filter, yes, no] of MATCHES) {
      const subscriber = await PacketClient.connect(t, broker().port, version)
      await subscriber.subscribe(filter)
      for (const topic of [...no, ...yes]) await publisher.publishAcked({ topic })
      assert.deepEqual(
        (await subscriber.settle()).map((packet) => (packet.cmd === 'publish' ? packet.topic : packet.cmd)),
        yes,
        filter,
      )
      await subscriber.disconnect()
    }
  })

  test(`[MQTT-3.8.4-3] subscribing to the same filter again replaces the subscription ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    await client.subscribe('replaced', 0)
    assert.deepEqual(await client.subscribe('replaced', 1), [1])
    const publisher = await PacketClient.connect(t, broker().port, version)
    await publisher.publishAcked({ topic: 'replaced', payload: 'x' })
    assert.deepEqual(
      (await client.receive(1)).map((packet) => packet.qos),
      [1],
    )
    await client.unsubscribe('replaced')
    await publisher.publishAcked({ topic: 'replaced', payload: 'y' })
    await client.expectNothing()
  })

  test(`[MQTT-3.10.4-4] UNSUBSCRIBE is answered whether or not there was a subscription ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    await client.subscribe([{ topic: 'there' }, { topic: 'there/#' }])
    const codes = await client.unsubscribe('there', 'never', 'there/#', 'there')
    assert.deepEqual(codes, version === 5 ? [0, 0x11, 0, 0x11] : [])
  })

  test(`[MQTT-3.3.4-2] overlapping subscriptions of one client give one message, at the highest QoS ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    await client.subscribe([
      { topic: 'over/lap', qos: 0 },
      { topic: 'over/+', qos: 2 },
      { topic: 'over/#', qos: 1 },
    ])
    const publisher = await PacketClient.connect(t, broker().port, version)
    await publisher.publishAcked({ topic: 'over/lap', payload: 'x', qos: 2 })
    assert.deepEqual(
      (await client.receive(1)).map((packet) => `${textOf(packet)} at ${packet.qos}`),
      ['over/lap x at 2'],
    )
    await client.expectNothing()
  })

  test(`a subscriber hears its own messages ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    await client.subscribe('echo')
    client.publish({ topic: 'echo', payload: 'x' })
    assert.deepEqual((await client.settle()).map(textOf), ['echo x'])
  })
}

test('[MQTT-3.8.3-4] No Local keeps a message from its own publisher, and from nobody else', async (t) => {
  const client = await PacketClient.connect(t, broker().port)
  const other = await PacketClient.connect(t, broker().port)
  for (const one of [client, other]) await one.subscribe([{ topic: 'local', nl: true }])
  await client.publishAcked({ topic: 'local', payload: 'x' })
  await client.expectNothing()
  assert.deepEqual((await other.settle()).map(textOf), ['local x'])
})

test('[MQTT-3.3.4-4] a message carries the identifiers of all subscriptions that it matched', async (t) => {
  const client = await PacketClient.connect(t, broker().port)
  await client.subscribe('id/+', 0, { subscriptionIdentifier: 3 })
  await client.subscribe('id/#', 0, { subscriptionIdentifier: 268_435_455 })
  await client.subscribe('id/x', 0)
  const publisher = await PacketClient.connect(t, broker().port)
  const identifiers = async (topic: string): Promise<number[]> => {
    await publisher.publishAcked({ topic })
    return (await client.settle())
      .flatMap((packet) => (packet.cmd === 'publish' ? [packet.properties?.subscriptionIdentifier ?? []] : []))
      .flat()
      .sort((a, b) => a - b)
  }
  assert.deepEqual(await identifiers('id/x'), [3, 268_435_455])
  assert.deepEqual(await identifiers('id/x/y'), [268_435_455])
  await client.subscribe('id/#', 0, { subscriptionIdentifier: 5 })
  assert.deepEqual(await identifiers('id/x/y'), [5], 'replaced with its subscription')
  await client.subscribe('id/#', 0)
  assert.deepEqual(await identifiers('id/x/y'), [], 'and gone when the replacement has none')
})

test('a Subscription Identifier of 0, or in a PUBLISH [MQTT-3.3.4-6], closes the connection', async (t) => {
  const subscriber = await PacketClient.connect(t, broker().port)
  subscriber.write(Buffer.from([0x82, 9, 0, 1, 2, 0x0b, 0, 0, 1, 0x61, 0]))
  await subscriber.closedFor(0x82)
  const publisher = await PacketClient.connect(t, broker().port)
  publisher.publish({ topic: 'a', properties: { subscriptionIdentifier: 1 } })
  await publisher.closedFor(0x82)
})
