/**
 * The retained messages that a session has yet to get, by the topic filter that asked for them: searched as fast as
 * its client takes them, and only so long in one event-loop turn.
 */

import type { Message } from '../wire/message.js'
import type { DeliveryOptions } from './delivery.js'

/** How long a session may search in one event-loop turn, in milliseconds. */
const SLICE_MS = 5

export interface RetainedFeed {
  /** Gives undefined where it has searched for a while without a find. */
  readonly messages: Iterator<Message | undefined>
  readonly delivery: DeliveryOptions
}

export class RetainedFeeds {
  private readonly feeds = new Map<string, RetainedFeed>()
  /** Time of `performance.now()`; 0 before the first step of a turn. */
  private searchUntil = 0

  get isEmpty(): boolean {
    return this.feeds.size === 0
  }

  /** The search of this turn has had its time. */
  get mustRest(): boolean {
    return this.searchUntil !== 0 && performance.now() >= this.searchUntil
  }

  beginTurn(): void {
    this.searchUntil = 0
  }

  /** What is not done yet, oldest first. */
  filters(): Iterable<string> {
    return this.feeds.keys()
  }

  /** A filter that is there already begins anew. */
  set(filter: string, feed: RetainedFeed): void {
    this.feeds.set(filter, feed)
  }

  delete(filter: string): void {
    this.feeds.delete(filter)
  }

  /** Takes one step in the oldest feed; undefined when that found no message. */
  step(): { message: Message; delivery: DeliveryOptions } | undefined {
    if (this.searchUntil === 0) this.searchUntil = performance.now() + SLICE_MS
    const [oldest] = this.feeds
    if (oldest === undefined) return undefined
    const [filter, { messages, delivery }] = oldest
    const { done, value } = messages.next()
    if (done === true) this.feeds.delete(filter)
    return value === undefined ? undefined : { message: value, delivery }
  }
}
