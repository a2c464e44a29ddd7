/** What a cluster is made of, built from the bottom up. */

import type { ClusterOptions } from '../config/options.js'
import { GroupRoutes } from '../router/group-routes.js'
import { asError } from '../util/errors.js'
import { TurnQueue } from '../util/turn.js'
import { createAdoptions } from './adoption/adoption-parts.js'
import type { Adoptions } from './adoption/adoptions.js'
import { BatchReader } from './batch.js'
import type { ClusterModules } from './cluster-modules.js'
import { ClientDirectory } from './directory/directory.js'
import { createSeedSource } from './discovery/discovery.js'
import { registerDiscoveryMetrics } from './discovery/metrics.js'
import type { SeedSource } from './discovery/seed-source.js'
import { PeerForwarder } from './forwarder.js'
import { GroupWatch } from './group-watch.js'
import type { HandshakeOptions } from './handshake.js'
import { Hints } from './hints.js'
import { KeptMembers } from './kept-members.js'
import type { Link } from './link.js'
import { Membership } from './membership.js'
import { Mesh } from './mesh.js'
import { MeshAlarms } from './mesh-alarms.js'
import { MeshTls } from './mesh-tls.js'
import { registerMeshTlsMetrics } from './mesh-tls-metrics.js'
import { registerClusterMetrics } from './metrics.js'
import { OwedFirst } from './owed-first.js'
import { OwnNode } from './own-node.js'
import { PeerFactory } from './peer-factory.js'
import { Peers } from './peers.js'
import { Readiness } from './readiness.js'
import { ReceivedPositions } from './received-positions.js'
import { ReplicatedMaps } from './replicated-maps.js'
import { RouteConfirmation } from './route-confirmation.js'
import { KEPT_CHANGES, RouteLog } from './route-log.js'
import { RouteSweep } from './route-sweep.js'
import { SessionTakeover } from './takeover/takeover.js'
import { viewOf } from './views.js'
import { MINIMUM_PROTOCOL_VERSION } from './wire.js'

/** How long a link waits for the store that all share to say that this node's sessions are its own, in milliseconds. */
const LINK_WAIT_MS = 1_500

export class ClusterParts {
  readonly membership: Membership
  /** Of `membership`. */
  readonly peers: Peers
  readonly mesh: Mesh
  readonly seeds: SeedSource
  readonly ownNode: OwnNode
  readonly readiness: Readiness
  readonly alarms: MeshAlarms
  readonly turns: TurnQueue
  readonly sweep: RouteSweep
  readonly groupWatch: GroupWatch
  readonly confirmation: RouteConfirmation
  readonly forwarder: PeerForwarder
  readonly clients: ClientDirectory
  readonly moves: SessionTakeover
  readonly maps: ReplicatedMaps
  readonly keptMembers: KeptMembers
  /** What peers are owed in the store; undefined without one. */
  readonly hints: Hints | undefined
  private readonly owedFirst: OwedFirst
  private readonly adoptions: Adoptions | undefined
  private readonly routeLog: RouteLog
  private readonly peerFactory: PeerFactory

  /** @param isStopping whether the node has begun to leave its peers for good */
  constructor(
    private readonly options: ClusterOptions,
    private readonly modules: ClusterModules,
    private readonly isStopping: () => boolean,
  ) {
    const { log, store } = modules
    const discovery = registerDiscoveryMetrics(modules.metrics)
    this.seeds =
      modules.seeds ?? createSeedSource(options, { self: () => this.ownNode.identity(), metrics: discovery, log })
    this.turns = new TurnQueue({ onError: (error) => log.error({ err: asError(error) }, 'cluster turn failed') })
    const { groups, sink } = modules
    this.groupWatch = new GroupWatch({ peers: () => this.membership.peers, groups, sink, turns: this.turns })
    this.routeLog = new RouteLog(modules.subscriptions, () => this.wakePeers(), KEPT_CHANGES, modules.groups)
    const groupRoutes = new GroupRoutes(modules.groups)
    this.sweep = new RouteSweep(modules.routes, this.turns)
    this.maps = new ReplicatedMaps({
      node: modules.node,
      incarnation: modules.incarnation,
      store: modules.store,
      onWritten: (map, key) => {
        for (const peer of this.peers) peer.exchange.mapWritten(map, key)
      },
    })
    this.keptMembers = new KeptMembers(store)
    this.hints = store && new Hints(store, modules.incarnation)
    const positions = new ReceivedPositions(store)
    const metrics = registerClusterMetrics(modules.metrics, {
      peers: () => this.membership.peers.values(),
      maps: () => this.maps.byName.values(),
      ownRoutes: () => this.routeLog.digest().count,
      peerRoutes: () => modules.routes.count() + groupRoutes.count(),
      routeWaiters: () => this.confirmation.length,
      heldBack: () => this.forwarder.heldBackCount,
      viewDifferences: () => this.alarms.viewDifferences,
    })
    this.readiness = new Readiness({
      joinTimeout: options.joinTimeout,
      isMeshWhole: () => this.membership.isComplete,
      onTimeout: () => this.warnOfMissing(),
      onReady: (because) => log.info({ peers: this.peers.count, because }, 'cluster ready'),
    })
    this.ownNode = new OwnNode({
      node: modules.node,
      cluster: options.name,
      version: modules.version,
      incarnation: modules.incarnation,
      keepsSessions: store !== undefined,
      connectionCount: modules.connectionCount,
      routeCount: () => this.routeLog.digest().count,
      isReady: () => this.readiness.isReady,
      isDraining: () => modules.isDraining?.() === true,
      look: () => viewOf(this.peers),
    })
    this.membership = this.createMembership()
    this.peers = new Peers(this.membership.peers)
    this.owedFirst = new OwedFirst(this.peers)
    const tls = registerMeshTlsMetrics(modules.metrics)
    this.alarms = new MeshAlarms(options, { self: modules.node, peers: this.membership.peers, discovery, tls })
    this.mesh = new Mesh({
      handshake: () => this.handshakeOptions(),
      onLink: (link) => this.admitWhenSure(link),
      tls: options.tls.certFile === '' ? undefined : new MeshTls(options.tls, { metrics: tls, log }),
      metrics,
      log,
    })
    this.confirmation = new RouteConfirmation(options.routeConfirmTimeout, {
      ownVersion: () => this.routeLog.version,
      lowestConfirmed: () => this.peers.lowestConfirmedVersion(),
      timeouts: metrics.routeConfirmTimeouts,
    })
    this.forwarder = new PeerForwarder({
      peers: this.membership.peers,
      confirmation: this.confirmation,
      metrics,
      routes: modules.routes,
    })
    this.clients = this.createDirectory()
    this.adoptions = createAdoptions({
      ...{ self: modules.node, ownNode: this.ownNode, peers: this.peers, clients: this.clients },
      ...{ sessions: modules.moves, sink: modules.sink, store: modules.store, adoptAfter: modules.adoptAfter ?? 0 },
      ...{ positions, routeLog: this.routeLog, metrics: modules.metrics, drops: metrics.drops, log },
      isTaking: () => this.readiness.isReady && !this.isLettingGo() && !this.membership.isApart,
    })
    this.moves = this.createTakeover()
    this.peerFactory = new PeerFactory(options, {
      self: modules.node,
      ownNode: this.ownNode,
      turns: this.turns,
      routeLog: this.routeLog,
      routes: modules.routes,
      groupRoutes,
      groups: modules.groups,
      groupWatch: this.groupWatch,
      sink: modules.sink,
      reader: new BatchReader(),
      maps: this.maps.byName,
      hints: this.hints,
      positions,
      members: this.keptMembers,
      clients: this.clients,
      moves: this.moves,
      confirmation: this.confirmation,
      reachablePeers: () => this.peers.reachable(),
      metrics,
      log,
    })
    modules.subscriptions.setListener(this.routeLog)
    modules.groups?.setListener(this.routeLog)
  }

  /** Its own routes go to nobody any more, what is under way is dropped, and who waits is answered. */
  async stop(): Promise<void> {
    const { modules, membership } = this
    modules.subscriptions.setListener(undefined)
    modules.groups?.setListener(undefined)
    membership.stop()
    // The peers live on, and their members with them: what these have is not for others.
    for (const peer of this.peers) {
      peer.exchange.custody.clear()
      peer.part()
    }
    this.forwarder.stop()
    this.moves.stop()
    this.clients.stop()
    this.confirmation.stop()
    this.sweep.stop()
    this.groupWatch.stop()
    this.owedFirst.stop()
    this.turns.stop()
    await this.mesh.stop()
    await this.seeds.stop()
  }

  private createMembership(): Membership {
    const { options, modules } = this
    return new Membership(options, {
      self: () => this.ownNode.identity(),
      seeds: this.seeds,
      createPeer: (name, membership) => this.peerFactory.create(name, membership),
      connect: (address, sole) => this.mesh.connect(address, sole),
      describeSelf: () => this.ownNode.beat(),
      log: modules.log,
    })
  }

  private createDirectory(): ClientDirectory {
    const { modules, peers, membership } = this
    return new ClientDirectory({
      self: modules.node,
      send: (to, body) => peers.send(to, body),
      isLinked: (peer) => peers.isLinked(peer),
      knowsOffers: (peer) => peers.speaks(peer, 'handover'),
      keepsWills: (peer) => peers.speaks(peer, 'wills'),
      isExpecting: () => membership.isExpecting,
      isSure: () => this.moves.isSure,
      isDraining: () => this.isLettingGo(),
      onAlone: () => this.moves.doubt(),
      mayBeLost: () => this.moves.mayBeLost,
      sink: modules.clients,
      turns: this.turns,
      metrics: modules.metrics,
      log: modules.log,
    })
  }

  private createTakeover(): SessionTakeover {
    const { modules, peers } = this
    return new SessionTakeover({
      self: modules.node,
      send: (to, body) => peers.send(to, body),
      mark: (to, mark) => peers.mark(to, mark),
      peers: () => peers.inReach(),
      members: () => peers.members(),
      debtors: () => peers.debtors(),
      isGone: (peer) => peers.isGone(peer),
      passOn: (to, message, head, pending) => this.forwarder.passOn(to, message, head, pending),
      routeVersion: () => this.routeLog.version,
      routeVersionOf: (peer) => peers.routeVersionOf(peer),
      turns: this.turns,
      sessions: modules.moves,
      isTaking: () => !this.isLettingGo(),
      takers: () => peers.takers(),
      whenPaid: (within, done) => this.owedFirst.whenPaid(within, done),
      adoptions: this.adoptions,
      metrics: modules.metrics,
      log: modules.log,
    })
  }

  private handshakeOptions(): HandshakeOptions {
    const { protocolVersion } = this.modules
    return {
      identity: this.ownNode.identity(),
      protocol: protocolVersion ?? this.options.maximumProtocol,
      minimumProtocol: protocolVersion ?? MINIMUM_PROTOCOL_VERSION,
      secret: this.options.secret,
      admit: (identity) => this.membership.admit(identity),
    }
  }

  /**
   * Peers that hear this node again send it what is for its sessions. Were these another's by now, it would be lost here: so it
   * knows first, if it can within a moment.
   */
  private admitWhenSure(link: Link): void {
    const admit = (): void => {
      if (link.state !== 'closed') this.membership.admitLink(link)
    }
    if (this.adoptions === undefined || this.adoptions.isSure) admit()
    else this.adoptions.whenSure(performance.now() + LINK_WAIT_MS, admit, true)
  }

  /** Whether this node takes nobody else's clients and sessions. */
  private isLettingGo(): boolean {
    return this.isStopping() || this.modules.isDraining?.() === true
  }

  private wakePeers(): void {
    for (const peer of this.peers) peer.exchange.wake()
    this.groupWatch.look()
  }

  private warnOfMissing(): void {
    this.modules.log.warn(
      { peers: this.peers.missing(), seeds: this.membership.silentSeeds, after: this.options.joinTimeout },
      'not everyone was reached in time, serving without',
    )
  }
}
