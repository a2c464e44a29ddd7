import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import { assertUnharmed } from '../support/hostile.js'
import { packet, properties, text } from '../support/mqtt-bytes.js'
import { PacketClient, textOf } from '../support/packet-client.js'

/** What every JavaScript object has without being asked. */
const NAMES = [
  ...['__proto__', 'constructor', 'prototype', 'toString', 'valueOf', 'hasOwnProperty', 'isPrototypeOf'],
  ...['__defineGetter__', '__lookupSetter__', 'toLocaleString', 'propertyIsEnumerable'],
]

const USER_PROPERTY = 0x26

const broker = useBroker()

for (const version of [4, 5] as const) {
  const v = `(version ${version})`

  test(`names that objects inherit are client IDs and user names like any other ${v}`, async (t) => {
    for (const name of NAMES) {
      const fields = { clientId: name, username: name, password: Buffer.from(name), clean: false }
      const session = version === 5 ? { ...fields, properties: { sessionExpiryInterval: 60 } } : fields
      const first = await PacketClient.connect(t, broker().port, version, session)
      assert.equal(first.connack?.sessionPresent, false, `${name}: nobody was there before`)
      await first.subscribe('names', 1)
      await first.disconnect()
      const publisher = await PacketClient.connect(t, broker().port, version)
      await publisher.publishAcked({ topic: 'names', payload: name })
      await publisher.disconnect()
      const again = await PacketClient.connect(t, broker().port, version, session)
      assert.equal(again.connack?.sessionPresent, true, name)
      assert.deepEqual((await again.receive(1)).map(textOf), [`names ${name}`])
      await again.disconnect()
      await (await PacketClient.connect(t, broker().port, version, { clientId: name })).disconnect()
    }
    await assertUnharmed(t, broker().node())
  })

  test(`names that objects inherit are topics, levels and filters like any other ${v}`, async (t) => {
    const [subscriber, publisher] = [
      await PacketClient.connect(t, broker().port, version),
      await PacketClient.connect(t, broker().port, version),
    ]
    for (const name of NAMES) {
      publisher.publish({ topic: name, payload: 'nobody asked' })
      publisher.publish({ topic: `a/${name}`, payload: 'kept', retain: true })
    }
    await publisher.settle()
    for (const name of NAMES) {
      await subscriber.subscribe(name, 1)
      await subscriber.subscribe(`${name}/+/${name}`, 1)
      await subscriber.subscribe(`a/${name}`, 0)
      assert.deepEqual((await subscriber.receive(1)).map(textOf), [`a/${name} kept`])
      await publisher.publishAcked({ topic: name, payload: '1' })
      await publisher.publishAcked({ topic: `${name}/x/${name}`, payload: '2' })
      await publisher.publishAcked({ topic: `${name}/x/other`, payload: '3' })
      assert.deepEqual((await subscriber.receive(2)).map(textOf), [`${name} 1`, `${name}/x/${name} 2`])
      await subscriber.unsubscribe(name, `${name}/+/${name}`, `a/${name}`)
      publisher.publish({ topic: `a/${name}`, payload: '', retain: true })
      await publisher.settle()
    }
    await subscriber.expectNothing()
    for (const client of [subscriber, publisher]) await client.disconnect()
    await assertUnharmed(t, broker().node())
  })

  test(`names that objects inherit are groups of shared subscriptions like any other ${v}`, async (t) => {
    const [one, other] = [
      await PacketClient.connect(t, broker().port, version),
      await PacketClient.connect(t, broker().port, version),
    ]
    const publisher = await PacketClient.connect(t, broker().port, version)
    for (const name of NAMES) {
      for (const client of [one, other]) assert.deepEqual(await client.subscribe(`$share/${name}/${name}/#`, 0), [0])
      for (let count = 0; count < 4; count += 1) publisher.publish({ topic: `${name}/x`, payload: `${count}` })
      await publisher.settle()
      const received = [await one.settle(), await other.settle()].flat()
      assert.equal(received.length, 4, name)
      for (const client of [one, other]) await client.unsubscribe(`$share/${name}/${name}/#`)
    }
    for (const client of [one, other, publisher]) await client.disconnect()
    await assertUnharmed(t, broker().node())
  })
}

test('names that objects inherit are user properties like any other', async (t) => {
  const subscriber = await PacketClient.connect(t, broker().port)
  await subscriber.subscribe('properties')
  const publisher = await PacketClient.connect(t, broker().port)
  for (const name of NAMES) {
    publisher.write(packet(0x30, text('properties'), properties(USER_PROPERTY, text(name), text(name))))
    const [message] = await subscriber.receive(1)
    const { userProperties = {} } = message?.properties ?? {}
    // mqtt-packet, which reads it here, keeps them in an object and so cannot hold this one.
    if (name !== '__proto__') assert.equal(Object.getOwnPropertyDescriptor(userProperties, name)?.value, name)
  }
  for (const client of [subscriber, publisher]) await client.disconnect()
  await assertUnharmed(t, broker().node())
})
