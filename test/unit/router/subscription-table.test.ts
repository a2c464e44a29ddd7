import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { SubscriptionOptions } from '../../../src/mqtt/wire/packets.js'
import { DigestAccumulator } from '../../../src/router/route-digest.js'
import { PUBLISHERS_ROUTE, type Subscription, SubscriptionTable } from '../../../src/router/subscription-table.js'
import { filters, matchesNaively, topics } from './topics.js'

interface Subscriber {
  name: string
}

const AT_MOST_ONCE: SubscriptionOptions = {
  qos: 0,
  noLocal: false,
  retainAsPublished: false,
  retainHandling: 0,
  subscriptionId: undefined,
}

const options: fc.Arbitrary<SubscriptionOptions> = fc.record(
  {
    qos: fc.constantFrom(0, 1, 2),
    noLocal: fc.boolean(),
    retainAsPublished: fc.boolean(),
    retainHandling: fc.constantFrom(0, 1, 2),
    subscriptionId: fc.option(fc.integer({ min: 1, max: 9 }), { nil: undefined }),
  },
  // Options are compared with others, of which the table may keep either.
  { noNullPrototype: true },
)

/** Notes every edge, and fails on one that is reported twice. */
class EdgeRecorder {
  readonly announced = new Set<string>()

  filterAdded(filter: string): void {
    assert.ok(!this.announced.has(filter), `${filter} is announced already`)
    this.announced.add(filter)
  }

  filterRemoved(filter: string): void {
    assert.ok(this.announced.delete(filter), `${filter} is not announced`)
  }
}

function matched(table: SubscriptionTable<Subscriber>, topic: string): Subscription<Subscriber>[] {
  const into: Subscription<Subscriber>[] = []
  table.matchInto(topic, into)
  return into
}

function describeSubscription(
  subscriber: Subscriber,
  filter: string,
  { qos, subscriptionId }: SubscriptionOptions,
): string {
  return `${subscriber.name} ${filter} ${qos} ${subscriptionId}`
}

describe('subscription table', () => {
  it('is what a naive table is, under any sequence of subscribes and unsubscribes', () => {
    const subscribers = ['a', 'b', 'c'].map((name) => ({ name }))
    const step = fc.record({
      subscriber: fc.constantFrom(...subscribers),
      filter: filters,
      options: fc.option(options, { nil: undefined }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), fc.array(topics, { maxLength: 5 }), (steps, names) => {
        const edges = new EdgeRecorder()
        const table = new SubscriptionTable<Subscriber>(edges)
        const model = new Map<string, Map<Subscriber, SubscriptionOptions>>()
        for (const { subscriber, filter, options: asked } of steps) {
          const known = model.get(filter) ?? new Map<Subscriber, SubscriptionOptions>()
          if (asked === undefined) {
            assert.equal(table.unsubscribe(subscriber, filter), known.delete(subscriber))
          } else {
            assert.equal(table.subscribe(subscriber, filter, asked), !known.has(subscriber))
            known.set(subscriber, asked)
          }
          if (known.size > 0) model.set(filter, known)
          else model.delete(filter)
          assert.deepEqual(table.get(subscriber, filter)?.options, known.get(subscriber))
        }
        const expected = [...model].flatMap(([filter, known]) => [...known].map((each) => ({ filter, each })))
        assert.equal(table.size, expected.length)
        assert.equal(table.filterCount, model.size)
        const announced = [...model.keys()]
        if (expected.some(({ each }) => each[1].noLocal)) announced.push(PUBLISHERS_ROUTE)
        assert.deepEqual([...table.filters()].sort(), announced.sort())
        assert.deepEqual(edges.announced, new Set(announced))

        const digest = new DigestAccumulator()
        for (const filter of announced) digest.add(filter)
        assert.deepEqual(table.digest(), digest.value)

        for (const topic of names) {
          const wanted = expected.filter(({ filter }) => matchesNaively(filter, topic))
          assert.deepEqual(
            matched(table, topic)
              .map(({ subscriber, filter, options: granted }) => describeSubscription(subscriber, filter, granted))
              .sort(),
            wanted.map(({ filter, each }) => describeSubscription(each[0], filter, each[1])).sort(),
          )
        }

        for (const { filter, each } of expected) assert.ok(table.unsubscribe(each[0], filter))
        assert.equal(table.size, 0)
        assert.equal(table.filterCount, 0)
        assert.equal(table.countNodes(), 0)
        assert.equal(edges.announced.size, 0)
        assert.deepEqual(table.digest(), { count: 0, high: 0, low: 0 })
      }),
      { numRuns: 300 },
    )
  })

  it('moves its generation when a match could change, and only then', () => {
    const table = new SubscriptionTable<Subscriber>()
    const subscriber = { name: 'a' }
    const generations: number[] = []
    const note = (): number => generations.push(table.generation)
    note()
    table.subscribe(subscriber, 'a/+', AT_MOST_ONCE)
    note()
    table.subscribe(subscriber, 'a/+', { ...AT_MOST_ONCE, qos: 1 })
    note()
    table.unsubscribe(subscriber, 'a/+')
    note()
    assert.equal(new Set(generations).size, 4)

    table.subscribe(subscriber, 'a/+', AT_MOST_ONCE)
    const before = table.generation
    table.subscribe(subscriber, 'a/+', { ...AT_MOST_ONCE })
    table.unsubscribe(subscriber, 'unknown')
    table.unsubscribe({ name: 'a' }, 'a/+')
    assert.equal(table.generation, before)
  })

  it('tells two subscribers that look alike apart', () => {
    const table = new SubscriptionTable<Subscriber>()
    const twins = [{ name: 'a' }, { name: 'a' }] as const
    assert.ok(table.subscribe(twins[0], 'x', AT_MOST_ONCE))
    assert.ok(table.subscribe(twins[1], 'x', AT_MOST_ONCE))
    assert.equal(matched(table, 'x').length, 2)
    assert.ok(table.unsubscribe(twins[0], 'x'))
    assert.equal(matched(table, 'x')[0]?.subscriber, twins[1])
  })

  it('reports edges to a listener that came later, and to none that has gone', () => {
    const table = new SubscriptionTable<Subscriber>()
    const subscriber = { name: 'a' }
    table.subscribe(subscriber, 'before', AT_MOST_ONCE)
    const edges = new EdgeRecorder()
    table.setListener(edges)
    table.subscribe(subscriber, 'during', AT_MOST_ONCE)
    table.setListener(undefined)
    table.subscribe(subscriber, 'after', AT_MOST_ONCE)
    assert.deepEqual([...edges.announced], ['during'])
  })

  it('has changed already when it reports an edge', () => {
    const table = new SubscriptionTable<Subscriber>()
    const sizes: number[] = []
    const note = (): void => void sizes.push(table.filterCount, table.digest().count)
    table.setListener({ filterAdded: note, filterRemoved: note })
    const subscriber = { name: 'a' }
    table.subscribe(subscriber, 'a', AT_MOST_ONCE)
    table.unsubscribe(subscriber, 'a')
    assert.deepEqual(sizes, [1, 1, 0, 0])
  })
})
