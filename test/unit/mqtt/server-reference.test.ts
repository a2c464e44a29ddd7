import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { LoneBroker } from '../broker/lone-broker.js'

const SERVER = 'mqtt-b.example:1883'

/** Aedes' return codes on an error of `authenticate`: 3 is "server unavailable", 5 is "not authorized". */
function refusing(returnCode: 3 | 5) {
  return {
    authenticate: (_client: unknown, _name: unknown, _password: unknown, done: (error: never, ok: boolean) => void) =>
      done(Object.assign(new Error('no'), { returnCode }) as never, false),
  }
}

describe('a server reference', () => {
  it('goes with a refusal that is the server’s, and its own reason code', async (t) => {
    const lone = new LoneBroker(t, { mqtt: { serverReference: SERVER }, aedes: refusing(3) })
    const client = lone.open()
    client.sendConnect()
    const connack = await client.next('connack')
    assert.deepEqual([connack.reasonCode, connack.properties?.serverReference], [0x9c, SERVER])
    assert.equal(lone.metrics.mqtt.connectRefused.server_unavailable.value, 1)
    const early = lone.open(4)
    early.sendConnect()
    assert.equal((await early.next('connack')).returnCode, 3)
  })

  it('goes with the refusal of a node that is full', async (t) => {
    const lone = new LoneBroker(t, { mqtt: { serverReference: SERVER, maximumSessions: 1 } })
    await lone.connect()
    const client = lone.open()
    client.sendConnect({ clientId: 'second' })
    const connack = await client.next('connack')
    assert.deepEqual([connack.reasonCode, connack.properties?.serverReference], [0x9c, SERVER])
    assert.equal(lone.metrics.mqtt.connectRefused.quota_exceeded.value, 1)
  })

  it('does not go with a refusal that is the client’s, nor where none is configured', async (t) => {
    for (const [reference, code, reasonCode] of [
      [SERVER, 5, 0x87],
      ['', 3, 0x88],
    ] as const) {
      const lone = new LoneBroker(t, { mqtt: { serverReference: reference }, aedes: refusing(code) })
      const client = lone.open()
      client.sendConnect()
      const connack = await client.next('connack')
      assert.deepEqual([connack.reasonCode, connack.properties?.serverReference], [reasonCode, undefined])
    }
  })

  it('is all that a server that has moved says', async (t) => {
    const lone = new LoneBroker(t, { mqtt: { serverReference: SERVER, serverMoved: true } })
    const client = lone.open()
    client.sendConnect()
    const connack = await client.next('connack')
    assert.deepEqual([connack.reasonCode, connack.properties?.serverReference], [0x9d, SERVER])
    const early = lone.open(4)
    early.sendConnect()
    assert.deepEqual(await early.ended(), ['connack 3'])
    assert.equal(lone.metrics.mqtt.connectRefused.server_moved.value, 2)
  })

  it('is not in a DISCONNECT for another reason', async (t) => {
    const lone = new LoneBroker(t, { mqtt: { serverReference: SERVER } })
    const client = await lone.connect()
    client.sendConnect()
    const disconnect = await client.next('disconnect')
    assert.deepEqual([disconnect.reasonCode, disconnect.properties?.serverReference], [0x82, undefined])
  })
})
