/**
 * Messages of QoS 1 and 2 for groups of shared subscriptions of which no member is within reach: they wait here, on the disk
 * of this node, which alone decides who gets them. When a member comes within reach, wherever, they are given out, oldest
 * first, and leave with the commit by which a session here has them, or the node that was chosen is owed them. What comes
 * for the group meanwhile waits behind them.
 *
 * While some node has not told its groups to this life of the node, each message waits with the groups that it went to: of
 * those that turn out to be there a member gets it, too. docs/decisions/028-messages-of-groups-around-kills.md
 */

import type { Message } from '../mqtt/wire/message.js'
import type { SharedGroup } from '../router/shared-group.js'
import type { SharedGroups } from '../router/shared-groups.js'
import type { Counter } from '../telemetry/registry.js'
import { Deferred } from '../util/deferred.js'
import type { TurnQueue, TurnTask } from '../util/turn.js'
import type { PendingPublish } from './ports.js'
import type { Hold, LocalStore, ShelfContents, StoreShelf } from './store-port.js'
import type { Subscriber } from './subscriber.js'
import { decodeWaiting, encodeWaiting } from './waiting-message.js'

/** Why a message does not wait any longer, though nobody has it. */
export const WAITING_DROPS = ['full', 'too_old', 'group_ended', 'unreadable'] as const

/** Given out in one turn at least; what is left has the next one. */
const SLICE = 500
/** When it is looked again whether members that are behind have caught up, at first and at last, in milliseconds. */
const RETRY_MS = 5
const LAST_RETRY_MS = 250
/** What a message takes beside its payload, about. */
const HEAD_BYTES = 256

export interface WaitingOptions {
  /**
   * Bytes at most; beyond it publishers are refused, and what others have sent is dropped and counted. Half of them at most are
   * for messages of which it is not known yet whether any group wants them.
   */
  readonly bytes: number
  /** Milliseconds that a message waits. */
  readonly retention: number
}

export interface WaitingModules {
  readonly store: LocalStore
  readonly groups: SharedGroups<Subscriber>
  readonly turn: TurnQueue
  readonly dropped: Record<(typeof WAITING_DROPS)[number], Counter>
  /** To a member of the group, wherever it is. */
  readonly place: (group: SharedGroup<Subscriber>, message: Message, pending: PendingPublish) => void
}

/** A message that waits. */
class Waiting {
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

export class WaitingGroups implements ShelfContents, TurnTask {
  isQueued = false
  /** Some node has not told its groups: everything that is published waits until it has. */
  isOpen = false
  /** In the order of their numbers. */
  private readonly entries = new Map<number, Waiting>()
  /** Those that wait for each group, in the same order. */
  private readonly byKey = new Map<string, Set<Waiting>>()
  private readonly shelf: StoreShelf
  private byteCount = 0
  /** Of those that wait for unknown groups. */
  private openBytes = 0
  /** Since the last look. */
  private addedCount = 0
  private retry: NodeJS.Timeout | undefined
  private retryIn = RETRY_MS
  private isStopped = false
  private lastNumber = 0
  /** Nodes that have not told their groups; undefined before it is known who is to be expected. */
  private untold: number | undefined
  /** Some node has told its groups: how far those that wait for unknown ones have been looked at, and where that ends. */
  private looking: Iterator<Waiting> | undefined
  private lookTo = 0
  private readonly matched: SharedGroup<Subscriber>[] = []

  /** Before the store is loaded. */
  constructor(
    private readonly options: WaitingOptions,
    private readonly modules: WaitingModules,
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

  /** Whether messages wait for this group, or may. */
  has(key: string): boolean {
    return this.looking !== undefined || (this.byKey.size > 0 && this.byKey.has(key))
  }

  /** Whether there is room for such a message. */
  hasRoomFor(message: Message): boolean {
    if (this.byteCount === 0) return true
    const { payloadStart, payloadEnd, topic } = message
    return this.byteCount + payloadEnd - payloadStart + topic.length + HEAD_BYTES <= this.options.bytes
  }

  /** Nothing is given out any more; idempotent. */
  stop(): void {
    this.isStopped = true
    clearTimeout(this.retry)
  }

  /**
   * A message for a group of which no member is within reach. False when no member is to be expected.
   * @param pending held until it is kept
   */
  keep(key: string, message: Message, pending: Hold | undefined): boolean {
    if (!this.isOpen && this.untold !== undefined && this.modules.groups.get(key) === undefined) return false
    this.add(message, key, [], pending)
    return true
  }

  /** A message for groups that are not known yet. @param served those that it went to */
  keepOpen(message: Message, served: readonly SharedGroup<Subscriber>[] | undefined, pending: Hold | undefined): void {
    this.add(
      message,
      undefined,
      (served ?? []).map(({ key }) => key),
      pending,
    )
  }

  /** What has waited on a node that is down; resolves when it is kept here. */
  inherit(values: readonly Buffer[]): Promise<void> {
    const kept = new Deferred()
    let holds = 1
    const pending: Hold = {
      hold: () => {
        holds += 1
      },
      release: () => {
        holds -= 1
        if (holds === 0) kept.resolve()
      },
    }
    for (const value of values) {
      const entry = this.decode(value)
      if (entry !== undefined) this.add(entry.message, entry.key, entry.served, pending, entry.at)
    }
    pending.release()
    this.lookAgain()
    return kept.promise
  }

  /** Another node has taken this one for dead, and has what waited here. */
  disown(): void {
    for (const entry of this.entries.values()) if (entry.given === undefined) this.leave(entry)
  }

  /** See `ForwardedSink.groupsChanged`. */
  groupsChanged(untold: number): void {
    const before = this.untold
    this.untold = untold
    this.isOpen = untold > 0
    if (this.entries.size === 0) return
    if (before === undefined || untold < before) this.lookAgain()
    else this.modules.turn.add(this)
  }

  /** At all that waits for groups that were not known. */
  private lookAgain(): void {
    this.looking = this.entries.values()
    this.lookTo = this.lastNumber
    this.modules.turn.add(this)
  }

  /** Gives out what can be given out. */
  runTurn(): void {
    if (this.untold === undefined || this.isStopped) return
    this.dropOld()
    // More than has come: or it would not get empty while much is published.
    let left = this.giveToFound(Math.max(SLICE, 2 * this.addedCount))
    this.addedCount = 0
    for (const [key, waiting] of this.byKey) {
      const group = this.modules.groups.get(key)
      if (group === undefined ? this.isOpen : !group.isWithinReach) continue
      for (const entry of waiting) {
        if (left === 0) return this.modules.turn.add(this)
        // Nobody who publishes could be held back for what it cannot take.
        if (group?.isBehind === true) {
          this.lookLater()
          break
        }
        left -= 1
        this.retryIn = RETRY_MS
        if (group === undefined) this.drop(entry, 'group_ended')
        else this.give(entry, group)
      }
    }
  }

  private lookLater(): void {
    if (this.isStopped) return
    this.retry ??= setTimeout(() => {
      this.retry = undefined
      this.modules.turn.add(this)
    }, this.retryIn)
    this.retryIn = Math.min(2 * this.retryIn, LAST_RETRY_MS)
  }

  /** Undefined for what cannot be read, which is counted. */
  private decode(bytes: Buffer): ReturnType<typeof decodeWaiting> | undefined {
    try {
      return decodeWaiting(bytes)
    } catch {
      this.modules.dropped.unreadable.value += 1
      return undefined
    }
  }

  private add(
    message: Message,
    key: string | undefined,
    served: readonly string[],
    pending: Hold | undefined,
    at = Date.now(),
  ): void {
    const bytes = encodeWaiting({ at, key, served, message })
    const limit = this.options.bytes
    const isTooMuch = key === undefined && this.openBytes + bytes.length > limit / 2
    if (this.byteCount + bytes.length > limit || isTooMuch) {
      this.modules.dropped.full.value += 1
      return
    }
    this.addedCount += 1
    this.lastNumber += 1
    const entry = this.enter(new Waiting(this.lastNumber, key, bytes.length, at))
    entry.fresh = bytes
    this.shelf.changed(entry.number, pending)
  }

  private enter(entry: Waiting): Waiting {
    const { number, key, size } = entry
    this.entries.set(number, entry)
    this.byteCount += size
    if (key === undefined) {
      this.openBytes += size
      return entry
    }
    const others = this.byKey.get(key)
    if (others === undefined) this.byKey.set(key, new Set([entry]))
    else others.add(entry)
    return entry
  }

  private give(entry: Waiting, group: SharedGroup<Subscriber>): void {
    const decoded = this.decode(this.bytesOf(entry))
    const given = this.leave(entry)
    if (decoded === undefined) return
    const { message } = decoded
    message.isAged = true
    if (message.isExpired(Date.now())) this.modules.dropped.too_old.value += 1
    else this.modules.place(group, message, given)
  }

  /** To groups that have turned out to be there; returns what is left of the slice. */
  private giveToFound(slice: number): number {
    const { looking } = this
    if (looking === undefined) return slice
    for (let left = slice; left > 0; left -= 1) {
      const { done, value } = looking.next()
      if (done === true || value.number > this.lookTo) {
        this.looking = undefined
        return left
      }
      if (value.key === undefined && value.given === undefined) this.lookAt(value)
    }
    this.modules.turn.add(this)
    return 0
  }

  private lookAt(entry: Waiting): void {
    const { groups, dropped, place } = this.modules
    const decoded = this.decode(this.bytesOf(entry))
    if (decoded === undefined) {
      this.leave(entry)
      return
    }
    const { at, served, message } = decoded
    message.isAged = true
    groups.matchInto(message.topic, this.matched)
    const found = this.matched.splice(0).filter(({ key }) => !served.includes(key))
    if (found.length === 0 && this.isOpen) return
    const given = this.leave(entry)
    if (message.isExpired(Date.now())) {
      dropped.too_old.value += 1
      return
    }
    for (const group of found) {
      if (group.isWithinReach && !group.isBehind && !this.hasOlder(group.key)) place(group, message, given)
      else this.add(message, group.key, [], undefined, at)
    }
    // Other groups may turn out to be there.
    if (this.isOpen) this.add(message, undefined, [...served, ...found.map(({ key }) => key)], undefined, at)
  }

  /** Messages wait for this group since before it turned out that it is there. */
  private hasOlder(key: string): boolean {
    const first = this.byKey.get(key)?.values().next().value
    return first !== undefined && first.number <= this.lookTo
  }

  /** It is somebody else's from the next commit on, unless they say that they cannot keep it yet. */
  private leave(entry: Waiting): Given {
    const given = new Given(() => this.shelf.changed(entry.number, undefined))
    entry.fresh ??= this.bytesOf(entry)
    entry.given = given
    this.uncount(entry)
    this.shelf.changed(entry.number, undefined)
    return given
  }

  private drop(entry: Waiting, reason: (typeof WAITING_DROPS)[number]): void {
    this.modules.dropped[reason].value += 1
    this.leave(entry)
  }

  private dropOld(): void {
    const oldest = Date.now() - this.options.retention
    for (const entry of this.entries.values()) {
      if (entry.at > oldest) return
      if (entry.given === undefined) this.drop(entry, 'too_old')
    }
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
