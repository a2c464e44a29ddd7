import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { publishBit } from '../../../src/access/acl-rule.js'
import type { RuleSet } from '../../../src/access/rule-set.js'
import type { ClientIdentity } from '../../../src/broker/ports.js'
import { matchesNaively } from '../router/topics.js'
import { client, ruleSet } from './acl.js'

function mayPublish(rules: RuleSet, who: ClientIdentity, topic: string, qos = 0, retain = false): boolean {
  const bound = rules.bind(who)
  const { isAllowed } = rules.explainPublish(bound, topic, qos, retain)
  assert.equal((rules.publishMask(bound, topic) & publishBit(qos, retain)) !== 0, isAllowed, 'mask and explanation')
  return isAllowed
}

function maySubscribe(rules: RuleSet, who: ClientIdentity, filter: string, qos = 0): boolean {
  return rules.explainSubscribe(rules.bind(who), filter, qos).isAllowed
}

test('the first rule that matches decides, and says where it is written', () => {
  const rules = ruleSet(`
rules:
  - deny: publish
    topics: [a/secret]
  - allow: publish
    topics: [a/#]
  - deny: all
`)
  const bound = rules.bind(client())
  assert.deepEqual(rules.explainPublish(bound, 'a/secret', 0, false), { isAllowed: false, origin: 'acl.yaml:3' })
  assert.deepEqual(rules.explainPublish(bound, 'a/b', 0, false), { isAllowed: true, origin: 'acl.yaml:5' })
  assert.deepEqual(rules.explainPublish(bound, 'b', 0, false), { isAllowed: false, origin: 'acl.yaml:7' })
})

test('what no rule decides is as the file says otherwise, but $SYS topics take a rule', () => {
  for (const [otherwise, isAllowed] of [
    ['allow', true],
    ['deny', false],
  ] as const) {
    const rules = ruleSet(`otherwise: ${otherwise}`)
    assert.equal(mayPublish(rules, client(), 'a'), isAllowed)
    assert.equal(maySubscribe(rules, client(), '#'), isAllowed)
    for (const filter of ['$SYS/#', '$SYS/broker/uptime', '$share/g/$SYS/#', '$queue/$SYS/+']) {
      assert.equal(maySubscribe(rules, client(), filter), false, filter)
    }
  }
})

test('every thing that is said of a client has to hold', () => {
  const rules = ruleSet(`
rules:
  - allow: all
    username: [alice, 'ops-*']
    clientId: 'pump-*'
    address: [10.0.0.0/8, 2001:db8::/32, 192.0.2.7]
`)
  const fits = { username: 'ops-1', clientId: 'pump-7', address: '10.1.2.3' }
  const cases: readonly (readonly [fields: Partial<ClientIdentity>, isAllowed: boolean])[] = [
    [{}, true],
    [{ username: 'alice' }, true],
    [{ username: 'mallory' }, false],
    [{ username: undefined }, false],
    [{ username: 'ops' }, false],
    [{ clientId: 'valve-7' }, false],
    [{ address: '11.1.2.3' }, false],
    [{ address: '::ffff:10.1.2.3' }, true],
    [{ address: '::ffff:11.1.2.3' }, false],
    [{ address: '192.0.2.7' }, true],
    [{ address: '192.0.2.8' }, false],
    [{ address: '2001:db8:0:1::9' }, true],
    [{ address: '2001:db8::9%eth0' }, true],
    [{ address: '2001:db9::9' }, false],
    [{ address: '' }, false],
    [{ address: 'no address' }, false],
  ]
  for (const [fields, isAllowed] of cases) {
    assert.equal(mayPublish(rules, client({ ...fits, ...fields }), 't'), isAllowed, JSON.stringify(fields))
  }
})

test('rules may be for those who have logged in, or for those who have not', () => {
  const rules = ruleSet(`
rules:
  - {allow: publish, anonymous: true, topics: [inbox]}
  - {allow: publish, anonymous: false, topics: [members]}
`)
  assert.deepEqual(
    [undefined, 'alice'].map((username) =>
      ['inbox', 'members'].map((topic) => mayPublish(rules, client({ username }), topic)),
    ),
    [
      [true, false],
      [false, true],
    ],
  )
})

test('rules of one user or client are found among the others in the order of the file', () => {
  const rules = ruleSet(`
rules:
  - {deny: publish, topics: [x], clientId: c9}
  - {allow: publish, username: alice, topics: [a, x]}
  - {deny: publish, topics: [a]}
  - {allow: publish, clientId: [c1, c1, c2], topics: [a, b]}
  - {allow: publish, username: [bob, alice], topics: [c]}
`)
  const topics = ['a', 'b', 'c', 'x']
  const may = (fields: Partial<ClientIdentity>): string =>
    topics.filter((topic) => mayPublish(rules, client(fields), topic)).join('')
  assert.equal(may({ username: 'alice' }), 'abcx')
  assert.equal(may({ username: 'alice', clientId: 'c9' }), 'ac')
  assert.equal(may({ username: 'bob', clientId: 'c2' }), 'bc')
  assert.equal(may({ username: 'carol', clientId: 'c3' }), '')
  assert.equal(may({}), 'b')
})

test('placeholders stand for the names of the client', () => {
  const rules = ruleSet(`
rules:
  - allow: all
    topics: ['c/\${clientid}/#', 'u/%u', 'both/%c-\${username}']
`)
  const who = client({ clientId: 'c7', username: 'alice' })
  for (const topic of ['c/c7', 'c/c7/x/y', 'u/alice', 'both/c7-alice'])
    assert.equal(mayPublish(rules, who, topic), true)
  for (const topic of ['c/c8', 'c/%c', `c/\${clientid}`, 'u/bob', 'both/c7'])
    assert.equal(mayPublish(rules, who, topic), false)
  assert.equal(maySubscribe(rules, who, 'c/c7/#'), true)
  assert.equal(maySubscribe(rules, who, 'c/+/x'), false)
  assert.equal(mayPublish(rules, client({ clientId: 'c7' }), 'u/'), false, 'an anonymous client has no user name')
})

test('a name that would reach beyond its level allows nothing, and denies everything from that level on', () => {
  const allowing = ruleSet(`rules:\n  - {allow: all, topics: ['dev/\${clientid}/#', 'x/a\${clientid}']}\n`)
  const denying = ruleSet(`otherwise: allow\nrules:\n  - {deny: all, topics: ['dev/\${clientid}/in']}\n`)
  for (const clientId of ['+', '#', 'a/b', '/', 'a+', '+/+/#']) {
    const who = client({ clientId })
    for (const topic of ['dev/a/b/c', 'dev/x', 'dev', 'x/a'])
      assert.equal(mayPublish(allowing, who, topic), false, clientId)
    for (const filter of ['#', 'dev/#', 'dev/+/x', `dev/${clientId}`]) {
      assert.equal(maySubscribe(allowing, who, filter), false, `${clientId} ${filter}`)
    }
    assert.equal(mayPublish(denying, who, 'dev/a/b/in'), false)
    assert.equal(mayPublish(denying, who, 'other'), true)
  }
  assert.equal(mayPublish(denying, client({ clientId: 'a' }), 'dev/b/in'), true)
})

test('a rule may be about some quality levels, and about retained messages or others', () => {
  const rules = ruleSet(`
rules:
  - {deny: publish, retain: true, qos: 0}
  - {allow: publish, retain: false, qos: [0, 1]}
  - {allow: publish, qos: 2}
  - {allow: subscribe, qos: 1}
`)
  const allowed = [0, 1, 2].flatMap((qos) =>
    [false, true].filter((retain) => mayPublish(rules, client(), 't', qos, retain)).map((retain) => `${qos}${retain}`),
  )
  assert.deepEqual(allowed, ['0false', '1false', '2false', '2true'])
  assert.deepEqual(
    [0, 1, 2].map((qos) => maySubscribe(rules, client(), 't', qos)),
    [false, true, false],
  )
})

test('an exact filter is about itself, not about what it matches', () => {
  const rules = ruleSet("otherwise: allow\nrules:\n  - {deny: subscribe, topics: ['eq #', 'eq a/+']}\n")
  assert.deepEqual(
    ['#', 'a/+', '$share/g/#', '$queue/a/+', 'a/#', '+/#', 'a/b', '+'].map((filter) =>
      maySubscribe(rules, client(), filter),
    ),
    [false, false, false, false, true, true, true, true],
  )
})

test('a denied topic within a subscription refuses it, unless the rules are lenient as EMQX is', () => {
  const text = `
rules:
  - {deny: subscribe, topics: [secret/#]}
  - {allow: subscribe, topics: ['#']}
`
  const filters = ['#', '+/a', 'secret/a', 'open/#', '$share/g/#']
  assert.deepEqual(
    filters.map((filter) => maySubscribe(ruleSet(text), client(), filter)),
    [false, false, false, true, false],
  )
  assert.deepEqual(
    filters.map((filter) => maySubscribe(ruleSet(text, true), client(), filter)),
    [true, true, false, true, true],
  )
})

const level = fc.constantFrom('a', 'b', '+')
const filter = fc
  .tuple(fc.array(level, { minLength: 1, maxLength: 2 }), fc.boolean())
  .map(([levels, isOpen]) => (isOpen ? [...levels, '#'] : levels).join('/'))
const anyFilter = fc.oneof(filter, fc.constant('#'))
const rule = fc.record({
  effect: fc.constantFrom('allow', 'deny'),
  topics: fc.array(anyFilter, { minLength: 1, maxLength: 2 }),
})
const topic = fc.array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'))

function yamlOf(rules: readonly { effect: string; topics: readonly string[] }[], otherwise: string): string {
  const lines = rules.map(({ effect, topics }) => JSON.stringify({ [effect]: 'all', topics }))
  return `otherwise: ${otherwise}\nrules: [${lines.join(', ')}]\n`
}

test('what may be published is what the first matching rule says, for any rules', () => {
  fc.assert(
    fc.property(fc.array(rule, { maxLength: 5 }), fc.constantFrom('allow', 'deny'), topic, (rules, otherwise, name) => {
      const first = rules.find(({ topics }) => topics.some((one) => matchesNaively(one, name)))
      assert.equal(
        mayPublish(ruleSet(yamlOf(rules, otherwise)), client(), name),
        (first?.effect ?? otherwise) === 'allow',
      )
    }),
    { numRuns: 1_000 },
  )
})

test('no subscription that is granted brings a message that its client may not read, for any rules', () => {
  fc.assert(
    fc.property(
      fc.array(rule, { maxLength: 5 }),
      fc.constantFrom('allow', 'deny'),
      anyFilter,
      fc.array(topic, { minLength: 20, maxLength: 20 }),
      (rules, otherwise, requested, topics) => {
        const set = ruleSet(yamlOf(rules, otherwise))
        if (!maySubscribe(set, client(), requested)) return
        for (const name of topics.filter((one) => matchesNaively(requested, one))) {
          assert.equal(maySubscribe(set, client(), name), true, `${requested} brings ${name}`)
        }
      },
    ),
    { numRuns: 2_000 },
  )
})

test('clients whom the same rules concern share them', () => {
  const rules = ruleSet('rules:\n  - {allow: all, topics: [a]}\n  - {allow: all, username: alice}\n')
  assert.equal(rules.bind(client({ clientId: 'c1' })), rules.bind(client({ clientId: 'c2' })))
  assert.notEqual(rules.bind(client()), rules.bind(client({ username: 'alice' })))
})
