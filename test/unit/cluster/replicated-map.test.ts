import assert from 'node:assert/strict'
import { afterEach, describe, it } from 'node:test'
import fc from 'fast-check'
import { HybridClock, MAXIMUM_DRIFT_MS } from '../../../src/cluster/hybrid-clock.js'
import {
  MAXIMUM_TOMBSTONES,
  MAXIMUM_VALUE_BYTES,
  MapFeed,
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

  constructor(node: string) {
    this.map = new ReplicatedMap('retained', {
      node,
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

/** A link between two copies: digests, then what differs. */
function synchronize(a: Copy, b: Copy): number {
  const [toB, toA] = [new MapFeed(a.map), new MapFeed(b.map)]
  toB.open()
  toA.open()
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

  it('does not begin before the life before it, when the time of day was set back', () => {
    const clock = new HybridClock(() => 500, 1_000)
    assert.deepEqual(clock.tick(), { time: 1_000, counter: 1 })
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
        // Two rounds, as links compare again and again: what was removed is told only where there is something to remove.
        for (let round = 0; round < 2; round += 1) {
          synchronize(at(0), at(1))
          synchronize(at(1), at(2))
        }
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

  it('forgets removed keys for good, at whatever times its nodes do so', () => {
    const [a, b] = [new Copy('a'), new Copy('b')]
    a.set('gone', 'x')
    a.set('stays', 'y')
    synchronize(a, b)
    a.set('gone', undefined)
    synchronize(a, b)
    assert.deepEqual([a.map.tombstones, b.map.tombstones], [1, 1])
    for (const copy of [a, b]) copy.now += TOMBSTONE_RETENTION_MS + 1
    a.map.purge(a.now)
    // The peer still has it, and another difference makes it send the whole bucket.
    assert.equal(synchronize(a, b), 0)
    a.map.merge({ key: 'gone', value: undefined, time: 1_000_000, counter: 9, node: 'b' })
    assert.equal(a.map.tombstones, 0)
    b.map.purge(b.now)
    assert.deepEqual([a.map.tombstones, b.map.tombstones], [0, 0])
    assert.deepEqual(a.content(), b.content())
  })

  it('remembers a bounded number of removed keys, and forgets the oldest first', () => {
    const a = new Copy('a')
    for (let number = 0; number <= MAXIMUM_TOMBSTONES; number += 1) {
      a.set(`key ${number}`, 'x')
      a.set(`key ${number}`, undefined)
    }
    assert.equal(a.map.tombstones, MAXIMUM_TOMBSTONES)
    assert.equal(a.map.entry('key 0'), undefined)
    assert.notEqual(a.map.entry('key 1'), undefined)
  })

  it('lets a value end everywhere without touching a later one', () => {
    const [a, b, c] = [new Copy('a'), new Copy('b'), new Copy('c')]
    a.set('key', 'old')
    for (const copy of [b, c]) synchronize(a, copy)
    for (const copy of [a, b, c]) copy.now += 5_000
    // One node writes anew while another, which has not heard of it, finds that the old value has ended.
    b.set('key', 'new')
    a.now += 1_000
    a.map.expire('key')
    a.seen.delete('key')
    synchronize(a, c)
    assert.deepEqual(c.content(), [])
    synchronize(b, c)
    synchronize(c, a)
    for (const copy of [a, b, c]) assert.deepEqual(copy.content(), [['key', 'new']])
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
    // The clocks of nodes that cannot hear each other agree on what is later only beyond a millisecond.
    const written = Date.now()
    await eventually(() => assert.notEqual(Date.now(), written))
    b.set('x', 'last')
    for (const proxy of proxies) proxy.heal()
    await meshed(nodes)
    await assertSame({ x: 'last', y: 'from b', z: 'from c' })
  })
})
