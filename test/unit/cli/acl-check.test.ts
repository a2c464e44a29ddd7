import assert from 'node:assert/strict'
import { test } from 'node:test'
import { temporaryFile } from '../../support/temporary-file.js'
import { runShoalmq } from './shoalmq-process.js'

const ACL = `otherwise: deny
rules:
  - deny: all
    address: 203.0.113.0/24
  - allow: publish
    username: alice
    qos: [0, 1]
    topics: ['home/%u/#']
  - allow: subscribe
    clientId: 'app-*'
    topics: ['home/#']
`

const acl = temporaryFile('acl.yaml', ACL)

test('acl check says what the rules decide, and by which line', async () => {
  const cases: readonly (readonly [command: readonly string[], code: number, stdout: string])[] = [
    [['publish', 'home/alice/lamp', '--username', 'alice'], 0, `allowed: ${acl}:5`],
    [
      ['publish', 'home/alice/lamp', '-u', 'alice', '-q', '2'],
      3,
      `denied: no rule matches, otherwise: deny (${acl}:1)`,
    ],
    [['publish', 'home/alice/lamp', '-u', 'alice', '--address', '203.0.113.7'], 3, `denied: ${acl}:3`],
    [['publish', 'home/alice/lamp'], 3, `denied: no rule matches, otherwise: deny (${acl}:1)`],
    [['subscribe', 'home/+/lamp', '--client-id', 'app-1'], 0, `allowed: ${acl}:9`],
    [['subscribe', '#', '-i', 'app-1'], 3, `denied: no rule matches, otherwise: deny (${acl}:1)`],
    [['publish', '$SYS/a'], 3, 'denied: $SYS topics are published by the broker alone'],
  ]
  for (const [command, code, stdout] of cases) {
    assert.deepEqual(
      await runShoalmq(['acl', 'check', '--file', acl, ...command]),
      { code, stdout: `${stdout}\n`, stderr: '' },
      command.join(' '),
    )
  }
})

test('acl check takes the file from the configuration, and knows the built-in rule', async () => {
  const config = temporaryFile('shoalmq.yaml', `access: {aclFile: ${acl}}\n`)
  const named = await runShoalmq(['acl', 'check', '-c', config, 'subscribe', 'home/x', '-i', 'app-1'])
  assert.equal(named.stdout, `allowed: ${acl}:9\n`)
  const none = await runShoalmq(['acl', 'check', 'subscribe', '$SYS/#'])
  assert.deepEqual([none.code, none.stdout], [0, 'allowed: the built-in rule for clients on loopback\n'])
  const far = await runShoalmq(['acl', 'check', 'subscribe', '$SYS/#', '--address', '10.0.0.1'])
  assert.deepEqual(
    [far.code, far.stdout],
    [3, 'denied: no rule matches, and $SYS topics are not allowed without one\n'],
  )
})

test('acl check refuses what cannot be asked', async () => {
  const cases: readonly (readonly [command: readonly string[], code: number, stderr: RegExp])[] = [
    [['publish', 'a/+'], 2, /topic name contains a wildcard/],
    [['subscribe', 'a/#/b'], 2, /# is not the last character/],
    [['read', 'a'], 2, /Allowed choices are publish, subscribe/],
    [['publish', 'a', '--address', 'host'], 2, /--address host is no IP address/],
    [['publish', 'a', '--file', '/no/such/acl.yaml'], 1, /acl\.yaml: there is no such file/],
    [['publish', 'a', '--file', temporaryFile('bad.yaml', 'rules: {}')], 1, /bad\.yaml:1: rules: expected a list/],
  ]
  for (const [command, code, stderr] of cases) {
    const ended = await runShoalmq(['acl', 'check', ...command])
    assert.equal(ended.code, code, command.join(' '))
    assert.match(ended.stderr, stderr)
  }
})

test('config check reads the files of access, and names their problems', async () => {
  const users = temporaryFile('users', '# nobody yet\n')
  const good = temporaryFile('good.yaml', `access: {aclFile: ${acl}, usersFile: ${users}}\n`)
  const { code, stdout } = await runShoalmq(['config', 'check', '--config', good])
  assert.equal(code, 0)
  assert.match(stdout, /users {4}0 in .*users\n {2}rules {4}3 in .*acl\.yaml/)

  const plain = temporaryFile('users', 'alice:secret\n')
  const bad = temporaryFile('bad.yaml', `access: {aclFile: /no/such, usersFile: ${plain}}\n`)
  const refused = await runShoalmq(['config', 'check', '--config', bad])
  assert.equal(refused.code, 1)
  assert.match(refused.stderr, /^shoalmq: 2 problems in the configuration:/)
  assert.match(refused.stderr, /access\.usersFile: .*users:1: expected a password hash/)
  assert.match(refused.stderr, /access\.aclFile: \/no\/such: there is no such file/)
  assert.equal(refused.stderr.includes('secret'), false)

  const started = await runShoalmq(['start', '--config', bad, '--log-format', 'pretty'])
  assert.equal(started.code, 1)
  assert.match(started.stdout + started.stderr, /users:1: expected a password hash/)
})

test('acl check does as access.denyOverlapping says: a filter that has a denied topic among others', async () => {
  const file = temporaryFile(
    'overlapping.yaml',
    'rules:\n  - deny: subscribe\n    topics: [secret/#]\n  - allow: all\n',
  )
  const outcomes = []
  for (const denyOverlapping of [true, false]) {
    const access = `access: {aclFile: ${file}, denyOverlapping: ${denyOverlapping}}\n`
    const config = temporaryFile(`overlapping-${denyOverlapping}.yaml`, access)
    for (const filter of ['#', 'secret/a']) {
      outcomes.push((await runShoalmq(['acl', 'check', '-c', config, 'subscribe', filter])).stdout)
    }
  }
  assert.deepEqual(outcomes, [
    `denied: ${file}:2\n`,
    `denied: ${file}:2\n`,
    `allowed: ${file}:4\n`,
    `denied: ${file}:2\n`,
  ])
})
