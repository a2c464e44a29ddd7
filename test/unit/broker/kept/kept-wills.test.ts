import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { KeptWills } from '../../../../src/broker/kept/kept-wills.js'
import type { ArmedWill } from '../../../../src/broker/session-registry.js'
import { DrivenClock } from '../../mqtt/driven-clock.js'

const WILL = {
  topic: 'gone',
  payload: Buffer.from('x'),
  qos: 1,
  retain: false,
  delayInterval: 0,
  properties: {},
} as const

function armed(clientId: string): ArmedWill {
  return { will: WILL, clientId, connection: undefined, isFromDisk: true }
}

describe('wills from the disk', () => {
  it('wait until all that is kept is loaded, however long that takes, and then until the mesh is whole', (t) => {
    const clock = new DrivenClock(t)
    const published: string[] = []
    let isReady = true
    const wills = new KeptWills({
      timers: clock.timers,
      isReady: () => isReady,
      hasPeers: () => false,
      publish: ({ clientId }) => published.push(clientId),
    })
    wills.add(armed('found first'))
    clock.advance(10_000)
    wills.add(armed('found last'))
    clock.advance(10_000)
    assert.deepEqual(published, [], 'it would be given a number that a message on the disk has')
    isReady = false
    wills.start()
    clock.advance(1_000)
    assert.deepEqual(published, [])
    isReady = true
    clock.advance(1_000)
    wills.add(armed('its delay is over'))
    clock.advance(1_000)
    assert.deepEqual(published, ['found first', 'found last', 'its delay is over'])
  })
})
