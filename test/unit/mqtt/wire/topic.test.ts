import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  filterMatches,
  isShared,
  isWildcard,
  levelCount,
  parseShared,
  topicFilterProblem,
  topicNameProblem,
} from '../../../../src/mqtt/wire/topic.js'

describe('topic names', () => {
  test('may be any text, also with empty levels and spaces', () => {
    for (const topic of ['a', '/', '//', 'a/b', '/a/', '$SYS/x', 'a b', 'grüße', 'x'.repeat(65_535)]) {
      assert.equal(topicNameProblem(topic), undefined, topic.slice(0, 20))
    }
  })

  for (const [topic, statement] of [
    ['', /MQTT-4\.7\.3-1/],
    ['a/+', /MQTT-3\.3\.2-2/],
    ['#', /MQTT-3\.3\.2-2/],
    ['a+b', /MQTT-3\.3\.2-2/],
    ['a\0', /MQTT-4\.7\.3-2/],
    ['x'.repeat(65_536), /MQTT-4\.7\.3-3/],
    ['ü'.repeat(32_768), /MQTT-4\.7\.3-3/],
  ] as const) {
    test(`${JSON.stringify(topic.slice(0, 8))} of ${topic.length} characters is refused ${statement.source}`, () => {
      assert.match(topicNameProblem(topic) ?? 'no problem', statement)
    })
  }
})

describe('topic filters', () => {
  test('have wildcards that fill their level', () => {
    for (const filter of [
      '#',
      '+',
      'a/#',
      '+/+',
      '/+',
      '+/',
      'a/+/b',
      '+/#',
      '/#',
      '$SYS/#',
      'a//#',
      '$share',
      '$shared/a',
    ]) {
      assert.equal(topicFilterProblem(filter), undefined, filter)
    }
  })

  for (const [filter, statement] of [
    ['', /MQTT-4\.7\.3-1/],
    ['a#', /MQTT-4\.7\.1-1/],
    ['a/#/b', /MQTT-4\.7\.1-1/],
    ['#/a', /MQTT-4\.7\.1-1/],
    ['##', /MQTT-4\.7\.1-1/],
    ['a+', /MQTT-4\.7\.1-2/],
    ['+a', /MQTT-4\.7\.1-2/],
    ['a/+b/c', /MQTT-4\.7\.1-2/],
    ['++', /MQTT-4\.7\.1-2/],
    ['a\0b', /MQTT-4\.7\.3-2/],
    ['x'.repeat(65_536), /MQTT-4\.7\.3-3/],
    ['$share/', /MQTT-4\.8\.2-1/],
    ['$share/g', /MQTT-4\.8\.2-1/],
    ['$share/g/', /MQTT-4\.8\.2-1/],
    ['$share//a', /MQTT-4\.8\.2-1/],
    ['$share/g+/a', /MQTT-4\.8\.2-1/],
    ['$share/#/a', /MQTT-4\.8\.2-1/],
    ['$queue/', /MQTT-4\.8\.2-1/],
    ['$share/g/a#', /MQTT-4\.7\.1-1/],
    ['$queue/+a', /MQTT-4\.7\.1-2/],
  ] as const) {
    test(`${JSON.stringify(filter.slice(0, 12))} of ${filter.length} characters is refused ${statement.source}`, () => {
      assert.match(topicFilterProblem(filter) ?? 'no problem', statement)
    })
  }

  test('a shared one comes apart into group and filter [MQTT-4.8.2-1]', () => {
    assert.deepEqual(parseShared('$share/g/a/+/#'), { group: 'g', filter: 'a/+/#' })
    assert.deepEqual(parseShared('$share/g//a'), { group: 'g', filter: '/a' })
    assert.deepEqual(parseShared('$queue/a/b'), { group: '$queue', filter: 'a/b' })
    for (const filter of ['a/b', '$share/g', '$share//a', '$share/+/a', '$queue/', '$SYS/a', 'x/$share/g/a']) {
      assert.equal(parseShared(filter), undefined, filter)
    }
    for (const filter of ['$share/g/#', '$queue/+']) assert.equal(topicFilterProblem(filter), undefined, filter)
  })

  test('what starts like a shared subscription asks for one, well-formed or not', () => {
    assert.deepEqual(['$share/', '$queue/a', '$share', '$shares/a', 'a'].map(isShared), [
      true,
      true,
      false,
      false,
      false,
    ])
  })
})

test('levels are counted as slashes plus one', () => {
  assert.deepEqual(['a', 'a/b', '/', '//a', 'a/'].map(levelCount), [1, 2, 2, 3, 2])
})

test('a filter with + or # has a wildcard', () => {
  assert.deepEqual(['a/b', 'a/+', '#', '$SYS/x'].map(isWildcard), [false, true, true, false])
})

test('a filter matches what its levels and wildcards say [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.2-1]', () => {
  for (const [filter, topic, matches] of [
    ['a/b', 'a/b', true],
    ['a/b', 'a/B', false],
    ['a/b', 'a/b/', false],
    ['a/+', 'a/', true],
    ['a/+', 'a', false],
    ['+/+', '/b', true],
    ['a/#', 'a', true],
    ['a/#', 'a/b/c', true],
    ['a/#', 'ab', false],
    ['#', 'a/b', true],
    ['#', '$SYS/a', false],
    ['+/a', '$SYS/a', false],
    ['$SYS/#', '$SYS/a', true],
    ['$share/g/a/+', 'a/b', true],
    ['$queue/a', 'a', true],
  ] as const) {
    assert.equal(filterMatches(filter, topic), matches, `${filter} and ${topic}`)
  }
})
