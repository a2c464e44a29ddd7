/** Two nodes with stores and the lane between them, which may be cut, go down, and be killed, at any moment. */

import { BatchReader } from '../../../src/cluster/batch.js'
import { PLAIN_HEAD } from '../../../src/cluster/entry-extension.js'
import { HintQueue } from '../../../src/cluster/hint-queue.js'
import { Hints } from '../../../src/cluster/hints.js'
import { InboundLane } from '../../../src/cluster/inbound-lane.js'
import { KeptLane } from '../../../src/cluster/kept-lane.js'
import { ReceivedPositions } from '../../../src/cluster/received-positions.js'
import { asBuffer, type LinkBodyOf } from '../../../src/cluster/wire.js'
import { Message } from '../../../src/mqtt/wire/message.js'
import { type MemoryDisk, MemoryStore } from '../../support/memory-store.js'
import { TestPending } from './test-cluster.js'

const SIZES = { batchBytes: 128, limitBytes: 4_096 }
const RECEIVER = 'b@h'
const SENDER = 'a@h'

function newStore(disk: MemoryDisk): MemoryStore {
  const store = new MemoryStore(disk)
  store.isManual = true
  return store
}

/** One life of the node that sends. */
class Sender {
  readonly store: MemoryStore
  readonly lane: KeptLane
  readonly hints: HintQueue
  private committing: (() => void) | undefined

  constructor(
    readonly disk: MemoryDisk,
    readonly incarnation: number,
    receiver: number,
  ) {
    this.store = newStore(disk)
    const stored = new Hints(this.store, incarnation)
    void this.store.load()
    this.hints = new HintQueue({ batchBytes: 128, limitBytes: 1_000_000 }, stored.of(RECEIVER), () => incarnation)
    this.lane = new KeptLane(SIZES, undefined, this.hints)
    this.lane.begin(receiver)
  }

  /** A commit begins; the next time it is done. */
  commit(): void {
    const end = this.committing
    this.committing = end === undefined ? this.store.takeSnapshot() : undefined
    end?.()
  }

  offer(text: string, isRemembered: boolean): TestPending {
    const pending = new TestPending()
    pending.hold()
    const frame = Message.from('t', Buffer.from(text), { qos: 2 }).frame(true, 2, false)
    if (this.hints.isShelving || isRemembered) this.hints.offer(frame, PLAIN_HEAD, pending)
    else {
      pending.hold()
      this.lane.offer(frame, pending)
    }
    pending.release()
    return pending
  }
}

/** One life of the node that receives: a session that is kept, with all it gets. */
class Receiver {
  readonly store: MemoryStore
  readonly got: string[] = []
  readonly lane: InboundLane
  private readonly reader = new BatchReader()
  private readonly positions: ReceivedPositions
  /** Whether the session is still on its way here, and cannot be kept. */
  isArriving = false
  private readonly deferred: { release(): void; resume?(): void }[] = []
  private readonly table: { changed(key: string, keeping: undefined): void }
  private waiting: { release(): void }[] = []
  private committing: (() => void) | undefined

  constructor(
    readonly disk: MemoryDisk,
    readonly incarnation: number,
    sender: number,
  ) {
    this.store = newStore(disk)
    this.table = this.store.table('session', {
      read: (key) => Buffer.from(this.got[Number(key)] ?? ''),
      restore: (key, value) => {
        this.got[Number(key)] = value.toString()
      },
    })
    this.positions = new ReceivedPositions(this.store)
    void this.store.load()
    this.lane = this.enter(sender)
  }

  enter(sender: number): InboundLane {
    const of = this.positions.of(SENDER)
    const lane: InboundLane = of.enter(
      sender,
      (position) =>
        new InboundLane(
          {
            deliver: (entries, waited, pending) => this.deliver(entries, waited, pending),
            onAckOwed: () => {},
            onKeeping: () => this.positions.changed(SENDER),
            findEarlier: (origin) => of.findEarlier(origin),
            onHintLost: (hint) => of.lose(hint),
          },
          position,
        ),
    )
    return lane
  }

  openHints(since: number): void {
    this.positions.of(SENDER).openHints(since)
  }

  /** A commit begins, with all that came; the next time it is done. */
  commit(): void {
    if (this.committing !== undefined) {
      this.committing()
      this.committing = undefined
      return
    }
    const { waiting } = this
    this.waiting = []
    const end = this.store.takeSnapshot()
    this.committing = () => {
      end()
      for (const pending of waiting) pending.release()
    }
  }

  /** The session is here, with all that came meanwhile. */
  arrive(): void {
    this.isArriving = false
    for (const pending of this.deferred.splice(0)) {
      pending.resume?.()
      this.waiting.push(pending)
    }
    for (const key of this.got.keys()) this.table.changed(String(key), undefined)
    this.positions.changed(SENDER)
  }

  private deliver(
    entries: Buffer,
    waited: number,
    pending: { hold(): void; release(): void; defer?(): void; resume?(): void },
  ): void {
    this.reader.read(entries, waited, (message) => {
      this.got.push(message.payload.toString())
      pending.hold()
      if (this.isArriving) {
        pending.defer?.()
        this.deferred.push(pending)
      } else {
        this.table.changed(String(this.got.length - 1), undefined)
        this.waiting.push(pending)
      }
    })
  }
}

export class HandoffModel {
  private lives = 1
  private sender = new Sender(new Map(), 1, 1)
  private receiver = new Receiver(new Map(), 1, 1)
  private inbound = this.receiver.lane
  private wire: LinkBodyOf<'batch'>[] = []
  private isLinked = false
  private isRemembered = true
  readonly offered: { text: string; pending: TestPending }[] = []

  constructor() {
    this.reconnect()
  }

  /** What the session has. */
  get got(): readonly string[] {
    return this.receiver.got
  }

  /** Those that were acknowledged to their publishers. */
  get acknowledged(): string[] {
    return this.offered.filter(({ pending }) => pending.isSettled).map(({ text }) => text)
  }

  offer(): void {
    const number = this.offered.length
    const text = String(number).padEnd(number % 7 === 6 ? 300 : 20, '.')
    this.offered.push({ text, pending: this.sender.offer(text, this.isRemembered) })
  }

  /** Publishers without a session that is kept: their messages are in memory. */
  forget(): void {
    this.isRemembered = false
  }

  send(): void {
    const batch = this.isLinked ? this.sender.lane.next(true) : undefined
    if (batch !== undefined) this.wire.push(batch)
  }

  hear(): void {
    const batch = this.wire.shift()
    if (batch === undefined) return
    const { sequence, entries, continued, waited, origin } = batch.value
    this.inbound.receive(sequence, asBuffer(entries), continued, waited, origin)
  }

  acknowledge(): void {
    const ack = this.isLinked ? this.inbound.takeAck() : undefined
    if (ack === undefined) return
    this.sender.lane.acknowledge(ack.sequence)
    this.sender.lane.acknowledgeSelected(ack.selected)
  }

  commitSender(): void {
    this.sender.commit()
  }

  commitReceiver(): void {
    this.receiver.commit()
  }

  beginArrival(): void {
    this.receiver.isArriving = true
  }

  arrive(): void {
    this.receiver.arrive()
  }

  cut(): void {
    this.isLinked = false
    this.wire = []
  }

  /** The receiver counts as down. */
  down(): void {
    this.cut()
    this.sender.lane.shelve()
  }

  reconnect(): void {
    if (this.isLinked) return
    this.isLinked = true
    const { lane, hints } = this.sender
    const told = { received: this.inbound.receivedSequence, kept: this.inbound.keptSequence }
    this.receiver.openHints(hints.stored.since)
    this.inbound.open(lane.firstSequence, lane.shelvedSequence)
    lane.resume(told.received, told.kept)
  }

  killReceiver(): void {
    this.cut()
    this.lives += 1
    this.receiver = new Receiver(copyOf(this.receiver.disk), this.lives, this.sender.incarnation)
    this.inbound = this.receiver.lane
    this.sender.lane.begin(this.lives)
  }

  killSender(): void {
    this.cut()
    this.lives += 1
    this.sender = new Sender(copyOf(this.sender.disk), this.lives, this.receiver.incarnation)
    this.inbound = this.receiver.enter(this.lives)
  }

  settle(): void {
    this.arrive()
    this.reconnect()
    for (let step = 0; step < 600; step += 1) {
      this.send()
      this.hear()
      this.commitSender()
      this.commitReceiver()
      this.acknowledge()
    }
  }

  /** What the receiver is still owed. */
  get owed(): number {
    return this.sender.hints.stored.length + this.sender.lane.length
  }
}

function copyOf(disk: MemoryDisk): MemoryDisk {
  return new Map([...disk].map(([name, entries]) => [name, new Map(entries)]))
}
