import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { CountingHold, RecordingOutlet } from './recording-outlet.js'
import { DELIVERY, HOLD_MS, message, numbers, setUp } from './session-setting.js'

describe('back-pressure of a session', () => {
  const queue = { length: 8, bytes: 1_000_000 }

  it('holds publishers back while the queue is nearly full, and lets them go when it has eased', (t) => {
    const { session, deliver, metrics, dropped } = setUp(t, { queue })
    const outlet = new RecordingOutlet({ sendMaximum: 1 })
    session.attach(outlet)
    const holds = numbers(0, 9).map(() => new CountingHold())
    for (const [index, hold] of holds.entries()) deliver(String(index), 1, hold)
    // One is in flight, five wait below three quarters of eight, four are held back, one of these beyond the limit.
    assert.deepEqual(
      holds.map((hold) => hold.holds),
      [1, 1, 1, 1, 1, 1, 2, 2, 2, 2],
    )
    assert.equal(metrics.heldBack.value, 4)
    let acknowledged = 0
    while (holds.some((hold) => hold.holds === 2)) session.acknowledge(++acknowledged)
    assert.equal(session.queueLength, 3, 'below half of eight')
    while (session.inFlightCount > 0) session.acknowledge(++acknowledged)
    assert.deepEqual(outlet.take(), numbers(0, 9))
    assert.equal(dropped('queue_full'), 0)
  })

  it('drops only after the hold time, and only while the queue is full', (t) => {
    const { session, deliver, dropped, clock } = setUp(t, { queue })
    const holds = numbers(1, 12).map(() => new CountingHold())
    for (const [index, hold] of holds.entries()) deliver(String(index + 1), 1, hold)
    clock.advance(HOLD_MS - 100)
    assert.equal(dropped('queue_full'), 0)
    assert.equal(holds.filter((hold) => hold.holds === 2).length, 7)
    clock.advance(200)
    assert.ok(
      holds.every((hold) => hold.holds === 1),
      'nobody waits longer than the hold time',
    )
    const late = new CountingHold()
    deliver('late', 1, late)
    assert.equal(late.holds, 1)
    assert.equal(dropped('queue_full'), 1)
    const outlet = new RecordingOutlet()
    session.attach(outlet)
    assert.deepEqual(outlet.take(), numbers(1, 12), 'what was acknowledged is there')
  })

  it('holds publishers back again once the queue has eased', (t) => {
    const { session, deliver, dropped, clock } = setUp(t, { queue })
    for (const payload of numbers(1, 8)) deliver(payload, 1, new CountingHold())
    clock.advance(HOLD_MS + 100)
    const outlet = new RecordingOutlet({ sendMaximum: 1 })
    session.attach(outlet)
    for (const packetId of [1, 2, 3, 4]) session.acknowledge(packetId)
    const holds = numbers(9, 16).map(() => new CountingHold())
    for (const [index, hold] of holds.entries()) deliver(String(index + 9), 1, hold)
    assert.equal(dropped('queue_full'), 0)
    assert.equal(holds.filter((hold) => hold.holds === 2).length, 6)
    clock.advance(HOLD_MS + 100)
    assert.ok(holds.every((hold) => hold.holds === 1))
  })

  it('releases each hold once, also when a released publisher sends the next message at once', (t) => {
    const { session, deliver, clock, dropped } = setUp(t, { queue })
    let next = 1
    let published = 0
    const holds: CountingHold[] = []
    // Like a connection that reads on as soon as an acknowledgement is out.
    const publishNext = (): void => {
      if (next > 60) return
      const payload = String(next++)
      const hold = new CountingHold(() => {
        published += 1
        publishNext()
      })
      holds.push(hold)
      deliver(payload, 1, hold)
      hold.release()
    }
    for (let publisher = 0; publisher < 3; publisher += 1) publishNext()
    const outlet = new RecordingOutlet({ sendMaximum: 2 })
    session.attach(outlet)
    const got: (string | undefined)[] = outlet.take()
    for (let packetId = 1; session.inFlightCount > 0; packetId += 1) {
      session.acknowledge(packetId)
      got.push(...outlet.take())
    }
    clock.advance(HOLD_MS * 2)
    assert.equal(published, 60, 'no release is lost')
    assert.ok(holds.every((hold) => hold.isReleased))
    assert.deepEqual(got, numbers(1, 60))
    assert.equal(dropped('queue_full'), 0)
  })

  it('does not hold a client back by its own queue, which drops at its limit', (t) => {
    const { session, dropped } = setUp(t, { queue })
    const holds = numbers(1, 10).map(() => new CountingHold())
    for (const [index, hold] of holds.entries()) session.deliver(message(String(index), 1, 'me'), DELIVERY, hold)
    assert.ok(holds.every((hold) => hold.holds === 1))
    assert.equal(dropped('queue_full'), 2)
  })

  it('drops a message that nobody waits for at the limit, and not those of held-back publishers', (t) => {
    const { deliver, dropped } = setUp(t, { queue })
    for (const payload of numbers(1, 8)) deliver(payload, 1)
    deliver('unheld', 1)
    assert.equal(dropped('queue_full'), 1)
    const hold = new CountingHold()
    deliver('held', 1, hold)
    assert.equal(hold.holds, 2)
    assert.equal(dropped('queue_full'), 1)
  })

  it('leaves no timer behind', (t) => {
    const { session, deliver, clock } = setUp(t, { queue })
    for (const payload of numbers(1, 8)) deliver(payload, 1, new CountingHold())
    assert.equal(clock.timers.size, 1)
    session.attach(new RecordingOutlet())
    assert.equal(clock.timers.size, 0)
    session.end()
    assert.equal(clock.timers.size, 0)
  })
})
