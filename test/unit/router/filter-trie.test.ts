import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { FilterTrie } from '../../../src/router/filter-trie.js'
import { filters, matchesNaively, topics } from './topics.js'

const DEEP = 10_000

function trieOf(...all: string[]): FilterTrie<string> {
  const trie = new FilterTrie<string>()
  for (const filter of all) trie.insert(filter, filter)
  return trie
}

function matched(trie: FilterTrie<string>, topic: string): string[] {
  const into: string[] = []
  trie.matchInto(topic, into)
  return into.sort()
}

describe('filter trie', () => {
  it('finds what a naive matcher finds, for any filters and topics', () => {
    fc.assert(
      fc.property(fc.uniqueArray(filters, { maxLength: 40 }), fc.array(topics, { maxLength: 20 }), (all, names) => {
        const trie = trieOf(...all)
        for (const topic of names) {
          assert.deepEqual(matched(trie, topic), all.filter((filter) => matchesNaively(filter, topic)).sort(), topic)
        }
      }),
      { numRuns: 500 },
    )
  })

  it('may be read while filters come and go: those that stay are all read, and once', () => {
    const step = fc.record({ filter: filters, isInsert: fc.boolean(), reads: fc.nat(2) })
    fc.assert(
      fc.property(
        fc.uniqueArray(filters, { minLength: 3, maxLength: 30 }),
        fc.array(step, { maxLength: 60 }),
        (all, steps) => {
          const trie = trieOf(...all)
          const read: string[] = []
          const values = trie.values()
          const readOne = (): boolean => {
            const next = values.next()
            if (next.done !== true) read.push(next.value)
            return next.done !== true
          }
          const moved = new Set<string>()
          for (const { filter, isInsert, reads } of steps) {
            for (let count = 0; count < reads; count += 1) readOne()
            moved.add(filter)
            if (isInsert) trie.insert(filter, filter)
            else trie.remove(filter)
          }
          while (readOne());
          const stayed = all.filter((filter) => !moved.has(filter))
          assert.deepEqual(read.filter((filter) => stayed.includes(filter)).sort(), stayed.sort())
        },
      ),
      { numRuns: 1_000 },
    )
  })

  it('is a map of filters under any sequence of inserts and removals, and empty in the end', () => {
    const step = fc.record({ filter: filters, isInsert: fc.boolean() })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), topics, (steps, topic) => {
        const trie = new FilterTrie<string>()
        const model = new Map<string, string>()
        for (const [index, { filter, isInsert }] of steps.entries()) {
          const expected = model.get(filter)
          if (isInsert) {
            assert.equal(trie.insert(filter, `${index}`), expected)
            model.set(filter, `${index}`)
          } else {
            assert.equal(trie.remove(filter), expected)
            model.delete(filter)
          }
          assert.equal(trie.size, model.size)
        }
        for (const { filter } of steps) assert.equal(trie.get(filter), model.get(filter))
        assert.deepEqual([...trie.values()].sort(), [...model.values()].sort())
        const expected = [...model].filter(([filter]) => matchesNaively(filter, topic)).map(([, value]) => value)
        assert.deepEqual(matched(trie, topic), expected.sort())
        for (const filter of model.keys()) trie.remove(filter)
        assert.equal(trie.size, 0)
        assert.equal(trie.countNodes(), 0)
      }),
      { numRuns: 500 },
    )
  })

  it('holds exactly the levels its filters need, whatever was there before', () => {
    const both = fc.tuple(fc.uniqueArray(filters, { maxLength: 20 }), fc.uniqueArray(filters, { maxLength: 20 }))
    fc.assert(
      fc.property(both, ([kept, gone]) => {
        const trie = trieOf(...kept, ...gone)
        for (const filter of gone) if (!kept.includes(filter)) trie.remove(filter)
        assert.equal(trie.countNodes(), trieOf(...kept).countNodes())
      }),
    )
  })

  it('[MQTT-4.7.2-1] keeps topics that start with $ from filters that start with a wildcard', () => {
    const trie = trieOf('#', '+', '+/b', '$SYS/#', '$SYS/+', 'a/#')
    assert.deepEqual(matched(trie, '$SYS/b'), ['$SYS/#', '$SYS/+'])
    assert.deepEqual(matched(trie, '$SYS'), ['$SYS/#'])
    assert.deepEqual(matched(trie, 'a/$SYS'), ['#', 'a/#'])
  })

  it('matches the parent level with # and empty levels with +', () => {
    const trie = trieOf('sport/#', 'sport/+', '+/+', '/+', '#')
    assert.deepEqual(matched(trie, 'sport'), ['#', 'sport/#'])
    assert.deepEqual(matched(trie, 'sport/'), ['#', '+/+', 'sport/#', 'sport/+'])
    assert.deepEqual(matched(trie, '/x'), ['#', '+/+', '/+'])
    assert.deepEqual(matched(trie, '/'), ['#', '+/+', '/+'])
    assert.deepEqual(matched(trie, 'sport/a/b'), ['#', 'sport/#'])
  })

  it('appends to what the caller has already', () => {
    const into = ['earlier']
    trieOf('a/+').matchInto('a/b', into)
    assert.deepEqual(into, ['earlier', 'a/+'])
  })

  it('takes filters and topics of ten thousand levels', () => {
    const name = Array.from({ length: DEEP }, (_, index) => `${index % 10}`).join('/')
    const plus = Array.from({ length: DEEP }, () => '+').join('/')
    const trie = trieOf(`${name}/#`, plus, `${plus}/#`, `${plus}/x`)
    assert.deepEqual(matched(trie, name), [plus, `${plus}/#`, `${name}/#`].sort())
    assert.deepEqual(matched(trie, '/'.repeat(DEEP - 1)), [plus, `${plus}/#`].sort())
    assert.equal(trie.get(plus), plus)
    assert.equal(trie.countNodes(), 2 * DEEP + 1)
    for (const filter of [...trie.values()]) trie.remove(filter)
    assert.equal(trie.countNodes(), 0)
  })

  it('visits no more levels than it holds when every level branches', () => {
    const levels = 12
    const trie = new FilterTrie<string>()
    for (let bits = 0; bits < 2 ** levels; bits += 1) {
      const filter = Array.from({ length: levels }, (_, level) => ((bits >> level) & 1 ? '+' : 'a')).join('/')
      trie.insert(filter, filter)
    }
    assert.equal(matched(trie, Array(levels).fill('a').join('/')).length, 2 ** levels)
    assert.deepEqual(matched(trie, Array(levels).fill('b').join('/')), [Array(levels).fill('+').join('/')])
  })
})
