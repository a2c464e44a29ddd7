import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { covers, overlaps } from '../../../src/access/topic-area.js'
import { topicFilterProblem } from '../../../src/mqtt/wire/topic.js'
import { matchesNaively } from '../router/topics.js'

/** Levels of filters; topics have one literal more, which stands for all that no filter names. */
const LITERALS = ['a', 'b', '', '$s']
const DEEPEST_FILTER = 3

const filter = fc
  .tuple(fc.array(fc.constantFrom(...LITERALS, '+'), { maxLength: DEEPEST_FILTER }), fc.boolean())
  .map(([levels, isOpen]) => (isOpen ? [...levels, '#'] : levels).join('/'))
  .filter((text) => topicFilterProblem(text) === undefined)

/** Every topic that can tell two filters of that depth apart; the empty one is among them, as `covers` says. */
const TOPICS = topicsUpTo(DEEPEST_FILTER + 2)

function topicsUpTo(depth: number): string[] {
  if (depth === 0) return []
  const levels = [...LITERALS, 'other']
  return levels.flatMap((level) => [level, ...topicsUpTo(depth - 1).map((rest) => `${level}/${rest}`)])
}

function levelsOf(text: string): string[] {
  return text.split('/')
}

test('a filter covers another one when it matches every topic that the other matches', () => {
  fc.assert(
    fc.property(filter, filter, (outer, inner) => {
      const expected = TOPICS.every((topic) => !matchesNaively(inner, topic) || matchesNaively(outer, topic))
      assert.equal(covers(levelsOf(outer), levelsOf(inner)), expected, `${outer} covers ${inner}`)
    }),
    { numRuns: 2_000 },
  )
})

test('two filters overlap when a topic matches both, whichever is asked first', () => {
  fc.assert(
    fc.property(filter, filter, (left, right) => {
      const expected = TOPICS.some((topic) => matchesNaively(left, topic) && matchesNaively(right, topic))
      assert.equal(overlaps(levelsOf(left), levelsOf(right)), expected, `${left} and ${right}`)
      assert.equal(overlaps(levelsOf(right), levelsOf(left)), expected, `${right} and ${left}`)
    }),
    { numRuns: 2_000 },
  )
})

test('a filter covers a topic when it matches it', () => {
  fc.assert(
    fc.property(filter, fc.constantFrom(...TOPICS), (one, topic) => {
      assert.equal(covers(levelsOf(one), levelsOf(topic)), matchesNaively(one, topic), `${one} matches ${topic}`)
    }),
    { numRuns: 2_000 },
  )
})

const CASES: readonly (readonly [outer: string, inner: string, isCovered: boolean])[] = [
  ['a/#', 'a/+', true],
  ['a/#', 'a', true],
  ['a/#', 'a/#', true],
  ['+/b', '#', false],
  ['+/b', 'a/b', true],
  ['a/+', 'a/#', false],
  ['#', '+/+', true],
  ['+/#', '#', true],
  ['#', '$SYS/#', false],
  ['+/x', '$SYS/x', false],
  ['$SYS/#', '#', false],
  ['$SYS/#', '$SYS/broker/+', true],
  ['a/b', 'a/b/c', false],
]

for (const [outer, inner, isCovered] of CASES) {
  test(`${outer} ${isCovered ? 'covers' : 'does not cover'} ${inner}`, () => {
    assert.equal(covers(levelsOf(outer), levelsOf(inner)), isCovered)
  })
}
