/** AUTH and enhanced authentication. [MQTT 5.0 sections 3.15 and 4.12] */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import type { IAuthPacket, Packet } from 'mqtt-packet'
import { createNode, type EnhancedAuthenticator, type Node } from '../../../src/index.js'
import { createLogger } from '../../../src/telemetry/logger.js'
import { packet, properties, text } from '../../support/mqtt-bytes.js'
import { PacketClient, textOf } from '../../support/packet-client.js'

const METHOD = 'rounds'
const CONTINUE = 0x18
const REAUTHENTICATE = 0x19
const NOT_AUTHORIZED = 0x87

const AUTH = 0xf0
const AUTHENTICATION_METHOD = 0x15
const REASON_STRING = 0x1f
const USER_PROPERTY = 0x26

/**
 * Asks as often as the client's first data says, such as `3`, and takes only the number of each question as its
 * answer. What the client says first may be missing: then it is asked once.
 */
const rounds: EnhancedAuthenticator = {
  method: METHOD,
  begin: () => {
    let left = -1
    let asked = ''
    return {
      next: (data) => {
        if (left === -1) left = data === undefined ? 1 : Number(data)
        else if (String(data) !== asked) return { refuse: NOT_AUTHORIZED, reason: 'that was not the answer' }
        if (left === 0) return { done: Buffer.from('welcome') }
        asked = `${left}`
        left -= 1
        return { continue: Buffer.from(asked) }
      },
    }
  },
}

let node: Node
let data: string
let port: number

before(async () => {
  data = mkdtempSync(join(tmpdir(), 'shoalmq-auth-'))
  node = createNode(
    { data, listen: ['mqtt://127.0.0.1:0'], admin: { listen: '127.0.0.1:0' }, cluster: { listen: 'off' } },
    createLogger({ level: 'silent', format: 'json' }, {}),
    { authenticators: [rounds] },
  )
  await node.start()
  port = Number(new URL(node.listening[0] ?? '').port)
})

after(async () => {
  await node.stop()
  rmSync(data, { recursive: true })
})

/** An AUTH of the client. */
function auth(reasonCode: number, authenticationData: string, authenticationMethod = METHOD): IAuthPacket {
  const list = { authenticationMethod, authenticationData: Buffer.from(authenticationData) }
  return { cmd: 'auth', reasonCode, properties: list } as IAuthPacket
}

/** A connection whose CONNECT names the method and asks for so many rounds; nothing is answered yet. */
async function begin(t: TestContext, count: string, fields = {}): Promise<PacketClient> {
  const client = await PacketClient.open(t, port)
  client.sendConnect({
    properties: { authenticationMethod: METHOD, authenticationData: Buffer.from(count), ...fields },
  })
  return client
}

/** The question of the broker's next AUTH, which must be one that asks. */
async function question(client: PacketClient): Promise<string> {
  const asked = await client.next('auth')
  assert.equal(asked.reasonCode, CONTINUE)
  assert.equal(asked.properties?.authenticationMethod, METHOD)
  return String(asked.properties?.authenticationData)
}

/** An open connection that has authenticated itself without a question. */
async function authenticated(t: TestContext): Promise<PacketClient> {
  const client = await begin(t, '0')
  assert.equal((await client.next('connack')).reasonCode, 0)
  return client
}

/** Asserts that the opening is refused with this code and the connection ended. */
async function refusedFor(client: PacketClient, reasonCode: number): Promise<void> {
  assert.deepEqual(
    (await client.closed()).map((one) => [one.cmd, (one as { reasonCode?: number }).reasonCode]),
    [['connack', reasonCode]],
  )
}

test('[MQTT-3.15.1-1] AUTH with flags closes the connection, before CONNACK and after', async (t) => {
  for (let flags = 1; flags < 16; flags += 1) {
    const bytes = packet(AUTH | flags, CONTINUE, properties(AUTHENTICATION_METHOD, text(METHOD)))
    const opening = await begin(t, '1')
    await question(opening)
    opening.write(bytes)
    await refusedFor(opening, 0x81)
    const open = await authenticated(t)
    open.write(bytes)
    await open.closedFor(0x81)
  }
})

test('[MQTT-3.15.2-1] the reason code of an AUTH is one that its sender may give: of the client 0x18 and 0x19, of the broker 0x18, and 0x00 at the end', async (t) => {
  const client = await authenticated(t)
  client.send(auth(REAUTHENTICATE, '2'))
  assert.equal(await question(client), '2')
  client.send(auth(CONTINUE, '2'))
  assert.equal(await question(client), '1')
  client.send(auth(CONTINUE, '1'))
  const done = await client.next('auth')
  assert.equal(done.reasonCode ?? 0, 0)
  assert.equal(String(done.properties?.authenticationData), 'welcome')

  for (const code of [0x00, 0x01, 0x17, 0x1a, 0x80, 0x87, 0x8c, 0xff]) {
    const other = await authenticated(t)
    other.write(packet(AUTH, code, properties(AUTHENTICATION_METHOD, text(METHOD))))
    await other.closedFor(0x82)
  }
  const short = await authenticated(t)
  short.write(packet(AUTH))
  const [last] = await short.closed()
  assert.ok(last?.cmd === 'disconnect', 'an AUTH without a reason code says Success, or nothing')
})

test('[MQTT-3.15.2-2] an AUTH has one Reason String, one method, and any number of User Properties', async (t) => {
  const method = [AUTHENTICATION_METHOD, text(METHOD)]
  const reasonString = [REASON_STRING, text('why')]
  const userProperty = [USER_PROPERTY, text('name'), text('value')]
  const client = await authenticated(t)
  client.write(packet(AUTH, REAUTHENTICATE, properties(...method, ...reasonString, ...userProperty, ...userProperty)))
  await question(client)
  for (const [list, code] of [
    [[...method, ...reasonString, ...reasonString], 0x82],
    [[...method, ...method], 0x82],
    [reasonString, 0x82],
    [[...method, 0x11, 0, 0, 0, 1], 0x81],
  ] as const) {
    const other = await authenticated(t)
    other.write(packet(AUTH, REAUTHENTICATE, properties(...list)))
    await other.closedFor(code)
  }
})

test('[MQTT-3.15.2-2] [MQTT-3.15.2-3] an AUTH of the broker keeps within the Maximum Packet Size of its receiver', async (t) => {
  const maximumPacketSize = 60
  const client = await begin(t, '1', { maximumPacketSize })
  await question(client)
  const { length } = client.takeBytes()
  assert.ok(length <= maximumPacketSize, `${length} bytes`)
})

test('[MQTT-4.12.0-1] a method that the broker does not know is refused with 0x8C, and the connection ended', async (t) => {
  const client = await begin(t, '0', { authenticationMethod: 'unheard of' })
  await refusedFor(client, 0x8c)
})

test('[MQTT-4.12.0-2] [MQTT-4.12.0-3] a broker that needs to know more asks with AUTH 0x18, as often as it needs', async (t) => {
  const client = await begin(t, '5')
  for (const expected of ['5', '4', '3', '2', '1']) {
    assert.equal(await question(client), expected)
    client.send(auth(CONTINUE, expected))
  }
  const connack = await client.next('connack')
  assert.equal(connack.reasonCode, 0)
  assert.equal(String(connack.properties?.authenticationData), 'welcome')
  await client.expectNothing()
})

test('[MQTT-4.12.0-4] an authentication that fails is refused in CONNACK, and the connection ended', async (t) => {
  const client = await begin(t, '2')
  client.send(auth(CONTINUE, await question(client)))
  await question(client)
  client.send(auth(CONTINUE, 'something else'))
  await refusedFor(client, NOT_AUTHORIZED)
})

test('[MQTT-4.12.0-5] every AUTH and the CONNACK name the method of CONNECT, and the client must too', async (t) => {
  const client = await begin(t, '1')
  client.send(auth(CONTINUE, await question(client)))
  assert.equal((await client.next('connack')).properties?.authenticationMethod, METHOD)
  client.send(auth(REAUTHENTICATE, '1'))
  client.send(auth(CONTINUE, await question(client)))
  assert.equal((await client.next('auth')).properties?.authenticationMethod, METHOD)

  const other = await begin(t, '1')
  await question(other)
  other.send(auth(CONTINUE, '1', 'another'))
  await refusedFor(other, 0x8c)
  const without = await begin(t, '1')
  await question(without)
  without.write(packet(AUTH, CONTINUE, properties()))
  await refusedFor(without, 0x82)
})

test('[MQTT-4.12.0-6] a client that names no method gets neither AUTH nor a method in CONNACK', async (t) => {
  const client = await PacketClient.connect(t, port)
  assert.equal(client.connack?.properties?.authenticationMethod, undefined)
  assert.equal(client.connack?.properties?.authenticationData, undefined)
  await client.expectNothing()
})

test('[MQTT-4.12.0-7] AUTH from a client that named no method closes the connection', async (t) => {
  for (const code of [CONTINUE, REAUTHENTICATE]) {
    const client = await PacketClient.connect(t, port)
    client.send(auth(code, '0'))
    await client.closedFor(0x82)
  }
  const first = await PacketClient.open(t, port)
  first.send(auth(CONTINUE, '0'))
  assert.deepEqual(await first.closed(), [], 'and one that has sent no CONNECT is not answered')
})

test('AUTH out of turn ends what it comes in: unasked, or a second beginning', async (t) => {
  const unasked = await authenticated(t)
  unasked.send(auth(CONTINUE, '0'))
  await unasked.closedFor(0x82)
  const again = await authenticated(t)
  again.send(auth(REAUTHENTICATE, '1'))
  await question(again)
  again.send(auth(REAUTHENTICATE, '1'))
  await again.closedFor(0x82)
  const early = await begin(t, '1')
  await question(early)
  early.send(auth(REAUTHENTICATE, '1'))
  await refusedFor(early, 0x82)
})

test('[MQTT-3.1.2-30] before CONNACK an authenticating client may send AUTH and DISCONNECT, and nothing else', async (t) => {
  const others: Packet[] = [
    { cmd: 'pingreq' },
    { cmd: 'publish', topic: 'early', payload: 'x', qos: 0, dup: false, retain: false },
    { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'early', qos: 0, nl: false, rap: false, rh: 0 }] },
  ]
  const watcher = await PacketClient.connect(t, port)
  await watcher.subscribe('early')
  for (const other of others) {
    const client = await begin(t, '1')
    await question(client)
    client.send(other)
    await refusedFor(client, 0x82)
  }
  await watcher.expectNothing()
  const leaving = await begin(t, '1')
  await question(leaving)
  leaving.send({ cmd: 'disconnect' })
  assert.deepEqual(await leaving.closed(), [])
})

test('[MQTT-4.12.1-1] [MQTT-4.12.1-2] a re-authentication that fails, or names another method, ends the connection; while it lasts other packets flow', async (t) => {
  const client = await authenticated(t)
  await client.subscribe('meanwhile', 1)
  client.send(auth(REAUTHENTICATE, '2'))
  const first = await question(client)
  await client.publishAcked({ topic: 'elsewhere', qos: 1 })
  client.publish({ topic: 'meanwhile', payload: 'x' })
  assert.deepEqual((await client.receive(1)).map(textOf), ['meanwhile x'])
  client.send(auth(CONTINUE, first))
  await question(client)
  client.send(auth(CONTINUE, 'wrong'))
  await client.closedFor(NOT_AUTHORIZED)

  const other = await authenticated(t)
  other.send(auth(REAUTHENTICATE, '0', 'another'))
  await other.closedFor(0x82)
})
