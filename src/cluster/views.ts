/**
 * Who sees whom. Every node tells its peers in its heartbeats how it sees the others; where two nodes that are linked see
 * a third one differently, or only one of two hears the other, the network is cut in a way that no node could know alone.
 */

import type { NodeId } from '../router/route-table.js'
import type { PeerStateName } from './metrics.js'
import { SIGHT_STATES, type SightStateValue, type View } from './wire.js'

/** A peer as far as views go. */
export interface SeenPeer {
  readonly name: NodeId
  readonly state: PeerStateName
  /** True when it lives, and what is sent to it goes out now. */
  readonly isReachable: boolean
  /** How it sees the others, as it last said; undefined until it has, and from nodes that never do. */
  readonly view: ReadonlyMap<NodeId, SightStateValue> | undefined
}

/** A node that a peer sees otherwise than this node does. */
export interface Difference {
  readonly peer: NodeId
  /** May be this node: then the peer does not hear it, although it is heard here. */
  readonly node: NodeId
  /** `up` here and gone for the peer, or the other way round. */
  readonly seen: 'here' | 'there'
}

const SIGHT_OF: Record<PeerStateName, SightStateValue> = {
  joining: SIGHT_STATES.GONE,
  up: SIGHT_STATES.UP,
  suspect: SIGHT_STATES.SUSPECT,
  down: SIGHT_STATES.GONE,
  left: SIGHT_STATES.GONE,
}

/** What this node says of its peers. */
export function viewOf(peers: Iterable<SeenPeer>): View {
  return { sights: Array.from(peers, ({ name, state }) => ({ node: name, state: SIGHT_OF[state] })) }
}

/** What a peer has said, by name; a state of a newer protocol is none. */
export function readView({ sights }: View): ReadonlyMap<NodeId, SightStateValue> {
  return new Map(sights.map(({ node, state }) => [node, state]))
}

export class Views {
  /** Differences by peer and node, and since when there are. */
  private readonly lasting = new Map<string, Difference & { since: number }>()

  /**
   * @param settleMs a difference counts when it has lasted this long: news takes a beat to go round
   */
  constructor(
    private readonly self: NodeId,
    private readonly settleMs: number,
  ) {}

  /** Compares this node's view with what each peer that is linked has said. @param now of `performance.now` */
  compare(peers: ReadonlyMap<NodeId, SeenPeer>, now: number): void {
    const found = new Set<string>()
    for (const difference of differences(this.self, peers)) {
      const key = `${difference.peer}\0${difference.node}`
      found.add(key)
      // Who sees it may have changed places meanwhile; that they differ has not.
      this.lasting.set(key, { ...difference, since: this.lasting.get(key)?.since ?? now })
    }
    for (const key of this.lasting.keys()) if (!found.has(key)) this.lasting.delete(key)
  }

  /** Differences that have lasted. */
  *differing(now: number): Generator<Difference> {
    for (const one of this.lasting.values()) if (now - one.since >= this.settleMs) yield one
  }

  /** Of nothing: the node stops. */
  clear(): void {
    this.lasting.clear()
  }
}

function* differences(self: NodeId, peers: ReadonlyMap<NodeId, SeenPeer>): Generator<Difference> {
  for (const peer of peers.values()) {
    const { view, name } = peer
    if (view === undefined || !peer.isReachable) continue
    for (const node of new Set([...peers.keys(), ...view.keys()])) {
      if (node === name) continue
      const here = node === self ? SIGHT_STATES.UP : sightOf(peers.get(node))
      const there = view.get(node) ?? SIGHT_STATES.GONE
      // Of one that is suspect nobody knows yet.
      if (here === SIGHT_STATES.SUSPECT || there === SIGHT_STATES.SUSPECT) continue
      const isUpHere = here === SIGHT_STATES.UP
      if (isUpHere !== (there === SIGHT_STATES.UP)) yield { peer: name, node, seen: isUpHere ? 'here' : 'there' }
    }
  }
}

function sightOf(peer: SeenPeer | undefined): SightStateValue {
  return peer === undefined ? SIGHT_STATES.GONE : SIGHT_OF[peer.state]
}
