import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type { SessionJournal } from '../../../../src/mqtt/session/journal.js'
import type { QueuedMessage } from '../../../../src/mqtt/session/message-queue.js'
import { createSessionMetrics } from '../../../../src/mqtt/session/session-metrics.js'
import { SessionQueue } from '../../../../src/mqtt/session/session-queue.js'
import { Message } from '../../../../src/mqtt/wire/message.js'
import { MetricRegistry } from '../../../../src/telemetry/registry.js'
import { DrivenClock } from '../driven-clock.js'
import { CountingHold } from './recording-outlet.js'

function setUp(context: TestContext, length = 8, journal?: SessionJournal) {
  const metrics = createSessionMetrics(new MetricRegistry())
  const options = { queue: { length, bytes: 1_000_000 }, inFlightBytes: 1_000_000, queueHoldTime: 5_000 }
  const queue = new SessionQueue('me', options, { timers: new DrivenClock(context).timers, metrics }, journal)
  return { queue, metrics }
}

function item(payload: string): QueuedMessage {
  const message = Message.from('t', Buffer.from(payload), { qos: 1, publisherId: 'other' })
  return { message, qos: 1, retain: false, subscriptionIds: undefined, share: undefined, place: 0 }
}

function takeAll(queue: SessionQueue): string[] {
  const taken: string[] = []
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) taken.push(next.message.payload.toString())
  return taken
}

describe('the queue of a session that comes back from the disk', () => {
  it('counts what there is no room for any more', (t) => {
    const journal = {
      ...{ add: () => 1, read: () => undefined, release() {}, withdraw() {} },
      ...{ changed() {}, progressed() {}, subscriptionsChanged() {}, end() {} },
    }
    const { queue, metrics } = setUp(t, 1, journal)
    const restored = Array.from({ length: 100 }, (_, index) => queue.restore(index + 1, 10))
    const missed = restored.filter((isRestored) => !isRestored).length
    assert.deepEqual([queue.length + missed, missed > 0, metrics.dropped.queue_full.value], [100, true, missed])
  })
})

describe('the queue of a session that arrives from another node', () => {
  it('puts what was queued there before what has come here meanwhile', (t) => {
    const { queue } = setUp(t)
    queue.beginArrival()
    queue.push(item('new 1'), undefined)
    queue.addMoved(item('old 1'))
    queue.push(item('new 2'), undefined)
    queue.addMoved(item('old 2'))
    assert.equal(queue.length, 4)
    assert.deepEqual(takeAll(queue), ['old 1', 'old 2'], 'what is new waits for the end of the arrival')
    queue.addMoved(item('old 3'))
    queue.endArrival()
    assert.deepEqual(takeAll(queue), ['old 3', 'new 1', 'new 2'])
  })

  it('lets nothing past it until all is here, also when it is empty', (t) => {
    const { queue } = setUp(t)
    assert.equal(queue.isIdle, true)
    queue.beginArrival()
    assert.equal(queue.isIdle, false)
    queue.endArrival()
    assert.equal(queue.isIdle, true)
  })

  it('holds publishers back for what waits behind the arrival, and lets them go when that has eased', (t) => {
    const { queue, metrics } = setUp(t, 4)
    const hold = new CountingHold()
    queue.beginArrival()
    for (const payload of ['a', 'b', 'c', 'd']) queue.push(item(payload), hold)
    hold.release()
    assert.equal(hold.isReleased, false)
    queue.ease()
    assert.equal(hold.isReleased, false, 'the part that moves is empty, but the other one is full')
    queue.endArrival()
    assert.deepEqual(takeAll(queue), ['a', 'b', 'c', 'd'])
    queue.ease()
    assert.equal(hold.isReleased, true)
    assert.equal(metrics.dropped.queue_full.value, 0)
  })

  it('takes in a moved queue that is longer than its own limit, since it was kept there', (t) => {
    const { queue, metrics } = setUp(t, 2)
    queue.beginArrival()
    for (let number = 0; number < 20; number += 1) queue.addMoved(item(`${number}`))
    queue.endArrival()
    assert.equal(takeAll(queue).length, 20)
    assert.equal(metrics.dropped.queue_full.value, 0)
  })
})
