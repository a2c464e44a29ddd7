/** What a session is, and how long it is kept. [MQTT 5.0 section 4.1] */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Packet } from 'mqtt-packet'
import { useBroker } from '../../support/broker.js'
import { cite } from '../../support/cite.js'
import type { Version } from '../../support/client.js'
import { eventually } from '../../support/eventually.js'
import { kept, resent, twoSecondsLater } from '../../support/kept-session.js'
import { messageIdOf, PacketClient, textOf, uniqueClientId } from '../../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`${cite(version, { 5: '4.1.0-1', 4: '4.1.0-1' })} all of a session is there when its client comes back: subscriptions, messages on their way in both directions, messages that wait ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const publisher = await PacketClient.connect(t, broker().port, version)
    const listener = await PacketClient.connect(t, broker().port, version)
    await listener.subscribe('state/from')
    const first = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    await first.subscribe([
      { topic: 'state/to/+', qos: 2 },
      { topic: 'state/low', qos: 0 },
    ])
    await first.subscribe('state/gone', 1)
    await first.unsubscribe('state/gone')
    first.publish({ topic: 'state/from', payload: 'half', qos: 2, messageId: 40 })
    await first.next('pubrec')
    await publisher.publishAcked({ topic: 'state/to/1', payload: 'sent', qos: 1 })
    await publisher.publishAcked({ topic: 'state/to/2', payload: 'released', qos: 2 })
    const [sent, released] = await first.nextMany('publish', 2)
    assert.ok(sent !== undefined && released !== undefined)
    first.send({ cmd: 'pubrec', ...messageIdOf(released) })
    await first.next('pubrel')
    first.drop()
    await publisher.publishAcked({ topic: 'state/to/3', payload: 'waits', qos: 2 })
    await publisher.publishAcked({ topic: 'state/gone', payload: 'x', qos: 1 })

    const second = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    assert.equal(second.connack?.sessionPresent, true)
    const arrived: Packet[] = []
    while (arrived.length < 3) arrived.push((await second.nextOfAny()) ?? assert.fail('closed'))
    assert.deepEqual(resent(arrived), [
      `state/to/1 sent dup true id ${sent.messageId}`,
      `pubrel id ${released.messageId}`,
      `state/to/3 waits dup false id ${(arrived.at(-1) as { messageId?: number }).messageId}`,
    ])
    second.publish({ topic: 'state/from', payload: 'half', qos: 2, messageId: 40, dup: true })
    await second.next('pubrec')
    assert.deepEqual((await listener.settle()).map(textOf), ['state/from half'])
    await publisher.publishAcked({ topic: 'state/low', payload: 'live', qos: 2 })
    assert.deepEqual(
      (await second.settle()).map((one) => (one.cmd === 'publish' ? `${textOf(one)} at ${one.qos}` : one.cmd)),
      ['state/low live at 0'],
      'the QoS that was granted is part of it',
    )
  })
}

test('[MQTT 3.1.1: MQTT-4.1.0-2] a session that ends with its connection lasts as long as that does', async (t) => {
  const clientId = uniqueClientId()
  const fields = { clientId, clean: true }
  const publisher = await PacketClient.connect(t, broker().port, 4)
  const client = await PacketClient.connect(t, broker().port, 4, fields)
  await client.subscribe('lasting', 1)
  await twoSecondsLater(t, broker().port)
  await publisher.publishAcked({ topic: 'lasting', payload: 'x' })
  assert.deepEqual((await client.receive(1)).map(textOf), ['lasting x'])
  await client.disconnect()
  const next = await PacketClient.connect(t, broker().port, 4, { clientId, clean: false })
  assert.equal(next.connack?.sessionPresent, false)
  await publisher.publishAcked({ topic: 'lasting', payload: 'y' })
  await next.expectNothing()
})

test('[MQTT-4.1.0-1] a session is kept while its connection is open, longer than its expiry interval too', async (t) => {
  const clientId = uniqueClientId()
  const fields = { clientId, clean: false, properties: { sessionExpiryInterval: 1 } }
  const publisher = await PacketClient.connect(t, broker().port)
  const first = await PacketClient.connect(t, broker().port, 5, fields)
  await first.subscribe('open', 1)
  await publisher.publishAcked({ topic: 'open', payload: '1' })
  const { messageId } = messageIdOf(await first.next('publish'))
  await twoSecondsLater(t, broker().port)
  await publisher.publishAcked({ topic: 'open', payload: '2' })
  assert.deepEqual((await first.receive(1)).map(textOf), ['open 2'])
  const second = await PacketClient.connect(t, broker().port, 5, fields)
  assert.equal(second.connack?.sessionPresent, true)
  assert.deepEqual(resent(await second.settle()), [`open 1 dup true id ${messageId}`])
})

test('[MQTT-4.1.0-2] a session ends when its expiry interval has passed since its connection, not before, with all that it had', async (t) => {
  const clientId = uniqueClientId()
  const fields = { clientId, clean: false, properties: { sessionExpiryInterval: 1 } }
  const first = await PacketClient.connect(t, broker().port, 5, fields)
  await first.subscribe('expires', 1)
  first.publish({ topic: 'somewhere', qos: 2, messageId: 6 })
  await first.next('pubrec')
  const publisher = await PacketClient.connect(t, broker().port)
  const started = performance.now()
  await first.disconnect()
  await publisher.publishAcked({ topic: 'expires', payload: 'lost with it' })
  // 0x10: nobody subscribes any more.
  await eventually(async () => assert.equal(await publisher.publishAcked({ topic: 'expires' }), 0x10))
  assert.ok(performance.now() - started >= 950, 'not before')
  const second = await PacketClient.connect(t, broker().port, 5, fields)
  assert.equal(second.connack?.sessionPresent, false)
  second.send({ cmd: 'pubrel', messageId: 6 })
  assert.equal((await second.next('pubcomp')).reasonCode, 0x92)
  await second.expectNothing()
})

test('[MQTT-4.1.0-2] a session without an expiry interval ends with its connection, however that ends', async (t) => {
  for (const isDropped of [false, true]) {
    const clientId = uniqueClientId()
    const publisher = await PacketClient.connect(t, broker().port)
    const first = await PacketClient.connect(t, broker().port, 5, { clientId, clean: false })
    await first.subscribe('short', 1)
    if (isDropped) first.drop()
    else await first.disconnect()
    await eventually(async () => assert.equal(await publisher.publishAcked({ topic: 'short' }), 0x10))
    const second = await PacketClient.connect(t, broker().port, 5, { clientId, clean: false })
    assert.equal(second.connack?.sessionPresent, false)
  }
})
