/** The delivery protocols of the three QoS, and what is sent again. [MQTT 5.0 sections 4.3 to 4.5] */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { IPublishPacket, Packet } from 'mqtt-packet'
import { useBroker } from '../../support/broker.js'
import { cite } from '../../support/cite.js'
import type { Version } from '../../support/client.js'
import { eventually } from '../../support/eventually.js'
import { type ConnectFields, messageIdOf, PacketClient, textOf, uniqueClientId } from '../../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]

/** A session that outlives its connection. */
function kept(version: Version, clientId: string): ConnectFields {
  return { clientId, clean: false, ...(version === 5 ? { properties: { sessionExpiryInterval: 60 } } : {}) }
}

/** What was sent again, with what tells it from a first sending. */
function resent(arrived: readonly Packet[]): string[] {
  return arrived.map((one) =>
    one.cmd === 'publish'
      ? `${textOf(one)} dup ${one.dup} id ${one.messageId}`
      : `${one.cmd} id ${(one as { messageId?: number }).messageId}`,
  )
}

/** Lets more time go by than any message below has: a session that lives that long ends. */
async function twoSecondsLater(t: TestContext): Promise<void> {
  const topic = `clock/${uniqueClientId()}`
  const clock = await PacketClient.connect(t, broker().port, 5, {
    clean: false,
    properties: { sessionExpiryInterval: 2 },
  })
  await clock.subscribe(topic, 1)
  await clock.disconnect()
  const publisher = await PacketClient.connect(t, broker().port)
  await eventually(async () => assert.equal(await publisher.publishAcked({ topic }), 0x10))
}

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
    await end(third)
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
    await end(fourth)
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
    await end(second)
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

  // ── sent again ───────────────────────────────────────────────────────────────────────────────────────────────

  test(`${cite(version, { 5: '4.4.0-1', 4: '4.4.0-1' })} what was in flight is sent again when the session resumes, with DUP, its packet ids and its order, then what came meanwhile ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const first = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    await first.subscribe('resume/+', 2)
    const publisher = await PacketClient.connect(t, broker().port, version)
    for (const [topic, payload, qos] of [
      ['resume/a', '1', 1],
      ['resume/b', '2', 2],
      ['resume/c', '3', 2],
      ['resume/d', '4', 1],
      ['resume/e', '5', 2],
    ] as const)
      await publisher.publishAcked({ topic, payload, qos })
    const [one, two, three, four, five] = await first.nextMany('publish', 5)
    assert.ok(one && two && three && four && five)
    first.acknowledge(four)
    first.send({ cmd: 'pubrec', ...messageIdOf(five) })
    first.send({ cmd: 'pubrec', ...messageIdOf(three) })
    await first.nextMany('pubrel', 2)
    first.drop()
    await publisher.publishAcked({ topic: 'resume/f', payload: '6', qos: 1 })

    const second = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    const arrived = await second.settle()
    const last = arrived.at(-1)
    assert.ok(last?.cmd === 'publish')
    assert.deepEqual(resent(arrived), [
      `resume/a 1 dup true id ${one.messageId}`,
      `resume/b 2 dup true id ${two.messageId}`,
      `pubrel id ${five.messageId}`,
      `pubrel id ${three.messageId}`,
      `resume/f 6 dup false id ${last.messageId}`,
    ])
    const ids = [one, two, three, five].map(({ messageId }) => messageId)
    assert.ok(!ids.includes(last.messageId), 'with an id that is free')
    await end(second)
  })

  test(`${cite(version, { 5: '4.4.0-1', 4: '4.4.0-1' })} on a connection that lasts nothing is sent again, and in a new session neither ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const publisher = await PacketClient.connect(t, broker().port, version)
    const first = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    await first.subscribe('patience/+', 2)
    await publisher.publishAcked({ topic: 'patience/1', payload: 'x', qos: 1 })
    await publisher.publishAcked({ topic: 'patience/2', payload: 'x', qos: 2 })
    await publisher.publishAcked({ topic: 'patience/3', payload: 'x', qos: 2 })
    const [, , third] = await first.nextMany('publish', 3)
    assert.ok(third !== undefined)
    first.send({ cmd: 'pubrec', ...messageIdOf(third) })
    await first.next('pubrel')
    await twoSecondsLater(t)
    await first.expectNothing()
    first.drop()
    const anew = await PacketClient.connect(t, broker().port, version, { clientId })
    assert.equal(anew.connack?.sessionPresent, false)
    await anew.expectNothing()
  })

  test(`what is sent again is acknowledged as what was sent first, also across several connections ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const publisher = await PacketClient.connect(t, broker().port, version)
    let client = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    await client.subscribe('flaky', 2)
    const count = 12
    for (let number = 1; number <= count; number += 1) {
      await publisher.publishAcked({ topic: 'flaky', payload: `${number}`, qos: number % 2 === 0 ? 2 : 1 })
    }
    const done: string[] = []
    for (let left = count; left > 0; left -= 2) {
      const messages: IPublishPacket[] = await client.nextMany('publish', left)
      const [odd, even] = messages
      assert.ok(odd !== undefined && even !== undefined)
      assert.deepEqual(
        messages.map(({ dup }) => dup),
        messages.map(() => left < count),
      )
      client.acknowledge(odd)
      client.send({ cmd: 'pubrec', ...messageIdOf(even) })
      assert.equal((await client.next('pubrel')).messageId, even.messageId)
      client.send({ cmd: 'pubcomp', ...messageIdOf(even) })
      await client.expectNothing()
      done.push(odd.payload.toString(), even.payload.toString())
      client.drop()
      client = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
    }
    await client.expectNothing()
    assert.deepEqual(
      done,
      Array.from({ length: count }, (_, index) => `${index + 1}`),
    )
    await end(client)
  })

  // ── sessions that are away ───────────────────────────────────────────────────────────────────────────────────

  test(`${cite(version, { 5: '4.5.0-1', 4: '4.5.0-1' })} a message that was taken waits in the session of each client that subscribes, in order, QoS 0 left out ${v}`, async (t) => {
    const clientIds = [uniqueClientId(), uniqueClientId()]
    for (const clientId of clientIds) {
      const away = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
      await away.subscribe('away/+', 2)
      await away.disconnect()
    }
    const publisher = await PacketClient.connect(t, broker().port, version)
    const expected: string[] = []
    for (let number = 1; number <= 60; number += 1) {
      const qos = number % 3
      await publisher.publishAcked({ topic: 'away/x', payload: `${number}`, qos: qos as 0 | 1 | 2 })
      if (qos > 0) expected.push(`away/x ${number} at ${qos}`)
    }
    for (const clientId of clientIds) {
      const back = await PacketClient.connect(t, broker().port, version, kept(version, clientId))
      assert.equal(back.connack?.sessionPresent, true)
      const got = await back.receive(expected.length)
      assert.deepEqual(
        got.map((message) => `${textOf(message)} at ${message.qos}`),
        expected,
      )
      assert.ok(
        got.every(({ dup }) => !dup),
        'sent for the first time',
      )
      await end(back)
    }
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
  await twoSecondsLater(t)
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
  await end(second)
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

test('[MQTT-4.4.0-2] a PUBACK or PUBREC with a failure ends the exchange: nothing is sent again, and the id is free', async (t) => {
  const clientId = uniqueClientId()
  const publisher = await PacketClient.connect(t, broker().port)
  const first = await PacketClient.connect(t, broker().port, 5, kept(5, clientId))
  await first.subscribe('declined/+', 2)
  await publisher.publishAcked({ topic: 'declined/1', payload: 'x', qos: 1 })
  await publisher.publishAcked({ topic: 'declined/2', payload: 'x', qos: 2 })
  const [one, two] = await first.nextMany('publish', 2)
  assert.ok(one !== undefined && two !== undefined)
  first.send({ cmd: 'puback', ...messageIdOf(one), reasonCode: 0x83 })
  first.send({ cmd: 'pubrec', ...messageIdOf(two), reasonCode: 0x97 })
  await first.expectNothing()
  // Said again it is an id that is not in flight: a failure is not answered.
  first.send({ cmd: 'pubrec', ...messageIdOf(two), reasonCode: 0x97 })
  await first.expectNothing()
  first.send({ cmd: 'pubrec', ...messageIdOf(two) })
  assert.equal((await first.next('pubrel')).reasonCode, 0x92)
  first.drop()
  const second = await PacketClient.connect(t, broker().port, 5, kept(5, clientId))
  await second.expectNothing()
  await end(second)
})

/** Leaves no session behind. */
async function end(client: PacketClient): Promise<void> {
  if (client.version === 5) await client.disconnect({ properties: { sessionExpiryInterval: 0 } })
  else await client.disconnect()
}
