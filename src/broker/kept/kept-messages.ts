/**
 * The messages of all sessions that are kept: each once, with the sessions that have yet to get it. In memory are those
 * that no commit has taken yet, and of the others only how many sessions wait for one, where that is more than one.
 *
 * A session knows a message by its place: the number of the message, and in the low bits how it gets it. Numbers rise, so
 * of what is on the disk a session has to say only how far it has come in its queue, and what is in flight.
 */

import { messageBytes } from '../../mqtt/session/message-queue.js'
import type { Message } from '../../mqtt/wire/message.js'
import { NumberWindow } from '../../util/number-window.js'
import type { Hold, Postponed, ShelfContents, StoreShelf } from '../store-port.js'
import {
  decodeExtras,
  decodeStoredMessage,
  type Extras,
  encodeStoredMessage,
  FLAG_BITS,
  forEachReceiver,
  hasExtras,
  Receivers,
  type StoredMessage,
  sizeOf,
  withoutReceivers,
} from './stored-message.js'

/** What the messages of a disk are for; see `KeptSessions`. */
export interface MessageReceivers {
  /** Whether the session has yet to get the message. */
  restoreMessage(session: number, place: number, size: number, extras: Extras | undefined): boolean
}

export interface FoundMessage {
  readonly message: Message
  readonly extras: Extras | undefined
}

/** Waits for a message whose publisher does not. */
const NOBODY: Hold = { hold() {}, release() {} }

/** A message that no commit has taken, or one that is on its way. */
class FreshMessage extends Receivers implements StoredMessage, Postponed {
  extras: Map<number, Extras> | undefined
  readonly size: number
  /** A commit has taken it. */
  isTaken = false

  /** See the shelf. */
  isPostponed = false

  /** @param message as it came: it keeps alive the bytes that came with it */
  constructor(
    readonly number: number,
    public message: Message,
    readonly pending: Hold,
  ) {
    super()
    this.size = messageBytes(message)
  }

  /** Whether one more session may be added; the same session gets the same message in another place. */
  isFor(message: Message, session: number, pending: Hold | undefined): boolean {
    return message === this.message && (pending ?? NOBODY) === this.pending && !this.isTaken && !this.has(session)
  }
}

/** Sessions that are to be taken out of a message on the disk. */
interface Leaving {
  readonly sessions: Set<number>
  /** How many of them the commit that is on its way takes out. */
  taken: number
}

export class KeptMessages implements ShelfContents {
  private lastNumber = 0
  private readonly fresh = new NumberWindow<FreshMessage>()
  /** Of those on the disk: how many sessions have yet to get one, where that is more than one. */
  private readonly counts = new Map<number, number>()
  private readonly leaving = new Map<number, Leaving>()
  /** What was added last: it is for many sessions one after the other. */
  private last: FreshMessage | undefined
  private shelf: StoreShelf | undefined

  constructor(private readonly receivers: MessageReceivers) {}

  keepOn(shelf: StoreShelf): void {
    this.shelf = shelf
  }

  /** Every place that is given out from now on is behind this one. */
  get nextPlace(): number {
    return (this.lastNumber + 1) * FLAG_BITS
  }

  /** Numbers up to that of this place are taken. */
  reserve(place: number): void {
    this.lastNumber = Math.max(this.lastNumber, numberOf(place) - 1)
  }

  /** It is not on the disk, or was not when it was last known. */
  isFresh(place: number): boolean {
    return this.fresh.get(numberOf(place)) !== undefined
  }

  /**
   * Keeps a message for one more session; returns its place.
   * @param mayWait the session may well have got it before it is written
   */
  add(
    message: Message,
    session: number,
    flags: number,
    extras: Extras | undefined,
    pending: Hold | undefined,
    mayWait = false,
  ): number {
    let entry = this.last
    // What comes from a client lies in bytes that nobody changes; an embedding program may use its own again.
    const kept = message.publisherId === '' ? message.detach() : message
    if (entry === undefined || !entry.isFor(kept, session, pending)) {
      // Its publisher is known to be through by all of it: what of it is written at once, and what is not, would come again.
      const isWritten = entry?.message === kept && !entry.isPostponed
      this.lastNumber += 1
      entry = new FreshMessage(this.lastNumber, kept, pending ?? NOBODY)
      this.last = entry
      this.fresh.add(entry.number, entry)
      if (mayWait && !isWritten) this.shelf?.postpone(entry)
      else this.shelf?.changed(entry.number, pending)
    } else if (entry.isPostponed && !mayWait) this.shelf?.hurry(entry)
    entry.add(session, flags)
    if (extras !== undefined) {
      entry.extras ??= new Map()
      entry.extras.set(session, extras)
    }
    return entry.number * FLAG_BITS + flags
  }

  /** What is at this place; undefined when it is not there. @throws StoreError, NodeError STORED_MESSAGE_INVALID */
  get(place: number, session: number): FoundMessage | undefined {
    const number = numberOf(place)
    const entry = this.fresh.get(number)
    if (entry !== undefined) return { message: entry.message, extras: entry.extras?.get(session) }
    const bytes = this.shelf?.get(number)
    if (bytes === undefined) return undefined
    const extras = hasExtras(place % FLAG_BITS) ? decodeExtras(bytes)?.get(session) : undefined
    return { message: decodeStoredMessage(bytes), extras }
  }

  /** The session has got it, and the disk will know by what the session has come to. */
  release(place: number, session: number): void {
    const number = numberOf(place)
    const entry = this.fresh.get(number)
    if (entry !== undefined) return this.releaseFresh(entry, session)
    const count = this.counts.get(number) ?? 1
    if (count > 2) this.counts.set(number, count - 1)
    else if (count === 2) this.counts.delete(number)
    else this.remove(number)
  }

  /** As `release`, of one for which the disk would not know it otherwise. */
  withdraw(place: number, session: number): void {
    const number = numberOf(place)
    const entry = this.fresh.get(number)
    if (entry !== undefined && !entry.isTaken) return this.releaseFresh(entry, session)
    if (entry === undefined && !this.counts.has(number)) return this.remove(number)
    const leaving = this.leaving.get(number) ?? { sessions: new Set(), taken: 0 }
    leaving.sessions.add(session)
    this.leaving.set(number, leaving)
    if (entry !== undefined) entry.delete(session)
    else this.release(place, session)
    this.shelf?.changed(number, undefined)
  }

  read(number: number): Buffer | undefined {
    this.last = undefined
    const leaving = this.leaving.get(number)
    const entry = this.fresh.get(number)
    if (entry !== undefined) {
      // A commit of it has failed, and the next may take its time: not with all that came with it.
      if (entry.isTaken) entry.message = entry.message.detach()
      entry.isTaken = true
      this.leaving.delete(number)
      // All have got it since a commit of it has failed.
      return entry.count === 0 ? undefined : encodeStoredMessage(entry, entry.message)
    }
    if (leaving === undefined) return undefined
    leaving.taken = leaving.sessions.size
    const bytes = this.shelf?.get(number)
    return bytes === undefined ? undefined : withoutReceivers(bytes, leaving.sessions)
  }

  kept(number: number): void {
    const entry = this.fresh.get(number)
    if (entry === undefined) {
      const leaving = this.leaving.get(number)
      if (leaving !== undefined && leaving.taken === leaving.sessions.size) this.leaving.delete(number)
      return
    }
    this.fresh.delete(number)
    const { count } = entry
    if (count > 1) this.counts.set(number, count)
    // All have got it while it was written.
    if (count === 0) this.remove(number)
  }

  restore(number: number, value: Buffer): void {
    this.lastNumber = Math.max(this.lastNumber, number)
    const extras = decodeExtras(value)
    const size = sizeOf(value)
    let count = 0
    forEachReceiver(value, (session, flags) => {
      const place = number * FLAG_BITS + flags
      if (this.receivers.restoreMessage(session, place, size, extras?.get(session))) count += 1
    })
    if (count > 1) this.counts.set(number, count)
    // Everybody has got it, and the end of the node came before its removal.
    if (count === 0) this.remove(number)
  }

  /** Nobody waits for it any more: the next commit reads nothing under this number. */
  private remove(number: number): void {
    if (this.leaving.size > 0) this.leaving.delete(number)
    this.shelf?.changedLater(number)
  }

  private releaseFresh(entry: FreshMessage, session: number): void {
    entry.delete(session)
    if (entry.count > 0 || entry.isTaken) return
    this.fresh.delete(entry.number)
    if (this.last === entry) this.last = undefined
    if (entry.isPostponed) this.shelf?.settle(entry)
    else this.shelf?.unchanged(entry.number)
  }
}

function numberOf(place: number): number {
  return Math.floor(place / FLAG_BITS)
}
