import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { type InFlight, InFlightWindow } from '../../../../src/mqtt/session/in-flight-window.js'

function entry(packetId: number): InFlight {
  return {
    packetId,
    qos: 1,
    retain: false,
    subscriptionIds: undefined,
    share: undefined,
    message: undefined,
    bytes: 0,
    releaseOrder: 0,
    isSent: true,
    place: 0,
    isKept: true,
    wasSent: true,
  }
}

/** Takes the entry with this id out; false when there is none. */
function remove(window: InFlightWindow, packetId: number): boolean {
  const known = window.get(packetId)
  if (known !== undefined) window.remove(known)
  return known !== undefined
}

function takeAll(window: InFlightWindow): number[] {
  const ids: number[] = []
  for (let next = window.takeUnsent(); next !== undefined; next = window.takeUnsent()) ids.push(next.packetId)
  return ids
}

describe('in-flight window', () => {
  it('gives back what was sent, in order of sending, when the connection has gone [MQTT-4.4.0-1]', () => {
    const window = new InFlightWindow()
    for (const id of [7, 3, 65_535, 1]) window.add(entry(id))
    remove(window, 3)
    assert.equal(window.sent, 3)
    window.rewind()
    assert.equal(window.sent, 0)
    assert.equal(window.length, 3)
    assert.deepEqual(takeAll(window), [7, 65_535, 1])
    assert.equal(window.sent, 3)
  })

  it('gives back what was released behind the messages, in the order of the releases [MQTT-4.6.0-4]', () => {
    const window = new InFlightWindow()
    for (const id of [1, 2, 3, 4]) window.add(entry(id))
    for (const id of [4, 1, 4]) window.release(window.get(id) as InFlight)
    window.rewind()
    assert.deepEqual(takeAll(window), [2, 3, 4, 1])
  })

  it('does not send again what was acknowledged before its turn came', () => {
    const window = new InFlightWindow()
    for (const id of [1, 2, 3]) window.add(entry(id))
    window.rewind()
    assert.equal(remove(window, 2), true)
    assert.deepEqual(takeAll(window), [1, 3])
    assert.equal(window.hasUnsent, false)
  })

  it('does not take a new packet for an old one with the same id', () => {
    const window = new InFlightWindow()
    window.add(entry(1))
    window.rewind()
    remove(window, 1)
    window.add(entry(1))
    assert.deepEqual(takeAll(window), [])
    assert.equal(window.sent, 1)
  })

  it('counts what is sent on the present connection, through any number of reconnects', () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('add' as const), id: fc.integer({ min: 1, max: 12 }) }),
      fc.record({ do: fc.constant('remove' as const), id: fc.integer({ min: 1, max: 12 }) }),
      fc.record({ do: fc.constant('rewind' as const), id: fc.constant(0) }),
      fc.record({ do: fc.constant('take' as const), id: fc.constant(0) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const window = new InFlightWindow()
        const model = new Map<number, boolean>()
        for (const { do: action, id } of steps) {
          if (action === 'add' && !model.has(id)) {
            window.add(entry(id))
            model.set(id, true)
          } else if (action === 'remove') {
            assert.equal(remove(window, id), model.delete(id))
          } else if (action === 'rewind') {
            window.rewind()
            for (const known of model.keys()) model.set(known, false)
          } else if (action === 'take') {
            const oldest = [...model].find(([, isSent]) => !isSent)?.[0]
            assert.equal(window.takeUnsent()?.packetId, oldest)
            if (oldest !== undefined) model.set(oldest, true)
          }
          assert.equal(window.length, model.size)
          assert.equal(window.sent, [...model.values()].filter(Boolean).length)
        }
      }),
    )
  })
})
