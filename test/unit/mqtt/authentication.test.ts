import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type { IAuthPacket, IConnectPacket } from 'mqtt-packet'
import { createBroker } from '../../../src/index.js'
import type {
  AuthenticatingClient,
  AuthenticationStep,
  EnhancedAuthenticator,
} from '../../../src/mqtt/authenticator.js'
import { LoneBroker, type LoneBrokerOptions } from '../broker/lone-broker.js'
import { publishPacket, StreamClient, textOf, until } from '../broker/stream-client.js'

const CONTINUE = 0x18
const AGAIN = 0x19

/** Answers what a test gives it; `hold` is answered when the test says so. */
class ScriptedAuthenticator implements EnhancedAuthenticator {
  readonly method = 'SCRIPT'
  readonly begun: AuthenticatingClient[] = []
  readonly heard: string[] = []
  private answerLater: ((step: AuthenticationStep) => void) | undefined

  begin(client: AuthenticatingClient): {
    next(data: Buffer | undefined): AuthenticationStep | Promise<AuthenticationStep>
  } {
    this.begun.push(client)
    return {
      next: (data) => {
        const text = String(data ?? 'nothing')
        this.heard.push(text)
        const [word, argument] = text.split(' ')
        switch (word) {
          case 'ask':
            return { continue: Buffer.from('who?') }
          case 'am':
            return Promise.resolve({ done: Buffer.from('welcome'), username: argument ?? '' })
          case 'silently':
            return { done: undefined }
          case 'refuse':
            return { refuse: Number(argument), reason: 'go away' }
          case 'throw':
            throw new Error('broken')
          case 'reject':
            return Promise.reject(new Error('broken'))
          case 'hold':
            return new Promise((resolve) => {
              this.answerLater = resolve
            })
          default:
            return { refuse: 0 }
        }
      },
    }
  }

  answer(step: AuthenticationStep): void {
    this.answerLater?.(step)
  }
}

function setUp(t: TestContext, options: LoneBrokerOptions = {}) {
  const script = new ScriptedAuthenticator()
  const lone = new LoneBroker(t, { ...options, authenticators: [script] })
  return { script, lone }
}

function connectWith(data: string | undefined, fields: Partial<IConnectPacket> = {}): Partial<IConnectPacket> {
  const authenticationData = data === undefined ? {} : { authenticationData: Buffer.from(data) }
  return { ...fields, properties: { ...fields.properties, authenticationMethod: 'SCRIPT', ...authenticationData } }
}

function auth(reasonCode: number, data: string, authenticationMethod = 'SCRIPT'): IAuthPacket {
  return {
    cmd: 'auth',
    reasonCode,
    properties: { authenticationMethod, authenticationData: Buffer.from(data) },
  } as IAuthPacket
}

function dataOf(packet: { properties?: { authenticationData?: Buffer; authenticationMethod?: string } }): string {
  return `${packet.properties?.authenticationMethod} ${packet.properties?.authenticationData}`
}

/** A client that was let in as `ann`. */
async function connected(lone: LoneBroker): Promise<StreamClient> {
  const client = lone.open()
  await client.connect(connectWith('am ann'))
  return client
}

describe('enhanced authentication', () => {
  it('asks on until it is done, and says the method in each packet [MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.0-5]', async (t) => {
    const { script, lone } = setUp(t)
    const client = lone.open()
    client.sendConnect(connectWith('ask', { clientId: 'c', username: 'claimed' }))
    for (let round = 0; round < 3; round += 1) {
      const asked = await client.next('auth')
      assert.deepEqual([asked.reasonCode, dataOf(asked)], [CONTINUE, 'SCRIPT who?'])
      client.send(auth(CONTINUE, round < 2 ? 'ask' : 'am ann'))
    }
    const connack = await client.next('connack')
    assert.deepEqual([connack.reasonCode, dataOf(connack)], [0, 'SCRIPT welcome'])
    assert.deepEqual(script.begun, [
      { clientId: 'c', username: 'claimed', remoteAddress: '', listener: 'test', isReauthentication: false },
    ])
    assert.equal(lone.connections[0]?.username, 'ann')
    assert.equal(lone.metrics.mqtt.authentications.accepted.value, 1)
  })

  it('needs no round when the first data is enough, none sent included', async (t) => {
    const { script, lone } = setUp(t)
    const first = lone.open()
    await first.connect(connectWith('silently', { clientId: 'one', username: 'claimed' }))
    assert.equal(dataOf(first.connack ?? {}), 'SCRIPT undefined')
    assert.equal(lone.connections[0]?.username, 'claimed')
    const second = lone.open()
    second.sendConnect(connectWith(undefined, { clientId: 'two' }))
    assert.deepEqual(await second.ended(), ['connack 135'])
    assert.deepEqual(script.heard, ['silently', 'nothing'])
  })

  it('takes the place of the password, and not that of preConnect', async (t) => {
    const asked: string[] = []
    const { lone } = setUp(t, {
      aedes: {
        preConnect: (_client, packet, done) => {
          asked.push(`preConnect ${packet.username}`)
          done(null, packet.clientId !== 'banned')
        },
        authenticate: (_client, username, _password, done) => {
          asked.push(`authenticate ${username}`)
          done(null, false)
        },
      },
    })
    await connected(lone)
    assert.deepEqual(asked, ['preConnect ann'])
    const banned = lone.open()
    banned.sendConnect(connectWith('am ann', { clientId: 'banned' }))
    assert.deepEqual(await banned.ended(), ['connack 135'])
  })

  it('refuses a method it does not know, and all of them when there is none [MQTT-4.12.0-1]', async (t) => {
    const { lone } = setUp(t)
    const none = new LoneBroker(t)
    for (const broker of [lone, none]) {
      const client = broker.open()
      client.sendConnect({ properties: { authenticationMethod: 'OTHER' } })
      assert.deepEqual(await client.ended(), ['connack 140'])
      assert.equal(broker.metrics.mqtt.authentications.unknown_method.value, 1)
    }
  })

  it('refuses with the reason it is given, and with 0x87 for a code that is none [MQTT-4.12.0-4]', async (t) => {
    for (const [data, answer] of [
      ['refuse 138', 'connack 138'],
      ['refuse 0', 'connack 135'],
      ['throw', 'connack 128'],
      ['reject', 'connack 128'],
    ] as const) {
      const { lone } = setUp(t)
      const client = lone.open()
      client.sendConnect(connectWith('ask'))
      await client.next('auth')
      client.send(auth(CONTINUE, data))
      assert.deepEqual(await client.ended(), [answer], data)
      assert.deepEqual(lone.closeReasons, { refused: 1 })
      assert.equal(lone.broker.connectedClients, 0)
    }
  })

  it('answers what must not come before CONNACK [MQTT-3.1.2-30]', async (t) => {
    const faults = {
      'another method': [auth(CONTINUE, 'am ann', 'OTHER'), 'connack 140'],
      'a re-authentication': [auth(AGAIN, 'am ann'), 'connack 130'],
      'a publish': [publishPacket({ topic: 'a' }), 'connack 130'],
      'a ping': [{ cmd: 'pingreq' }, 'connack 130'],
      'a second CONNECT': [
        { cmd: 'connect', clientId: 'c', protocolId: 'MQTT', protocolVersion: 5, clean: true, keepalive: 0 },
        'connack 130',
      ],
    } as const
    for (const [what, [packet, answer]] of Object.entries(faults)) {
      const { lone } = setUp(t)
      const client = lone.open()
      client.sendConnect(connectWith('ask'))
      await client.next('auth')
      client.send(packet)
      assert.deepEqual(await client.ended(), [answer], what)
    }
  })

  it('lets the client give up, and publishes no will then', async (t) => {
    const { lone } = setUp(t)
    const client = lone.open()
    const will = { topic: 'will', payload: Buffer.from('x'), qos: 0, retain: false } as const
    client.sendConnect(connectWith('ask', { will }))
    await client.next('auth')
    client.send({ cmd: 'disconnect', reasonCode: 4 })
    assert.deepEqual(await client.ended(), [])
    assert.deepEqual(lone.closeReasons, { client_disconnect: 1 })
    assert.equal(lone.metrics.wills.value, 0)
  })

  it('has the time of CONNECT, and an answer that comes later changes nothing', async (t) => {
    for (const data of ['ask', 'hold']) {
      const { script, lone } = setUp(t, { mqtt: { connectTimeout: 1_000 } })
      const client = lone.open()
      client.sendConnect(connectWith(data))
      await until(() => script.heard.length > 0, 'asked')
      lone.clock.advance(1_300)
      await client.ended()
      script.answer({ done: undefined, username: 'ann' })
      await new Promise((resolve) => setImmediate(resolve))
      assert.deepEqual(lone.closeReasons, { connect_timeout: 1 }, data)
      assert.equal(lone.broker.connectedClients, 0)
      lone.clock.advance(10_000)
      assert.equal(lone.clock.timers.size, 0)
    }
  })

  it('handles AUTH packets that the client did not wait with in their turn', async (t) => {
    const { lone } = setUp(t)
    const client = lone.open()
    client.sendTogether(
      {
        cmd: 'connect',
        clientId: 'c',
        protocolId: 'MQTT',
        protocolVersion: 5,
        clean: true,
        keepalive: 0,
        ...connectWith('ask'),
      } as IConnectPacket,
      auth(CONTINUE, 'ask'),
      auth(CONTINUE, 'am ann'),
      publishPacket({ topic: 'a' }),
    )
    assert.deepEqual(await client.settle(), ['auth', 'auth', 'connack 0'])
    assert.equal(lone.metrics.mqtt.messagesReceived[0].value, 1)
  })

  it('is a protocol error without a method in CONNECT [MQTT-4.12.0-6] [MQTT-4.12.0-7]', async (t) => {
    const { lone } = setUp(t)
    for (const code of [CONTINUE, AGAIN]) {
      const client = await lone.connect()
      assert.equal(client.connack?.properties?.authenticationMethod, undefined)
      client.send(auth(code, 'am ann'))
      assert.deepEqual(await client.ended(), ['disconnect 130'])
    }
  })
})

describe('an authenticator', () => {
  it('may be given to a broker that is embedded', async (t) => {
    const broker = await createBroker({ authenticators: [new ScriptedAuthenticator()] })
    t.after(() => broker.close())
    const client = StreamClient.open(t, (stream) => broker.handle(stream))
    await client.connect(connectWith('am ann'))
    assert.equal(dataOf(client.connack ?? {}), 'SCRIPT welcome')
  })

  it('that answers, and then the program fails, ends that connection and no other', async (t) => {
    const { lone } = setUp(t, {
      aedes: {
        preConnect: () => {
          throw new Error('broken')
        },
      },
    })
    for (const data of ['am ann', 'silently']) {
      const client = lone.open()
      client.sendConnect(connectWith(data))
      assert.deepEqual(await client.ended(), [])
    }
    assert.deepEqual(lone.closeReasons, { internal_error: 2 })
  })

  it('proves no other user than the one that TLS has proved', async (t) => {
    const { lone } = setUp(t)
    for (const [name, answer] of [
      ['ann', 'connack 0'],
      ['bob', 'connack 135'],
    ] as const) {
      const client = lone.open()
      // As the policy of a listener does for a certificate.
      const connection = lone.connections.at(-1)
      if (connection !== undefined) connection.provenBy = 'certificate'
      client.sendConnect(connectWith(`am ${name}`, { username: 'ann', clientId: name }))
      assert.equal(textOf(await client.next('connack')), answer)
    }
  })
})

describe('a re-authentication', () => {
  it('leaves the connection as it is, and other packets flow meanwhile', async (t) => {
    const { script, lone } = setUp(t)
    const client = await connected(lone)
    await client.subscribe('a')
    client.send(auth(AGAIN, 'ask'))
    assert.equal((await client.next('auth')).reasonCode, CONTINUE)
    client.publish({ topic: 'a', payload: '1' })
    assert.deepEqual(await client.settle(), ['publish 0 a 1'])
    client.send(auth(CONTINUE, 'hold'))
    client.publish({ topic: 'a', payload: '2' })
    assert.deepEqual(await client.settle(), ['publish 0 a 2'])
    script.answer({ done: Buffer.from('still you'), username: 'ann' })
    const done = await client.next('auth')
    assert.deepEqual([done.reasonCode ?? 0, dataOf(done)], [0, 'SCRIPT still you'])
    assert.deepEqual(
      script.begun.map(({ username, isReauthentication }) => [username, isReauthentication]),
      [
        [undefined, false],
        ['ann', true],
      ],
    )
    client.send(auth(AGAIN, 'silently'))
    assert.equal((await client.next('auth')).reasonCode ?? 0, 0)
    lone.clock.advance(60_000)
    assert.equal(lone.connections[0]?.state, 'open')
  })

  it('that fails ends the connection with 0x87 [MQTT-4.12.1-2]', async (t) => {
    for (const data of ['refuse 134', 'refuse 0', 'throw', 'reject', 'am bob']) {
      const { lone } = setUp(t)
      const client = await connected(lone)
      client.send(auth(AGAIN, data))
      assert.deepEqual(await client.ended(), ['disconnect 135'], data)
    }
  })

  it('keeps to the method and to its turn [MQTT-4.12.1-1]', async (t) => {
    const faults: Record<string, IAuthPacket[]> = {
      'another method': [auth(AGAIN, 'am ann', 'OTHER')],
      'nothing to go on with': [auth(CONTINUE, 'am ann')],
      'a second one within the first': [auth(AGAIN, 'ask'), auth(AGAIN, 'ask')],
      'data before the answer': [auth(AGAIN, 'hold'), auth(CONTINUE, 'more')],
      'another method on the way': [auth(AGAIN, 'ask'), auth(CONTINUE, 'am ann', 'OTHER')],
    }
    for (const [what, packets] of Object.entries(faults)) {
      const { lone } = setUp(t)
      const client = await connected(lone)
      client.sendTogether(...packets)
      const before = await client.ended()
      assert.equal(before.at(-1), 'disconnect 130', what)
      assert.deepEqual(lone.closeReasons, { protocol_error: 1 })
      lone.clock.advance(20_000)
      assert.equal(lone.clock.timers.size, 0)
    }
  })

  it('has its own time', async (t) => {
    const { lone } = setUp(t, { mqtt: { authenticationTimeout: 5_000 } })
    const client = await connected(lone)
    lone.clock.advance(60_000)
    client.send(auth(AGAIN, 'ask'))
    await client.next('auth')
    lone.clock.advance(4_900)
    assert.deepEqual(await client.settle(), [])
    lone.clock.advance(600)
    assert.deepEqual(await client.ended(), ['disconnect 135'])
    assert.deepEqual(lone.closeReasons, { authentication_timeout: 1 })
    assert.equal(lone.metrics.mqtt.authentications.timed_out.value, 1)
  })
})
