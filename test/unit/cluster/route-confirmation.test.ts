import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { RouteConfirmation } from '../../../src/cluster/route-confirmation.js'

const TIMEOUT_MS = 1_000
/** As many as may wait. */
const ROOM = 100_000

/** A confirmation whose peers and time the test moves. */
function open(t: TestContext) {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  let now = 0
  t.mock.method(performance, 'now', () => now)
  const state = { own: 0, confirmed: 0 }
  const timeouts = { value: 0 }
  const confirmation = new RouteConfirmation(TIMEOUT_MS, {
    ownVersion: () => state.own,
    lowestConfirmed: () => state.confirmed,
    timeouts,
  })
  t.after(() => confirmation.stop())
  const done: string[] = []
  const wait = (name: string) => confirmation.whenConfirmed(() => void done.push(name))
  const pass = (milliseconds: number) => {
    now += milliseconds
    t.mock.timers.tick(milliseconds)
  }
  return { confirmation, state, timeouts, done, wait, pass }
}

describe('the confirmation of routes', () => {
  it('waits for nobody where all that is announced is confirmed, or no peer lives', (t) => {
    const { confirmation, state, done, wait } = open(t)
    wait('nothing announced')
    state.own = 5
    state.confirmed = Number.POSITIVE_INFINITY
    wait('no peers')
    assert.deepEqual([done, confirmation.length], [['nothing announced', 'no peers'], 0])
  })

  it('lets each go when the slowest peer has confirmed what was announced before it, and no earlier', (t) => {
    const { confirmation, state, timeouts, done, wait } = open(t)
    state.own = 1
    wait('first')
    state.own = 3
    wait('third')
    confirmation.advance()
    assert.deepEqual(done, [])
    state.confirmed = 2
    confirmation.advance()
    assert.deepEqual([done, confirmation.length], [['first'], 1])
    state.confirmed = 3
    confirmation.advance()
    assert.deepEqual([done, confirmation.length, timeouts.value], [['first', 'third'], 0, 0])
  })

  it('lets each go when its own time is over, and counts it', (t) => {
    const { state, timeouts, done, wait, pass } = open(t)
    state.own = 1
    wait('early')
    pass(600)
    wait('late')
    pass(400)
    assert.deepEqual([done, timeouts.value], [['early'], 1])
    pass(599)
    assert.deepEqual(done, ['early'])
    pass(1)
    assert.deepEqual([done, timeouts.value], [['early', 'late'], 2])
    wait('again')
    pass(TIMEOUT_MS)
    assert.deepEqual([done, timeouts.value], [['early', 'late', 'again'], 3])
  })

  it('is bounded: who finds no room goes at once, and is counted', (t) => {
    const { confirmation, state, timeouts, done, wait } = open(t)
    state.own = 1
    for (let number = 0; number < ROOM; number += 1) confirmation.whenConfirmed(() => undefined)
    assert.deepEqual([confirmation.length, timeouts.value], [ROOM, 0])
    wait('one more')
    assert.deepEqual([done, confirmation.length, timeouts.value], [['one more'], ROOM, 1])
  })

  it('lets everyone go when it stops, and nobody waits after that', (t) => {
    const { confirmation, state, timeouts, done, wait, pass } = open(t)
    state.own = 1
    wait('before')
    confirmation.stop()
    wait('after')
    confirmation.stop()
    pass(TIMEOUT_MS)
    assert.deepEqual([done, timeouts.value], [['before', 'after'], 0])
  })
})
