import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { Custody } from '../../../src/cluster/custody.js'
import { Receipts } from '../../../src/cluster/receipts.js'
import { Message } from '../../../src/mqtt/wire/message.js'
import type { QoS } from '../../../src/mqtt/wire/packets.js'
import { CountingHold } from '../mqtt/session/recording-outlet.js'

const KEY = '$share/g/t'

function message(payload: string, qos: QoS = 1): Message {
  return Message.from('t', Buffer.from(payload), { qos })
}

function setUp(limitBytes = 1_000_000) {
  const counters = { unguarded: 0 }
  const custody = new Custody(limitBytes, counters)
  const placed: string[] = []
  const place = (_key: string, { payload }: Message): boolean => placed.push(payload.toString()) > 0
  return { custody, counters, placed, place }
}

function receiptsOf(receipts: Receipts): number[] {
  const body = receipts.next()
  return body?.$case === 'groupReceipts' ? [...body.value.receipts] : []
}

describe('messages in custody', () => {
  it('are kept until they are settled, and then are no one’s', () => {
    const { custody, placed, place } = setUp()
    const receipts = ['a', 'b', 'c'].map((payload) => custody.take(message(payload), KEY)?.receipt)
    assert.equal(custody.length, 3)
    custody.settle(receipts[1] as number)
    custody.settle(receipts[1] as number)
    custody.settle(0)
    custody.rescue(place, true)
    assert.deepEqual(placed, ['a', 'c'], 'in the order in which they were sent')
    assert.deepEqual([custody.length, custody.bytes], [0, 0])
  })

  it('are bounded in bytes: beyond it messages go without, and are counted', () => {
    const { custody, counters } = setUp(1_000)
    const receipts = Array.from({ length: 10 }, () => custody.take(message('x'.repeat(100)), KEY)?.receipt)
    const taken = receipts.filter((receipt) => receipt !== undefined)
    assert.equal(taken.length, custody.length)
    assert.ok(custody.bytes <= 1_000)
    assert.equal(counters.unguarded, 10 - taken.length)
    custody.settle(taken[0] as number)
    assert.notEqual(custody.take(message('y'), KEY), undefined, 'there is room again')
  })

  it('go to others when the peer is down, but those of QoS 2 only when it does not come back [MQTT-4.8.2-5]', () => {
    const { custody, placed, place } = setUp()
    custody.take(message('one'), KEY)
    custody.take(message('two', 2), KEY)
    custody.rescue(place, false)
    assert.deepEqual(placed, ['one'])
    assert.deepEqual(custody.nextRecall(), [1])
    assert.equal(custody.nextRecall(), undefined)
    custody.rescue(place, true)
    assert.deepEqual(placed, ['one', 'two'])
  })

  it('stay while there is nobody else, and are not recalled', () => {
    const { custody, placed, place } = setUp()
    custody.take(message('a'), KEY)
    custody.rescue(() => false, false)
    assert.equal(custody.length, 1)
    assert.equal(custody.nextRecall(), undefined)
    custody.rescue(place, true)
    assert.deepEqual(placed, ['a'])
  })
})

describe('receipts', () => {
  it('are told again on the next link until they are confirmed', () => {
    let owed = 0
    const receipts = new Receipts(() => {
      owed += 1
    })
    for (const receipt of [1, 2, 3]) receipts.settle(receipt)
    assert.equal(owed, 3)
    assert.deepEqual(receiptsOf(receipts), [1, 2, 3])
    assert.deepEqual(receiptsOf(receipts), [])
    receipts.confirm(2)
    receipts.settle(4)
    receipts.open()
    assert.deepEqual(receiptsOf(receipts), [3, 4])
    receipts.confirm(2)
    assert.equal(receipts.length, 0)
  })

  it('do not admit what was recalled before it came, and nothing of it is remembered after', () => {
    const receipts = new Receipts(() => undefined)
    assert.equal(receipts.admit(1), true)
    receipts.recall([1, 2, 4])
    assert.deepEqual(
      [2, 3, 4, 5].map((receipt) => receipts.admit(receipt)),
      [false, true, false, true],
    )
  })

  it('stay with a peer whose disk outlives it, but for what was with members that end with it', () => {
    const { custody, placed, place } = setUp()
    const take = (payload: string, qos: QoS = 1): { receipt: number; acknowledge(): void } => {
      const copy = custody.take(message(payload, qos), KEY)
      assert.ok(copy)
      copy.hold()
      return { receipt: copy.receipt, acknowledge: () => copy.release() }
    }
    const onDisk = take('on its disk')
    const ended = take('with a member that has ended')
    const unsent = take('not sent to such a member', 2)
    take('not acknowledged', 2)
    for (const copy of [onDisk, ended, unsent]) copy.acknowledge()
    custody.noteKept(onDisk.receipt)
    custody.passOn(place)
    assert.deepEqual(placed, ['with a member that has ended', 'not sent to such a member'])
    assert.deepEqual([custody.length, custody.bytes], [0, 0])
    assert.equal(take('next').receipt, 5, 'numbers go on')
  })

  it('are not acknowledged by a commit of this node', () => {
    const lane = { isShelved: true }
    const custody = new Custody(1_000_000, { unguarded: 0 }, lane)
    const copy = custody.take(message('one'), KEY)
    copy?.hold()
    copy?.release()
    assert.equal(copy?.isAcknowledged, false)
    lane.isShelved = false
    copy?.hold()
    copy?.release()
    assert.equal(copy?.isAcknowledged, true)
  })

  it('hold their publisher as one would who has them, and refuse as it can be refused', () => {
    const { custody } = setUp()
    const publisher = new CountingHold()
    const copy = custody.take(message('one', 2), KEY, Object.assign(publisher, { isRemembered: true }))
    assert.equal(copy?.isRemembered, true)
    copy?.hold()
    assert.equal(publisher.holds, 2)
    assert.ok(copy !== undefined && 'refuse' in copy)
    ;(copy as unknown as { refuse(): void }).refuse()
    copy.release()
    assert.deepEqual([publisher.isRefused, publisher.holds], [true, 1])
    const calm = custody.take(message('two'), KEY, { hold() {}, release() {} })
    assert.ok(calm !== undefined && !('refuse' in calm))
  })

  it('leave nothing in custody, and lose nothing, whatever links break and whoever goes', () => {
    const step = fc.constantFrom('send', 'arrive', 'settle', 'tell', 'confirm', 'break', 'down')
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), fc.boolean(), (steps, diesAtEnd) => {
        const { custody, placed, place } = setUp()
        const receipts = new Receipts(() => undefined)
        /** Numbered batches: they come in order and, after a break, again. */
        const lane: [number, string][] = []
        const atPeer: [number, string][] = []
        const done: string[] = []
        let sent = 0
        let wire: number[][] = []
        let taken = 0
        const run = (name: (typeof steps)[number]): void => {
          if (name === 'send') {
            sent += 1
            lane.push([custody.take(message(`${sent}`), KEY)?.receipt ?? 0, `${sent}`])
          } else if (name === 'arrive') {
            const next = lane.shift()
            if (next !== undefined && receipts.admit(next[0])) atPeer.push(next)
          } else if (name === 'settle') {
            const next = atPeer.shift()
            if (next !== undefined) {
              done.push(next[1])
              receipts.settle(next[0])
            }
          } else if (name === 'tell') {
            wire.push(receiptsOf(receipts))
          } else if (name === 'confirm') {
            for (const receipt of wire.shift() ?? []) {
              custody.settle(receipt)
              taken += 1
            }
            receipts.confirm(taken)
          } else {
            if (name === 'down') custody.rescue(place, false)
            wire = []
            taken = 0
            receipts.open()
            for (let some = custody.nextRecall(); some !== undefined; some = custody.nextRecall()) receipts.recall(some)
          }
        }
        for (const name of steps) run(name)
        if (diesAtEnd) {
          custody.rescue(place, true)
        } else {
          while (lane.length > 0) run('arrive')
          while (atPeer.length > 0) run('settle')
          while (receipts.length > 0) {
            run('tell')
            while (wire.length > 0) run('confirm')
          }
        }
        assert.equal(custody.length, 0)
        assert.equal(custody.bytes, 0)
        const got = new Set([...done, ...placed])
        assert.equal(got.size, sent, 'every message has come to somebody')
      }),
    )
  })
})
