import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import type { Version } from '../support/client.js'
import { PacketClient, textOf } from '../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]

for (const version of VERSIONS) {
  const v = `(version ${version})`

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
