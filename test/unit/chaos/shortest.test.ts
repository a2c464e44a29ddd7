import assert from 'node:assert/strict'
import { test } from 'node:test'
import { check } from '../../chaos/history/checker.js'
import { guaranteesOf } from '../../chaos/history/guarantees.js'
import { report } from '../../chaos/history/report.js'
import { shortestOf, shortestOfEachKind } from '../../chaos/history/shortest.js'
import { MONEY, Story, WEATHER } from './story.js'

const TODAY = guaranteesOf('embedded')

/** A message that is lost when its subscriber moves, in the middle of others. */
function lossy(): Story {
  const story = new Story().begins('s', 1).begins('other', 2, 'n2')
  for (let number = 1; number < 50; number += 1) {
    story
      .publishes(WEATHER, number)
      .receives('s', WEATHER, number)
      .receives('other', WEATHER, number, { connection: 2 })
  }
  story.fault('cut', 'n3').closes('s', 1).publishes(WEATHER, 50).receives('other', WEATHER, 50, { connection: 2 })
  story.heals().connects('s', 3, 'n2').publishes(WEATHER, 51)
  return story.receives('s', WEATHER, 51, { connection: 3 }).receives('other', WEATHER, 51, { connection: 2 }).quiet()
}

test('of a long history only those events are left without which it is right', () => {
  const { events } = lossy()
  const [violation, ...others] = check(events, TODAY)
  assert.ok(violation !== undefined)
  assert.deepEqual(others, [])
  const shortest = shortestOf(events, violation, TODAY)
  assert.deepEqual(
    shortest.events.map(({ kind }) => kind),
    ['subscribed', 'send', 'acked', 'quiet'],
  )
  for (const index of shortest.events.keys()) {
    assert.deepEqual(check(shortest.events.toSpliced(index, 1), TODAY), [], `without ${shortest.events[index]?.kind}`)
  }
})

test('of many violations of a kind the one with the shortest history is told', () => {
  const story = new Story().begins('s').publishes(MONEY, 1, 2).receives('s', MONEY, 1).receives('s', MONEY, 2)
  story.later(1_000).receives('s', MONEY, 2).receives('s', MONEY, 1).publishes(WEATHER, 1).quiet()
  const violations = check(story.events, TODAY)
  assert.equal(violations.length, 3)
  const shortest = shortestOfEachKind(story.events, violations, TODAY)
  assert.deepEqual(
    shortest.map(({ violation }) => violation.text),
    ['s gets p money/oslo QoS 2 #2 a second time', 's never gets p weather/oslo QoS 1 #1, which was acknowledged'],
  )
})

test('the report has the seed, the history in order, and apart from it what else happened', () => {
  const { events } = lossy()
  const violations = check(events, TODAY)
  const text = report(7, events, violations, shortestOfEachKind(events, violations, TODAY))
  const [title, ...lines] = text.split('\n')
  assert.equal(title, 'missing (1 in all; seed 7): s never gets p weather/oslo QoS 1 #50, which was acknowledged')
  assert.deepEqual(
    lines.filter((one) => one.startsWith('!')).map((one) => one.slice(16)),
    [
      's is subscribed to #',
      'p sends weather/oslo QoS 1 #50 to n1',
      'p has the acknowledgement of weather/oslo QoS 1 #50',
      'quiet: nobody sends, and everything had the time to arrive',
    ],
  )
  assert.deepEqual(
    lines.filter((one) => one.startsWith('·')).map((one) => one.slice(16)),
    [
      'fault: n3 is cut',
      's has lost connection 1: it is gone',
      'the network is whole and every node runs',
      's sends CONNECT to n2 (connection 3)',
      's is let in by n2, Session Present 1 (connection 3)',
    ],
  )
})
