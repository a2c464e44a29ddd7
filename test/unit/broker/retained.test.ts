import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { createBrokerMetrics } from '../../../src/broker/metrics.js'
import { RetainedMessages } from '../../../src/broker/retained.js'
import { Message } from '../../../src/mqtt/wire/message.js'
import type { PublishProperties, QoS } from '../../../src/mqtt/wire/packets.js'
import { decodePublishProperties } from '../../../src/mqtt/wire/publish-frame.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { TimerWheel } from '../../../src/util/timer-wheel.js'
import { DrivenClock } from '../mqtt/driven-clock.js'

/** Bytes of a value that the peers take at most. */
const LARGEST = 1_000

function setUp(maximum = 100, maximumBytes = 1_000_000) {
  const refused = createBrokerMetrics(new MetricRegistry()).retainedRefused
  const retained = new RetainedMessages({ maximum, maximumBytes }, { refused, timers: new TimerWheel() })
  const replicated: [string, Buffer | undefined][] = []
  const expired: string[] = []
  const replica = new Map<string, Buffer | undefined>()
  retained.replicateThrough({
    set: (key, value) => {
      replicated.push([key, value && Buffer.from(value)])
      const isTaken = value === undefined || value.length <= LARGEST
      replica.set(key, isTaken && value !== undefined ? Buffer.from(value) : undefined)
      return isTaken
    },
    get: (key) => replica.get(key),
    expire: (key) => expired.push(key),
  })
  const apply = (topic: string, value: Buffer | undefined): void => {
    replica.set(topic, value)
    retained.applyReplicated(topic, value)
  }
  return { retained, refused, replicated, apply, expired, texts: (filter = '#') => textsOf(retained, filter) }
}

function textsOf(retained: RetainedMessages, filter: string): string[] {
  return [...retained.matching(filter)].flatMap((found) => (found ? [`${found.topic} ${found.payload}`] : [])).sort()
}

function message(topic: string, payload: string, qos: QoS = 1, properties: PublishProperties = {}): Message {
  return Message.from(topic, Buffer.from(payload), { qos, retain: true, properties })
}

describe('retained messages', () => {
  it('are the last one of each topic, and an empty payload removes it [MQTT-3.3.1-5] [MQTT-3.3.1-6]', () => {
    const { retained, texts, replicated } = setUp()
    retained.keep(message('a', '1'))
    retained.keep(message('a', '2'))
    retained.keep(message('b/c', '3'))
    assert.deepEqual(texts(), ['a 2', 'b/c 3'])
    assert.deepEqual(texts('+/c'), ['b/c 3'])
    retained.keep(message('a', ''))
    retained.keep(message('none', ''))
    assert.deepEqual(texts(), ['b/c 3'])
    assert.equal(retained.size, 1)
    assert.deepEqual(
      replicated.map(([topic, value]) => [topic, value !== undefined]),
      [
        ['a', true],
        ['a', true],
        ['b/c', true],
        ['a', false],
        ['none', false],
      ],
    )
  })

  it('are taken from peers beyond the maximum too, so that all nodes serve the same', () => {
    const there = setUp()
    for (const topic of ['a', 'b', 'c']) there.retained.keep(message(topic, '1'))
    const here = setUp(2)
    for (const [topic, value] of there.replicated) here.apply(topic, value)
    assert.deepEqual(here.texts(), there.texts())
    assert.deepEqual(here.refused, { messages: { value: 0 }, bytes: { value: 0 } })
  })

  it('are forgotten with their copies when they have expired, without a word that outlives a later one', () => {
    const { retained, texts, replicated, expired } = setUp()
    const short = message('a', '1', 1, { messageExpiryInterval: 1 })
    short.expiresAt = Date.now() - 1
    retained.keep(short)
    retained.keep(message('b', '2'))
    replicated.length = 0
    assert.deepEqual(texts(), ['b 2'])
    assert.deepEqual([expired, replicated], [['a'], []])
    assert.equal(retained.size, 1)
  })

  it('are refused beyond the maximum for new topics only, and counted', () => {
    const { retained, refused, texts, replicated } = setUp(2)
    for (const topic of ['a', 'b', 'c']) retained.keep(message(topic, '1'))
    retained.keep(message('a', '2'))
    assert.deepEqual(texts(), ['a 2', 'b 1'])
    assert.deepEqual(refused, { messages: { value: 1 }, bytes: { value: 0 } })
    assert.equal(
      replicated.some(([topic]) => topic === 'c'),
      false,
      'what is not kept here is not sent to others',
    )
    retained.keep(message('b', ''))
    retained.keep(message('c', '3'))
    assert.deepEqual(texts(), ['a 2', 'c 3'])
  })

  it('have a bound in bytes: what would exceed it is not kept, counted, and leaves its topic without one', () => {
    const { retained, refused, texts, replicated } = setUp(100, 20)
    retained.keep(message('a', '123456789'))
    retained.keep(message('b', '123456789'))
    assert.equal(retained.bytes, 20)
    retained.keep(message('c', '1'))
    assert.deepEqual(texts(), ['a 123456789', 'b 123456789'])
    assert.equal(refused.bytes.value, 1)
    retained.keep(message('a', 'abcdefghi'))
    assert.deepEqual(texts(), ['a abcdefghi', 'b 123456789'], 'as long as before')
    replicated.length = 0
    retained.keep(message('b', '123456789x'))
    assert.deepEqual(
      texts(),
      ['a abcdefghi'],
      'the last message of the topic is not there, and nobody gets an older one',
    )
    assert.deepEqual(replicated, [['b', undefined]])
    assert.deepEqual([retained.bytes, refused.bytes.value], [10, 2])
    retained.keep(message('a', ''))
    assert.equal(retained.bytes, 0)
  })

  it('count their properties too, and those that peers have kept', () => {
    const there = setUp()
    there.retained.keep(message('a', '1', 1, { contentType: 'text/plain' }))
    const [topic, value] = there.replicated[0] ?? []
    const here = setUp(100, 1)
    here.apply(topic ?? '', value)
    assert.equal(here.retained.bytes, 2 + 3 + 'text/plain'.length)
    assert.equal(here.retained.bytes, there.retained.bytes)
    here.apply(topic ?? '', undefined)
    assert.equal(here.retained.bytes, 0)
  })

  it('are dropped in time when they expire on a node without peers, also when nobody asks for them', (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: 1_000_000 })
    const clock = new DrivenClock(t)
    const { retainedRefused } = createBrokerMetrics(new MetricRegistry())
    const retained = new RetainedMessages(
      { maximum: 10_000, maximumBytes: 1_000_000 },
      { refused: retainedRefused, timers: clock.timers },
    )
    const pass = (milliseconds: number): void => {
      t.mock.timers.setTime(Date.now() + milliseconds)
      clock.advance(milliseconds)
    }
    retained.keep(message('late', '1', 1, { messageExpiryInterval: 60 }))
    retained.keep(message('soon', '2', 1, { messageExpiryInterval: 10 }))
    retained.keep(message('never', '3'))
    retained.keep(message('prolonged', '4', 1, { messageExpiryInterval: 10 }))
    retained.keep(message('prolonged', '5', 1, { messageExpiryInterval: 100 }))
    // Replaced ones do not pile up behind the first.
    for (let round = 0; round < 5_000; round += 1)
      retained.keep(message('late', `${round}`, 1, { messageExpiryInterval: 60 }))
    pass(9_000)
    assert.equal(retained.size, 4)
    pass(1_100)
    assert.deepEqual(textsOf(retained, '#'), ['late 4999', 'never 3', 'prolonged 5'])
    pass(50_000)
    assert.equal(retained.size, 2)
    pass(40_000)
    assert.deepEqual([retained.size, retained.bytes], [1, 'never3'.length])
    assert.equal(clock.timers.size, 0)
  })

  it('arrive at a peer as they were, properties, QoS and deadline included', (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: 1_000_000 })
    const { retained, replicated } = setUp()
    const properties = { contentType: 'text', correlationData: Buffer.from([0, 255]), messageExpiryInterval: 50 }
    retained.keep(message('täglich/ß', 'x'.repeat(300), 2, properties))
    const peer = setUp()
    t.mock.timers.tick(10_000)
    for (const [topic, value] of replicated) peer.apply(topic, value)
    const [copy] = [...peer.retained.matching('#')]
    assert.ok(copy !== undefined)
    assert.deepEqual(
      [copy.topic, copy.qos, copy.retain, copy.payload.length, copy.expiresAt],
      ['täglich/ß', 2, true, 300, 1_050_000],
    )
    assert.deepEqual(decodePublishProperties(copy.properties ?? Buffer.alloc(0)), properties)
    assert.deepEqual(peer.replicated, [], 'what came from a peer is not sent on')
    peer.apply('täglich/ß', undefined)
    assert.equal(peer.retained.size, 0)
  })

  it('are forgotten when their time has passed [MQTT-3.3.2-5]', (t) => {
    t.mock.timers.enable({ apis: ['Date'] })
    const { retained, texts } = setUp()
    retained.keep(message('short', 'x', 1, { messageExpiryInterval: 10 }))
    retained.keep(message('long', 'x'))
    t.mock.timers.tick(9_000)
    assert.deepEqual(texts(), ['long x', 'short x'])
    t.mock.timers.tick(1_000)
    assert.deepEqual(texts(), ['long x'])
    assert.equal(retained.size, 1)
  })

  it('keep no slice of the chunk they came in', () => {
    const { retained } = setUp()
    const chunk = Buffer.alloc(65_536, 'x')
    const parts = { topic: 'a', qos: 0, retain: true, chunk, payloadStart: 9, payloadEnd: 19 } as const
    retained.keep(new Message({ ...parts, properties: undefined, expiryInterval: 0 }))
    const [kept] = [...retained.matching('a')]
    assert.ok(kept !== undefined && kept.chunk.buffer !== chunk.buffer)
    chunk.fill('y')
    assert.equal(kept.payload.toString(), 'x'.repeat(10))
  })

  it('stay what they were for whoever has got one, whatever is published next', () => {
    const { retained } = setUp()
    retained.keep(message('a', 'before'))
    const [got] = [...retained.matching('a')]
    retained.keep(message('a', 'behind'))
    assert.equal(got?.payload.toString(), 'before')
  })

  it('are kept here when they are too large for the peers, until there is another or none', () => {
    const { retained, texts, apply } = setUp()
    const large = 'x'.repeat(LARGEST)
    for (const next of [
      () => retained.keep(message('a', '1')),
      () => retained.keep(message('a', '')),
      () => apply('a', undefined),
    ]) {
      retained.keep(message('a', large))
      assert.deepEqual(texts(), [`a ${large}`])
      next()
      assert.equal(texts().includes(`a ${large}`), false)
    }
    assert.deepEqual([retained.size, retained.bytes], [0, 0])
  })
})
