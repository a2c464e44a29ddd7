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
import { Deferred } from '../util/deferred.js'
import type { TurnQueue, TurnTask } from '../util/turn.js'
import type { PendingPublish } from './ports.js'
import type { Hold } from './store-port.js'
import type { Subscriber } from './subscriber.js'
import { type Waiting, type WaitingOptions, WaitingRoom, type WaitingRoomModules } from './waiting-room.js'

export type { WaitingOptions } from './waiting-room.js'

/** Given out in one turn at least; what is left has the next one. */
const SLICE = 500
/** When it is looked again whether members that are behind have caught up, at first and at last, in milliseconds. */
const RETRY_MS = 5
const LAST_RETRY_MS = 250

export interface WaitingModules extends WaitingRoomModules {
  readonly groups: SharedGroups<Subscriber>
  readonly turn: TurnQueue
  /** To a member of the group, wherever it is. */
  readonly place: (group: SharedGroup<Subscriber>, message: Message, pending: PendingPublish) => void
}

export class WaitingGroups implements TurnTask {
  isQueued = false
  /** Some node has not told its groups: everything that is published waits until it has. */
  isOpen = false
  private readonly room: WaitingRoom
  /** Since the last look. */
  private addedCount = 0
  private retry: NodeJS.Timeout | undefined
  private retryIn = RETRY_MS
  private isStopped = false
  /** Nodes that have not told their groups; undefined before it is known who is to be expected. */
  private untold: number | undefined
  /** Some node has told its groups: how far those that wait for unknown ones have been looked at, and where that ends. */
  private looking: Iterator<Waiting> | undefined
  private lookTo = 0
  private readonly matched: SharedGroup<Subscriber>[] = []

  /** Before the store is loaded. */
  constructor(
    options: WaitingOptions,
    private readonly modules: WaitingModules,
  ) {
    this.room = new WaitingRoom(options, modules)
  }

  /** Messages, each once for each group. */
  get length(): number {
    return this.room.length
  }

  get bytes(): number {
    return this.room.bytes
  }

  /** Whether messages wait for this group, or may. */
  has(key: string): boolean {
    return this.looking !== undefined || this.room.has(key)
  }

  /** Whether there is room for such a message. */
  hasRoomFor(message: Message): boolean {
    return this.room.hasRoomFor(message)
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
      const entry = this.room.decode(value)
      if (entry !== undefined) this.add(entry.message, entry.key, entry.served, pending, entry.at)
    }
    pending.release()
    this.lookAgain()
    return kept.promise
  }

  /** Another node has taken this one for dead, and has what waited here. */
  disown(): void {
    for (const entry of this.room.all()) if (entry.given === undefined) this.room.leave(entry)
  }

  /** See `ForwardedSink.groupsChanged`. */
  groupsChanged(untold: number): void {
    const before = this.untold
    this.untold = untold
    this.isOpen = untold > 0
    if (this.room.length === 0) return
    if (before === undefined || untold < before) this.lookAgain()
    else this.modules.turn.add(this)
  }

  /** At all that waits for groups that were not known. */
  private lookAgain(): void {
    this.looking = this.room.all()
    this.lookTo = this.room.last
    this.modules.turn.add(this)
  }

  /** Gives out what can be given out. */
  runTurn(): void {
    if (this.untold === undefined || this.isStopped) return
    this.room.dropOld()
    // More than has come: or it would not get empty while much is published.
    let left = this.giveToFound(Math.max(SLICE, 2 * this.addedCount))
    this.addedCount = 0
    for (const [key, waiting] of this.room.groups()) {
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
        if (group === undefined) this.room.drop(entry, 'group_ended')
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

  private add(
    message: Message,
    key: string | undefined,
    served: readonly string[],
    pending: Hold | undefined,
    at = Date.now(),
  ): void {
    if (this.room.add({ message, key, served, at }, pending)) this.addedCount += 1
  }

  private give(entry: Waiting, group: SharedGroup<Subscriber>): void {
    const decoded = this.room.open(entry)
    const given = this.room.leave(entry)
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
    const decoded = this.room.open(entry)
    if (decoded === undefined) {
      this.room.leave(entry)
      return
    }
    const { at, served, message } = decoded
    message.isAged = true
    groups.matchInto(message.topic, this.matched)
    const found = this.matched.splice(0).filter(({ key }) => !served.includes(key))
    if (found.length === 0 && this.isOpen) return
    const given = this.room.leave(entry)
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
    const first = this.room.firstOf(key)
    return first !== undefined && first.number <= this.lookTo
  }
}
