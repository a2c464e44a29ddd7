import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { pino } from 'pino'
import type { Postponed } from '../../../src/broker/store-port.js'
import { CommitQueue, type TakenKeys } from '../../../src/store/commit-queue.js'
import { DueNumbers, type OnChange } from '../../../src/store/due-table.js'
import { createStoreMetrics } from '../../../src/store/metrics.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { TurnQueue } from '../../../src/util/turn.js'
import { untilReleased } from '../../contract/store.js'
import { eventually } from '../../support/eventually.js'
import { CountingHold } from '../mqtt/session/recording-outlet.js'

class Numbers extends DueNumbers {
  readonly kept: number[] = []

  tellKept(numbers: Set<number>): void {
    this.kept.push(...numbers)
  }
}

/** A queue in front of a place that is full, or not. */
function setUp() {
  const place = { isFull: false, commits: [] as number[][] }
  const turn = new TurnQueue({ onError: (error) => assert.ifError(error) })
  const metrics = createStoreMetrics(new MetricRegistry())
  const queue = new CommitQueue<Numbers>(
    {
      logFields: {},
      write: async (taken: readonly TakenKeys<Numbers>[]) => {
        const numbers = taken.flatMap(([, keys]) => [...keys])
        await new Promise(setImmediate)
        if (place.isFull) throw new Error('full')
        place.commits.push(numbers)
        return 0
      },
      reasonOf: () => 'full',
    },
    { patience: 0, retryDelay: () => 10 },
    { turn, metrics, log: pino({ level: 'silent' }) },
  )
  const numbers = queue.add('numbers', (onChange: OnChange) => new Numbers(onChange))
  return {
    ...{ place, queue, numbers, metrics },
    change(number: number): CountingHold {
      const hold = new CountingHold()
      numbers.changed(number, hold)
      hold.release()
      return hold
    },
    postpone(number: number): Postponed & { readonly pending: CountingHold } {
      const entry = { number, pending: new CountingHold(), isPostponed: false }
      numbers.postpone(entry)
      entry.pending.release()
      return entry
    },
  }
}

describe('what may wait for its commit', () => {
  it('is left to others when somebody waits for it, and goes with them when nobody does', async () => {
    const { place, queue, numbers, change, postpone } = setUp()
    const postponed = postpone(1)
    numbers.changedLater(2)
    await untilReleased(change(3))
    assert.deepEqual(place.commits, [[2, 3]])
    await untilReleased(postponed.pending)
    assert.deepEqual(place.commits, [[2, 3], [1]])
    await queue.stop()
  })

  it('begins a commit of its own when no other comes', async () => {
    const { place, queue, numbers } = setUp()
    numbers.changedLater(1)
    await new Promise(setImmediate)
    assert.deepEqual(place.commits, [])
    await eventually(() => assert.deepEqual(place.commits, [[1]]))
    await queue.stop()
  })

  it('is refused when its commit fails, and who has settled it is not', async () => {
    const { place, queue, numbers, metrics, postpone, change } = setUp()
    place.isFull = true
    const [owed, settled] = [postpone(1), postpone(2)]
    numbers.settle(settled)
    await untilReleased(owed.pending, settled.pending)
    assert.deepEqual([owed.pending.isRefused, settled.pending.isRefused, queue.isFailing], [true, false, true])
    assert.equal(queue.gauges.pendingPublishes(), 0)
    place.isFull = false
    await eventually(() => assert.equal(queue.isFailing, false))
    assert.deepEqual(place.commits.flat(), [1], 'it stays due')
    await untilReleased(change(3))
    assert.equal(metrics.refused.value, 1)
    await queue.stop()
  })

  it('is let go when it is settled, while its period goes on', async () => {
    setFlagsFromString('--expose-gc')
    const collectGarbage = runInNewContext('gc') as () => void
    const { queue, numbers, postpone } = setUp()
    const owed = postpone(1)
    const settled = Array.from({ length: 100 }, (_, count) => {
      const entry = postpone(2 + count)
      numbers.settle(entry)
      return new WeakRef(entry)
    })
    // What a WeakRef was made of lives until its turn is over.
    await new Promise(setImmediate)
    collectGarbage()
    assert.equal(settled.filter((entry) => entry.deref() !== undefined).length, 0)
    await untilReleased(owed.pending)
    assert.deepEqual(numbers.kept, [1])
    await queue.stop()
  })

  it('counts as pending', async () => {
    const { queue, numbers, postpone } = setUp()
    const [first, second] = [postpone(1), postpone(2)]
    assert.deepEqual([queue.gauges.pendingPublishes(), queue.gauges.pendingEntries()], [2, 2])
    numbers.hurry(first)
    assert.deepEqual([queue.gauges.pendingPublishes(), numbers.postponedLength], [2, 1])
    await untilReleased(first.pending, second.pending)
    assert.deepEqual([queue.gauges.pendingPublishes(), queue.gauges.pendingEntries()], [0, 0])
    assert.deepEqual(numbers.kept, [1, 2])
    await queue.stop()
  })
})

describe('who waits for a commit and cannot be refused', () => {
  it('is not taken for kept by the commit that was on its way when patience ended', async () => {
    const turn = new TurnQueue({ onError: (error) => assert.ifError(error) })
    const metrics = createStoreMetrics(new MetricRegistry())
    const commits: number[][] = []
    const answers: ((isKept: boolean) => void)[] = []
    const queue = new CommitQueue<Numbers>(
      {
        logFields: {},
        write: async (taken) => {
          const numbers = taken.flatMap(([, keys]) => [...keys])
          if (!(await new Promise<boolean>((answer) => answers.push(answer)))) throw new Error('away')
          commits.push(numbers)
          return 0
        },
        reasonOf: () => 'unreachable',
      },
      { patience: 500, retryDelay: () => 1_000 },
      { turn, metrics, log: pino({ level: 'silent' }) },
    )
    const numbers = queue.add('numbers', (onChange: OnChange) => new Numbers(onChange))
    numbers.changed(1, undefined)
    await eventually(() => assert.equal(answers.length, 1))
    answers[0]?.(false)
    await eventually(() => assert.equal(metrics.failures.unreachable.value, 1))
    const patienceIsOver = performance.now() + 500
    queue.found()
    await eventually(() => assert.equal(answers.length, 2))
    let keptWhenReleased: number[] | undefined
    numbers.changed(2, {
      hold() {},
      release() {
        keptWhenReleased ??= commits.flat()
      },
    })
    assert.equal(queue.isFailing, false)
    // The node stands still, so that no timer is early.
    while (performance.now() < patienceIsOver);
    await eventually(() => assert.equal(queue.isFailing, true))
    answers[1]?.(true)
    await eventually(() => assert.equal(answers.length, 3))
    answers[2]?.(true)
    await eventually(() => assert.deepEqual(keptWhenReleased, [1, 2]))
    await queue.stop()
  })
})
