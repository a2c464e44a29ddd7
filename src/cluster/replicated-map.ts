/**
 * A map that every node has a copy of. The last writer of a key wins, by hybrid logical clock; a removed key leaves a
 * tombstone for a day, so that a peer that was away does not bring it back. Writes go to every peer at once; a link
 * that opens compares digests of the values in 256 buckets of keys, and what differs is exchanged, tombstones too.
 * Tombstones are not part of the digests, so nodes may forget them at different times. Whoever was away longer than
 * they are kept may bring back a removed key: that is the price of forgetting them.
 */

import type { Replica } from '../broker/ports.js'
import { compareWrites, type HybridClock } from './hybrid-clock.js'
import type { LinkBody, MapEntry } from './wire.js'

/** Digests per map. */
export const BUCKETS = 256

/** How long a removed key is remembered. */
export const TOMBSTONE_RETENTION_MS = 24 * 60 * 60 * 1000

/** Removed keys that are remembered at most; beyond it the oldest is forgotten early. At about 250 bytes each, 25 MB. */
export const MAXIMUM_TOMBSTONES = 100_000

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
  readonly bucket: number
  readonly hash: number
}

export interface ReplicatedMapModules {
  /** This node's name. */
  node: string
  clock: HybridClock
  /** Gets what a peer wrote and what is news here; not what this node wrote itself. */
  onChange: (key: string, value: Buffer | undefined) => void
  /** This node wrote a key: every peer is to be told. */
  onWritten: (key: string) => void
}

export class ReplicatedMap implements Replica {
  private readonly writes = new Map<string, Write>()
  private readonly digests = new Uint32Array(BUCKETS)
  /** Keys of tombstones, the one that was made or came first in front. */
  private readonly removed = new Set<string>()
  private refused = 0
  private oversized = 0

  constructor(
    readonly name: string,
    private readonly modules: ReplicatedMapModules,
  ) {}

  /** Keys that have a value. */
  get size(): number {
    return this.writes.size - this.removed.size
  }

  get tombstones(): number {
    return this.removed.size
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

  set(key: string, value: Uint8Array | undefined): void {
    if (value === undefined && !this.writes.has(key)) return
    if (value !== undefined && value.length > MAXIMUM_VALUE_BYTES) {
      this.oversized += 1
      // What the peers have of this key is no longer true.
      this.set(key, undefined)
      return
    }
    const { clock, node, onWritten } = this.modules
    const { time, counter } = clock.tick()
    const copy = value === undefined ? undefined : copyOf(value)
    this.put(makeWrite(key, copy, time, counter, node))
    onWritten(key)
  }

  expire(key: string): void {
    const write = this.writes.get(key)
    if (write?.value === undefined) return
    // The same on every node, whenever it notices: right behind the write that has ended, and before any other.
    this.put(makeWrite(key, undefined, write.time, write.counter + 1, write.node))
  }

  /** Takes what a peer has; true when it is news here. */
  merge({ key, value, time, counter, node }: MapEntry): boolean {
    const known = this.writes.get(key)
    if (known !== undefined && compareWrites({ time, counter, node }, known) <= 0) return false
    // Of a key that was never here, or was forgotten with its tombstone: not to be remembered for another day.
    if (known === undefined && value === undefined && time <= this.modules.clock.wallTime - TOMBSTONE_RETENTION_MS) {
      return false
    }
    if (!this.modules.clock.observe({ time, counter })) {
      this.refused += 1
      return false
    }
    const copy = value === undefined ? undefined : copyOf(value)
    this.put(makeWrite(key, copy, time, counter, node))
    // A tombstone of what was never here is kept, and is no change.
    if (copy !== undefined || known?.value !== undefined) this.modules.onChange(key, copy)
    return true
  }

  /** A key as it goes to a peer; undefined when it was forgotten. */
  entry(key: string): MapEntry | undefined {
    const write = this.writes.get(key)
    if (write === undefined) return undefined
    const { value, time, counter, node } = write
    return { key, value, time, counter, node }
  }

  /** One number per bucket: equal for equal content. */
  buckets(): number[] {
    return Array.from(this.digests)
  }

  /** Every key, removed ones too, in a bucket whose digest is not the one given. */
  *keysThatDiffer(buckets: readonly number[]): IterableIterator<string> {
    const differs = Array.from(this.digests, (digest, bucket) => digest !== buckets[bucket])
    if (!differs.includes(true)) return
    for (const write of this.writes.values()) if (differs[write.bucket] === true) yield write.key
  }

  /** Forgets tombstones that are older than `TOMBSTONE_RETENTION_MS`. */
  purge(now: number): void {
    for (const key of this.removed) {
      const write = this.writes.get(key)
      if (write !== undefined && write.time <= now - TOMBSTONE_RETENTION_MS) this.forget(key)
    }
  }

  private put(write: Write): void {
    const old = this.writes.get(write.key)
    if (old?.value !== undefined) this.addToDigest(old.bucket, -old.hash)
    this.writes.set(write.key, write)
    if (write.value !== undefined) {
      this.removed.delete(write.key)
      this.addToDigest(write.bucket, write.hash)
      return
    }
    this.removed.add(write.key)
    if (this.removed.size <= MAXIMUM_TOMBSTONES) return
    const [oldest] = this.removed
    if (oldest !== undefined) this.forget(oldest)
  }

  private forget(key: string): void {
    this.removed.delete(key)
    this.writes.delete(key)
  }

  private addToDigest(bucket: number, hash: number): void {
    this.digests[bucket] = ((this.digests[bucket] as number) + hash) >>> 0
  }
}

/** Keys and bytes in one message, about. */
const CHUNK_ENTRIES = 1_000
const CHUNK_BYTES = 32 * 1024

/** What one peer is still to be told of one map. Bounded by the number of keys, each of which stands in it once. */
export class MapFeed {
  private readonly due = new Set<string>()
  private owesCheck = false
  private isOpen = false

  constructor(private readonly map: ReplicatedMap) {}

  /** Keys that wait. */
  get length(): number {
    return this.due.size
  }

  open(): void {
    this.isOpen = true
    this.owesCheck = true
  }

  close(): void {
    this.isOpen = false
    this.due.clear()
  }

  /** A key has changed. Without a link the digests will find it. */
  add(key: string): void {
    if (this.isOpen) this.due.add(key)
  }

  /** The digests are to be sent again. */
  check(): void {
    this.owesCheck = true
  }

  takeCheck(buckets: readonly number[]): void {
    for (const key of this.map.keysThatDiffer(buckets)) this.due.add(key)
  }

  next(): LinkBody | undefined {
    if (!this.isOpen) return undefined
    const { name } = this.map
    if (this.owesCheck) {
      this.owesCheck = false
      return { $case: 'mapCheck', value: { map: name, buckets: this.map.buckets() } }
    }
    if (this.due.size === 0) return undefined
    const entries: MapEntry[] = []
    let bytes = 0
    for (const key of this.due) {
      this.due.delete(key)
      const entry = this.map.entry(key)
      if (entry === undefined) continue
      entries.push(entry)
      bytes += key.length + (entry.value?.length ?? 0)
      if (entries.length === CHUNK_ENTRIES || bytes >= CHUNK_BYTES) break
    }
    return { $case: 'mapEntries', value: { map: name, entries } }
  }
}

/** Bytes of their own: a slice of a received chunk would keep the whole chunk alive. */
function copyOf(value: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(value.length)
  copy.set(value)
  return copy
}

function makeWrite(key: string, value: Buffer | undefined, time: number, counter: number, node: string): Write {
  const keyHash = hashText(key, 0x811c9dc5)
  // One field after the other, mixed between, so that none makes up for another: it is two different times of a key
  // that must not have one hash.
  let hash = mix(keyHash ^ (time / 0x1_0000_0000))
  hash = mix(Math.imul(hash, 0x01000193) ^ (time | 0))
  hash = mix(Math.imul(hash, 0x01000193) ^ (counter | 0))
  return { key, value, time, counter, node, bucket: keyHash % BUCKETS, hash: mix(hashText(node, hash)) }
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
