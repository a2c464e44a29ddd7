import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { pino } from 'pino'
import { DelayedMessages, type DelayedModules } from '../../../src/broker/delayed.js'
import { createBrokerMetrics } from '../../../src/broker/metrics.js'
import type { Keeping, StoreTable, TableContents } from '../../../src/broker/store-port.js'
import { Message } from '../../../src/mqtt/wire/message.js'
import type { QoS } from '../../../src/mqtt/wire/packets.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { DrivenClock } from '../mqtt/driven-clock.js'
import { CountingHold } from '../mqtt/session/recording-outlet.js'

/** What a store has on its disk, written when the test says that the turn ends. */
class Disk {
  readonly entries = new Map<string, Buffer>()
  isFailing = false
  private contents: TableContents | undefined
  private due: { key: string; keeping: Keeping | undefined }[] = []

  table(_name: string, contents: TableContents): StoreTable {
    this.contents = contents
    for (const [key, value] of this.entries) contents.restore(key, value)
    return {
      changed: (key, keeping) => {
        keeping?.hold()
        this.due.push({ key, keeping })
      },
    }
  }

  commit(): void {
    for (const { key, keeping } of this.due.splice(0)) {
      if (this.isFailing) {
        keeping?.refuse()
      } else {
        const value = this.contents?.read(key)
        if (value === undefined) this.entries.delete(key)
        else this.entries.set(key, Buffer.from(value))
      }
      keeping?.release()
    }
  }
}

class Bed {
  readonly published: string[] = []
  /** Of QoS 1 and 2, for the test to release. */
  readonly settled: Keeping[] = []
  private readonly clock: DrivenClock
  private date = 1_800_000_000_000

  constructor(private readonly context: TestContext) {
    this.clock = new DrivenClock(context)
    context.mock.method(Date, 'now', () => this.date)
  }

  advance(seconds: number): void {
    for (let step = 0; step < seconds * 4; step++) {
      this.date += 250
      this.clock.advance(250)
    }
  }

  /** Somebody sets the clock. */
  set(seconds: number): void {
    this.date += seconds * 1000
  }

  start(disk?: Disk, { maximum = 100, maximumBytes = 10_000, ...modules }: Partial<BedOptions> = {}): DelayedMessages {
    const delayed = new DelayedMessages(
      { maximum, maximumBytes },
      {
        timers: this.clock.timers,
        published: createBrokerMetrics(new MetricRegistry()).delayedPublished,
        publish: (message, settled) => {
          this.published.push(`${message.topic} ${message.payload}`)
          settled?.hold()
          if (settled !== undefined) this.settled.push(settled)
        },
        isReady: () => true,
        log: pino({ enabled: false }),
        ...modules,
      },
    )
    if (disk !== undefined) delayed.keepIn(disk)
    delayed.start()
    this.context.after(() => delayed.stop())
    return delayed
  }
}

type BedOptions = DelayedModules & { maximum: number; maximumBytes: number }

function after(delay: number, topic: string, qos: QoS = 0): Message {
  const message = Message.from(topic, Buffer.from(String(delay)), { qos, publisherId: 'söme one' })
  message.delay = delay
  return message
}

describe('messages with a delay', () => {
  it('are published when their time has come, the earlier first, and those of one time as they came', (t) => {
    const bed = new Bed(t)
    const delayed = bed.start()
    for (const [delay, topic] of [
      [3, 'a'],
      [1, 'b'],
      [3, 'c'],
      [40, 'd'],
    ] as const) {
      assert.equal(delayed.take(after(delay, topic), undefined), 0)
    }
    bed.advance(0.75)
    assert.deepEqual(bed.published, [])
    bed.advance(1)
    assert.deepEqual(bed.published, ['b 1'])
    bed.advance(2)
    assert.deepEqual(bed.published, ['b 1', 'a 3', 'c 3'])
    assert.equal(delayed.size, 1)
    bed.set(60)
    bed.advance(31)
    assert.deepEqual(bed.published.at(-1), 'd 40', 'a clock that was set is noticed')
    assert.deepEqual([delayed.size, delayed.bytes], [0, 0])
  })

  it('are refused beyond the limits, and as what they are not', (t) => {
    const bed = new Bed(t)
    const delayed = bed.start(undefined, { maximum: 2, maximumBytes: 20 })
    assert.equal(delayed.take(after(-1, '$delayed/x/a'), undefined), 0x90)
    assert.equal(delayed.take(after(1, 'long enough to be too much'), undefined), 0x97)
    assert.equal(delayed.take(after(1, 'a'), undefined), 0)
    assert.equal(delayed.take(after(1, 'b'), undefined), 0)
    assert.equal(delayed.take(after(1, 'c'), undefined), 0x97)
    bed.advance(2)
    assert.equal(delayed.take(after(1, 'c'), undefined), 0, 'there is room again')
    assert.equal(bed.start(undefined, { maximum: 0 }).take(after(1, 'a'), undefined), 0x90)
  })

  it('are acknowledged when the store has them, and outlive the process with all they are', (t) => {
    const bed = new Bed(t)
    const disk = new Disk()
    const first = bed.start(disk)
    const hold = new CountingHold()
    first.take(after(5, 'a', 1), hold)
    first.take(after(4, 'b', 2), undefined)
    first.take(after(3, 'c', 0), undefined)
    hold.release()
    assert.equal(hold.isReleased, false)
    disk.commit()
    assert.equal(hold.isReleased, true)
    const listed = first.list()
    first.stop()
    let isReady = false
    const second = bed.start(disk, { isReady: () => isReady })
    assert.deepEqual(second.list(), listed)
    assert.deepEqual(
      listed.map(({ topic, qos, publisher, bytes }) => [topic, qos, publisher, bytes]),
      [
        ['c', 0, 'söme one', 1],
        ['b', 2, 'söme one', 1],
        ['a', 1, 'söme one', 1],
      ],
    )
    bed.advance(4.5)
    assert.deepEqual(bed.published, [], 'nobody is there yet')
    isReady = true
    bed.advance(0.25)
    assert.deepEqual(bed.published, ['c 3', 'b 4'])
    second.take(after(1, 'd', 1), undefined)
    bed.advance(2)
    assert.deepEqual(bed.published, ['c 3', 'b 4', 'a 5', 'd 1'])
    assert.equal(second.size, 3, 'those of QoS 1 and 2 stay until everybody has them')
    for (const settled of bed.settled) settled.release()
    assert.equal(second.size, 0)
    disk.commit()
    assert.equal(disk.entries.size, 0)
  })

  it('are published once more by the next life, when the node died before everyone had them', (t) => {
    const bed = new Bed(t)
    const disk = new Disk()
    const first = bed.start(disk)
    first.take(after(1, 'a', 1), undefined)
    disk.commit()
    bed.advance(2)
    first.stop()
    disk.commit()
    bed.start(disk)
    bed.advance(1)
    assert.deepEqual(bed.published, ['a 1', 'a 1'])
  })

  it('are refused and never published when the store cannot keep them', (t) => {
    const bed = new Bed(t)
    const disk = new Disk()
    const delayed = bed.start(disk)
    disk.isFailing = true
    assert.equal(delayed.take(after(1, 'a', 1), new CountingHold()), 0x83)
    disk.isFailing = false
    const hold = new CountingHold()
    assert.equal(delayed.take(after(1, 'a', 1), hold), 0)
    disk.isFailing = true
    disk.commit()
    assert.equal(hold.isRefused, true)
    bed.advance(2)
    assert.deepEqual(bed.published, [])
    assert.equal(delayed.size, 0)
  })

  it('are not published before the store has said whether it can keep them', (t) => {
    const bed = new Bed(t)
    const disk = new Disk()
    const delayed = bed.start(disk)
    const [kept, refused] = [new CountingHold(), new CountingHold()]
    delayed.take(after(1, 'kept', 1), kept)
    delayed.take(after(1, 'nobody waits', 0), undefined)
    bed.advance(3)
    assert.deepEqual(bed.published, ['nobody waits 1'])
    disk.commit()
    bed.advance(0.25)
    assert.deepEqual(bed.published, ['nobody waits 1', 'kept 1'])
    delayed.take(after(1, 'refused', 2), refused)
    bed.advance(3)
    disk.isFailing = true
    disk.commit()
    bed.advance(3)
    assert.deepEqual([refused.isRefused, bed.published.length], [true, 2])
  })

  it('are taken over from another node once each, also when one of them cannot be read', (t) => {
    const bed = new Bed(t)
    const disk = new Disk()
    const other = bed.start(disk)
    for (const topic of ['a', 'b']) other.take(after(5, topic, 1), undefined)
    disk.commit()
    const [first, second] = [...disk.entries.values()].map((value) => Buffer.from(value))
    other.stop()
    const heirs = new Disk()
    const heir = bed.start(heirs)
    let isDone = false
    heir.inherit([first as Buffer, Buffer.from('?'), second as Buffer], () => {
      isDone = true
    })
    heirs.commit()
    assert.deepEqual([isDone, heir.list().map(({ topic }) => topic), heirs.entries.size], [true, ['a', 'b'], 2])
    bed.advance(6)
    assert.deepEqual(bed.published, ['a 5', 'b 5'])
  })

  it('can be cancelled', (t) => {
    const bed = new Bed(t)
    const delayed = bed.start()
    delayed.take(after(1, 'a'), undefined)
    delayed.take(after(1, 'b'), undefined)
    assert.equal(delayed.cancel(1), true)
    assert.equal(delayed.cancel(1), false)
    assert.equal(delayed.cancel(Number.NaN), false)
    bed.advance(2)
    assert.deepEqual(bed.published, ['b 1'])
  })
})
