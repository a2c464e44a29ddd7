/**
 * Which nodes have members of which groups of shared subscriptions: the group routes of all peers, each written only
 * as its owner tells it. The groups themselves (`SharedGroups`) hear of every change.
 */

import { DigestAccumulator, type RouteDigest } from './route-digest.js'
import type { NodeId } from './route-table.js'

/** What one node says of its members of one group. */
export interface GroupRoute {
  /** As it was subscribed to: `$share/{group}/{filter}` or `$queue/{filter}`. */
  readonly filter: string
  /** The owner's number for the group, by which messages name it; the same as long as its process lives. */
  readonly id: number
  /** Members whose clients are connected. */
  readonly connected: number
  /** All members; 0: the route is withdrawn. */
  readonly members: number
}

/** Who has to know where members are. */
export interface GroupPlacement {
  place(node: NodeId, route: GroupRoute): void
  withdraw(node: NodeId, filter: string): void
}

interface NodeGroups {
  readonly routes: Map<string, GroupRoute>
  readonly digest: DigestAccumulator
}

const EMPTY_DIGEST: Readonly<RouteDigest> = Object.freeze({ count: 0, high: 0, low: 0 })

export class GroupRoutes {
  private readonly byNode = new Map<NodeId, NodeGroups>()

  constructor(private readonly placement?: GroupPlacement) {}

  /** Adds a route, or takes what is new of it; without members it goes. */
  set(node: NodeId, route: GroupRoute): void {
    if (route.members === 0) {
      this.remove(node, route.filter)
      return
    }
    const groups = this.byNode.get(node) ?? this.open(node)
    const earlier = groups.routes.get(route.filter)
    if (earlier !== undefined) groups.digest.remove(routeText(earlier))
    groups.routes.set(route.filter, route)
    groups.digest.add(routeText(route))
    this.placement?.place(node, route)
  }

  /** False when there was none. */
  remove(node: NodeId, filter: string): boolean {
    const groups = this.byNode.get(node)
    const route = groups?.routes.get(filter)
    if (groups === undefined || route === undefined) return false
    groups.routes.delete(filter)
    groups.digest.remove(routeText(route))
    if (groups.routes.size === 0) this.byNode.delete(node)
    this.placement?.withdraw(node, filter)
    return true
  }

  /** Removes all of a node. */
  clear(node: NodeId): void {
    const groups = this.byNode.get(node)
    if (groups === undefined) return
    this.byNode.delete(node)
    for (const filter of groups.routes.keys()) this.placement?.withdraw(node, filter)
  }

  /** Another life of the node has other numbers for its groups: 0 stands for those that are not known. */
  forgetNumbers(node: NodeId): void {
    for (const route of [...(this.byNode.get(node)?.routes.values() ?? [])]) this.set(node, { ...route, id: 0 })
  }

  /** Number of routes of a node, or of all nodes together. */
  count(node?: NodeId): number {
    if (node !== undefined) return this.byNode.get(node)?.routes.size ?? 0
    let total = 0
    for (const { routes } of this.byNode.values()) total += routes.size
    return total
  }

  /** The filters of a node. The routes must not change meanwhile. */
  filters(node: NodeId): Iterable<string> {
    return this.byNode.get(node)?.routes.keys() ?? []
  }

  /** To compare with what the node says of itself. */
  digest(node: NodeId): RouteDigest {
    return this.byNode.get(node)?.digest.value ?? EMPTY_DIGEST
  }

  private open(node: NodeId): NodeGroups {
    const groups = { routes: new Map<string, GroupRoute>(), digest: new DigestAccumulator() }
    this.byNode.set(node, groups)
    return groups
  }
}

/** What of a route goes into the digest: all of it. Part of the link protocol. */
export function routeText({ filter, id, connected, members }: GroupRoute): string {
  return `${filter}\n${id} ${connected} ${members}`
}
