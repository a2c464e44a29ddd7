import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { Custody } from '../../../src/cluster/custody.js'
import { Receipts } from '../../../src/cluster/receipts.js'
import { Message } from '../../../src/mqtt/wire/message.js'
import type { QoS } from '../../../src/mqtt/wire/packets.js'
import { GroupTargets } from '../../../src/router/group-targets.js'
import { MemoryStore } from '../../support/memory-store.js'
import { LoneBroker } from './lone-broker.js'
import { type StreamClient, subscribePacket, until } from './stream-client.js'

const KEY = '$share/g/a'

/** A node that keeps sessions, with a peer that has in custody what it sends to members of a group here. */
async function setUp(t: TestContext) {
  const lone = new LoneBroker(t)
  const store = new MemoryStore()
  store.isManual = true
  lone.broker.keepSessionsIn(store, { bytes: 1e6, retention: 1e6 })
  await store.load()
  const custody = new Custody(1e6, { unguarded: 0 })
  const receipts = new Receipts(() => {})
  let sent = 0
  const send = (qos: QoS): void => {
    sent += 1
    const message = Message.from('a', Buffer.from(`${sent}`), { qos })
    const pending = custody.take(message, KEY)
    const targets = new GroupTargets()
    targets.add('n1@test', 0, 0, KEY, pending?.receipt)
    pending?.hold()
    lone.broker.deliverForwarded(message, 'n2@test', pending, targets, receipts)
    pending?.release()
  }
  /** A member that takes one message at a time, and acknowledges none. @param expiry seconds; its session is kept unless it is 0 */
  const join = async (clientId: string, expiry: number): Promise<StreamClient> => {
    const { size } = lone.broker.groups
    const member = lone.open()
    member.sendConnect({ clientId, properties: { sessionExpiryInterval: expiry, receiveMaximum: 1 } })
    member.send(subscribePacket(KEY, 2, 1))
    await until(() => {
      // It is let in when its session is kept.
      if (expiry > 0) store.commit()
      return lone.broker.groups.size > size
    }, 'a member')
    return member
  }
  /** Its client goes: what it has is another member's. */
  const leave = async (member: StreamClient): Promise<void> => {
    const { value } = lone.metrics.redispatched
    member.drop()
    await until(() => lone.metrics.redispatched.value > value, 'given to another')
  }
  /** The peer hears what it is told at the end of a turn. */
  const tell = (): void => {
    for (let body = receipts.next(); body !== undefined; body = receipts.next()) {
      assert(body.$case === 'groupReceipts')
      for (const receipt of body.value.receipts) custody.settle(receipt)
      for (const receipt of body.value.kept) custody.noteKept(receipt)
      for (const receipt of body.value.unkept) custody.noteUnkept(receipt)
    }
  }
  /** What the peer would give to members elsewhere, were this node to end now. */
  const rescued = (): string[] => {
    tell()
    const placed: string[] = []
    custody.passOn((_key, { payload }) => placed.push(payload.toString()) > 0)
    return placed
  }
  return { store, send, join, leave, tell, rescued }
}

describe('a message that a peer has in custody for a member here', () => {
  it('is safe from the commit on by which a session here is kept with it', async (t) => {
    const node = await setUp(t)
    await node.join('kept', 100)
    for (const qos of [1, 2] as const) node.send(qos)
    node.store.commit()
    assert.deepEqual(node.rescued(), [])
  })

  it('is not safe by that commit when it has gone on before to a member that is not kept', async (t) => {
    const node = await setUp(t)
    const member = await node.join('kept', 100)
    for (const qos of [1, 2] as const) node.send(qos)
    await node.join('loose', 0)
    await node.leave(member)
    node.store.commit()
    assert.deepEqual(node.rescued(), ['1', '2'])
  })

  it('is not safe by that commit when it has gone on to such a member meanwhile', async (t) => {
    const node = await setUp(t)
    const member = await node.join('kept', 100)
    for (const qos of [1, 2] as const) node.send(qos)
    await node.join('loose', 0)
    const end = node.store.takeSnapshot()
    await node.leave(member)
    end()
    node.store.commit()
    assert.deepEqual(node.rescued(), ['1', '2'])
  })

  it('is not safe any more when it goes on to such a member later, if it is of QoS 1', async (t) => {
    const node = await setUp(t)
    const member = await node.join('kept', 100)
    for (const qos of [1, 2] as const) node.send(qos)
    node.store.commit()
    node.tell()
    await node.join('loose', 0)
    await node.leave(member)
    node.store.commit()
    assert.deepEqual(node.rescued(), ['1'])
  })

  it('is safe again when another session is kept with it', async (t) => {
    const node = await setUp(t)
    const member = await node.join('kept', 100)
    for (const qos of [1, 2] as const) node.send(qos)
    node.store.commit()
    node.tell()
    await node.join('other', 100)
    await node.leave(member)
    node.store.commit()
    assert.deepEqual(node.rescued(), [])
  })

  it('is told to have left the disk on each link, until it is settled or kept again', () => {
    const receipts = new Receipts(() => {})
    const unkept = (): number[] => {
      const body = receipts.next()
      return body?.$case === 'groupReceipts' ? body.value.unkept : []
    }
    for (const receipt of [1, 2, 3, 4]) receipts.keep(receipt)
    receipts.unkeep(4)
    assert.deepEqual(unkept(), [], 'nobody has heard that it was there')
    for (const receipt of [1, 2, 3]) receipts.unkeep(receipt)
    assert.deepEqual([unkept(), unkept()], [[1, 2, 3], []])
    receipts.settle(1)
    receipts.keep(2)
    receipts.open()
    assert.deepEqual(unkept(), [3])
  })
})
