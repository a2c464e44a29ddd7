/**
 * What a session asks of the one who keeps it on disk (`broker/kept-sessions`). What has changed is read from the session
 * when a commit takes it, so what is on the disk is the session as it was at one moment: messages, packet ids and all.
 */

import type { RingBuffer } from '../../util/ring-buffer.js'
import type { Hold, Keeping } from './back-pressure.js'
import type { InFlight } from './in-flight-window.js'
import type { QueuedMessage } from './message-queue.js'

export interface SessionJournal {
  /**
   * Keeps a message of this session from the end of this turn on.
   * @param pending is held until then; or until it is settled, when the client may well do that at once
   * @returns its place, by which it is known from here on; places rise
   */
  add(item: Omit<QueuedMessage, 'place'>, pending: Hold | undefined): number
  /** The message at a place; undefined when it is not there, which is counted. @throws StoreError */
  read(place: number): QueuedMessage | undefined
  /** The message that was in flight, or first in the queue, is settled. */
  release(place: number): void
  /** A message within the queue is not this session's any more. */
  withdraw(place: number): void
  /**
   * Packets in flight, packet ids, received ids or the front of the queue are not what they were.
   * @param keeping is held until that is kept
   */
  changed(keeping?: Keeping): void
  /** As `changed`, for what nothing waits for: a packet of QoS 1 was sent or acknowledged. */
  progressed(): void
  /** Subscriptions are not what they were. */
  subscriptionsChanged(): void
  /** The session is over, or another node's: nothing of it stays. */
  end(inFlight: Iterable<InFlight>, queue: RingBuffer<number> | undefined): void
}
