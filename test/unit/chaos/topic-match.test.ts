import assert from 'node:assert/strict'
import { test } from 'node:test'
import { matches } from '../../chaos/history/topic-match.js'

test('the checker knows which filters match a topic [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.2-1]', () => {
  const filtersOf = (topic: string): string[] =>
    ['#', '+', '+/+', 'a/#', 'a/+', 'a/b', 'a/b/#', '+/b', '/+', '$SYS/#'].filter((filter) => matches(filter, topic))
  assert.deepEqual(filtersOf('a'), ['#', '+', 'a/#'])
  assert.deepEqual(filtersOf('a/b'), ['#', '+/+', 'a/#', 'a/+', 'a/b', 'a/b/#', '+/b'])
  assert.deepEqual(filtersOf('/a'), ['#', '+/+', '/+'])
  assert.deepEqual(filtersOf('$SYS/a'), ['$SYS/#'])
})
