/**
 * Topic filters to values, found by filter or by topic name: exact filters in a Map, wildcards in a trie.
 */

import { type TextMap, withRoom } from '../util/split-map.js'
import { FilterTrie } from './filter-trie.js'

export class FilterMap<V extends object | string> {
  private exact: TextMap<V> = new Map()
  private readonly wildcards = new FilterTrie<V>()

  /** Number of filters. */
  get size(): number {
    return this.exact.size + this.wildcards.size
  }

  get(filter: string): V | undefined {
    return hasWildcard(filter) ? this.wildcards.get(filter) : this.exact.get(filter)
  }

  set(filter: string, value: V): void {
    if (hasWildcard(filter)) {
      this.wildcards.insert(filter, value)
    } else {
      this.exact = withRoom(this.exact)
      this.exact.set(filter, value)
    }
  }

  /** False when the filter was not there. */
  delete(filter: string): boolean {
    return hasWildcard(filter) ? this.wildcards.remove(filter) !== undefined : this.exact.delete(filter)
  }

  /** Appends the value of each filter that matches the topic name. */
  matchInto(topic: string, into: V[]): void {
    const value = this.exact.get(topic)
    if (value !== undefined) into.push(value)
    if (this.wildcards.size > 0) this.wildcards.matchInto(topic, into)
  }

  /** All values. Filters may come and go meanwhile: those that stay are not missed. */
  *values(): IterableIterator<V> {
    yield* this.exact.values()
    yield* this.wildcards.values()
  }

  /** Levels held for wildcard filters: 0 when there are none. */
  countNodes(): number {
    return this.wildcards.countNodes()
  }
}

export function hasWildcard(filter: string): boolean {
  return filter.includes('+') || filter.includes('#')
}
