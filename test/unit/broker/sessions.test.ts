import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { IConnectPacket } from 'mqtt-packet'
import { LoneBroker } from './lone-broker.js'
import { type StreamClient, until } from './stream-client.js'

const ID = { clientId: 'one' }

function kept(seconds: number): Partial<IConnectPacket> {
  return { ...ID, clean: false, properties: { sessionExpiryInterval: seconds } }
}

function willOf(topic: string, delay: number): Pick<IConnectPacket, 'will'> {
  return {
    will: { topic, payload: Buffer.from('gone'), qos: 1, retain: false, properties: { willDelayInterval: delay } },
  }
}

async function dropped(lone: LoneBroker, client: StreamClient): Promise<void> {
  const before = lone.broker.connectionCount
  client.drop()
  await until(() => lone.broker.connectionCount < before, 'closed')
}

async function watcherOf(lone: LoneBroker): Promise<StreamClient> {
  const watcher = await lone.connect({ clientId: 'watcher' })
  await watcher.subscribe('#', 1)
  return watcher
}

function sessionPresent(client: StreamClient): boolean | undefined {
  return client.connack?.sessionPresent
}

describe('a client ID that connects again', () => {
  it('takes its session over: the old connection is told and closed, the new one goes on', async (t) => {
    const lone = new LoneBroker(t)
    const first = await lone.connect(kept(60))
    await first.subscribe('a', 1)
    const second = await lone.connect(kept(60))
    assert.deepEqual(await first.ended(), ['disconnect 142'])
    assert.equal(sessionPresent(second), true)
    lone.broker.publish({ topic: 'a', payload: 'x', qos: 1 })
    assert.deepEqual(await second.settle(), ['publish 1 a x'])
    assert.equal(lone.metrics.takeovers.value, 1)
    assert.deepEqual(lone.closeReasons, { taken_over: 1 })
    assert.equal(lone.broker.connectedClients, 1)
  })

  it('with clean start begins anew, and the old subscriptions are gone [MQTT-3.1.2-4]', async (t) => {
    const lone = new LoneBroker(t)
    const first = await lone.connect(kept(60))
    await first.subscribe('a', 1)
    const second = await lone.connect({ ...kept(60), clean: true })
    assert.equal(sessionPresent(second), false)
    assert.equal(lone.subscriptions.size, 0)
    await first.ended()
  })

  it('finds no session where the old one ended with its connection', async (t) => {
    const lone = new LoneBroker(t)
    const first = await lone.connect(kept(0))
    await first.subscribe('a', 1)
    const second = await lone.connect(kept(60))
    assert.equal(sessionPresent(second), false)
    assert.equal(lone.subscriptions.size, 0)
  })

  it('again and again at once leaves one connection and one session', async (t) => {
    const lone = new LoneBroker(t)
    const clients = Array.from({ length: 20 }, () => lone.open())
    for (const client of clients) client.sendConnect(kept(60))
    await until(() => lone.metrics.takeovers.value === 19, 'nineteen takeovers')
    assert.equal(lone.broker.connectedClients, 1)
    assert.deepEqual(lone.closeReasons, { taken_over: 19 })
    assert.equal(lone.connections.filter(({ state }) => state === 'open').length, 1)
  })

  it('gets what was in flight with DUP, then what waited, when it resumes', async (t) => {
    const lone = new LoneBroker(t)
    const first = await lone.connect({ ...kept(60), properties: { sessionExpiryInterval: 60, receiveMaximum: 1 } })
    await first.subscribe('a', 2)
    for (const payload of ['1', '2', '3']) lone.broker.publish({ topic: 'a', payload, qos: 2 })
    assert.deepEqual(await first.settle(), ['publish 2 a 1'])
    const second = await lone.connect(kept(60))
    assert.deepEqual(await second.settle(), ['publish 2 dup a 1', 'publish 2 a 2', 'publish 2 a 3'])
    await first.ended()
  })

  it('is let in once when the program closes it as it arrives', async (t) => {
    const lone = new LoneBroker(t)
    lone.broker.once('client', (client) => client.close())
    const first = lone.open()
    first.sendConnect(kept(60))
    await first.ended()
    assert.equal(lone.broker.connectedClients, 0)
    lone.clock.advance(61_000)
    assert.equal(lone.metrics.sessionsExpired.value, 1, 'its session waits for it, and no longer')
  })

  it('is let in once when the program closes the new connection as the old one goes', async (t) => {
    const lone = new LoneBroker(t)
    const first = await lone.connect(kept(60))
    lone.broker.once('clientDisconnect', () => lone.connections[1]?.close('administrative'))
    const second = lone.open()
    second.sendConnect(kept(60))
    await second.ended()
    await first.ended()
    assert.equal(lone.broker.connectedClients, 0)
    lone.clock.advance(61_000)
    assert.equal(lone.metrics.sessionsExpired.value, 1)
    const third = await lone.connect(kept(60))
    assert.equal(sessionPresent(third), false)
  })
})

describe('a session whose client is away', () => {
  it('ends after its expiry interval, not before [MQTT-3.1.2-23]', async (t) => {
    const lone = new LoneBroker(t)
    const client = await lone.connect(kept(30))
    await client.subscribe('a', 1)
    await dropped(lone, client)
    lone.clock.advance(29_900)
    assert.equal(lone.subscriptions.size, 1)
    lone.clock.advance(200)
    assert.equal(lone.subscriptions.size, 0)
    assert.equal(lone.metrics.sessionsExpired.value, 1)
    assert.equal(sessionPresent(await lone.connect(kept(30))), false)
  })

  it('counts its time from its last connection, with the interval given then', async (t) => {
    const lone = new LoneBroker(t)
    await dropped(lone, await lone.connect(kept(30)))
    lone.clock.advance(20_000)
    const second = await lone.connect(kept(10))
    assert.equal(sessionPresent(second), true)
    lone.clock.advance(60_000)
    await dropped(lone, second)
    lone.clock.advance(9_900)
    assert.equal(lone.metrics.sessionsExpired.value, 0)
    lone.clock.advance(200)
    assert.equal(lone.metrics.sessionsExpired.value, 1)
  })

  it('lives no longer than the limit, of which an MQTT 5 client is told', async (t) => {
    const lone = new LoneBroker(t, { mqtt: { sessionExpiryLimit: 20_000 } })
    const [asked, never] = [
      await lone.connect(kept(3_600)),
      await lone.connect({ ...kept(0xffff_ffff), clientId: 'never' }),
    ]
    assert.equal(asked.connack?.properties?.sessionExpiryInterval, 20)
    assert.equal(never.connack?.properties?.sessionExpiryInterval, 20)
    const old = await lone.connect({ clientId: 'old', clean: false }, 4)
    for (const client of [asked, never, old]) await dropped(lone, client)
    lone.clock.advance(19_900)
    assert.equal(lone.metrics.sessionsExpired.value, 0)
    lone.clock.advance(200)
    assert.equal(lone.metrics.sessionsExpired.value, 3)
  })

  it('that never expires waits without a timer', async (t) => {
    const lone = new LoneBroker(t, { mqtt: { sessionExpiryLimit: 0xffff_ffff * 1_000 } })
    await dropped(lone, await lone.connect(kept(0xffff_ffff)))
    lone.clock.advance(5_000)
    assert.equal(lone.clock.timers.size, 0)
    assert.equal(sessionPresent(await lone.connect(kept(1))), true)
  })

  it('is ended by a DISCONNECT with expiry 0, and a DISCONNECT cannot prolong one of 0', async (t) => {
    const lone = new LoneBroker(t)
    const first = await lone.connect(kept(60))
    first.send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 0 } })
    await first.ended()
    const second = await lone.connect(kept(0))
    assert.equal(sessionPresent(second), false)
    second.send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 60 } })
    assert.deepEqual(await second.ended(), ['disconnect 130'])
    assert.equal(sessionPresent(await lone.connect(kept(0))), false)
  })
})

describe('a will', () => {
  it('is published at once without a delay when the connection breaks [MQTT-3.1.2-8]', async (t) => {
    const lone = new LoneBroker(t)
    const watcher = await watcherOf(lone)
    await dropped(lone, await lone.connect({ ...kept(60), ...willOf('will', 0) }))
    assert.deepEqual(await watcher.settle(), ['publish 1 will gone'])
    lone.clock.advance(120_000)
    assert.deepEqual(await watcher.settle(), [], 'once')
    assert.equal(lone.metrics.wills.value, 1)
  })

  it('waits for its delay [MQTT-3.1.3-9]', async (t) => {
    const lone = new LoneBroker(t)
    const watcher = await watcherOf(lone)
    await dropped(lone, await lone.connect({ ...kept(60), ...willOf('will', 10) }))
    lone.clock.advance(9_900)
    assert.deepEqual(await watcher.settle(), [])
    lone.clock.advance(200)
    assert.deepEqual(await watcher.settle(), ['publish 1 will gone'])
    lone.clock.advance(120_000)
    assert.deepEqual(await watcher.settle(), [])
  })

  it('is canceled when its client is back in time, whatever will it has then', async (t) => {
    const lone = new LoneBroker(t)
    const watcher = await watcherOf(lone)
    await dropped(lone, await lone.connect({ ...kept(60), ...willOf('first', 10) }))
    lone.clock.advance(9_000)
    const second = await lone.connect({ ...kept(60), ...willOf('second', 10) })
    lone.clock.advance(120_000)
    assert.deepEqual(await watcher.settle(), [])
    await dropped(lone, second)
    lone.clock.advance(10_100)
    assert.deepEqual(await watcher.settle(), ['publish 1 second gone'])
  })

  it('is published when its session ends before its delay is over', async (t) => {
    const lone = new LoneBroker(t)
    const watcher = await watcherOf(lone)
    await dropped(lone, await lone.connect({ ...kept(5), ...willOf('expired', 600) }))
    lone.clock.advance(5_100)
    assert.deepEqual(await watcher.settle(), ['publish 1 expired gone'])
    await dropped(lone, await lone.connect({ ...kept(0), ...willOf('no session', 600) }))
    assert.deepEqual(await watcher.settle(), ['publish 1 no session gone'])
    await dropped(lone, await lone.connect({ ...kept(600), ...willOf('discarded', 600) }))
    await lone.connect({ ...ID, clean: true })
    assert.deepEqual(await watcher.settle(), ['publish 1 discarded gone'])
    assert.equal(lone.metrics.wills.value, 3)
  })

  it('of a connection that is taken over is published, unless it is delayed and the session goes on', async (t) => {
    const lone = new LoneBroker(t)
    const watcher = await watcherOf(lone)
    await lone.connect({ ...kept(60), ...willOf('at once', 0) })
    await lone.connect({ ...kept(60), ...willOf('delayed', 10) })
    assert.deepEqual(await watcher.settle(), ['publish 1 at once gone'])
    await lone.connect({ ...kept(60), ...willOf('discarded', 10) })
    assert.deepEqual(await watcher.settle(), [])
    await lone.connect({ ...ID, clean: true })
    assert.deepEqual(await watcher.settle(), ['publish 1 discarded gone'])
  })

  it('is dropped by a normal DISCONNECT, and left in force by 0x04 [MQTT-3.14.4-3]', async (t) => {
    const lone = new LoneBroker(t)
    const watcher = await watcherOf(lone)
    for (const reasonCode of [0x00, 0x04]) {
      const client = await lone.connect({ ...kept(0), ...willOf(`after ${reasonCode}`, 0) })
      client.send({ cmd: 'disconnect', reasonCode })
      await client.ended()
    }
    assert.deepEqual(await watcher.settle(), ['publish 1 after 4 gone'])
  })

  it('of a client that was not let in is not published', async (t) => {
    const lone = new LoneBroker(t, {
      aedes: { authenticate: (client, _name, _password, done) => done(null, client.id === 'watcher') },
    })
    const watcher = await watcherOf(lone)
    const client = lone.open()
    client.sendConnect({ ...kept(60), ...willOf('will', 0) })
    assert.deepEqual(await client.ended(), ['connack 135'])
    assert.deepEqual(await watcher.settle(), [])
  })

  it('needs the same permission as any other message of its client', async (t) => {
    const asked: [string | undefined, string][] = []
    const lone = new LoneBroker(t, {
      aedes: {
        authorizePublish(client, packet, done) {
          asked.push([client?.id, packet.topic])
          done(packet.topic === 'forbidden' ? new Error('no') : null)
        },
      },
    })
    const watcher = await watcherOf(lone)
    for (const topic of ['forbidden', 'allowed']) {
      for (const delay of [0, 5]) {
        await dropped(lone, await lone.connect({ ...kept(60), ...willOf(topic, delay) }))
        lone.clock.advance(5_100)
      }
    }
    assert.deepEqual(await watcher.settle(), ['publish 1 allowed gone', 'publish 1 allowed gone'])
    assert.deepEqual(asked, [
      ['one', 'forbidden'],
      ['one', 'forbidden'],
      ['one', 'allowed'],
      ['one', 'allowed'],
    ])
    assert.equal(lone.metrics.wills.value, 2)
  })

  it('cannot be on a topic of the broker', async (t) => {
    const lone = new LoneBroker(t)
    const watcher = await lone.connect({ clientId: 'watcher' })
    await watcher.subscribe('$SYS/#')
    await dropped(lone, await lone.connect({ ...kept(0), ...willOf('$SYS/x', 0) }))
    assert.deepEqual(await watcher.settle(), [])
  })
})
