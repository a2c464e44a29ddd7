import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { PacketClient } from '../../support/packet-client.js'
import { type CreateAedes, setUp, VERSION } from './setting.js'

/** Aedes' options that a program may set. */
export function describeOptions(name: string, create: CreateAedes): void {
  describe(`options of ${name}`, () => {
    it('id: the name of the broker, made up when there is none', async (t) => {
      const { broker } = await setUp(t, create, { id: 'mine' })
      assert.equal(broker.id, 'mine')
      const [one, other] = [await setUp(t, create), await setUp(t, create)]
      assert.match(one.broker.id, /^[0-9a-f-]{36}$/)
      assert.notEqual(one.broker.id, other.broker.id)
    })

    it('connectTimeout: how long a client may take to send CONNECT', async (t) => {
      const { broker, port } = await setUp(t, create, { connectTimeout: 200 })
      const errors: string[] = []
      broker.on('connectionError', (_client, error) => errors.push(error.message))
      const silent = await PacketClient.open(t, port, VERSION)
      assert.deepEqual(await silent.closed(), [])
      assert.deepEqual(errors, ['connect did not arrive in time'])
    })

    it('maxTopicLevels: of topics and filters, of clients and of the program', async (t) => {
      const { broker, connect } = await setUp(t, create, { maxTopicLevels: 3 })
      const [fine, deep] = ['a/b/c', 'a/b/c/d']
      const client = await connect('a')
      await client.subscribe(fine)
      client.publish({ topic: fine })
      await client.receive(1)
      client.publish({ topic: deep })
      await client.closed()
      const message = { cmd: 'publish', payload: '', qos: 0, dup: false, retain: false } as const
      const publish = (topic: string): Promise<unknown> =>
        new Promise((resolve) => broker.publish({ ...message, topic }, resolve))
      assert.ok(!(await publish(fine)))
      assert.ok((await publish(deep)) instanceof Error)
      const subscribe = (topic: string): Promise<unknown> =>
        new Promise((resolve) => broker.subscribe(topic, (_packet, done) => done(), resolve as () => void))
      assert.ok(!(await subscribe(fine)))
      assert.ok((await subscribe(deep)) instanceof Error)
    })

    it('keepaliveLimit: longer keep-alives, and none at all, are refused', async (t) => {
      const { port } = await setUp(t, create, { keepaliveLimit: 10 })
      for (const [keepalive, isAccepted] of [
        [10, true],
        [11, false],
        [0, false],
      ] as const) {
        const client = await PacketClient.open(t, port, VERSION)
        client.sendConnect({ keepalive })
        assert.equal((await client.next('connack')).returnCode === 0, isAccepted, `keep-alive ${keepalive}`)
      }
    })

    it('maxClientsIdLength: of a client that speaks MQTT 3.1', async (t) => {
      const { port } = await setUp(t, create, { maxClientsIdLength: 5 })
      const connackOf = async (clientId: string, version: 3 | 4): Promise<number | undefined> => {
        const client = await PacketClient.open(t, port, VERSION)
        const protocolId = version === 3 ? 'MQIsdp' : 'MQTT'
        const fields = { protocolId, protocolVersion: version } as { protocolId: 'MQIsdp' | 'MQTT' }
        client.sendConnect({ clientId, ...fields })
        return (await client.next('connack')).returnCode
      }
      assert.equal(await connackOf('five5', 3), 0)
      assert.equal(await connackOf('sixsix', 3), 2)
      assert.equal(await connackOf('sixsix', 4), 0)
    })

    it('concurrency, heartbeatInterval, queueLimit, drainTimeout: taken as they are written', async (t) => {
      const options = {
        concurrency: 10,
        heartbeatInterval: 500,
        queueLimit: 10,
        drainTimeout: 0,
        maxInflightInbound: 9,
      }
      const { connect } = await setUp(t, create, options)
      const client = await connect('a')
      await client.subscribe('x', 2)
      await client.publishAcked({ topic: 'y', qos: 2 })
    })
  })
}
