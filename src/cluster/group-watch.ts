/**
 * What becomes of messages for groups of shared subscriptions when members come and go: the broker hears whether there are
 * nodes of which it is not known what groups they have members of, and what custody has for a node that is down is offered
 * to members elsewhere, should some have come.
 */

import type { ForwardedSink, NodeId } from '../broker/ports.js'
import type { TurnQueue, TurnTask } from '../util/turn.js'

/** All that is in custody is looked through again after this time at the earliest, in milliseconds. */
export const RESCUE_INTERVAL_MS = 200

/** A peer, as far as messages for groups may have to go elsewhere. */
export interface WatchedPeer {
  readonly isLive: boolean
  readonly isUntold: boolean
  readonly exchange: { readonly custody: { readonly length: number }; rescue(isLast: boolean): void }
}

export interface GroupWatchModules {
  readonly peers: () => ReadonlyMap<NodeId, WatchedPeer>
  /** Moves with members of groups; undefined where there are none. */
  readonly groups: { readonly memberChanges: number } | undefined
  readonly sink: Pick<ForwardedSink, 'groupsChanged'>
  readonly turns: Pick<TurnQueue, 'add'>
}

export class GroupWatch implements TurnTask {
  isQueued = false
  /** `memberChanges` when custody was looked through last. */
  private seen: number | undefined
  private rescuedAt = Number.NEGATIVE_INFINITY
  private timer: NodeJS.Timeout | undefined

  constructor(private readonly modules: GroupWatchModules) {}

  /** Routes, or who is there, may have changed. Called often. */
  look(): void {
    let untold = 0
    let isOwing = false
    for (const peer of this.modules.peers().values()) {
      if (peer.isUntold) untold += 1
      if (isOwed(peer)) isOwing = true
    }
    this.modules.sink.groupsChanged(untold)
    if (isOwing && this.hasChanged) this.rescueSoon()
  }

  /** Idempotent. */
  stop(): void {
    clearTimeout(this.timer)
    this.timer = undefined
  }

  runTurn(): void {
    this.seen = this.modules.groups?.memberChanges
    this.rescuedAt = performance.now()
    for (const peer of this.modules.peers().values()) if (isOwed(peer)) peer.exchange.rescue(false)
  }

  /** Who could not be given to then may be there now. */
  private get hasChanged(): boolean {
    return this.modules.groups !== undefined && this.modules.groups.memberChanges !== this.seen
  }

  /** At once, if that has not been done just now. */
  private rescueSoon(): void {
    if (this.timer !== undefined || this.isQueued) return
    const wait = this.rescuedAt + RESCUE_INTERVAL_MS - performance.now()
    if (wait <= 0) {
      this.modules.turns.add(this)
      return
    }
    this.timer = setTimeout(() => {
      this.timer = undefined
      this.modules.turns.add(this)
    }, wait)
    this.timer.unref()
  }
}

/** It is down, and others may have what is for members of it. */
function isOwed({ isLive, exchange }: WatchedPeer): boolean {
  return !isLive && exchange.custody.length > 0
}
