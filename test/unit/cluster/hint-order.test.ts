import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { BatchReader } from '../../../src/cluster/batch.js'
import { markOf, PLAIN_HEAD } from '../../../src/cluster/entry-extension.js'
import { HintQueue } from '../../../src/cluster/hint-queue.js'
import { Hints } from '../../../src/cluster/hints.js'
import { KeptLane } from '../../../src/cluster/kept-lane.js'
import { asBuffer } from '../../../src/cluster/wire.js'
import { Message } from '../../../src/mqtt/wire/message.js'
import { MemoryStore } from '../../support/memory-store.js'

/** A lane with a store, and what has left it. */
class Outgoing {
  readonly offered: string[] = []
  readonly sent: string[] = []
  private readonly store = new MemoryStore(new Map())
  private readonly hints: HintQueue
  private readonly lane: KeptLane
  private readonly reader = new BatchReader()
  private endCommit: (() => void) | undefined

  constructor() {
    this.store.isManual = true
    const stored = new Hints(this.store, 1).of('b@h')
    this.hints = new HintQueue({ batchBytes: 128, limitBytes: 100_000 }, stored, () => 1)
    this.lane = new KeptLane({ batchBytes: 128, limitBytes: 100_000 }, undefined, this.hints)
    this.lane.begin(1)
  }

  /** A message that is kept in the store before it goes. */
  stored(): void {
    this.hints.offer(this.frame('stored'), PLAIN_HEAD, undefined)
  }

  /** One that is not, unless the lane is shelved. */
  plain(): void {
    if (this.hints.isShelving) this.hints.offer(this.frame('plain'), PLAIN_HEAD, undefined)
    else this.lane.offer(this.frame('plain'), undefined)
  }

  mark(): void {
    const mark = `mark ${this.offered.length}`
    this.offered.push(mark)
    this.lane.mark(Buffer.from(mark))
  }

  /** Asked for, and perhaps not for the first time. */
  markAgain(text: string): void {
    this.lane.mark(Buffer.from(text), true)
  }

  /** In the store, when all that was to be written is. */
  get storedCount(): number {
    this.commit()
    this.commit()
    return this.store.entries('hints')
  }

  shelve(): void {
    this.lane.shelve()
  }

  giveUp(): void {
    this.lane.settle()
  }

  /** Begins one, or ends the one that has begun. */
  commit(): void {
    const end = this.endCommit
    this.endCommit = end === undefined ? this.store.takeSnapshot() : undefined
    end?.()
  }

  /** The store cannot write, until a commit comes through. */
  fail(): void {
    if (this.endCommit === undefined) this.store.fail()
  }

  send(): void {
    const batch = this.lane.next(true)
    if (batch === undefined) return
    const entries = asBuffer(batch.value.entries)
    const mark = markOf(entries)
    if (mark !== undefined) this.sent.push(mark.toString())
    else this.reader.read(entries, 0, ({ payload }) => this.sent.push(payload.toString()))
    this.lane.acknowledge(batch.value.sequence)
  }

  get isEmpty(): boolean {
    return this.lane.isEmpty
  }

  finish(): void {
    for (let step = 0; step < 300; step += 1) {
      this.commit()
      this.send()
    }
  }

  private frame(kind: string) {
    const text = `${kind} ${this.offered.length}`
    this.offered.push(text)
    return Message.from('t', Buffer.from(text), { qos: 2 }).frame(true, 2, false)
  }
}

/** How many marks stand before each message. */
function places(texts: readonly string[]): Record<string, number> {
  let marks = 0
  const found: Record<string, number> = {}
  for (const text of texts) {
    if (text.startsWith('mark')) marks += 1
    found[text] = marks
  }
  return found
}

describe('a mark of a session that moves', () => {
  it('is behind all messages that were forwarded before it, and before all others, whichever of them wait for a commit', () => {
    const step = fc.constantFrom(
      ...(['stored', 'stored', 'plain', 'plain', 'mark', 'commit', 'commit', 'fail', 'send', 'send'] as const),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), fc.boolean(), (steps, isShelved) => {
        const outgoing = new Outgoing()
        if (isShelved) outgoing.shelve()
        for (const one of steps) outgoing[one]()
        outgoing.finish()
        assert.deepEqual(places(outgoing.sent), places(outgoing.offered))
      }),
      { numRuns: 500 },
    )
  })

  it('is in the store once as long as the peer has not got it, however often it is asked for', () => {
    const outgoing = new Outgoing()
    outgoing.markAgain('before the peer is down')
    outgoing.shelve()
    for (let count = 0; count < 100; count += 1) {
      outgoing.markAgain('before the peer is down')
      outgoing.markAgain('since then')
    }
    assert.equal(outgoing.storedCount, 2)
    outgoing.finish()
    outgoing.markAgain('since then')
    outgoing.finish()
    assert.deepEqual(outgoing.sent, ['before the peer is down', 'since then', 'since then'])
  })

  it('goes again when what the peer was owed has been given up', () => {
    const outgoing = new Outgoing()
    outgoing.markAgain('one')
    outgoing.giveUp()
    outgoing.markAgain('one')
    outgoing.finish()
    assert.deepEqual(outgoing.sent, ['one'])
  })
})

describe('a lane', () => {
  it('is not empty while a message of it waits for a commit, or has one and was not sent', () => {
    const outgoing = new Outgoing()
    assert.ok(outgoing.isEmpty)
    outgoing.stored()
    assert.ok(!outgoing.isEmpty, 'before the commit')
    outgoing.commit()
    outgoing.commit()
    assert.ok(!outgoing.isEmpty, 'before it is sent')
    outgoing.send()
    assert.ok(outgoing.isEmpty)
  })
})
