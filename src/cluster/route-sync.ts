/**
 * Routes between this node and one peer, in both directions, without I/O. Each node writes only its own routes, so
 * there is nothing to merge: the RoutePublisher brings a peer from the version it has to ours, by changes or by a
 * snapshot; the RouteMirror takes what the peer says of its own into the route table and asks again where it does not
 * fit. Whatever is lost or done twice, the digests find it.
 */

import { GroupRoutes } from '../router/group-routes.js'
import { sumOfDigests } from '../router/route-digest.js'
import type { NodeId, RouteTable } from '../router/route-table.js'
import { PUBLISHERS_ROUTE } from '../router/subscription-table.js'
import type { RouteLog } from './route-log.js'
import type { LinkBody, RouteChange, RouteCheck, RouteDeltas, RouteRequest, RouteSnapshot } from './wire.js'

/** Filters or changes in one message, and the bytes at which it is cut. */
const CHUNK_FILTERS = 1_000
const CHUNK_BYTES = 32 * 1024

/** Longest time without a digest, in milliseconds. */
export const ROUTE_CHECK_INTERVAL_MS = 10_000

/** What was sent and received, for the metrics of a peer. */
export interface RouteCounters {
  deltasSent: number
  deltasReceived: number
  snapshotsSent: number
  snapshotsReceived: number
  /** Snapshots that had to be asked for, because of a gap or a digest that differs. */
  resyncs: number
}

interface SnapshotProgress {
  readonly version: number
  readonly filters: Iterator<string>
  readonly groups: Iterator<RouteChange>
  isFirst: boolean
}

export class RoutePublisher {
  /** Version up to which the peer was told; undefined while no link is open. */
  private told: number | undefined
  private confirmed = 0
  private snapshot: SnapshotProgress | undefined
  private owesCheck = false

  /** @param chunkFilters most filters or changes in one message */
  constructor(
    private readonly log: RouteLog,
    private readonly counters: RouteCounters,
    private readonly chunkFilters = CHUNK_FILTERS,
  ) {}

  /** Version that the peer has confirmed. */
  get confirmedVersion(): number {
    return this.confirmed
  }

  /** A link is open and the peer has this version. */
  open(version: number): void {
    // A version of the future is from a mistaken peer, or of another life of this node: begin anew.
    const isKnown = version <= this.log.version
    this.told = isKnown ? version : 0
    this.confirmed = isKnown ? version : 0
    this.snapshot = undefined
    // Also when nothing is missing: an empty delta or a digest is how the peer learns that it is complete.
    this.owesCheck = true
  }

  close(): void {
    this.told = undefined
    this.snapshot = undefined
  }

  confirm(version: number): void {
    if (version > this.confirmed && version <= this.log.version) this.confirmed = version
  }

  request({ haveVersion, snapshot }: RouteRequest): void {
    if (this.told === undefined) return
    if (snapshot || !this.log.hasChangesAfter(haveVersion)) this.beginSnapshot()
    else this.told = haveVersion
    this.owesCheck = true
  }

  /** The digest is to be sent once the peer is up to date. */
  check(): void {
    this.owesCheck = true
  }

  /** What to send next; undefined when the peer has been told everything. */
  next(): LinkBody | undefined {
    if (this.told === undefined) return undefined
    if (this.snapshot === undefined && this.told < this.log.version && !this.log.hasChangesAfter(this.told)) {
      this.beginSnapshot()
    }
    if (this.snapshot !== undefined) return this.nextChunk(this.snapshot)
    if (this.told < this.log.version) return this.nextDeltas(this.told)
    if (!this.owesCheck) return undefined
    this.owesCheck = false
    const { count, high, low } = this.log.digest()
    return { $case: 'routeCheck', value: { version: this.log.version, count, high, low } }
  }

  private beginSnapshot(): void {
    // The table may change while it is read; those changes have later versions and are sent after the snapshot.
    this.snapshot = {
      version: this.log.version,
      filters: this.log.filters()[Symbol.iterator](),
      groups: this.log.groups(),
      isFirst: true,
    }
    this.counters.snapshotsSent += 1
  }

  private nextChunk(snapshot: SnapshotProgress): LinkBody {
    const filters: string[] = []
    const groups: RouteChange[] = []
    let bytes = 0
    let last = false
    while (filters.length + groups.length < this.chunkFilters && bytes < CHUNK_BYTES) {
      const { done, value } = snapshot.filters.next()
      if (done !== true) {
        filters.push(value)
        bytes += value.length
        continue
      }
      const group = snapshot.groups.next()
      if (group.done === true) {
        last = true
        break
      }
      groups.push(group.value)
      bytes += group.value.filter.length
    }
    const first = snapshot.isFirst
    snapshot.isFirst = false
    if (last) {
      this.snapshot = undefined
      this.told = snapshot.version
      this.owesCheck = true
    }
    return { $case: 'routeSnapshot', value: { version: snapshot.version, first, last, filters, groups } }
  }

  private nextDeltas(fromVersion: number): LinkBody {
    const changes = this.log.changesAfter(fromVersion, this.chunkFilters)
    this.told = fromVersion + changes.length
    this.counters.deltasSent += changes.length
    return { $case: 'routeDeltas', value: { fromVersion, changes } }
  }
}

/** All but those that begin with `$`, which no wildcard matches; and who has published it, which few want to know. */
const ALL_TOPICS = ['#', PUBLISHERS_ROUTE]

export class RouteMirror {
  private taken = 0
  private confirmed = 0
  private request: RouteRequest | undefined
  private isAsking = false
  private synced = false
  private isInSnapshot = false
  /** Routes of the incarnation before are in the table until this one has told all of its own. */
  private isInheriting: boolean
  /** All routes of the peer, as it had them at some moment, have come; or none are expected any more. */
  private isTold = false
  /** Who wants to know whether the next digest of the peer is that of its routes here. */
  private readonly verifications: ((isEqual: boolean) => void)[] = []
  /** Groups of the snapshot that is coming in. */
  private readonly seenGroups = new Set<string>()

  constructor(
    private readonly node: NodeId,
    private readonly table: RouteTable,
    private readonly counters: RouteCounters,
    private readonly groups: GroupRoutes = new GroupRoutes(),
  ) {
    this.isInheriting = this.count > 0
  }

  /** Whether the peer has said in this incarnation what it wants. */
  get hasTold(): boolean {
    return this.isTold
  }

  /** Version of the peer's routes that the table has. */
  get version(): number {
    return this.taken
  }

  /** Routes of the peer in the table. */
  get count(): number {
    return this.table.count(this.node) + this.groups.count(this.node)
  }

  /** True while the last digest of the peer on the link that is open was that of its routes here. */
  get isSynced(): boolean {
    return this.synced
  }

  /** A link is open: the peer will go on from `version`. */
  open(): void {
    this.confirmed = this.taken
    this.request = undefined
    this.isAsking = false
    this.synced = false
    this.abandonSnapshot()
    this.settleVerifications(false)
    if (!this.isInheriting) return
    this.isAsking = true
    this.request = { haveVersion: 0, snapshot: true }
  }

  /** Asks the peer for its digest; `done` hears whether it is that of its routes here, false when the link goes before. */
  verify(done: (isEqual: boolean) => void): void {
    this.verifications.push(done)
    // A snapshot that is coming in, or was asked for, has a digest behind it.
    if (!this.isInSnapshot && !this.isAsking) this.request ??= { haveVersion: this.taken, snapshot: false }
  }

  /** The link has gone. */
  close(): void {
    this.settleVerifications(false)
  }

  /**
   * Another incarnation of the peer has a mirror of its own: what is in the table stays until that one is told. Its groups
   * have other numbers then, and are found by their filters.
   */
  passOn(): void {
    this.groups.forgetNumbers(this.node)
  }

  /** The peer is to get everything until it has said what it wants. */
  expectAll(): void {
    for (const filter of ALL_TOPICS) this.table.add(this.node, filter)
    this.isInheriting = true
  }

  /** Forgets the peer's routes, in one step. */
  clear(): void {
    this.table.clear(this.node)
    this.groups.clear(this.node)
    this.isInheriting = false
    this.isTold = true
    this.taken = 0
    this.confirmed = 0
    this.abandonSnapshot()
  }

  takeDeltas({ fromVersion, changes }: RouteDeltas): void {
    if (this.isInSnapshot) return
    if (fromVersion > this.taken) {
      this.ask(false)
      return
    }
    this.counters.deltasReceived += changes.length
    // Those that came before are left out: a link may repeat what it was told, never skip.
    for (let index = this.taken - fromVersion; index < changes.length; index += 1) {
      this.take(changes[index] as RouteChange)
    }
    this.taken = Math.max(this.taken, fromVersion + changes.length)
    this.isAsking = false
  }

  takeSnapshot({ version, first, last, filters, groups }: RouteSnapshot): void {
    if (first) {
      this.counters.snapshotsReceived += 1
      this.isInSnapshot = true
      this.seenGroups.clear()
      this.table.beginSnapshot(this.node)
    }
    // The rest of one that was given up.
    if (!this.isInSnapshot) return
    for (const filter of filters) this.table.add(this.node, filter)
    for (const change of groups) {
      this.take(change)
      this.seenGroups.add(change.filter)
    }
    if (!last) return
    this.table.endSnapshot(this.node)
    this.isInheriting = false
    this.isTold = true
    this.removeUnseenGroups()
    this.abandonSnapshot()
    this.taken = version
    // Confirmed in any case, also when the snapshot mended what had this version already.
    this.confirmed = Math.min(this.confirmed, version - 1)
    this.isAsking = false
  }

  takeCheck({ version, count, high, low }: RouteCheck): void {
    if (this.isInSnapshot) {
      // The peer has told all of it, and its end is not here.
      this.abandonSnapshot()
      return this.ask(true)
    }
    // A snapshot that was asked for has a digest behind it.
    if (this.isInheriting) return
    if (version !== this.taken) {
      // The peer has told everything and it is not here: ask again, whatever became of an earlier question.
      this.isAsking = false
      this.ask(version < this.taken)
      this.settleVerifications(false)
      return
    }
    this.isTold = true
    const own = sumOfDigests(this.table.digest(this.node), this.groups.digest(this.node))
    this.synced = own.count === count && own.high === high && own.low === low
    if (!this.synced) this.ask(true)
    this.settleVerifications(this.synced)
  }

  /** What to send next; undefined when nothing is owed. */
  next(): LinkBody | undefined {
    if (this.request !== undefined) {
      const value = this.request
      this.request = undefined
      return { $case: 'routeRequest', value }
    }
    if (this.taken === this.confirmed) return undefined
    this.confirmed = this.taken
    return { $case: 'routeAck', value: { version: this.taken } }
  }

  private take({ filter, withdrawn, group }: RouteChange): void {
    if (group !== undefined) {
      const { id, connected, total } = group
      this.groups.set(this.node, { filter, id, connected, members: withdrawn ? 0 : total })
    } else if (withdrawn) {
      this.table.remove(this.node, filter)
    } else {
      this.table.add(this.node, filter)
    }
  }

  /** Asks once until it is answered. */
  private ask(snapshot: boolean): void {
    if (this.isAsking && !snapshot) return
    this.isAsking = true
    this.counters.resyncs += 1
    this.request = { haveVersion: this.taken, snapshot }
  }

  private settleVerifications(isEqual: boolean): void {
    for (const done of this.verifications.splice(0)) done(isEqual)
  }

  private removeUnseenGroups(): void {
    const withdrawn: string[] = []
    for (const filter of this.groups.filters(this.node)) if (!this.seenGroups.has(filter)) withdrawn.push(filter)
    for (const filter of withdrawn) this.groups.remove(this.node, filter)
  }

  private abandonSnapshot(): void {
    this.isInSnapshot = false
    this.seenGroups.clear()
  }
}
