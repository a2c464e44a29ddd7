import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Replica } from '../../../src/broker/ports.js'
import { Message } from '../../../src/mqtt/wire/message.js'
import { CountingHold } from '../mqtt/session/recording-outlet.js'
import { LoneBroker } from './lone-broker.js'
import { until } from './stream-client.js'

describe('a broker', () => {
  it('refuses connections beyond its limit, and takes new ones when others have gone', async (t) => {
    const lone = new LoneBroker(t, { mqtt: { maximumConnections: 2 } })
    const first = await lone.connect({ clientId: 'a' })
    await lone.connect({ clientId: 'b' })
    const third = lone.open()
    assert.deepEqual(await third.ended(), [])
    first.drop()
    await until(() => lone.broker.connectionCount === 1, 'one has gone')
    await lone.connect({ clientId: 'c' })
    assert.deepEqual(lone.closeReasons, { connection_limit: 1, client_closed: 1 })
  })

  it('refuses clients that would begin one session too many, and takes those that come back', async (t) => {
    const lone = new LoneBroker(t, { mqtt: { maximumSessions: 1 } })
    const kept = { clientId: 'a', clean: false, properties: { sessionExpiryInterval: 60 } }
    const first = await lone.connect(kept)
    first.drop()
    await until(() => lone.broker.connectionCount === 0, 'it has gone')
    const other = lone.open()
    other.sendConnect({ clientId: 'b' })
    assert.equal((await other.next('connack')).reasonCode, 0x97)
    await lone.connect(kept)
  })

  it('does not publish to what is no topic name, whoever asks for it', async (t) => {
    const lone = new LoneBroker(t)
    const client = await lone.connect()
    await client.subscribe('#')
    const errors: (Error | undefined)[] = []
    for (const topic of ['', 'a/#', 'a/+', 'x'.repeat(65_536)]) {
      lone.broker.publish({ topic, payload: 'x' }, (error) => errors.push(error))
    }
    await until(() => errors.length === 4, 'all are answered')
    assert.ok(errors.every((error) => error instanceof Error))
    lone.broker.authorizePublish = (_client, packet, done) => {
      packet.topic = 'a/#'
      done(null)
    }
    client.publish({ topic: 'a', qos: 1, messageId: 1 })
    assert.equal((await client.next('puback')).reasonCode, 0x90)
    assert.deepEqual(await client.settle(), [])
  })

  it('tells MQTT 5 clients that it shuts down, and takes no more', async (t) => {
    const lone = new LoneBroker(t)
    const [five, four, early] = [
      await lone.connect({ clientId: 'a' }),
      await lone.connect({ clientId: 'b' }, 4),
      lone.open(),
    ]
    lone.broker.close()
    assert.deepEqual(await five.ended(), ['disconnect 139'])
    assert.deepEqual(await four.ended(), [])
    assert.deepEqual(await early.ended(), [])
    assert.deepEqual(await lone.open().ended(), [])
    assert.deepEqual(lone.closeReasons, { server_shutdown: 4 })
    assert.equal(lone.broker.connectionCount, 0)
  })

  it('answers a publisher when every peer has the message, not before', async (t) => {
    const lone = new LoneBroker(t)
    lone.routes.add('n2@test', 'a')
    lone.routes.add('n3@test', 'a')
    const client = await lone.connect()
    client.publish({ topic: 'a', qos: 1, messageId: 1 })
    client.publish({ topic: 'b', qos: 1, messageId: 2 })
    assert.deepEqual(await client.settle(), [])
    const pending = lone.forwarder.forwarded[0]?.pending
    pending?.release()
    assert.deepEqual(await client.settle(), [])
    pending?.release()
    assert.deepEqual(await client.settle(), ['puback 1', 'puback 2'], 'in the order of their PUBLISH')
  })

  it('answers a publisher when the function that got its message is done', async (t) => {
    const lone = new LoneBroker(t)
    let finish: (() => void) | undefined
    lone.broker.subscribe(
      'a',
      (_packet, done) => (finish = done),
      () => {},
    )
    const client = await lone.connect()
    client.publish({ topic: 'a', qos: 1, messageId: 1 })
    assert.deepEqual(await client.settle(), [])
    finish?.()
    finish?.()
    assert.deepEqual(await client.settle(), ['puback 1'])
  })

  it('hears a hook once, however often it calls back', async (t) => {
    const lone = new LoneBroker(t)
    const calls: (() => void)[] = []
    lone.broker.authorizePublish = (_client, _packet, done) => calls.push(() => done(null))
    const client = await lone.connect()
    client.publish({ topic: 'a', qos: 1, messageId: 1 })
    client.publish({ topic: 'b', qos: 1, messageId: 2 })
    await until(() => calls.length === 1, 'the first is asked about')
    calls[0]?.()
    calls[0]?.()
    await until(() => calls.length === 2, 'the second is asked about after it')
    assert.equal((await client.next('puback')).messageId, 1)
    calls[0]?.()
    const before = client.received.length
    for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate)
    assert.equal(client.received.length, before, 'the second still waits for its own answer')
    calls[1]?.()
    assert.equal((await client.next('puback')).messageId, 2)
  })

  it('tells an MQTT 5 publisher that nobody wanted its message', async (t) => {
    const lone = new LoneBroker(t)
    const client = await lone.connect()
    client.publish({ topic: 'a', qos: 1, messageId: 1 })
    const puback = await client.next('puback')
    assert.equal(puback.reasonCode, 0x10)
  })

  it('delivers what a peer forwarded, holds the peer back like a publisher, and sends it to no other', async (t) => {
    const lone = new LoneBroker(t, { mqtt: { queueLength: 4, queueHoldTime: 5_000 } })
    lone.routes.add('n3@test', 'a')
    const client = await lone.connect({ clean: false, properties: { sessionExpiryInterval: 60 } })
    await client.subscribe('a', 1)
    client.drop()
    await until(() => lone.broker.connectionCount === 0, 'away')
    const holds = Array.from({ length: 4 }, () => new CountingHold())
    for (const hold of holds) {
      lone.broker.deliverForwarded(Message.from('a', Buffer.from('x'), { qos: 1 }), 'n2@test', hold, undefined)
    }
    assert.deepEqual(
      holds.map((hold) => hold.holds),
      [1, 1, 2, 2],
    )
    assert.equal(lone.forwarder.forwarded.length, 0)
    const back = await lone.connect({ clean: false, properties: { sessionExpiryInterval: 60 } })
    assert.equal((await back.settle()).length, 4)
    assert.deepEqual(
      holds.map((hold) => hold.holds),
      [1, 1, 1, 1],
    )
  })

  it('calls a program back after its call to publish, never within, when the message is kept', async (t) => {
    const lone = new LoneBroker(t)
    lone.routes.add('n2@test', 'a')
    let calledBack = 0
    lone.broker.publish({ topic: 'a', qos: 1 }, () => (calledBack += 1))
    lone.broker.publish({ topic: 'a', qos: 0 }, () => (calledBack += 1))
    assert.equal(calledBack, 0)
    await until(() => calledBack === 1, 'QoS 0 waits for nobody')
    lone.forwarder.forwarded[0]?.pending?.release()
    assert.equal(calledBack, 1)
    await until(() => calledBack === 2, 'kept')
  })

  it('shares its retained messages with the peers, and takes theirs', async (t) => {
    const lone = new LoneBroker(t)
    const replica = new Map<string, Buffer | undefined>()
    const copies: Replica = {
      set: (key, value) => replica.set(key, value && Buffer.from(value)) === replica,
      get: (key) => replica.get(key),
      expire: (key) => void replica.delete(key),
    }
    lone.broker.replicateRetainedThrough(copies)
    lone.broker.publish({ topic: 'a', payload: 'kept', retain: true })
    const peer = new LoneBroker(t)
    peer.broker.replicateRetainedThrough(copies)
    peer.broker.applyRetained('a', replica.get('a'))
    const client = await peer.connect()
    await client.subscribe('a')
    assert.deepEqual(await client.settle(), ['publish 0 retain a kept'])
  })

  it('sends a session what authorizeForward makes of it, set at any time', async (t) => {
    const lone = new LoneBroker(t)
    const client = await lone.connect()
    await client.subscribe('a')
    lone.broker.publish({ topic: 'a', payload: '1' })
    const { authorizeForward } = lone.broker
    lone.broker.authorizeForward = () => null
    lone.broker.publish({ topic: 'a', payload: '2' })
    lone.broker.authorizeForward = authorizeForward
    lone.broker.publish({ topic: 'a', payload: '3' })
    assert.deepEqual(await client.settle(), ['publish 0 a 1', 'publish 0 a 3'])
  })

  it('does not stall a client whose listeners throw', async (t) => {
    const lone = new LoneBroker(t)
    lone.broker.subscribe(
      'a',
      () => {
        throw new Error('listener')
      },
      () => {},
    )
    const client = await lone.connect()
    client.publish({ topic: 'a', qos: 1, messageId: 1 })
    assert.deepEqual(await client.ended(), ['disconnect 131'])
    assert.deepEqual(lone.closeReasons, { internal_error: 1 })
  })
})
