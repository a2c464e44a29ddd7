/**
 * A Map of texts that may become very large. V8 moves a whole Map to a new table whenever it doubles, which for half a
 * million keys stops the event loop for some 50 ms; so a Map that grows is split, once, into many that stay small.
 */

/** Keys at which a Map is split; moving so many takes about 2 ms. */
export const SPLIT_AT_KEYS = 16_384

/** Maps of a split one, a power of two: ten million keys are 40,000 in each. */
const PARTS = 256

/** What a Map is while it is small, and what it becomes. */
export type TextMap<V> = Map<string, V> | SplitMap<V>

/** The map to go on with, asked before a key is added: the same while it is small, a split one with all its keys then. */
export function withRoom<V>(map: TextMap<V>): TextMap<V> {
  return map.size === SPLIT_AT_KEYS && map instanceof Map ? new SplitMap(map) : map
}

export class SplitMap<V> {
  private readonly parts: Map<string, V>[] = []
  private count = 0

  /** @param from the keys it begins with; whoever reads that Map may go on doing so */
  constructor(from: ReadonlyMap<string, V>) {
    for (let part = 0; part < PARTS; part += 1) this.parts.push(new Map())
    for (const [key, value] of from) this.set(key, value)
  }

  /** Number of keys. */
  get size(): number {
    return this.count
  }

  get(key: string): V | undefined {
    return this.partOf(key).get(key)
  }

  set(key: string, value: V): this {
    const part = this.partOf(key)
    const before = part.size
    part.set(key, value)
    this.count += part.size - before
    return this
  }

  /** False when the key was not there. */
  delete(key: string): boolean {
    const isDeleted = this.partOf(key).delete(key)
    if (isDeleted) this.count -= 1
    return isDeleted
  }

  /** Like those of a Map, in no particular order: keys may be added and removed meanwhile. */
  *values(): IterableIterator<V> {
    for (const part of this.parts) yield* part.values()
  }

  /** As `values`. */
  *entries(): IterableIterator<[string, V]> {
    for (const part of this.parts) yield* part.entries()
  }

  private partOf(key: string): Map<string, V> {
    return this.parts[hashOf(key) & (PARTS - 1)] as Map<string, V>
  }
}

/** FNV-1a over at most some 128 characters, evenly spread. */
function hashOf(text: string): number {
  const step = 1 + (text.length >> 7)
  let hash = 0x811c9dc5
  for (let index = text.length - 1; index >= 0; index -= step) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  }
  return hash ^ (hash >>> 15)
}
