import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { TimerEntry, TimerWheel } from '../../../src/util/timer-wheel.js'
import { eventually } from '../../support/eventually.js'

const TICK_MS = 10
const SLOTS = 8

class Entry extends TimerEntry {
  readonly firedAt: number[] = []
  private readonly fire: (entry: Entry) => number | undefined

  constructor(fire: (entry: Entry) => number | undefined) {
    super()
    this.fire = fire
  }

  override onTimeout(): void {
    const now = this.fire(this)
    if (now !== undefined) this.firedAt.push(now)
  }
}

/** A wheel on a clock that moves only when told to. */
function setUp() {
  let time = 1_000
  const errors: unknown[] = []
  const wheel = new TimerWheel({
    tickMs: TICK_MS,
    slots: SLOTS,
    now: () => time,
    onError: (error) => errors.push(error),
  })
  return {
    wheel,
    errors,
    now: () => time,
    entry: () => new Entry(() => time),
    advance(milliseconds: number, stepMs = TICK_MS): void {
      const end = time + milliseconds
      while (time < end) {
        time = Math.min(time + stepMs, end)
        wheel.tick()
      }
    },
  }
}

describe('timer wheel', () => {
  it('fires each entry once, never early and at most a tick late, at any delay', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 5 * SLOTS * TICK_MS }), { maxLength: 50 }), (delays) => {
        const { wheel, entry, now, advance } = setUp()
        const start = now()
        const entries = delays.map((delay) => {
          const scheduled = entry()
          wheel.schedule(scheduled, delay)
          return scheduled
        })
        assert.equal(wheel.size, delays.length)
        advance(6 * SLOTS * TICK_MS)
        for (const [index, { firedAt, isScheduled }] of entries.entries()) {
          const late = (firedAt[0] ?? Number.NaN) - start - (delays[index] ?? 0)
          assert.equal(firedAt.length, 1)
          assert.ok(late >= 0 && late <= TICK_MS, `${late} ms late`)
          assert.ok(!isScheduled)
        }
        assert.equal(wheel.size, 0)
      }),
    )
  })

  it('moves an entry that is scheduled again', () => {
    const { wheel, entry, now, advance } = setUp()
    const start = now()
    const moved = entry()
    wheel.schedule(moved, 20)
    advance(10)
    wheel.schedule(moved, 50)
    assert.equal(wheel.size, 1)
    advance(200)
    assert.deepEqual(moved.firedAt, [start + 60])
  })

  it('does not fire what was cancelled, and does not mind cancelling twice', () => {
    const { wheel, entry, advance } = setUp()
    const [cancelled, kept] = [entry(), entry()]
    wheel.schedule(cancelled, 20)
    wheel.schedule(kept, 20)
    wheel.cancel(cancelled)
    wheel.cancel(cancelled)
    assert.ok(!cancelled.isScheduled && kept.isScheduled)
    advance(100)
    assert.equal(cancelled.firedAt.length, 0)
    assert.equal(kept.firedAt.length, 1)
  })

  it('lets an entry schedule itself again, one tick later at the soonest', () => {
    const { wheel, now, advance } = setUp()
    const start = now()
    const lazy = new Entry((self) => {
      if (now() < start + 50) wheel.schedule(self, 0)
      return now()
    })
    wheel.schedule(lazy, 0)
    advance(200)
    assert.deepEqual(
      lazy.firedAt.map((time) => time - start),
      [10, 20, 30, 40, 50],
    )
  })

  it('lets an entry cancel another one of the same tick', () => {
    const { wheel, entry, now, advance } = setUp()
    const victim = entry()
    const killer = new Entry(() => {
      wheel.cancel(victim)
      return now()
    })
    wheel.schedule(killer, 10)
    wheel.schedule(victim, 10)
    advance(100)
    assert.equal(killer.firedAt.length, 1)
    assert.equal(victim.firedAt.length, 0)
    assert.equal(wheel.size, 0)
  })

  it('fires everything that is due after the process was held up for many rounds', () => {
    const { wheel, entry, now, advance } = setUp()
    const entries = Array.from({ length: 40 }, (_, index) => {
      const scheduled = entry()
      wheel.schedule(scheduled, index * TICK_MS)
      return scheduled
    })
    const distant = entry()
    wheel.schedule(distant, 100 * SLOTS * TICK_MS)
    advance(20 * SLOTS * TICK_MS, 20 * SLOTS * TICK_MS)
    for (const { firedAt } of entries) assert.deepEqual(firedAt, [now()])
    assert.ok(distant.isScheduled)
  })

  it('hands over what an entry throws, and fires the others', () => {
    const { wheel, errors, entry, advance } = setUp()
    const failure = new Error('from onTimeout')
    wheel.schedule(
      new Entry(() => {
        throw failure
      }),
      10,
    )
    const other = entry()
    wheel.schedule(other, 10)
    advance(20)
    assert.deepEqual(errors, [failure])
    assert.equal(other.firedAt.length, 1)
  })

  it('has an interval only while there are entries', () => {
    const { wheel, entry, advance } = setUp()
    assert.ok(!wheel.isRunning)
    const scheduled = entry()
    wheel.schedule(scheduled, 20)
    assert.ok(wheel.isRunning)
    advance(50)
    assert.ok(!wheel.isRunning)
    wheel.schedule(scheduled, 20)
    assert.ok(wheel.isRunning)
    wheel.cancel(scheduled)
    advance(TICK_MS)
    assert.ok(!wheel.isRunning)
  })

  it('keeps time after it was idle', () => {
    const { wheel, entry, now, advance } = setUp()
    advance(1_000_000, 1_000_000)
    const scheduled = entry()
    const start = now()
    wheel.schedule(scheduled, 30)
    advance(100)
    assert.deepEqual(scheduled.firedAt, [start + 30])
  })

  it('forgets all entries when it stops, and takes no more', () => {
    const { wheel, entry, advance } = setUp()
    const [waiting, late] = [entry(), entry()]
    wheel.schedule(waiting, 20)
    wheel.stop()
    wheel.stop()
    wheel.schedule(late, 20)
    advance(100)
    assert.equal(wheel.size, 0)
    assert.ok(!wheel.isRunning && !waiting.isScheduled && !late.isScheduled)
    assert.equal(waiting.firedAt.length + late.firedAt.length, 0)
  })

  it('runs by itself on the real clock', async () => {
    const wheel = new TimerWheel({ tickMs: 5 })
    const started = performance.now()
    const scheduled = new Entry(() => performance.now())
    wheel.schedule(scheduled, 20)
    await eventually(() => assert.equal(scheduled.firedAt.length, 1))
    assert.ok((scheduled.firedAt[0] ?? 0) - started >= 20)
    await eventually(() => assert.equal(!wheel.isRunning, true))
  })

  it('refuses delays that are no time, and sizes that are no wheel', () => {
    const { wheel, entry } = setUp()
    for (const delay of [-1, Number.NaN, Infinity]) assert.throws(() => wheel.schedule(entry(), delay), RangeError)
    assert.equal(wheel.size, 0)
    assert.throws(() => new TimerWheel({ slots: 6 }), RangeError)
    assert.throws(() => new TimerWheel({ tickMs: 0 }), RangeError)
  })
})
