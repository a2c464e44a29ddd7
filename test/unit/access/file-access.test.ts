import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { pino } from 'pino'
import { FileAccess } from '../../../src/access/file-access.js'
import { createAccessMetrics } from '../../../src/access/metrics.js'
import type { LoginOutcome } from '../../../src/broker/ports.js'
import { type AccessOptions, DEFAULTS } from '../../../src/config/options.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { temporaryFile } from '../../support/temporary-file.js'
import { passwordOf, usersFile } from '../../support/users.js'
import { client } from './acl.js'

async function accessOf(context: TestContext, options: Partial<AccessOptions>, allowAnonymous = false) {
  const access = new FileAccess(
    { ...DEFAULTS.access, ...options, allowAnonymous },
    { metrics: createAccessMetrics(new MetricRegistry()), log: pino({ level: 'silent' }) },
  )
  context.after(() => access.stop())
  await access.start()
  const login = (username?: string, password?: string, allowsAnonymous?: boolean): Promise<LoginOutcome> =>
    new Promise((resolve) => {
      const bytes = password === undefined ? undefined : Buffer.from(password)
      access.authenticate({ username, password: bytes, allowsAnonymous, isWaiting: () => true }, resolve)
    })
  return { access, login }
}

test('without files everybody comes in, unproven, and may do everything but read $SYS topics from elsewhere', async (t) => {
  const { access, login } = await accessOf(t, {})
  assert.deepEqual(await login('alice', 'whatever'), { isAdmitted: true, isProven: false })
  assert.equal(access.limitsPublish, false)
  assert.deepEqual(access.authenticators, [])
  const filters = ['#', 'a/+', '$SYS/#', '$share/g/$SYS/brokers']
  const may = (address: string): boolean[] =>
    filters.map((filter) => access.rightsOf(client({ address })).maySubscribe(filter, 0))
  for (const address of ['127.0.0.1', '127.9.9.9', '::1']) assert.deepEqual(may(address), [true, true, true, true])
  for (const address of ['192.0.2.7', '2001:db8::1', '']) assert.deepEqual(may(address), [true, true, false, false])
})

test('with a users file a user name is needed, unless the node or the listener lets clients in without one', async (t) => {
  const file = temporaryFile('users', await usersFile('alice'))
  const refused = { isAdmitted: false, reasonCode: 0x87, reason: 'a user name is needed' }
  const anonymous = { isAdmitted: true, isProven: false }
  const strict = await accessOf(t, { usersFile: file })
  assert.deepEqual(await strict.login(), refused)
  assert.deepEqual(await strict.login(undefined, undefined, true), anonymous)
  assert.deepEqual(await strict.login('alice', passwordOf('alice')), { isAdmitted: true, isProven: true })
  const open = await accessOf(t, { usersFile: file }, true)
  assert.deepEqual(await open.login(), anonymous)
  assert.deepEqual(await open.login(undefined, undefined, false), refused)
  for (const [username, password] of [
    ['alice', 'wrong'],
    ['alice', undefined],
    ['mallory', 'x'],
    ['', ''],
  ] as const) {
    assert.deepEqual(await open.login(username, password, true), {
      isAdmitted: false,
      reasonCode: 0x86,
      reason: 'bad user name or password',
    })
  }
})

test('with an ACL file only what it allows may be done', async (t) => {
  const aclFile = temporaryFile('acl.yaml', 'rules: [{allow: all, topics: [a]}]\n')
  const { access } = await accessOf(t, { aclFile, onDenied: 'disconnect' })
  assert.equal(access.limitsPublish, true)
  const rights = access.rightsOf(client({ address: '127.0.0.1' }))
  assert.equal(rights.closesWhenDenied, true)
  assert.deepEqual(
    ['a', 'b'].map((topic) => rights.mayPublish(topic, 0, false)),
    [true, false],
  )
  assert.deepEqual(
    ['a', '$SYS/#'].map((filter) => rights.maySubscribe(filter, 0)),
    [true, false],
  )
})

test('a file that cannot be used keeps access from starting', async (t) => {
  await assert.rejects(accessOf(t, { usersFile: '/no/such/users' }), { code: 'ACCESS_FILE_UNREADABLE' })
  await assert.rejects(accessOf(t, { aclFile: temporaryFile('acl.yaml', 'rules: 1') }), { code: 'ACCESS_FILE_INVALID' })
})
