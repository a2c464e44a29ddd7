import assert from 'node:assert/strict'
import { renameSync, writeFileSync } from 'node:fs'
import { beforeEach, type TestContext, test } from 'node:test'
import { useBroker } from '../support/broker.js'
import type { Version } from '../support/client.js'
import { eventually } from '../support/eventually.js'
import { type ConnectFields, PacketClient, textOf } from '../support/packet-client.js'
import { temporaryFile } from '../support/temporary-file.js'
import { passwordOf, usersFile } from '../support/users.js'

const VERSIONS: readonly Version[] = [4, 5]
const EVERYTHING = 'otherwise: allow\n'

const users = temporaryFile('users', await usersFile('alice', 'bob'))
const acl = temporaryFile('acl.yaml', EVERYTHING)
const broker = useBroker({ access: { usersFile: users, aclFile: acl, onDenied: 'disconnect', reloadInterval: '50ms' } })

function login(username: string, password = passwordOf(username)): ConnectFields {
  return { username, password: Buffer.from(password) }
}

/** How often changed files were applied or refused. */
async function reloads(outcome: string): Promise<number> {
  return (await broker().node().metrics()).value('shoalmq_access_reloads_total', { outcome })
}

let contents = 0

/** Puts a new content in the place of a file, as editors and `passwd` do, and waits until it has been looked at. */
async function replace(path: string, content: string, outcome: string): Promise<void> {
  const before = await reloads(outcome)
  // Both files have comments; the same content again would not count as a change.
  writeFileSync(`${path}.new`, `${content}\n# ${contents++}\n`)
  renameSync(`${path}.new`, path)
  await eventually(async () => assert.ok((await reloads(outcome)) > before, `${outcome} counts`), { within: 10_000 })
}

/** The code of the CONNACK. */
async function connackOf(context: TestContext, version: Version, fields: ConnectFields): Promise<number> {
  const client = await PacketClient.open(context, broker().port, version)
  client.sendConnect(fields)
  const connack = await client.next('connack')
  return (version === 5 ? connack.reasonCode : connack.returnCode) ?? -1
}

beforeEach(async () => {
  await replace(users, await usersFile('alice', 'bob'), 'users_applied')
  await replace(acl, EVERYTHING, 'acl_applied')
})

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`new rules hold at once for clients that are connected: publishing, and subscriptions they have ${v}`, async (t) => {
    const [alice, bob] = [
      await PacketClient.connect(t, broker().port, version, login('alice')),
      await PacketClient.connect(t, broker().port, version, login('bob')),
    ]
    await bob.subscribe([{ topic: 'a/#' }, { topic: 'b/#' }])
    await alice.publishAcked({ topic: 'a/1', payload: 'before', qos: 1 })
    assert.deepEqual((await bob.receive(1)).map(textOf), ['a/1 before'])

    const withdrawn = async (): Promise<number> =>
      (await broker().node().metrics()).value('shoalmq_access_withdrawn_total', { what: 'subscription' })
    const before = await withdrawn()
    await replace(acl, "rules: [{allow: publish, username: alice}, {allow: all, topics: ['b/#']}]", 'acl_applied')
    await eventually(async () => assert.equal((await withdrawn()) - before, 1), { within: 5_000 })
    await alice.publishAcked({ topic: 'a/1', payload: 'after', qos: 1 })
    await alice.publishAcked({ topic: 'b/1', payload: 'after', qos: 1 })
    assert.deepEqual((await bob.receive(1)).map(textOf), ['b/1 after'])
    await bob.expectNothing()

    bob.publish({ topic: 'a/1', payload: 'not his' })
    await bob.closedFor(0x87)
  })

  test(`a subscription without the right closes a client where the options say so ${v}`, async (t) => {
    await replace(acl, 'otherwise: deny', 'acl_applied')
    const client = await PacketClient.connect(t, broker().port, version, login('alice'))
    client.send({
      cmd: 'subscribe',
      messageId: 7,
      subscriptions: [{ topic: 'a', qos: 0, nl: false, rap: false, rh: 0 }],
    })
    await client.closedFor(0x87)
  })

  test(`a session that is resumed under new rules has lost what they do not allow ${v}`, async (t) => {
    const session = version === 5 ? { clean: false, properties: { sessionExpiryInterval: 60 } } : { clean: false }
    const fields = { ...login('alice'), ...session, clientId: `resumed-${version}` }
    const alice = await PacketClient.connect(t, broker().port, version, fields)
    await alice.subscribe([{ topic: 'a/#' }, { topic: 'b/#' }])
    await alice.disconnect()
    await replace(acl, "rules: [{allow: subscribe, topics: ['b/#']}, {allow: publish}]", 'acl_applied')
    const back = await PacketClient.connect(t, broker().port, version, fields)
    assert.equal(back.connack?.sessionPresent, true)
    const bob = await PacketClient.connect(t, broker().port, version, login('bob'))
    await bob.publishAcked({ topic: 'a/1', payload: 'no', qos: 1 })
    await bob.publishAcked({ topic: 'b/1', payload: 'yes', qos: 1 })
    assert.deepEqual((await back.receive(1)).map(textOf), ['b/1 yes'])
    await back.expectNothing()
  })

  test(`a user that is removed is disconnected and cannot come back, the others stay ${v}`, async (t) => {
    const alice = await PacketClient.connect(t, broker().port, version, login('alice'))
    const bob = await PacketClient.connect(t, broker().port, version, login('bob'))
    await replace(users, await usersFile('bob'), 'users_applied')
    await alice.closedFor(0x87)
    assert.equal(await connackOf(t, version, login('alice')), version === 5 ? 0x86 : 4)
    await bob.publishAcked({ topic: 'a', qos: 1 })
  })

  test(`a new password counts from the next connection on, and the old one no more ${v}`, async (t) => {
    const alice = await PacketClient.connect(t, broker().port, version, login('alice'))
    await replace(users, await usersFile('alice=new', 'bob'), 'users_applied')
    assert.equal(await connackOf(t, version, login('alice')), version === 5 ? 0x86 : 4)
    assert.equal(await connackOf(t, version, login('alice', 'new')), 0)
    await alice.publishAcked({ topic: 'a', qos: 1 })
  })
}

test('a bad file is refused with its problems, told once, and what was read before stays in force', async (t) => {
  await replace(acl, 'rules:\n  - allow: read\n', 'acl_refused')
  await replace(users, 'alice:plain\n', 'users_refused')
  const node = broker().node()
  assert.equal((await node.metrics()).value('shoalmq_access_files_stale'), 2)
  const client = await PacketClient.connect(t, broker().port, 5, login('alice'))
  assert.equal(await client.publishAcked({ topic: 'a', qos: 1 }), 0x10, 'nobody subscribes, but it may be published')
  const refused = node
    .logs()
    .filter(({ msg }) => msg === 'a changed file is refused, what was read before stays in force')
  assert.deepEqual(
    refused.map(({ problems }) => problems),
    [
      [`${acl}:2: allow: expected one of publish, subscribe, all`],
      [`${users}:1: expected a password hash, $scrypt$ln=..,r=..,p=..$salt$hash, as shoalmq passwd writes it`],
    ],
  )
  assert.equal(node.text().includes('plain'), false)
})
