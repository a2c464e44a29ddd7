import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { createBrokerMetrics } from '../../../src/broker/metrics.js'
import { RetainedMessages } from '../../../src/broker/retained.js'
import { retainedDeadline } from '../../../src/broker/retained-deadline.js'
import { Message } from '../../../src/mqtt/wire/message.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { TimerWheel } from '../../../src/util/timer-wheel.js'

describe('the deadline of a retained message', () => {
  it('stands where a replica reads it', (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: 1_000_000 })
    const retained = new RetainedMessages(
      { maximum: 10, maximumBytes: 1_000_000 },
      { refused: createBrokerMetrics(new MetricRegistry()).retainedRefused, timers: new TimerWheel() },
    )
    const values: Buffer[] = []
    retained.replicateThrough({
      set: (_key, value) => values.push(Buffer.from(value ?? [])) > 0,
      get: () => values.at(-1),
      expire: () => {},
    })
    for (const properties of [{ messageExpiryInterval: 10 }, {}]) {
      retained.keep(Message.from('a', Buffer.from('x'), { qos: 1, retain: true, properties }))
    }
    assert.deepEqual(values.map(retainedDeadline), [1_010_000, 0])
    assert.equal(retainedDeadline(Buffer.alloc(3)), 0, 'what is no retained message has none')
  })
})
