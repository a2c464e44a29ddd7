/**
 * The messages of a queue that is kept on disk: in memory are only their places, eight bytes or so each. A message is read
 * when it is its turn.
 */

import { RingBuffer } from '../../util/ring-buffer.js'
import type { Share } from './delivery.js'
import type { SessionJournal } from './journal.js'
import type { QueuedMessage, QueueItems } from './message-queue.js'

export class KeptItems implements QueueItems {
  readonly places: RingBuffer<number>
  /** Messages that a review has changed for the client that is here now, by place. */
  private reviewed: Map<number, QueuedMessage> | undefined
  /** By place: who is to be told that a message of a shared subscription is settled, in this life of the node. */
  private shares: Map<number, Share> | undefined

  constructor(
    maximumLength: number,
    private readonly journal: SessionJournal,
  ) {
    this.places = new RingBuffer(maximumLength)
  }

  get length(): number {
    return this.places.length
  }

  push(item: QueuedMessage): boolean {
    if (!this.places.push(item.place)) return false
    if (item.share !== undefined) {
      this.shares ??= new Map()
      this.shares.set(item.place, item.share)
    }
    if (item.isReviewed !== true) return true
    this.reviewed ??= new Map()
    this.reviewed.set(item.place, item)
    return true
  }

  at(index: number): QueuedMessage | undefined {
    const place = this.places.at(index)
    return place === undefined ? undefined : this.read(place)
  }

  /** A place whose message is not to be found is passed over. */
  shift(): QueuedMessage | undefined {
    for (;;) {
      const place = this.places.shift()
      if (place === undefined) return undefined
      const item = this.read(place)
      this.reviewed?.delete(place)
      this.shares?.delete(place)
      if (item !== undefined) return item
    }
  }

  private read(place: number): QueuedMessage | undefined {
    const item = this.reviewed?.get(place) ?? this.journal.read(place)
    const share = this.shares?.get(place)
    return item === undefined || share === undefined ? item : { ...item, share }
  }
}
