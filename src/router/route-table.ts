/**
 * Which nodes want which topic filters: the routes of all peers, each set written only as its owner tells it. Sized
 * for a million routes: a filter that one node wants (the usual case) costs a Map entry and a Set entry, no object.
 */

import { FilterMap } from './filter-map.js'
import { DigestAccumulator, type RouteDigest } from './route-digest.js'

export type { RouteDigest } from './route-digest.js'

/** `name@host`, as in `n1@127.0.0.1`. */
export type NodeId = string

/** The routes of one node. */
interface NodeRoutes {
  /** The one string by which all entries of the table name the node. */
  readonly node: NodeId
  readonly filters: Set<string>
  readonly digest: DigestAccumulator
}

const EMPTY_DIGEST: Readonly<RouteDigest> = Object.freeze({ count: 0, high: 0, low: 0 })

export class RouteTable {
  private readonly nodesByFilter = new FilterMap<NodeId | NodeId[]>()
  private readonly routesByNode = new Map<NodeId, NodeRoutes>()
  private readonly matched: (NodeId | NodeId[])[] = []
  private changes = 0
  private total = 0

  /** Moves on every change, so that whoever keeps a match knows when it is void. */
  get generation(): number {
    return this.changes
  }

  /** Number of distinct filters. */
  get filterCount(): number {
    return this.nodesByFilter.size
  }

  /** Adds a route; false when it was known. */
  add(node: NodeId, filter: string): boolean {
    const routes = this.routesByNode.get(node) ?? this.open(node)
    if (routes.filters.has(filter)) return false
    routes.filters.add(filter)
    routes.digest.add(filter)
    const nodes = this.nodesByFilter.get(filter)
    if (nodes === undefined) this.nodesByFilter.set(filter, routes.node)
    else if (typeof nodes === 'string') this.nodesByFilter.set(filter, [nodes, routes.node])
    else nodes.push(routes.node)
    this.total += 1
    this.changes += 1
    return true
  }

  /** Removes a route; false when it was not known. */
  remove(node: NodeId, filter: string): boolean {
    const routes = this.routesByNode.get(node)
    if (routes === undefined || !routes.filters.delete(filter)) return false
    routes.digest.remove(filter)
    if (routes.filters.size === 0) this.routesByNode.delete(node)
    this.withdraw(node, filter)
    this.total -= 1
    this.changes += 1
    return true
  }

  /** Removes all routes of a node in one step; returns how many there were. */
  clear(node: NodeId): number {
    const routes = this.routesByNode.get(node)
    if (routes === undefined) return 0
    this.routesByNode.delete(node)
    for (const filter of routes.filters) this.withdraw(node, filter)
    this.total -= routes.filters.size
    this.changes += 1
    return routes.filters.size
  }

  has(node: NodeId, filter: string): boolean {
    return this.routesByNode.get(node)?.filters.has(filter) ?? false
  }

  /** The nodes that have at least one route. */
  nodes(): Iterable<NodeId> {
    return this.routesByNode.keys()
  }

  /** Number of routes of a node, or of all nodes together. */
  count(node?: NodeId): number {
    return node === undefined ? this.total : (this.routesByNode.get(node)?.filters.size ?? 0)
  }

  /** The filters of a node, oldest first. The table must not change meanwhile. */
  filters(node: NodeId): Iterable<string> {
    return this.routesByNode.get(node)?.filters ?? []
  }

  /** To compare with what the node says of itself; costs the same however many routes there are. */
  digest(node: NodeId): RouteDigest {
    return this.routesByNode.get(node)?.digest.value ?? EMPTY_DIGEST
  }

  /** Appends each node that has a matching route, once, save those that `into` holds already. */
  matchInto(topic: string, into: NodeId[]): void {
    const matched = this.matched
    this.nodesByFilter.matchInto(topic, matched)
    for (let nodes = matched.pop(); nodes !== undefined; nodes = matched.pop()) {
      if (typeof nodes === 'string') appendOnce(nodes, into)
      else for (const node of nodes) appendOnce(node, into)
    }
  }

  private open(node: NodeId): NodeRoutes {
    const routes = { node, filters: new Set<string>(), digest: new DigestAccumulator() }
    this.routesByNode.set(node, routes)
    return routes
  }

  private withdraw(node: NodeId, filter: string): void {
    const nodes = this.nodesByFilter.get(filter)
    if (nodes === undefined || nodes === node) {
      this.nodesByFilter.delete(filter)
    } else if (typeof nodes !== 'string') {
      nodes.splice(nodes.indexOf(node), 1)
      const last = nodes[0]
      if (nodes.length === 1 && last !== undefined) this.nodesByFilter.set(filter, last)
    }
  }
}

/** A cluster has a handful of nodes: looking through them costs less than a Set. */
function appendOnce(node: NodeId, into: NodeId[]): void {
  if (!into.includes(node)) into.push(node)
}
