import assert from 'node:assert/strict'
import { test } from 'node:test'
import { check } from '../../chaos/history/checker.js'
import { guaranteesOf, type StoreKind } from '../../chaos/history/guarantees.js'
import { MONEY, Story, WEATHER } from './story.js'

const SHARE = '$share/crew/#'

function verdict(story: Story, store: StoreKind = 'memory'): string[] {
  return check(story.events, guaranteesOf(store)).map(({ kind, text }) => `${kind}: ${text}`)
}

/** A group of two. */
function crew(): Story {
  return new Story().begins('a', 1, 'n1', SHARE).begins('b', 2, 'n2', SHARE)
}

test('what was acknowledged comes to one member of a group, whichever', () => {
  const story = crew().publishes(WEATHER, 1, 2).receives('a', WEATHER, 2).receives('b', WEATHER, 1)
  assert.deepEqual(verdict(story.quiet()), [])
  assert.deepEqual(verdict(crew().publishes(WEATHER, 1, 2).receives('a', WEATHER, 2).quiet()), [
    'missing in a group: no member of $share/crew/# ever gets p weather/oslo QoS 1 #1, which was acknowledged',
  ])
})

test('a group is promised what comes after all its members have subscribed, and what its filter matches', () => {
  const one = new Story().begins('a', 1, 'n1', SHARE).publishes(WEATHER, 1).begins('b', 2, 'n2', SHARE)
  assert.deepEqual(verdict(one.quiet()), [])
  const other = new Story().begins('a', 1, 'n1', '$share/crew/money/+').publishes(WEATHER, 1)
  assert.deepEqual(verdict(other.quiet()), [])
  assert.equal(verdict(other.publishes(MONEY, 1).quiet()).length, 1)
})

test('what a member had that is gone with its node is promised to nobody, what comes afterwards is', () => {
  const story = crew().publishes(WEATHER, 1).fault('killed', 'n1').heals().publishes(WEATHER, 2)
  story.connects('a', 3, 'n1', false).add({ kind: 'subscribed', client: 'a', filter: SHARE })
  assert.deepEqual(verdict(story.quiet()), [])
  assert.equal(verdict(story.publishes(WEATHER, 3).quiet()).length, 1)
})

test('two members do not both get a message of QoS 2, unless one of them has ended with its node', () => {
  const both = (story: Story): Story => story.receives('a', MONEY, 1).receives('b', MONEY, 1, { connection: 2 })
  const twice = ['twice in a group: a and b of $share/crew/# both get p money/oslo QoS 2 #1']
  assert.deepEqual(verdict(both(crew().publishes(MONEY, 1))), twice)
  const killed = (): Story => both(crew().publishes(MONEY, 1).fault('killed', 'n3'))
  assert.deepEqual(verdict(killed()), [])
  assert.deepEqual(verdict(killed(), 'embedded'), twice)
  const again = crew().publishes(WEATHER, 1).receives('a', WEATHER, 1)
  assert.deepEqual(verdict(again.receives('b', WEATHER, 1, { connection: 2 }), 'embedded'), [])
})

test('one of QoS 1 comes twice to a member only if a node has ended since it was sent, and sessions are adopted', () => {
  const twice = (story: Story): Story => story.receives('a', WEATHER, 1).receives('a', WEATHER, 1)
  const repeat = ['repeat: a gets p weather/oslo QoS 1 #1 again without a reason']
  const killed = (): Story => twice(crew().publishes(WEATHER, 1).fault('killed', 'n2'))
  assert.deepEqual(verdict(killed(), 'redis'), [])
  assert.deepEqual(verdict(killed(), 'embedded'), repeat)
  assert.deepEqual(verdict(twice(crew().publishes(WEATHER, 1)), 'redis'), repeat)
  assert.deepEqual(verdict(twice(crew().fault('killed', 'n2').heals().publishes(WEATHER, 1)), 'redis'), repeat)
  const alone = new Story().begins('a').publishes(WEATHER, 1).fault('killed', 'n2')
  assert.deepEqual(verdict(twice(alone), 'redis'), repeat)
})

test('what was on its way when the node of its publisher was killed is promised, and where it is kept also what that node knows of no group', () => {
  const begin = (stream: typeof MONEY): Story =>
    new Story().begins('a', 1, 'n2', SHARE).begins('b', 2, 'n2', SHARE).sends(stream, 1).fault('killed', 'n1').heals()
  for (const stream of [MONEY, WEATHER]) {
    assert.equal(verdict(begin(stream).sends(stream, 1, true).acks(stream, 1).quiet(), 'embedded').length, 1)
  }
  const again = new Story().begins('a', 1, 'n2', SHARE).fault('drained', 'n1').publishes(WEATHER, 1).heals()
  assert.deepEqual(verdict(again.quiet()), [])
  assert.equal(verdict(again.quiet(), 'embedded').length, 1)
  assert.equal(verdict(again.publishes(WEATHER, 2).quiet()).length, 1)
})

test('what was on its way while all members were on a node that was killed is promised where sessions outlive it', () => {
  const crewOnDisk = (): Story => new Story().begins('a', 1, 'n2', SHARE).begins('b', 2, 'n2', SHARE).sends(WEATHER, 1)
  const story = crewOnDisk().fault('killed', 'n2').acks(WEATHER, 1).publishes(WEATHER, 2).heals()
  assert.equal(verdict(story.quiet(), 'embedded').length, 2)
})
