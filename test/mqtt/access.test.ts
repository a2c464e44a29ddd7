import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Packet } from 'mqtt-packet'
import { useBroker } from '../support/broker.js'
import { cite } from '../support/cite.js'
import type { QoS, Version } from '../support/client.js'
import { type ConnectFields, PacketClient, textOf } from '../support/packet-client.js'
import { ScramClient } from '../support/scram-client.js'
import { temporaryFile } from '../support/temporary-file.js'
import { passwordOf, usersFile } from '../support/users.js'

const ACL = `
rules:
  - allow: all
    username: watcher
    topics: ['#', '$SYS/#']
  - deny: all
    topics: ['shared/secret/#']
  - allow: all
    topics: ['home/\${username}/#', 'of/%c/x']
  - allow: publish
    topics: ['inbox/+']
    qos: [0, 1]
    retain: false
  - allow: subscribe
    topics: ['shared/#', 'public/+']
`

const broker = useBroker({
  access: {
    usersFile: temporaryFile('users', await usersFile('alice', 'bob', 'watcher')),
    aclFile: temporaryFile('acl.yaml', ACL),
  },
})

const VERSIONS: readonly Version[] = [4, 5]

function login(username: string, password = passwordOf(username)): ConnectFields {
  return { username, password: Buffer.from(password) }
}

for (const version of VERSIONS) {
  const v = `(version ${version})`
  /** The code of a CONNACK, as each version has it. */
  const refusals: readonly (readonly [what: string, fields: ConnectFields, v4: number, v5: number])[] = [
    ['a wrong password', login('alice', 'wrong'), 4, 0x86],
    ['an unknown user', login('mallory'), 4, 0x86],
    ['a user name without a password', { username: 'alice' }, 4, 0x86],
    ['no user name', {}, 5, 0x87],
    ['a user name that is a property of every object', login('__proto__'), 4, 0x86],
  ]
  for (const [what, fields, v4, v5] of refusals) {
    test(`${cite(version, { 5: '3.1.4-2', 4: '3.2.2-5' })} ${what} is refused ${v}`, async (t) => {
      const client = await PacketClient.open(t, broker().port, version)
      client.sendConnect(fields)
      const connack = await client.next('connack')
      if (version === 5) assert.equal(connack.reasonCode, v5)
      else assert.equal(connack.returnCode, v4)
      assert.deepEqual(await client.closed(), [])
    })
  }

  test(`the right password comes in, again and again ${v}`, async (t) => {
    for (let count = 0; count < 3; count++) {
      await PacketClient.connect(t, broker().port, version, login('alice'))
    }
  })

  test(`${cite(version, { 5: '3.3.4-1', 4: '3.3.5-2' })} a message without the right is refused where MQTT has a place for it, and not delivered ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port, version, login('watcher'))
    await watcher.subscribe('#', 2)
    const alice = await PacketClient.connect(t, broker().port, version, login('alice'))
    const expected = version === 5 ? 0x87 : 0
    assert.equal(await alice.publishAcked({ topic: 'home/bob/lamp', qos: 1 }), expected)
    alice.publish({ topic: 'home/bob/lamp', qos: 0 })
    await alice.expectNothing()
    const messageId = alice.publish({ topic: 'home/bob/lamp', qos: 2 })
    const pubrec = await alice.next('pubrec')
    assert.equal(pubrec.messageId, messageId)
    assert.equal(pubrec.reasonCode ?? 0, expected)
    await alice.publishAcked({ topic: 'home/alice/lamp', qos: 2, payload: 'on' })
    assert.deepEqual((await watcher.receive(1)).map(textOf), ['home/alice/lamp on'])
    await watcher.expectNothing()
  })

  test(`a rule tells quality levels and retained messages apart ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port, version, login('watcher'))
    await watcher.subscribe('inbox/+', 2)
    const alice = await PacketClient.connect(t, broker().port, version, login('alice'))
    alice.publish({ topic: 'inbox/1', payload: 'zero' })
    alice.publish({ topic: 'inbox/1', payload: 'retained', retain: true })
    await alice.publishAcked({ topic: 'inbox/1', payload: 'one', qos: 1 })
    const messageId = alice.publish({ topic: 'inbox/1', payload: 'two', qos: 2 })
    assert.equal((await alice.next('pubrec')).messageId, messageId)
    await alice.publishAcked({ topic: 'inbox/1', payload: 'again', qos: 1 })
    assert.deepEqual((await watcher.receive(3)).map(textOf), ['inbox/1 zero', 'inbox/1 one', 'inbox/1 again'])
    await watcher.expectNothing()
  })

  test(`a subscription needs a rule that covers it, and no denied topic within it ${v}`, async (t) => {
    const alice = await PacketClient.connect(t, broker().port, version, { ...login('alice'), clientId: `c-${version}` })
    const refused = version === 5 ? 0x87 : 0x80
    const cases: readonly (readonly [filter: string, granted: boolean])[] = [
      ['home/alice/#', true],
      ['home/alice', true],
      ['home/+/lamp', false],
      ['home/bob/lamp', false],
      [`of/c-${version}/x`, true],
      ['public/+', true],
      ['public/a', true],
      ['public/#', false],
      ['shared/secret/a', false],
      ['shared/#', false],
      ['shared/+/a', false],
      ['shared/open', true],
      ['#', false],
      ['$SYS/#', false],
    ]
    const granted = await alice.subscribe(cases.map(([topic]) => ({ topic, qos: 1 as QoS })))
    assert.deepEqual(
      granted,
      cases.map(([, isGranted]) => (isGranted ? 1 : refused)),
    )
  })

  test(`a will without the right is not published ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port, version, login('watcher'))
    await watcher.subscribe('home/#')
    for (const topic of ['home/bob/will', 'home/alice/will']) {
      const will = { topic, payload: Buffer.from('gone'), qos: 1 as QoS, retain: false }
      const client = await PacketClient.connect(t, broker().port, version, { ...login('alice'), will })
      client.drop()
    }
    assert.deepEqual((await watcher.receive(1)).map(textOf), ['home/alice/will gone'])
    await watcher.expectNothing()
  })

  test(`a client ID that would reach beyond its level has no part in rules with its placeholder ${v}`, async (t) => {
    const refused = version === 5 ? 0x87 : 0x80
    for (const clientId of ['+', '#', 'a/b']) {
      const client = await PacketClient.connect(t, broker().port, version, { ...login('alice'), clientId })
      assert.deepEqual(await client.subscribe(`of/${clientId}/x`.replace('#', '+')), [refused])
    }
  })

  test(`a session is its user's: another one with its client ID begins anew, and gets nothing of it ${v}`, async (t) => {
    const session = version === 5 ? { clean: false, properties: { sessionExpiryInterval: 60 } } : { clean: false }
    const clientId = `owned-${version}`
    const alice = await PacketClient.connect(t, broker().port, version, { ...login('alice'), ...session, clientId })
    await alice.subscribe([{ topic: 'home/alice/#', qos: 1 }, { topic: 'public/+' }])
    await alice.disconnect()
    const watcher = await PacketClient.connect(t, broker().port, version, login('watcher'))
    await watcher.publishAcked({ topic: 'home/alice/door', payload: 'open', qos: 1 })
    const bob = await PacketClient.connect(t, broker().port, version, { ...login('bob'), ...session, clientId })
    assert.equal(bob.connack?.sessionPresent, false)
    await watcher.publishAcked({ topic: 'home/alice/door', payload: 'shut', qos: 1 })
    await watcher.publishAcked({ topic: 'public/news', payload: 'yes', qos: 1 })
    await bob.expectNothing()
    await bob.subscribe('public/+')
    await bob.disconnect()
    const again = await PacketClient.connect(t, broker().port, version, { ...login('bob'), ...session, clientId })
    assert.equal(again.connack?.sessionPresent, true)
  })
}

/** A CONNECT by SCRAM-SHA-256 as far as the server's question; the answer is the caller's. */
async function beginScram(context: TestContext, scram: ScramClient): Promise<{ client: PacketClient; asked: string }> {
  const client = await PacketClient.open(context, broker().port)
  const authenticationData = Buffer.from(scram.first)
  client.sendConnect({ properties: { authenticationMethod: 'SCRAM-SHA-256', authenticationData } })
  const { properties } = await client.next('auth')
  return { client, asked: String(properties?.authenticationData) }
}

function answer(client: PacketClient, scram: ScramClient, asked: string): void {
  const authenticationData = Buffer.from(scram.final(asked))
  const properties = { authenticationMethod: 'SCRAM-SHA-256', authenticationData }
  client.send({ cmd: 'auth', reasonCode: 0x18, properties } as Packet)
}

test('a user of the file may log in by SCRAM-SHA-256 too, and has the same rights', async (t) => {
  const scram = new ScramClient('alice', passwordOf('alice'))
  const { client, asked } = await beginScram(t, scram)
  answer(client, scram, asked)
  const connack = await client.next('connack')
  assert.equal(connack.reasonCode, 0)
  scram.verify(String(connack.properties?.authenticationData))
  assert.deepEqual(await client.subscribe([{ topic: 'home/alice/#' }, { topic: 'home/bob/#' }]), [0, 0x87])
})

test('by SCRAM-SHA-256 a wrong password and a user that does not exist look the same', async (t) => {
  const questions: string[] = []
  for (const username of ['alice', 'mallory', 'mallory']) {
    const scram = new ScramClient(username, 'wrong')
    const { client, asked } = await beginScram(t, scram)
    questions.push(asked.replace(/^r=[^,]*,/, ''))
    answer(client, scram, asked)
    assert.equal((await client.next('connack')).reasonCode, 0x87)
  }
  const [alice = '', mallory = '', again] = questions
  assert.equal(mallory, again, 'the same salt each time, as a user has')
  assert.equal(alice.replace(/s=[^,]*/, ''), mallory.replace(/s=[^,]*/, ''), 'as many iterations')
  assert.equal(alice.length, mallory.length)
})
