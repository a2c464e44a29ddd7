/**
 * Which nodes want which topic filters: the routes of all peers, each set written only as its owner tells it. Sized
 * for millions of routes: a filter that one node wants (the usual case) costs a Map entry and no object, nothing is
 * kept per node, and nothing is done for all routes of a node in one go. So a route refers to a **holding**, the
 * routes that a node told together. When a node is gone its holding ends, which ends all of its routes at once, and
 * `sweep` removes them little by little.
 */

import { type TextMap, withRoom } from '../util/split-map.js'
import { hasWildcard } from './filter-map.js'
import { FilterTrie } from './filter-trie.js'
import { DigestAccumulator, type RouteDigest, sumOfDigests } from './route-digest.js'

export type { RouteDigest } from './route-digest.js'

/** `name@host`, as in `n1@127.0.0.1`. */
export type NodeId = string

/** Routes of one node that came, and that go, together. */
class Holding {
  /** False: its routes are none any more, wherever they still stand. */
  isAlive = true
  readonly digest = new DigestAccumulator()

  constructor(readonly node: NodeId) {}
}

/** The holdings that a filter is in: at most one of each node that lives. */
type Holders = Holding | Holding[]

interface NodeRoutes {
  /** What is added goes here. */
  current: Holding
  /** What was there before a snapshot that is coming in; its routes move to `current` as the snapshot names them. */
  older: Holding[]
}

const EMPTY_DIGEST: Readonly<RouteDigest> = Object.freeze({ count: 0, high: 0, low: 0 })

export class RouteTable {
  /** All filters. */
  private byFilter: TextMap<Holders> = new Map()
  /** Those with wildcards once more, to be matched. */
  private readonly wildcards = new FilterTrie<Holders>()
  private readonly byNode = new Map<NodeId, NodeRoutes>()
  private readonly matched: Holders[] = []
  private onEnded: (() => void) | undefined
  /** The walk that `sweep` is on; undefined when there is nothing to remove. */
  private walk: Iterator<[string, Holders]> | undefined
  /** A holding has ended since the walk began. */
  private needsWalk = false
  private changes = 0
  private total = 0

  /** Moves on every change of what a match would find, so that whoever keeps a match knows when it is void. */
  get generation(): number {
    return this.changes
  }

  /** Number of distinct filters; those of routes that have ended are among them until they are swept. */
  get filterCount(): number {
    return this.byFilter.size
  }

  /** Sets who hears that routes have ended all at once and are to be swept. */
  setSweeper(onEnded: (() => void) | undefined): void {
    this.onEnded = onEnded
  }

  /** Adds a route; false when it was known. */
  add(node: NodeId, filter: string): boolean {
    const { current } = this.byNode.get(node) ?? this.open(node)
    const holders = this.byFilter.get(filter)
    const known = holders === undefined ? undefined : livingOf(node, holders)
    if (known === current) return false
    if (known !== undefined) known.digest.remove(filter)
    current.digest.add(filter)
    this.put(filter, holders === undefined ? current : joined(holders, known, current))
    if (known !== undefined) return false
    this.total += 1
    this.changes += 1
    return true
  }

  /** Removes a route; false when it was not known. */
  remove(node: NodeId, filter: string): boolean {
    const holders = this.byFilter.get(filter)
    const known = holders === undefined ? undefined : livingOf(node, holders)
    if (holders === undefined || known === undefined) return false
    known.digest.remove(filter)
    this.putRest(filter, living(holders, known))
    if (this.count(node) === 0) this.byNode.delete(node)
    this.total -= 1
    this.changes += 1
    return true
  }

  /** Ends all routes of a node in one step; returns how many there were. */
  clear(node: NodeId): number {
    const routes = this.byNode.get(node)
    if (routes === undefined) return 0
    this.byNode.delete(node)
    return this.end([routes.current, ...routes.older])
  }

  /** From here on the node tells all its routes anew, by `add`; what it told before counts meanwhile. */
  beginSnapshot(node: NodeId): void {
    const routes = this.byNode.get(node)
    if (routes === undefined) return
    routes.older = [routes.current, ...routes.older].filter(({ digest }) => digest.size > 0)
    routes.current = new Holding(node)
  }

  /** The node has told all: routes that it has not told since `beginSnapshot` end; returns how many. */
  endSnapshot(node: NodeId): number {
    const routes = this.byNode.get(node)
    if (routes === undefined) return 0
    const { older } = routes
    routes.older = []
    if (routes.current.digest.size === 0) this.byNode.delete(node)
    return this.end(older)
  }

  /**
   * Removes routes that have ended.
   * @param maximum filters that are looked at
   * @returns true when there are more to look at
   */
  sweep(maximum: number): boolean {
    for (let looked = 0; looked < maximum; looked += 1) {
      if (this.walk === undefined) {
        if (!this.needsWalk) return false
        this.needsWalk = false
        this.walk = this.byFilter.entries()
      }
      const next = this.walk.next()
      if (next.done === true) this.walk = undefined
      else if (hasEnded(next.value[1])) this.sweepFilter(next.value[0])
    }
    return this.walk !== undefined || this.needsWalk
  }

  has(node: NodeId, filter: string): boolean {
    const holders = this.byFilter.get(filter)
    return holders !== undefined && livingOf(node, holders) !== undefined
  }

  /** The nodes that have at least one route. */
  nodes(): Iterable<NodeId> {
    return this.byNode.keys()
  }

  /** Number of routes of a node, or of all nodes together. */
  count(node?: NodeId): number {
    return node === undefined ? this.total : this.digest(node).count
  }

  /** The filters of a node, in no particular order, looked for among those of all nodes. */
  *filters(node: NodeId): IterableIterator<string> {
    if (!this.byNode.has(node)) return
    for (const [filter, holders] of this.byFilter.entries()) {
      if (livingOf(node, holders) !== undefined) yield filter
    }
  }

  /** All routes, in no particular order, each as its filter and its node. Routes may come and go meanwhile. */
  *all(): IterableIterator<readonly [filter: string, node: NodeId]> {
    for (const [filter, holders] of this.byFilter.entries()) {
      if (Array.isArray(holders)) {
        for (const { node, isAlive } of holders) if (isAlive) yield [filter, node]
      } else if (holders.isAlive) {
        yield [filter, holders.node]
      }
    }
  }

  /** To compare with what the node says of itself; costs the same however many routes there are. */
  digest(node: NodeId): RouteDigest {
    const routes = this.byNode.get(node)
    if (routes === undefined) return EMPTY_DIGEST
    let sum = routes.current.digest.value
    for (const { digest } of routes.older) sum = sumOfDigests(sum, digest.value)
    return sum
  }

  /** Appends each node that has a matching route, once, save those that `into` holds already. */
  matchInto(topic: string, into: NodeId[]): void {
    const exact = this.byFilter.get(topic)
    if (exact !== undefined) appendNodes(exact, into)
    if (this.wildcards.size === 0) return
    const matched = this.matched
    this.wildcards.matchInto(topic, matched)
    for (let holders = matched.pop(); holders !== undefined; holders = matched.pop()) appendNodes(holders, into)
  }

  private open(node: NodeId): NodeRoutes {
    const routes: NodeRoutes = { current: new Holding(node), older: [] }
    this.byNode.set(node, routes)
    return routes
  }

  private put(filter: string, holders: Holders): void {
    this.byFilter = withRoom(this.byFilter)
    this.byFilter.set(filter, holders)
    if (hasWildcard(filter)) this.wildcards.insert(filter, holders)
  }

  private putRest(filter: string, rest: Holders | undefined): void {
    if (rest !== undefined) {
      this.put(filter, rest)
      return
    }
    this.byFilter.delete(filter)
    if (hasWildcard(filter)) this.wildcards.remove(filter)
  }

  private end(holdings: readonly Holding[]): number {
    let ended = 0
    for (const holding of holdings) {
      holding.isAlive = false
      ended += holding.digest.size
    }
    if (ended === 0) return 0
    this.total -= ended
    this.changes += 1
    this.needsWalk = true
    this.onEnded?.()
    return ended
  }

  /** The holders as they are now: those that the walk has seen may be of before the map was split. */
  private sweepFilter(filter: string): void {
    const holders = this.byFilter.get(filter)
    if (holders !== undefined && hasEnded(holders)) this.putRest(filter, living(holders, undefined))
  }
}

function livingOf(node: NodeId, holders: Holders): Holding | undefined {
  if (!Array.isArray(holders)) return holders.node === node && holders.isAlive ? holders : undefined
  return holders.find((holding) => holding.node === node && holding.isAlive)
}

/** Those that live, without one of them. */
function living(holders: Holders, without: Holding | undefined): Holders | undefined {
  if (!Array.isArray(holders)) return holders.isAlive && holders !== without ? holders : undefined
  const rest = holders.filter((holding) => holding.isAlive && holding !== without)
  return rest.length > 1 ? rest : rest[0]
}

/** Those that live, with another one, which may take the place of one of the same node. */
function joined(holders: Holders, replaced: Holding | undefined, added: Holding): Holders {
  const rest = living(holders, replaced)
  if (rest === undefined) return added
  return Array.isArray(rest) ? [...rest, added] : [rest, added]
}

/** Some route of these has ended. */
function hasEnded(holders: Holders): boolean {
  return Array.isArray(holders) ? holders.some(({ isAlive }) => !isAlive) : !holders.isAlive
}

/** A cluster has a handful of nodes: looking through them costs less than a Set. */
function appendNodes(holders: Holders, into: NodeId[]): void {
  if (!Array.isArray(holders)) {
    if (holders.isAlive && !into.includes(holders.node)) into.push(holders.node)
    return
  }
  for (const { isAlive, node } of holders) if (isAlive && !into.includes(node)) into.push(node)
}
