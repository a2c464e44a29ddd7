/**
 * Wildcard filters to values, as a tree of topic levels; exact filters sit in a Map beside it (`filter-map.ts`).
 * All walks are loops over positions in the string, so a filter or topic of any depth is safe, and a match makes no
 * array of levels. Branches are cut when their last filter goes, so an empty trie is one node.
 */

import { type TextMap, withRoom } from '../util/split-map.js'

const DOLLAR = 36

/** V8 makes a slice of this length or more a view that keeps the whole string alive. */
const SLICE_LENGTH_MINIMUM = 13

/** One level of some filters; `#` has no node of its own, it is the `rest` of the level before. */
class TrieNode<V> {
  readonly level: string
  /** The value of the filter that ends with this level. */
  value: V | undefined = undefined
  /** The value of the filter that has only `#` after this level. */
  rest: V | undefined = undefined
  /** The child for `+`. */
  plus: TrieNode<V> | undefined = undefined
  /** The only child with a name; most nodes have just one, and a Map would cost more than the node. */
  only: TrieNode<V> | undefined = undefined
  /** The children by name, from the second on. */
  children: TextMap<TrieNode<V>> | undefined = undefined

  constructor(level: string) {
    this.level = level
  }

  /** The child named by `text` from `start` to `end`. */
  child(text: string, start: number, end: number): TrieNode<V> | undefined {
    const only = this.only
    if (only !== undefined) {
      return only.level.length === end - start && text.startsWith(only.level, start) ? only : undefined
    }
    return this.children?.get(text.slice(start, end))
  }

  add(child: TrieNode<V>): void {
    if (this.children !== undefined) {
      this.children = withRoom(this.children)
      this.children.set(child.level, child)
    } else if (this.only === undefined) {
      this.only = child
    } else {
      this.children = new Map([
        [this.only.level, this.only],
        [child.level, child],
      ])
      this.only = undefined
    }
  }

  drop(child: TrieNode<V>): void {
    if (this.plus === child) {
      this.plus = undefined
    } else if (this.only === child) {
      this.only = undefined
    } else if (this.children?.delete(child.level) && this.children.size === 1) {
      for (const last of this.children.values()) this.only = last
      this.children = undefined
    }
  }

  /** Nothing ends here and nothing follows. */
  get isBare(): boolean {
    return !this.hasValue && this.plus === undefined && this.only === undefined && this.children === undefined
  }

  /** Something would be left if one of the children went. */
  get isShared(): boolean {
    return this.hasValue || this.children !== undefined || (this.plus !== undefined && this.only !== undefined)
  }

  private get hasValue(): boolean {
    return this.value !== undefined || this.rest !== undefined
  }
}

/** Filters are taken as valid; of an invalid one, `#` before the end and `+` within a level are ordinary characters. */
export class FilterTrie<V extends object | string> {
  private readonly root = new TrieNode<V>('')
  private count = 0
  // Branches that a match has still to follow; empty between matches.
  private readonly branches: TrieNode<V>[] = []
  private readonly branchStarts: number[] = []

  /** Number of filters. */
  get size(): number {
    return this.count
  }

  /** Sets the value of a filter; returns the one it replaces, undefined when the filter is new. */
  insert(filter: string, value: V): V | undefined {
    let node = this.root
    let start = 0
    let previous: V | undefined
    for (;;) {
      if (isRest(filter, start)) {
        previous = node.rest
        node.rest = value
        break
      }
      const end = levelEnd(filter, start)
      node = step(node, filter, start, end) ?? grow(node, filter, start, end)
      if (end === filter.length) {
        previous = node.value
        node.value = value
        break
      }
      start = end + 1
    }
    if (previous === undefined) this.count += 1
    return previous
  }

  /** The value of exactly this filter. */
  get(filter: string): V | undefined {
    let node: TrieNode<V> | undefined = this.root
    let start = 0
    while (node !== undefined) {
      if (isRest(filter, start)) return node.rest
      const end = levelEnd(filter, start)
      node = step(node, filter, start, end)
      if (end === filter.length) return node?.value
      start = end + 1
    }
    return undefined
  }

  /** Removes a filter and every level that only it used; returns its value, undefined when it was not there. */
  remove(filter: string): V | undefined {
    let node = this.root
    let start = 0
    // The last node on the way that stays in any case, and the branch that can be cut there.
    let fork = this.root
    let branch: TrieNode<V> | undefined
    let removed: V | undefined
    for (;;) {
      if (isRest(filter, start)) {
        removed = node.rest
        node.rest = undefined
        break
      }
      const end = levelEnd(filter, start)
      const next = step(node, filter, start, end)
      if (next === undefined) return undefined
      if (branch === undefined || node.isShared) {
        fork = node
        branch = next
      }
      node = next
      if (end === filter.length) {
        removed = node.value
        node.value = undefined
        break
      }
      start = end + 1
    }
    if (removed === undefined) return undefined
    this.count -= 1
    if (branch !== undefined && node.isBare) fork.drop(branch)
    return removed
  }

  /**
   * Appends the value of each filter that matches the topic name. A filter that starts with a wildcard does not match
   * a topic that starts with `$` [MQTT-4.7.2-1]; `sport/#` matches `sport`, too [MQTT 5.0 section 4.7.1.2].
   */
  matchInto(topic: string, into: V[]): void {
    const { branches, branchStarts } = this
    const isReserved = topic.charCodeAt(0) === DOLLAR
    let node: TrieNode<V> | undefined = this.root
    let start = 0
    while (node !== undefined) {
      let next: TrieNode<V> | undefined
      if (start > topic.length) {
        if (node.value !== undefined) into.push(node.value)
        if (node.rest !== undefined) into.push(node.rest)
      } else {
        const end = levelEnd(topic, start)
        next = node.child(topic, start, end)
        if (start > 0 || !isReserved) {
          if (node.rest !== undefined) into.push(node.rest)
          if (next === undefined) {
            next = node.plus
          } else if (node.plus !== undefined) {
            branches.push(node.plus)
            branchStarts.push(end + 1)
          }
        }
        start = end + 1
      }
      if (next === undefined) {
        next = branches.pop()
        start = branchStarts.pop() ?? 0
      }
      node = next
    }
  }

  /** All values, in no particular order. Filters may come and go meanwhile: those that stay are not missed. */
  *values(): IterableIterator<V> {
    const nodes: TrieNode<V>[] = [this.root]
    for (let node = nodes.pop(); node !== undefined; node = nodes.pop()) {
      if (node.value !== undefined) yield node.value
      if (node.rest !== undefined) yield node.rest
      if (node.plus !== undefined) nodes.push(node.plus)
      if (node.only !== undefined) nodes.push(node.only)
      if (node.children !== undefined) for (const child of node.children.values()) nodes.push(child)
    }
  }

  /** Levels that are held, without the root: what a test asks to see that memory returns. */
  countNodes(): number {
    const nodes: TrieNode<V>[] = [this.root]
    let count = -1
    for (let node = nodes.pop(); node !== undefined; node = nodes.pop()) {
      count += 1
      if (node.plus !== undefined) nodes.push(node.plus)
      if (node.only !== undefined) nodes.push(node.only)
      if (node.children !== undefined) for (const child of node.children.values()) nodes.push(child)
    }
    return count
  }
}

/** The end of the level that starts at `start`: the next separator, or the end of the text. */
function levelEnd(text: string, start: number): number {
  const end = text.indexOf('/', start)
  return end === -1 ? text.length : end
}

/** Only `#` is left of the filter. */
function isRest(filter: string, start: number): boolean {
  return start === filter.length - 1 && filter[start] === '#'
}

function isPlus(filter: string, start: number, end: number): boolean {
  return end === start + 1 && filter[start] === '+'
}

function step<V>(node: TrieNode<V>, filter: string, start: number, end: number): TrieNode<V> | undefined {
  return isPlus(filter, start, end) ? node.plus : node.child(filter, start, end)
}

function grow<V>(node: TrieNode<V>, filter: string, start: number, end: number): TrieNode<V> {
  if (isPlus(filter, start, end)) {
    node.plus = new TrieNode<V>('+')
    return node.plus
  }
  const child = new TrieNode<V>(ownString(filter.slice(start, end)))
  node.add(child)
  return child
}

/**
 * A copy that is not a view of a longer string: a level may outlive the filter it was cut from, and would keep its up
 * to 64 KiB. JSON keeps every string as it is, lone surrogates too, which an encoding to UTF-8 would not.
 */
function ownString(slice: string): string {
  return slice.length < SLICE_LENGTH_MINIMUM ? slice : (JSON.parse(JSON.stringify(slice)) as string)
}
