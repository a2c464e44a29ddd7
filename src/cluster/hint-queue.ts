/**
 * The part of a lane that is in the store: messages that are to outlive this node before they are sent, and, while the
 * lane is shelved, all of them. A hint that a commit has taken goes into the lane; with the lane shelved only when it is its
 * turn to be read, so that a long queue is never in memory as a whole.
 */

import type { PendingPublish } from '../broker/ports.js'
import type { Frame } from '../mqtt/wire/message.js'
import { BatchWriter, type SealedBatch } from './batch.js'
import type { Hint, HintsFor } from './hints.js'
import { type KeptBatch, NO_PENDINGS } from './kept-batch.js'

export interface HintQueueOptions {
  /** Bytes of a batch at most. */
  readonly batchBytes: number
  /** Bytes that the peer is owed in the store at most. */
  readonly limitBytes: number
}

/** The lane, as its queue of hints sees it. */
export interface HintLane {
  push(batch: KeptBatch): void
  /** All hints up to this one are in the lane: what waits for it goes. */
  unblock(hint: number): void
  /** There is something to send. */
  ready(): void
}

export class HintQueue {
  private readonly writer: BatchWriter
  private lane: HintLane | undefined
  /** Number of the hint that is being filled; 0: none. */
  private open = 0
  private lastFilled = 0
  /** Bytes in the writer. */
  private filling = 0
  private shelving: boolean
  /** While shelved: the next hint to be sent. */
  private replayAt: number
  /** Incarnation of the peer; 0 while it is not known. */
  private receiver = 0
  /** What the lane gets meanwhile waits behind this hint; 0: it does not wait. */
  blockedBy = 0
  /** Publishers that wait for the peer, by the hint that no commit has taken yet. */
  private waiting = new Map<number, PendingPublish[]>()

  /** @param incarnation of this node, as it is when a hint is made */
  constructor(
    private readonly options: HintQueueOptions,
    readonly stored: HintsFor,
    private readonly incarnation: () => number,
  ) {
    // Of a life before.
    this.shelving = stored.length > 0
    this.replayAt = stored.first
    this.writer = new BatchWriter(options.batchBytes, (sealed) => this.fill(sealed))
    stored.owner = {
      seal: (number) => {
        if (number === this.open) this.writer.seal()
      },
      committed: (number, hint) => this.committed(number, hint),
    }
  }

  serve(lane: HintLane): void {
    this.lane = lane
  }

  /** The peer lives in this incarnation. */
  begin(receiver: number): void {
    this.writer.seal()
    this.receiver = receiver
  }

  get isShelving(): boolean {
    return this.shelving
  }

  /** Nothing is in the store, or on its way there. */
  get isEmpty(): boolean {
    return this.writer.isEmpty && this.stored.length === 0
  }

  /**
   * Copies the message in; false when the peer is owed too much already.
   * @param pending waits for the commit, and unless the lane is shelved also for the peer
   */
  offer(frame: Frame, head: Buffer, pending: PendingPublish | undefined): boolean {
    const size = head.length + frame.end - frame.start
    if (this.stored.bytes + this.filling + size > this.options.limitBytes) return false
    this.filling += size
    this.writer.add(frame, head)
    if (!this.writer.isEmpty && this.open === 0) this.open = this.stored.reserve()
    if (pending === undefined) return true
    const number = this.open === 0 ? this.lastFilled : this.open
    this.stored.hold(number, pending)
    if (!this.shelving) this.await(number, pending)
    return true
  }

  /** Behind all that is in the store by now. */
  addMark(mark: Uint8Array): void {
    this.writer.addMark(mark)
  }

  /**
   * Until all that no commit has taken yet is in the lane, what the lane gets waits behind it, also while the store
   * cannot write: what waits goes when it can.
   */
  block(): void {
    this.writer.seal()
    const { last, committed } = this.stored
    if (last > committed) this.blockedBy = last
  }

  /**
   * From now on the lane is in the store, with what it has.
   * @param batches of the lane with their sequences, oldest first
   * @param sentTo the highest of a batch that may have been sent
   */
  shelve(batches: readonly { readonly batch: KeptBatch; readonly sequence: number }[], sentTo: number): void {
    const { stored } = this
    this.writer.seal()
    this.shelving = true
    this.blockedBy = 0
    for (const { batch, sequence } of batches) {
      const { sealed, pendings, receiver, origin } = batch
      if (origin === undefined) {
        const number = stored.reserve()
        const { entries, continued, count, startedAt } = sealed
        const made = { incarnation: this.incarnation(), sequence: sequence <= sentTo ? sequence : 0, receiver }
        stored.fill(number, { entries, continued, count, madeAt: wallClock(startedAt), ...made })
        for (const pending of pendings) stored.hold(number, pending)
      }
      for (const pending of pendings) pending.release()
    }
    for (const pending of this.takePendings()) pending.release()
    this.replayAt = stored.first
  }

  /** Reads the next hint into the lane, if there is room; when there is none left the lane goes on in memory. */
  replay(room: number): void {
    const { stored } = this
    for (; this.replayAt <= stored.ready; this.replayAt += 1) {
      // Ready though no commit has taken it: the store cannot write.
      if (this.replayAt === this.open) this.writer.seal()
      const hint = stored.get(this.replayAt)
      if (hint === undefined) continue
      if (hint.entries.length > room) return
      this.replayAt += 1
      this.lane?.push(this.batchOf(hint, NO_PENDINGS))
      return
    }
    this.shelving = false
    // What comes from now on follows what the next commit takes.
    if (stored.last > stored.ready) this.blockedBy = stored.last
  }

  /** The peer has it. */
  drop(number: number, { entries, count }: SealedBatch): void {
    this.stored.drop({ number, entries, count })
  }

  /** Returns how many messages that were. */
  dropAll(): number {
    this.writer.seal()
    this.open = 0
    this.blockedBy = 0
    return this.stored.dropAll()
  }

  /** They wait for the peer no longer. */
  takePendings(): PendingPublish[] {
    const taken = [...this.waiting.values()].flat()
    this.waiting.clear()
    return taken
  }

  private await(number: number, pending: PendingPublish): void {
    pending.hold()
    const waiting = this.waiting.get(number)
    if (waiting === undefined) this.waiting.set(number, [pending])
    else waiting.push(pending)
  }

  private fill({ entries, continued, count, startedAt }: SealedBatch): void {
    const number = this.open === 0 ? this.stored.reserve() : this.open
    this.open = 0
    this.filling = 0
    this.lastFilled = number
    const made = { incarnation: this.incarnation(), sequence: 0, receiver: this.receiver }
    this.stored.fill(number, { entries, continued, count, madeAt: wallClock(startedAt), ...made })
  }

  private committed(number: number, hint: Hint | undefined): void {
    const { lane } = this
    if (this.shelving) return lane?.ready()
    const pendings = this.waiting.get(number)
    this.waiting.delete(number)
    if (hint !== undefined) lane?.push(this.batchOf(hint, pendings ?? NO_PENDINGS))
    else for (const pending of pendings ?? []) pending.release()
    if (number >= this.blockedBy) this.blockedBy = 0
    lane?.unblock(number)
    lane?.ready()
  }

  private batchOf(hint: Hint, pendings: PendingPublish[]): KeptBatch {
    const { number, incarnation, sequence, receiver, entries, continued, count, madeAt } = hint
    return {
      sealed: {
        entries,
        continued,
        count,
        bytes: entries.length,
        isQos1Only: false,
        startedAt: performance.now() - (Date.now() - madeAt),
      },
      pendings,
      receiver,
      origin: { hint: number, incarnation, sequence, receiver },
    }
  }
}

/** Milliseconds since the epoch of a time of `performance.now`. */
function wallClock(time: number): number {
  return Date.now() - (performance.now() - time)
}
