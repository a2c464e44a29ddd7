import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { eventually } from '../../support/eventually.js'
import { type CreateAedes, logged, setUp } from './setting.js'

/** Events: who is told what, in which order. */
export function describeEvents(name: string, create: CreateAedes): void {
  describe(`events of ${name}`, () => {
    it('tell the life of a client in order', async (t) => {
      const { broker, log, connect } = await setUp(t, create)
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
      const { log, connect } = await setUp(t, create)
      const client = await connect('a')
      await client.subscribe([{ topic: 'x' }, { topic: 'y' }])
      log.length = 0
      await client.disconnect()
      await logged(log, ['clientDisconnect a', 'unsubscribe x,y by a'])
    })

    it('tell of an acknowledged delivery, with the client that acknowledged', async (t) => {
      const { log, connect } = await setUp(t, create)
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
      const { broker, log, connect } = await setUp(t, create)
      const first = await connect('a')
      log.length = 0
      await connect('a')
      await first.closed()
      await logged(log, ['clientDisconnect a', 'client a', 'clientReady a'])
      assert.equal(broker.connectedClients, 1)
    })

    it('tell of a keep-alive that ran out, before the client is gone', async (t) => {
      const { log, connect } = await setUp(t, create)
      const client = await connect('a', { keepalive: 1 })
      log.length = 0
      await client.closed()
      await logged(log, ['keepaliveTimeout a', 'clientDisconnect a'])
    })
  })
}
