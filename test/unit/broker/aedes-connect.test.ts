import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { LoneBroker } from './lone-broker.js'

// What holds for MQTT 3.1.1 is in the contract with Aedes.
describe('preConnect and MQTT 5', () => {
  it('tells a client that gave no client ID the one that the hook has given it', async (t) => {
    const lone = new LoneBroker(t, {
      aedes: {
        preConnect(_client, packet, done) {
          packet.clientId = 'given'
          done(null, true)
        },
      },
    })
    const client = await lone.connect({ clientId: '' })
    assert.equal(client.connack?.properties?.assignedClientIdentifier, 'given')
    assert.equal(lone.connections[0]?.clientId, 'given')
  })

  it('tells a client of the keep-alive that the hook has put in the place of its own', async (t) => {
    const lone = new LoneBroker(t, {
      aedes: {
        preConnect(_client, packet, done) {
          packet.keepalive = 30
          done(null, true)
        },
      },
    })
    const client = await lone.connect({ keepalive: 600 })
    assert.equal(client.connack?.properties?.serverKeepAlive, 30)
  })

  it('refuses a client whose CONNECT the hook has left with a will that nobody may publish', async (t) => {
    const lone = new LoneBroker(t, {
      aedes: {
        preConnect(_client, packet, done) {
          packet.will = { topic: 'a/#', payload: Buffer.from('x'), qos: 0, retain: false }
          done(null, true)
        },
      },
    })
    const client = lone.open()
    client.sendConnect()
    assert.deepEqual(await client.ended(), ['connack 128'])
  })

  it('leaves the delay and the properties of a will whose topic alone is changed', async (t) => {
    const lone = new LoneBroker(t, {
      aedes: {
        preConnect(_client, packet, done) {
          if (packet.will !== undefined) packet.will.topic = `tenant/${packet.will.topic}`
          done(null, true)
        },
      },
    })
    const will = { topic: 'gone', payload: Buffer.from('x'), qos: 1, retain: false } as const
    await lone.connect({ will: { ...will, properties: { willDelayInterval: 5, contentType: 'text' } } })
    const [connection] = lone.connections
    assert.equal(connection?.will?.topic, 'tenant/gone')
    assert.equal(connection?.will?.delayInterval, 5)
    assert.equal(connection?.will?.properties.contentType, 'text')
  })
})
