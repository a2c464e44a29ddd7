import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Client } from 'aedes'
import { eventually } from '../../support/eventually.js'
import { textOf } from '../../support/packet-client.js'
import { type CreateAedes, setUp } from './setting.js'

/** The broker's own methods and properties. */
export function describeMethods(name: string, create: CreateAedes): void {
  describe(`methods of ${name}`, () => {
    const packet = { cmd: 'publish', topic: 'x', payload: Buffer.from('1'), qos: 0, dup: false, retain: false } as const

    it('publish to clients, and call back', async (t) => {
      const { broker, log, connect } = await setUp(t, create)
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
      const { broker, connect } = await setUp(t, create)
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
      const { broker, connect } = await setUp(t, create)
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
      const { broker, log, connect } = await setUp(t, create)
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
      await eventually(() => assert.equal(log.includes('clientDisconnect a'), true))
      assert.equal(second.isClosed, false)
    })

    it('send a client the retained messages of what the program subscribed it to', async (t) => {
      const { broker, connect } = await setUp(t, create)
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
      const { broker, connect } = await setUp(t, create)
      broker.once('client', (client) =>
        client.subscribe({ topic: 'x', qos: 0 } as Parameters<Client['subscribe']>[0], () => {}),
      )
      const client = await connect('a')
      await client.settle()
      broker.publish(packet, () => {})
      assert.deepEqual((await client.receive(1)).map(textOf), ['x 1'])
    })

    it('close the connections and say so, once', async (t) => {
      const { broker, connect } = await setUp(t, create)
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
