/**
 * What waits for members of groups, as it lies on the disk of this node: in the order in which it came, by group, and
 * within a bound. Whoever gives a message out has it leave with the commit by which somebody else has it.
 */

import type { Message } from '../mqtt/wire/message.js'
import type { Counter } from '../telemetry/registry.js'
import type { PendingPublish } from './ports.js'
import type { Hold, LocalStore, ShelfContents, StoreShelf } from './store-port.js'
import { decodeWaiting, encodeWaiting, type WaitingMessage } from './waiting-message.js'

/** Why a message does not wait any longer, though nobody has it. */
export const WAITING_DROPS = ['full', 'too_old', 'group_ended', 'unreadable'] as const

/** What a message takes beside its payload, about. */
const HEAD_BYTES = 256
/** How often all are looked through for those that are too old, at most, in milliseconds. */
const AGE_CHECK_MS = 1_000

export interface WaitingOptions {
  /**
   * Bytes at most; beyond it publishers are refused, and what others have sent is dropped and counted. Half of them at most are
   * for messages of which it is not known yet whether any group wants them.
   */
  readonly bytes: number
  /** Milliseconds that a message waits. */
  readonly retention: number
}

export interface WaitingRoomModules {
  readonly store: LocalStore
  readonly dropped: Record<(typeof WAITING_DROPS)[number], Counter>
}

/** A message that waits. */
export class Waiting {
  /** Until a commit has it. */
  fresh: Buffer | undefined
  given: Given | undefined

  /**
   * @param key the group that it is for; undefined: those that have not got it
   * @param at milliseconds since the epoch
   */
  constructor(
    readonly number: number,
    readonly key: string | undefined,
    readonly size: number,
    readonly at: number,
  ) {}
}

/** Who has to keep a message that is given out; it goes from here with the commit by which they do. */
class Given implements PendingPublish {
  /** Peers are owed it in the store: it must not be in memory only. */
  readonly isRemembered = true
  /** With the commit of this turn, and not some time. */
  readonly isExact = true
  private deferrals = 0

  constructor(private readonly onResumed: () => void) {}

  get isTaken(): boolean {
    return this.deferrals === 0
  }

  hold(): void {}

  release(): void {}

  defer(): void {
    this.deferrals += 1
  }

  resume(): void {
    this.deferrals -= 1
    this.onResumed()
  }
}

export class WaitingRoom implements ShelfContents {
  /** In the order of their numbers. */
  private readonly entries = new Map<number, Waiting>()
  /** Those that wait for each group, in the same order. */
  private readonly byKey = new Map<string, Set<Waiting>>()
  private readonly shelf: StoreShelf
  private byteCount = 0
  /** Of those that wait for unknown groups. */
  private openBytes = 0
  private lastNumber = 0
  /** None is older. What another node has left, or has waited for unknown groups, is older than what is in front of it. */
  private oldestAt = Number.POSITIVE_INFINITY
  private agesCheckedAt = Number.NEGATIVE_INFINITY

  /** Before the store is loaded. */
  constructor(
    private readonly options: WaitingOptions,
    private readonly modules: WaitingRoomModules,
  ) {
    this.shelf = modules.store.shelf('group-messages', this)
  }

  /** Messages, each once for each group. */
  get length(): number {
    return this.entries.size
  }

  get bytes(): number {
    return this.byteCount
  }

  /** The number of what has come last. */
  get last(): number {
    return this.lastNumber
  }

  /** In the order in which they have come, with those that are given out and not kept elsewhere yet. */
  all(): MapIterator<Waiting> {
    return this.entries.values()
  }

  /** Those that wait for each group, and are not given out. */
  groups(): Iterable<readonly [key: string, waiting: Iterable<Waiting>]> {
    return this.byKey
  }

  /** Whether messages wait for this group. */
  has(key: string): boolean {
    return this.byKey.size > 0 && this.byKey.has(key)
  }

  /** What waits for this group, the first that has come. */
  firstOf(key: string): Waiting | undefined {
    return this.byKey.get(key)?.values().next().value
  }

  /** Whether there is room for such a message. */
  hasRoomFor({ payloadStart, payloadEnd, topic }: Message): boolean {
    if (this.byteCount === 0) return true
    return this.byteCount + payloadEnd - payloadStart + topic.length + HEAD_BYTES <= this.options.bytes
  }

  /** False beyond the bound, which is counted. @param pending held until it is kept */
  add(message: WaitingMessage, pending: Hold | undefined): boolean {
    const bytes = encodeWaiting(message)
    const { key, at } = message
    const limit = this.options.bytes
    const isTooMuch = key === undefined && this.openBytes + bytes.length > limit / 2
    if (this.byteCount + bytes.length > limit || isTooMuch) {
      this.modules.dropped.full.value += 1
      return false
    }
    this.lastNumber += 1
    const entry = this.enter(new Waiting(this.lastNumber, key, bytes.length, at))
    entry.fresh = bytes
    this.shelf.changed(entry.number, pending)
    return true
  }

  /** Undefined for what cannot be read, which is counted. */
  open(entry: Waiting): WaitingMessage | undefined {
    return this.decode(this.bytesOf(entry))
  }

  /** As `open`, of what has waited elsewhere. */
  decode(bytes: Buffer): WaitingMessage | undefined {
    try {
      return decodeWaiting(bytes)
    } catch {
      this.modules.dropped.unreadable.value += 1
      return undefined
    }
  }

  /** It is somebody else's from the next commit on, unless they say that they cannot keep it yet. */
  leave(entry: Waiting): PendingPublish {
    const given = new Given(() => this.shelf.changed(entry.number, undefined))
    entry.fresh ??= this.bytesOf(entry)
    entry.given = given
    this.uncount(entry)
    this.shelf.changed(entry.number, undefined)
    return given
  }

  drop(entry: Waiting, reason: (typeof WAITING_DROPS)[number]): void {
    this.modules.dropped[reason].value += 1
    this.leave(entry)
  }

  /** Those that have waited for too long. */
  dropOld(): void {
    const now = Date.now()
    const tooOld = now - this.options.retention
    if (this.oldestAt > tooOld || Math.abs(now - this.agesCheckedAt) < AGE_CHECK_MS) return
    this.agesCheckedAt = now
    this.oldestAt = Number.POSITIVE_INFINITY
    for (const entry of this.entries.values()) {
      if (entry.given !== undefined) continue
      if (entry.at > tooOld) this.oldestAt = Math.min(this.oldestAt, entry.at)
      else this.drop(entry, 'too_old')
    }
  }

  private enter(entry: Waiting): Waiting {
    const { number, key, size, at } = entry
    this.entries.set(number, entry)
    this.byteCount += size
    this.oldestAt = Math.min(this.oldestAt, at)
    if (key === undefined) {
      this.openBytes += size
      return entry
    }
    const others = this.byKey.get(key)
    if (others === undefined) this.byKey.set(key, new Set([entry]))
    else others.add(entry)
    return entry
  }

  private uncount(entry: Waiting): void {
    const { key, size } = entry
    this.byteCount -= size
    if (key === undefined) this.openBytes -= size
    const others = key === undefined ? undefined : this.byKey.get(key)
    others?.delete(entry)
    if (key !== undefined && others?.size === 0) this.byKey.delete(key)
  }

  private bytesOf({ fresh, number }: Waiting): Buffer {
    return fresh ?? this.shelf.get(number) ?? Buffer.alloc(0)
  }

  // ── as the store asks ────────────────────────────────────────────────────────────────────────────────────────

  read(number: number): Buffer | undefined {
    const entry = this.entries.get(number)
    return entry === undefined || entry.given?.isTaken === true ? undefined : entry.fresh
  }

  kept(number: number): void {
    const entry = this.entries.get(number)
    if (entry === undefined) return
    if (entry.given?.isTaken === true) this.entries.delete(number)
    else if (entry.given === undefined) entry.fresh = undefined
  }

  restore(number: number, value: Buffer): void {
    this.lastNumber = Math.max(this.lastNumber, number)
    const { at, key } = decodeWaiting(value)
    this.enter(new Waiting(number, key, value.length, at))
  }
}
