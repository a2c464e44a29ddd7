import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import mqttPacket, { type Packet } from 'mqtt-packet'
import { LoneBroker } from '../broker/lone-broker.js'
import { publishPacket, subscribePacket, until } from '../broker/stream-client.js'
import { nextTurn, SlowStream } from './slow-stream.js'

describe('a connection', () => {
  it('is closed when no CONNECT comes in time, and counted once', async (t) => {
    const lone = new LoneBroker(t, { mqtt: { connectTimeout: 1_000 } })
    const client = lone.open()
    lone.clock.advance(900)
    assert.equal(lone.connections[0]?.state, 'waiting')
    lone.clock.advance(200)
    assert.deepEqual(await client.ended(), [])
    assert.deepEqual(lone.closeReasons, { connect_timeout: 1 })
    lone.clock.advance(10_000)
    assert.equal(lone.broker.connectionCount, 0)
    assert.equal(lone.clock.timers.size, 0)
  })

  it('is closed when authentication takes too long, and an answer that comes later changes nothing', async (t) => {
    let admit: (() => void) | undefined
    const lone = new LoneBroker(t, {
      mqtt: { connectTimeout: 1_000 },
      aedes: { authenticate: (_client, _name, _password, done) => (admit = () => done(null, true)) },
    })
    const client = lone.open()
    client.sendConnect()
    await until(() => admit !== undefined, 'asked')
    lone.clock.advance(1_100)
    assert.deepEqual(await client.ended(), [])
    admit?.()
    assert.equal(lone.broker.connectedClients, 0)
    assert.deepEqual(lone.closeReasons, { connect_timeout: 1 })
  })

  it('does not take another packet before CONNECT, nor a second CONNECT [MQTT-3.1.0-1] [MQTT-3.1.0-2]', async (t) => {
    const lone = new LoneBroker(t)
    const early = lone.open()
    early.send({ cmd: 'pingreq' })
    assert.deepEqual(await early.ended(), [])
    const twice = await lone.connect()
    twice.sendConnect()
    assert.deepEqual(await twice.ended(), ['disconnect 130'])
    assert.deepEqual(lone.closeReasons, { protocol_error: 2 })
  })

  it('handles packets that came with CONNECT only after it is open', async (t) => {
    let admit: (() => void) | undefined
    const lone = new LoneBroker(t, {
      aedes: { authenticate: (_client, _name, _password, done) => (admit = () => done(null, true)) },
    })
    const client = lone.open(4)
    const connect = { cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clientId: 'c', clean: true } as const
    client.sendTogether(
      { ...connect, keepalive: 0 },
      subscribePacket('a', 1, 1),
      publishPacket({ topic: 'a', payload: 'x', qos: 1, messageId: 2 }),
    )
    await until(() => admit !== undefined, 'asked')
    assert.deepEqual(client.received, [])
    admit?.()
    assert.deepEqual((await client.settle()).sort(), ['connack 0', 'puback 2', 'publish 1 a x', 'suback 1'])
  })

  it('is closed after one and a half keep-alives without a packet, not before [MQTT-3.1.2-22]', async (t) => {
    const lone = new LoneBroker(t)
    const client = await lone.connect({ keepalive: 10 })
    lone.clock.advance(14_000)
    await client.settle()
    lone.clock.advance(14_900)
    assert.equal(lone.connections[0]?.state, 'open')
    lone.clock.advance(1_100)
    assert.deepEqual(await client.ended(), ['disconnect 141'])
    assert.deepEqual(lone.closeReasons, { keep_alive_timeout: 1 })
  })

  it('is closed after one and a half keep-alives also when it reads a stream that congests again and again', async (t) => {
    const lone = new LoneBroker(t, { mqtt: { drainTimeout: 30_000 } })
    const client = await lone.connect({ keepalive: 10, clientId: 'reader' })
    await client.subscribe('a')
    const connection = lone.connections[0]
    const payload = Buffer.alloc(100_000)
    for (let second = 0; second < 17 && connection?.state === 'open'; second += 1) {
      const sent = lone.metrics.mqtt.bytesSent.value
      lone.broker.publish({ topic: 'a', payload })
      await until(() => lone.metrics.mqtt.bytesSent.value > sent && !connection.output.isCongested, 'drained')
      lone.clock.advance(1_000)
    }
    assert.deepEqual(lone.closeReasons, { keep_alive_timeout: 1 })
  })

  it('is not closed for silence while its own input was held, until it had its time again', async (t) => {
    let allow: (() => void) | undefined
    const lone = new LoneBroker(t, {
      aedes: { authorizePublish: (_client, _packet, done) => (allow = () => done(null)) },
    })
    const client = await lone.connect({ keepalive: 10 })
    client.publish({ topic: 'a' })
    await until(() => allow !== undefined, 'asked')
    lone.clock.advance(60_000)
    allow?.()
    lone.clock.advance(14_000)
    assert.equal(lone.connections[0]?.state, 'open')
    lone.clock.advance(2_500)
    assert.deepEqual(lone.closeReasons, { keep_alive_timeout: 1 })
    await client.ended()
  })

  it('is closed when its client does not read for the drain time, and its bytes are let go', async (t) => {
    const lone = new LoneBroker(t, { mqtt: { drainTimeout: 5_000 } })
    const client = await lone.connect()
    await client.subscribe('a')
    client.stream.pause()
    lone.broker.publish({ topic: 'a', payload: Buffer.alloc(200_000) })
    await until(() => lone.connections[0]?.output.isCongested === true, 'congested')
    lone.clock.advance(4_900)
    assert.equal(lone.connections[0]?.state, 'open')
    lone.clock.advance(200)
    assert.deepEqual(lone.closeReasons, { drain_timeout: 1 })
    assert.equal(client.brokerStream.destroyed, true)
  })

  it('that drained in time stays', async (t) => {
    const lone = new LoneBroker(t, { mqtt: { drainTimeout: 5_000 } })
    const client = await lone.connect()
    await client.subscribe('a')
    client.stream.pause()
    lone.broker.publish({ topic: 'a', payload: Buffer.alloc(200_000) })
    await until(() => lone.connections[0]?.output.isCongested === true, 'congested')
    lone.clock.advance(4_000)
    client.stream.resume()
    await until(() => lone.connections[0]?.output.isCongested === false, 'drained')
    lone.clock.advance(60_000)
    assert.equal(lone.connections[0]?.state, 'open')
  })

  it('stays while its client reads what waits for it in time, though more comes all the while', async (t) => {
    const lone = new LoneBroker(t, { mqtt: { drainTimeout: 5_000 } })
    const stream = new SlowStream(true)
    const connection = lone.accept(stream)
    const connect = { cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clientId: 'c', clean: true } as const
    for (const packet of [{ ...connect, keepalive: 0 }, subscribePacket('a', 0, 1)]) {
      stream.push(mqttPacket.generate(packet))
      await until(() => stream.writableLength > 0, 'answered')
      await stream.proceed()
    }
    const more = async (): Promise<void> => {
      lone.broker.publish({ topic: 'a', payload: Buffer.alloc(30_000) })
      await nextTurn()
    }
    await more()
    for (let second = 0; second < 30; second += 1) {
      await more()
      await stream.proceed()
      assert.equal(connection.output.isCongested, true)
      lone.clock.advance(1_000)
    }
    assert.equal(connection.state, 'open')
    lone.clock.advance(10_100)
    assert.deepEqual(lone.closeReasons, { drain_timeout: 1 })
    assert.equal(stream.destroyed, true)
  })

  it('reads no further from a client that does not read its answers', async (t) => {
    const limit = 65_536
    const lone = new LoneBroker(t, { mqtt: { outboxLimit: limit } })
    const client = await lone.connect()
    client.stream.pause()
    const pings = Buffer.alloc(16_384, Buffer.from([0xc0, 0x00]))
    let highest = 0
    let written = 0
    for (let turn = 0; turn < 400; turn += 1) {
      if (!client.stream.writableNeedDrain) {
        client.stream.write(pings)
        written += 1
      }
      await new Promise((resolve) => setImmediate(resolve))
      highest = Math.max(highest, lone.connections[0]?.pendingBytes ?? 0)
    }
    assert.ok(highest < limit * 3, `${highest} bytes wait, ${limit} is the limit`)
    client.stream.resume()
    // Once it reads, it is served again, and nothing is lost.
    const expected = written * 8_192
    await until(() => client.received.length === expected, `${client.received.length} of ${expected} answers`)
  })

  it('ends its own half when the client has ended its own', async (t) => {
    const lone = new LoneBroker(t)
    for (const isOpen of [true, false]) {
      const client = isOpen ? await lone.connect() : lone.open()
      client.stream.end()
      await until(() => client.hasEnded, 'the end of the other half')
      lone.clock.advance(5_000)
      assert.equal(client.brokerStream.destroyed, true)
    }
    assert.deepEqual(lone.closeReasons, { client_closed: 2 })
    assert.equal(lone.clock.timers.size, 0)
  })

  it('that fails is counted as such, once', async (t) => {
    const lone = new LoneBroker(t)
    const client = await lone.connect()
    client.brokerStream.destroy(new Error('reset'))
    await until(() => lone.broker.connectionCount === 0, 'closed')
    assert.deepEqual(lone.closeReasons, { socket_error: 1 })
    assert.equal(lone.broker.connectedClients, 0)
  })

  it('says why it closes in MQTT 5 and is silent before', async (t) => {
    const lone = new LoneBroker(t)
    for (const [version, expected] of [
      [5, ['disconnect 130']],
      [4, []],
    ] as const) {
      const client = await lone.connect({ clientId: `v${version}` }, version)
      client.stream.write(Buffer.from([0x10, 0x00]))
      assert.deepEqual(
        (await client.ended()).slice(0, 1).map((text) => text.split(' ')[0]),
        expected.map(() => 'disconnect'),
      )
    }
  })

  it('takes no packet after a DISCONNECT, and no will is left', async (t) => {
    const lone = new LoneBroker(t)
    const watcher = await lone.connect({ clientId: 'watcher' })
    await watcher.subscribe('#')
    const client = await lone.connect({
      clientId: 'leaver',
      will: { topic: 'will', payload: Buffer.from('x'), qos: 0, retain: false },
    })
    client.sendTogether({ cmd: 'disconnect' } as Packet, publishPacket({ topic: 'late' }))
    await client.ended()
    assert.deepEqual(await watcher.settle(), [])
    assert.deepEqual(lone.closeReasons, { client_disconnect: 1 })
  })
})
