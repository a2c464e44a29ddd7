/** What waits in a session, and what is sent again when it resumes. [MQTT 5.0 sections 4.4 and 4.5] */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { IPublishPacket } from 'mqtt-packet'
import { useBroker } from '../../support/broker.js'
import { cite } from '../../support/cite.js'
import type { Version } from '../../support/client.js'
import { kept, resent, twoSecondsLater } from '../../support/kept-session.js'
import { messageIdOf, PacketClient, textOf, uniqueClientId } from '../../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`${cite(version, { 5: '4.4.0-1', 4: '4.4.0-1 4.6.0-1 4.6.0-4' })} what was in flight is sent again when the session resumes, with DUP, its packet ids and its order, then what came meanwhile ${v}`, async (t) => {
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
    await twoSecondsLater(t, broker().port)
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
  })

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
    }
  })
}

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
})
