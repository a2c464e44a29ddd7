import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { BatchReader } from '../../../src/cluster/batch.js'
import { EntryHeads, groupsPerEntry } from '../../../src/cluster/entry-extension.js'
import { InboundLane } from '../../../src/cluster/inbound-lane.js'
import { BURST_FACTOR, BURST_MS, KeptLane } from '../../../src/cluster/kept-lane.js'
import { LooseLane } from '../../../src/cluster/loose-lane.js'
import { asBuffer, type LinkBodyOf } from '../../../src/cluster/wire.js'
import { Message } from '../../../src/mqtt/wire/message.js'
import { GroupTargets } from '../../../src/router/group-targets.js'
import { TestPending, unsettled } from './test-cluster.js'

const SIZES = { batchBytes: 128, limitBytes: 16_384 }

function frameOf(payload: string, qos: 0 | 1 | 2) {
  return Message.from('t', Buffer.from(payload), { qos }).frame(true, qos, false)
}

/** A kept lane, the lane at the other side, and the wire between them. */
class Pair {
  readonly kept = new KeptLane(SIZES)
  readonly delivered: string[] = []
  readonly pendings: TestPending[] = []
  private readonly reader = new BatchReader()
  readonly inbound: InboundLane
  /** What the sessions of the receiving node still have to keep. */
  private readonly unkept: { release(): void }[] = []
  private wire: LinkBodyOf<'batch'>[] = []
  private offered = 0

  constructor() {
    this.inbound = new InboundLane({
      deliver: (entries, waitedMs, pending) =>
        this.reader.read(entries, waitedMs, (message) => {
          this.delivered.push(message.payload.toString())
          pending.hold()
          this.unkept.push(pending)
        }),
      onAckOwed: () => {},
    })
  }

  get sent(): string[] {
    return Array.from({ length: this.offered }, (_, number) => payloadOf(number))
  }

  offer(): void {
    const pending = new TestPending()
    pending.hold()
    const isTaken = this.kept.offer(frameOf(payloadOf(this.offered), 1), pending)
    assert.equal(isTaken, true)
    this.pendings.push(pending)
    this.offered += 1
  }

  send(): void {
    const batch = this.kept.next(true)
    if (batch !== undefined) this.wire.push(batch)
  }

  hear(): void {
    const batch = this.wire.shift()
    if (batch === undefined) return
    const { sequence, entries, continued, waited } = batch.value
    this.inbound.receive(sequence, asBuffer(entries), continued, waited)
  }

  /** A session has kept a message; not in the order in which they came. */
  keep(which: number): void {
    const [pending] = this.unkept.splice(which % Math.max(1, this.unkept.length), 1)
    pending?.release()
  }

  acknowledge(): void {
    const ack = this.inbound.takeAck()
    if (ack === undefined) return
    this.kept.acknowledge(ack.sequence)
    this.kept.acknowledgeSelected(ack.selected)
  }

  /** The link is cut: what is under way is lost, and the next link says where each side is. */
  reconnect(): void {
    this.wire = []
    assert.equal(this.inbound.open(this.kept.firstSequence), 0)
    this.kept.resume(this.inbound.receivedSequence, this.inbound.keptSequence)
  }

  settle(): void {
    for (let step = 0; step < 1_000; step += 1) {
      this.send()
      this.hear()
      this.keep(step)
      this.acknowledge()
    }
  }
}

/** Every tenth is larger than a batch. */
function payloadOf(number: number): string {
  return String(number).padEnd(number % 10 === 9 ? 300 : 20, '.')
}

describe('numbered batches', () => {
  it('arrive once and in order, however often the link is cut, and answer every publisher once', () => {
    const step = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.constantFrom('offer' as const, 'send' as const, 'hear' as const, 'acknowledge' as const),
      },
      { weight: 2, arbitrary: fc.nat(5) },
      { weight: 1, arbitrary: fc.constant('reconnect' as const) },
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150, size: 'max' }), (steps) => {
        const pair = new Pair()
        for (const one of steps) {
          if (typeof one === 'number') pair.keep(one)
          else pair[one]()
        }
        pair.settle()
        assert.deepEqual(pair.delivered, pair.sent)
        assert.equal(unsettled(pair.pendings), 0)
        assert.equal(pair.kept.bytes, 0)
        assert.equal(pair.kept.length, 0)
      }),
      { numRuns: 300 },
    )
  })

  it('say no when the lane is full, and take messages again when some are acknowledged', () => {
    const lane = new KeptLane({ batchBytes: 128, limitBytes: 256 })
    let taken = 0
    while (lane.offer(frameOf('x'.repeat(50), 1), undefined)) taken += 1
    assert.equal(taken, 4)
    assert.equal(lane.bytes <= 256, true)
    lane.next(true)
    lane.acknowledge(1)
    assert.equal(lane.offer(frameOf('x'.repeat(50), 1), undefined), true)
  })

  it('are acknowledged one by one behind one that a session cannot keep, also after a cut', () => {
    const pair = new Pair()
    for (let number = 0; number < 4; number += 1) {
      pair.offer()
      pair.send()
      pair.hear()
    }
    // The oldest stays unkept; the two behind it are kept.
    pair.keep(1)
    pair.keep(1)
    pair.acknowledge()
    assert.deepEqual(
      pair.pendings.map(({ isSettled }) => isSettled),
      [false, true, true, false],
    )
    pair.keep(1)
    pair.reconnect()
    pair.acknowledge()
    assert.deepEqual(
      pair.pendings.map(({ isSettled }) => isSettled),
      [false, true, true, true],
    )
    pair.settle()
    assert.equal(unsettled(pair.pendings), 0)
    assert.equal(pair.kept.bytes, 0)
    assert.deepEqual(pair.delivered, pair.sent)
  })

  it('have room for a burst whose publishers wait, but not for one that lasts', () => {
    let now = 0
    const lane = new KeptLane({ batchBytes: 128, limitBytes: 256 }, () => now)
    const offer = () => {
      const pending = new TestPending()
      pending.hold()
      return lane.offer(frameOf('x'.repeat(50), 1), pending)
    }
    let taken = 0
    while (offer()) taken += 1
    assert.equal(taken, Math.floor((256 * BURST_FACTOR) / 59))
    lane.next(true)
    lane.acknowledge(1)
    assert.equal(offer(), true)
    lane.next(true)
    lane.acknowledge(2)
    now += BURST_MS
    assert.equal(offer(), false, 'over its limit for too long')
    while (lane.bytes > 256) {
      const batch = lane.next(true)
      lane.acknowledge(batch?.value.sequence ?? 0)
    }
    assert.equal(offer(), true, 'below its limit the time begins anew')
  })

  it('are given up with everyone answered, and go on with a gap that the peer sees', () => {
    const lane = new KeptLane(SIZES)
    const pending = new TestPending()
    pending.hold()
    lane.offer(frameOf('1', 1), pending)
    lane.next(true)
    lane.offer(frameOf('2', 1), undefined)
    assert.equal(lane.settle(), 2)
    assert.equal(pending.isSettled, true)
    assert.equal(lane.bytes, 0)
    assert.equal(lane.firstSequence, 2)
    const inbound = new InboundLane({ deliver: () => {}, onAckOwed: () => {} })
    assert.equal(inbound.open(2), 1)
    lane.offer(frameOf('3', 1), undefined)
    const batch = lane.next(true)
    assert.equal(batch?.value.sequence, 2)
    inbound.receive(2, Buffer.alloc(0), false, 0)
    assert.deepEqual(inbound.takeAck(), { sequence: 2, selected: [] })
  })

  it('are acknowledged again on a new link, since what was kept while it opened was said to nobody', () => {
    const pair = new Pair()
    pair.offer()
    pair.send()
    pair.hear()
    // What this side says as the link opens is written before the session has kept the message …
    const told = { received: 1, kept: 0 }
    pair.keep(0)
    pair.acknowledge = () => assert.fail('no link')
    // … and the link is up after it.
    assert.equal(pair.inbound.open(pair.kept.firstSequence), 0)
    pair.kept.resume(told.received, told.kept)
    const ack = pair.inbound.takeAck()
    assert.deepEqual(ack, { sequence: 1, selected: [] })
    pair.kept.acknowledge(ack?.sequence ?? 0)
    assert.equal(unsettled(pair.pendings), 0)
  })

  it('go on where the peer is when this side has forgotten it and the peer has not', () => {
    const before = new Pair()
    for (let number = 0; number < 5; number += 1) {
      before.offer()
      before.settle()
    }
    assert.ok(before.inbound.receivedSequence >= 5)
    const anew = new KeptLane(SIZES)
    const pending = new TestPending()
    pending.hold()
    anew.offer(frameOf('waits', 1), pending)
    anew.next(true)
    before.inbound.open(anew.firstSequence)
    anew.resume(before.inbound.receivedSequence, before.inbound.keptSequence)
    assert.equal(unsettled([pending]), 1, 'nobody has this message yet')
    const batch = anew.next(true)
    assert.equal(batch?.value.sequence, before.inbound.receivedSequence + 1)
    before.inbound.receive(batch?.value.sequence ?? 0, asBuffer(batch?.value.entries ?? Buffer.alloc(0)), false, 0)
    assert.equal(before.delivered.at(-1), 'waits')
  })

  it('tell how long their first message waited, also when it was alone in its batch', (t) => {
    let now = 1_000
    t.mock.method(performance, 'now', () => now)
    const lane = new KeptLane(SIZES)
    lane.offer(frameOf('a', 1), undefined)
    now += 30_000
    lane.offer(frameOf('b', 1), undefined)
    assert.equal(lane.next(true)?.value.waited, 30_000)
  })

  it('that come with one missing before them are an error, and end the link', () => {
    const inbound = new InboundLane({ deliver: () => {}, onAckOwed: () => {} })
    assert.throws(() => inbound.receive(2, Buffer.alloc(0), false, 0), { code: 'BATCH_GAP' })
  })
})

describe('QoS 0 batches', () => {
  it('drop the newest message when the lane is full, and know how many they hold', () => {
    const lane = new LooseLane({ batchBytes: 128, limitBytes: 256 })
    const taken = Array.from({ length: 10 }, (_, number) => lane.offer(frameOf(`${number}`.repeat(50), 0)))
    assert.deepEqual(taken.indexOf(false), 4)
    assert.equal(lane.length, 4)
    const reader = new BatchReader()
    const payloads: string[] = []
    for (let batch = lane.next(true); batch !== undefined; batch = lane.next(true)) {
      reader.read(asBuffer(batch.value.entries), 0, ({ payload }) => payloads.push(payload.toString().slice(0, 1)))
    }
    assert.deepEqual(payloads, ['0', '1', '2', '3'])
    assert.equal(lane.bytes, 0)
    assert.equal(lane.length, 0)
  })

  it('drop the rest of a message that was cut by the end of a link, and nothing behind it', () => {
    const lane = new LooseLane({ batchBytes: 128, limitBytes: 4_096 })
    lane.offer(frameOf('x'.repeat(500), 0))
    lane.offer(frameOf('behind', 0))
    assert.equal(lane.next(true)?.value.continued, true)
    assert.equal(lane.resume(), 1)
    const reader = new BatchReader()
    const payloads: string[] = []
    const batch = lane.next(true)
    reader.read(asBuffer(batch?.value.entries ?? Buffer.alloc(0)), 0, ({ payload }) => payloads.push(String(payload)))
    assert.deepEqual(payloads, ['behind'])
    assert.deepEqual([lane.bytes, lane.length, lane.resume()], [0, 0, 0])
  })
})

describe('a batch', () => {
  const reader = new BatchReader()

  it('brings topic, payload, QoS, retain and properties as they were', () => {
    const lane = new LooseLane({ batchBytes: 4_096, limitBytes: 4_096 })
    const properties = {
      contentType: 'text/plain',
      responseTopic: 'answer',
      correlationData: Buffer.from([1, 2]),
      userProperties: [
        ['a', '1'],
        ['a', '2'],
      ] as [string, string][],
      messageExpiryInterval: 100,
    }
    const sent = ([0, 1, 2] as const).map((qos) =>
      Message.from(`topic/ü/${qos}`, Buffer.from(`payload ${qos}`), { qos, retain: qos === 1, properties }),
    )
    for (const message of sent) lane.offer(message.frame(true, message.qos, message.retain))
    const batch = lane.next(true)
    const received: Message[] = []
    reader.read(asBuffer(batch?.value.entries ?? Buffer.alloc(0)), 30_000, (message) => received.push(message))
    const describeMessage = ({ topic, qos, retain, payload, properties: encoded }: Message) => ({
      topic,
      qos,
      retain,
      payload: payload.toString(),
      properties: encoded?.toString('hex'),
    })
    assert.deepEqual(received.map(describeMessage), sent.map(describeMessage))
    for (const { expiresAt } of received) {
      const left = expiresAt - Date.now()
      assert.equal(left > 69_000 && left <= 70_000, true, 'the time on the way counts')
    }
  })

  it('that is cut or is no PUBLISH is refused by name, and never read beyond its end', () => {
    const frame = frameOf('payload', 1)
    const entry = Buffer.concat([Buffer.from([0]), frame.buffer.subarray(frame.start, frame.end)])
    for (let length = 1; length < entry.length; length += 1) {
      assert.throws(() => reader.read(entry.subarray(0, length), 0, () => {}), { code: 'BATCH_MALFORMED' })
    }
    assert.throws(() => reader.read(Buffer.from([0, 0xc0, 0]), 0, () => {}), { code: 'BATCH_MALFORMED' })
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          reader.read(Buffer.from(bytes), 0, () => {})
        } catch (error) {
          assert.equal(error instanceof Error, true)
        }
      }),
    )
  })

  it('may have extensions that this version does not know', () => {
    const { buffer, start, end } = frameOf('payload', 0)
    const entry = Buffer.concat([Buffer.from([0x80, 0, 3, 1, 2, 3]), buffer.subarray(start, end)])
    const payloads: string[] = []
    reader.read(Buffer.concat([entry, entry]), 0, ({ payload }) => payloads.push(payload.toString()))
    assert.deepEqual(payloads, ['payload', 'payload'])
  })
})

describe('an entry with groups', () => {
  /** What a batch says: payload, publisher, and for which groups. */
  function readAll(
    entries: Buffer,
  ): [string, string, { ids: number[]; hashes: number[]; only: boolean; again: boolean } | undefined][] {
    const found: ReturnType<typeof readAll> = []
    new BatchReader().read(entries, 0, (message, targets) => {
      const named = targets && {
        ids: targets.ids.slice(0, targets.count),
        hashes: targets.hashes.slice(0, targets.count),
        only: targets.isOnly,
        again: targets.isAgain,
      }
      found.push([message.payload.toString(), message.publisherId, named])
    })
    return found
  }

  it('tells their filters, too, when it has to outlive the numbers', () => {
    const targets = new GroupTargets()
    targets.add('n2@h', 7, 1, '$share/a/t')
    targets.add('n3@h', 8, 1, '$share/b/t')
    targets.add('n2@h', 9, 0, '$queue/ü')
    const [groups = []] = groupsPerEntry(targets, 'n2@h')
    const lane = new LooseLane({ batchBytes: 4_096, limitBytes: 16_384 })
    lane.offer(frameOf('a', 0), new EntryHeads().headFor('somebody', targets, groups, true, true))
    lane.offer(frameOf('b', 0), new EntryHeads().headFor('', targets, groups, true))
    const found: [string, string, string[]][] = []
    const entries = asBuffer(lane.next(true)?.value.entries ?? Buffer.alloc(0))
    new BatchReader().read(entries, 0, ({ payload, publisherId }, named) =>
      found.push([String(payload), publisherId, named?.keys.slice(0, named.count) ?? []]),
    )
    assert.deepEqual(found, [
      ['a', 'somebody', ['$share/a/t', '$queue/ü']],
      ['b', '', ['', '']],
    ])
  })

  it('tells its receiver which of its groups the message is for, and who published it', () => {
    const targets = new GroupTargets()
    targets.add('n2@h', 7, 0xffff_ffff)
    targets.add('n3@h', 8, 1)
    targets.add('n2@h', 0xffff_fffe, 0)
    const heads = new EntryHeads()
    const headsFor = (node: string, publisherId: string, isOnly: boolean): Buffer[] =>
      groupsPerEntry(targets, node).map((groups) => heads.headFor(publisherId, targets, groups, isOnly))
    const lane = new LooseLane({ batchBytes: 4_096, limitBytes: 16_384 })
    for (const head of headsFor('n2@h', 'somebody', false)) lane.offer(frameOf('a', 0), head)
    lane.offer(frameOf('b', 0))
    targets.isAgain = true
    for (const head of headsFor('n3@h', '', true)) lane.offer(frameOf('c', 0), head)
    const batch = lane.next(true)
    assert.deepEqual(readAll(asBuffer(batch?.value.entries ?? new Uint8Array())), [
      ['a', 'somebody', { ids: [7, 0xffff_fffe], hashes: [0xffff_ffff, 0], only: false, again: false }],
      ['b', '', undefined],
      ['c', '', { ids: [8], hashes: [1], only: true, again: true }],
    ])
    assert.equal(lane.bytes, 0, 'every byte was counted')
  })

  it('goes on in further entries when there are more groups than one can name', () => {
    const targets = new GroupTargets()
    for (let id = 0; id < 10_000; id += 1) targets.add('n2@h', id, 0)
    const heads = new EntryHeads()
    const lane = new KeptLane({ batchBytes: 1_000_000, limitBytes: 1_000_000 })
    for (const groups of groupsPerEntry(targets, 'n2@h')) {
      lane.offer(frameOf('x', 1), undefined, heads.headFor('p'.repeat(40_000), targets, groups, false))
    }
    const batch = lane.next(true)
    const found = readAll(asBuffer(batch?.value.entries ?? new Uint8Array()))
    assert.deepEqual(
      found.map(([, publisherId]) => publisherId.length),
      [0, 0, 40_000],
      'where there is no room for both, the groups matter',
    )
    assert.deepEqual(
      found.flatMap(([, , named]) => named?.ids ?? []),
      targets.ids,
    )
  })
})
