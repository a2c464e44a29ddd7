/** One session that is kept on disk: what it says of itself when a commit reads it, and where its messages go. */

import type { InFlight } from '../../mqtt/session/in-flight-window.js'
import type { QueuedMessage } from '../../mqtt/session/message-queue.js'
import type { Hold, Keeping, SessionJournal, Share } from '../../mqtt/session/session.js'
import { SharedGroup } from '../../router/shared-group.js'
import type { RingBuffer } from '../../util/ring-buffer.js'
import type { SessionEntry } from '../session-registry.js'
import type { StoreTable } from '../store-port.js'
import type { KeptMessages } from './kept-messages.js'
import type { SessionProgress, SessionRecord } from './session-record.js'
import { FLAG_BITS, flagsOf, hasExtras, qosOf, retainOf } from './stored-message.js'

export interface KeptSessionModules {
  readonly records: StoreTable
  readonly progress: StoreTable
  readonly messages: KeptMessages
  readonly groupOf: (key: string) => Share | undefined
  /** The session is over. */
  readonly onEnd: (session: KeptSession, inFlight: Iterable<InFlight>, queue: RingBuffer<number> | undefined) => void
  /** A message was to be read, and is not there. */
  readonly onMissing: (session: KeptSession, place: number) => void
}

/** A client that acknowledges within this time is likely to do so before a message has to be kept: see `GRACE_MS` of stores. */
const PROMPT_MS = 40

export class KeptSession implements SessionJournal {
  /** A commit will read its progress. */
  private isDue = false
  /** Its client was quick to acknowledge the last message that was looked at. */
  private isPrompt = true
  /** The place of the message that is looked at, and when it was delivered; 0 for none. */
  private watched = 0
  private watchedSince = 0

  constructor(
    readonly number: number,
    readonly entry: SessionEntry,
    private readonly modules: KeptSessionModules,
  ) {}

  get clientId(): string {
    return this.entry.session.clientId
  }

  // ── as its session asks ──────────────────────────────────────────────────────────────────────────────────────

  add(item: Omit<QueuedMessage, 'place'>, pending: Hold | undefined): number {
    const { message, qos, retain, subscriptionIds, share } = item
    const key = share?.group instanceof SharedGroup ? share.group.key : undefined
    const extras = subscriptionIds === undefined && key === undefined ? undefined : { subscriptionIds, share: key }
    const flags = flagsOf(qos, retain, extras !== undefined)
    const { isAttached } = this.entry.session
    // One of QoS 2 goes out with a packet id that is kept, and has to be there with it.
    const isAwaited = pending !== undefined && pending.isExact !== true
    const mayWait = isAttached && qos === 1 && this.isPrompt && isAwaited
    const place = this.modules.messages.add(message, this.number, flags, extras, pending, mayWait)
    if (this.watched === 0 && isAttached) {
      this.watched = place
      this.watchedSince = performance.now()
    }
    return place
  }

  read(place: number): QueuedMessage | undefined {
    const found = this.modules.messages.get(place, this.number)
    if (found === undefined) {
      this.modules.onMissing(this, place)
      return undefined
    }
    const flags = place % FLAG_BITS
    const { message, extras } = found
    return {
      message,
      qos: qosOf(flags),
      retain: retainOf(flags),
      subscriptionIds: extras?.subscriptionIds,
      share: this.shareOf(place, extras?.share),
      place,
    }
  }

  release(place: number): void {
    if (place !== 0) this.modules.messages.release(place, this.number)
    if (place === this.watched) this.endWatch()
    this.progressed()
  }

  withdraw(place: number): void {
    if (place !== 0) this.modules.messages.withdraw(place, this.number)
    if (place === this.watched) this.watched = 0
  }

  changed(keeping?: Keeping): void {
    this.isDue = true
    this.modules.progress.changed(this.clientId, keeping)
  }

  progressed(): void {
    if (this.isDue) return
    this.isDue = true
    this.modules.progress.changed(this.clientId, undefined, true)
  }

  subscriptionsChanged(): void {
    this.recordChanged()
  }

  end(inFlight: Iterable<InFlight>, queue: RingBuffer<number> | undefined): void {
    this.modules.onEnd(this, inFlight, queue)
  }

  // ── as the broker asks ───────────────────────────────────────────────────────────────────────────────────────

  /** Whose it is, until when it waits, what it is subscribed to: something of it is not what it was. */
  recordChanged(keeping?: Keeping): void {
    this.modules.records.changed(this.clientId, keeping)
  }

  record(): SessionRecord {
    const { entry } = this
    const { session, isWaiting } = entry
    const { willAt, endsAt } = entry.deadlines
    return {
      number: this.number,
      epoch: entry.epoch,
      owner: entry.owner,
      expiryInterval: session.expiryInterval,
      isWaiting,
      endsAt: toWallClock(endsAt),
      willAt: toWallClock(willAt),
      will: isWaiting ? entry.will?.will : entry.connectedWill,
      subscriptions: [...session.subscriptions],
    }
  }

  /** A commit reads it now. */
  progress(): SessionProgress {
    this.isDue = false
    if (this.watched !== 0 && performance.now() - this.watchedSince > PROMPT_MS) this.isPrompt = false
    const { messages } = this.modules
    const { session } = this.entry
    session.coverForCommit()
    const { lastPacketId, inFlight, received, retainedFeeds, firstPlace } = session.describe()
    return {
      head: firstPlace ?? messages.nextPlace,
      lastPacketId,
      inFlight: Array.from(inFlight, ({ packetId, place, releaseOrder }) => ({
        packetId,
        place,
        releaseOrder,
        isFresh: messages.isFresh(place),
      })),
      received: Array.from(received, ([packetId]) => packetId),
      retainedFeeds: [...retainedFeeds],
    }
  }

  private endWatch(): void {
    if (this.watched === 0) return
    this.watched = 0
    this.isPrompt = performance.now() - this.watchedSince <= PROMPT_MS
  }

  private shareOf(place: number, key: string | undefined): Share | undefined {
    return key === undefined || !hasExtras(place % FLAG_BITS) ? undefined : this.modules.groupOf(key)
  }
}

/** Milliseconds since the epoch of a time of `performance.now()`; undefined for never. */
function toWallClock(time: number): number | undefined {
  return time === Number.POSITIVE_INFINITY ? undefined : Date.now() + time - performance.now()
}
