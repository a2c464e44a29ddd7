import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AclRights, REMEMBERED_TOPICS } from '../../../src/access/acl-rights.js'
import { RuleSet } from '../../../src/access/rule-set.js'
import type { QoS } from '../../../src/mqtt/wire/packets.js'
import { client, ruleSet } from './acl.js'

/** Rules that tell how often they were asked to decide, and for how many clients. */
class CountingRules extends RuleSet {
  decisions = 0
  bindings = 0

  static of(text: string): CountingRules {
    return new CountingRules(ruleSet(text).rules, {
      allowsOtherwise: false,
      otherwiseOrigin: '',
      isLenient: false,
    })
  }

  override publishMask(...parameters: Parameters<RuleSet['publishMask']>): number {
    this.decisions++
    return super.publishMask(...parameters)
  }

  override bind(...parameters: Parameters<RuleSet['bind']>): ReturnType<RuleSet['bind']> {
    this.bindings++
    return super.bind(...parameters)
  }
}

const RULES = "rules:\n  - {allow: publish, topics: ['a/+'], qos: [0, 1], retain: false}\n"

test('a topic is decided once, for all kinds of message', () => {
  const current = CountingRules.of(RULES)
  const rights = new AclRights({ current }, client(), false)
  for (let round = 0; round < 3; round++) {
    for (const topic of ['a/1', 'a/2', 'b']) {
      for (const qos of [0, 1, 2] as QoS[]) {
        assert.equal(rights.mayPublish(topic, qos, false), topic !== 'b' && qos < 2)
        assert.equal(rights.mayPublish(topic, qos, true), false)
      }
    }
  }
  assert.deepEqual([current.decisions, current.bindings], [3, 1])
})

test('decisions of more topics than are remembered are the same, and memory is bounded', () => {
  const current = CountingRules.of(RULES)
  const rights = new AclRights({ current }, client(), false)
  const topics = Array.from({ length: REMEMBERED_TOPICS * 3 }, (_, index) =>
    index % 2 === 0 ? `a/${index}` : `b/${index}`,
  )
  for (let round = 0; round < 2; round++) {
    for (const topic of topics) assert.equal(rights.mayPublish(topic, 0, false), topic.startsWith('a/'), topic)
  }
  assert.equal(current.decisions, topics.length * 2, 'a cycle through more topics than fit finds none of them')
})

test('new rules void what was decided by the old ones, for the last topic too', () => {
  const source: { current: RuleSet } = { current: CountingRules.of(RULES) }
  const rights = new AclRights(source, client(), false)
  assert.equal(rights.mayPublish('a/1', 0, false), true)
  assert.equal(rights.mayPublish('b', 0, false), false)
  source.current = ruleSet('rules:\n  - {allow: publish, topics: [b]}\n')
  assert.equal(rights.mayPublish('b', 0, false), true)
  assert.equal(rights.mayPublish('a/1', 0, false), false)
  source.current = ruleSet('otherwise: allow')
  assert.equal(rights.mayPublish('a/1', 0, false), true)
  source.current = ruleSet('otherwise: deny')
  assert.equal(rights.maySubscribe('a/1', 0), false)
  assert.equal(rights.mayPublish('a/1', 0, false), false)
})

test('topics that objects have as properties are topics like others', () => {
  const rights = new AclRights(
    { current: ruleSet('rules:\n  - {allow: publish, topics: [__proto__]}\n') },
    client(),
    false,
  )
  assert.equal(rights.mayPublish('__proto__', 0, false), true)
  assert.equal(rights.mayPublish('constructor', 0, false), false)
  assert.equal(rights.mayPublish('__proto__', 0, false), true)
})

test('the first denial of a client is told, and again under other rules', () => {
  const told: string[] = []
  const source = { current: ruleSet(RULES) }
  const rights = new AclRights(source, client(), false, ({ clientId }, action, topic) => {
    told.push(`${clientId} ${action} ${topic}`)
  })
  assert.equal(rights.mayPublish('a/1', 0, false), true)
  for (const topic of ['b', 'c']) assert.equal(rights.mayPublish(topic, 0, false), false)
  source.current = ruleSet('otherwise: deny')
  assert.equal(rights.maySubscribe('d', 0), false)
  assert.equal(rights.mayPublish('a/1', 0, false), false)
  assert.deepEqual(told, ['c1 publish b', 'c1 subscribe d'])
})
