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
import type { TurnQueue, TurnTask } from '../util/turn.js'
import type { PendingPublish } from './ports.js'
import type { Hold, LocalStore, ShelfContents, StoreShelf } from './store-port.js'
import type { Subscriber } from './subscriber.js'
import { decodeWaiting, encodeWaiting } from './waiting-message.js'

/** Why a message does not wait any longer, though nobody has it. */
export const WAITING_DROPS = ['full', 'too_old', 'group_ended'] as const

/** Given out in one turn; what is left has the next one. */
const SLICE = 500

export interface WaitingOptions {
  /** Bytes at most; beyond it messages are dropped and counted. */
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
  /** How many wait for each group. */
  private readonly counts = new Map<string, number>()
  private readonly shelf: StoreShelf
  private byteCount = 0
  private lastNumber = 0
  /** Nodes that have not told their groups; undefined before it is known who is to be expected. */
  private untold: number | undefined
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

  /** Whether messages wait for this group. */
  has(key: string): boolean {
    return this.counts.size > 0 && this.counts.has(key)
  }

  /**
   * A message for a group of which no member is within reach. False when no member is to be expected.
   * @param pending held until it is kept
   */
  keep(key: string, message: Message, pending: Hold | undefined): boolean {
    if (!this.isOpen && this.untold !== undefined && this.modules.groups.get(key) === undefined) return false
    if (this.add(message, key, [], pending)) this.counts.set(key, (this.counts.get(key) ?? 0) + 1)
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

  /** See `ForwardedSink.groupsChanged`. */
  groupsChanged(untold: number): void {
    const before = this.untold
    this.untold = untold
    this.isOpen = untold > 0
    if (this.entries.size === 0) return
    // Before anything that is published from now on, which goes to the groups at once.
    if (before === undefined || untold < before) this.giveToUntold()
    this.modules.turn.add(this)
  }

  /** Gives out what can be given out. */
  runTurn(): void {
    if (this.untold === undefined) return
    this.dropOld()
    let left = SLICE
    if (this.counts.size === 0) return
    for (const entry of this.entries.values()) {
      const { key, given } = entry
      if (key === undefined || given !== undefined) continue
      const group = this.modules.groups.get(key)
      if (group === undefined) {
        if (!this.isOpen) this.drop(entry, 'group_ended')
        continue
      }
      if (!group.isWithinReach) continue
      if (left === 0) return this.modules.turn.add(this)
      left -= 1
      this.give(entry, group)
    }
  }

  private add(
    message: Message,
    key: string | undefined,
    served: readonly string[],
    pending: Hold | undefined,
  ): boolean {
    const at = Date.now()
    const bytes = encodeWaiting({ at, key, served, message })
    if (this.byteCount + bytes.length > this.options.bytes) {
      this.modules.dropped.full.value += 1
      return false
    }
    this.lastNumber += 1
    const entry = new Waiting(this.lastNumber, key, bytes.length, at)
    entry.fresh = bytes
    this.entries.set(entry.number, entry)
    this.byteCount += bytes.length
    this.shelf.changed(entry.number, pending)
    return true
  }

  private give(entry: Waiting, group: SharedGroup<Subscriber>): void {
    const { message } = decodeWaiting(this.bytesOf(entry))
    message.isAged = true
    const given = this.leave(entry)
    if (message.isExpired(Date.now())) this.modules.dropped.too_old.value += 1
    else this.modules.place(group, message, given)
  }

  /** To groups that have turned out to be there. */
  private giveToUntold(): void {
    const { groups, place } = this.modules
    for (const entry of [...this.entries.values()]) {
      if (entry.key !== undefined || entry.given !== undefined) continue
      const { at, served, message } = decodeWaiting(this.bytesOf(entry))
      message.isAged = true
      groups.matchInto(message.topic, this.matched)
      const found = this.matched.splice(0).filter(({ key }) => !served.includes(key))
      if (found.length === 0 && this.isOpen) continue
      const given = this.leave(entry)
      const isPast = message.isExpired(Date.now())
      for (const group of found) {
        if (isPast) continue
        if (group.isWithinReach && !this.has(group.key)) place(group, message, given)
        else this.keep(group.key, message, undefined)
      }
      if (this.isOpen && !isPast) this.keepLonger(at, [...served, ...found.map(({ key }) => key)], message)
    }
  }

  /** In place of the one that has left: other groups may turn out to be there. */
  private keepLonger(at: number, served: readonly string[], message: Message): void {
    const bytes = encodeWaiting({ at, key: undefined, served, message })
    this.lastNumber += 1
    const entry = new Waiting(this.lastNumber, undefined, bytes.length, at)
    entry.fresh = bytes
    this.entries.set(entry.number, entry)
    this.byteCount += bytes.length
    this.shelf.changed(entry.number, undefined)
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

  private uncount({ key, size }: Waiting): void {
    this.byteCount -= size
    if (key === undefined) return
    const count = (this.counts.get(key) ?? 1) - 1
    if (count === 0) this.counts.delete(key)
    else this.counts.set(key, count)
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
    this.entries.set(number, new Waiting(number, key, value.length, at))
    this.byteCount += value.length
    if (key !== undefined) this.counts.set(key, (this.counts.get(key) ?? 0) + 1)
  }
}
