import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { AuthenticateError } from 'aedes'
import { eventually } from '../../support/eventually.js'
import { PacketClient, textOf } from '../../support/packet-client.js'
import { type CreateAedes, logged, setUp, VERSION } from './setting.js'

/** Hooks: their arguments, their order, what a refusal does and what they may change. */
export function describeHooks(name: string, create: CreateAedes): void {
  describe(`hooks of ${name}`, () => {
    it('ask preConnect and authenticate in this order, before the client is announced', async (t) => {
      const { broker, log, connect } = await setUp(t, create)
      broker.preConnect = (_client, packet, done) => {
        const { cmd, clientId, protocolVersion, clean, keepalive, username, password } = packet
        log.push(`preConnect ${JSON.stringify({ cmd, clientId, protocolVersion, clean, keepalive, username })}`)
        log.push(`password ${Buffer.isBuffer(password)} ${password}`)
        done(null, true)
      }
      broker.authenticate = (client, username, password, done) => {
        log.push(`authenticate ${client.id} ${username} ${password}`)
        setImmediate(done, null, true)
      }
      await connect('a', { username: 'user', password: Buffer.from('secret'), keepalive: 7 })
      await logged(log, [
        'preConnect {"cmd":"connect","clientId":"a","protocolVersion":4,"clean":true,"keepalive":7,"username":"user"}',
        'password true secret',
        'authenticate a user secret',
        'client a',
        'clientReady a',
      ])
    })

    it('may be given as options too', async (t) => {
      const asked: string[] = []
      const { connect } = await setUp(t, create, {
        authenticate(client, _username, _password, done) {
          asked.push(client.id)
          done(null, true)
        },
      })
      await connect('a')
      assert.deepEqual(asked, ['a'])
    })

    it('close a connection that preConnect does not want, without asking further', async (t) => {
      const { broker, log, port } = await setUp(t, create)
      broker.preConnect = (_client, _packet, done) => done(null, false)
      broker.authenticate = (_client, _username, _password, done) => {
        log.push('authenticate')
        done(null, true)
      }
      const refused = await PacketClient.open(t, port, VERSION)
      refused.sendConnect()
      // Aedes leaves the connection to its timeouts when there is no error to report: only that it gets nowhere is common.
      refused.send({ cmd: 'pingreq' })
      refused.drop()
      await eventually(() => assert.equal(broker.connectedClients, 0))
      assert.deepEqual(log, [])
    })

    it('take undefined for no error, as callbacks often say it', async (t) => {
      const { broker, connect } = await setUp(t, create)
      broker.preConnect = (_client, _packet, done) => done(undefined as unknown as null, true)
      broker.authenticate = (_client, _username, _password, done) => done(undefined as unknown as null, true)
      broker.authorizePublish = (_client, _packet, done) => done(undefined)
      broker.authorizeSubscribe = (_client, subscription, done) => done(undefined as unknown as null, subscription)
      const client = await connect('a')
      assert.deepEqual(await client.subscribe('x', 1), [1])
      assert.equal(await client.publishAcked({ topic: 'y' }), 0)
    })

    it('refuse with the return code that authenticate sets, or with 5', async (t) => {
      const { broker, log, port } = await setUp(t, create)
      broker.authenticate = (client, _username, _password, done) => {
        if (client.id === 'false') return done(null, false)
        const error: Partial<AuthenticateError> = new Error('wrong')
        if (client.id === 'four') error.returnCode = 4
        done(error as AuthenticateError, null)
      }
      for (const [clientId, returnCode] of [
        ['false', 5],
        ['error', 5],
        ['four', 4],
      ] as const) {
        const client = await PacketClient.open(t, port, VERSION)
        client.sendConnect({ clientId })
        assert.equal((await client.next('connack')).returnCode, returnCode, clientId)
        assert.deepEqual(await client.closed(), [])
      }
      assert.deepEqual(log, [], 'no client was announced')
      assert.equal(broker.connectedClients, 0)
    })

    it('ask authorizePublish, then authorizeForward for each subscriber, then published, then the event', async (t) => {
      const { broker, log, connect } = await setUp(t, create)
      const [publisher, first, second] = [await connect('p'), await connect('s1'), await connect('s2')]
      await first.subscribe('x')
      await second.subscribe('x')
      await eventually(() => assert.equal(log.length, 8))
      log.length = 0
      broker.authorizePublish = (client, packet, done) => {
        log.push(`authorizePublish ${client?.id} ${packet.cmd} ${packet.topic} ${packet.payload} ${packet.qos}`)
        setImmediate(done, null)
      }
      broker.authorizeForward = (client, packet) => {
        log.push(`authorizeForward ${client.id} ${packet.topic} ${packet.payload}`)
        return packet
      }
      broker.published = (packet, client, done) => {
        if (packet.topic.startsWith('$SYS/')) return done()
        log.push(`published ${client?.id} ${packet.topic} ${packet.payload}`)
        done()
      }
      publisher.publish({ topic: 'x', payload: '1' })
      assert.deepEqual((await first.receive(1)).map(textOf), ['x 1'])
      assert.deepEqual((await second.receive(1)).map(textOf), ['x 1'])
      await logged(log, [
        'authorizePublish p publish x 1 0',
        'authorizeForward s1 x 1',
        'authorizeForward s2 x 1',
        'published p x 1',
        'publish x 1 by p',
      ])
    })

    it('deliver what authorizePublish has made of a message', async (t) => {
      const { broker, connect } = await setUp(t, create)
      broker.authorizePublish = (_client, packet, done) => {
        if (packet.topic === 'x') packet.payload = Buffer.from('changed')
        done(null)
      }
      const client = await connect('a')
      await client.subscribe('#', 1)
      for (const qos of [0, 1] as const) client.publish({ topic: 'x', payload: 'original', qos })
      client.publish({ topic: 'y', payload: 'original' })
      const received: string[] = []
      await eventually(async () => {
        const got = (await client.settle()).filter(({ cmd }) => cmd === 'publish').map(textOf)
        received.push(...got)
        // Aedes does not keep the order between QoS 0 and QoS 1.
        assert.deepEqual(received.sort(), ['x changed', 'x changed', 'y original'])
      })
    })

    it('close a 3.1.1 connection whose message authorizePublish refuses, and deliver nothing', async (t) => {
      const { broker, connect } = await setUp(t, create)
      broker.authorizePublish = (_client, packet, done) => done(packet.topic === 'no' ? new Error('no') : null)
      const [publisher, subscriber] = [await connect('p'), await connect('s')]
      await subscriber.subscribe('#')
      publisher.publish({ topic: 'yes', payload: '1' })
      publisher.publish({ topic: 'no', payload: '2' })
      assert.deepEqual(await publisher.closed(), [])
      assert.deepEqual((await subscriber.receive(1)).map(textOf), ['yes 1'])
      await subscriber.expectNothing()
    })

    it('refuse topics of the broker to clients when nobody replaces authorizePublish', async (t) => {
      const { connect } = await setUp(t, create)
      const client = await connect('p')
      client.publish({ topic: '$SYS/x' })
      assert.deepEqual(await client.closed(), [])
    })

    it('refuse a subscription that authorizeSubscribe answers with null, and only that one', async (t) => {
      const { broker, log, connect } = await setUp(t, create)
      const asked: string[] = []
      broker.authorizeSubscribe = (client, subscription, done) => {
        asked.push(`${client.id} ${subscription.topic} ${subscription.qos}`)
        setImmediate(done, null, subscription.topic === 'no' ? null : subscription)
      }
      const client = await connect('a')
      log.length = 0
      assert.deepEqual(
        await client.subscribe([
          { topic: 'yes', qos: 1 },
          { topic: 'no', qos: 1 },
        ]),
        [1, 128],
      )
      assert.deepEqual(asked, ['a yes 1', 'a no 1'])
      await logged(log, ['subscribe yes 1,no 128 by a'])
      for (const topic of ['yes', 'no'])
        broker.publish({ cmd: 'publish', topic, payload: '', qos: 0, dup: false, retain: false }, () => {})
      assert.deepEqual((await client.receive(1)).map(textOf), ['yes '])
      await client.expectNothing()
    })

    it('let authorizeForward withhold or change what one subscriber gets', async (t) => {
      const { broker, connect } = await setUp(t, create)
      broker.authorizeForward = (client, packet) => {
        if (client.id === 'none') return null
        if (client.id === 'changed') packet.payload = Buffer.from('changed')
        return packet
      }
      const [none, changed, plain] = [await connect('none'), await connect('changed'), await connect('plain')]
      for (const client of [none, changed, plain]) await client.subscribe('x')
      plain.publish({ topic: 'x', payload: 'original' })
      assert.deepEqual((await changed.receive(1)).map(textOf), ['x changed'])
      assert.deepEqual((await plain.receive(1)).map(textOf), ['x original'])
      await none.expectNothing()
    })

    it('answer a QoS 2 publisher only when published has called back', async (t) => {
      const { broker, connect } = await setUp(t, create)
      let finish: (() => void) | undefined
      broker.published = (packet, _client, done) => {
        if (packet.topic === 'x') finish = () => done()
        else done()
      }
      const client = await connect('a')
      client.publish({ topic: 'x', qos: 2 })
      await eventually(() => assert.equal(finish !== undefined, true))
      await client.expectNothing()
      finish?.()
      await client.next('pubrec')
    })

    it('ask authorizePublish for a will, in the name of its client', async (t) => {
      const { broker, log, connect } = await setUp(t, create)
      broker.authorizePublish = (client, packet, done) => {
        log.push(`authorizePublish ${client?.id} ${packet.topic}`)
        done(packet.topic === 'no' ? new Error('no') : null)
      }
      for (const topic of ['no', 'yes']) {
        const client = await connect('a', { will: { topic, payload: Buffer.from('gone'), qos: 0, retain: false } })
        log.length = 0
        client.drop()
        const lines = topic === 'no' ? ['authorizePublish a no'] : ['authorizePublish a yes', 'publish yes gone by a']
        await eventually(() =>
          assert.deepEqual(
            log.filter((line) => !line.startsWith('client')),
            lines,
          ),
        )
      }
    })
  })
}
