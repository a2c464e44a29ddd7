import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { QoS, SubscriptionOptions } from '../../../src/mqtt/wire/packets.js'
import { EMPTY_MATCH, MatchCache } from '../../../src/router/match-cache.js'
import { RouteTable } from '../../../src/router/route-table.js'
import { SharedGroups } from '../../../src/router/shared-groups.js'
import { SubscriptionTable } from '../../../src/router/subscription-table.js'
import { filters, topics } from './topics.js'

interface Subscriber {
  name: string
  isAttached: boolean
  isBusy: boolean
}

function named(name: string): Subscriber {
  return { name, isAttached: true, isBusy: false }
}

const PLAIN: SubscriptionOptions = {
  qos: 0,
  noLocal: false,
  retainAsPublished: false,
  retainHandling: 0,
  subscriptionId: undefined,
}

function setUp(maximumTopics = 100, overlapping: 'one' | 'each' = 'one') {
  const subscriptions = new SubscriptionTable<Subscriber>()
  const groups = new SharedGroups<Subscriber>({ strategy: 'round_robin', strategies: {}, node: 'n1@test' })
  const routes = new RouteTable()
  const cache = new MatchCache({ maximumTopics, overlapping }, { subscriptions, groups, routes })
  return { subscriptions, groups, routes, cache }
}

describe('match cache', () => {
  it('answers as the tables would, whatever has changed between two questions', () => {
    const subscribers = ['a', 'b'].map(named)
    const step = fc.record({
      kind: fc.constantFrom('subscribe', 'unsubscribe', 'join', 'leave', 'add', 'remove', 'ask', 'ask', 'ask'),
      subscriber: fc.constantFrom(...subscribers),
      filter: filters.filter((filter) => filter !== ''),
      topic: topics,
      qos: fc.constantFrom<QoS[]>(0, 1, 2),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const { subscriptions, groups, routes, cache } = setUp(6)
        for (const { kind, subscriber, filter, topic, qos } of steps) {
          if (kind === 'subscribe') subscriptions.subscribe(subscriber, filter, { ...PLAIN, qos })
          else if (kind === 'unsubscribe') subscriptions.unsubscribe(subscriber, filter)
          else if (kind === 'join') groups.subscribe(subscriber, `$share/g/${filter}`, { ...PLAIN, qos })
          else if (kind === 'leave') groups.unsubscribe(subscriber, `$share/g/${filter}`)
          else if (kind === 'add') routes.add(subscriber.name, filter)
          else if (kind === 'remove') routes.remove(subscriber.name, filter)
          const kept = cache.match(topic)
          const fresh = new MatchCache({ maximumTopics: 0 }, { subscriptions, groups, routes }).match(topic)
          assert.deepEqual(kept, fresh)
          assert.ok(cache.size <= 6)
        }
      }),
    )
  })

  it('keeps apart what counts for the subscriber’s own messages: the subscriptions without No Local [MQTT-3.8.3-3]', () => {
    const options = { '#': 1, 'a/#': 2, '+/b': 0, 'a/b': 1 } as const
    const orders = [Object.keys(options), Object.keys(options).reverse()] as (keyof typeof options)[][]
    for (const order of orders) {
      const { subscriptions, cache } = setUp()
      const one = named('one')
      for (const [index, filter] of order.entries()) {
        const noLocal = filter === 'a/#' || filter === '+/b'
        subscriptions.subscribe(one, filter, { ...PLAIN, qos: options[filter], noLocal, subscriptionId: index + 1 })
      }
      const [delivery] = cache.match('a/b').deliveries
      assert.deepEqual([delivery?.qos, delivery?.noLocal, delivery?.subscriptionIds?.length], [2, true, 4])
      assert.deepEqual([delivery?.own?.qos, delivery?.own?.noLocal], [1, false])
      const ids = ['#', 'a/b'].map((filter) => order.indexOf(filter as keyof typeof options) + 1)
      assert.deepEqual(delivery?.own?.subscriptionIds?.slice().sort(), ids.sort())
    }
    const { subscriptions, cache } = setUp()
    const one = named('one')
    for (const filter of ['a', '+']) subscriptions.subscribe(one, filter, { ...PLAIN, noLocal: true })
    assert.equal(cache.match('a').deliveries[0]?.own, undefined)
  })

  it('has a delivery for each matching subscription where that is asked for', () => {
    const { subscriptions, cache } = setUp(100, 'each')
    const one = named('one')
    for (const [filter, qos] of [
      ['a', 0],
      ['+', 2],
    ] as const) {
      subscriptions.subscribe(one, filter, { ...PLAIN, qos, subscriptionId: qos + 1 })
    }
    const deliveries = cache.match('a').deliveries.map(({ qos, subscriptionIds }) => [qos, subscriptionIds])
    assert.deepEqual(deliveries.sort(), [
      [0, [1]],
      [2, [3]],
    ])
  })

  it('gives the same object until a table changes', () => {
    const { subscriptions, groups, routes, cache } = setUp()
    const changes = [
      () => groups.subscribe(named('a'), '$share/g/other', PLAIN),
      () => subscriptions.subscribe(named('a'), 'other', PLAIN),
      () => routes.add('n2@h', 'other'),
      () => routes.clear('n2@h'),
    ]
    routes.add('n1@h', 'a')
    for (const change of changes) {
      const generation = cache.generation
      const before = cache.match('a')
      assert.equal(cache.match('a'), before)
      assert.equal(cache.generation, generation)
      change()
      assert.notEqual(cache.generation, generation)
      assert.notEqual(cache.match('a'), before)
    }
  })

  it('does not change a match that somebody holds', () => {
    const { subscriptions, cache } = setUp()
    const subscriber = named('a')
    subscriptions.subscribe(subscriber, 'a/+', PLAIN)
    subscriptions.subscribe(subscriber, 'a/#', PLAIN)
    const held = cache.match('a/b')
    const before = structuredClone(held)
    subscriptions.subscribe(subscriber, 'a/+', { ...PLAIN, qos: 2, subscriptionId: 3 })
    subscriptions.subscribe(named('b'), 'a/+', PLAIN)
    cache.match('a/b')
    assert.deepEqual(structuredClone(held), before)
  })

  it('[MQTT-3.3.4-2] [MQTT-3.3.4-4] merges overlapping subscriptions: highest QoS, all identifiers', () => {
    const { subscriptions, cache } = setUp()
    const subscriber = named('a')
    const other = named('b')
    subscriptions.subscribe(subscriber, 'a/b', { ...PLAIN, qos: 1, noLocal: true, subscriptionId: 1 })
    subscriptions.subscribe(subscriber, 'a/+', { ...PLAIN, qos: 2, noLocal: true })
    subscriptions.subscribe(subscriber, '+/b', { ...PLAIN, noLocal: true, subscriptionId: 2 })
    subscriptions.subscribe(subscriber, 'a/#', { ...PLAIN, qos: 0, retainAsPublished: true, subscriptionId: 3 })
    subscriptions.subscribe(subscriber, '#', { ...PLAIN, noLocal: true, subscriptionId: 1 })
    subscriptions.subscribe(other, 'a/b', { ...PLAIN, noLocal: true })
    subscriptions.subscribe(other, 'a/+', { ...PLAIN, noLocal: true })

    const { deliveries } = cache.match('a/b')
    assert.equal(deliveries.length, 2)
    const mine = deliveries.find((delivery) => delivery.subscriber === subscriber)
    assert.equal(mine?.qos, 2)
    assert.equal(mine?.noLocal, true)
    assert.deepEqual([mine?.own?.qos, mine?.own?.subscriptionIds], [0, [3]])
    assert.equal(mine?.retainAsPublished, true)
    assert.deepEqual([...(mine?.subscriptionIds ?? [])].sort(), [1, 1, 2, 3])
    const theirs = deliveries.find((delivery) => delivery.subscriber === other)
    assert.equal(theirs?.noLocal, true)
    assert.equal(theirs?.retainAsPublished, false)
    assert.equal(theirs?.subscriptionIds, undefined)

    // The subscriptions themselves stay as they were.
    const own = ['a/b', 'a/+', '+/b', 'a/#', '#'].map((filter) => subscriptions.get(subscriber, filter))
    assert.deepEqual(
      own.map((subscription) => subscription?.qos),
      [1, 2, 0, 0, 0],
    )
    assert.deepEqual(
      own.map((subscription) => subscription?.subscriptionIds),
      [[1], undefined, [2], [3], [1]],
    )
  })

  it('merges ten thousand subscriptions of one subscriber without copying identifiers over and over', () => {
    const { subscriptions, cache } = setUp()
    const subscriber = named('a')
    const levels = 14
    for (let bits = 0; bits < 10_000; bits += 1) {
      const filter = Array.from({ length: levels }, (_, level) => ((bits >> level) & 1 ? '+' : 'x')).join('/')
      subscriptions.subscribe(subscriber, filter, { ...PLAIN, subscriptionId: bits + 1 })
    }
    const { deliveries } = cache.match(Array(levels).fill('x').join('/'))
    assert.equal(deliveries.length, 1)
    assert.equal(new Set(deliveries[0]?.subscriptionIds).size, 10_000)
  })

  it('has one frozen match for every topic that nobody wants', () => {
    const { cache } = setUp()
    assert.equal(cache.match('a'), EMPTY_MATCH)
    assert.equal(cache.match('b/c'), EMPTY_MATCH)
    assert.ok(
      Object.isFrozen(EMPTY_MATCH) && Object.isFrozen(EMPTY_MATCH.deliveries) && Object.isFrozen(EMPTY_MATCH.nodes),
    )
  })

  it('keeps a busy topic while rare ones pass through, within its bound', () => {
    const { routes, cache } = setUp(10)
    routes.add('n1@h', '#')
    const busy = cache.match('busy')
    for (let index = 0; index < 1_000; index += 1) {
      cache.match(`rare/${index}`)
      assert.equal(cache.match('busy'), busy)
      assert.ok(cache.size <= 10)
    }
    assert.equal(cache.misses, 1_001)
    assert.equal(cache.hits, 1_000)
  })

  it('counts a topic once when it is asked for again later', () => {
    const { cache } = setUp(4)
    for (const topic of ['a', 'b', 'c', 'a']) cache.match(topic)
    assert.equal(cache.size, 3)
    assert.equal(cache.misses, 3)
  })

  it('forgets sooner when matches are large', () => {
    const { subscriptions, cache } = setUp(10)
    for (let index = 0; index < 400; index += 1) subscriptions.subscribe(named(`${index}`), '#', PLAIN)
    for (let index = 0; index < 10; index += 1) cache.match(`${index}`)
    assert.ok(cache.size <= 3, `${cache.size} topics of 400 deliveries, where 200 are the bound`)
  })

  it('does not keep very long topic names, but matches them', () => {
    const { routes, cache } = setUp()
    routes.add('n1@h', '#')
    assert.deepEqual(cache.match('x'.repeat(65_535)).nodes, ['n1@h'])
    assert.equal(cache.size, 0)
  })
})
