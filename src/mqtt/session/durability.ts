/**
 * How a session is kept on disk: its journal, what it may not say before a commit, and, while it arrives from another
 * node, the publishers that wait until all of it is here and can be kept.
 */

import type { RingBuffer } from '../../util/ring-buffer.js'
import type { Hold } from './back-pressure.js'
import { CommitGate, type Gated } from './commit-gate.js'
import type { InFlight } from './in-flight-window.js'
import type { SessionJournal } from './journal.js'
import type { QueuedMessage } from './message-queue.js'

export class Durability {
  /** Undefined before all of the session is here, and once it is over. */
  journal: SessionJournal | undefined
  private gate = new CommitGate()
  /** Publishers of messages that have come while the session arrives, and that it is to be kept with. */
  private awaiting: Hold[] | undefined
  /** These have been told that nothing is kept yet. */
  private hasDeferred = false

  /** It is kept on disk, or will be once all of it is here. */
  get isKept(): boolean {
    return this.journal !== undefined || this.awaiting !== undefined
  }

  /** It will be kept, but not before all of it is here: until then its publishers wait. Called before anything comes. */
  awaitJournal(): void {
    this.awaiting = []
  }

  begin(journal: SessionJournal): void {
    this.journal = journal
    this.gate = new CommitGate()
  }

  /** What came while the session arrived is kept with the next commit. */
  resumeAwaiting(): void {
    for (const pending of this.awaiting ?? []) pending.resume?.()
    this.hasDeferred = false
  }

  /** Publishers that wait for the session to be kept: it is, or never will be. */
  letAwaitingGo(): void {
    const { awaiting } = this
    this.awaiting = undefined
    for (const pending of awaiting ?? []) {
      if (this.hasDeferred) pending.resume?.()
      pending.release()
    }
  }

  /** The session is over, or another node's: nothing of it stays on the disk. */
  end(inFlight: Iterable<InFlight>, queue: RingBuffer<number> | undefined): void {
    const { journal } = this
    this.journal = undefined
    this.gate = new CommitGate()
    journal?.end(inFlight, queue)
  }

  /** Of a message that is kept from the end of this turn on, or with the rest of a session that arrives. */
  placeFor(item: Omit<QueuedMessage, 'place'>, pending: Hold | undefined): number {
    if (this.journal !== undefined) return this.journal.add(item, pending)
    if (pending !== undefined) {
      pending.hold()
      pending.defer?.()
      this.hasDeferred = true
      this.awaiting?.push(pending)
    }
    return 0
  }

  // ── before a commit ──────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Whether a PUBLISH waits for a commit: one of QoS 2 goes out once its packet id is kept, since with another one it
   * would be another message; one of QoS 1 does not overtake it.
   */
  holdsBack(entry: InFlight): boolean {
    const { journal } = this
    if (journal === undefined) return false
    if (entry.qos !== 2 && this.gate.isClear) {
      journal.progressed()
      return false
    }
    journal.changed()
    entry.isKept = false
    entry.wasSent = false
    this.gate.add(entry)
    return true
  }

  /** PUBREC has come. False when PUBREL is to follow at once; else once it is kept that the message must not come again. */
  releaseWhenKept(entry: InFlight): boolean {
    const { journal } = this
    if (journal === undefined) return false
    if (entry.place !== 0) journal.release(entry.place)
    entry.place = 0
    entry.isKept = false
    this.gate.add(entry)
    journal.changed()
    return true
  }

  /** PUBREL has come. False when PUBCOMP is to follow at once; else once it is kept that the packet id is a new one. */
  completeWhenKept(packetId: number, reasonCode: number): boolean {
    if (this.journal === undefined) return false
    this.gate.add({ packetId, reasonCode })
    this.journal.changed()
    return true
  }

  /** A commit reads the session now: what waits for it may go out when it is done. */
  coverForCommit(): void {
    this.gate.cover()
  }

  /** That commit is done: what it lets go, in the order in which it was held back. */
  openGate(): readonly Gated[] {
    return this.gate.open()
  }
}
