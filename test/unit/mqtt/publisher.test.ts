import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { LoneBroker } from '../broker/lone-broker.js'
import { publishPacket, until } from '../broker/stream-client.js'

const KEPT = { clean: false, properties: { sessionExpiryInterval: 3_600 } }

describe('a publisher', () => {
  it('keeps its order behind an authorization that takes its time', async (t) => {
    const waiting: (() => void)[] = []
    const lone = new LoneBroker(t, {
      aedes: {
        authorizePublish: (_client, packet, done) =>
          packet.topic === 'slow' ? waiting.push(() => done(null)) : done(null),
      },
    })
    const watcher = await lone.connect({ clientId: 'watcher' })
    await watcher.subscribe('#')
    const client = await lone.connect({ clientId: 'publisher' })
    client.sendTogether(
      publishPacket({ topic: 'slow', payload: '1' }),
      publishPacket({ topic: 'fast', payload: '2' }),
      publishPacket({ topic: 'slow', payload: '3', qos: 1, messageId: 3 }),
      publishPacket({ topic: 'fast', payload: '4', qos: 2, messageId: 4 }),
      { cmd: 'pingreq' },
    )
    for (let asked = 0; asked < 2; asked += 1) {
      await until(() => waiting.length > 0, 'asked')
      assert.deepEqual(client.received, [])
      waiting.shift()?.()
    }
    assert.deepEqual(await watcher.settle(), [
      'publish 0 slow 1',
      'publish 0 fast 2',
      'publish 0 slow 3',
      'publish 0 fast 4',
    ])
    await until(() => client.received.length === 3, 'answers')
    assert.deepEqual(
      client.received.map(({ cmd }) => cmd),
      ['puback', 'pubrec', 'pingresp'],
    )
  })

  it('of MQTT 5 may not have more unacknowledged than it was told [MQTT-3.3.4-7]', async (t) => {
    const lone = new LoneBroker(t, { mqtt: { receiveMaximum: 3 } })
    const client = await lone.connect()
    for (const messageId of [1, 2, 3]) client.publish({ topic: 'a', qos: 2, messageId })
    client.publish({ topic: 'a', qos: 2, messageId: 2, dup: true })
    assert.deepEqual(await client.settle(), ['pubrec 1', 'pubrec 2', 'pubrec 3', 'pubrec 2'])
    client.send({ cmd: 'pubrel', messageId: 1 })
    client.publish({ topic: 'a', qos: 1, messageId: 9 })
    assert.deepEqual(await client.settle(), ['pubcomp 1', 'puback 9'])
    client.publish({ topic: 'a', qos: 2, messageId: 4 })
    client.publish({ topic: 'a', qos: 1, messageId: 5 })
    assert.deepEqual(await client.ended(), ['pubrec 4', 'disconnect 147'])
    assert.deepEqual(lone.closeReasons, { receive_maximum_exceeded: 1 })
  })

  it('of MQTT 5 does not get around it by releasing what is not acknowledged yet', async (t) => {
    const lone = new LoneBroker(t, { mqtt: { receiveMaximum: 3 } })
    lone.routes.add('n2@test', 'a')
    const client = await lone.connect()
    for (let round = 0; round < 4; round += 1) {
      client.publish({ topic: 'a', qos: 2, messageId: 1 })
      client.send({ cmd: 'pubrel', messageId: 1 })
    }
    assert.equal((await client.ended()).at(-1), 'disconnect 147')
    assert.equal(lone.forwarder.forwarded.length, 3)
  })

  it('before MQTT 5 may send any number of QoS 2 messages before it releases the first', async (t) => {
    const lone = new LoneBroker(t, { mqtt: { receiveMaximum: 3 } })
    const client = await lone.connect({}, 4)
    for (let messageId = 1; messageId <= 2_000; messageId += 1) client.publish({ topic: 'a', qos: 2, messageId })
    await until(() => client.received.length === 2_000, 'all are answered')
    assert.deepEqual(lone.closeReasons, {})
  })

  it('before MQTT 5 is read no further at that number, and goes on when it is answered', async (t) => {
    const lone = new LoneBroker(t, { mqtt: { receiveMaximum: 3 } })
    lone.routes.add('n2@test', 'a')
    const client = await lone.connect({}, 4)
    for (let messageId = 1; messageId <= 10; messageId += 1) client.publish({ topic: 'a', qos: 1, messageId })
    await until(() => lone.forwarder.forwarded.length === 3, 'three on their way')
    for (let released = 0; released < 10; released += 1) {
      await until(() => lone.forwarder.forwarded.length > released, 'the next one')
      assert.ok(lone.forwarder.forwarded.length <= released + 3)
      lone.forwarder.forwarded[released]?.pending?.release()
    }
    await until(() => client.received.length === 10, 'ten answers')
    assert.deepEqual(
      client.received.map((packet) => packet.messageId),
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    )
  })

  it('is answered for a repeated QoS 2 message when the first one is kept, also on a new connection', async (t) => {
    const lone = new LoneBroker(t)
    lone.routes.add('n2@test', 'a')
    const first = await lone.connect(KEPT)
    const packet = { topic: 'a', payload: 'x', qos: 2, messageId: 7 } as const
    first.publish(packet)
    first.publish({ ...packet, dup: true })
    assert.deepEqual(await first.settle(), [])
    first.drop()
    await until(() => lone.connections[0]?.state === 'closed', 'closed')
    const second = await lone.connect(KEPT)
    second.publish({ ...packet, dup: true })
    assert.deepEqual(await second.settle(), [])
    assert.equal(lone.forwarder.forwarded.length, 1, '[MQTT-4.3.3-10]')
    lone.forwarder.forwarded[0]?.pending?.release()
    assert.deepEqual(await second.settle(), ['pubrec 7'])
    second.send({ cmd: 'pubrel', messageId: 7 })
    assert.deepEqual(await second.settle(), ['pubcomp 7'])
    second.publish(packet)
    await second.settle()
    assert.equal(lone.forwarder.forwarded.length, 2, 'a released id is a new message')
  })

  it('may send a QoS 2 message again whose authorization had no answer when its connection broke', async (t) => {
    const asked: (() => void)[] = []
    const lone = new LoneBroker(t, {
      aedes: { authorizePublish: (_client, _packet, done) => void asked.push(() => done(null)) },
    })
    const watcher = await lone.connect({ clientId: 'watcher' })
    await watcher.subscribe('a')
    const first = await lone.connect(KEPT)
    first.publish({ topic: 'a', payload: 'x', qos: 2, messageId: 7 })
    await until(() => asked.length === 1, 'asked')
    first.drop()
    await until(() => lone.connections[1]?.state === 'closed', 'closed')
    asked[0]?.()
    const second = await lone.connect(KEPT)
    second.publish({ topic: 'a', payload: 'x', qos: 2, messageId: 7, dup: true })
    await until(() => asked.length === 2, 'asked again')
    asked[1]?.()
    assert.deepEqual(await second.settle(), ['pubrec 7'])
    assert.deepEqual(await watcher.settle(), ['publish 0 a x'])
  })

  it('before MQTT 5 that was refused a QoS 2 message is not taken to have sent it', async (t) => {
    let isAllowed = false
    const lone = new LoneBroker(t, {
      aedes: { authorizePublish: (_client, _packet, done) => done(isAllowed ? null : new Error('no')) },
    })
    const first = await lone.connect({ clean: false }, 4)
    first.publish({ topic: 'a', qos: 2, messageId: 7 })
    assert.deepEqual(await first.ended(), [])
    isAllowed = true
    const second = await lone.connect({ clean: false }, 4)
    second.publish({ topic: 'a', qos: 2, messageId: 7, dup: true })
    assert.deepEqual(await second.settle(), ['pubrec 7'])
  })

  it('is told of a refusal in MQTT 5, and its id is free at once', async (t) => {
    const lone = new LoneBroker(t, {
      aedes: { authorizePublish: (_client, packet, done) => done(packet.topic === 'no' ? new Error('no') : null) },
    })
    const client = await lone.connect()
    for (const qos of [0, 1, 2] as const) client.publish({ topic: 'no', qos, messageId: 7 })
    client.publish({ topic: 'yes', qos: 2, messageId: 7 })
    await until(() => client.received.length === 3, 'answers')
    assert.deepEqual(
      client.received.map((packet) => [packet.cmd, (packet as { reasonCode?: number }).reasonCode]),
      [
        ['puback', 0x87],
        ['pubrec', 0x87],
        ['pubrec', 0x10],
      ],
    )
    assert.equal(lone.metrics.mqtt.publishesRefused.not_authorized.value, 3)
  })
})
