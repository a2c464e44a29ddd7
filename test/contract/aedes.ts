import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { describe, it, type TestContext } from 'node:test'
import type { Aedes, AedesOptions, AuthenticateError, Client } from 'aedes'
import { eventually } from '../support/eventually.js'
import { type ConnectFields, PacketClient, textOf } from '../support/packet-client.js'

/** Makes a broker that is ready for clients. It is closed by the suite. */
export type CreateAedes = (context: TestContext, options: AedesOptions) => Promise<Aedes>

/** MQTT 3.1.1: what Aedes speaks. */
const VERSION = 4

interface Setting {
  broker: Aedes
  port: number
  /** What happened, in order; tests add what they see. */
  log: string[]
  connect(clientId: string, fields?: ConnectFields): Promise<PacketClient>
}

/** The events of Aedes that a program may rely on, each as a line of the log; topics of the broker's own left out. */
function logEvents(broker: Aedes, log: string[]): void {
  broker.on('client', (client) => log.push(`client ${client.id}`))
  broker.on('clientReady', (client) => log.push(`clientReady ${client.id}`))
  broker.on('clientDisconnect', (client) => log.push(`clientDisconnect ${client.id}`))
  broker.on('publish', (packet, client) => {
    if (!packet.topic.startsWith('$SYS/')) log.push(`publish ${packet.topic} ${packet.payload} by ${client?.id}`)
  })
  broker.on('subscribe', (subscriptions, client) => {
    log.push(`subscribe ${subscriptions.map(({ topic, qos }) => `${topic} ${qos}`)} by ${client.id}`)
  })
  broker.on('unsubscribe', (filters, client) => log.push(`unsubscribe ${filters} by ${client.id}`))
  broker.on('ping', (packet, client) => log.push(`ping ${packet.cmd} by ${client.id}`))
  broker.on('ack', (_packet, client) => log.push(`ack by ${client.id}`))
  broker.on('keepaliveTimeout', (client) => log.push(`keepaliveTimeout ${client.id}`))
}

/**
 * What a program written for Aedes may rely on: hooks, events and methods, over TCP and MQTT 3.1.1. Run for Aedes itself
 * and for what claims to be one.
 */
export function describeAedes(name: string, create: CreateAedes): void {
  async function setUp(context: TestContext, options: AedesOptions = {}): Promise<Setting> {
    const broker = await create(context, options)
    const server = createServer(broker.handle)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    context.after(() => {
      broker.close()
      server.close()
    })
    const log: string[] = []
    logEvents(broker, log)
    const { port } = server.address() as AddressInfo
    let ready = 0
    broker.on('clientReady', () => (ready += 1))
    return {
      broker,
      port,
      log,
      async connect(clientId, fields) {
        const before = ready
        const client = await PacketClient.connect(context, port, VERSION, { clientId, ...fields })
        // Aedes says so only some turns after its CONNACK.
        await eventually(() => assert.ok(ready > before, 'clientReady'), { every: 1 })
        return client
      },
    }
  }

  /** The lines so far, once there are as many as expected. */
  async function logged(log: string[], expected: string[]): Promise<void> {
    await eventually(() => assert.deepEqual(log, expected), { within: 2_000, every: 5 })
    log.length = 0
  }

  describe(`hooks of ${name}`, () => {
    it('ask preConnect and authenticate in this order, before the client is announced', async (t) => {
      const { broker, log, connect } = await setUp(t)
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
      const { connect } = await setUp(t, {
        authenticate(client, _username, _password, done) {
          asked.push(client.id)
          done(null, true)
        },
      })
      await connect('a')
      assert.deepEqual(asked, ['a'])
    })

    it('close a connection that preConnect does not want, without asking further', async (t) => {
      const { broker, log, port } = await setUp(t)
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
      const { broker, connect } = await setUp(t)
      broker.preConnect = (_client, _packet, done) => done(undefined as unknown as null, true)
      broker.authenticate = (_client, _username, _password, done) => done(undefined as unknown as null, true)
      broker.authorizePublish = (_client, _packet, done) => done(undefined)
      broker.authorizeSubscribe = (_client, subscription, done) => done(undefined as unknown as null, subscription)
      const client = await connect('a')
      assert.deepEqual(await client.subscribe('x', 1), [1])
      assert.equal(await client.publishAcked({ topic: 'y' }), 0)
    })

    it('refuse with the return code that authenticate sets, or with 5', async (t) => {
      const { broker, log, port } = await setUp(t)
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
      const { broker, log, connect } = await setUp(t)
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
      const { broker, connect } = await setUp(t)
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
      const { broker, connect } = await setUp(t)
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
      const { connect } = await setUp(t)
      const client = await connect('p')
      client.publish({ topic: '$SYS/x' })
      assert.deepEqual(await client.closed(), [])
    })

    it('refuse a subscription that authorizeSubscribe answers with null, and only that one', async (t) => {
      const { broker, log, connect } = await setUp(t)
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
      const { broker, connect } = await setUp(t)
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
      const { broker, connect } = await setUp(t)
      let finish: (() => void) | undefined
      broker.published = (packet, _client, done) => {
        if (packet.topic === 'x') finish = () => done()
        else done()
      }
      const client = await connect('a')
      client.publish({ topic: 'x', qos: 2 })
      await eventually(() => assert.ok(finish !== undefined))
      await client.expectNothing()
      finish?.()
      await client.next('pubrec')
    })

    it('ask authorizePublish for a will, in the name of its client', async (t) => {
      const { broker, log, connect } = await setUp(t)
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

  describe(`events of ${name}`, () => {
    it('tell the life of a client in order', async (t) => {
      const { broker, log, connect } = await setUp(t)
      const client = await connect('a', { clean: false })
      assert.equal(broker.connectedClients, 1)
      await client.subscribe([
        { topic: 'x', qos: 1 },
        { topic: 'y/+', qos: 0 },
      ])
      await client.settle()
      await client.unsubscribe('y/+')
      client.publish({ topic: 'z', payload: '1' })
      await client.settle()
      await client.disconnect()
      await logged(log, [
        'client a',
        'clientReady a',
        'subscribe x 1,y/+ 0 by a',
        'ping pingreq by a',
        'unsubscribe y/+ by a',
        'publish z 1 by a',
        'ping pingreq by a',
        'clientDisconnect a',
      ])
      assert.equal(broker.connectedClients, 0)
    })

    it('tell what a clean session was subscribed to when it ends', async (t) => {
      const { log, connect } = await setUp(t)
      const client = await connect('a')
      await client.subscribe([{ topic: 'x' }, { topic: 'y' }])
      log.length = 0
      await client.disconnect()
      await logged(log, ['clientDisconnect a', 'unsubscribe x,y by a'])
    })

    it('tell of an acknowledged delivery, with the client that acknowledged', async (t) => {
      const { log, connect } = await setUp(t)
      const client = await connect('a', { clean: false })
      await client.subscribe('x', 2)
      for (const qos of [1, 2] as const) {
        log.length = 0
        await client.publishAcked({ topic: 'y', qos })
        client.publish({ topic: 'x', qos })
        await eventually(async () => {
          for (const packet of await client.settle()) {
            if (packet.cmd === 'publish' && packet.qos === 1) client.acknowledge(packet)
            if (packet.cmd === 'publish' && packet.qos === 2)
              client.send({ cmd: 'pubrec', messageId: packet.messageId ?? 0 })
            if (packet.cmd === 'pubrel') client.send({ cmd: 'pubcomp', messageId: packet.messageId ?? 0 })
          }
          assert.equal(log.filter((line) => line === 'ack by a').length, 1)
        })
      }
    })

    it('tell that a client ID was taken over: first the end of the old connection, then the new one', async (t) => {
      const { broker, log, connect } = await setUp(t)
      const first = await connect('a')
      log.length = 0
      await connect('a')
      await first.closed()
      await logged(log, ['clientDisconnect a', 'client a', 'clientReady a'])
      assert.equal(broker.connectedClients, 1)
    })

    it('tell of a keep-alive that ran out, before the client is gone', async (t) => {
      const { log, connect } = await setUp(t)
      const client = await connect('a', { keepalive: 1 })
      log.length = 0
      await client.closed()
      await logged(log, ['keepaliveTimeout a', 'clientDisconnect a'])
    })
  })

  describe(`methods of ${name}`, () => {
    const packet = { cmd: 'publish', topic: 'x', payload: Buffer.from('1'), qos: 0, dup: false, retain: false } as const

    it('publish to clients, and call back', async (t) => {
      const { broker, log, connect } = await setUp(t)
      const client = await connect('a')
      await client.subscribe('x', 1)
      log.length = 0
      for (const qos of [0, 1] as const) {
        const error = await new Promise((resolve) => broker.publish({ ...packet, qos }, resolve))
        assert.ok(error === undefined || error === null)
      }
      assert.deepEqual(
        (await client.receive(2)).map(({ qos, topic }) => [topic, qos]),
        [
          ['x', 0],
          ['x', 1],
        ],
      )
      await eventually(() =>
        assert.deepEqual(log.slice(0, 2), ['publish x 1 by undefined', 'publish x 1 by undefined']),
      )
    })

    it('subscribe a function to a filter, until it is unsubscribed', async (t) => {
      const { broker, connect } = await setUp(t)
      const got: string[] = []
      const listener = (one: { topic: string; payload: string | Buffer }, done: () => void): void => {
        got.push(`${one.topic} ${one.payload}`)
        done()
      }
      await new Promise<void>((resolve) => broker.subscribe('x/+', listener, resolve))
      const client = await connect('a')
      client.publish({ topic: 'x/1', payload: 'by a client' })
      await client.settle()
      await new Promise((resolve) => broker.publish({ ...packet, topic: 'x/2', payload: 'by the program' }, resolve))
      await new Promise<void>((resolve) => broker.unsubscribe('x/+', listener, resolve))
      client.publish({ topic: 'x/3' })
      await client.settle()
      assert.deepEqual(got, ['x/1 by a client', 'x/2 by the program'])
    })

    it('retain, and remove with an empty payload', async (t) => {
      const { broker, connect } = await setUp(t)
      await new Promise((resolve) => broker.publish({ ...packet, retain: true }, resolve))
      const client = await connect('a')
      await client.subscribe('x')
      assert.deepEqual(
        (await client.receive(1)).map((one) => [textOf(one), one.retain]),
        [['x 1', true]],
      )
      await new Promise((resolve) => broker.publish({ ...packet, retain: true, payload: '' }, resolve))
      await client.receive(1)
      const later = await connect('b')
      await later.subscribe('x')
      await later.expectNothing()
    })

    it('publish to, subscribe and close one client by its own methods', async (t) => {
      const { broker, log, connect } = await setUp(t)
      const clients: Client[] = []
      broker.on('client', (client) => clients.push(client))
      const [first, second] = [await connect('a'), await connect('b')]
      await eventually(() => assert.equal(clients.length, 2))
      const [client] = clients
      assert.ok(client !== undefined)
      assert.deepEqual(
        [client.id, client.clean, client.version, client.connected, client.closed],
        ['a', true, 4, true, false],
      )
      await new Promise((resolve) => client.publish({ ...packet, topic: 'one' }, resolve))
      await new Promise((resolve) =>
        client.subscribe({ topic: 'x', qos: 0 } as Parameters<Client['subscribe']>[0], resolve),
      )
      broker.publish(packet, () => {})
      assert.deepEqual((await first.receive(2)).map(textOf), ['one 1', 'x 1'])
      await second.expectNothing()
      client.close()
      await first.closed()
      await eventually(() => assert.ok(log.includes('clientDisconnect a')))
      assert.equal(second.isClosed, false)
    })

    it('send a client the retained messages of what the program subscribed it to', async (t) => {
      const { broker, connect } = await setUp(t)
      await new Promise((resolve) => broker.publish({ ...packet, retain: true }, resolve))
      const clients: Client[] = []
      broker.on('clientReady', (client) => clients.push(client))
      const client = await connect('a')
      clients[0]?.subscribe({ topic: 'x', qos: 0 } as Parameters<Client['subscribe']>[0], () => {})
      assert.deepEqual(
        (await client.receive(1)).map((one) => [textOf(one), one.retain]),
        [['x 1', true]],
      )
    })

    it('subscribe a client as soon as it is announced', async (t) => {
      const { broker, connect } = await setUp(t)
      broker.once('client', (client) =>
        client.subscribe({ topic: 'x', qos: 0 } as Parameters<Client['subscribe']>[0], () => {}),
      )
      const client = await connect('a')
      await client.settle()
      broker.publish(packet, () => {})
      assert.deepEqual((await client.receive(1)).map(textOf), ['x 1'])
    })

    it('close the connections and say so, once', async (t) => {
      const { broker, connect } = await setUp(t)
      const client = await connect('a')
      let closedEvents = 0
      broker.on('closed', () => (closedEvents += 1))
      await new Promise<void>((resolve) => broker.close(resolve))
      assert.deepEqual(await client.closed(), [])
      assert.equal(broker.closed, true)
      await new Promise<void>((resolve) => broker.close(resolve))
      assert.equal(closedEvents, 1)
    })
  })
}
