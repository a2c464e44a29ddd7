import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type { Subscriber } from '../../../src/broker/subscriber.js'
import { Custody } from '../../../src/cluster/custody.js'
import { GroupWatch, RESCUE_INTERVAL_MS } from '../../../src/cluster/group-watch.js'
import { Message } from '../../../src/mqtt/wire/message.js'
import { SharedGroups } from '../../../src/router/shared-groups.js'
import { TurnQueue } from '../../../src/util/turn.js'
import { eventually } from '../../support/eventually.js'

const KEY = '$share/g/a'

/** A node that has one message in custody for a peer that is down, and nobody else to give it to. */
function setUp(t: TestContext) {
  const groups = new SharedGroups<Subscriber>({ strategy: 'random', strategies: {}, node: 'n1@test' })
  const turns = new TurnQueue({ onError: assert.ifError })
  const custody = new Custody(1e6, { unguarded: 0 })
  custody.take(Message.from('a', Buffer.from('x'), { qos: 1 }), KEY)
  /** When custody was looked through. */
  const looks: number[] = []
  const rescue = (isLast: boolean): void => {
    looks.push(performance.now())
    custody.rescue((key) => groups.get(key)?.isWithinReach === true, isLast)
  }
  const peers = new Map([['n2@test', { isLive: false, isUntold: false, exchange: { custody, rescue } }]])
  const watch = new GroupWatch({ peers: () => peers, groups, sink: { groupsChanged() {} }, turns })
  t.after(() => {
    watch.stop()
    turns.stop()
  })
  /** A node has told that it has this many members of a group. */
  const tell = (members: number, filter = KEY): void => {
    groups.place('n3@test', { filter, id: 1, connected: members, members })
    watch.look()
  }
  const turnOver = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
  return { watch, custody, looks, tell, turnOver }
}

describe('what is in custody for a node that is down', () => {
  it('is offered at once to members that have come', async (t) => {
    const { custody, looks, tell, turnOver } = setUp(t)
    tell(1)
    await turnOver()
    assert.deepEqual([looks.length, custody.length], [1, 0])
  })

  it('is not looked through while nothing about groups has changed', async (t) => {
    const { watch, looks, turnOver } = setUp(t)
    for (let count = 0; count < 1_000; count += 1) {
      watch.look()
      await turnOver()
    }
    assert.equal(looks.length, 1)
  })

  it('is looked through once for many changes that come together, and behind the last of them', async (t) => {
    const { custody, looks, tell, turnOver } = setUp(t)
    for (let count = 0; count < 50; count += 1) {
      tell(1, `$share/other/${count}`)
      await turnOver()
    }
    tell(1)
    await eventually(() => assert.equal(custody.length, 0))
    const [first = 0] = looks
    const spent = (looks.at(-1) ?? 0) - first
    assert.ok(
      looks.length - 1 <= Math.ceil(spent / (RESCUE_INTERVAL_MS - 10)),
      `${looks.length} looks within ${spent} ms`,
    )
  })
})
