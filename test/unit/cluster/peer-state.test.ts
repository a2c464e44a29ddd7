import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { pino } from 'pino'
import { PeerState } from '../../../src/cluster/peer-state.js'

/** A peer, and what is logged of it. */
function peerState(): { state: PeerState; logged: { level: number; from: string; to: string; reason?: string }[] } {
  const logged: { level: number; from: string; to: string; reason?: string }[] = []
  const log = pino({ level: 'info' }, { write: (line) => logged.push(JSON.parse(line)) })
  return { state: new PeerState('n2@b', log), logged }
}

describe('the state of a peer', () => {
  it('is live until the peer is down or has left, and then tells since when and why', () => {
    const { state } = peerState()
    assert.deepEqual([state.name, state.isLive, state.isRunning, state.stoppedAt], ['joining', true, false, Infinity])
    state.moveTo('up', undefined, 1)
    state.moveTo('suspect', undefined, 1)
    assert.deepEqual([state.isLive, state.isRunning, state.stoppedAt], [true, true, Infinity])
    const before = performance.now()
    state.moveTo('down', 'down', 1)
    assert.deepEqual([state.isLive, state.isRunning, state.stoppedReason], [false, false, 'down'])
    assert.ok(state.stoppedAt >= before && state.stoppedAt <= performance.now())
    state.moveTo('up', undefined, 2)
    assert.deepEqual([state.isLive, state.stoppedAt, state.stoppedReason], [true, Infinity, undefined])
    state.moveTo('left', 'left', 2)
    assert.deepEqual([state.isLive, state.stoppedReason], [false, 'left'])
  })

  it('is logged once for each move, as a warning when the peer is missed', () => {
    const { state, logged } = peerState()
    assert.equal(state.moveTo('up', undefined, 1), true)
    assert.equal(state.moveTo('up', undefined, 1), false)
    assert.equal(state.moveTo('suspect', undefined, 1), true)
    assert.equal(state.moveTo('down', 'down', 1), true)
    assert.deepEqual(
      logged.map(({ level, from, to, reason }) => [level, from, to, reason]),
      [
        [30, 'joining', 'up', undefined],
        [40, 'up', 'suspect', undefined],
        [40, 'suspect', 'down', 'down'],
      ],
    )
  })
})
