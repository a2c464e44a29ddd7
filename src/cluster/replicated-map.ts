/**
 * A map that every node has a copy of. The last writer of a key wins, by hybrid logical clock; a removed key leaves a
 * tombstone for a day, so that a peer that was away does not bring it back. Writes go to every peer at once; a link
 * that opens compares digests of 256 buckets of keys, and what differs is exchanged. Whoever was away longer than
 * tombstones are kept, a day or the last 100 000, may bring back a removed key: that is the price of forgetting them.
 * A value that ends at a time of its own becomes the tombstone of its own write on every node by itself: the write, and
 * so the digest, is the same before and after, and whichever node is first has nothing to tell the others.
 */

import type { Replica } from '../broker/ports.js'
import type { Keeping, Store, StoreTable } from '../broker/store-port.js'
import { Heap } from '../util/heap.js'
import { compareWrites, type HybridClock, type Timestamp } from './hybrid-clock.js'
import { decodeStoredWrite, encodeStoredWrite } from './stored-write.js'
import type { MapEntry } from './wire.js'

/** Digests per map. */
export const BUCKETS = 256

/** How long a removed key is remembered. */
export const TOMBSTONE_RETENTION_MS = 24 * 60 * 60 * 1000

/** Removed keys that a map remembers at most; beyond it the oldest is forgotten before its time. Counted. */
export const MAXIMUM_TOMBSTONES = 100_000

/** Writes that were written over may wait this many for their time, and as many as there are others, before they go. */
const MINIMUM_COMPACTION = 1_000

/** A larger value stays on its node: it would not fit a link message beside others. Counted. */
export const MAXIMUM_VALUE_BYTES = 3 * 1024 * 1024

/** A write as it is kept. */
interface Write {
  readonly key: string
  /** undefined in a tombstone. */
  readonly value: Buffer | undefined
  readonly time: number
  readonly counter: number
  readonly node: string
  /** When the value ends, in milliseconds since the epoch; 0 when it does not. */
  readonly deadline: number
  readonly bucket: number
  /** Of the key and the timestamp, so that a value that has ended is no difference to one that has not. */
  readonly hash: number
}

export interface ReplicatedMapModules {
  /** This node's name. */
  node: string
  clock: HybridClock
  /** `MAXIMUM_TOMBSTONES` unless a test decides; the same on every node. */
  maximumTombstones?: number
  /** When a value ends, in milliseconds since the epoch; 0, or no function, when it does not. The same on every node. */
  deadlineOf?: (value: Buffer) => number
  /** Gets what a peer wrote and what is news here, and what has ended; not what this node wrote itself. */
  onChange: (key: string, value: Buffer | undefined) => void
  /** This node wrote a key: every peer is to be told. */
  onWritten: (key: string) => void
  /** Keeps a copy of the map, tombstones included, for the next life of this node. */
  store?: Store | undefined
}

export class ReplicatedMap implements Replica {
  private readonly writes = new Map<string, Write>()
  private readonly digests = new Uint32Array(BUCKETS)
  private tombstoneCount = 0
  /** The oldest first, in an order that is the same on every node. Some are of keys that were written again since. */
  private readonly oldestTombstones = new Heap<Write>(
    (a, b) => compareWrites(a, b) || (a.key < b.key ? -1 : Number(a.key > b.key)),
  )
  /** Values that end, the first to end in front. Some have been written over since. */
  private readonly ending = new Heap<Write>((a, b) => a.deadline - b.deadline)
  private endingCount = 0
  private readonly maximumTombstones: number
  private forgotten = 0
  private refused = 0
  private oversized = 0
  private readonly table: StoreTable | undefined

  constructor(
    readonly name: string,
    private readonly modules: ReplicatedMapModules,
  ) {
    this.maximumTombstones = modules.maximumTombstones ?? MAXIMUM_TOMBSTONES
    this.table = modules.store?.table(`map.${name}`, {
      read: (key) => this.stored(key),
      restore: (key, value) => this.restore(key, value),
      keys: () => this.writes.keys(),
    })
  }

  /** Keys that have a value. */
  get size(): number {
    return this.writes.size - this.tombstoneCount
  }

  get tombstones(): number {
    return this.tombstoneCount
  }

  /** Removed keys that were forgotten before their time, because there were more than `maximumTombstones`. */
  get forgottenTombstones(): number {
    return this.forgotten
  }

  /** Entries of peers that were not taken because their clock is too far ahead. */
  get refusedEntries(): number {
    return this.refused
  }

  /** Values of this node that were not replicated because of their size. */
  get oversizedValues(): number {
    return this.oversized
  }

  get(key: string): Buffer | undefined {
    return this.writes.get(key)?.value
  }

  set(key: string, value: Uint8Array | undefined, keeping?: Keeping): void {
    if (value === undefined && !this.writes.has(key)) return
    if (value !== undefined && value.length > MAXIMUM_VALUE_BYTES) {
      this.oversized += 1
      // What the peers have of this key is no longer true.
      this.set(key, undefined, keeping)
      return
    }
    const { clock, node, onWritten } = this.modules
    const { time, counter } = clock.tick()
    const copy = value === undefined ? undefined : copyOf(value)
    this.put(this.makeWrite(key, copy, { time, counter, node }), keeping)
    onWritten(key)
  }

  expire(key: string): void {
    const write = this.writes.get(key)
    if (write?.value !== undefined) this.put(withoutValue(write))
  }

  /** Takes what a peer has; true when it is news here. */
  merge({ key, value, time, counter, node }: MapEntry): boolean {
    const { clock, onChange } = this.modules
    const known = this.writes.get(key)
    if (known !== undefined && compareWrites({ time, counter, node }, known) <= 0) return false
    const write = this.makeWrite(key, value && copyOf(value), { time, counter, node })
    const taken = hasEnded(write, clock.wallTime) ? withoutValue(write) : write
    // Or two nodes would hand each other a removed key for ever, one of them always being the later to forget it.
    if (known === undefined && taken.value === undefined && this.isForgotten(taken)) return false
    if (!clock.observe({ time, counter })) {
      this.refused += 1
      return false
    }
    this.put(taken)
    // A tombstone of what was never here is kept, and is no change.
    if (taken.value !== undefined || known?.value !== undefined) onChange(key, taken.value)
    return true
  }

  private stored(key: string): Buffer | undefined {
    const write = this.writes.get(key)
    return write && encodeStoredWrite(write)
  }

  /** An entry as the last life of this node has kept it. */
  private restore(key: string, bytes: Buffer): void {
    const { value, time, counter, node } = decodeStoredWrite(bytes)
    const { clock, onChange } = this.modules
    clock.resume({ time, counter })
    // From Buffer's pool: a value that goes leaves its place empty, but what is restored together never takes more room
    // than it does now, and a million buffers of their own would take twice the time and memory.
    const write = this.makeWrite(key, value && Buffer.from(value), { time, counter, node })
    if (hasEnded(write, clock.wallTime)) {
      this.put(withoutValue(write))
      return
    }
    this.place(write)
    if (write.value !== undefined) onChange(key, write.value)
  }

  /** A key as it goes to a peer; undefined when it was forgotten. */
  entry(key: string): MapEntry | undefined {
    const write = this.writes.get(key)
    if (write === undefined) return undefined
    const { value, time, counter, node } = write
    return { key, value, time, counter, node }
  }

  /** One number per bucket: equal for equal content, without what is due to be forgotten. */
  buckets(): number[] {
    this.purge(this.modules.clock.wallTime)
    return Array.from(this.digests)
  }

  /** Every key, removed ones too, in a bucket whose digest is not the one given. */
  *keysThatDiffer(buckets: readonly number[]): IterableIterator<string> {
    const differs = Array.from(this.digests, (digest, bucket) => digest !== buckets[bucket])
    if (!differs.includes(true)) return
    for (const write of this.writes.values()) if (differs[write.bucket] === true) yield write.key
  }

  /** Drops values that have ended, and forgets tombstones that are older than `TOMBSTONE_RETENTION_MS`. */
  purge(now: number): void {
    for (let first = this.ending.peek(); first !== undefined && hasEnded(first, now); first = this.ending.peek()) {
      this.ending.pop()
      if (!this.isCurrent(first)) continue
      this.put(withoutValue(first))
      this.modules.onChange(first.key, undefined)
    }
    for (let oldest = this.oldestTombstone(); oldest !== undefined; oldest = this.oldestTombstone()) {
      if (!isTooOld(oldest, now)) return
      this.forget(oldest)
    }
  }

  /** Whether a tombstone of an unknown key would be forgotten at once. */
  private isForgotten(write: Timestamp & { node: string }): boolean {
    if (isTooOld(write, this.modules.clock.wallTime)) return true
    if (this.tombstoneCount < this.maximumTombstones) return false
    const oldest = this.oldestTombstone()
    return oldest !== undefined && compareWrites(write, oldest) < 0
  }

  private oldestTombstone(): Write | undefined {
    for (;;) {
      const oldest = this.oldestTombstones.peek()
      if (oldest === undefined || this.isCurrent(oldest)) return oldest
      this.oldestTombstones.pop()
    }
  }

  private isCurrent(write: Write): boolean {
    return this.writes.get(write.key) === write
  }

  private forget(tombstone: Write): void {
    this.writes.delete(tombstone.key)
    this.tombstoneCount -= 1
    this.addToDigest(tombstone.bucket, -tombstone.hash)
    this.table?.changed(tombstone.key, undefined)
  }

  private boundTombstones(): void {
    if (this.tombstoneCount > this.maximumTombstones) {
      const oldest = this.oldestTombstone()
      if (oldest !== undefined) this.forget(oldest)
      this.forgotten += 1
    }
    // Keys that are removed and written in turn leave tombstones behind that are none any more.
    if (this.oldestTombstones.length > 2 * this.maximumTombstones) {
      this.oldestTombstones.keepOnly((write) => this.isCurrent(write))
    }
  }

  private put(write: Write, keeping?: Keeping): void {
    this.table?.changed(write.key, keeping)
    this.place(write)
  }

  private place(write: Write): void {
    const old = this.writes.get(write.key)
    if (old !== undefined) {
      this.addToDigest(old.bucket, -old.hash)
      if (old.value === undefined) this.tombstoneCount -= 1
      else if (old.deadline !== 0) this.endingCount -= 1
    }
    this.writes.set(write.key, write)
    this.addToDigest(write.bucket, write.hash)
    if (write.value !== undefined) {
      if (write.deadline !== 0) this.addEnding(write)
      return
    }
    this.tombstoneCount += 1
    this.oldestTombstones.push(write)
    this.boundTombstones()
  }

  private addEnding(write: Write): void {
    this.endingCount += 1
    this.ending.push(write)
    // A key that is written again before its value ends leaves the earlier write behind.
    if (this.ending.length > 2 * this.endingCount + MINIMUM_COMPACTION) {
      this.ending.keepOnly((one) => this.isCurrent(one))
    }
  }

  private makeWrite(key: string, value: Buffer | undefined, stamp: Timestamp & { node: string }): Write {
    const deadline = value === undefined ? 0 : (this.modules.deadlineOf?.(value) ?? 0)
    return { key, value, deadline, ...stamp, ...digestOf(key, stamp) }
  }

  private addToDigest(bucket: number, hash: number): void {
    this.digests[bucket] = ((this.digests[bucket] as number) + hash) >>> 0
  }
}

function hasEnded({ value, deadline }: Write, now: number): boolean {
  return value !== undefined && deadline !== 0 && now >= deadline
}

/** What a write is when its value has ended: the same write, so that it neither wins nor loses where it did not. */
function withoutValue(write: Write): Write {
  return { ...write, value: undefined, deadline: 0 }
}

function isTooOld({ time }: Timestamp, now: number): boolean {
  return time <= now - TOMBSTONE_RETENTION_MS
}

/** Bytes of their own: a slice of a received chunk would keep the whole chunk alive. */
function copyOf(value: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(value.length)
  copy.set(value)
  return copy
}

function digestOf(
  key: string,
  { time, counter, node }: Timestamp & { node: string },
): { bucket: number; hash: number } {
  const keyHash = hashText(key, 0x811c9dc5)
  // One field after the other, mixed between, so that none makes up for another: it is two different times of a key
  // that must not have one hash.
  let hash = mix(keyHash ^ (time / 0x1_0000_0000))
  hash = mix(Math.imul(hash, 0x01000193) ^ (time | 0))
  hash = mix(Math.imul(hash, 0x01000193) ^ (counter | 0))
  return { bucket: keyHash % BUCKETS, hash: mix(hashText(node, hash)) }
}

/** FNV-1a over UTF-16 code units. Part of the link protocol, like `mix`. */
function hashText(text: string, seed: number): number {
  let hash = seed
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  return hash >>> 0
}

/** The finalizer of MurmurHash3: every bit of the input reaches every bit of the result. */
function mix(hash: number): number {
  let mixed = hash
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}
