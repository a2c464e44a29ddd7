import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { eventually } from '../../support/eventually.js'
import { textOf } from '../../support/packet-client.js'
import { type CreateAedes, setUp } from './setting.js'

const MESSAGE = { cmd: 'publish', topic: 'x', payload: Buffer.from('1'), qos: 0, dup: false, retain: false } as const

/** What hooks may change, and that they are asked wherever something reaches a client. */
export function describeChanges(name: string, create: CreateAedes): void {
  describe(`what hooks of ${name} change`, () => {
    it('is in force: preConnect may rewrite the CONNECT', async (t) => {
      const { broker, log, connect } = await setUp(t, create)
      broker.preConnect = (_client, packet, done) => {
        packet.clientId = `tenant/${packet.clientId}`
        packet.username = 'mapped'
        packet.clean = false
        packet.will = { topic: 'gone', payload: Buffer.from('w'), qos: 0, retain: false }
        done(null, true)
      }
      broker.authenticate = (client, username, _password, done) => {
        log.push(`authenticate ${client.id} ${username}`)
        done(null, true)
      }
      const client = await connect('a')
      assert.deepEqual(log, ['authenticate tenant/a mapped', 'client tenant/a', 'clientReady tenant/a'])
      log.length = 0
      await client.subscribe('x', 1)
      client.drop()
      await eventually(() => assert.equal(log.includes('publish gone w by tenant/a'), true))
      const again = await connect('a')
      assert.equal(again.connack?.sessionPresent, true, 'it was not clean')
    })

    it('is in force: authorizeSubscribe may rewrite the subscription', async (t) => {
      const { broker, connect } = await setUp(t, create)
      broker.authorizeSubscribe = (_client, subscription, done) => {
        if (subscription.topic === 'mine') subscription.topic = 'tenant/mine'
        done(null, subscription)
      }
      const client = await connect('a')
      assert.deepEqual(await client.subscribe('mine', 0), [0])
      for (const topic of ['mine', 'tenant/mine']) broker.publish({ ...MESSAGE, topic }, () => {})
      assert.deepEqual((await client.receive(1)).map(textOf), ['tenant/mine 1'])
      await client.expectNothing()
    })

    it('is in force for retained messages: authorizeForward is asked of each', async (t) => {
      const { broker, connect } = await setUp(t, create)
      for (const topic of ['no', 'yes']) {
        await new Promise((resolve) => broker.publish({ ...MESSAGE, topic, retain: true }, resolve))
      }
      broker.authorizeForward = (_client, packet) => {
        if (packet.topic === 'no') return null
        packet.payload = Buffer.from('changed')
        return packet
      }
      const client = await connect('a')
      await client.subscribe('#')
      assert.deepEqual((await client.receive(1)).map(textOf), ['yes changed'])
      await client.expectNothing()
    })

    it('is in force for what waited while a client was away', async (t) => {
      const { broker, connect } = await setUp(t, create)
      const away = await connect('a', { clean: false })
      await away.subscribe('#', 1)
      await away.disconnect()
      for (const topic of ['no', 'yes']) {
        await new Promise((resolve) => broker.publish({ ...MESSAGE, topic, qos: 1 }, resolve))
      }
      broker.authorizeForward = (_client, packet) => (packet.topic === 'no' ? null : packet)
      const back = await connect('a', { clean: false })
      assert.deepEqual((await back.receive(1)).map(textOf), ['yes 1'])
      await back.expectNothing()
    })

    it('is in force for the subscriptions of a session that is resumed: authorizeSubscribe is asked again', async (t) => {
      const { broker, log, connect } = await setUp(t, create)
      const away = await connect('a', { clean: false })
      await away.subscribe([
        { topic: 'no', qos: 1 },
        { topic: 'yes', qos: 1 },
      ])
      await away.disconnect()
      log.length = 0
      broker.authorizeSubscribe = (client, subscription, done) => {
        log.push(`authorizeSubscribe ${client.id} ${subscription.topic} ${subscription.qos}`)
        setImmediate(done, null, subscription.topic === 'no' ? null : subscription)
      }
      const back = await connect('a', { clean: false })
      assert.deepEqual(log, ['authorizeSubscribe a no 1', 'authorizeSubscribe a yes 1', 'client a', 'clientReady a'])
      for (const topic of ['no', 'yes']) broker.publish({ ...MESSAGE, topic }, () => {})
      assert.deepEqual((await back.receive(1)).map(textOf), ['yes 1'])
      await back.expectNothing()
    })
  })
}
