/**
 * What a session has for its client and the client has not acknowledged: the in-flight window with its packet ids, the
 * message queue behind it, and behind that retained messages. It stays while the client is away, moves with the session
 * to another node, and goes to the disk of a session that is kept.
 */

import type { Message } from '../wire/message.js'
import type { Share, SharedMessage } from './delivery.js'
import { Durability } from './durability.js'
import { type InFlight, InFlightWindow, type RestoredInFlight } from './in-flight-window.js'
import type { SessionJournal } from './journal.js'
import type { QueuedMessage } from './message-queue.js'
import { type RetainedFeed, RetainedFeeds } from './retained-feeds.js'
import type { SessionModules, SessionOptions } from './session-options.js'
import { SessionQueue } from './session-queue.js'

export class Backlog {
  inFlight: InFlightWindow | undefined
  queue: SessionQueue | undefined
  retainedFeeds: RetainedFeeds | undefined
  /** Some message has come by a shared subscription. */
  carriesShared = false
  /** Set for a session that is kept on disk, or will be. */
  durability: Durability | undefined

  constructor(
    private readonly clientId: string,
    private readonly options: SessionOptions,
    private readonly modules: SessionModules,
  ) {}

  /** Of a session that is kept on disk. */
  get journal(): SessionJournal | undefined {
    return this.durability === undefined ? undefined : this.durability.journal
  }

  /** There never was anything, or the session has ended. */
  get isEmpty(): boolean {
    return this.inFlight === undefined && this.queue === undefined && this.retainedFeeds === undefined
  }

  get queueLength(): number {
    return this.queue === undefined ? 0 : this.queue.length
  }

  get queueBytes(): number {
    return this.queue === undefined ? 0 : this.queue.bytes
  }

  get inFlightCount(): number {
    return this.inFlight === undefined ? 0 : this.inFlight.length
  }

  /** The queue of another node is on its way here. */
  get isArriving(): boolean {
    return this.queue?.isArriving === true
  }

  window(): InFlightWindow {
    this.inFlight ??= new InFlightWindow()
    return this.inFlight
  }

  ownQueue(): SessionQueue {
    this.queue ??= new SessionQueue(this.clientId, this.options, this.modules, this.journal)
    return this.queue
  }

  /** Retained messages for a new subscription; see `Session.feedRetained`. */
  feed(filter: string, feed: RetainedFeed): void {
    this.retainedFeeds ??= new RetainedFeeds()
    this.retainedFeeds.set(filter, feed)
    this.journal?.changed()
  }

  /** The client has got all retained messages. */
  endFeeds(): void {
    this.retainedFeeds = undefined
    this.journal?.changed()
  }

  /** A packet's message, wherever it is; undefined when it is not needed any more. */
  messageOf({
    message,
    place,
  }: {
    readonly message: Message | undefined
    readonly place: number
  }): Message | undefined {
    return message ?? (place === 0 ? undefined : this.journal?.read(place)?.message)
  }

  /** See `Session.takeShared`. */
  takeShared(mayLeave: (group: object) => boolean): SharedMessage[] {
    if (!this.carriesShared) return []
    const isTaken = ({ share }: { share: Share | undefined }): boolean => share !== undefined && mayLeave(share.group)
    const sent = this.inFlight?.extract((entry) => entry.qos === 1 && isTaken(entry)) ?? []
    const taken = [...sent, ...(this.queue?.extract(isTaken) ?? [])]
    const messages = taken.map((item) => this.messageOf(item))
    // Before they are withdrawn, or it would look as if they were kept.
    for (const { share } of taken) share?.takeOut?.()
    const { journal } = this
    if (journal !== undefined) {
      for (const { place } of taken) journal.withdraw(place)
      journal.changed()
    }
    return taken.flatMap(({ share, place }, index) => {
      const message = messages[index]
      if (message && share) return [{ message, share, place }]
      // Nobody can get it any more.
      share?.settle()
      return []
    })
  }

  /** What waits in the queue is looked at once more: `review` may change or withhold (undefined) each message. */
  reviewQueue(review: (message: Message) => Message | undefined): void {
    this.queue?.review((item) => {
      const message = review(item.message)
      if (message === undefined || message === item.message) return message && item
      return { ...item, message: message.detach(), isReviewed: true }
    })
  }

  // ── from another node, or from the disk ──────────────────────────────────────────────────────────────────────

  /** What was in flight on the node that the session comes from, or when this node ended. */
  restoreInFlight(entries: Iterable<RestoredInFlight>, lastPacketId: number): void {
    const window = this.window()
    for (const entry of entries) {
      window.restore(entry)
      if (entry.share !== undefined) this.carriesShared = true
    }
    window.rewind()
    window.packetIds.last = lastPacketId
  }

  /** A message of the queue of the node that the session comes from. */
  addMoved(item: Omit<QueuedMessage, 'place'>): void {
    if (item.share !== undefined) this.carriesShared = true
    this.ownQueue().addMoved({ ...item, place: 0 })
  }

  /** A message of its queue is on the disk. False when there is no room for it. @param bytes as `messageBytes` counts */
  restoreQueued(place: number, bytes: number, isShared: boolean): boolean {
    if (isShared) this.carriesShared = true
    return this.ownQueue().restore(place, bytes)
  }

  /** It will be kept, but not before all of it is here: until then its publishers wait. Called before anything comes. */
  awaitJournal(): void {
    this.durability ??= new Durability()
    this.durability.awaitJournal()
  }

  /** It is kept already, and gets what it had from its disk. */
  restoreFrom(journal: SessionJournal): Durability {
    this.durability ??= new Durability()
    this.durability.begin(journal)
    return this.durability
  }

  /** From now on all of it is kept. */
  keepIn(journal: SessionJournal): void {
    const durability = this.restoreFrom(journal)
    for (const entry of this.inFlight?.values() ?? []) {
      const { message } = entry
      if (message === undefined) continue
      entry.place = journal.add({ ...entry, message }, undefined)
      entry.message = undefined
    }
    const before = this.queue
    if (before !== undefined) {
      this.queue = new SessionQueue(this.clientId, this.options, this.modules, journal)
      for (let item = before.shift(); item !== undefined; item = before.shift()) {
        this.queue.addMoved({ ...item, place: journal.add(item, undefined) })
      }
      before.close()
    }
    durability.resumeAwaiting()
    journal.changed()
  }

  // ── the end of it ────────────────────────────────────────────────────────────────────────────────────────────

  /** Another node has it now: what is here is not dropped. */
  endMoved(): void {
    for (const { share } of this.takeShared(() => true)) share.settle()
    // Those of QoS 2 in flight go along, also one that waits for its packet id to be kept and was not sent yet.
    if (this.carriesShared) for (const { share } of this.inFlight?.values() ?? []) share?.settle()
    this.endJournal()
    this.queue?.close()
    this.queue = undefined
  }

  /** The session is over: publishers that are held back by it go on. */
  end(): void {
    this.modules.metrics.dropped.session_ended.value += this.queueLength
    this.endJournal()
    const { queue } = this
    this.queue = undefined
    this.inFlight = undefined
    this.retainedFeeds = undefined
    queue?.close()
    this.durability?.letAwaitingGo()
  }

  private endJournal(): void {
    const inFlight: Iterable<InFlight> = this.inFlight?.values() ?? []
    this.durability?.end(inFlight, this.queue?.places)
  }
}
