import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { AccessFileError } from '../../../src/access/access-file.js'
import { parseAcl } from '../../../src/access/acl-file.js'
import { client, ruleSet } from './acl.js'

function problemsOf(text: string): readonly string[] {
  try {
    parseAcl(text, 'acl.yaml')
    return []
  } catch (error) {
    assert.ok(error instanceof AccessFileError)
    return error.details.problems
  }
}

test('rules know the line they are written in', () => {
  const { rules, otherwiseOrigin } = parseAcl(
    'rules:\n  - allow: publish\n    username: alice\n\n  - deny: all\notherwise: allow\n',
    'acl.yaml',
  )
  assert.deepEqual(
    rules.map(({ origin, isAllow, action }) => [origin, isAllow, action]),
    [
      ['acl.yaml:2', true, 'publish'],
      ['acl.yaml:5', false, 'all'],
    ],
  )
  assert.equal(otherwiseOrigin, 'otherwise: allow (acl.yaml:6)')
})

test('a file without rules denies, unless it says otherwise', () => {
  assert.equal(parseAcl('rules: []', 'acl.yaml').allowsOtherwise, false)
  assert.equal(parseAcl('rules:\n', 'acl.yaml').rules.length, 0)
  assert.equal(parseAcl('otherwise: allow', 'acl.yaml').allowsOtherwise, true)
  assert.equal(parseAcl('otherwise: deny', 'acl.yaml').allowsOtherwise, false)
})

test('a JSON file is read too, and so are anchors', () => {
  assert.equal(parseAcl('{"rules": [{"allow": "all", "anonymous": true}]}', 'acl.json').rules.length, 1)
  const rules = ruleSet('rules:\n  - {allow: publish, topics: &t [a, b]}\n  - {allow: subscribe, topics: *t}\n')
  assert.equal(rules.explainSubscribe(rules.bind(client()), 'b', 0).isAllowed, true)
  assert.equal(rules.explainSubscribe(rules.bind(client()), 'c', 0).isAllowed, false)
})

test('numbers are names as they are written', () => {
  const rules = ruleSet('rules:\n  - {allow: all, clientId: [4711, 007, 1.0]}\n')
  const may = (clientId: string): boolean =>
    rules.explainPublish(rules.bind(client({ clientId })), 't', 0, false).isAllowed
  assert.deepEqual(['4711', '007', '1.0', '7', '1'].map(may), [true, true, true, false, false])
})

const WRONG: readonly (readonly [what: string, text: string, expected: readonly RegExp[]])[] = [
  ['an empty file', '', [/acl\.yaml: expected the keys rules and otherwise/]],
  ['a list', '- allow: all', [/acl\.yaml:1: expected the keys rules and otherwise/]],
  ['no YAML', 'rules:\n  - allow: [\n', [/^acl\.yaml:\d: /]],
  ['a key twice', 'rules: []\nrules: []\n', [/acl\.yaml:2: Map keys must be unique/]],
  ['an unknown key', 'ruels: []', [/acl\.yaml:1: unknown key ruels; expected otherwise, rules/]],
  ['another default', 'otherwise: maybe', [/acl\.yaml:1: otherwise: expected one of allow, deny/]],
  ['rules that are no list', 'rules:\n  allow: all\n', [/acl\.yaml:2: rules: expected a list/]],
  ['a rule that is a word', 'rules:\n  - allow\n', [/acl\.yaml:2: a rule has keys/]],
  [
    'an unknown key in a rule',
    'rules:\n  - allow: all\n    topic: a\n',
    [
      /acl\.yaml:3: unknown key topic; expected allow, deny, username, clientId, address, anonymous, qos, retain, topics/,
    ],
  ],
  ['neither allow nor deny', 'rules:\n  - topics: [a]\n', [/acl\.yaml:2: a rule has either allow or deny/]],
  ['both allow and deny', 'rules:\n  - allow: all\n    deny: all\n', [/acl\.yaml:2: a rule has either allow or deny/]],
  ['an unknown action', 'rules:\n  - allow: read\n', [/acl\.yaml:2: allow: expected one of publish, subscribe, all/]],
  ['no user name', 'rules:\n  - allow: all\n    username:\n', [/acl\.yaml:3: username: expected a text/]],
  ['no client IDs', 'rules:\n  - allow: all\n    clientId: []\n', [/acl\.yaml:3: clientId: .*the list is empty/]],
  [
    'addresses that are none',
    'rules:\n  - allow: all\n    address: [10.0.0.0/33, 10.0.0.256, fe80::/129, host.example, 10.0.0.0/8]\n',
    [/10\.0\.0\.0\/33 is not a range/, /10\.0\.0\.256 is not/, /fe80::\/129 is not/, /host\.example is not/],
  ],
  ['another flag', 'rules:\n  - allow: all\n    anonymous: yes\n', [/acl\.yaml:3: anonymous: expected true or false/]],
  [
    'an anonymous user',
    'rules:\n  - {allow: all, anonymous: true, username: a}\n',
    [/acl\.yaml:2: anonymous: true and username exclude each other/],
  ],
  ['another quality', 'rules:\n  - allow: all\n    qos: [0, 3]\n', [/acl\.yaml:3: qos: expected 0, 1 or 2/]],
  [
    'retain of subscriptions',
    'rules:\n  - allow: subscribe\n    retain: true\n',
    [/acl\.yaml:3: retain is about messages: it goes with publish, not with subscribe/],
  ],
  ['no topics', 'rules:\n  - allow: all\n    topics: []\n', [/acl\.yaml:3: topics: .*the list is empty/]],
  [
    'filters that are none',
    'rules:\n  - allow: all\n    topics:\n      - a/#/b\n      - a+\n      - "eq a#"\n      - ""\n',
    [/acl\.yaml:4: topics: a\/#\/b: # is not the last/, /acl\.yaml:5: /, /acl\.yaml:6: /, /acl\.yaml:7: /],
  ],
  [
    'a placeholder that does not exist',
    `rules:\n  - allow: all\n    topics: ["a/\${user}", "a/\${clientid"]\n`,
    [/acl\.yaml:3: topics: .*unknown placeholder \$\{user\}/, /unknown placeholder \$\{clientid/],
  ],
  [
    'a shared subscription',
    'rules:\n  - allow: subscribe\n    topics: [$share/g/a]\n',
    [/acl\.yaml:3: .*a shared subscription is judged by its filter/],
  ],
]

for (const [what, text, expected] of WRONG) {
  test(`${what} is refused with the line and what is accepted`, () => {
    const problems = problemsOf(text)
    assert.equal(problems.length, expected.length, problems.join('\n'))
    for (const [index, expression] of expected.entries()) assert.match(problems[index] ?? '', expression)
  })
}

test('all problems of a file are told at once', () => {
  assert.deepEqual(problemsOf('otherwise: no\nrules:\n  - allow: read\n  - topics: [a]\n').length, 3)
})

test('the example of the documentation is one, and decides as it says there', () => {
  const page = readFileSync(new URL('../../../docs/operations.md', import.meta.url), 'utf8')
  const text = /```yaml\n(# acl\.yaml[^`]*)```/.exec(page)?.[1]
  assert.ok(text !== undefined)
  const rules = ruleSet(text)
  const c7 = rules.bind(client({ clientId: 'c7' }))
  const ops = rules.bind(client({ username: 'ops' }))
  const [denied, allowed] = [
    rules.explainPublish(c7, 'devices/c8/state', 0, false),
    rules.explainSubscribe(ops, '$SYS/#', 0),
  ]
  assert.ok(page.includes(`denied: ${denied.origin}\n`), denied.origin)
  assert.ok(page.includes(`allowed: ${allowed.origin}\n`), allowed.origin)
})
