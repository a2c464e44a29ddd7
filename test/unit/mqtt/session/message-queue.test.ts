import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MessageQueue, type QueuedMessage } from '../../../../src/mqtt/session/message-queue.js'
import { Message } from '../../../../src/mqtt/wire/message.js'

function item(payload: string): QueuedMessage {
  const message = Message.from('t', Buffer.from(payload), { qos: 1 })
  return { message, qos: 1, retain: false, subscriptionIds: undefined, share: undefined, place: 0 }
}

describe('message queue', () => {
  it('keeps the order of arrival', () => {
    const queue = new MessageQueue({ length: 10, bytes: 10_000 })
    for (const payload of ['1', '2', '3']) queue.push(item(payload))
    const out = [queue.shift(), queue.shift(), queue.shift()].map((queued) => queued?.message.payload.toString())
    assert.deepEqual(out, ['1', '2', '3'])
    assert.equal(queue.shift(), undefined)
    assert.equal(queue.bytes, 0)
  })

  it('says when it is nearly full, full and eased, by number', () => {
    const queue = new MessageQueue({ length: 8, bytes: 1_000_000 })
    const seen: string[] = []
    for (let length = 1; length <= 8; length += 1) {
      queue.push(item('x'))
      seen.push(`${queue.isEased ? 'eased ' : ''}${queue.isNearlyFull ? 'nearly ' : ''}${queue.isFull ? 'full' : ''}`)
    }
    assert.deepEqual(seen, ['eased ', 'eased ', 'eased ', '', '', 'nearly ', 'nearly ', 'nearly full'])
  })

  it('says the same by bytes, topic and overhead included', () => {
    const queue = new MessageQueue({ length: 1_000, bytes: 1_000 })
    queue.push(item('x'.repeat(700)))
    assert.equal(queue.isNearlyFull, true)
    assert.equal(queue.isFull, false)
    queue.push(item('x'.repeat(300)))
    assert.equal(queue.isFull, true)
    queue.shift()
    assert.equal(queue.isEased, true)
  })

  it('refuses even messages of held-back publishers at 64 times its length and 4 times its bytes', () => {
    const byNumber = new MessageQueue({ length: 4, bytes: 1_000_000 })
    let taken = 0
    while (byNumber.push(item('x'))) taken += 1
    assert.equal(taken, 256)
    const byBytes = new MessageQueue({ length: 1_000, bytes: 1_000 })
    while (byBytes.push(item('x'.repeat(500))));
    assert.ok(byBytes.bytes >= 4_000 && byBytes.bytes < 5_000, `${byBytes.bytes} bytes`)
  })
})
