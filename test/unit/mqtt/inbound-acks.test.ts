import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { type InboundAck, InboundAcks } from '../../../src/mqtt/inbound-acks.js'

function setUp() {
  const sent: number[] = []
  const acks = new InboundAcks({ sendPublishAck: (ack) => sent.push(ack.packetId) })
  return { acks, sent }
}

describe('acknowledgements owed to a publisher', () => {
  it('leave in the order of the PUBLISH packets, whatever order they are settled in [MQTT-4.6.0-2] [MQTT-4.6.0-3]', () => {
    const { acks, sent } = setUp()
    const [first, second, third] = [acks.begin(5, 1), acks.begin(2, 2), acks.begin(9, 1)]
    third.release()
    second.release()
    assert.deepEqual(sent, [])
    assert.equal(acks.length, 3)
    first.release()
    assert.deepEqual(sent, [5, 2, 9])
    assert.equal(acks.length, 0)
  })

  it('wait for every hold', () => {
    const { acks, sent } = setUp()
    const ack = acks.begin(1, 1)
    ack.hold()
    ack.hold()
    ack.release()
    ack.release()
    assert.deepEqual(sent, [])
    ack.release()
    assert.deepEqual(sent, [1])
  })

  it('of a repeated QoS 2 PUBLISH wait for the first one, and come after it', () => {
    const { acks, sent } = setUp()
    const first = acks.begin(7, 2)
    const again = acks.begin(7, 2)
    first.addFollower(again)
    again.release()
    assert.deepEqual(sent, [])
    first.release()
    assert.deepEqual(sent, [7, 7])
    const late = acks.begin(7, 2)
    first.addFollower(late)
    late.release()
    assert.deepEqual(sent, [7, 7, 7])
  })

  it('of a message that came over an earlier connection reach the present one', () => {
    const old = setUp()
    const now = setUp()
    const first = old.acks.begin(7, 2)
    old.acks.close()
    const again = now.acks.begin(7, 2)
    first.addFollower(again)
    again.release()
    assert.deepEqual(now.sent, [])
    first.release()
    assert.deepEqual(now.sent, [7])
    assert.deepEqual(old.sent, [])
  })

  it('are forgotten when the connection closes', () => {
    const { acks, sent } = setUp()
    const ack = acks.begin(1, 1)
    acks.close()
    ack.release()
    assert.deepEqual(sent, [])
    assert.deepEqual([acks.length, acks.qos1Count], [0, 0])
  })

  it('count those of QoS 1 apart', () => {
    const { acks } = setUp()
    const ack = acks.begin(1, 1)
    acks.begin(2, 2)
    assert.deepEqual([acks.length, acks.qos1Count], [2, 1])
    ack.release()
    assert.deepEqual([acks.length, acks.qos1Count], [1, 0])
  })

  it('stay in order when sending one makes the publisher send more at once', () => {
    const sent: number[] = []
    let next = 1
    const publish = (): void => {
      if (next <= 20) acks.begin(next++, 1).release()
    }
    const acks: InboundAcks = new InboundAcks({
      sendPublishAck(ack) {
        sent.push(ack.packetId)
        publish()
        publish()
      },
    })
    const first = acks.begin(next++, 1)
    publish()
    first.release()
    assert.deepEqual(
      sent,
      Array.from({ length: 20 }, (_, index) => index + 1),
    )
  })

  it('are each sent once and in order under any interleaving of holds and releases', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(2), fc.nat(30)), { maxLength: 80 }), (steps) => {
        const { acks, sent } = setUp()
        const open: { ack: InboundAck; holds: number }[] = []
        let begun = 0
        for (const [step, index] of steps) {
          const chosen = open[index % Math.max(open.length, 1)]
          if (step === 0) open.push({ ack: acks.begin(++begun, 1), holds: 1 })
          else if (chosen === undefined) continue
          else if (step === 1) {
            chosen.ack.hold()
            chosen.holds += 1
          } else {
            chosen.ack.release()
            chosen.holds -= 1
            if (chosen.holds === 0) open.splice(open.indexOf(chosen), 1)
          }
          const oldestOpen = Math.min(...open.map(({ ack }) => ack.packetId), begun + 1)
          assert.equal(sent.length, oldestOpen - 1)
        }
        for (const { ack, holds } of open) for (let hold = 0; hold < holds; hold += 1) ack.release()
        assert.deepEqual(
          sent,
          Array.from({ length: begun }, (_, index) => index + 1),
        )
      }),
    )
  })
})
