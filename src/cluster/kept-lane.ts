/**
 * QoS 1 and 2 messages on their way to one peer: batched, numbered, and kept until the peer has acknowledged them, so
 * that they can be sent again on the next link. Holds of publishers are released as their batches are acknowledged. One
 * lane serves one incarnation of this node, and one of the peer, or more where its sessions outlive them.
 *
 * With a store behind it (`HintQueue`) it can be **shelved** while such a peer is down: what is not acknowledged, and all
 * that comes then, goes to the store. It is sent from there when a link is up, and from the moment when all of it has been
 * sent the lane goes on in memory.
 */

import type { PendingPublish } from '../broker/ports.js'
import type { Frame } from '../mqtt/wire/message.js'
import { RingBuffer } from '../util/ring-buffer.js'
import { BatchWriter, type SealedBatch } from './batch.js'
import { PLAIN_HEAD } from './entry-extension.js'
import type { HintQueue } from './hint-queue.js'
import { type KeptBatch, NO_PENDINGS, TAKEN } from './kept-batch.js'
import type { LaneOptions } from './loose-lane.js'
import { UnheardMarks } from './unheard-marks.js'
import type { BatchOrigin, LinkBodyOf } from './wire.js'

/**
 * A burst may take this many times the limit, for this long: its publishers wait for their acknowledgements, and a peer
 * that keeps up takes it in. A lane that stays over its limit longer says no.
 */
export const BURST_FACTOR = 8
export const BURST_MS = 5_000

export class KeptLane {
  private readonly limitBytes: number
  private readonly burstBytes: number
  private readonly writer: BatchWriter
  /** Unacknowledged batches, oldest first; bounded by limitBytes. */
  private readonly batches = new RingBuffer<KeptBatch>(Infinity)
  /** Batches that follow a hint, by its number, which is not in the lane yet. */
  private behind: { readonly hint: number; readonly batch: KeptBatch }[] = []
  /** Sequence of the oldest batch kept, or of the next to be made. */
  private oldestSequence = 1
  /** How many of `batches` were written to the link that is open now. */
  private written = 0
  private pendings: PendingPublish[] = []
  private readonly marks = new UnheardMarks()
  private held = 0
  private waiting = 0
  /** Since when the lane is over its limit. */
  private overSince: number | undefined
  /** Incarnation of the peer; 0 while it is not known. */
  private receiver = 0
  /** Up to this sequence what the peer has not got comes from the store. */
  private shelvedTo = 0
  /** There may be something to send, or room to send it. */
  onReady: () => void = () => {}

  /**
   * @param now a clock in milliseconds that never goes back; `performance.now` unless a test decides
   * @param hints what the peer is owed in the store of this node; undefined where there is none
   */
  constructor(
    { batchBytes, limitBytes }: LaneOptions,
    private readonly now: () => number = () => performance.now(),
    readonly hints?: HintQueue,
  ) {
    this.limitBytes = limitBytes
    this.burstBytes = limitBytes * BURST_FACTOR
    this.writer = new BatchWriter(batchBytes, (sealed) => this.keep(sealed))
    hints?.serve({
      push: (batch) => this.takeHint(batch),
      unblock: (hint) => this.unblock(hint),
      ready: () => this.onReady(),
    })
  }

  /** The peer lives in this incarnation. */
  begin(receiver: number): void {
    if (receiver === this.receiver) return
    // What was gathered is for the one before.
    this.writer.seal()
    this.receiver = receiver
    this.hints?.begin(receiver)
  }

  /** Bytes sent and unacknowledged, or waiting; without what is in the store only. */
  get bytes(): number {
    return this.held
  }

  /** Messages sent and unacknowledged, or waiting; without what is in the store only. */
  get length(): number {
    return this.waiting
  }

  /** The peer has all of it, and nothing that is for it is on its way to the store or there. */
  get isEmpty(): boolean {
    return this.waiting === 0 && this.hints?.isEmpty !== false
  }

  /** Sequence of the first batch that can still be sent. */
  get firstSequence(): number {
    return this.oldestSequence
  }

  /** Up to this sequence what the peer has not got comes from the store. */
  get shelvedSequence(): number {
    return this.shelvedTo
  }

  /** What comes goes to the store. */
  get isShelved(): boolean {
    return this.hints?.isShelving === true
  }

  /**
   * Copies the message in; false when the lane is full: over its limit for `BURST_MS`, or over `BURST_FACTOR` times its
   * limit. A message that nobody waits for has no part in bursts, since nothing slows its publisher down.
   * @param pending gets its release when the peer has kept the message; undefined when nobody waits for that
   */
  offer(frame: Frame, pending: PendingPublish | undefined, head: Buffer = PLAIN_HEAD): boolean {
    const size = head.length + frame.end - frame.start
    if (this.held + size > this.limitBytes && (pending === undefined || !this.hasRoomForBurst(size))) return false
    this.held += size
    this.waiting += 1
    // The frame first: it may seal the batch before it, which takes the publishers that wait for that one.
    this.writer.add(frame, head)
    if (pending !== undefined) this.attach(pending)
    return true
  }

  /**
   * Puts a mark behind all messages until now; a few bytes, for which a full lane has room.
   * @param isIdempotent nothing is to be done when the same mark is on its way to the peer
   */
  mark(mark: Uint8Array, isIdempotent = false): void {
    const { hints } = this
    if (isIdempotent && !this.marks.add(mark)) return
    if (hints?.isShelving === true) return hints.addMark(mark)
    this.writer.seal()
    // Messages that wait for a commit are before the mark, and what comes after it stays behind.
    hints?.block()
    this.writer.addMark(mark)
  }

  /** The next batch that this link has not had; with `isTurnOver` also what has not filled a batch. */
  next(isTurnOver: boolean): LinkBodyOf<'batch'> | undefined {
    if (this.written === this.batches.length) {
      // As much as a burst may: a session that cannot keep a message now holds up its acknowledgement, and not the lane.
      if (this.hints?.isShelving === true) this.hints.replay(this.held === 0 ? Infinity : this.burstBytes - this.held)
      if (isTurnOver) this.writer.seal()
    }
    const batch = this.batches.at(this.written)
    if (batch === undefined) return undefined
    const { entries, continued, isQos1Only, startedAt } = batch.sealed
    const sequence = this.oldestSequence + this.written
    this.written += 1
    const waited = Math.min(MAXIMUM_WAITED_MS, Math.max(0, Math.round(performance.now() - startedAt)))
    const origin = this.originOf(batch)
    return {
      $case: 'batch',
      value: {
        sequence,
        entries,
        continued,
        waited,
        ...(origin === undefined ? {} : { origin }),
        ...(isQos1Only ? { isQos1Only } : {}),
      },
    }
  }

  /** A new link to the same incarnation, or one that has all that the one before had: what it lacks goes again. */
  resume(receivedSequence: number, keptSequence: number): void {
    if (receivedSequence >= this.oldestSequence + this.batches.length) {
      // This side has forgotten the peer and begun at 1 again, the peer has not: go on where the peer is.
      this.oldestSequence = receivedSequence + 1
      this.written = 0
      return
    }
    this.acknowledge(keptSequence)
    const received = receivedSequence - this.oldestSequence + 1
    this.written = Math.max(0, Math.min(received, this.batches.length))
  }

  /** The peer has kept all batches up to `sequence`. Returns how many messages that were. */
  acknowledge(sequence: number): number {
    let acknowledged = 0
    while (this.oldestSequence <= sequence) {
      const batch = this.batches.shift()
      if (batch === undefined) break
      this.oldestSequence += 1
      if (this.written > 0) this.written -= 1
      acknowledged += batch.sealed.count
      this.take(batch)
    }
    if (this.isShelved) this.onReady()
    return acknowledged
  }

  /** The peer has kept these, though not all before them. It has received them, so they are never sent again. */
  acknowledgeSelected(sequences: readonly number[]): void {
    for (const sequence of sequences) {
      const batch = this.batches.at(sequence - this.oldestSequence)
      if (batch !== undefined) this.take(batch)
    }
  }

  /**
   * From now on everything goes to the store, beginning with what is not acknowledged: publishers wait for its commit.
   * False without a store: then publishers are answered, and the messages kept in memory.
   */
  shelve(): boolean {
    const { hints } = this
    if (hints === undefined) {
      release(this.takePendings())
      return false
    }
    this.writer.seal()
    const first = this.oldestSequence
    const batches = [...this.batches, ...this.behind.map(({ batch }) => batch)]
    this.oldestSequence += this.batches.length
    this.shelvedTo = this.oldestSequence - 1
    this.forget()
    const isOwed = ({ sealed }: KeptBatch): boolean => sealed !== TAKEN
    hints.shelve(
      batches.flatMap((batch, index) => (isOwed(batch) ? [{ batch, sequence: first + index }] : [])),
      this.shelvedTo,
    )
    return true
  }

  /** Answers all publishers that wait, and goes on keeping the messages. */
  releaseAll(): void {
    release(this.takePendings())
  }

  /**
   * Answers everyone and forgets everything; numbers go on where they were, so that the peer sees the gap. Returns how
   * many messages were never acknowledged.
   */
  settle(): number {
    const { hints } = this
    const kept = hints === undefined ? this.waiting : this.countUnhinted() + hints.dropAll()
    const pendings = this.takePendings()
    this.oldestSequence += this.batches.length
    this.writer.clear()
    this.marks.clear()
    this.forget()
    // Last, because an answered publisher may send at once.
    release(pendings)
    return kept
  }

  /** What the store has of it is another node's to send now. Publishers of that wait no longer. */
  disown(): void {
    const { hints } = this
    if (hints === undefined) return
    for (const batch of [...this.batches]) if (batch.origin !== undefined) this.take(batch)
    const waiting = hints.takePendings()
    hints.dropAll()
    this.marks.clear()
    this.unblock(Infinity)
    release(waiting)
    this.onReady()
  }

  /** Messages of which there is no copy in the store. */
  private countUnhinted(): number {
    let hinted = 0
    for (const { origin, sealed } of this.batches) if (origin !== undefined) hinted += sealed.count
    return this.waiting - hinted
  }

  private forget(): void {
    this.batches.clear()
    this.behind = []
    this.written = 0
    this.held = 0
    this.waiting = 0
    this.overSince = undefined
  }

  private originOf({ origin, receiver }: KeptBatch): BatchOrigin | undefined {
    if (origin !== undefined || receiver === this.receiver) return origin
    return { hint: 0, incarnation: 0, sequence: 0, receiver }
  }

  private hasRoomForBurst(size: number): boolean {
    const now = this.now()
    this.overSince ??= now
    return this.held + size <= this.burstBytes && now - this.overSince < BURST_MS
  }

  private takePendings(): PendingPublish[] {
    const taken: PendingPublish[] = []
    const take = (batch: KeptBatch): void => {
      for (const pending of batch.pendings) taken.push(pending)
      batch.pendings = NO_PENDINGS
    }
    for (const batch of this.batches) take(batch)
    for (const { batch } of this.behind) take(batch)
    for (const pending of this.pendings) taken.push(pending)
    this.pendings = []
    for (const pending of this.hints?.takePendings() ?? []) taken.push(pending)
    return taken
  }

  private take(batch: KeptBatch): void {
    const { sealed, pendings, origin } = batch
    if (sealed === TAKEN) return
    this.marks.heard(sealed)
    batch.sealed = TAKEN
    batch.pendings = NO_PENDINGS
    this.held -= sealed.bytes
    this.waiting -= sealed.count
    if (this.held <= this.limitBytes) this.overSince = undefined
    if (origin !== undefined) this.hints?.drop(origin.hint, sealed)
    release(pendings)
  }

  private attach(pending: PendingPublish): void {
    if (!this.writer.isEmpty) {
      this.pendings.push(pending)
      return
    }
    // Nothing is being filled: the message went in pieces, and the last of them is the newest batch.
    const newest = this.behind.at(-1)?.batch ?? (this.batches.at(this.batches.length - 1) as KeptBatch)
    newest.pendings = newest.pendings === NO_PENDINGS ? [pending] : [...newest.pendings, pending]
  }

  private keep(sealed: SealedBatch): void {
    const { pendings } = this
    this.pendings = pendings.length === 0 ? pendings : []
    const batch: KeptBatch = {
      sealed,
      pendings: pendings.length === 0 ? NO_PENDINGS : pendings,
      receiver: this.receiver,
      origin: undefined,
    }
    const hint = this.hints?.blockedBy ?? 0
    if (hint !== 0) this.behind.push({ hint, batch })
    else this.batches.push(batch)
    // Only marks were not counted as they were added.
    if (sealed.count === 0 && !sealed.continued) this.held += sealed.bytes
  }

  /** A hint that is in the store, and goes now. */
  private takeHint(batch: KeptBatch): void {
    this.batches.push(batch)
    this.held += batch.sealed.bytes
    this.waiting += batch.sealed.count
  }

  /** All hints up to this one are in the lane. */
  private unblock(hint: number): void {
    let count = 0
    for (const behind of this.behind) {
      if (behind.hint > hint) break
      this.batches.push(behind.batch)
      count += 1
    }
    if (count > 0) this.behind.splice(0, count)
  }
}

/** As the protocol can say. */
const MAXIMUM_WAITED_MS = 0xffff_ffff

function release(pendings: readonly PendingPublish[]): void {
  for (const pending of pendings) pending.release()
}
