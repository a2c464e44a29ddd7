/**
 * Topic names to values, asked by topic filter: the mirror image of a subscription trie. Most topics are leaves, and there
 * may be millions: a leaf is no more than its last level and its value in the map of the level above.
 */

import { type TextMap, withRoom } from '../util/split-map.js'

type Child<V> = TopicNode<V> | V

/** A branch. That of a device with one topic has one child: a Map of its own would take more than all the rest. */
class TopicNode<V> {
  value: V | undefined
  private onlyName: string | undefined
  private onlyChild: Child<V> | undefined
  private children: TextMap<Child<V>> | undefined

  get isEmpty(): boolean {
    return this.value === undefined && this.onlyName === undefined && this.children === undefined
  }

  child(level: string): Child<V> | undefined {
    if (this.children !== undefined) return this.children.get(level)
    return this.onlyName === level ? this.onlyChild : undefined
  }

  /** Puts a child in the place of the one that is there, if any. */
  set(level: string, child: Child<V>): void {
    if (this.children === undefined) {
      if (this.onlyName === undefined) this.onlyName = ownText(level)
      if (this.onlyName === level) {
        this.onlyChild = child
        return
      }
      this.children = new Map([[this.onlyName, this.onlyChild as Child<V>]])
      this.onlyName = undefined
      this.onlyChild = undefined
    }
    this.children = withRoom(this.children)
    this.children.set(ownText(level), child)
  }

  /** A child that is there. */
  remove(level: string): void {
    this.onlyName = undefined
    this.onlyChild = undefined
    this.children?.delete(level)
    if (this.children?.size === 0) this.children = undefined
  }

  entries(): Iterator<[string, Child<V>]> {
    if (this.children !== undefined) return this.children.entries()
    const only: [string, Child<V>][] = []
    if (this.onlyName !== undefined) only.push([this.onlyName, this.onlyChild as Child<V>])
    return only.values()
  }
}

/** A place on the way of a search: children that are still to be visited, and the level that they are at. */
interface Place<V> {
  readonly children: Iterator<[string, Child<V>]>
  readonly prefix: string
  readonly depth: number
}

const BELOW_HASH = -1
/** Topics and branches that a search visits before it gives its caller a chance to stop. */
const NODES_PER_BREATH = 256

/** V8 makes a longer part of a text a reference to all of it. */
const LONGEST_COPIED_PART = 12

/** @typeParam V no function, and not undefined */
export class TopicTree<V> {
  private readonly root = new TopicNode<V>()
  private count = 0
  /** Where the last topic was put: a store gives them back in order, one beside the other. */
  private lastParent = this.root
  private lastPrefix = ''

  /** Topics that have a value. */
  get size(): number {
    return this.count
  }

  get(topic: string): V | undefined {
    let node: TopicNode<V> | V | undefined = this.root
    for (const level of topic.split('/')) {
      if (!(node instanceof TopicNode)) return undefined
      node = node.child(level)
    }
    return valueAt(node)
  }

  /** Returns what it replaces. */
  set(topic: string, value: V): V | undefined {
    const end = topic.lastIndexOf('/')
    const last = topic.slice(end + 1)
    const node = end < 0 ? this.root : this.parentAt(topic.slice(0, end))
    const found = node.child(last)
    const replaced = valueAt(found)
    if (found instanceof TopicNode) found.value = value
    else if (found !== value) node.set(last, value)
    if (replaced === undefined) this.count++
    return replaced
  }

  /** Removes a topic and the branches that only led to it; returns what was there. */
  delete(topic: string): V | undefined {
    const levels = topic.split('/')
    const path: TopicNode<V>[] = []
    let node: TopicNode<V> | V | undefined = this.root
    for (const level of levels) {
      if (!(node instanceof TopicNode)) return undefined
      path.push(node)
      node = node.child(level)
    }
    const removed = valueAt(node)
    if (removed === undefined) return undefined
    this.count--
    this.lastParent = this.root
    this.lastPrefix = ''
    let isEmpty = true
    if (node instanceof TopicNode) {
      node.value = undefined
      isEmpty = node.isEmpty
    }
    for (let depth = levels.length - 1; isEmpty && depth >= 0; depth--) {
      const parent = path[depth] as TopicNode<V>
      parent.remove(levels[depth] as string)
      isEmpty = parent.isEmpty
    }
    return removed
  }

  /** The branch of a prefix, made when it is not there. An empty prefix is one empty level. */
  private parentAt(prefix: string): TopicNode<V> {
    if (prefix !== '' && prefix === this.lastPrefix) return this.lastParent
    let node = this.root
    for (const level of prefix.split('/')) {
      let child = node.child(level)
      if (!(child instanceof TopicNode)) {
        const branch = new TopicNode<V>()
        branch.value = child
        node.set(level, branch)
        child = branch
      }
      node = child
    }
    this.lastParent = node
    this.lastPrefix = prefix
    return node
  }

  /**
   * Every topic with a value that matches the filter, and undefined now and then: a search that finds nothing may have to
   * visit the whole tree, and whoever does not want that in one go stops there. The tree may change meanwhile: a topic may
   * have gone when it is given. `$` topics match only filters that name their first level [MQTT-4.7.2-1].
   */
  *matching(filter: string): Generator<string | undefined> {
    const levels = filter.split('/')
    // An explicit stack: topics may have thousands of levels. Of each level no more is held than where it has come to: one may
    // have a million children. Below a `#` everything matches: depth is then BELOW_HASH.
    const stack: Place<V>[] = [placeAt(this.root, '', 0, levels)]
    let visited = 0
    for (let place = stack.at(-1); place !== undefined; place = stack.at(-1)) {
      const { done, value: entry } = place.children.next()
      if (done === true) {
        stack.pop()
        continue
      }
      visited++
      if (visited % NODES_PER_BREATH === 0) yield undefined
      const [name, child] = entry
      const isFirst = place.depth === 0
      const level = place.depth === BELOW_HASH ? '#' : levels[place.depth]
      if (isFirst && name.startsWith('$') && (level === '#' || level === '+')) continue
      const topic = isFirst ? name : `${place.prefix}/${name}`
      const depth = level === '#' ? BELOW_HASH : place.depth + 1
      // `sport/#` matches `sport` too [MQTT-4.7.1-2].
      const isMatch = depth === BELOW_HASH || depth === levels.length || levels[depth] === '#'
      if (isMatch && valueAt(child) !== undefined) yield topic
      if (child instanceof TopicNode && (depth === BELOW_HASH || depth < levels.length)) {
        stack.push(placeAt(child, topic, depth, levels))
      }
    }
  }
}

/** @param levels of the filter */
function placeAt<V>(node: TopicNode<V>, prefix: string, depth: number, levels: readonly string[]): Place<V> {
  const level = depth === BELOW_HASH ? '#' : (levels[depth] as string)
  return { children: level === '#' || level === '+' ? node.entries() : named(node, level), prefix, depth }
}

function* named<V>(node: TopicNode<V>, level: string): Generator<[string, TopicNode<V> | V]> {
  const child = node.child(level)
  if (child !== undefined) yield [level, child]
}

function valueAt<V>(place: TopicNode<V> | V | undefined): V | undefined {
  return place instanceof TopicNode ? place.value : place
}

/** A part of a text, without the rest of it. */
function ownText(part: string): string {
  if (part.length <= LONGEST_COPIED_PART) return part
  const encoding = Buffer.byteLength(part) === part.length ? 'latin1' : 'utf16le'
  return Buffer.from(part, encoding).toString(encoding)
}
