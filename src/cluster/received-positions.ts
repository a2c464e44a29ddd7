/**
 * How far this node has come in what each peer sends it, kept in the store in the same commit as the messages themselves:
 * so what sessions have on the disk, and what their peers are told of it by the next life of this node, is of one moment.
 *
 * A batch is known by where it comes from: an incarnation of its sender and its number there; one from the store of its
 * sender by the number of the hint, too, which stays the same when the sender is restarted.
 */

import type { NodeId } from '../broker/ports.js'
import type { Store, StoreTable, TableContents } from '../broker/store-port.js'
import { asError } from '../util/errors.js'
import type { BatchHold } from './batch-hold.js'
import { type Found, type InboundLane, type LanePosition, NO_POSITION } from './inbound-lane.js'
import type { Hint } from './stored-hint.js'
import type { BatchOrigin } from './wire.js'

/** Of each sender so many incarnations are known: what it owed from before them has come or is given up. */
const KEPT_INCARNATIONS = 16

/** A sender that has not been heard of for so long is not known any more when this node starts. */
const FORGET_AFTER_MS = 30 * 24 * 3_600_000

const VERSION = 1

interface StoredPositions {
  readonly version: number
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly hints: { readonly since: number; readonly upTo: number; readonly selected: readonly number[] }
  readonly lanes: readonly (LanePosition & { readonly incarnation: number })[]
}

/** A lane, or what a life of this node before this one had of it. */
type Lane = Pick<InboundLane, 'position' | 'find' | 'holds' | 'length' | 'losePieces'>

/** Of one sender. */
export class SenderPositions {
  /** By incarnation of the sender, the newest last. */
  private readonly lanes = new Map<number, Lane>()
  /** Which row of numbers the hints have; see `HintsFor.since`. */
  private since = 0
  /** The highest that has come. */
  private received = 0
  /** Behind it, from before a restart. */
  private readonly known = new Set<number>()

  /** The lane of an incarnation that has come; `create` gets how far it was. */
  enter(incarnation: number, create: (position: LanePosition) => InboundLane): InboundLane {
    const before = this.lanes.get(incarnation)
    for (const former of this.lanes.values()) former.losePieces()
    const lane = create(before === undefined ? NO_POSITION : before.position())
    this.lanes.delete(incarnation)
    this.lanes.set(incarnation, lane)
    for (const [oldest, { length }] of this.lanes) {
      if (this.lanes.size <= KEPT_INCARNATIONS) break
      if (length === 0) this.lanes.delete(oldest)
    }
    return lane
  }

  /** The sender says which numbers its hints have. */
  openHints(since: number): void {
    if (since === this.since) return
    this.since = since
    this.received = 0
    this.known.clear()
  }

  /** The same batch as it came before; from here on it has come. */
  findEarlier({ hint, incarnation, sequence }: BatchOrigin): Found {
    const byHint = hint === 0 ? undefined : this.findHint(hint)
    const lane = byHint === undefined && sequence !== 0 ? this.lanes.get(incarnation) : undefined
    const found = byHint ?? lane?.find(sequence)
    this.received = Math.max(this.received, hint)
    return found
  }

  /** This hint and those behind it have not come after all. */
  lose(hint: number): void {
    this.received = Math.min(this.received, hint - 1)
  }

  describe(): Omit<StoredPositions, 'version' | 'at'> {
    const lanes = Array.from(this.lanes, ([incarnation, lane]) => ({ incarnation, ...lane.position() }))
    return { hints: { since: this.since, ...this.describeHints() }, lanes }
  }

  restore({ hints, lanes }: StoredPositions): void {
    this.since = hints.since
    this.received = hints.upTo
    for (const number of hints.selected) this.known.add(number)
    for (const { incarnation, upTo, selected, gaps } of lanes) {
      this.lanes.set(incarnation, new FormerLane({ upTo, selected, gaps }))
    }
  }

  private findHint(hint: number): Found {
    if (this.known.delete(hint)) return 'kept'
    if (hint > this.received) return undefined
    for (const hold of this.holds()) if (hold.hint === hint) return hold
    return 'kept'
  }

  private describeHints(): { upTo: number; selected: number[] } {
    let lowest = Infinity
    for (const { hint, isTaken } of this.holds()) if (hint !== 0 && !isTaken) lowest = Math.min(lowest, hint)
    const selected = [...this.known]
    if (lowest === Infinity) return { upTo: this.received, selected }
    for (const { hint, isTaken } of this.holds()) if (hint > lowest && isTaken) selected.push(hint)
    return { upTo: lowest - 1, selected }
  }

  private *holds(): Generator<BatchHold> {
    for (const lane of this.lanes.values()) yield* lane.holds()
  }
}

/** Of an incarnation that has not come back since this node was restarted. */
class FormerLane implements Lane {
  constructor(private readonly at: LanePosition) {}

  position(): LanePosition {
    return this.at
  }

  find(sequence: number): Found {
    const { upTo, selected, gaps } = this.at
    if (selected.includes(sequence)) return 'kept'
    const isPassedOver = gaps.some(([first, last]) => first <= sequence && sequence <= last)
    return sequence <= upTo && !isPassedOver ? 'kept' : undefined
  }

  holds(): Iterable<BatchHold> {
    return []
  }

  get length(): number {
    return 0
  }

  losePieces(): void {}
}

export class ReceivedPositions implements TableContents {
  readonly tellsOfShelves = true
  private readonly senders = new Map<NodeId, SenderPositions>()
  private readonly table: StoreTable | undefined

  /** @param store where sessions are kept, too; undefined where they are not: then positions are those of this life */
  constructor(store: Store | undefined) {
    this.table = store?.table('received-positions', this)
  }

  of(sender: NodeId): SenderPositions {
    let positions = this.senders.get(sender)
    if (positions === undefined) {
      positions = new SenderPositions()
      this.senders.set(sender, positions)
    }
    return positions
  }

  /** Something from this sender goes with the next commit, and so does how far it has come. */
  changed(sender: NodeId): void {
    this.table?.changed(sender, undefined, true)
  }

  /** The sender is no member any more. */
  forget(sender: NodeId): void {
    if (this.senders.delete(sender)) this.changed(sender)
  }

  keys(): Iterable<string> {
    return this.senders.keys()
  }

  has(sender: string): boolean {
    return this.senders.has(sender)
  }

  read(sender: string): Buffer | undefined {
    const positions = this.senders.get(sender)
    if (positions === undefined) return undefined
    const stored: StoredPositions = { version: VERSION, at: Date.now(), ...positions.describe() }
    return Buffer.from(JSON.stringify(stored))
  }

  /** @throws Error when it cannot be read: the node must not start with sessions that get messages twice */
  restore(sender: string, value: Buffer): void {
    let stored: StoredPositions
    try {
      stored = JSON.parse(value.toString()) as StoredPositions
      if (stored.version !== VERSION) throw new TypeError(`version ${stored.version} is not known`)
    } catch (error) {
      throw new Error(`what was received from ${sender} cannot be read from the store`, { cause: asError(error) })
    }
    if (stored.at < Date.now() - FORGET_AFTER_MS) return this.changed(sender)
    this.of(sender).restore(stored)
  }
}

/** What a node has got from one sender, as it has kept it with its sessions. */
export class KnownBatches {
  private readonly positions = new SenderPositions()

  /** @param stored undefined when it has got nothing. @throws Error when it cannot be read */
  constructor(stored: Uint8Array | undefined) {
    if (stored !== undefined) this.positions.restore(JSON.parse(Buffer.from(stored).toString()) as StoredPositions)
  }

  /** Which row of numbers the hints of the sender have. Before `has`. */
  openHints(since: number): void {
    this.positions.openHints(since)
  }

  /** To be asked in the order of the hints. */
  has({ number, incarnation, sequence, receiver }: Hint): boolean {
    return this.positions.findEarlier({ hint: number, incarnation, sequence, receiver }) === 'kept'
  }
}
