/**
 * The segments of one shelf: which there are, in memory, and what a commit makes of them. A segment has all entries from
 * its first number to that of the next one, so it is found by a search among first numbers.
 *
 * Entries that go are struck from the bits beside their segment. One that has none left is removed; of one that has come
 * below a quarter of its bytes, or that something is put into, what is left is written again, together with a neighbor
 * that is small as well. So a shelf takes at most four times the room of its entries. New ones are put into the last
 * segment while that is small, so a commit of a single message does not leave a segment of its own.
 */

import { entryOf, SEGMENT_BYTES, SEGMENT_SPAN, type Segment, SegmentBuilder } from './segment.js'

/** Below this share of its record, what still counts of a segment is written again. */
const SPARSE = 1 / 4

/** What is left of a segment, when it is not more than this, is put together with a neighbor of twice that or less. */
const JOINED_BYTES = SEGMENT_BYTES / 4

/** A record of this size has a page of LMDB's with others, and takes in what comes next. */
const SMALL_BYTES = 2_000

/** Records of segments in memory, by the least recent use: for readers of as many queues that stand apart. */
const CACHE_BYTES = 4 * 1024 * 1024

const START_BYTES = 6
const BITS_KEY_BYTES = START_BYTES + 1

export interface SegmentWrite {
  readonly key: Buffer
  /** Undefined removes the key. */
  readonly value: Buffer | undefined
}

/** What a commit puts on a shelf and takes from it. */
export interface SegmentChanges {
  /** Nothing is to be under these. */
  readonly removed: readonly number[]
  /** In any order, each once. */
  readonly entries: readonly SegmentEntry[]
}

export interface SegmentEntry {
  readonly number: number
  readonly value: Uint8Array
}

/** What becomes of one segment. */
interface Touch {
  /** Distances of entries that go. */
  readonly gone: number[]
  /** Entries that are put into it, or undefined. */
  added: SegmentEntry[] | undefined
  /** Entries between it and the next one. */
  following: SegmentEntry[] | undefined
  /** It is written again with a neighbor. */
  isJoined: boolean
}

/** What a commit that is on its way will have done. */
interface Plan {
  readonly struck: [segment: Segment, gone: readonly number[]][]
  /** With their records, which are read from here until then. */
  readonly replaced: Map<Segment, Buffer | undefined>
  readonly made: Segment[]
}

export class Segments {
  /** By their first numbers. */
  private list: Segment[] = []
  private plan: Plan | undefined
  private readonly cache = new Map<Segment, Buffer>()
  private cacheBytes = 0
  /** Where the last search has ended. */
  private found = 0

  /** @param read what is under a key on the disk */
  constructor(private readonly read: (key: Buffer) => Buffer | undefined) {}

  /** On the disk. */
  get length(): number {
    return this.list.length
  }

  /** What is under a number; a part of something larger that does not change. */
  get(number: number): Buffer | undefined {
    const segment = this.list[this.floor(number)]
    if (segment?.has(number) !== true) return undefined
    const record = this.recordOf(segment)
    return record && entryOf(record, number - segment.start)
  }

  /** Takes in a segment of the disk; behind all that were taken in before. */
  restore(segment: Segment): void {
    this.list.push(segment)
  }

  /**
   * What a commit has to write for this; `commit` or `discard` follows.
   * @throws RangeError when a record that is to be written again is not there
   */
  prepare(changes: SegmentChanges): SegmentWrite[] {
    const plan: Plan = { struck: [], replaced: new Map(), made: [] }
    const touches = this.touchesOf(changes)
    const [removals, puts]: SegmentWrite[][] = [[], []]
    const builder = new SegmentBuilder()
    const flush = (): void => {
      if (builder.isEmpty) return
      const { segment, record } = builder.take()
      plan.made.push(segment)
      this.remember(segment, record)
      puts?.push({ key: keyOf(segment.start), value: record })
    }
    const put = ({ number, value }: SegmentEntry): void => {
      if (!builder.fits(number, value)) flush()
      builder.add(number, value)
    }
    let next = 0
    for (const index of Array.from(touches.keys()).sort((a, b) => a - b)) {
      const segment = this.list[index]
      const touch = touches.get(index) as Touch
      // What is written between two segments must not reach beyond the second.
      const isRewritten = segment !== undefined && mustRewrite(segment, touch)
      if (index !== next || !isRewritten) flush()
      next = index + 1
      if (segment !== undefined && isRewritten) {
        removals?.push({ key: keyOf(segment.start), value: undefined })
        if (segment.hasBits) removals?.push({ key: bitsKeyOf(segment.start), value: undefined })
        for (const entry of this.contentOf(segment, touch, plan)) put(entry)
      } else if (segment !== undefined && touch.gone.length > 0) {
        plan.struck.push([segment, touch.gone])
        puts?.push({ key: bitsKeyOf(segment.start), value: segment.bitsWithout(touch.gone) })
      }
      for (const entry of touch.following ?? []) put(entry)
    }
    flush()
    this.plan = plan
    return [...(removals ?? []), ...(puts ?? [])]
  }

  /** What was prepared is on the disk. */
  commit(): void {
    const { plan } = this
    if (plan === undefined) return
    this.plan = undefined
    for (const [segment, gone] of plan.struck) segment.forget(gone)
    for (const segment of plan.replaced.keys()) this.forgetRecord(segment)
    this.replace(plan)
  }

  /** What was prepared is not. */
  discard(): void {
    for (const segment of this.plan?.made ?? []) this.forgetRecord(segment)
    this.plan = undefined
  }

  /** By index of the segment; -1 for what comes before all. */
  private touchesOf({ removed, entries }: SegmentChanges): Map<number, Touch> {
    const touches = new Map<number, Touch>()
    const touch = (index: number): Touch => {
      let found = touches.get(index)
      if (found === undefined) {
        found = { gone: [], added: undefined, following: undefined, isJoined: false }
        touches.set(index, found)
      }
      return found
    }
    for (const number of removed) {
      const index = this.floor(number)
      const segment = this.list[index]
      if (segment?.has(number) === true) touch(index).gone.push(number - segment.start)
    }
    for (const entry of inOrder(entries)) {
      const index = this.floor(entry.number)
      const segment = this.list[index]
      const found = touch(index)
      if (segment === undefined || !takesIn(segment, entry.number)) {
        found.following ??= []
        found.following.push(entry)
        continue
      }
      if (segment.has(entry.number)) found.gone.push(entry.number - segment.start)
      found.added ??= []
      found.added.push(entry)
    }
    for (const index of [...touches.keys()]) {
      const segment = this.list[index]
      const found = touch(index)
      // One that takes in what is new grows by itself.
      if (segment === undefined || found.added !== undefined || !mustRewrite(segment, found)) continue
      const left = bytesLeft(segment, found)
      if (left === 0 || left > JOINED_BYTES) continue
      const other = [index + 1, index - 1].find((one) => this.mayJoin(one, left))
      if (other !== undefined) touch(other).isJoined = true
    }
    return touches
  }

  /** Whether a segment is small enough to be written again with so much of its neighbor. */
  private mayJoin(index: number, bytes: number): boolean {
    const segment = this.list[index]
    return segment !== undefined && segment.liveBytes + bytes <= 2 * JOINED_BYTES
  }

  /** What a segment that is written again will have. */
  private *contentOf(segment: Segment, { gone, added = [] }: Touch, plan: Plan): Generator<SegmentEntry> {
    const left = new Set<number>()
    for (let distance = 0; distance < segment.sizes.length; distance += 1) {
      if (segment.sizes[distance] !== 0) left.add(distance)
    }
    for (const distance of gone) left.delete(distance)
    const record = left.size === 0 ? undefined : this.recordOf(segment)
    plan.replaced.set(segment, record)
    let next = 0
    for (const distance of left) {
      const number = segment.start + distance
      for (let entry = added[next]; entry !== undefined && entry.number < number; entry = added[next]) {
        yield entry
        next += 1
      }
      const value = record && entryOf(record, distance)
      if (value === undefined) throw new RangeError(`the entries from ${segment.start} on are not whole`)
      yield { number, value }
    }
    yield* added.slice(next)
  }

  private replace({ replaced, made }: Plan): void {
    const { list } = this
    this.found = 0
    const last = list[list.length - 1]
    if (replaced.size === 0 && (last === undefined || made[0] === undefined || last.start < made[0].start)) {
      list.push(...made)
      return
    }
    // A pass over all of them, for each commit that removes some: a million messages are a few thousand.
    const merged: Segment[] = []
    let next = 0
    for (const segment of list) {
      if (replaced.has(segment)) continue
      for (let one = made[next]; one !== undefined && one.start < segment.start; one = made[next]) {
        merged.push(one)
        next += 1
      }
      merged.push(segment)
    }
    this.list = merged.concat(made.slice(next))
  }

  /** Index of the segment that has this number if any has; -1 when it is before all of them. */
  private floor(number: number): number {
    const { list, found } = this
    const here = list[found]
    if (here !== undefined && here.start <= number) {
      const after = list[found + 1]
      if (after === undefined || after.start > number) return found
    }
    let [low, high] = [0, list.length - 1]
    while (low <= high) {
      const middle = (low + high) >> 1
      if ((list[middle] as Segment).start <= number) low = middle + 1
      else high = middle - 1
    }
    this.found = Math.max(0, high)
    return high
  }

  private recordOf(segment: Segment): Buffer | undefined {
    const cached = this.cache.get(segment)
    if (cached !== undefined) {
      // The last used is the last to go.
      this.cache.delete(segment)
      this.cache.set(segment, cached)
      return cached
    }
    const record = this.plan?.replaced.get(segment) ?? this.read(keyOf(segment.start))
    if (record !== undefined) this.remember(segment, record)
    return record
  }

  private remember(segment: Segment, record: Buffer): void {
    this.cache.set(segment, record)
    this.cacheBytes += record.length
    for (const [oldest] of this.cache) {
      if (this.cacheBytes <= CACHE_BYTES) return
      this.forgetRecord(oldest)
    }
  }

  private forgetRecord(segment: Segment): void {
    const record = this.cache.get(segment)
    if (record === undefined) return
    this.cache.delete(segment)
    this.cacheBytes -= record.length
  }
}

/** The first number that a key stands for, and whether it is that of the bits. */
export function readKey(key: Buffer): { readonly start: number; readonly isBits: boolean } {
  return { start: key.readUIntBE(0, START_BYTES), isBits: key.length === BITS_KEY_BYTES }
}

function keyOf(start: number): Buffer {
  const key = Buffer.allocUnsafe(START_BYTES)
  key.writeUIntBE(start, 0, START_BYTES)
  return key
}

/** Behind its segment, in the order of the keys. */
function bitsKeyOf(start: number): Buffer {
  const key = Buffer.alloc(BITS_KEY_BYTES)
  key.writeUIntBE(start, 0, START_BYTES)
  return key
}

/** Whether a number at or behind the start of a segment becomes part of it. */
function takesIn({ start, sizes, bytes }: Segment, number: number): boolean {
  const distance = number - start
  return distance < sizes.length || (bytes < SMALL_BYTES && distance < SEGMENT_SPAN)
}

function mustRewrite(segment: Segment, touch: Touch): boolean {
  if (touch.isJoined || touch.added !== undefined || touch.gone.length === segment.live) return true
  return bytesLeft(segment, touch) < segment.bytes * SPARSE
}

function bytesLeft(segment: Segment, { gone }: Touch): number {
  let left = segment.liveBytes
  for (const distance of gone) left -= segment.bytesAt(distance)
  return left
}

function inOrder(entries: readonly SegmentEntry[]): readonly SegmentEntry[] {
  for (let index = 1; index < entries.length; index += 1) {
    if ((entries[index] as SegmentEntry).number < (entries[index - 1] as SegmentEntry).number) {
      return [...entries].sort((a, b) => a.number - b.number)
    }
  }
  return entries
}
