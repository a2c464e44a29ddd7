import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
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
})
