import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { HybridClock } from '../../../src/cluster/hybrid-clock.js'
import { ReplicatedMap, TOMBSTONE_RETENTION_MS } from '../../../src/cluster/replicated-map.js'
import { untilReleased } from '../../contract/store.js'
import { CountingHold } from '../mqtt/session/recording-outlet.js'
import { directoryFor, type EmbeddedLife, openEmbedded } from '../store/store-bed.js'

/** A map of a node in one of its lives, kept in a real store. */
class KeptMap {
  readonly seen = new Map<string, string>()
  readonly map: ReplicatedMap

  private constructor(
    private readonly life: EmbeddedLife,
    public now: number,
  ) {
    this.map = new ReplicatedMap('retained', {
      node: 'n1@test',
      clock: new HybridClock(() => this.now),
      deadlineOf: (value) => Number(/until (\d+)/.exec(value.toString())?.[1] ?? 0),
      onChange: (key, value) => {
        if (value === undefined) this.seen.delete(key)
        else this.seen.set(key, value.toString())
      },
      onWritten: () => {},
      store: life.store,
    })
  }

  static async open(directory: string, now: number): Promise<KeptMap> {
    const life = await openEmbedded(directory)
    const kept = new KeptMap(life, now)
    await life.load()
    return kept
  }

  async set(key: string, value: string | undefined): Promise<void> {
    const hold = new CountingHold()
    this.map.set(key, value === undefined ? undefined : Buffer.from(value), hold)
    hold.release()
    await untilReleased(hold)
    assert.equal(hold.isRefused, false)
  }

  async close(): Promise<void> {
    await this.life.stop()
  }
}

const START = 1_000_000_000

async function inLives(context: TestContext, ...lives: ((map: KeptMap) => Promise<void> | void)[]): Promise<void> {
  const directory = directoryFor(context)
  let now = START
  for (const live of lives) {
    const map = await KeptMap.open(directory, now)
    await live(map)
    now = map.now
    await map.close()
  }
}

describe('a replicated map in a store', () => {
  it('is in the next life what it was: values, removed keys, digests', async (t) => {
    let buckets: number[] = []
    await inLives(
      t,
      async (first) => {
        await first.set('a', 'one')
        await first.set('b', 'two')
        await first.set('b', undefined)
        await first.set('a', 'three')
        buckets = first.map.buckets()
      },
      (second) => {
        assert.deepEqual([...second.seen], [['a', 'three']])
        assert.deepEqual([second.map.size, second.map.tombstones], [1, 1])
        assert.deepEqual(second.map.buckets(), buckets)
      },
    )
  })

  it('keeps what peers wrote, and does not take an older write for news after a restart', async (t) => {
    const entry = { key: 'a', value: Buffer.from('theirs'), time: START, counter: 7, node: 'n2@test' }
    await inLives(
      t,
      async (first) => {
        assert.equal(first.map.merge(entry), true)
        // A commit behind it.
        await first.set('b', 'x')
      },
      (second) => {
        assert.equal(second.seen.get('a'), 'theirs')
        assert.deepEqual(second.map.entry('a'), entry)
        assert.equal(second.map.merge({ ...entry, counter: 6 }), false)
      },
    )
  })

  it('writes after everything it has written before, also when the clock was set back', async (t) => {
    await inLives(
      t,
      async (first) => {
        await first.set('a', 'before')
        first.now -= 3_600_000
      },
      async (second) => {
        const before = second.map.entry('a')
        await second.set('a', 'after')
        const after = second.map.entry('a')
        assert.ok(before !== undefined && after !== undefined)
        assert.ok(after.time > before.time || (after.time === before.time && after.counter > before.counter))
      },
    )
  })

  it('forgets values that ended and tombstones that grew old while the node was down', async (t) => {
    await inLives(
      t,
      async (first) => {
        await first.set('short', `until ${START + 1_000}`)
        await first.set('gone', 'x')
        await first.set('gone', undefined)
        first.now += 2_000
      },
      async (second) => {
        assert.deepEqual([...second.seen], [])
        assert.equal(second.map.tombstones, 2)
        second.now += TOMBSTONE_RETENTION_MS
        second.map.purge(second.now)
        assert.equal(second.map.tombstones, 0)
      },
      (third) => assert.deepEqual([third.map.size, third.map.tombstones], [0, 0]),
    )
  })
})
