/** Makes peers: what each is given, and what follows when its link comes up or breaks, or its state changes. */

import type { NodeId } from '../router/route-table.js'
import type { ClusterGroups } from './cluster-modules.js'
import type { ClientDirectory } from './directory/directory.js'
import { Exchange, type ExchangeModules, type ExchangeOptions } from './exchange.js'
import type { GroupWatch } from './group-watch.js'
import { Handoff, type HandoffOptions } from './handoff.js'
import type { KeptMembers } from './kept-members.js'
import type { Membership } from './membership.js'
import { type ClusterMetrics, createPeerCounters } from './metrics.js'
import type { OwnNode } from './own-node.js'
import { Peer, type PeerOptions } from './peer.js'
import type { RouteConfirmation } from './route-confirmation.js'
import type { SessionTakeover } from './takeover/takeover.js'

export type PeerFactoryOptions = PeerOptions & ExchangeOptions & HandoffOptions

/** What all exchanges have in common, and those who hear of peers. */
export interface PeerFactoryModules
  extends Pick<
    ExchangeModules,
    'turns' | 'routeLog' | 'routes' | 'groupRoutes' | 'sink' | 'reader' | 'maps' | 'hints' | 'positions' | 'log'
  > {
  readonly self: NodeId
  readonly ownNode: OwnNode
  readonly members: KeptMembers
  readonly clients: ClientDirectory
  readonly moves: SessionTakeover
  readonly confirmation: RouteConfirmation
  readonly groups: ClusterGroups | undefined
  readonly groupWatch: GroupWatch
  readonly reachablePeers: () => NodeId[]
  readonly metrics: ClusterMetrics
}

export class PeerFactory {
  constructor(
    private readonly options: PeerFactoryOptions,
    private readonly modules: PeerFactoryModules,
  ) {}

  create(name: NodeId, membership: Membership): Peer {
    const { self, ownNode, members, positions, clients, moves, confirmation, metrics, log } = this.modules
    const counters = createPeerCounters()
    const exchangeModules: ExchangeModules = {
      ...this.modules,
      incarnation: () => ownNode.incarnation,
      directory: {
        receive: (from, body) => {
          if (!moves.receive(from, body)) clients.receive(from, body)
        },
        routesTaken: (from) => {
          moves.routesTaken(from)
          this.modules.groupWatch.look()
        },
        takePassedOn: (from, addressee, message, pending, isOfThisLife) =>
          moves.takePassedOn(from, addressee, message, pending, isOfThisLife),
      },
      counters,
      batchSizes: metrics.batchSizes,
      looseCut: metrics.drops.link_cut,
      onRoutesConfirmed: () => confirmation.advance(),
    }
    const created: Peer = new Peer(name, this.options, {
      self,
      createExchange: (former) => new Exchange(name, this.options, exchangeModules, former),
      counters,
      handoff: new Handoff(this.options, { metrics, onExpired: () => created.abandon('hint_expired'), log }),
      log,
      isInDoubt: () => moves.isInDoubt,
      onGivenUp: (peer) => {
        members.forget(name)
        if (peer.hasDeparted) positions.forget(name)
        this.modules.groupWatch.look()
      },
      onUp: (peer, isNews) => {
        if (peer.keepsSessions) members.note(name, peer.address)
        else members.forget(name)
        membership.introduce(peer, isNews)
        clients.willKeeper.nodeUp(peer.name, peer.incarnation)
        this.updateReach(peer, true)
        if (isNews) moves.nodeGone(peer.name)
        moves.linkUp(peer.name, peer.incarnation)
      },
      onBeatOwed: (peer) => peer.beat(ownNode.beat()),
      onUnlinked: (peer) => {
        moves.linkLost(peer.name)
        this.updateReach(peer)
        clients.linkLost()
        membership.redial(peer)
      },
      onMembers: (members) => membership.learn(members),
      onStateChange: (peer) => {
        if (!peer.isLive) moves.nodeGone(peer.name)
        if (peer.hasDeparted) clients.willKeeper.nodeDeparted(peer.name)
        else if (!peer.isLive) clients.willKeeper.nodeGone(peer.name)
        ownNode.lookAgain()
        confirmation.advance()
        this.updateReach(peer)
      },
    })
    return created
  }

  /** A node that does not answer is no part of the ring, and its members of shared subscriptions are passed over. */
  private updateReach(peer: Peer, hasOpened = false): void {
    this.modules.groups?.setReach(peer.name, peer.reach)
    this.modules.groupWatch.look()
    this.modules.clients.setPeers(this.modules.reachablePeers(), hasOpened ? peer.name : undefined)
  }
}
