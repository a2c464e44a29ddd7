/**
 * A fingerprint of a set of filters, by which a node and its readers find out that a delta was lost. It does not
 * depend on the order and is kept incrementally: the sums modulo 2^32 of two independent hashes of each filter. It
 * guards against loss and bugs, not against a client that constructs collisions: those harm only its own filters.
 */

/** Equal sets have equal digests, on every node and in every version: the hashes are part of the link protocol. */
export interface RouteDigest {
  /** Number of filters. */
  count: number
  /** Unsigned 32-bit integer. */
  high: number
  /** Unsigned 32-bit integer. */
  low: number
}

export class DigestAccumulator {
  private count = 0
  private high = 0
  private low = 0

  /** The digest of the filters added and not removed. */
  get value(): RouteDigest {
    return { count: this.count, high: this.high, low: this.low }
  }

  /** How many filters. */
  get size(): number {
    return this.count
  }

  /** Adds a filter; the caller knows that it was not in the set. */
  add(filter: string): void {
    this.count += 1
    this.high = (this.high + murmur(filter)) >>> 0
    this.low = (this.low + fnv(filter)) >>> 0
  }

  /** Takes out a filter that was added before. */
  remove(filter: string): void {
    this.count -= 1
    this.high = (this.high - murmur(filter)) >>> 0
    this.low = (this.low - fnv(filter)) >>> 0
  }
}

/** The digest of two sets that have nothing in common, together. */
export function sumOfDigests(one: RouteDigest, other: RouteDigest): RouteDigest {
  return {
    count: one.count + other.count,
    high: (one.high + other.high) >>> 0,
    low: (one.low + other.low) >>> 0,
  }
}

/** FNV-1a over UTF-16 code units, mixed at the end so that its high bits count as much in a sum as the low ones. */
function fnv(text: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  }
  return mix(hash)
}

/** MurmurHash3 (32 bit, seed 0) with each UTF-16 code unit as one block. */
function murmur(text: string): number {
  let hash = 0
  for (let index = 0; index < text.length; index += 1) {
    const block = Math.imul(text.charCodeAt(index), 0xcc9e2d51)
    hash ^= Math.imul((block << 15) | (block >>> 17), 0x1b873593)
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0
  }
  return mix(hash ^ text.length)
}

/** The finalizer of MurmurHash3: every bit of the input reaches every bit of the result. */
function mix(hash: number): number {
  let mixed = hash
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}
