import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MemoryStore } from '../../support/memory-store.js'
import { LoneBroker } from './lone-broker.js'

describe('a message of a shared subscription that moves to another member', () => {
  it('says what is left of its expiry interval, and does not move when that is over [MQTT-3.3.2-5] [MQTT-3.3.2-6]', async (t) => {
    const lone = new LoneBroker(t)
    const leaver = await lone.connect({ clientId: 'leaver' })
    await leaver.subscribe('$share/g/a', 1)
    const publisher = await lone.connect({ clientId: 'publisher' })
    for (const [messageId, messageExpiryInterval] of [
      [1, 2],
      [2, 100],
    ] as const) {
      publisher.publish({
        topic: 'a',
        payload: `${messageId}`,
        qos: 1,
        messageId,
        properties: { messageExpiryInterval },
      })
      await publisher.next('puback')
      await leaver.next('publish')
    }
    const other = await lone.connect({ clientId: 'other' })
    await other.subscribe('$share/g/a', 1)
    const now = Date.now()
    t.mock.method(Date, 'now', () => now + 40_000)
    leaver.drop()
    const moved = await other.next('publish')
    assert.deepEqual([String(moved.payload), moved.properties?.messageExpiryInterval], ['2', 60])
    assert.deepEqual(await other.settle(), [])
    assert.equal(lone.metrics.session.dropped.expired.value, 1)
    assert.equal(lone.metrics.redispatched.value, 1)
  })

  it('is not one of QoS 2 that its session was given along with, when that has ended here as one that is out of date', async (t) => {
    const lone = new LoneBroker(t)
    const store = new MemoryStore()
    lone.broker.keepSessionsIn(store, { bytes: 1e6, retention: 1e6 })
    await store.load()
    const leaver = await lone.connect({ clientId: 'leaver', properties: { sessionExpiryInterval: 100 } })
    await leaver.subscribe('$share/g/a', 2)
    leaver.drop()
    const publisher = await lone.connect({ clientId: 'publisher' })
    const publish = (payload: string, qos: 1 | 2, messageId: number): void => {
      publisher.publish({ topic: 'a', payload, qos, messageId })
    }
    publish('given', 2, 1)
    publish('given, at least once', 1, 2)
    for (const answer of ['pubrec', 'puback'] as const) await publisher.next(answer)
    const leaving = lone.broker.moves.leave('leaver', 10, undefined)
    assert.equal(leaving?.queueLength, 2)
    for (const place of [0, 1]) leaving?.messageAt(place)
    leaving?.abort()
    publish('came since', 2, 3)
    await publisher.next('pubrec')
    const other = await lone.connect({ clientId: 'other' })
    await other.subscribe('$share/g/a', 1)
    lone.broker.evict('leaver', true, true)
    const [first, second] = [await other.next('publish'), await other.next('publish')]
    assert.deepEqual([String(first.payload), String(second.payload)], ['given, at least once', 'came since'])
    assert.deepEqual(await other.settle(), [])
  })
})
