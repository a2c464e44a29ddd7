import assert from 'node:assert/strict'
import {
  chmodSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { verifyPassword } from '../../../src/access/password-hash.js'
import { parseUsers, type User } from '../../../src/access/users-file.js'
import { type Ended, runShoalmq } from './shoalmq-process.js'

/** The least that is accepted: the tests are not about the price. */
const CHEAP = ['--cost', '10', '--scram-iterations', '4096']

function directoryFor(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-passwd-'))
  context.after(() => rmSync(directory, { recursive: true }))
  return directory
}

function add(file: string, username: string, input: string, ...more: string[]): Promise<Ended> {
  return runShoalmq(['passwd', 'add', '--file', file, '--stdin', ...CHEAP, ...more, '--', username], { input })
}

function userOf(file: string, username: string): User {
  const user = parseUsers(readFileSync(file, 'utf8'), file).get(username)
  assert.ok(user !== undefined, username)
  return user
}

test('passwd add makes the file for its owner alone, with a hash and a SCRAM verifier', async (t) => {
  const file = join(directoryFor(t), 'users')
  assert.deepEqual(await add(file, 'alice', 'correct horse\n'), {
    code: 0,
    stdout: `user alice added to ${file}\n`,
    stderr: '',
  })
  assert.equal(statSync(file).mode & 0o777, 0o600)
  const { password, scram } = userOf(file, 'alice')
  assert.equal(await verifyPassword(Buffer.from('correct horse'), password), true)
  assert.equal(password.logCost, 10)
  assert.equal(scram?.iterations, 4_096)
  assert.equal(readFileSync(file, 'utf8').includes('horse'), false)
})

test('passwd add gives a user a new password, and leaves everything else in the file', async (t) => {
  const directory = directoryFor(t)
  const file = join(directory, 'users')
  await add(file, 'alice', 'one')
  await add(file, 'bob', 'two', '--no-scram')
  writeFileSync(file, `# fleet\n${readFileSync(file, 'utf8')}`)
  const bob = userOf(file, 'bob')
  assert.equal(bob.scram, undefined)
  const { stdout } = await add(file, 'alice', 'three\r\n')
  assert.equal(stdout, `user alice has a new password in ${file}\n`)
  assert.equal(await verifyPassword(Buffer.from('three'), userOf(file, 'alice').password), true)
  assert.deepEqual(userOf(file, 'bob'), bob)
  assert.equal(readFileSync(file, 'utf8').startsWith('# fleet\nalice:'), true)
  assert.deepEqual(readdirSync(directory), ['users'], 'nothing is left beside it')
})

test('passwd list prints the names, passwd remove takes one away', async (t) => {
  const file = join(directoryFor(t), 'users')
  await add(file, 'alice', 'x')
  await add(file, 'bob', 'x')
  assert.deepEqual(await runShoalmq(['passwd', 'list', '--file', file]), {
    code: 0,
    stdout: 'alice\nbob\n',
    stderr: '',
  })
  assert.deepEqual(await runShoalmq(['passwd', 'remove', '--file', file, 'alice']), {
    code: 0,
    stdout: `user alice removed from ${file}\n`,
    stderr: '',
  })
  assert.deepEqual(await runShoalmq(['passwd', 'remove', '--file', file, 'alice']), {
    code: 1,
    stdout: '',
    stderr: `shoalmq: there is no user alice in ${file}\n`,
  })
  await runShoalmq(['passwd', 'remove', '--file', file, 'bob'])
  assert.deepEqual(await runShoalmq(['passwd', 'list', '--file', file]), { code: 0, stdout: '', stderr: '' })
})

test('a file that is there keeps what its group may do, and a symlink stays one', async (t) => {
  const directory = directoryFor(t)
  const file = join(directory, 'real')
  const link = join(directory, 'users')
  await add(file, 'alice', 'x')
  chmodSync(file, 0o644)
  symlinkSync('real', link)
  await add(link, 'bob', 'x')
  assert.equal(lstatSync(link).isSymbolicLink(), true)
  assert.equal(statSync(file).mode & 0o777, 0o640, 'others have no business with it')
  assert.equal(parseUsers(readFileSync(file, 'utf8'), file).size, 2)
})

test('names, passwords and files that cannot be used are one line and no change', async (t) => {
  const directory = directoryFor(t)
  const file = join(directory, 'users')
  const cases: readonly (readonly [username: string, input: string, code: number, stderr: string])[] = [
    ['a:b', 'x', 2, 'a user name may not contain a colon, which ends it in the file'],
    ['a\tb', 'x', 2, 'a user name may not contain control characters'],
    ['#a', 'x', 2, 'a user name may not begin with #, which begins a comment in the file'],
    ['a', '', 1, 'the password is empty'],
    ['a', '\n', 1, 'the password is empty'],
    ['a', 'x\ny\n', 1, 'a password is one line without control characters'],
    ['a', 'x'.repeat(65_536), 1, 'a password has at most 65535 bytes'],
  ]
  for (const [username, input, code, stderr] of cases) {
    assert.deepEqual(await add(file, username, input), { code, stdout: '', stderr: `shoalmq: ${stderr}\n` })
  }
  assert.deepEqual(readdirSync(directory), [])

  writeFileSync(file, 'alice:plain\n')
  const { code, stderr } = await add(file, 'bob', 'x')
  assert.equal(code, 1)
  assert.match(stderr, /^shoalmq: .*users:1: expected a password hash/)
  assert.equal(readFileSync(file, 'utf8'), 'alice:plain\n')

  const missing = join(directory, 'missing')
  assert.deepEqual(await runShoalmq(['passwd', 'list', '--file', missing]), {
    code: 1,
    stdout: '',
    stderr: `shoalmq: ${missing}: there is no such file\n`,
  })
  const nowhere = join(directory, 'no', 'such', 'users')
  assert.deepEqual(await add(nowhere, 'bob', 'x'), {
    code: 1,
    stdout: '',
    stderr: `shoalmq: ${nowhere} cannot be written (ENOENT)\n`,
  })
})

test('without a terminal the password has to come by --stdin, and never as an argument', async (t) => {
  const file = join(directoryFor(t), 'users')
  const { code, stderr } = await runShoalmq(['passwd', 'add', '--file', file, 'alice'], { input: 'secret\n' })
  assert.deepEqual(
    [code, stderr],
    [2, 'shoalmq: standard input is no terminal; use --stdin to read the password from it\n'],
  )
  assert.equal((await runShoalmq(['passwd', 'add', '--file', file, 'alice', 'secret'])).code, 2)
})

test('a name that SCRAM clients would send in another form gets a password only, and one is told', async (t) => {
  const file = join(directoryFor(t), 'users')
  const { code, stdout } = await add(file, 'ª', 'x')
  assert.deepEqual(
    [code, stdout],
    [0, `user ª added to ${file}, without SCRAM: SASLprep does not take the name or password\n`],
  )
  assert.equal(userOf(file, 'ª').scram, undefined)
})
