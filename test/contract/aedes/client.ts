import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it } from 'node:test'
import type { Client } from 'aedes'
import { createWebSocketStream, WebSocketServer } from 'ws'
import { clientFor } from '../../support/client.js'
import { eventually } from '../../support/eventually.js'
import { textOf } from '../../support/packet-client.js'
import { type CreateAedes, setUp, VERSION } from './setting.js'

const MESSAGE = { cmd: 'publish', topic: 'x', payload: Buffer.from('1'), qos: 0, dup: false, retain: false } as const

/** What Aedes' own documentation passes to `client.subscribe`; the types of mqtt-packet want every field of MQTT 5. */
function subscription(topic: string, qos: 0 | 1 | 2 = 0): Parameters<Client['subscribe']>[0] {
  return { topic, qos } as Parameters<Client['subscribe']>[0]
}

/** The client that hooks and events are given: its properties, methods and events. */
export function describeClient(name: string, create: CreateAedes): void {
  describe(`the client of ${name}`, () => {
    it('is the same object in hooks, in events and as the answer of handle', async (t) => {
      const { broker, connect } = await setUp(t, create)
      const seen: Client[] = []
      const { handle } = broker
      broker.authenticate = (client, _username, _password, done) => {
        seen.push(client)
        done(null, true)
      }
      broker.on('clientReady', (client) => seen.push(client))
      broker.on('publish', (packet, client) => {
        if (packet.topic === 'x' && client !== null) seen.push(client)
      })
      broker.on('clientDisconnect', (client) => seen.push(client))
      assert.equal(typeof handle, 'function')
      const client = await connect('a')
      client.publish({ topic: 'x' })
      await client.settle()
      await client.disconnect()
      await eventually(() => assert.equal(seen.length, 4))
      assert.equal(new Set(seen).size, 1)
    })

    it('says who it is and how far its connection has come', async (t) => {
      const { broker, connect } = await setUp(t, create)
      const log: string[] = []
      const say = (when: string, { id, connecting, connected, closed }: Client): void => {
        log.push(`${when} ${id} ${connecting} ${connected} ${closed}`)
      }
      broker.on('client', (client) => say('client', client))
      broker.on('clientReady', (client) => say('ready', client))
      broker.on('clientDisconnect', (client) => say('gone', client))
      const client = await connect('a', { clean: false })
      await client.disconnect()
      await eventually(() => {
        assert.deepEqual(log, ['client a true false false', 'ready a false true false', 'gone a false false true'])
      })
    })

    it('has the clean flag, the version and the stream of its connection', async (t) => {
      const { broker, connect } = await setUp(t, create)
      const clients: Client[] = []
      broker.on('clientReady', (client) => clients.push(client))
      await connect('a', { clean: true })
      await connect('b', { clean: false })
      assert.deepEqual(
        clients.map(({ clean, version, req }) => [clean, version, req]),
        [
          [true, 4, undefined],
          [false, 4, undefined],
        ],
      )
      for (const { conn } of clients) {
        assert.ok('remoteAddress' in conn)
        assert.equal(conn.remoteAddress, '127.0.0.1')
      }
    })

    it('has the request of a WebSocket that handle was given with it', async (t) => {
      const { broker } = await setUp(t, create)
      const seen: (string | undefined)[] = []
      broker.preConnect = (client, _packet, done) => {
        seen.push(client.req?.headers['x-tenant']?.toString())
        done(null, true)
      }
      const server = createHttpServer()
      const webSockets = new WebSocketServer({ server })
      const handled: Client[] = []
      webSockets.on('connection', (socket, request) => {
        const stream = createWebSocketStream(socket)
        const client = broker.handle(stream, request)
        assert.equal(client.conn, stream)
        handled.push(client)
      })
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      t.after(() => {
        webSockets.close()
        server.close()
      })
      const ready: Client[] = []
      broker.on('clientReady', (client) => ready.push(client))
      const { port } = server.address() as AddressInfo
      const wsOptions = { headers: { 'x-tenant': 'acme' } }
      const browser = await clientFor(t, `ws://127.0.0.1:${port}/`, { version: VERSION, clientId: 'b', wsOptions })
      await eventually(() => assert.equal(ready.length, 1))
      assert.deepEqual(seen, ['acme'])
      assert.equal(ready[0], handled[0])
      await browser.end()
    })

    it('publishes to itself alone, with every QoS, and is asked before', async (t) => {
      const { broker, connect } = await setUp(t, create)
      const clients: Client[] = []
      broker.on('clientReady', (client) => clients.push(client))
      const [first, second] = [await connect('a'), await connect('b')]
      broker.authorizeForward = (_client, packet) => (packet.topic === 'no' ? null : packet)
      const [client] = clients
      for (const qos of [0, 1, 2] as const) {
        await new Promise((resolve) => client?.publish({ ...MESSAGE, topic: 'no', qos }, resolve))
        await new Promise((resolve) => client?.publish({ ...MESSAGE, topic: `yes/${qos}`, qos }, resolve))
      }
      assert.deepEqual(
        (await first.receive(3)).map(({ topic, qos }) => `${topic} ${qos}`),
        ['yes/0 0', 'yes/1 1', 'yes/2 2'],
      )
      await second.expectNothing()
    })

    it('subscribes to one filter, to several, or as a packet does, and unsubscribes', async (t) => {
      const { broker, connect } = await setUp(t, create)
      const clients: Client[] = []
      broker.on('clientReady', (client) => clients.push(client))
      const wire = await connect('a')
      const [client] = clients
      assert.ok(client !== undefined)
      const subscribe = (what: unknown): Promise<unknown> =>
        new Promise((resolve) => client.subscribe(what as Parameters<Client['subscribe']>[0], resolve))
      await subscribe(subscription('one'))
      await subscribe([subscription('two'), subscription('three', 1)])
      await subscribe({ subscriptions: [subscription('four')] })
      for (const topic of ['one', 'two', 'three', 'four']) broker.publish({ ...MESSAGE, topic }, () => {})
      assert.deepEqual((await wire.receive(4)).map(({ topic }) => topic).sort(), ['four', 'one', 'three', 'two'])
      await new Promise((resolve) => {
        client.unsubscribe({ unsubscriptions: ['one', 'two'] } as Parameters<Client['unsubscribe']>[0], resolve)
      })
      for (const topic of ['one', 'two', 'three']) broker.publish({ ...MESSAGE, topic }, () => {})
      assert.deepEqual((await wire.receive(1)).map(textOf), ['three 1'])
      await wire.expectNothing()
    })

    it('sends a SUBACK when it subscribes with a messageId', async (t) => {
      const { broker, connect } = await setUp(t, create)
      const clients: Client[] = []
      broker.on('clientReady', (client) => clients.push(client))
      const wire = await connect('a')
      const packet = { cmd: 'subscribe', messageId: 42, subscriptions: [subscription('x', 1)] }
      clients[0]?.subscribe(packet as Parameters<Client['subscribe']>[0], () => {})
      const suback = await wire.next('suback')
      assert.deepEqual([suback.messageId, suback.granted], [42, [1]])
    })

    it('calls back when it is closed', async (t) => {
      const { broker, connect } = await setUp(t, create)
      const clients: Client[] = []
      broker.on('clientReady', (client) => clients.push(client))
      const wire = await connect('a')
      await new Promise<void>((resolve) => clients[0]?.close(resolve))
      assert.equal(clients[0]?.closed, true)
      assert.equal(clients[0]?.connected, false)
      await wire.closed()
      await new Promise<void>((resolve) => clients[0]?.close(resolve))
    })

    it('tells of its own connection and of its own errors', async (t) => {
      const { broker, connect } = await setUp(t, create)
      const log: string[] = []
      broker.on('client', (client) => {
        client.on('connected', () => log.push('connected'))
        client.on('error', (error) => log.push(`error ${error instanceof Error}`))
      })
      const wire = await connect('a')
      await eventually(() => assert.deepEqual(log, ['connected']))
      wire.write(Buffer.from([0x36, 5, 0, 1, 0x61, 0, 1]))
      await wire.closed()
      await eventually(() => assert.deepEqual(log, ['connected', 'error true']))
    })
  })
}
