import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { OwedFirst, type OwedPeer } from '../../../src/cluster/owed-first.js'
import { eventually } from '../../support/eventually.js'

type Peer = { -readonly [K in keyof OwedPeer]: OwedPeer[K] }

function owedFirst(t: TestContext, peers: Peer[]): OwedFirst {
  const owed = new OwedFirst(peers)
  t.after(() => owed.stop())
  return owed
}

describe('what peers are owed from the store before a session goes', () => {
  it('is not waited for where there is nothing, or nobody within reach', (t) => {
    let calls = 0
    const peers = [
      { isReachable: true, firstOwed: 4, lastOwed: 3 },
      { isReachable: false, firstOwed: 1, lastOwed: 3 },
    ]
    owedFirst(t, peers).whenPaid(60_000, () => {
      calls += 1
    })
    assert.equal(calls, 1)
  })

  it('is waited for until each has what it was owed then, whatever has come since, or is out of reach', async (t) => {
    const [one, two] = [
      { isReachable: true, firstOwed: 1, lastOwed: 3 },
      { isReachable: true, firstOwed: 7, lastOwed: 7 },
    ] as [Peer, Peer]
    const owed = owedFirst(t, [one, two])
    const done: string[] = []
    owed.whenPaid(60_000, () => done.push('first'))
    one.lastOwed = 5
    owed.whenPaid(60_000, () => done.push('second'))
    one.firstOwed = 4
    two.isReachable = false
    await eventually(() => assert.deepEqual(done, ['first']))
    one.firstOwed = 6
    await eventually(() => assert.deepEqual(done, ['first', 'second']))
  })

  it('is not waited for longer than was said, and not at all once it is stopped', async (t) => {
    const owed = owedFirst(t, [{ isReachable: true, firstOwed: 1, lastOwed: 1 }])
    let calls = 0
    const before = performance.now()
    owed.whenPaid(30, () => {
      calls += 1
    })
    await eventually(() => assert.equal(calls, 1))
    assert.ok(performance.now() - before >= 30)
    owed.whenPaid(0, () => {
      calls += 1
    })
    owed.stop()
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(calls, 1)
  })
})
