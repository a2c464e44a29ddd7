/**
 * What becomes of messages for groups of shared subscriptions when members come and go: the broker hears whether there are
 * nodes of which it is not known what groups they have members of, and what custody has for a node that is down is offered
 * to members elsewhere, should some have come.
 */

import type { ForwardedSink, NodeId } from '../broker/ports.js'
import type { TurnQueue, TurnTask } from '../util/turn.js'
import type { Peer } from './peer.js'

export interface GroupWatchModules {
  readonly peers: () => ReadonlyMap<NodeId, Peer>
  readonly sink: ForwardedSink
  readonly turns: TurnQueue
}

export class GroupWatch implements TurnTask {
  isQueued = false

  constructor(private readonly modules: GroupWatchModules) {}

  /** Routes, or who is there, may have changed. Called often. */
  look(): void {
    const { peers, sink, turns } = this.modules
    let untold = 0
    let isOwing = false
    for (const peer of peers().values()) {
      if (peer.isUntold) untold += 1
      if (!peer.isLive && peer.exchange.custody.length > 0) isOwing = true
    }
    sink.groupsChanged(untold)
    if (isOwing) turns.add(this)
  }

  runTurn(): void {
    for (const peer of this.modules.peers().values()) {
      if (!peer.isLive && peer.exchange.custody.length > 0) peer.exchange.rescue(false)
    }
  }
}
