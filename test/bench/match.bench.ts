/**
 * How many topics a second the router matches: exact filters, wildcards, and from the cache; and what a route and a
 * subscription cost in memory. Run: node --expose-gc --import tsx test/bench/match.bench.ts
 */

import type { SubscriptionOptions } from '../../src/mqtt/wire/packets.js'
import { MatchCache } from '../../src/router/match-cache.js'
import { type NodeId, RouteTable } from '../../src/router/route-table.js'
import { SharedGroups } from '../../src/router/shared-groups.js'
import { type Subscription, SubscriptionTable } from '../../src/router/subscription-table.js'

interface Subscriber {
  id: number
  isAttached: boolean
  isBusy: boolean
}

const OPTIONS: SubscriptionOptions = {
  qos: 0,
  noLocal: false,
  retainAsPublished: false,
  retainHandling: 0,
  subscriptionId: undefined,
}

const WARM_UP_MS = 200
const RUN_MS = 1_000
const ROUND = 1_024

/** Runs `round` (which matches `ROUND` topics) for a second and prints the rate. */
function measure(name: string, round: () => number): void {
  let sink = 0
  const warm = performance.now() + WARM_UP_MS
  while (performance.now() < warm) sink += round()
  let rounds = 0
  const start = performance.now()
  let elapsed = 0
  while (elapsed < RUN_MS) {
    sink += round()
    rounds += 1
    elapsed = performance.now() - start
  }
  const rate = (rounds * ROUND) / (elapsed / 1_000)
  print(name, `${Math.round(rate).toLocaleString('en')} matches/s, ${sink > 0 ? 'found' : 'nothing found'}`)
}

/** Bytes on the heap per item that `build` makes; needs --expose-gc. */
function weigh(name: string, count: number, build: () => object): void {
  const collect = globalThis.gc
  if (collect === undefined) return
  collect()
  const before = process.memoryUsage().heapUsed
  const start = performance.now()
  const built = build()
  const elapsed = performance.now() - start
  collect()
  const bytes = (process.memoryUsage().heapUsed - before) / count
  print(name, `${Math.round(bytes)} bytes each, ${Math.round(count / (elapsed / 1_000)).toLocaleString('en')}/s`)
  // Held until here, so that the collection above cannot take it.
  if (Object.keys(built).length === 0) print(name, 'empty')
}

function print(name: string, text: string): void {
  process.stdout.write(`${name.padEnd(44)}${text}\n`)
}

function topicsOf(make: (index: number) => string): string[] {
  return Array.from({ length: ROUND }, (_, index) => make((index * 7) % 10_000))
}

function subscriberOf(id: number): Subscriber {
  return { id, isAttached: true, isBusy: false }
}

function tableOf(count: number, filter: (index: number) => string): SubscriptionTable<Subscriber> {
  const table = new SubscriptionTable<Subscriber>()
  for (let index = 0; index < count; index += 1) table.subscribe(subscriberOf(index), filter(index), OPTIONS)
  return table
}

function measureTable(name: string, table: SubscriptionTable<Subscriber>, topics: readonly string[]): void {
  const into: Subscription<Subscriber>[] = []
  measure(name, () => {
    let found = 0
    for (const topic of topics) {
      table.matchInto(topic, into)
      found += into.length
      while (into.length > 0) into.pop()
    }
    return found
  })
}

const states = topicsOf((index) => `site/${index % 100}/device/${index}/state`)

const exact = tableOf(100_000, (index) => `site/${index % 100}/device/${index}/state`)
measureTable('100,000 exact filters', exact, states)
measureTable(
  '10,000 filters site/x/device/y/+',
  tableOf(10_000, (index) => `site/${index % 100}/device/${index}/+`),
  states,
)
measureTable(
  '10,000 filters +/x/+/y/#',
  tableOf(10_000, (index) => `+/${index % 100}/+/${index}/#`),
  states,
)
measureTable(
  '10,000 mixed wildcard filters',
  tableOf(10_000, (index) => {
    const shapes = [
      `site/${index % 100}/#`,
      `site/+/device/${index}/state`,
      `+/${index}/device/+/state`,
      `other/${index}/#`,
    ]
    return shapes[index % shapes.length] ?? '#'
  }),
  states,
)

const routes = new RouteTable()
for (let index = 0; index < 100_000; index += 1)
  routes.add(`n${index % 3}@127.0.0.1`, `site/${index % 100}/device/${index}/+`)
const nodes: NodeId[] = []
measure('100,000 wildcard routes of 3 nodes', () => {
  let found = 0
  for (const topic of states) {
    routes.matchInto(topic, nodes)
    found += nodes.length
    while (nodes.length > 0) nodes.pop()
  }
  return found
})

const groups = new SharedGroups<Subscriber>({ strategy: 'round_robin', strategies: {}, node: 'n1@test' })
const cache = new MatchCache({ maximumTopics: 10_000 }, { subscriptions: exact, groups, routes })
measure('cached: subscriptions and routes', () => {
  let found = 0
  for (const topic of states) found += cache.match(topic).deliveries.length
  return found
})

const changing = tableOf(1_000, () => 'fan/out')
const fanOut = new MatchCache({ maximumTopics: 10_000 }, { subscriptions: changing, groups, routes: new RouteTable() })
for (let index = 0; index < 100; index += 1) groups.subscribe(subscriberOf(index), '$share/group/site/#', OPTIONS)
measure('cached: one of 100 members in turn', () => {
  let found = 0
  for (const topic of states) {
    for (const group of cache.match(topic).groups ?? []) {
      if (group.choose(group.hashOf(topic, 'publisher')) !== undefined) found += 1
    }
  }
  return found
})

measure('void each time: 1 filter, 1,000 subscribers', () => {
  let found = 0
  for (let index = 0; index < ROUND; index += 1) {
    changing.subscribe(subscriberOf(index), 'other', OPTIONS)
    found += fanOut.match('fan/out').deliveries.length
  }
  return found
})

weigh('1,000,000 exact routes of one node', 1_000_000, () => {
  const table = new RouteTable()
  for (let index = 0; index < 1_000_000; index += 1)
    table.add('n1@127.0.0.1', Buffer.from(`device/${index}/state`).toString())
  return { table }
})
weigh('100,000 wildcard routes of one node', 100_000, () => {
  const table = new RouteTable()
  for (let index = 0; index < 100_000; index += 1)
    table.add('n1@127.0.0.1', Buffer.from(`device/${index}/+`).toString())
  return { table }
})
weigh('100,000 exact subscriptions', 100_000, () => ({
  table: tableOf(100_000, (index) => Buffer.from(`device/${index}/state`).toString()),
}))
