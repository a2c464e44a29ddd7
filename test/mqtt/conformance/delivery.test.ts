/** The delivery protocols of the three QoS. [MQTT 5.0 section 4.3] */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../../support/broker.js'
import { cite } from '../../support/cite.js'
import type { Version } from '../../support/client.js'
import { kept, resent, twoSecondsLater } from '../../support/kept-session.js'
import { messageIdOf, PacketClient, textOf, uniqueClientId } from '../../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]

for (const version of VERSIONS) {
  const v = `(version ${version})`

  // ── QoS 0 ────────────────────────────────────────────────────────────────────────────────────────────────────

  test(`${cite(version, { 5: '4.3.1-1', 4: '4.3.1-1' })} a QoS 0 message is sent with QoS 0 and DUP 0, once, and waits for no answer ${v}`, async (t) => {
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('zero', 2)
    const publisher = await PacketClient.connect(t, broker().port, version)
    subscriber.takeBytes()
    publisher.publish({ topic: 'zero', payload: 'x' })
    await publisher.expectNothing()
    await subscriber.next('publish')
    assert.equal(subscriber.takeBytes()[0], 0x30)
    await subscriber.expectNothing()
  })

  // ── QoS 1 ────────────────────────────────────────────────────────────────────────────────────────────────────

  test(`${cite(version, { 5: '4.3.2-1 4.3.2-2', 4: '4.3.2-1' })} a QoS 1 message is sent with QoS 1, DUP 0 and a packet id that no other message in flight has ${v}`, async (t) => {
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('unused/+', 2)
    const publisher = await PacketClient.connect(t, broker().port, version)
    const inFlight = new Set<number>()
    for (let round = 0; round < 40; round += 1) {
      await publisher.publishAcked({ topic: 'unused/1', payload: `${round}`, qos: 1 })
      await publisher.publishAcked({ topic: 'unused/2', payload: `${round}`, qos: 2 })
      const messages = await subscriber.nextMany('publish', 2)
      assert.deepEqual(
        messages.map(({ qos, dup }) => [qos, dup]),
        [
          [1, false],
          [2, false],
        ],
      )
      for (const { messageId } of messages.map(messageIdOf)) {
        assert.ok(messageId > 0 && !inFlight.has(messageId), `packet id ${messageId} twice`)
        inFlight.add(messageId)
      }
      // Every other QoS 1 message is let go of; its id may come back.
      const [first] = messages
      if (round % 2 === 0 && first !== undefined) {
        subscriber.acknowledge(first)
        inFlight.delete(messageIdOf(first).messageId)
      }
    }
  })

  test(`${cite(version, { 5: '4.3.2-3', 4: '4.3.2-1' })} a QoS 1 message is unacknowledged until its own PUBACK: no other packet stands for it ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const first = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    await first.subscribe('unacknowledged/1', 1)
    const publisher = await PacketClient.connect(t, broker().port, version)
    await publisher.publishAcked({ topic: 'unacknowledged/1', payload: 'x' })
    const { messageId } = messageIdOf(await first.next('publish'))
    first.send({ cmd: 'puback', messageId: messageId + 1 })
    first.send({ cmd: 'pubcomp', messageId })
    await first.expectNothing()
    first.drop()
    const second = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    assert.deepEqual(resent(await second.settle()), [`unacknowledged/1 x dup true id ${messageId}`])
    second.send({ cmd: 'puback', messageId })
    await second.expectNothing()
    second.drop()
    const third = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    await third.expectNothing()
  })

  test(`${cite(version, { 5: '4.3.2-4', 4: '4.3.2-2' })} a QoS 1 PUBLISH is answered by a PUBACK with its packet id ${v}`, async (t) => {
    const publisher = await PacketClient.connect(t, broker().port, version)
    for (const messageId of [1, 255, 256, 0xffff]) {
      publisher.publish({ topic: 'acknowledged', qos: 1, messageId })
      assert.equal((await publisher.next('puback')).messageId, messageId)
    }
    await publisher.expectNothing()
  })

  test(`${cite(version, { 5: '4.3.2-5', 4: '4.3.2-2' })} a QoS 1 PUBLISH after its PUBACK is a new message, whatever its DUP flag ${v}`, async (t) => {
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('again', 0)
    const publisher = await PacketClient.connect(t, broker().port, version)
    for (const dup of [false, true]) {
      publisher.publish({ topic: 'again', payload: `${dup}`, qos: 1, messageId: 9, dup })
      await publisher.next('puback')
    }
    assert.deepEqual((await subscriber.settle()).map(textOf), ['again false', 'again true'])
  })

  // ── QoS 2, as sender ─────────────────────────────────────────────────────────────────────────────────────────

  test(`${cite(version, { 5: '4.3.3-1 4.3.3-2 4.3.3-4', 4: '4.3.3-1' })} a QoS 2 message is sent with QoS 2 and DUP 0, and its PUBREL has its packet id ${v}`, async (t) => {
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('two', 2)
    const publisher = await PacketClient.connect(t, broker().port, version)
    const ids = new Set<number>()
    for (let number = 1; number <= 20; number += 1) {
      await publisher.publishAcked({ topic: 'two', payload: `${number}`, qos: 2 })
      const message = await subscriber.next('publish')
      assert.deepEqual([message.qos, message.dup], [2, false])
      ids.add(messageIdOf(message).messageId)
    }
    assert.equal(ids.size, 20, 'no id is in use twice')
    for (const messageId of [...ids].reverse()) {
      subscriber.send({ cmd: 'pubrec', messageId })
      assert.equal((await subscriber.next('pubrel')).messageId, messageId)
    }
  })

  test(`${cite(version, { 5: '4.3.3-3 4.3.3-5 4.3.3-6', 4: '4.3.3-1' })} a QoS 2 message is unacknowledged until its PUBREC, then its PUBREL until its PUBCOMP: no other packet stands for them ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const publisher = await PacketClient.connect(t, broker().port, version)
    const first = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    await first.subscribe('unacknowledged/2', 2)
    await publisher.publishAcked({ topic: 'unacknowledged/2', payload: 'x', qos: 2 })
    const { messageId } = messageIdOf(await first.next('publish'))
    first.send({ cmd: 'puback', messageId })
    first.send({ cmd: 'pubcomp', messageId })
    await first.expectNothing()
    first.drop()

    const second = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    assert.deepEqual(resent(await second.settle()), [`unacknowledged/2 x dup true id ${messageId}`])
    second.send({ cmd: 'pubrec', messageId })
    await second.next('pubrel')
    second.send({ cmd: 'puback', messageId })
    await second.expectNothing()
    second.drop()

    const third = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    assert.deepEqual(resent(await third.settle()), [`pubrel id ${messageId}`], 'and the PUBLISH is not sent again')
    third.send({ cmd: 'pubcomp', messageId })
    await third.expectNothing()
    third.drop()
    const fourth = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    await fourth.expectNothing()
  })

  // ── QoS 2, as receiver ───────────────────────────────────────────────────────────────────────────────────────

  test(`${cite(version, { 5: '4.3.3-8 4.3.3-11', 4: '4.3.3-2' })} a QoS 2 PUBLISH is answered by PUBREC, its PUBREL by PUBCOMP, with its packet id ${v}`, async (t) => {
    const publisher = await PacketClient.connect(t, broker().port, version)
    const ids = [0xffff, 1, 256, 255]
    for (const messageId of ids) {
      publisher.publish({ topic: 'received', qos: 2, messageId })
      assert.equal((await publisher.next('pubrec')).messageId, messageId)
    }
    for (const messageId of [...ids].reverse()) {
      publisher.send({ cmd: 'pubrel', messageId })
      assert.equal((await publisher.next('pubcomp')).messageId, messageId)
    }
    await publisher.expectNothing()
  })

  test(`${cite(version, { 5: '4.3.3-10 4.3.3-12', 4: '4.3.3-2' })} a QoS 2 PUBLISH that comes again before its PUBREL is delivered once; after PUBCOMP it is a new message ${v}`, async (t) => {
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('once/only', 0)
    const publisher = await PacketClient.connect(t, broker().port, version)
    const fields = { topic: 'once/only', qos: 2, messageId: 7 } as const
    for (const dup of [false, true, false]) {
      publisher.publish({ ...fields, payload: 'x', dup })
      assert.equal((await publisher.next('pubrec')).messageId, 7, 'each is answered')
    }
    publisher.send({ cmd: 'pubrel', messageId: 7 })
    await publisher.next('pubcomp')
    assert.deepEqual((await subscriber.settle()).map(textOf), ['once/only x'])
    await publisher.publishAcked({ ...fields, payload: 'y' })
    await publisher.publishAcked({ ...fields, payload: 'z', dup: true })
    assert.deepEqual((await subscriber.settle()).map(textOf), ['once/only y', 'once/only z'])
  })

  test(`${cite(version, { 5: '4.3.3-10', 4: '4.3.3-2' })} the receiving half of a QoS 2 flow survives the connection ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('half/open', 0)
    const first = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    for (const messageId of [11, 12]) {
      first.publish({ topic: 'half/open', payload: `${messageId}`, qos: 2, messageId })
      await first.next('pubrec')
    }
    first.drop()
    const second = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    assert.equal(second.connack?.sessionPresent, true)
    second.publish({ topic: 'half/open', payload: '11', qos: 2, messageId: 11, dup: true })
    await second.next('pubrec')
    for (const messageId of [11, 12]) {
      second.send({ cmd: 'pubrel', messageId })
      const pubcomp = await second.next('pubcomp')
      assert.equal(pubcomp.messageId, messageId)
      assert.ok((pubcomp.reasonCode ?? 0) === 0, 'both are known')
    }
    assert.deepEqual((await subscriber.settle()).map(textOf), ['half/open 11', 'half/open 12'])
  })

  test(`${cite(version, { 5: '4.3.3-12' })} a new session knows nothing of the QoS 2 flows of the one before ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('anew', 0)
    const first = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    first.publish({ topic: 'anew', payload: 'x', qos: 2, messageId: 3 })
    await first.next('pubrec')
    first.drop()
    const second = await PacketClient.connect(t, broker().port, version, { clientId })
    second.publish({ topic: 'anew', payload: 'x', qos: 2, messageId: 3 })
    await second.next('pubrec')
    assert.deepEqual((await subscriber.settle()).map(textOf), ['anew x', 'anew x'])
  })
}

test('[MQTT-4.3.3-7] [MQTT-4.3.3-13] a message that was sent does not expire any more, and its QoS 2 flow goes to its end on both sides', async (t) => {
  const clientId = uniqueClientId()
  const publisher = await PacketClient.connect(t, broker().port)
  const first = await PacketClient.connect(t, broker().port, 5, kept(5, clientId))
  await first.subscribe('expires/+', 2)
  const properties = { messageExpiryInterval: 1 }
  for (const topic of ['expires/1', 'expires/2']) {
    publisher.publish({ topic, payload: 'x', qos: 2, properties })
    await publisher.next('pubrec')
  }
  const [one, two] = await first.nextMany('publish', 2)
  assert.ok(one !== undefined && two !== undefined)
  first.send({ cmd: 'pubrec', ...messageIdOf(two) })
  await first.next('pubrel')
  first.drop()
  await twoSecondsLater(t, broker().port)
  for (const messageId of [1, 2]) {
    publisher.send({ cmd: 'pubrel', messageId })
    assert.equal((await publisher.next('pubcomp')).reasonCode ?? 0, 0)
  }
  const second = await PacketClient.connect(t, broker().port, 5, kept(5, clientId))
  assert.deepEqual(resent(await second.settle()), [
    `expires/1 x dup true id ${one.messageId}`,
    `pubrel id ${two.messageId}`,
  ])
  second.send({ cmd: 'pubrec', ...messageIdOf(one) })
  assert.equal((await second.next('pubrel')).reasonCode ?? 0, 0)
  for (const message of [one, two]) second.send({ cmd: 'pubcomp', ...messageIdOf(message) })
  await second.expectNothing()
})

test('[MQTT-4.3.3-9] a PUBLISH after a PUBREC that refused it is a new message', async (t) => {
  const subscriber = await PacketClient.connect(t, broker().port)
  await subscriber.subscribe('after/refusal', 0)
  const publisher = await PacketClient.connect(t, broker().port)
  publisher.publish({ topic: '$SYS/not/for/clients', qos: 2, messageId: 5 })
  assert.equal((await publisher.next('pubrec')).reasonCode, 0x87)
  publisher.publish({ topic: 'after/refusal', payload: 'x', qos: 2, messageId: 5 })
  assert.equal((await publisher.next('pubrec')).reasonCode ?? 0, 0)
  publisher.send({ cmd: 'pubrel', messageId: 5 })
  assert.equal((await publisher.next('pubcomp')).reasonCode ?? 0, 0)
  assert.deepEqual((await subscriber.settle()).map(textOf), ['after/refusal x'])
})
