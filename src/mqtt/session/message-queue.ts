/**
 * The message queue (mqueue) behind the in-flight window: what waits for room or for the client to come back.
 * Bounded by number and by bytes.
 */

import { RingBuffer } from '../../util/ring-buffer.js'
import type { Message } from '../wire/message.js'
import type { QoS } from '../wire/packets.js'
import type { Share } from './delivery.js'
import type { SessionJournal } from './journal.js'
import { KeptItems } from './kept-items.js'

export interface QueuedMessage {
  readonly message: Message
  readonly qos: QoS
  readonly retain: boolean
  readonly subscriptionIds: readonly number[] | undefined
  /** By which it came, of a shared subscription. */
  readonly share: Share | undefined
  /** In the journal of a session that is kept on disk; 0 in others. */
  readonly place: number
  /** A review has put another message in its place, for the client that is here now. */
  readonly isReviewed?: boolean
}

/** What a queue has its messages in: memory, or `KeptItems`. */
export interface QueueItems {
  readonly length: number
  /** False at its bound. */
  push(item: QueuedMessage): boolean
  /** Counted from the front. */
  at(index: number): QueuedMessage | undefined
  shift(): QueuedMessage | undefined
}

export interface QueueLimits {
  /** Messages. */
  readonly length: number
  /** Bytes of payload, properties and topic. */
  readonly bytes: number
}

/** From here on publishers are held back (see `Session.deliver`): the share of the limits that counts as nearly full. */
const NEARLY_FULL = 0.75
/** Held-back publishers go on when the queue has sunk to this share of its limits. */
const EASED = 0.5
/**
 * While publishers are held back, what they have in flight may exceed the limits by these factors: it is bounded by
 * each publisher's Receive Maximum (at defaults, 640 publishers to one session), and refusing it would break the
 * promise that acked means kept.
 */
const LENGTH_OVERHANG = 64
const BYTES_OVERHANG = 4
/** Rough cost of an entry besides its bytes. */
const ENTRY_OVERHEAD_BYTES = 64

export class MessageQueue {
  private readonly items: QueueItems
  private byteCount = 0

  /** @param journal where the messages are kept, of a session that is kept on disk */
  constructor(
    private readonly limits: QueueLimits,
    journal?: SessionJournal,
  ) {
    const maximum = limits.length * LENGTH_OVERHANG
    this.items = journal === undefined ? new RingBuffer(maximum) : new KeptItems(maximum, journal)
  }

  /** Of a queue that is kept. */
  get places(): RingBuffer<number> | undefined {
    return this.items instanceof KeptItems ? this.items.places : undefined
  }

  get length(): number {
    return this.items.length
  }

  get bytes(): number {
    return this.byteCount
  }

  get isNearlyFull(): boolean {
    return this.exceeds(NEARLY_FULL)
  }

  get isFull(): boolean {
    return this.exceeds(1)
  }

  get isEased(): boolean {
    return !this.exceeds(EASED)
  }

  /** Appends a message; false when not even the messages of held-back publishers fit any more. */
  push(item: QueuedMessage): boolean {
    if (this.byteCount >= this.limits.bytes * BYTES_OVERHANG || !this.items.push(item)) return false
    this.byteCount += messageBytes(item.message)
    return true
  }

  /** Takes in a message that is kept, without reading it. @param bytes as `messageBytes` counts */
  restore(place: number, bytes: number): boolean {
    if (this.places?.push(place) !== true) return false
    this.byteCount += bytes
    return true
  }

  /** The message at a place from the front, left there. */
  at(place: number): QueuedMessage | undefined {
    return this.items.at(place)
  }

  shift(): QueuedMessage | undefined {
    const item = this.items.shift()
    // What a review has put in its place may be larger.
    if (item !== undefined) this.byteCount = Math.max(0, this.byteCount - messageBytes(item.message))
    return item
  }

  /** Takes out the messages that are wanted, oldest first. */
  extract(isWanted: (item: QueuedMessage) => boolean): QueuedMessage[] {
    const wanted: QueuedMessage[] = []
    for (let left = this.items.length; left > 0; left -= 1) {
      const item = this.shift()
      if (item === undefined) break
      if (isWanted(item)) {
        wanted.push(item)
      } else {
        this.items.push(item)
        this.byteCount += messageBytes(item.message)
      }
    }
    return wanted
  }

  private exceeds(share: number): boolean {
    return this.items.length >= this.limits.length * share || this.byteCount >= this.limits.bytes * share
  }
}

/** What a kept message counts for: payload, properties, topic and a rough cost of its entry. */
export function messageBytes(message: Message): number {
  const properties = message.properties === undefined ? 0 : message.properties.length
  return message.payloadEnd - message.payloadStart + properties + message.topic.length + ENTRY_OVERHEAD_BYTES
}
