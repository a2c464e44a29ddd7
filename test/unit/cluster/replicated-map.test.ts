import assert from 'node:assert/strict'
import { afterEach, describe, it } from 'node:test'
import fc from 'fast-check'
import { HybridClock, MAXIMUM_DRIFT_MS } from '../../../src/cluster/hybrid-clock.js'
import { MapFeed, REPEAT_AFTER_CHECKS } from '../../../src/cluster/map-feed.js'
import {
  MAXIMUM_TOMBSTONES,
  MAXIMUM_VALUE_BYTES,
  ReplicatedMap,
  TOMBSTONE_RETENTION_MS,
} from '../../../src/cluster/replicated-map.js'
import { CuttableProxy } from '../../support/cuttable-proxy.js'
import { eventually } from '../../support/eventually.js'
import { meshed, stopAll, TestNode } from './test-cluster.js'

/** A node's map with a clock that a test sets, and what its owner was told. */
class Copy {
  now = 1_000_000
  readonly seen = new Map<string, string>()
  readonly map: ReplicatedMap
  readonly written: string[] = []

  constructor(node: string, maximumTombstones = MAXIMUM_TOMBSTONES) {
    this.map = new ReplicatedMap('retained', {
      node,
      maximumTombstones,
      deadlineOf: (value) => Number(/until (\d+)/.exec(value.toString())?.[1] ?? 0),
      clock: new HybridClock(() => this.now),
      onChange: (key, value) => {
        if (value === undefined) this.seen.delete(key)
        else this.seen.set(key, value.toString())
      },
      onWritten: (key) => this.written.push(key),
    })
  }

  /** As the broker does: keeps its own, and tells the map. */
  set(key: string, value: string | undefined): void {
    if (value === undefined) this.seen.delete(key)
    else this.seen.set(key, value)
    this.map.set(key, value === undefined ? undefined : Buffer.from(value))
  }

  content(): [string, string][] {
    return [...this.seen].sort(([a], [b]) => (a < b ? -1 : 1))
  }
}

/** The two ends of a link that is up. */
function openFeeds(a: Copy, b: Copy): [MapFeed, MapFeed] {
  const feeds: [MapFeed, MapFeed] = [new MapFeed(a.map), new MapFeed(b.map)]
  for (const feed of feeds) feed.open()
  return feeds
}

/** Digests over a link between two copies, a new one unless given, then what differs. Returns how many entries went. */
function synchronize(a: Copy, b: Copy, [toB, toA] = openFeeds(a, b)): number {
  toB.check()
  toA.check()
  let entries = 0
  for (let isBusy = true; isBusy; ) {
    isBusy = false
    for (const [feed, back, target] of [
      [toB, toA, b],
      [toA, toB, a],
    ] as const) {
      const body = feed.next()
      if (body === undefined) continue
      isBusy = true
      if (body.$case === 'mapCheck') back.takeCheck(body.value.buckets)
      if (body.$case !== 'mapEntries') continue
      entries += body.value.entries.length
      for (const entry of body.value.entries) target.map.merge(entry)
    }
  }
  return entries
}

describe('the hybrid clock', () => {
  it('never goes back and is after everything it has seen, whatever the time of day does', () => {
    const clocks = fc.array(
      fc.record({ now: fc.integer({ min: 0, max: 100_000 }), seen: fc.integer({ min: 0, max: 100_000 }) }),
    )
    fc.assert(
      fc.property(clocks, (steps) => {
        let now = 0
        const clock = new HybridClock(() => now)
        let last = { time: -1, counter: 0 }
        for (const step of steps) {
          now = step.now
          if (clock.observe({ time: step.seen, counter: 3 }) && step.seen >= last.time)
            last = { time: step.seen, counter: 3 }
          const next = clock.tick()
          assert.equal(next.time > last.time || (next.time === last.time && next.counter > last.counter), true)
          last = next
        }
      }),
    )
  })

  it('begins where it is told to, when the time of day was set back', () => {
    let now = 500
    const clock = new HybridClock(() => now, 1_000)
    assert.deepEqual(clock.tick(), { time: 1_000, counter: 1 })
    now = 2_000
    assert.deepEqual(clock.tick(), { time: 2_000, counter: 0 })
  })

  it('does not follow a clock that is far ahead', () => {
    const clock = new HybridClock(() => 1_000)
    assert.equal(clock.observe({ time: 1_000 + MAXIMUM_DRIFT_MS + 1, counter: 0 }), false)
    assert.equal(clock.tick().time, 1_000)
  })
})

describe('a replicated map', () => {
  it('is the same on all nodes in the end, whoever wrote and whoever met whom', () => {
    const step = fc.oneof(
      fc.record({
        kind: fc.constant('set' as const),
        at: fc.nat(2),
        key: fc.constantFrom('a', 'b', 'c', 'd'),
        value: fc.option(fc.constantFrom('1', '2', '3'), { nil: undefined }),
        passed: fc.integer({ min: -50, max: 50 }),
      }),
      fc.record({ kind: fc.constant('meet' as const), at: fc.nat(2), with: fc.nat(2) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        const copies = [new Copy('a@h'), new Copy('b@h'), new Copy('c@h')]
        const at = (index: number): Copy => copies[index] as Copy
        for (const one of steps) {
          if (one.kind === 'set') {
            at(one.at).now += one.passed
            at(one.at).set(one.key, one.value)
          } else if (one.at !== one.with) synchronize(at(one.at), at(one.with))
        }
        synchronize(at(0), at(1))
        synchronize(at(1), at(2))
        synchronize(at(0), at(1))
        assert.deepEqual(at(0).content(), at(1).content())
        assert.deepEqual(at(1).content(), at(2).content())
        assert.deepEqual(at(0).map.buckets(), at(2).map.buckets())
        assert.equal(at(0).map.size, at(0).content().length)
      }),
      { numRuns: 300 },
    )
  })

  it('sends only buckets that differ when nodes meet again', () => {
    const [a, b] = [new Copy('a@h'), new Copy('b@h')]
    for (let number = 0; number < 5_000; number += 1) a.set(`topic/${number}`, 'x')
    assert.equal(synchronize(a, b), 5_000)
    assert.equal(synchronize(a, b), 0)
    b.now += 1
    b.set('topic/7', 'y')
    const sent = synchronize(a, b)
    assert.equal(sent > 0 && sent < 100, true, `${sent} entries for one that changed`)
    assert.equal(a.seen.get('topic/7'), 'y')
  })

  it('knows when it has all that the peer had, however much that is and whatever is written meanwhile', () => {
    const [a, b] = [new Copy('a'), new Copy('b')]
    for (let number = 0; number < 5_000; number += 1) a.set(`key/${number}`, `${number}`)
    b.set('own', 'x')
    const [toB, toA] = openFeeds(a, b)
    let checks = 0
    for (let written = 0; !toA.isWhole; written += 1) {
      assert.equal(written < 1_000, true, 'b never has everything')
      a.set('busy', `${written}`)
      toB.add('busy')
      const fromA = toB.next()
      if (fromA?.$case === 'mapEntries') for (const entry of fromA.value.entries) b.map.merge(entry)
      if (fromA?.$case === 'mapCheck') {
        checks += 1
        toA.takeCheck(fromA.value.buckets)
      }
      const fromB = toA.next()
      if (fromB?.$case === 'mapEntries') for (const entry of fromB.value.entries) a.map.merge(entry)
      if (fromB?.$case === 'mapCheck') toB.takeCheck(fromB.value.buckets)
    }
    assert.equal(b.seen.size >= 5_001, true, `${b.seen.size} keys`)
    assert.equal(checks, 2)
  })

  it('has all that the peer had at once when that is the same', () => {
    const [a, b] = [new Copy('a'), new Copy('b')]
    a.set('x', '1')
    synchronize(a, b)
    const [toB, toA] = openFeeds(a, b)
    assert.deepEqual([toB.isWhole, toA.isWhole], [false, false])
    const check = toB.next()
    assert.equal(check?.$case, 'mapCheck')
    if (check?.$case === 'mapCheck') toA.takeCheck(check.value.buckets)
    assert.equal(toA.isWhole, true)
  })

  it('remembers removed keys for a day, so that nobody who was away brings them back', () => {
    const [a, b] = [new Copy('a@h'), new Copy('b@h')]
    a.set('x', '1')
    synchronize(a, b)
    a.now += 1
    a.set('x', undefined)
    synchronize(a, b)
    assert.deepEqual(b.content(), [])
    assert.equal(a.map.tombstones, 1)
    a.map.purge(a.now + TOMBSTONE_RETENTION_MS - 1)
    assert.equal(a.map.tombstones, 1)
    for (const { map } of [a, b]) map.purge(a.now + TOMBSTONE_RETENTION_MS)
    assert.equal(a.map.tombstones, 0)
    assert.deepEqual(a.map.buckets(), new Copy('c@h').map.buckets())
  })

  it('forgets removed keys for good, at whatever times its nodes look', () => {
    const [a, b] = [new Copy('a@h'), new Copy('b@h')]
    a.set('gone', 'x')
    a.set('gone', undefined)
    synchronize(a, b)
    const tombstone = b.map.entry('gone')
    assert.ok(tombstone !== undefined)
    for (const copy of [a, b]) copy.now += TOMBSTONE_RETENTION_MS
    a.map.purge(a.now)
    assert.deepEqual([a.map.tombstones, b.map.tombstones], [0, 1])
    assert.equal(synchronize(a, b), 0, 'a tombstone that is due to be forgotten is no difference')
    assert.equal(a.map.merge(tombstone), false)
    assert.deepEqual([a.map.tombstones, b.map.tombstones], [0, 0])
  })

  it('takes a removal of any age of a key that it still has', () => {
    const [a, b] = [new Copy('a@h'), new Copy('b@h')]
    a.set('x', '1')
    synchronize(a, b)
    a.set('x', undefined)
    const removal = a.map.entry('x')
    assert.ok(removal !== undefined)
    b.now += TOMBSTONE_RETENTION_MS
    assert.equal(b.map.merge(removal), true)
    assert.deepEqual(b.content(), [])
  })

  it('remembers a bounded number of removed keys, forgets the oldest first and counts it', () => {
    const a = new Copy('a@h', 10)
    a.set('kept', 'x')
    for (let number = 0; number < 1_000; number += 1) {
      a.set(`key ${number}`, 'x')
      a.set(`key ${number}`, undefined)
    }
    assert.deepEqual([a.map.size, a.map.tombstones, a.map.forgottenTombstones], [1, 10, 990])
    assert.equal(a.map.entry('key 989'), undefined)
    assert.equal(a.map.entry('key 990')?.value, undefined)
    assert.notEqual(a.map.entry('key 990'), undefined)
    // A key that has a value again is no removed key.
    for (let number = 990; number < 1_000; number += 1) a.set(`key ${number}`, 'y')
    assert.deepEqual([a.map.size, a.map.tombstones, a.map.forgottenTombstones], [11, 0, 990])
    a.set('key 990', undefined)
    assert.notEqual(a.map.entry('key 990'), undefined)
  })

  it('agrees with its peers on which removed keys were too many, and resends none of them', () => {
    const [a, b] = [new Copy('a@h', 10), new Copy('b@h', 10)]
    for (let number = 0; number < 30; number += 1) {
      const copy = number % 3 === 0 ? a : b
      copy.now += 1
      copy.set(`key ${number}`, 'x')
      copy.set(`key ${number}`, undefined)
    }
    synchronize(a, b)
    assert.deepEqual([a.map.tombstones, b.map.tombstones], [10, 10])
    assert.deepEqual(a.map.buckets(), b.map.buckets())
    const forgotten = [a.map.forgottenTombstones, b.map.forgottenTombstones]
    assert.equal(a.map.merge({ key: 'old', value: undefined, time: 999_999, counter: 0, node: 'c@h' }), false)
    assert.equal(synchronize(a, b), 0)
    assert.deepEqual([a.map.forgottenTombstones, b.map.forgottenTombstones], forgotten)
  })

  it('lets a value end without touching a later one, also of the same millisecond', () => {
    const [a, b] = [new Copy('a@h'), new Copy('b@h')]
    a.set('x', 'first')
    synchronize(a, b)
    a.set('x', 'second')
    b.map.expire('x')
    b.seen.delete('x')
    synchronize(a, b)
    assert.deepEqual(b.content(), [['x', 'second']])
    a.map.expire('x')
    assert.equal(synchronize(a, b), 0, 'an end is no difference: every node finds it by itself')
  })

  it('frees a value on every node when its time is over, without a word between them', () => {
    const [a, b, late] = [new Copy('a@h'), new Copy('b@h'), new Copy('c@h')]
    a.set('x', 'until 1000500')
    a.set('y', 'for ever')
    synchronize(a, b)
    const entry = a.map.entry('x')
    assert.ok(entry !== undefined)
    for (const copy of [a, b, late]) copy.now += 500
    a.map.purge(a.now - 1)
    assert.equal(a.map.size, 2)
    a.map.purge(a.now)
    assert.deepEqual([a.map.get('x'), a.map.size, b.map.size], [undefined, 1, 2])
    assert.deepEqual(a.content(), [['y', 'for ever']])
    assert.deepEqual(a.written, ['x', 'y'], 'nothing to tell the peers')
    assert.equal(a.map.merge(entry), false, 'and it does not come back')
    assert.equal(synchronize(a, b), 0)
    assert.deepEqual([b.map.size, b.content()], [1, [['y', 'for ever']]])
    late.map.merge(entry)
    assert.deepEqual([late.map.get('x'), late.content()], [undefined, []])
    for (const copy of [a, b]) copy.now += TOMBSTONE_RETENTION_MS
    synchronize(a, b)
    assert.deepEqual([a.map.tombstones, b.map.tombstones], [0, 0])
    assert.equal(a.map.merge(entry), false)
  })

  it('lets a value end without touching a later one, and without bringing back an earlier one', () => {
    const [a, b, away] = [new Copy('a@h'), new Copy('b@h'), new Copy('c@h')]
    a.set('x', 'first, for ever')
    for (const copy of [b, away]) synchronize(a, copy)
    a.set('x', 'until 1000500')
    synchronize(a, b)
    // In the millisecond of the write that ends, by its writer: the next timestamp there is.
    a.set('x', 'last')
    b.now += 500
    b.map.purge(b.now)
    synchronize(b, away)
    assert.deepEqual([b.content(), away.content()], [[], []])
    for (const copy of [b, away]) synchronize(a, copy)
    for (const copy of [a, b, away]) assert.deepEqual(copy.content(), [['x', 'last']])
  })

  it('does not send again at every check what the peer has refused, and tries again in time', () => {
    const [a, b] = [new Copy('a@h'), new Copy('b@h')]
    a.now += MAXIMUM_DRIFT_MS + 1
    a.set('x', 'from the future')
    const feeds = openFeeds(a, b)
    assert.equal(synchronize(a, b, feeds), 1)
    assert.equal(b.map.refusedEntries, 1)
    for (let check = 2; check < REPEAT_AFTER_CHECKS; check += 1) assert.equal(synchronize(a, b, feeds), 0)
    assert.equal(b.map.refusedEntries, 1)
    b.now += 1
    for (let check = 0; check < 2; check += 1) synchronize(a, b, feeds)
    assert.deepEqual(b.content(), [['x', 'from the future']])
  })

  it('sends what is new beside what the peer has refused at the next check', () => {
    const [a, b] = [new Copy('a@h'), new Copy('b@h')]
    a.now += MAXIMUM_DRIFT_MS + 1
    a.set('x', 'from the future')
    const feeds = openFeeds(a, b)
    synchronize(a, b, feeds)
    b.now += 1
    a.set('x', 'later')
    synchronize(a, b, feeds)
    assert.deepEqual(b.content(), [['x', 'later']])
  })

  it('keeps bytes of its own, and leaves a value that no link carries on its node', () => {
    const a = new Copy('a@h')
    const value = Buffer.from('before')
    a.map.set('x', value)
    value.write('after!')
    assert.equal(a.map.get('x')?.toString(), 'before')
    a.map.set('x', Buffer.alloc(MAXIMUM_VALUE_BYTES + 1))
    assert.equal(a.map.get('x'), undefined)
    assert.equal(a.map.oversizedValues, 1)
  })
})

describe('a replicated map in a cluster', () => {
  let nodes: TestNode[] = []
  let proxies: CuttableProxy[] = []

  afterEach(async () => {
    await stopAll(nodes)
    await Promise.all(proxies.map((proxy) => proxy.stop()))
    nodes = []
    proxies = []
  })

  it('is everywhere at once, at late joiners, and the same again after a split', async () => {
    const seen = new Map<string, Map<string, string>>()
    const replicaOf = (node: TestNode) => {
      const content = new Map<string, string>()
      seen.set(node.name, content)
      const replica = node.cluster.replica('retained', (key, value) => {
        if (value === undefined) content.delete(key)
        else content.set(key, value.toString())
      })
      return {
        set(key: string, value: string | undefined) {
          if (value === undefined) content.delete(key)
          else content.set(key, value)
          replica.set(key, value === undefined ? undefined : Buffer.from(value))
        },
      }
    }
    const join = async (name: string) => {
      const proxy: CuttableProxy = new CuttableProxy(() => Number(node.address.split(':')[1]))
      await proxy.start()
      const node = new TestNode(name, { advertise: proxy.address, seeds: proxies.map(({ address }) => address) })
      const replica = replicaOf(node)
      proxies.push(proxy)
      nodes.push(node)
      await node.cluster.start()
      return replica
    }
    const assertSame = (expected: Record<string, string>) =>
      eventually(() => {
        for (const [, content] of seen) assert.deepEqual(Object.fromEntries(content), expected)
      })
    const a = await join('a')
    const b = await join('b')
    await meshed(nodes)
    a.set('x', '1')
    await assertSame({ x: '1' })
    b.set('x', '2')
    b.set('y', '3')
    await assertSame({ x: '2', y: '3' })
    b.set('y', undefined)
    await assertSame({ x: '2' })
    const c = await join('c')
    await meshed(nodes)
    await assertSame({ x: '2' })

    for (const proxy of proxies) proxy.split()
    a.set('x', 'from a')
    b.set('y', 'from b')
    c.set('x', undefined)
    c.set('z', 'from c')
    b.set('x', 'last')
    for (const proxy of proxies) proxy.heal()
    await meshed(nodes)
    await assertSame({ x: 'last', y: 'from b', z: 'from c' })
  })

  it('is whole before a node that joins says that it is ready', async () => {
    const a = new TestNode('a')
    nodes.push(a)
    const replica = a.cluster.replica('small', () => {})
    await a.cluster.start()
    for (let number = 0; number < 20_000; number += 1) replica.set(`key/${number}`, Buffer.from(`${number}`))
    const b = new TestNode('b', { seeds: [a.address] })
    nodes.push(b)
    let taken = 0
    b.cluster.replica('small', () => {
      taken += 1
    })
    await b.cluster.start()
    await b.cluster.whenReady()
    assert.equal(taken, 20_000)
  })
})
