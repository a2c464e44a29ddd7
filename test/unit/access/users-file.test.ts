import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { before, test } from 'node:test'
import { AccessFileError } from '../../../src/access/access-file.js'
import { formatPasswordHash, hashPassword } from '../../../src/access/password-hash.js'
import { scramCredentials } from '../../../src/access/scram.js'
import { formatScramCredentials, parseScramCredentials } from '../../../src/access/scram-verifier.js'
import {
  formatUser,
  parseUsers,
  readUsers,
  type User,
  usernameProblem,
  withoutUser,
  withUser,
} from '../../../src/access/users-file.js'

let alice: User
let bob: User

before(async () => {
  const scram = scramCredentials('b', randomBytes(16), 4_096)
  alice = { username: 'alice', password: await hashPassword(Buffer.from('a'), 10), scram: undefined }
  bob = { username: 'bob', password: await hashPassword(Buffer.from('b'), 10), scram }
})

function problemsOf(text: string): readonly string[] {
  try {
    parseUsers(text, 'users')
    return []
  } catch (error) {
    assert.ok(error instanceof AccessFileError)
    return error.details.problems
  }
}

test('users are read as they were written, between comments and empty lines', () => {
  const text = `# the fleet\n\n${formatUser(alice)}\r\n  \n${formatUser(bob)}`
  assert.deepEqual([...parseUsers(text, 'users').values()], [alice, bob])
})

test('a file may be empty, and may begin with a byte order mark', () => {
  assert.equal(parseUsers('', 'users').size, 0)
  assert.deepEqual([...parseUsers(`\ufeff${formatUser(alice)}\n`, 'users').keys()], ['alice'])
})

test('names that objects have as properties are names like others', () => {
  const user = { ...alice, username: '__proto__' }
  const users = parseUsers(formatUser(user), 'users')
  assert.deepEqual(users.get('__proto__'), user)
  assert.equal(users.get('constructor'), undefined)
})

test('all problems are told, with their lines, and never a hash', () => {
  const hash = formatPasswordHash(alice.password)
  const problems = problemsOf(
    [`alice:${hash}`, 'bob', `alice:${hash}`, 'carol:secret', `:${hash}`, `dave:${hash}:SCRAM-SHA-1$x`].join('\n'),
  )
  assert.deepEqual(problems, [
    'users:2: expected username:password-hash, and there is no colon',
    'users:3: user alice is in line 1 already',
    'users:4: expected a password hash, $scrypt$ln=..,r=..,p=..$salt$hash, as shoalmq passwd writes it',
    'users:5: a user name may not be empty',
    'users:6: expected a SCRAM verifier, SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey in base64',
  ])
})

test('a file with very many problems tells the first of them', () => {
  const problems = problemsOf('nonsense\n'.repeat(1_000))
  assert.equal(problems.length, 21)
  assert.equal(problems.at(-1), 'users: and 980 problems more')
})

test('names that a line cannot hold are refused', () => {
  for (const [name, expected] of [
    ['', /empty/],
    ['a:b', /colon/],
    ['a\nb', /control/],
    ['a\u007fb', /control/],
    ['#a', /#/],
    [' a', /white space/],
    ['a ', /white space/],
    ['x'.repeat(65_536), /at most 65535 bytes/],
  ] as const) {
    assert.match(usernameProblem(name) ?? '', expected)
  }
  for (const name of ['a', 'a b', 'ä@example.com', 'a#b', '-', '$']) assert.equal(usernameProblem(name), undefined)
})

test('a user is put in its place or at the end, and the rest of the file stays', () => {
  const text = `# fleet\n${formatUser(alice)}\n# end\n`
  const changed = { ...alice, scram: bob.scram }
  assert.equal(withUser(text, changed), `# fleet\n${formatUser(changed)}\n# end\n`)
  assert.equal(withUser(text, bob), `${text}${formatUser(bob)}\n`)
  assert.equal(withUser('', bob), `${formatUser(bob)}\n`)
  assert.equal(withoutUser(text, 'alice'), '# fleet\n# end\n')
  assert.equal(withoutUser(text, 'bob'), undefined)
  assert.equal(withoutUser(`${formatUser(bob)}\n`, 'bob'), '')
})

test('a SCRAM verifier is read as it was written', () => {
  const scram = scramCredentials('pencil', Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64'), 4_096)
  assert.ok(scram !== undefined)
  // The user of RFC 7677 section 3.
  const text =
    'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU='
  assert.equal(formatScramCredentials(scram), text)
  assert.deepEqual(parseScramCredentials(text), scram)
})

test('a SCRAM verifier of too few iterations or with short keys is refused', () => {
  const key = Buffer.alloc(32).toString('base64')
  const short = Buffer.alloc(20).toString('base64')
  for (const [text, expected] of [
    [`SCRAM-SHA-256$1000:AAAA$${key}:${key}`, /4096 to 10000000 iterations/],
    [`SCRAM-SHA-256$4096:AAAA$${short}:${key}`, /32 bytes/],
    [`SCRAM-SHA-256$4096:AAAA$${key}:${short}`, /32 bytes/],
    [`SCRAM-SHA-256$4096$${key}:${key}`, /expected a SCRAM verifier/],
  ] as const) {
    assert.match(String(parseScramCredentials(text)), expected)
  }
})

test('a long file is read over many turns, to the same end', async () => {
  const line = formatUser(alice).slice('alice'.length)
  const text = Array.from({ length: 5_000 }, (_, index) => `user-${index}${line}`).join('\n')
  let turns = 0
  let isOver = false
  const turn = (): void => {
    turns++
    if (!isOver) setImmediate(turn)
  }
  setImmediate(turn)
  const users = await readUsers(text, 'users')
  isOver = true
  assert.ok(turns >= 9, `${turns} turns`)
  assert.deepEqual(users, parseUsers(text, 'users'))
  await assert.rejects(readUsers(`${text}\nbad`, 'users'), /users:5001: expected username:password-hash/)
})
