import assert from 'node:assert/strict'
import { duplexPair } from 'node:stream'
import { describe, it } from 'node:test'
import mqttPacket, { type IConnectPacket } from 'mqtt-packet'
import { pino } from 'pino'
import { Aedes, type Broker, ConfigError, createBroker } from '../../src/index.js'
import { eventually } from '../support/eventually.js'
import { StreamClient } from './broker/stream-client.js'

const CONNECT_WITH_DELAYED_WILL: IConnectPacket = {
  ...{ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 5, clientId: 'a', clean: true, keepalive: 0 },
  properties: { sessionExpiryInterval: 60 },
  will: {
    ...{ topic: 'gone', payload: Buffer.from('x'), qos: 0, retain: false },
    properties: { willDelayInterval: 1 },
  },
}

describe('a broker of its own', () => {
  it('takes clients once it listens, and none after it was closed', async (t) => {
    const broker = new Aedes()
    assert.equal(broker.closed, true)
    const early = StreamClient.open(t, (stream) => broker.handle(stream))
    assert.deepEqual(await early.ended(), [])
    await broker.listen()
    assert.equal(broker.closed, false)
    const client = await StreamClient.open(t, (stream) => broker.handle(stream)).connect()
    await new Promise<void>((resolve) => broker.close(resolve))
    assert.deepEqual(await client.ended(), ['disconnect 139'])
    const late = StreamClient.open(t, (stream) => broker.handle(stream))
    assert.deepEqual(await late.ended(), [])
  })

  it('refuses the parts of Aedes that are its own', async () => {
    for (const name of ['mq', 'persistence', 'decodeProtocol'] as const) {
      await assert.rejects(createBroker({ [name]: {} }), {
        name: 'TypeError',
        message: new RegExp(`option ${name} of`),
      })
    }
    await createBroker({ persistence: undefined })
  })

  it('checks options as a configuration file is checked', async () => {
    await assert.rejects(createBroker({ mqtt: { maximumPacketSize: '1' } }), (error) => {
      return error instanceof ConfigError && error.message.includes('mqtt.maximumPacketSize')
    })
    await assert.rejects(createBroker({ connectTimeout: -1 }), /mqtt\.connectTimeout/)
    await assert.rejects(createBroker({ mqtt: { nonsense: 1 } as object }), /mqtt\.nonsense/)
  })

  it('gives Aedes options precedence over those of mqtt that say the same', async (t) => {
    const broker = await createBroker({ maxTopicLevels: 2, mqtt: { maximumTopicLevels: 5, maximumPacketSize: '1kb' } })
    const client = await StreamClient.open(t, (stream) => broker.handle(stream)).connect()
    assert.equal(client.connack?.properties?.maximumPacketSize, 1_024)
    assert.deepEqual(await client.subscribe('a/b/c'), [0x8f])
    assert.deepEqual(await client.subscribe('a/b'), [0])
  })

  it('shows metrics and logs to those who ask', async (t) => {
    const lines: string[] = []
    const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) })
    const broker = await createBroker({ log })
    await (await StreamClient.open(t, (stream) => broker.handle(stream)).connect()).subscribe('a')
    assert.match(await broker.metrics.scrape(), /^shoalmq_connections 1$/m)
    await new Promise<void>((resolve) => broker.close(resolve))
    assert.match(lines.join(''), /connection closed/)
    assert.match(await broker.metrics.scrape(), /^shoalmq_connections 0$/m)
  })

  it('is a Broker with its modules: a bare one cannot be made the way of Aedes', async () => {
    const broker: Broker = await createBroker()
    const bare = Object.getPrototypeOf(Object.getPrototypeOf(broker).constructor) as typeof Aedes
    await assert.rejects(bare.createBroker(), /createBroker of this package/)
  })

  it('forgets sessions and wills that wait when it is closed', async () => {
    const wills: string[] = []
    const [closed, open] = [await createBroker({ id: 'closed' }), await createBroker({ id: 'open' })]
    for (const broker of [closed, open]) {
      broker.on('publish', () => wills.push(broker.id))
      const [mine, theirs] = duplexPair()
      mine.resume()
      broker.handle(theirs)
      mine.write(mqttPacket.generate(CONNECT_WITH_DELAYED_WILL))
      await eventually(() => assert.equal(broker.connectedClients, 1))
      theirs.destroy()
      await eventually(() => assert.equal(broker.connectedClients, 0))
    }
    await new Promise<void>((resolve) => closed.close(resolve))
    // The will of the one that stays open was due later.
    await eventually(() => assert.deepEqual(wills, ['open']))
    await new Promise<void>((resolve) => open.close(resolve))
  })
})
