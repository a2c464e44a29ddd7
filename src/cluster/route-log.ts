/**
 * This node's own routes as its peers hear of them: every first subscriber of a filter and every last one that left is
 * a change with the next version. The newest changes are kept, for peers that missed a few; who missed more gets a
 * snapshot, straight from the subscription table.
 */

import type { GroupRoute } from '../router/group-routes.js'
import { type RouteDigest, sumOfDigests } from '../router/route-digest.js'
import type { GroupListener } from '../router/shared-groups.js'
import type { RouteListener } from '../router/subscription-table.js'
import { RingBuffer } from '../util/ring-buffer.js'
import type { RouteChange } from './wire.js'

/** The part of the subscription table that routes are made from. */
export interface RouteSource {
  /** Every filter that has a subscriber. May be read while it changes: what was there all the time is in it. */
  filters(): Iterable<string>
  digest(): RouteDigest
  setListener(listener: RouteListener | undefined): void
}

/** The part of the groups of shared subscriptions that routes are made from. */
export interface GroupSource {
  /** Every group that has a member here. May be read while it changes. */
  routes(): Iterable<GroupRoute>
  digest(): RouteDigest
  setListener(listener: GroupListener | undefined): void
}

/** A node without shared subscriptions. */
const NO_GROUPS: GroupSource = {
  routes: () => [],
  digest: () => ({ count: 0, high: 0, low: 0 }),
  setListener() {},
}

/** Changes kept for peers that missed some; a few MB at most. */
export const KEPT_CHANGES = 65_536

export class RouteLog implements RouteListener, GroupListener {
  private readonly changes: RingBuffer<RouteChange>
  private newest: number

  /**
   * @param onChange called with each change; the peers are to be told by the end of the turn
   */
  constructor(
    private readonly source: RouteSource,
    private readonly onChange: () => void,
    keptChanges = KEPT_CHANGES,
    private readonly groupSource: GroupSource = NO_GROUPS,
  ) {
    this.changes = new RingBuffer(keptChanges)
    // Filters from before have no change of their own: version 1 stands for them, and only a snapshot leads there.
    this.newest = this.digest().count === 0 ? 0 : 1
  }

  /** Number of the latest change of this incarnation. */
  get version(): number {
    return this.newest
  }

  /** Digest of the routes at `version`. */
  digest(): RouteDigest {
    return sumOfDigests(this.source.digest(), this.groupSource.digest())
  }

  filters(): Iterable<string> {
    return this.source.filters()
  }

  /** The routes of groups. */
  *groups(): IterableIterator<RouteChange> {
    for (const route of this.groupSource.routes()) yield groupChange(route)
  }

  /** True when all changes after `version` are here. */
  hasChangesAfter(version: number): boolean {
    return version <= this.newest && version >= this.newest - this.changes.length
  }

  /** The changes after `version`, the oldest first, at most `maximum`. Ask `hasChangesAfter` before. */
  changesAfter(version: number, maximum: number): RouteChange[] {
    const first = version - (this.newest - this.changes.length)
    const end = Math.min(this.changes.length, first + maximum)
    const found: RouteChange[] = []
    for (let index = first; index < end; index += 1) found.push(this.changes.at(index) as RouteChange)
    return found
  }

  filterAdded(filter: string): void {
    this.append({ filter, withdrawn: false, group: undefined })
  }

  filterRemoved(filter: string): void {
    this.append({ filter, withdrawn: true, group: undefined })
  }

  groupChanged(route: GroupRoute): void {
    this.append(groupChange(route))
  }

  private append(change: RouteChange): void {
    if (!this.changes.push(change)) {
      this.changes.shift()
      this.changes.push(change)
    }
    this.newest += 1
    this.onChange()
  }
}

function groupChange({ filter, id, connected, members }: GroupRoute): RouteChange {
  return { filter, withdrawn: members === 0, group: { id, connected, total: members } }
}
