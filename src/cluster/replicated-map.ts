/**
 * A map that every node has a copy of. The last writer of a key wins, by hybrid logical clock; a removed key leaves a
 * tombstone for a day, so that a peer that was away does not bring it back. Writes go to every peer at once; a link
 * that opens compares digests of 256 buckets of keys, and what differs is exchanged. Whoever was away longer than
 * tombstones are kept, a day or the last 100 000, may bring back a removed key: that is the price of forgetting them.
 * A value that ends at a time of its own becomes the tombstone of its own write on every node by itself: the write, and
 * so the digest, is the same before and after, and whichever node is first has nothing to tell the others.
 * There may be millions of keys: a write is bytes in a `ByteMap`, as the store keeps it, and no object.
 */

import type { Replica } from '../broker/ports.js'
import type { Keeping, Store, StoreTable } from '../broker/store-port.js'
import { ByteMap } from '../util/byte-map.js'
import { Heap } from '../util/heap.js'
import { FNV_SEED, hashText, mix } from '../util/text-hash.js'
import { compareWrites, type HybridClock, type Timestamp } from './hybrid-clock.js'
import { decodeStoredWrite, encodeStoredWrite, type StoredWrite } from './stored-write.js'
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

/** A write that is looked for when its time has come: it may have been written over by then. */
interface Mark extends Timestamp {
  readonly key: string
  readonly node: string
  /** When the value ends, in milliseconds since the epoch; 0 of a tombstone. */
  readonly deadline: number
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
  /** As `encodeStoredWrite` makes them. */
  private readonly writes = new ByteMap()
  private readonly digests = new Uint32Array(BUCKETS)
  private tombstoneCount = 0
  /** The oldest first, in an order that is the same on every node. Some are of keys that were written again since. */
  private readonly oldestTombstones = new Heap<Mark>(
    (a, b) => compareWrites(a, b) || (a.key < b.key ? -1 : Number(a.key > b.key)),
  )
  /** Values that end, the first to end in front. Some have been written over since. */
  private readonly ending = new Heap<Mark>((a, b) => a.deadline - b.deadline)
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
    const value = this.write(key)?.value
    return value && Buffer.from(value)
  }

  set(key: string, value: Uint8Array | undefined, keeping?: Keeping): boolean {
    if (value === undefined && !this.writes.has(key)) return true
    if (value !== undefined && value.length > MAXIMUM_VALUE_BYTES) {
      this.oversized += 1
      // What the peers have of this key is no longer true.
      this.set(key, undefined, keeping)
      return false
    }
    const { clock, node, onWritten } = this.modules
    const { time, counter } = clock.tick()
    this.put(key, { value, time, counter, node }, keeping)
    onWritten(key)
    return true
  }

  expire(key: string): void {
    const write = this.write(key)
    if (write?.value !== undefined) this.put(key, withoutValue(write))
  }

  /** Takes what a peer has; true when it is news here. */
  merge({ key, value, time, counter, node }: MapEntry): boolean {
    const { clock, onChange } = this.modules
    const known = this.write(key)
    if (known !== undefined && compareWrites({ time, counter, node }, known) <= 0) return false
    const write = { value, time, counter, node }
    const taken = this.hasEnded(write) ? withoutValue(write) : write
    // Or two nodes would hand each other a removed key for ever, one of them always being the later to forget it.
    if (known === undefined && taken.value === undefined && this.isForgotten(taken)) return false
    if (!clock.observe({ time, counter })) {
      this.refused += 1
      return false
    }
    const hadValue = known?.value !== undefined
    this.put(key, taken)
    // A tombstone of what was never here is kept, and is no change.
    if (taken.value !== undefined || hadValue) onChange(key, taken.value && bufferOf(taken.value))
    return true
  }

  /** Bytes of their own: a store may hand them to a thread that writes them. */
  private stored(key: string): Buffer | undefined {
    const bytes = this.writes.get(key)
    return bytes && Buffer.from(bytes)
  }

  /** An entry as the last life of this node has kept it. */
  private restore(key: string, bytes: Buffer): void {
    const write = decodeStoredWrite(bytes)
    const { clock, onChange } = this.modules
    clock.resume(write)
    if (this.hasEnded(write)) {
      this.put(key, withoutValue(write))
      return
    }
    this.place(key, write, bytes)
    if (write.value !== undefined) onChange(key, write.value)
  }

  /** A key as it goes to a peer, in bytes of its own; undefined when it was forgotten. */
  entry(key: string): MapEntry | undefined {
    const write = this.write(key)
    return write && { key, ...write, value: write.value && Buffer.from(write.value) }
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
    yield* this.writes.keysWhere(FNV_SEED, (hash) => differs[hash % BUCKETS] === true)
  }

  /** Drops values that have ended, and forgets tombstones that are older than `TOMBSTONE_RETENTION_MS`. */
  purge(now: number): void {
    for (let first = this.ending.peek(); first !== undefined && now >= first.deadline; first = this.ending.peek()) {
      this.ending.pop()
      const write = this.marked(first)
      if (write?.value === undefined) continue
      this.put(first.key, withoutValue(write))
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

  private oldestTombstone(): Mark | undefined {
    for (;;) {
      const oldest = this.oldestTombstones.peek()
      if (oldest === undefined || this.isTombstone(oldest)) return oldest
      this.oldestTombstones.pop()
    }
  }

  /** What there is of a key, its value a part of the map: good until that changes. */
  private write(key: string): StoredWrite | undefined {
    const bytes = this.writes.get(key)
    return bytes && decodeStoredWrite(bytes)
  }

  /** The write that was marked; undefined when there is another. */
  private marked(mark: Mark): StoredWrite | undefined {
    const write = this.write(mark.key)
    return write !== undefined && compareWrites(write, mark) === 0 ? write : undefined
  }

  private isTombstone(mark: Mark): boolean {
    const write = this.marked(mark)
    return write !== undefined && write.value === undefined
  }

  private forget(tombstone: Mark): void {
    const { key } = tombstone
    this.writes.delete(key)
    this.tombstoneCount -= 1
    const hash = hashText(key, FNV_SEED)
    this.addToDigest(hash, -digestOf(hash, tombstone))
    this.table?.changed(key, undefined)
  }

  private boundTombstones(): void {
    if (this.tombstoneCount > this.maximumTombstones) {
      const oldest = this.oldestTombstone()
      if (oldest !== undefined) this.forget(oldest)
      this.forgotten += 1
    }
    // Keys that are removed and written in turn leave tombstones behind that are none any more.
    if (this.oldestTombstones.length > 2 * this.maximumTombstones) {
      this.oldestTombstones.keepOnly((mark) => this.isTombstone(mark))
    }
  }

  private put(key: string, write: StoredWrite, keeping?: Keeping): void {
    this.table?.changed(key, keeping)
    this.place(key, write, encodeStoredWrite(write))
  }

  /** @param bytes the write, encoded */
  private place(key: string, write: StoredWrite, bytes: Uint8Array): void {
    const { value } = write
    const hash = hashText(key, FNV_SEED)
    const old = this.write(key)
    if (old !== undefined) {
      this.addToDigest(hash, -digestOf(hash, old))
      if (old.value === undefined) this.tombstoneCount -= 1
      else if (this.deadlineOf(old.value) !== 0) this.endingCount -= 1
    }
    this.writes.set(key, bytes)
    this.addToDigest(hash, digestOf(hash, write))
    const { time, counter, node } = write
    if (value !== undefined) {
      const deadline = this.deadlineOf(value)
      if (deadline !== 0) this.addEnding({ key, time, counter, node, deadline })
      return
    }
    this.tombstoneCount += 1
    this.oldestTombstones.push({ key, time, counter, node, deadline: 0 })
    this.boundTombstones()
  }

  private addEnding(mark: Mark): void {
    this.endingCount += 1
    this.ending.push(mark)
    // A key that is written again before its value ends leaves the earlier write behind.
    if (this.ending.length > 2 * this.endingCount + MINIMUM_COMPACTION) {
      this.ending.keepOnly((one) => this.marked(one)?.value !== undefined)
    }
  }

  private deadlineOf(value: Uint8Array): number {
    return this.modules.deadlineOf?.(bufferOf(value)) ?? 0
  }

  private hasEnded({ value }: StoredWrite): boolean {
    if (value === undefined) return false
    const deadline = this.deadlineOf(value)
    return deadline !== 0 && this.modules.clock.wallTime >= deadline
  }

  /** @param keyHash by `hashText`, which also says the bucket */
  private addToDigest(keyHash: number, hash: number): void {
    const bucket = keyHash % BUCKETS
    this.digests[bucket] = ((this.digests[bucket] as number) + hash) >>> 0
  }
}

/** What a write is when its value has ended: the same write, so that it neither wins nor loses where it did not. */
function withoutValue({ time, counter, node }: StoredWrite): StoredWrite {
  return { value: undefined, time, counter, node }
}

function isTooOld({ time }: Timestamp, now: number): boolean {
  return time <= now - TOMBSTONE_RETENTION_MS
}

/** The same bytes; a value that comes over a link or from an embedder may be a plain array of bytes. */
function bufferOf(value: Uint8Array): Buffer {
  return Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength)
}

/** Of the key and the timestamp, so that a value that has ended is no difference to one that has not. */
function digestOf(keyHash: number, { time, counter, node }: Timestamp & { node: string }): number {
  // One field after the other, mixed between, so that none makes up for another: it is two different times of a key
  // that must not have one hash.
  let hash = mix(keyHash ^ (time / 0x1_0000_0000))
  hash = mix(Math.imul(hash, 0x01000193) ^ (time | 0))
  hash = mix(Math.imul(hash, 0x01000193) ^ (counter | 0))
  return mix(hashText(node, hash))
}
