/**
 * Hints: what nodes that are down are owed, in the store of this node, until they have it. Each is a batch of QoS 1 and 2
 * messages as it goes over a link, with a number that rises for each receiver and is never given twice, so that a
 * receiver knows it again, whichever life of the two nodes sends it and gets it. Hints are sent in the order of their
 * numbers, and read from the store one by one.
 *
 * `Hints.of(node)` is what one node is owed: `entries()` walks through it in order, `drop` forgets one, `dropAll` all.
 */

import type { NodeId } from '../broker/ports.js'
import type { Hold, LocalStore, ShelfContents, StoreShelf, StoreTable } from '../broker/store-port.js'
import type { SealedBatch } from './batch.js'
import { decodeHint, encodeHint, type Hint } from './stored-hint.js'

export type { Hint } from './stored-hint.js'

/** Numbers on the shelf are those of a receiver behind the number of its row. */
const ROW_NUMBERS = 2 ** 32
const MAXIMUM_ROWS = 65_535

/** So many numbers at a time are written down as given out. */
const NUMBERS_STEP = 1_024

/** Whoever sends the hints of one receiver. */
export interface HintOwner {
  /** A commit reads the hint that is being filled: it is handed over by `fill` now. */
  seal(number: number): void
  /** All hints up to this number are kept. @param hint the last of them; undefined when it was dropped meanwhile */
  committed(number: number, hint: Hint | undefined): void
}

/** What a hint is made of. */
export type HintContent = Pick<SealedBatch, 'entries' | 'continued' | 'count'> &
  Pick<Hint, 'incarnation' | 'sequence' | 'receiver' | 'madeAt'>

/** What one node is owed. */
export class HintsFor {
  owner: HintOwner | undefined
  /** Messages that others are being given in place of the receiver: dropped when they have them. */
  promised = 0
  /** Not yet kept: undefined while it is being filled. */
  private readonly fresh = new Map<number, Hint | undefined>()
  /** Dropped behind the first that is there. */
  private readonly dropped = new Set<number>()
  private byteCount = 0
  private messageCount = 0
  private firstNumber = 1
  private lastNumber = 0
  private lastCommitted = 0
  /** Numbers up to this one may have been given out in a life before. */
  private reservedTo = 0

  constructor(
    readonly receiver: NodeId,
    readonly row: number,
    /** Which row of numbers this is: a receiver that knows another one forgets what it knows. */
    readonly since: number,
    private readonly parent: HintsParent,
  ) {}

  /** Messages. */
  get length(): number {
    return this.messageCount
  }

  /** Of entries. */
  get bytes(): number {
    return this.byteCount
  }

  /** Number of the first hint that may be there. */
  get first(): number {
    return this.firstNumber
  }

  /** The last that was given out. */
  get last(): number {
    return this.lastNumber
  }

  /** All up to this one are kept. */
  get committed(): number {
    return this.lastCommitted
  }

  /** All up to this one are kept, or cannot be kept now: nothing is gained by waiting. */
  get ready(): number {
    return this.parent.isFailing ? this.lastNumber : this.lastCommitted
  }

  /** A new number, for a hint that `fill` gives in this turn, or when a commit asks its owner to. */
  reserve(): number {
    this.lastNumber += 1
    this.fresh.set(this.lastNumber, undefined)
    if (this.lastNumber > this.reservedTo) this.reserveNumbers(this.lastNumber + NUMBERS_STEP)
    this.parent.changed(this, this.lastNumber, undefined)
    return this.lastNumber
  }

  /** Of a number that was reserved, and not read since: the commit that is to read it has yet to come. */
  fill(number: number, content: HintContent): void {
    this.fresh.set(number, { number, ...content })
    this.byteCount += content.entries.length
    this.messageCount += content.count
  }

  /** In the turn in which it was filled, or while it is. @param pending is held until its commit, and refused when that fails */
  hold(number: number, pending: Hold): void {
    this.parent.changed(this, number, pending)
  }

  /** Undefined when it is not there (any more). @throws StoreError, NodeError STORED_HINT_INVALID */
  get(number: number): Hint | undefined {
    // The store may have it until its next commit.
    if (number < this.firstNumber || this.dropped.has(number)) return undefined
    return this.fresh.get(number) ?? this.parent.get(this, number)
  }

  /** All that are there, in order, one at a time in memory. They may be dropped meanwhile. */
  *entries(): Generator<Hint> {
    for (let number = this.firstNumber; number <= this.lastNumber; number += 1) {
      const hint = this.get(number)
      if (hint !== undefined) yield hint
    }
  }

  /** The receiver has it, or is owed it no more. */
  drop({ number, entries, count }: Pick<Hint, 'number' | 'entries' | 'count'>): void {
    // All of it may have been written off before that was known.
    if (number < this.firstNumber || this.dropped.has(number)) return
    this.byteCount -= entries.length
    this.messageCount -= count
    this.remove(number)
  }

  /** Returns how many messages that were. */
  dropAll(): number {
    const { messageCount } = this
    for (let number = this.firstNumber; number <= this.lastNumber; number += 1) {
      this.fresh.delete(number)
      this.parent.removed(this, number)
    }
    this.firstNumber = this.lastNumber + 1
    this.dropped.clear()
    this.byteCount = 0
    this.messageCount = 0
    return messageCount
  }

  // ── as the store asks ────────────────────────────────────────────────────────────────────────────────────────

  read(number: number): Hint | undefined {
    if (this.fresh.has(number) && this.fresh.get(number) === undefined) this.owner?.seal(number)
    return this.fresh.get(number)
  }

  kept(number: number): void {
    const hint = this.fresh.get(number)
    this.fresh.delete(number)
    if (number <= this.lastCommitted) return
    this.lastCommitted = number
    this.owner?.committed(number, hint)
  }

  restore(number: number, { entries, count }: Hint): void {
    if (this.messageCount === 0 && this.byteCount === 0) this.firstNumber = number
    this.byteCount += entries.length
    this.messageCount += count
  }

  /** Of a row that was there: what it says may have been given out is not given out again. */
  restoreNumbers(reservedTo: number): void {
    this.reservedTo = reservedTo
    this.lastNumber = reservedTo
    this.lastCommitted = reservedTo
    this.firstNumber = reservedTo + 1
  }

  describe(): StoredRow {
    return { row: this.row, since: this.since, reservedTo: this.reservedTo }
  }

  private reserveNumbers(upTo: number): void {
    this.reservedTo = upTo
    this.parent.rowChanged(this)
  }

  private remove(number: number): void {
    this.fresh.delete(number)
    this.parent.removed(this, number)
    this.dropped.add(number)
    while (this.dropped.delete(this.firstNumber)) this.firstNumber += 1
    if (this.messageCount === 0 && this.byteCount === 0 && this.fresh.size === 0) {
      this.firstNumber = this.lastNumber + 1
      this.dropped.clear()
    }
  }
}

/** As the store has it. */
export interface StoredRow {
  readonly row: number
  readonly since: number
  readonly reservedTo: number
}

/** The row and the number of a hint on the shelf. */
export function placeOf(place: number): { row: number; number: number } {
  return { row: Math.floor(place / ROW_NUMBERS), number: place % ROW_NUMBERS }
}

/** What the rows ask of the whole. */
interface HintsParent {
  readonly isFailing: boolean
  changed(hints: HintsFor, number: number, pending: Hold | undefined): void
  /** With any of the next commits: until then it may be sent again, and is recognized. */
  removed(hints: HintsFor, number: number): void
  rowChanged(hints: HintsFor): void
  get(hints: HintsFor, number: number): Hint | undefined
}

export class Hints implements ShelfContents, HintsParent {
  private readonly byReceiver = new Map<NodeId, HintsFor>()
  private readonly byRow = new Map<number, HintsFor>()
  private readonly rows: StoreTable
  private readonly shelf: StoreShelf

  /**
   * Before the store is loaded.
   * @param incarnation of this node
   */
  constructor(
    private readonly store: LocalStore,
    private readonly incarnation: number,
  ) {
    this.rows = store.table('hint-receivers', {
      read: (receiver) => this.readRow(receiver),
      restore: (receiver, value) => this.restoreRow(receiver, JSON.parse(value.toString()) as StoredRow),
      keys: () => this.byReceiver.keys(),
    })
    this.shelf = store.shelf('hints', this)
  }

  get isFailing(): boolean {
    return this.store.isFailing
  }

  /** What this node is owed; made when it is asked for first. */
  of(receiver: NodeId): HintsFor {
    const known = this.byReceiver.get(receiver)
    if (known !== undefined) return known
    let row = 1
    while (this.byRow.has(row) && row < MAXIMUM_ROWS) row += 1
    return this.add(new HintsFor(receiver, row, this.incarnation, this))
  }

  /** Those that are owed something. */
  *owed(): Generator<HintsFor> {
    for (const hints of this.byReceiver.values()) if (hints.length > 0) yield hints
  }

  /** What is in the store is another node's now: it is forgotten here, and the rows of numbers go on. */
  disown(): void {
    for (const hints of this.byReceiver.values()) {
      hints.dropAll()
      this.rowChanged(hints)
    }
  }

  changed(hints: HintsFor, number: number, pending: Hold | undefined): void {
    this.shelf.changed(hints.row * ROW_NUMBERS + number, pending)
  }

  removed(hints: HintsFor, number: number): void {
    this.shelf.changedLater(hints.row * ROW_NUMBERS + number)
  }

  rowChanged({ receiver }: HintsFor): void {
    this.rows.changed(receiver, undefined)
  }

  get(hints: HintsFor, number: number): Hint | undefined {
    const bytes = this.shelf.get(hints.row * ROW_NUMBERS + number)
    return bytes === undefined ? undefined : decodeHint(number, bytes)
  }

  read(place: number): Buffer | undefined {
    const hint = this.byRow.get(Math.floor(place / ROW_NUMBERS))?.read(place % ROW_NUMBERS)
    return hint === undefined ? undefined : encodeHint(hint)
  }

  kept(place: number): void {
    this.byRow.get(Math.floor(place / ROW_NUMBERS))?.kept(place % ROW_NUMBERS)
  }

  restore(place: number, value: Buffer): void {
    const number = place % ROW_NUMBERS
    const hints = this.byRow.get(Math.floor(place / ROW_NUMBERS))
    if (hints === undefined) this.shelf.changed(place, undefined)
    else hints.restore(number, decodeHint(number, value))
  }

  private add(hints: HintsFor): HintsFor {
    this.byReceiver.set(hints.receiver, hints)
    this.byRow.set(hints.row, hints)
    return hints
  }

  private readRow(receiver: string): Buffer | undefined {
    const hints = this.byReceiver.get(receiver)
    return hints === undefined ? undefined : Buffer.from(JSON.stringify(hints.describe()))
  }

  private restoreRow(receiver: string, { row, since, reservedTo }: StoredRow): void {
    this.add(new HintsFor(receiver, row, since, this)).restoreNumbers(reservedTo)
  }
}
