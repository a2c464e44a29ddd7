import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { createAccessMetrics } from '../../../src/access/metrics.js'
import { PasswordChecker, type PasswordVerdict } from '../../../src/access/password-checker.js'
import { hashPassword } from '../../../src/access/password-hash.js'
import type { User } from '../../../src/access/users-file.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'

let users: Map<string, User>

before(async () => {
  users = new Map()
  for (const username of ['alice', 'bob']) {
    users.set(username, { username, password: await hashPassword(Buffer.from(`of ${username}`), 10), scram: undefined })
  }
})

interface CheckerOptions {
  concurrentHashes?: number
  loginQueue?: number
  rememberLogins?: number
}

function checkerOf(options: CheckerOptions = {}) {
  const metrics = createAccessMetrics(new MetricRegistry())
  const checker = new PasswordChecker(
    { concurrentHashes: 1, loginQueue: 100, rememberLogins: 60_000, ...options },
    {
      metrics,
      findUser: (username) => users.get(username),
      onError(error) {
        throw error
      },
    },
  )
  const check = (username: string, password: string, isWaiting = (): boolean => true): Promise<PasswordVerdict> =>
    new Promise((resolve) => {
      checker.check({ username, password: Buffer.from(password), isWaiting, done: resolve })
    })
  return { checker, metrics, check }
}

test('a login ends by what the users file says', async () => {
  const { check, metrics } = checkerOf()
  assert.equal(await check('alice', 'of alice'), 'verified')
  assert.equal(await check('alice', 'of bob'), 'wrong_password')
  assert.equal(await check('mallory', 'of alice'), 'unknown_user')
  assert.equal(await check('__proto__', ''), 'unknown_user')
  assert.deepEqual(
    [metrics.logins.verified.value, metrics.logins.wrong_password.value, metrics.logins.unknown_user.value],
    [1, 1, 2],
  )
})

test('a right password is remembered, a wrong one is checked each time', async () => {
  const { check } = checkerOf()
  assert.equal(await check('alice', 'of alice'), 'verified')
  assert.equal(await check('alice', 'of alice'), 'remembered')
  for (let count = 0; count < 2; count++) assert.equal(await check('alice', 'wrong'), 'wrong_password')
  assert.equal(await check('alice', 'of alice'), 'remembered')
  assert.equal(await check('bob', 'of alice'), 'wrong_password')
})

test('nothing is remembered when it is off, or of a user whose hash has changed', async () => {
  const off = checkerOf({ rememberLogins: 0 })
  for (let count = 0; count < 2; count++) assert.equal(await off.check('alice', 'of alice'), 'verified')
  const { check } = checkerOf()
  const alice = users.get('alice') as User
  assert.equal(await check('alice', 'of alice'), 'verified')
  users.set('alice', { ...alice, password: await hashPassword(Buffer.from('new'), 10) })
  assert.equal(await check('alice', 'of alice'), 'wrong_password')
  users.delete('alice')
  assert.equal(await check('alice', 'of alice'), 'unknown_user')
  users.set('alice', alice)
})

test('who comes when the line is full is refused at once, and who waits is served in turn', async () => {
  const { check, checker, metrics } = checkerOf({ loginQueue: 2, rememberLogins: 0 })
  const order: string[] = []
  const ended = ['1', '2', '3', '4', '5'].map(async (name) => {
    const verdict = await check('alice', 'of alice')
    order.push(`${name} ${verdict}`)
  })
  assert.equal(checker.queueLength, 2)
  await Promise.all(ended)
  assert.deepEqual(order, ['4 busy', '5 busy', '1 verified', '2 verified', '3 verified'])
  assert.equal(metrics.logins.busy.value, 2)
  assert.equal(checker.queueLength, 0)
})

test('a client that gave up while it waited costs no hash', async () => {
  const { check, metrics } = checkerOf()
  const verdicts = await Promise.all([
    check('alice', 'of alice'),
    check('bob', 'of bob', () => false),
    check('bob', 'of bob'),
  ])
  assert.deepEqual(verdicts, ['verified', 'abandoned', 'verified'])
  assert.equal(metrics.logins.abandoned.value, 1)
})

test('clients that share a user wait for one hash only', async () => {
  const { check } = checkerOf()
  const verdicts = await Promise.all(Array.from({ length: 50 }, () => check('alice', 'of alice')))
  assert.deepEqual([verdicts[0], new Set(verdicts.slice(1))], ['verified', new Set<PasswordVerdict>(['remembered'])])
})

test('stopping answers those who wait', async () => {
  const { check, checker } = checkerOf({ rememberLogins: 0 })
  const verdicts = Promise.all([check('alice', 'of alice'), check('alice', 'of alice'), check('bob', 'of bob')])
  checker.stop()
  assert.deepEqual(await verdicts, ['verified', 'busy', 'busy'])
})

test('a storm of logins leaves the event loop its turns', async () => {
  const dear = { username: 'dear', password: await hashPassword(Buffer.from('x'), 14), scram: undefined }
  users.set('dear', dear)
  const { check } = checkerOf({ concurrentHashes: 2, loginQueue: 20, rememberLogins: 0 })
  let turns = 0
  let isOver = false
  const turn = (): void => {
    turns++
    if (!isOver) setImmediate(turn)
  }
  setImmediate(turn)
  const verdicts = await Promise.all(Array.from({ length: 500 }, () => check('dear', 'x')))
  isOver = true
  const verified = verdicts.filter((verdict) => verdict === 'verified').length
  assert.deepEqual([verified, verdicts.length - verified], [22, 478])
  // On the main thread there would be a turn or two for each hash.
  assert.ok(turns > 500, `${turns} turns`)
})

test('a user that does not exist takes as long as a wrong password', async () => {
  const dear = { username: 'dear', password: await hashPassword(Buffer.from('x'), 13), scram: undefined }
  users.set('dear', dear)
  const { check, checker } = checkerOf()
  checker.imitate(dear)
  const timeOf = async (username: string): Promise<number> => {
    const times: number[] = []
    for (let count = 0; count < 7; count++) {
      const started = performance.now()
      await check(username, 'wrong')
      times.push(performance.now() - started)
    }
    return Math.min(...times)
  }
  const [known, unknown] = [await timeOf('dear'), await timeOf('nobody')]
  assert.ok(unknown > known / 3 && unknown < known * 3, `${unknown} ms for nobody, ${known} ms for somebody`)
})
