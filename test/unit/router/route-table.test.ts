import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { DigestAccumulator, type RouteDigest } from '../../../src/router/route-digest.js'
import { type NodeId, RouteTable } from '../../../src/router/route-table.js'
import { filters, matchesNaively, topics } from './topics.js'

const NODES = ['n1@127.0.0.1', 'n2@127.0.0.1', 'n3@127.0.0.1']

function digestOf(all: Iterable<string>): RouteDigest {
  const digest = new DigestAccumulator()
  for (const filter of all) digest.add(filter)
  return digest.value
}

function matched(table: RouteTable, topic: string): NodeId[] {
  const into: NodeId[] = []
  table.matchInto(topic, into)
  return into.sort()
}

function sweepAll(table: RouteTable): void {
  for (let step = 0; step < 1_000_000; step += 1) if (!table.sweep(10)) return
  assert.fail('sweeping never ends')
}

describe('route table', () => {
  it('is what a set of filters per node is, under any sequence of changes', () => {
    const step = fc.record({
      node: fc.constantFrom(...NODES),
      filter: filters,
      action: fc.constantFrom('add', 'add', 'add', 'remove', 'remove', 'clear', 'begin', 'end', 'sweep'),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), fc.array(topics, { maxLength: 5 }), (steps, names) => {
        const table = new RouteTable()
        const model = new Map<NodeId, Set<string>>(NODES.map((node) => [node, new Set()]))
        // What a node has told since its snapshot began.
        const told = new Map<NodeId, Set<string>>()
        for (const { node, filter, action } of steps) {
          const known = model.get(node) ?? new Set()
          const before = table.generation
          let hasChanged = false
          if (action === 'add') {
            hasChanged = !known.has(filter)
            assert.equal(table.add(node, filter), hasChanged)
            known.add(filter)
            told.get(node)?.add(filter)
          } else if (action === 'remove') {
            hasChanged = known.delete(filter)
            told.get(node)?.delete(filter)
            assert.equal(table.remove(node, filter), hasChanged)
          } else if (action === 'begin') {
            table.beginSnapshot(node)
            told.set(node, new Set())
          } else if (action === 'end') {
            const kept = told.get(node) ?? known
            hasChanged = kept.size < known.size
            assert.equal(table.endSnapshot(node), known.size - kept.size)
            for (const each of known) if (!kept.has(each)) known.delete(each)
            told.delete(node)
          } else if (action === 'sweep') {
            table.sweep(2)
          } else {
            hasChanged = known.size > 0
            assert.equal(table.clear(node), known.size)
            known.clear()
            told.get(node)?.clear()
          }
          assert.equal(table.generation > before, hasChanged)
          assert.equal(table.has(node, filter), known.has(filter))
        }
        for (const [node, known] of model) {
          assert.equal(table.count(node), known.size)
          assert.deepEqual([...table.filters(node)].sort(), [...known].sort())
          assert.deepEqual(table.digest(node), digestOf(known))
        }
        const all = [...model.values()].flatMap((known) => [...known])
        assert.equal(table.count(), all.length)
        sweepAll(table)
        assert.equal(table.filterCount, new Set(all).size)
        assert.deepEqual(
          [...table.nodes()].sort(),
          NODES.filter((node) => (model.get(node)?.size ?? 0) > 0),
        )
        for (const topic of names) {
          const wanted = NODES.filter((node) =>
            [...(model.get(node) ?? [])].some((each) => matchesNaively(each, topic)),
          )
          assert.deepEqual(matched(table, topic), wanted)
        }
        for (const node of NODES) table.clear(node)
        assert.equal(table.count(), 0)
        sweepAll(table)
        assert.equal(table.filterCount, 0)
        assert.deepEqual([...table.nodes()], [])
      }),
      { numRuns: 300 },
    )
  })

  it('names a node once, however many of its routes match and whatever the caller has already', () => {
    const table = new RouteTable()
    for (const filter of ['a/b', 'a/+', '#']) for (const node of NODES) table.add(node, filter)
    assert.deepEqual(matched(table, 'a/b'), NODES)
    const into = [NODES[1] as NodeId]
    table.matchInto('a/b', into)
    assert.deepEqual(into.sort(), NODES)
  })

  it('drops a node of a hundred thousand routes in one change', () => {
    const table = new RouteTable()
    for (let index = 0; index < 100_000; index += 1) table.add('n1@127.0.0.1', `device/${index}/state`)
    table.add('n2@127.0.0.1', 'device/7/state')
    const before = table.generation
    assert.equal(table.clear('n1@127.0.0.1'), 100_000)
    assert.equal(table.generation, before + 1)
    assert.deepEqual(matched(table, 'device/7/state'), ['n2@127.0.0.1'])
    assert.deepEqual(matched(table, 'device/8/state'), [])
    sweepAll(table)
    assert.equal(table.filterCount, 1)
  })

  it('says when there is something to sweep, and sweeps while nodes come back', () => {
    const table = new RouteTable()
    let calls = 0
    table.setSweeper(() => {
      calls += 1
    })
    const addAll = () => {
      for (let index = 0; index < 20_000; index += 1) table.add('n1@127.0.0.1', `device/${index}/+`)
    }
    addAll()
    assert.equal(calls, 0)
    assert.equal(table.sweep(1_000), false, 'nothing has ended')
    table.clear('n1@127.0.0.1')
    assert.equal(calls, 1)
    assert.equal(table.sweep(1_000), true)
    addAll()
    sweepAll(table)
    assert.equal(table.count('n1@127.0.0.1'), 20_000)
    assert.deepEqual(matched(table, 'device/19999/state'), ['n1@127.0.0.1'])
    table.clear('n1@127.0.0.1')
    sweepAll(table)
    assert.equal(table.filterCount, 0)
    assert.deepEqual(matched(table, 'device/19999/state'), [])
  })
})

describe('route digest', () => {
  it('depends on the set alone, not on the order or on what came and went', () => {
    fc.assert(
      fc.property(fc.uniqueArray(filters), fc.uniqueArray(filters), (kept, gone) => {
        const digest = new DigestAccumulator()
        const passing = gone.filter((filter) => !kept.includes(filter))
        for (const filter of [...passing, ...kept]) digest.add(filter)
        for (const filter of passing) digest.remove(filter)
        assert.deepEqual(digest.value, digestOf([...kept].reverse()))
      }),
    )
  })

  it('differs in both halves when one filter of many is another', () => {
    const all = Array.from({ length: 1_000 }, (_, index) => `device/${index}/state`)
    const seen = { high: new Set<number>(), low: new Set<number>() }
    for (const left of all) {
      const { high, low } = digestOf(all.filter((filter) => filter !== left))
      seen.high.add(high)
      seen.low.add(low)
    }
    assert.equal(seen.high.size, all.length)
    assert.equal(seen.low.size, all.length)
  })

  it('has the values that other versions of the program compute, since peers compare them', () => {
    assert.deepEqual(digestOf(['sport/tennis/#', '+/ü😀']), { count: 2, high: 752_055_691, low: 347_853_939 })
  })
})
