/**
 * The message queue of one session with what it does to publishers: nearly full it holds their acknowledgements back,
 * and drops only when it stays so. While the session arrives from another node it has two parts: what that node sends,
 * and behind it what has been delivered here meanwhile.
 */

import type { RingBuffer } from '../../util/ring-buffer.js'
import { BackPressure, type Hold } from './back-pressure.js'
import type { SessionJournal } from './journal.js'
import { MessageQueue, type QueuedMessage } from './message-queue.js'
import type { SessionModules, SessionOptions } from './session-options.js'

export class SessionQueue {
  private messages: MessageQueue
  /** What came here while what came before it is still on its way; undefined when nothing is. */
  private arrivals: MessageQueue | undefined
  private backPressure: BackPressure | undefined

  constructor(
    private readonly clientId: string,
    private readonly options: SessionOptions,
    private readonly modules: SessionModules,
    private readonly journal?: SessionJournal,
  ) {
    this.messages = new MessageQueue(options.queue, journal)
  }

  /** Of the messages of a queue that is kept, the first to be sent first. */
  get places(): RingBuffer<number> | undefined {
    return this.messages.places
  }

  get length(): number {
    return this.messages.length + (this.arrivals === undefined ? 0 : this.arrivals.length)
  }

  get bytes(): number {
    return this.messages.bytes + (this.arrivals === undefined ? 0 : this.arrivals.bytes)
  }

  /** Nothing waits, and nothing is on its way: a message may go past the queue. */
  get isIdle(): boolean {
    return this.messages.length === 0 && this.arrivals === undefined
  }

  get isArriving(): boolean {
    return this.arrivals !== undefined
  }

  get isEased(): boolean {
    return (this.arrivals ?? this.messages).isEased
  }

  /** A message, counted from the front; it stays there. */
  at(place: number): QueuedMessage | undefined {
    return this.messages.at(place)
  }

  shift(): QueuedMessage | undefined {
    return this.messages.shift()
  }

  /** Appends a message; dropped and counted when the queue has been full for too long. */
  push(item: QueuedMessage, pending: Hold | undefined): void {
    const queue = this.arrivals ?? this.messages
    // A client that publishes to itself is not held back by its own queue: it may be waiting for its
    // acknowledgements before it sends those that would empty the queue.
    const heldBack = item.message.publisherId === this.clientId ? undefined : pending
    const mayOverhang = heldBack !== undefined && this.backPressure?.isExhausted !== true
    if ((queue.isFull && !mayOverhang) || !queue.push(item)) return this.drop(item)
    if (heldBack !== undefined && queue.isNearlyFull) {
      this.backPressure ??= new BackPressure(this.options.queueHoldTime, this.modules.timers)
      if (this.backPressure.take(heldBack)) this.modules.metrics.heldBack.value++
    }
  }

  /** Takes in a message that is kept; false, and counted, when there is no room. @param bytes as `messageBytes` counts */
  restore(place: number, bytes: number): boolean {
    if (this.messages.restore(place, bytes)) return true
    this.modules.metrics.dropped.queue_full.value++
    return false
  }

  /** Messages have left: publishers that are held back go on when it has eased. */
  ease(): void {
    if (this.backPressure !== undefined && this.isEased) this.backPressure.releaseAll()
  }

  /** Takes out the messages that are wanted, oldest first. */
  extract(isWanted: (item: QueuedMessage) => boolean): QueuedMessage[] {
    return [...this.messages.extract(isWanted), ...(this.arrivals?.extract(isWanted) ?? [])]
  }

  /** `review` may change or withhold (undefined) each message. */
  review(review: (item: QueuedMessage) => QueuedMessage | undefined): void {
    for (let left = this.messages.length; left > 0; left--) {
      const item = this.messages.shift()
      const reviewed = item === undefined ? undefined : review(item)
      if (reviewed !== undefined) this.messages.push(reviewed)
      else if (item !== undefined) this.leave(item)
    }
  }

  /** From now on `addMoved` fills the front, and what is pushed waits behind it. */
  beginArrival(): void {
    this.arrivals = new MessageQueue(this.options.queue)
  }

  addMoved(item: QueuedMessage): void {
    if (!this.messages.push(item)) this.drop(item)
  }

  /** All that was queued before is here. */
  endArrival(): void {
    const { arrivals } = this
    this.arrivals = undefined
    if (arrivals === undefined) return
    if (this.messages.length === 0) this.messages = arrivals
    else for (let item = arrivals.shift(); item !== undefined; item = arrivals.shift()) this.addMoved(item)
  }

  /** The session is over: publishers that are held back by it go on. */
  close(): void {
    this.backPressure?.releaseAll()
  }

  private drop(item: QueuedMessage): void {
    this.modules.metrics.dropped.queue_full.value++
    this.leave(item)
  }

  private leave(item: QueuedMessage): void {
    item.share?.settle()
    this.journal?.withdraw(item.place)
  }
}
