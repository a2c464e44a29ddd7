import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { NEVER_EXPIRES } from '../../../../src/mqtt/session/session.js'
import { Message } from '../../../../src/mqtt/wire/message.js'
import { CountingHold, RecordingOutlet } from './recording-outlet.js'
import { DELIVERY, numbers, setUp } from './session-setting.js'

describe('a session whose client is away', () => {
  it('queues QoS 1 and 2, and drops QoS 0', (t) => {
    const { session, deliver, dropped } = setUp(t)
    deliver('0', 0)
    deliver('1', 1)
    deliver('2', 2)
    assert.equal(dropped('offline_qos0'), 1)
    const outlet = new RecordingOutlet()
    session.attach(outlet)
    assert.deepEqual(
      outlet.takeSent().map(({ payload, duplicate }) => [payload, duplicate]),
      [
        ['1', false],
        ['2', false],
      ],
    )
  })

  it('sends what waited within the receive maximum, also when it has never sent before', (t) => {
    const { session, deliver } = setUp(t)
    for (const payload of numbers(1, 5)) deliver(payload)
    const outlet = new RecordingOutlet({ sendMaximum: 2 })
    session.attach(outlet)
    assert.deepEqual(outlet.take(), ['1', '2'], '[MQTT-3.3.4-9]')
    assert.equal(session.queueLength, 3)
  })

  it('sends again what was in flight, first and in order, with DUP and the same ids: messages, then PUBREL after PUBREC', (t) => {
    const { session, deliver } = setUp(t)
    const first = new RecordingOutlet({ sendMaximum: 4 })
    session.attach(first)
    for (const [payload, qos] of [
      ['1', 1],
      ['2', 2],
      ['3', 2],
      ['4', 1],
      ['5', 1],
    ] as const)
      deliver(payload, qos)
    session.markReceived(2, 0)
    session.acknowledge(4)
    assert.deepEqual(first.take(), ['1', '2', '3', '4', 'pubrel', '5'])
    session.detach()
    deliver('6', 1)
    const second = new RecordingOutlet({ sendMaximum: 5 })
    session.attach(second)
    assert.deepEqual(
      second.takeSent().map(({ cmd, payload, packetId, duplicate }) => [payload ?? cmd, packetId, duplicate]),
      [
        ['1', 1, true],
        ['3', 3, true],
        ['5', 5, true],
        ['pubrel', 2, undefined],
        ['6', 6, false],
      ],
    )
  })

  it('keeps to a smaller receive maximum when it resumes, and stays in order across further losses', (t) => {
    const { session, deliver } = setUp(t)
    session.attach(new RecordingOutlet({ sendMaximum: 4 }))
    for (const payload of numbers(1, 6)) deliver(payload)
    session.detach()
    const second = new RecordingOutlet({ sendMaximum: 2 })
    session.attach(second)
    deliver('7')
    assert.deepEqual(second.take(), ['1', '2'])
    session.acknowledge(1)
    assert.deepEqual(second.take(), ['3'])
    session.detach()
    const third = new RecordingOutlet({ sendMaximum: 3 })
    session.attach(third)
    assert.deepEqual(third.take(), ['2', '3', '4'])
    for (const packetId of [2, 3, 4]) session.acknowledge(packetId)
    assert.deepEqual(
      third.takeSent().map(({ payload, duplicate }) => [payload, duplicate]),
      [
        ['5', false],
        ['6', false],
        ['7', false],
      ],
    )
  })

  it('does not send a packet again that is larger than its client takes now', (t) => {
    const { session, deliver, dropped } = setUp(t)
    session.attach(new RecordingOutlet())
    deliver('x'.repeat(100))
    deliver('2')
    session.detach()
    const second = new RecordingOutlet({ maximumPacketSize: 50, sendMaximum: 1 })
    session.attach(second)
    assert.deepEqual(second.take(), ['2'])
    assert.equal(dropped('too_large'), 1)
    assert.equal(session.inFlightCount, 1)
  })

  it('keeps no slice of the chunk that a message came in', (t) => {
    const { session } = setUp(t)
    const chunk = Buffer.alloc(65_536, 'x')
    const parts = { topic: 't', qos: 1, retain: false, chunk, payloadStart: 10, payloadEnd: 20 } as const
    const received = new Message({ ...parts, properties: chunk.subarray(0, 0), expiryInterval: 0 })
    session.deliver(received, DELIVERY, undefined)
    assert.notEqual(received.detach().chunk.buffer, chunk.buffer)
    assert.ok(received.detach().chunk.buffer.byteLength <= 64)
    assert.ok(session.queueBytes < 200)
  })
})

describe('a session that ends', () => {
  it('counts what still waited, lets held-back publishers go and takes nothing more', (t) => {
    const { session, deliver, dropped, metrics } = setUp(t, { queue: { length: 4, bytes: 1_000_000 } })
    const holds = numbers(1, 4).map(() => new CountingHold())
    for (const [index, hold] of holds.entries()) deliver(String(index), 1, hold)
    assert.equal(metrics.heldBack.value, 2)
    session.end()
    assert.equal(dropped('session_ended'), 4)
    assert.deepEqual(
      holds.map((hold) => hold.holds),
      [1, 1, 1, 1],
    )
    for (const payload of numbers(5, 20)) {
      const late = new CountingHold()
      deliver(payload, 1, late)
      assert.equal(late.holds, 1, 'nobody waits for a session that is over')
    }
    assert.equal(dropped('session_ended'), 20)
    assert.equal(session.queueLength, 0)
  })

  it('keeps no bytes in flight when it ends with its connection', (t) => {
    const { session, deliver } = setUp(t, {}, 0)
    session.attach(new RecordingOutlet())
    deliver('1', 1)
    assert.equal(session.acknowledge(1)?.message, undefined)
  })

  it('keeps the message in flight when it may be resumed', (t) => {
    const { session, deliver } = setUp(t, {}, NEVER_EXPIRES)
    session.attach(new RecordingOutlet())
    deliver('1', 1)
    assert.equal(session.acknowledge(1)?.message?.payload.toString(), '1')
  })
})
