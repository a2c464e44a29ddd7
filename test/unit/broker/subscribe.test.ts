import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { createBrokerMetrics } from '../../../src/broker/metrics.js'
import { RetainedMessages } from '../../../src/broker/retained.js'
import { type SubscribeGuard, SubscriptionDesk } from '../../../src/broker/subscribe.js'
import type { Subscriber } from '../../../src/broker/subscriber.js'
import { DEFAULTS, type MqttOptions } from '../../../src/config/options.js'
import type { Grant } from '../../../src/mqtt/host.js'
import { Session } from '../../../src/mqtt/session/session.js'
import { createSessionMetrics } from '../../../src/mqtt/session/session-metrics.js'
import { Message } from '../../../src/mqtt/wire/message.js'
import type { SubscriptionOptions, SubscriptionRequest } from '../../../src/mqtt/wire/packets.js'
import { SharedGroups } from '../../../src/router/shared-groups.js'
import { SubscriptionTable } from '../../../src/router/subscription-table.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { TimerWheel } from '../../../src/util/timer-wheel.js'
import { RecordingOutlet } from '../mqtt/session/recording-outlet.js'
import { LoneBroker } from './lone-broker.js'
import { publishPacket, subscribePacket, until } from './stream-client.js'

const ALLOW: SubscribeGuard = (subscription, done) => done(subscription)

function request(topicFilter: string, options: Partial<SubscriptionOptions> = {}): SubscriptionRequest {
  const defaults = {
    qos: 1,
    noLocal: false,
    retainAsPublished: false,
    retainHandling: 0,
    subscriptionId: undefined,
  } as const
  return { topicFilter, options: { ...defaults, ...options } }
}

function setUp(options: Partial<MqttOptions> = {}) {
  const subscriptions = new SubscriptionTable<Subscriber>()
  const groups = new SharedGroups<Subscriber>({ strategy: 'round_robin', strategies: {}, node: 'n1@test' })
  const retained = new RetainedMessages(
    { maximum: 100, maximumBytes: 1_000_000 },
    { refused: createBrokerMetrics(new MetricRegistry()).retainedRefused, timers: new TimerWheel() },
  )
  const desk = new SubscriptionDesk(
    { ...DEFAULTS.mqtt, ...options },
    { subscriptions, groups, retained, sys: undefined },
  )
  const session = new Session(
    'me',
    60,
    { queue: { length: 100, bytes: 1_000_000 }, inFlightBytes: 1_000_000, queueHoldTime: 1_000 },
    { timers: new TimerWheel(), metrics: createSessionMetrics(new MetricRegistry()) },
  )
  const outlet = new RecordingOutlet()
  session.attach(outlet)
  return {
    subscriptions,
    groups,
    retained,
    desk,
    session,
    outlet,
    subscribe(requests: SubscriptionRequest[], guard: SubscribeGuard = ALLOW): readonly Grant[] {
      let grants: readonly Grant[] | undefined
      desk.subscribe(session, requests, guard, (granted) => (grants = granted))
      assert.ok(grants !== undefined, 'answered at once')
      return grants
    },
  }
}

function codes(grants: readonly Grant[]): number[] {
  return grants.map(({ reasonCode }) => reasonCode)
}

describe('subscribing', () => {
  it('answers each filter in its place: the granted QoS, or why not [MQTT-3.8.4-6]', () => {
    const { subscribe, subscriptions, groups } = setUp({ maximumTopicLevels: 3 })
    const filters = ['a', 'a/#/b', 'a/b/c/d', '$share/g/a/b/c', '', 'b/+', '$share/g', '$share/g/a/b/c/d', '$queue/a']
    assert.deepEqual(codes(subscribe(filters.map((filter) => request(filter)))), [
      ...[1, 0x8f, 0x8f, 1, 0x8f, 1],
      ...[0x8f, 0x8f, 1],
    ])
    assert.deepEqual([...subscriptions.filters()].sort(), ['a', 'b/+'])
    assert.equal(groups.size, 2)
  })

  it('again to a filter replaces its options, and is not new [MQTT-3.8.4-3]', () => {
    const { subscribe, subscriptions, session } = setUp()
    assert.equal(subscribe([request('a', { qos: 2 })])[0]?.isNew, true)
    assert.equal(subscribe([request('a', { qos: 0 })])[0]?.isNew, false)
    assert.equal(subscriptions.size, 1)
    assert.equal(session.subscriptions.get('a')?.qos, 0)
  })

  it('stops at the limit of subscriptions, but not for a filter that is there already', () => {
    const { subscribe } = setUp({ maximumSubscriptions: 2 })
    assert.deepEqual(codes(subscribe(['a', 'b', 'c', 'a'].map((filter) => request(filter)))), [1, 1, 0x97, 1])
  })

  it('grants what the guard lowers, never more than was asked for', () => {
    const { subscribe } = setUp()
    const guard: SubscribeGuard = (subscription, done) =>
      done(subscription.topic === 'no' ? undefined : { ...subscription, qos: subscription.topic === 'low' ? 0 : 2 })
    assert.deepEqual(
      codes(
        subscribe(
          ['low', 'no', 'high'].map((filter) => request(filter)),
          guard,
        ),
      ),
      [0, 0x87, 1],
    )
  })

  it('asks the guard for one filter after the other, in their order', () => {
    const { desk, session } = setUp()
    const asked: string[] = []
    const answers: (() => void)[] = []
    const grants: string[] = []
    const guard: SubscribeGuard = (subscription, done) => {
      asked.push(subscription.topic)
      answers.push(() => done(subscription))
    }
    desk.subscribe(session, [request('a'), request('b')], guard, (granted) =>
      grants.push(...granted.map(({ topicFilter }) => topicFilter)),
    )
    assert.deepEqual(asked, ['a'])
    answers[0]?.()
    assert.deepEqual(asked, ['a', 'b'])
    assert.deepEqual(grants, [])
    answers[1]?.()
    assert.deepEqual(grants, ['a', 'b'])
  })

  it('takes thousands of filters in one packet without nesting', () => {
    const { subscribe, subscriptions } = setUp({ maximumSubscriptions: 100_000 })
    subscribe(Array.from({ length: 20_000 }, (_, index) => request(`a/${index}`)))
    assert.equal(subscriptions.size, 20_000)
  })

  it('makes no subscription for a session that ended while the guard thought', () => {
    const { desk, session, subscriptions } = setUp()
    let answer: (() => void) | undefined
    desk.subscribe(
      session,
      [request('a')],
      (subscription, done) => (answer = () => done(subscription)),
      () => {},
    )
    session.end()
    answer?.()
    assert.equal(subscriptions.size, 0)
  })
})

describe('unsubscribing', () => {
  it('answers each filter in its place [MQTT-3.11.3-2]', () => {
    const { subscribe, desk, session, subscriptions } = setUp()
    subscribe([request('a'), request('b')])
    assert.deepEqual(desk.unsubscribe(session, ['a', 'a', 'none', '#/x']), [0, 0x11, 0x11, 0x8f])
    assert.equal(subscriptions.size, 1)
  })
})

describe('retained messages for a subscription', () => {
  it('come as its Retain Handling says [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]', () => {
    const { subscribe, desk, session, retained, outlet } = setUp()
    retained.keep(Message.from('a/b', Buffer.from('kept'), { qos: 2, retain: true }))
    const counts = ([0, 1, 2] as const).map((retainHandling) =>
      [1, 2].map(() => {
        const [grant] = subscribe([request('a/+', { retainHandling })])
        if (grant !== undefined) desk.sendRetained(session, grant)
        const got = outlet.takeSent()
        assert.ok(got.every(({ retain, qos, payload }) => retain && qos === 1 && payload === 'kept'))
        return got.length
      }),
    )
    // The filter is new only the very first time.
    assert.deepEqual(counts, [
      [1, 1],
      [0, 0],
      [0, 0],
    ])
    desk.unsubscribe(session, ['a/+'])
    const [grant] = subscribe([request('a/+', { retainHandling: 1 })])
    if (grant !== undefined) desk.sendRetained(session, grant)
    assert.equal(outlet.takeSent().length, 1)
  })
})

describe('SUBSCRIBE and UNSUBSCRIBE of a client', () => {
  it('are handled in their order, also when an authorization takes its time', async (t) => {
    const waiting: (() => void)[] = []
    const lone = new LoneBroker(t, {
      aedes: { authorizeSubscribe: (_client, subscription, done) => void waiting.push(() => done(null, subscription)) },
    })
    const client = await lone.connect()
    client.sendTogether(
      subscribePacket('a', 1, 1),
      publishPacket({ topic: 'a', payload: 'mine' }),
      { cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['a'] },
      publishPacket({ topic: 'a', payload: 'too late' }),
    )
    await until(() => waiting.length === 1, 'asked')
    waiting[0]?.()
    assert.deepEqual(await client.settle(), ['suback 1', 'publish 0 a mine', 'unsuback 2'])
    assert.equal(lone.subscriptions.size, 0)
  })

  it('do not wait for each other while the peers have yet to confirm the routes', async (t) => {
    const lone = new LoneBroker(t)
    lone.forwarder.isConfirming = true
    const client = await lone.connect()
    for (let messageId = 1; messageId <= 3; messageId += 1) client.send(subscribePacket(`a/${messageId}`, 1, messageId))
    client.send({ cmd: 'unsubscribe', messageId: 4, unsubscriptions: ['a/1'] })
    assert.deepEqual(await client.settle(), ['unsuback 4'])
    lone.forwarder.confirmRoutes()
    assert.deepEqual(await client.settle(), ['suback 1', 'suback 2', 'suback 3'])
  })

  it('bring no retained message when they were taken back before their SUBACK [MQTT-3.10.4-1]', async (t) => {
    const lone = new LoneBroker(t)
    const client = await lone.connect()
    client.send(publishPacket({ topic: 'a', payload: 'kept', retain: true }))
    await client.settle()
    lone.forwarder.isConfirming = true
    client.send(subscribePacket('a', 1, 1))
    client.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['a'] })
    client.send(subscribePacket('+', 1, 3))
    assert.deepEqual(await client.settle(), ['unsuback 2'])
    lone.forwarder.confirmRoutes()
    assert.deepEqual(await client.settle(), ['suback 1', 'suback 3', 'publish 0 retain a kept'])
  })

  it('are read no further while hundreds of SUBACKs wait for the peers, and all are answered', async (t) => {
    const lone = new LoneBroker(t)
    lone.forwarder.isConfirming = true
    const client = await lone.connect()
    const packets = Array.from({ length: 1_000 }, (_, index) => subscribePacket(`a/${index}`, 0, index + 1))
    client.sendTogether(...packets, { cmd: 'pingreq' })
    await until(() => lone.subscriptions.size > 0, 'some are there')
    assert.equal(lone.subscriptions.size, 256)
    for (let round = 0; client.received.length < 1_001 && round < 20; round += 1) {
      lone.forwarder.confirmRoutes()
      await new Promise((resolve) => setImmediate(resolve))
    }
    await until(() => client.received.length === 1_001, `${client.received.length} of 1,001 answers`)
    assert.equal(lone.subscriptions.size, 1_000)
  })

  it('that were refused before the connection closed leave nothing behind', async (t) => {
    const lone = new LoneBroker(t)
    lone.forwarder.isConfirming = true
    const client = await lone.connect()
    client.send(subscribePacket('a', 1, 1))
    await until(() => lone.subscriptions.size === 1, 'subscribed')
    client.drop()
    await until(() => lone.broker.connectionCount === 0, 'closed')
    lone.forwarder.confirmRoutes()
    assert.equal(lone.subscriptions.size, 0)
  })
})
