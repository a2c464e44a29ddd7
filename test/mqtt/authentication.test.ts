import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { connect, type IConnackPacket, type MqttClient } from 'mqtt'
import type { IAuthPacket } from 'mqtt-packet'
import { useBroker } from '../support/broker.js'
import { PacketClient } from '../support/packet-client.js'
import { ScramClient } from '../support/scram-client.js'
import { temporaryFile } from '../support/temporary-file.js'
import { usersFile } from '../support/users.js'

const METHOD = 'SCRAM-SHA-256'

const broker = useBroker({ access: { usersFile: temporaryFile('users', await usersFile('ann=secret')) } })

/** MQTT.js, which asks its own `handleAuth`; connected once this returns. */
async function connectMqttJs(t: TestContext, username: string, password: string): Promise<MqttClient> {
  const scram = new ScramClient(username, password)
  const client = connect(`mqtt://127.0.0.1:${broker().port}`, {
    protocolVersion: 5,
    reconnectPeriod: 0,
    properties: { authenticationMethod: METHOD, authenticationData: Buffer.from(scram.first) },
  })
  t.after(() => client.end(true))
  client.handleAuth = (packet, callback) => {
    const final = scram.final(String(packet.properties?.authenticationData))
    callback(undefined, authPacket(0x18, final))
  }
  const connack = await new Promise<IConnackPacket>((resolve, reject) => {
    client.once('connect', resolve)
    client.once('error', reject)
  })
  assert.equal(connack.properties?.authenticationMethod, METHOD)
  scram.verify(String(connack.properties?.authenticationData))
  return client
}

function authPacket(reasonCode: number, data: string): IAuthPacket {
  const properties = { authenticationMethod: METHOD, authenticationData: Buffer.from(data) }
  return { cmd: 'auth', reasonCode, properties } as IAuthPacket
}

test('MQTT.js logs in by SCRAM-SHA-256, and each side has proved itself', async (t) => {
  const client = await connectMqttJs(t, 'ann', 'secret')
  await client.subscribeAsync('a')
  const received = new Promise((resolve) => client.once('message', (_topic, payload) => resolve(String(payload))))
  await client.publishAsync('a', 'x', { qos: 1 })
  assert.equal(await received, 'x')
})

test('MQTT.js is refused with a wrong password, and as a user that does not exist', async (t) => {
  for (const [username, password] of [
    ['ann', 'secrets'],
    ['bob', 'secret'],
  ] as const) {
    await assert.rejects(connectMqttJs(t, username, password), { code: 0x87 })
  }
})

test('a client proves itself again while its messages flow, and is disconnected when it cannot', async (t) => {
  const client = await PacketClient.open(t, broker().port)
  const opening = new ScramClient('ann', 'secret')
  client.sendConnect({ properties: { authenticationMethod: METHOD, authenticationData: Buffer.from(opening.first) } })
  const asked = await client.next('auth')
  client.send(authPacket(0x18, opening.final(String(asked.properties?.authenticationData))))
  const connack = await client.next('connack')
  opening.verify(String(connack.properties?.authenticationData))
  await client.subscribe('b', 1)

  const again = new ScramClient('ann', 'secret')
  client.send(authPacket(0x19, again.first))
  const askedAgain = await client.next('auth')
  assert.equal(askedAgain.reasonCode, 0x18)
  client.publish({ topic: 'b', payload: 'meanwhile' })
  assert.equal(String((await client.receive(1))[0]?.payload), 'meanwhile')
  client.send(authPacket(0x18, again.final(String(askedAgain.properties?.authenticationData))))
  const done = await client.next('auth')
  assert.equal(done.reasonCode ?? 0, 0)
  again.verify(String(done.properties?.authenticationData))

  const wrong = new ScramClient('ann', 'wrong')
  client.send(authPacket(0x19, wrong.first))
  const askedLast = await client.next('auth')
  client.send(authPacket(0x18, wrong.final(String(askedLast.properties?.authenticationData))))
  await client.closedFor(0x87)
})

test('AUTH that is not well-formed closes the connection', async (t) => {
  const client = await PacketClient.open(t, broker().port)
  const opening = new ScramClient('ann', 'secret')
  client.sendConnect({ properties: { authenticationMethod: METHOD, authenticationData: Buffer.from(opening.first) } })
  await client.next('auth')
  // Reason code 0x00 is the server's to say. [MQTT-3.15.2-1]
  client.write(Buffer.from([0xf0, 0]))
  assert.deepEqual(
    (await client.closed()).map(({ cmd }) => cmd),
    ['connack'],
  )
  // Flags other than 0.
  const login = { username: 'ann', password: Buffer.from('secret') }
  const flags = await PacketClient.connect(t, broker().port, 5, login)
  flags.write(Buffer.from([0xf1, 2, 0x18, 0]))
  await flags.closedFor(0x81)
  // Type 15 does not exist before 5.0.
  const early = await PacketClient.connect(t, broker().port, 4, login)
  early.write(Buffer.from([0xf0, 0]))
  await early.closedFor(0x81)
})

test('AUTH has neither Reason String nor User Property, and is not sent where its data does not fit', async (t) => {
  for (const maximumPacketSize of [500, 60]) {
    const client = await PacketClient.open(t, broker().port)
    const authenticationData = Buffer.from(new ScramClient('ann', 'secret').first)
    client.sendConnect({ properties: { authenticationMethod: METHOD, authenticationData, maximumPacketSize } })
    if (maximumPacketSize === 60) {
      assert.equal((await client.next('connack')).reasonCode, 0x95)
      continue
    }
    const { properties } = await client.next('auth')
    assert.deepEqual(Object.keys(properties ?? {}).sort(), ['authenticationData', 'authenticationMethod'])
  }
})
