import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { eventually } from '../../support/eventually.js'
import { PacketClient } from '../../support/packet-client.js'
import { type CreateAedes, logErrors, logged, setUp, VERSION } from './setting.js'

/** What a program hears of clients that are refused, break the protocol or go silent. */
export function describeErrors(name: string, create: CreateAedes): void {
  describe(`errors of ${name}`, () => {
    it('tell of the CONNACK of a client that comes in, before it is ready', async (t) => {
      const { broker, log, connect } = await setUp(t, create)
      logErrors(broker, log)
      await connect('a')
      await logged(log, ['client a', 'connackSent 0 to a', 'clientReady a'])
    })

    it('tell what authenticate has refused a client with', async (t) => {
      const { broker, log, port } = await setUp(t, create)
      logErrors(broker, log)
      broker.authenticate = (_client, _username, _password, done) => {
        done(Object.assign(new Error('wrong password'), { returnCode: 4 }), null)
      }
      const refused = await PacketClient.open(t, port, VERSION)
      refused.sendConnect({ clientId: 'a' })
      await refused.next('connack')
      await refused.closed()
      await logged(log, ['connackSent 4 to a', 'clientError a wrong password'])
    })

    it('tell of a client that authenticate does not want and gives no reason for', async (t) => {
      const { broker, log, port } = await setUp(t, create)
      logErrors(broker, log)
      broker.authenticate = (_client, _username, _password, done) => done(null, false)
      const refused = await PacketClient.open(t, port, VERSION)
      refused.sendConnect({ clientId: 'a' })
      await refused.closed()
      await logged(log, ['connackSent 5 to a', 'clientError a not authorized'])
    })

    it('tell of an error of preConnect, in the name of a connection that is no client yet', async (t) => {
      const { broker, log, port } = await setUp(t, create)
      const errors: string[] = []
      broker.on('connectionError', (client, error) => errors.push(`${client.id || '-'} ${error.message}`))
      broker.on('clientError', (client) => errors.push(`clientError ${client.id}`))
      broker.preConnect = (client, _packet, done) => {
        log.push(`preConnect ${client.id || '-'} ${client.connected}`)
        done(new Error('not from there'), false)
      }
      const refused = await PacketClient.open(t, port, VERSION)
      refused.sendConnect({ clientId: 'a' })
      await refused.closed()
      await logged(log, ['preConnect - false'])
      await logged(errors, ['- not from there'])
    })

    it('tell of what is no CONNECT as the error of a connection', async (t) => {
      const { broker, log, port } = await setUp(t, create)
      const errors: string[] = []
      broker.on('connectionError', (client, error) => errors.push(`${client.id || '-'} ${error instanceof Error}`))
      broker.on('clientError', (client) => errors.push(`clientError ${client.id}`))
      const stranger = await PacketClient.open(t, port, VERSION)
      stranger.send({ cmd: 'pingreq' })
      await stranger.closed()
      await logged(errors, ['- true'])
      assert.deepEqual(log, [])
    })

    it('tell of a client that breaks the protocol, before it is gone', async (t) => {
      const { broker, log, connect } = await setUp(t, create)
      const client = await connect('a')
      log.length = 0
      broker.on('clientError', ({ id }, error) => log.push(`clientError ${id} ${error instanceof Error}`))
      client.write(Buffer.from([0x36, 5, 0, 1, 0x61, 0, 1]))
      await client.closed()
      await logged(log, ['clientError a true', 'clientDisconnect a'])
    })

    it("tell authorizePublish's reason to close a client", async (t) => {
      const { broker, log, connect } = await setUp(t, create)
      broker.authorizePublish = (_client, _packet, done) => done(new Error('not there'))
      const client = await connect('a')
      log.length = 0
      broker.on('clientError', ({ id }, error) => log.push(`clientError ${id} ${error.message}`))
      client.publish({ topic: 'x' })
      await client.closed()
      await logged(log, ['clientError a not there', 'clientDisconnect a'])
    })

    it('close a client whose message the published hook cannot deal with, unacknowledged', async (t) => {
      const { broker, log, connect } = await setUp(t, create)
      broker.published = (packet, _client, done) => {
        setImmediate(done, packet.topic === 'x' ? new Error('disk full') : null)
      }
      const client = await connect('a')
      log.length = 0
      broker.on('clientError', ({ id }, error) => log.push(`clientError ${id} ${error.message}`))
      client.publish({ topic: 'x', payload: '1', qos: 2 })
      assert.deepEqual(await client.closed(), [])
      await logged(log, ['publish x 1 by a', 'clientError a disk full', 'clientDisconnect a'])
      const error = await new Promise((resolve) =>
        broker.publish({ cmd: 'publish', topic: 'x', payload: '', qos: 0, dup: false, retain: false }, resolve),
      )
      assert.equal((error as Error).message, 'disk full')
    })

    it('tell of a keep-alive that ran out as an error too', async (t) => {
      const { broker, log, connect } = await setUp(t, create)
      broker.on('clientError', ({ id }, error) => log.push(`clientError ${id} ${error.message}`))
      const client = await connect('a', { keepalive: 1 })
      log.length = 0
      await client.closed()
      await logged(log, ['keepaliveTimeout a', 'clientError a keep alive timeout', 'clientDisconnect a'])
    })

    it('tell nothing of a client that leaves, however it does', async (t) => {
      const { broker, log, connect } = await setUp(t, create)
      const [polite, gone] = [await connect('polite'), await connect('gone')]
      logErrors(broker, log)
      log.length = 0
      await polite.disconnect()
      await logged(log, ['clientDisconnect polite'])
      gone.drop()
      await logged(log, ['clientDisconnect gone'])
      await eventually(() => assert.equal(broker.connectedClients, 0))
    })
  })
}
