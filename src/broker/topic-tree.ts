/** Topic names to values, asked by topic filter: the mirror image of a subscription trie. */

interface TopicNode<V> {
  children: Map<string, TopicNode<V>> | undefined
  value: V | undefined
}

const BELOW_HASH = -1
/** Nodes that a search visits before it gives its caller a chance to stop. */
const NODES_PER_BREATH = 256

export class TopicTree<V extends object> {
  private readonly root: TopicNode<V> = { children: undefined, value: undefined }
  private count = 0

  /** Topics that have a value. */
  get size(): number {
    return this.count
  }

  get(topic: string): V | undefined {
    let node: TopicNode<V> | undefined = this.root
    for (const level of topic.split('/')) {
      node = node.children?.get(level)
      if (node === undefined) return undefined
    }
    return node.value
  }

  /** Returns what it replaces. */
  set(topic: string, value: V): V | undefined {
    let node = this.root
    for (const level of topic.split('/')) {
      node.children ??= new Map()
      let child = node.children.get(level)
      if (child === undefined) {
        child = { children: undefined, value: undefined }
        node.children.set(level, child)
      }
      node = child
    }
    const replaced = node.value
    if (replaced === undefined) this.count++
    node.value = value
    return replaced
  }

  /** Removes a topic and the branches that only led to it; returns what was there. */
  delete(topic: string): V | undefined {
    const levels = topic.split('/')
    const path: TopicNode<V>[] = [this.root]
    for (const level of levels) {
      const child = path.at(-1)?.children?.get(level)
      if (child === undefined) return undefined
      path.push(child)
    }
    const leaf = path.at(-1)
    if (leaf?.value === undefined) return undefined
    const removed = leaf.value
    leaf.value = undefined
    this.count--
    for (let depth = levels.length; depth > 0; depth--) {
      const node = path[depth]
      if (node === undefined || node.value !== undefined || (node.children?.size ?? 0) > 0) break
      path[depth - 1]?.children?.delete(levels[depth - 1] as string)
    }
    return removed
  }

  /**
   * Every value whose topic matches the filter, and undefined now and then: a search that finds nothing may have to
   * visit the whole tree, and whoever does not want that in one go stops there. `$` topics
   * match only filters that name their first level [MQTT-4.7.2-1].
   */
  *matching(filter: string): Generator<V | undefined> {
    const levels = filter.split('/')
    // An explicit stack: topics may have thousands of levels. Below a `#` everything matches: depth is then BELOW_HASH.
    const stack: { node: TopicNode<V>; depth: number }[] = [{ node: this.root, depth: 0 }]
    let visited = 0
    for (;;) {
      const place = stack.pop()
      if (place === undefined) return
      visited++
      if (visited % NODES_PER_BREATH === 0) yield undefined
      const { node, depth } = place
      const level = depth === BELOW_HASH ? '#' : levels[depth]
      if (level === undefined) {
        if (node.value !== undefined) yield node.value
      } else if (level === '#') {
        // `sport/#` matches `sport` too [MQTT-4.7.1-2].
        if (node.value !== undefined) yield node.value
        for (const [name, child] of node.children ?? []) {
          if (depth !== 0 || !name.startsWith('$')) stack.push({ node: child, depth: BELOW_HASH })
        }
      } else if (level === '+') {
        for (const [name, child] of node.children ?? []) {
          if (depth !== 0 || !name.startsWith('$')) stack.push({ node: child, depth: depth + 1 })
        }
      } else {
        const child = node.children?.get(level)
        if (child !== undefined) stack.push({ node: child, depth: depth + 1 })
      }
    }
  }
}
