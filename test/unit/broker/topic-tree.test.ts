import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { TopicTree } from '../../../src/broker/topic-tree.js'

interface Named {
  topic: string
}

/** The rules of MQTT 5.0 section 4.7, read level by level. */
function matches(filter: string, topic: string): boolean {
  const [wanted, levels] = [filter.split('/'), topic.split('/')]
  if (topic.startsWith('$') && (wanted[0] === '+' || wanted[0] === '#')) return false
  for (const [index, level] of wanted.entries()) {
    if (level === '#') return index <= levels.length
    if (index >= levels.length || (level !== '+' && level !== levels[index])) return false
  }
  return wanted.length === levels.length
}

function found(tree: TopicTree<Named>, filter: string): string[] {
  return [...tree.matching(filter)].flatMap((topic) => topic ?? []).sort()
}

const LEVEL = fc.constantFrom('', 'a', 'b', '$a', '$SYS', 'c')
const TOPIC = fc.array(LEVEL, { minLength: 1, maxLength: 5 }).map((levels) => levels.join('/'))
const FILTER = fc
  .tuple(fc.array(fc.oneof(LEVEL, fc.constant('+')), { maxLength: 4 }), fc.constantFrom('#', '+', 'a', ''))
  .map(([levels, last]) => [...levels, last].join('/'))

describe('topic tree', () => {
  it('finds what a naive matcher finds, through any sets and deletes', () => {
    const step = fc.tuple(fc.boolean(), TOPIC)
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 40 }),
        fc.array(FILTER, { minLength: 1, maxLength: 8 }),
        (steps, filters) => {
          const tree = new TopicTree<Named>()
          const model = new Map<string, Named>()
          for (const [isSet, topic] of steps) {
            if (isSet) {
              const value = { topic }
              tree.set(topic, value)
              model.set(topic, value)
            } else assert.equal(tree.delete(topic) !== undefined, model.delete(topic))
            assert.equal(tree.size, model.size)
            assert.equal(tree.get(topic), model.get(topic))
          }
          for (const filter of filters) {
            const expected = [...model.keys()].filter((topic) => matches(filter, topic)).sort()
            assert.deepEqual(found(tree, filter), expected, filter)
          }
        },
      ),
    )
  })

  it('gives the parent level of # too, and $ topics only by name [MQTT-4.7.1-2] [MQTT-4.7.2-1]', () => {
    const tree = new TopicTree<Named>()
    for (const topic of ['sport', 'sport/x', '$SYS/x', '/x']) tree.set(topic, { topic })
    assert.deepEqual(found(tree, 'sport/#'), ['sport', 'sport/x'])
    assert.deepEqual(found(tree, '#'), ['/x', 'sport', 'sport/x'])
    assert.deepEqual(found(tree, '+/x'), ['/x', 'sport/x'])
    assert.deepEqual(found(tree, '$SYS/#'), ['$SYS/x'])
  })

  it('is not confused by names that objects have', () => {
    const tree = new TopicTree<Named>()
    assert.deepEqual(found(tree, '__proto__/constructor'), [])
    tree.set('__proto__/constructor', { topic: 'x' })
    assert.equal(tree.get('__proto__/constructor')?.topic, 'x')
  })

  it('finds its way through a topic of thousands of levels', () => {
    const tree = new TopicTree<Named>()
    const topic = 'a/'.repeat(30_000)
    tree.set(topic, { topic })
    assert.equal(found(tree, '#').length, 1)
    assert.equal(found(tree, `${'+/'.repeat(30_000)}+`).length, 1)
    assert.deepEqual(tree.delete(topic), { topic })
  })

  it('rests now and then on its way through a level of many topics, which come and go meanwhile', () => {
    const tree = new TopicTree<Named>()
    const name = (number: number): string => `a name that is longer than a few characters ${number}`
    for (let number = 0; number < 20_000; number += 1) tree.set(`x/${name(number)}`, { topic: '' })
    const seen = new Set<string>()
    let between = 0
    let longest = 0
    for (const topic of tree.matching('x/+')) {
      between = topic === undefined ? 0 : between + 1
      longest = Math.max(longest, between)
      if (topic === undefined) continue
      assert.equal(seen.has(topic), false)
      seen.add(topic)
      if (seen.size === 10) for (let number = 10_000; number < 20_000; number += 1) tree.delete(`x/${name(number)}`)
      if (seen.size === 20) tree.set('x/new', { topic: '' })
    }
    assert.ok(longest < 1_000, `${longest} topics without a rest`)
    for (let number = 0; number < 10_000; number += 1) assert.ok(seen.has(`x/${name(number)}`))
    assert.equal(tree.size, 10_001)
  })
})
