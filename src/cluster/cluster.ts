/** The cluster as the node sees it: start, stop, status, the way to the peers, and maps that every node has a copy of. */

import { isShared } from '../broker/estate-port.js'
import type { Takeovers } from '../broker/move-ports.js'
import type { Directory, Forwarder, NodeId, Replica } from '../broker/ports.js'
import { formatHostPort, parseHostPort, parseNodeName } from '../config/addresses.js'
import type { ClusterOptions } from '../config/options.js'
import { GroupRoutes } from '../router/group-routes.js'
import type { AlarmCondition } from '../telemetry/alarms.js'
import { asError } from '../util/errors.js'
import { TurnQueue } from '../util/turn.js'
import { Adoptions } from './adoption/adoptions.js'
import { sendOn } from './adoption/bequests.js'
import { type DebtModules, handOn, writeOff } from './adoption/debts.js'
import { isGone, lostNodes } from './adoption/lost-nodes.js'
import { createAdoptionMetrics } from './adoption/metrics.js'
import { alarmConditions } from './alarm-conditions.js'
import { BatchReader } from './batch.js'
import type { ClusterModules } from './cluster-modules.js'
import { ClientDirectory } from './directory/directory.js'
import { discoveryAlarms } from './discovery/alarm.js'
import { createSeedSource } from './discovery/discovery.js'
import { type DiscoveryMetrics, registerDiscoveryMetrics } from './discovery/metrics.js'
import type { SeedSource } from './discovery/seed-source.js'
import { endLinks } from './farewells.js'
import { PeerForwarder } from './forwarder.js'
import { GroupWatch } from './group-watch.js'
import type { HandshakeOptions } from './handshake.js'
import { Hints } from './hints.js'
import { KeptMembers } from './kept-members.js'
import type { Link } from './link.js'
import { Membership } from './membership.js'
import { Mesh } from './mesh.js'
import { MeshTls } from './mesh-tls.js'
import { type MeshTlsMetrics, meshCertificateAlarms, registerMeshTlsMetrics } from './mesh-tls-metrics.js'
import { type ClusterMetrics, registerClusterMetrics } from './metrics.js'
import { OwnNode } from './own-node.js'
import { PeerFactory } from './peer-factory.js'
import { Readiness } from './readiness.js'
import { ReceivedPositions } from './received-positions.js'
import { ReplicatedMaps } from './replicated-maps.js'
import { RouteConfirmation } from './route-confirmation.js'
import { KEPT_CHANGES, RouteLog } from './route-log.js'
import { RouteSweep } from './route-sweep.js'
import { ROUTE_CHECK_INTERVAL_MS } from './route-sync.js'
import { type RouteVerification, verifyRoutes } from './route-verification.js'
import type { ClusterStatus } from './status.js'
import { SessionTakeover } from './takeover/takeover.js'
import { Views, viewOf } from './views.js'
import { MINIMUM_PROTOCOL_VERSION } from './wire.js'

export type { ClusterModules } from './cluster-modules.js'
export type { RouteSource } from './route-log.js'

export class Cluster {
  readonly forwarder: Forwarder
  readonly directory: Directory
  readonly takeovers: Takeovers
  private readonly clients: ClientDirectory
  private readonly moves: SessionTakeover
  private readonly adoptions: Adoptions | undefined
  private readonly peerForwarder: PeerForwarder
  private readonly membership: Membership
  private readonly peerFactory: PeerFactory
  private readonly mesh: Mesh
  private readonly routeLog: RouteLog
  private readonly groupRoutes: GroupRoutes
  private readonly groupWatch: GroupWatch
  private readonly sweep: RouteSweep
  private readonly confirmation: RouteConfirmation
  private readonly turns: TurnQueue
  private readonly clusterMetrics: ClusterMetrics
  private readonly maps: ReplicatedMaps
  private readonly keptMembers: KeptMembers
  /** What peers are owed in the store. */
  private readonly hints: Hints | undefined
  private readonly positions: ReceivedPositions
  private readonly seeds: SeedSource
  private readonly discovery: DiscoveryMetrics
  private readonly tlsMetrics: MeshTlsMetrics
  private readonly readiness: Readiness
  private readonly views: Views
  private readonly ownNode: OwnNode
  private isStopping = false
  private stopped: Promise<void> | undefined
  private departing: Promise<void> | undefined
  private viewTimer: NodeJS.Timeout | undefined
  private checkTimer: NodeJS.Timeout | undefined

  constructor(
    private readonly options: ClusterOptions,
    private readonly modules: ClusterModules,
  ) {
    const { log } = modules
    this.discovery = registerDiscoveryMetrics(modules.metrics)
    this.seeds =
      modules.seeds ?? createSeedSource(options, { self: () => this.ownNode.identity(), metrics: this.discovery, log })
    this.turns = new TurnQueue({ onError: (error) => log.error({ err: asError(error) }, 'cluster turn failed') })
    this.views = new Views(modules.node, VIEW_SETTLE_BEATS * options.heartbeatInterval)
    this.groupWatch = new GroupWatch({ peers: () => this.membership.peers, sink: modules.sink, turns: this.turns })
    this.routeLog = new RouteLog(modules.subscriptions, () => this.wakePeers(), KEPT_CHANGES, modules.groups)
    this.groupRoutes = new GroupRoutes(modules.groups)
    this.sweep = new RouteSweep(modules.routes, this.turns)
    this.maps = new ReplicatedMaps({
      node: modules.node,
      incarnation: modules.incarnation,
      store: modules.store,
      onWritten: (map, key) => {
        for (const peer of this.membership.peers.values()) peer.exchange.mapWritten(map, key)
      },
    })
    const sessionStore = modules.sessionStore
    this.keptMembers = new KeptMembers(sessionStore)
    this.hints = sessionStore && new Hints(sessionStore, modules.incarnation)
    this.positions = new ReceivedPositions(sessionStore)
    this.clusterMetrics = registerClusterMetrics(modules.metrics, {
      peers: () => this.membership.peers.values(),
      maps: () => this.maps.byName.values(),
      ownRoutes: () => this.routeLog.digest().count,
      peerRoutes: () => modules.routes.count() + this.groupRoutes.count(),
      routeWaiters: () => this.confirmation.length,
      heldBack: () => this.peerForwarder.heldBackCount,
      viewDifferences: () => this.viewDifferences(),
    })
    this.readiness = new Readiness({
      joinTimeout: options.joinTimeout,
      isMeshWhole: () => this.membership.isComplete,
      onTimeout: () => this.warnOfMissing(),
      onReady: (because) => log.info({ peers: this.membership.peers.size, because }, 'cluster ready'),
    })
    this.ownNode = new OwnNode({
      node: modules.node,
      cluster: options.name,
      version: modules.version,
      incarnation: modules.incarnation,
      keepsSessions: sessionStore !== undefined,
      connectionCount: modules.connectionCount,
      routeCount: () => this.routeLog.digest().count,
      isReady: () => this.isReady,
      isDraining: () => modules.isDraining?.() === true,
      look: () => viewOf(this.membership.peers.values()),
    })
    this.membership = this.createMembership()
    this.tlsMetrics = registerMeshTlsMetrics(modules.metrics)
    this.mesh = new Mesh({
      handshake: () => this.handshakeOptions(),
      onLink: (link) => this.admitWhenSure(link),
      tls: options.tls.certFile === '' ? undefined : new MeshTls(options.tls, { metrics: this.tlsMetrics, log }),
      metrics: this.clusterMetrics,
      log,
    })
    this.confirmation = new RouteConfirmation(options.routeConfirmTimeout, {
      ownVersion: () => this.routeLog.version,
      lowestConfirmed: () => this.lowestConfirmedVersion(),
      timeouts: this.clusterMetrics.routeConfirmTimeouts,
    })
    this.peerForwarder = new PeerForwarder({
      peers: this.membership.peers,
      confirmation: this.confirmation,
      metrics: this.clusterMetrics,
      routes: modules.routes,
    })
    this.forwarder = this.peerForwarder
    this.clients = new ClientDirectory({
      self: modules.node,
      send: (to, body) => this.membership.peers.get(to)?.send(body),
      isLinked: (peer) => this.membership.peers.get(peer)?.isLinked === true,
      knowsOffers: (peer) => this.membership.peers.get(peer)?.speaks('handover') === true,
      keepsWills: (peer) => this.membership.peers.get(peer)?.speaks('wills') === true,
      isExpecting: () => this.membership.isExpecting,
      isSure: () => this.moves.isSure,
      isDraining: () => this.isStopping || modules.isDraining?.() === true,
      onAlone: () => this.moves.doubt(),
      mayBeLost: () => this.moves.mayBeLost,
      sink: modules.clients,
      turns: this.turns,
      metrics: modules.metrics,
      log,
    })
    this.directory = this.clients
    this.adoptions = this.createAdoptions()
    this.moves = new SessionTakeover({
      self: modules.node,
      send: (to, body) => this.membership.peers.get(to)?.send(body),
      mark: (to, mark) => this.membership.peers.get(to)?.exchange.mark(mark),
      peers: () => this.peersInReach(),
      members: () => this.members(),
      isGone: (peer) => this.membership.peers.get(peer)?.isLive === false,
      passOn: (to, message, head, pending) => this.peerForwarder.passOn(to, message, head, pending),
      routeVersion: () => this.routeLog.version,
      routeVersionOf: (peer) => this.membership.peers.get(peer)?.exchange.mirror.version ?? 0,
      turns: this.turns,
      sessions: modules.moves,
      isTaking: () => !this.isStopping && modules.isDraining?.() !== true,
      takers: () => this.takers(),
      adoptions: this.adoptions,
      metrics: modules.metrics,
      log,
    })
    this.takeovers = this.moves
    this.peerFactory = new PeerFactory(options, {
      self: modules.node,
      ownNode: this.ownNode,
      turns: this.turns,
      routeLog: this.routeLog,
      routes: modules.routes,
      groupRoutes: this.groupRoutes,
      groups: modules.groups,
      groupWatch: this.groupWatch,
      sink: modules.sink,
      reader: new BatchReader(),
      maps: this.maps.byName,
      hints: this.hints,
      positions: this.positions,
      members: this.keptMembers,
      clients: this.clients,
      moves: this.moves,
      confirmation: this.confirmation,
      reachablePeers: () => this.reachablePeers(),
      metrics: this.clusterMetrics,
      log,
    })
    modules.subscriptions.setListener(this.routeLog)
    modules.groups?.setListener(this.routeLog)
  }

  /** host:port of the cluster port as bound; '' before `start`. */
  get address(): string {
    return this.mesh.address
  }

  /** True once the mesh was whole, or the join timeout has passed; false again when the node stops. */
  get isReady(): boolean {
    return this.readiness.isReady
  }

  /** False while other nodes may have taken this one for dead: what is due is perhaps theirs then. */
  get isSure(): boolean {
    return this.moves.isSure
  }

  /** Resolves when `isReady` becomes true, or the cluster stops. */
  whenReady(): Promise<void> {
    return this.readiness.whenReady()
  }

  /**
   * Resolves when the cluster port listens; joining goes on in the background.
   * @throws NodeError CLUSTER_PORT_UNAVAILABLE
   */
  async start(): Promise<void> {
    const { options, modules } = this
    await this.mesh.start(options.listen)
    const advertise = this.advertisedAddress()
    this.ownNode.started(advertise)
    modules.log.info(
      { cluster: options.name, incarnation: modules.incarnation, listen: this.address, advertise },
      'cluster port open',
    )
    this.clients.start()
    this.moves.start()
    this.membership.start(modules.isApart)
    if (modules.isApart !== true) this.membership.expect(this.keptMembers.entries())
    this.groupWatch.look()
    this.viewTimer = setInterval(
      () => this.views.compare(this.membership.peers, performance.now()),
      Math.min(VIEW_LOOK_MS, options.heartbeatInterval),
    )
    this.checkTimer = setInterval(() => this.compareDigests(), ROUTE_CHECK_INTERVAL_MS)
    this.maps.start()
    this.readiness.start()
  }

  /**
   * A map that every node has a copy of; ask for it before the store is loaded, and `start`. See `ReplicatedMaps`.
   * @throws NodeError MAP_EXISTS when the name is taken
   */
  replica(
    name: string,
    onChange: (key: string, value: Buffer | undefined) => void,
    deadlineOf: (value: Buffer) => number = () => 0,
  ): Replica {
    return this.maps.replica(name, onChange, deadlineOf)
  }

  /** This node, and every other that it knows, in the order of names. */
  status(): ClusterStatus {
    const now = performance.now()
    const nodes = Array.from(this.membership.peers.values(), (peer) => peer.describe(now))
    nodes.push(this.ownNode.describe())
    nodes.sort((a, b) => (a.name < b.name ? -1 : 1))
    return {
      cluster: this.options.name,
      node: this.modules.node,
      ready: this.isReady,
      ...(this.isApart ? { apart: true } : {}),
      nodes,
    }
  }

  /**
   * Dials another node by its cluster address, now and for as long as this node lives; a node that has left its
   * cluster is a member again from here on.
   * @param address host:port; '' only ends being apart: the peers are found as the options say
   */
  join(address: string): void {
    if (this.isStopping) return
    if (this.membership.isApart) {
      this.ownNode.beginLife()
      this.modules.log.info({ incarnation: this.ownNode.incarnation, address }, 'joining the cluster again')
      this.membership.rejoin()
    }
    if (address !== '') this.membership.join(address)
  }

  /** Whether another node can be reached that takes clients. */
  get hasPeers(): boolean {
    for (const peer of this.membership.peers.values()) if (peer.isReachable && peer.isTaking) return true
    return false
  }

  /** True from the beginning of `depart` until `join`. */
  get isApart(): boolean {
    return this.membership.isApart
  }

  /** Leaves the cluster and goes on alone: the peers drop this node's routes at once and forget it. */
  depart(): Promise<void> {
    this.departing ??= this.partCompany().finally(() => {
      this.departing = undefined
    })
    return this.departing
  }

  private async partCompany(): Promise<void> {
    const { membership, modules } = this
    membership.partCompany()
    const peers = [...membership.peers.values()]
    modules.log.info({ peers: peers.map(({ name }) => name) }, 'leaving the cluster')
    await endLinks(peers, false, () => this.moves.isIdle)
    if (this.isStopping) return
    membership.forgetAll()
    this.views.clear()
    this.clients.setPeers([])
    this.confirmation.advance()
    await this.seeds.stop()
    modules.log.info('the node is a cluster of its own')
  }

  /** Compares the routes of each peer that is up with its digest of them; those that differ are mended from here on. */
  verifyRoutes(): Promise<RouteVerification[]> {
    return verifyRoutes(this.membership.peers.values())
  }

  /** Removes a node that has stopped from the status; false when it is not known or not stopped. */
  forget(node: NodeId): boolean {
    return this.membership.forget(node)
  }

  /** What wants an operator now; nothing while the node stops. */
  *alarms(): Generator<AlarmCondition> {
    if (this.isStopping) return
    const { membership, views, options } = this
    yield* alarmConditions(
      { peers: membership.peers.values(), views, linkBuffer: options.linkBuffer },
      performance.now(),
    )
    yield* discoveryAlarms(options.discovery, this.discovery, performance.now())
    yield* meshCertificateAlarms(this.tlsMetrics, Date.now())
  }

  /** Sends the peers digests of own routes and of the maps now, as happens every ten seconds anyway. */
  compareDigests(): void {
    for (const peer of this.membership.peers.values()) peer.exchange.check()
    this.groupWatch.look()
  }

  /**
   * Hands the sessions of absent clients to the other nodes, before this one stops or leaves.
   * @param within milliseconds
   * @returns how many are left
   */
  handOver(within: number): Promise<number> {
    return this.moves.handOver(within)
  }

  /** This node goes on after all; idempotent. */
  endHandover(): void {
    this.moves.endHandover()
  }

  /** Another node has taken this one for dead, and has what the peers are owed from the store. */
  disown(): void {
    for (const peer of this.membership.peers.values()) peer.exchange.disown()
    this.hints?.disown()
  }

  /** A clean leave: what is under way is sent, the peers are told and drop our routes at once. */
  stop(): Promise<void> {
    this.stopped ??= this.leave()
    return this.stopped
  }

  private async leave(): Promise<void> {
    this.isStopping = true
    clearInterval(this.viewTimer)
    clearInterval(this.checkTimer)
    this.maps.stop()
    this.readiness.stop()
    this.membership.stopJoining()
    this.views.clear()
    const peers = [...this.membership.peers.values()]
    await endLinks(peers, true, () => this.moves.isIdle)
    this.modules.subscriptions.setListener(undefined)
    this.modules.groups?.setListener(undefined)
    this.membership.stop()
    // The peers live on, and their members with them: what these have is not for others.
    for (const peer of peers) {
      peer.exchange.custody.clear()
      peer.part()
    }
    this.peerForwarder.stop()
    this.moves.stop()
    this.clients.stop()
    this.confirmation.stop()
    this.sweep.stop()
    this.turns.stop()
    await this.mesh.stop()
    await this.seeds.stop()
    this.modules.log.info('cluster left')
  }

  /** Where all nodes share a store. */
  private createAdoptions(): Adoptions | undefined {
    const { membership, modules, clients, ownNode } = this
    const { store, adoptAfter = 0 } = modules
    const metrics = createAdoptionMetrics(modules.metrics, () => this.adoptions?.withheldNodes ?? 0)
    if (store === undefined || !isShared(store)) return undefined
    const { peers } = membership
    const reader = new BatchReader()
    const debtModules = (): DebtModules => ({
      ...{ self: modules.node, incarnation: ownNode.incarnation },
      ...{ peers, reader, sink: modules.sink, log: modules.log },
      deliverTo: (clientId, message, pending) => modules.moves.deliverTo(clientId, message, pending),
    })
    return new Adoptions({
      self: modules.node,
      incarnation: () => ownNode.incarnation,
      store,
      adoptAfter,
      sessions: modules.moves,
      claim: (clientId, from, epoch, done) =>
        clients.claim(clientId, false, done, { onlyFrom: from, inheritedEpoch: epoch }),
      isHeirOf: (node) => clients.isHeirOf(node),
      isTaking: () => this.isReady && !this.isStopping && !this.isApart && modules.isDraining?.() !== true,
      lost: () => lostNodes(peers.values()),
      isGone: (life) => isGone(peers, life, ownNode.identity()),
      members: () => [modules.node, ...peers.keys()],
      peers: () => this.reachablePeers(),
      send: (to, body) => peers.get(to)?.send(body),
      handOn: (dead, heir, positions) => handOn(dead, heir, positions, debtModules()),
      receivedFrom: (node) => this.positions.read(node),
      sendOn: (bequest, positions) => sendOn(bequest, positions, debtModules()),
      inheritWaiting: (values) => modules.sink.inheritWaiting(values),
      onSettled: (dead) => writeOff(dead, peers),
      mark: (to, mark) => peers.get(to)?.exchange.mark(mark),
      routeVersion: () => this.routeLog.version,
      routeVersionOf: (peer) => peers.get(peer)?.exchange.mirror.version ?? 0,
      onAdopted: () => store.checkLife(),
      metrics,
      log: modules.log,
    })
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

  /** What peers are told to dial: as configured, or the host of the node's name with the port as bound. */
  private advertisedAddress(): string {
    if (this.options.advertise !== '') return this.options.advertise
    const host = parseNodeName(this.modules.node)?.host ?? parseHostPort(this.address).host
    return formatHostPort({ host, port: parseHostPort(this.address).port })
  }

  private reachablePeers(): NodeId[] {
    return Array.from(this.membership.peers.values()).flatMap((peer) => (peer.isReachable ? [peer.name] : []))
  }

  private peersInReach(): NodeId[] {
    return Array.from(this.membership.peers.values()).flatMap((peer) => (peer.isInReach ? [peer.name] : []))
  }

  /** All others that are or may come back, what they sent last with them. */
  private members(): NodeId[] {
    return Array.from(this.membership.peers.values()).flatMap((peer) => {
      const isKnown = peer.incarnation !== 0 || peer.keepsSessions
      return isKnown && peer.state !== 'left' ? [peer.name] : []
    })
  }

  private takers(): NodeId[] {
    return this.reachablePeers().filter((name) => this.membership.peers.get(name)?.isHeir === true)
  }

  private wakePeers(): void {
    for (const peer of this.membership.peers.values()) peer.exchange.wake()
    this.groupWatch.look()
  }

  /** Only peers that are up count: of one that is silent nobody knows whether it will ever confirm. */
  private lowestConfirmedVersion(): number {
    let lowest = Infinity
    for (const peer of this.membership.peers.values()) {
      if (peer.state === 'up') lowest = Math.min(lowest, peer.exchange.publisher.confirmedVersion)
    }
    return lowest
  }

  private viewDifferences(): number {
    return Array.from(this.views.differing(performance.now())).length
  }

  private warnOfMissing(): void {
    const missing = this.status().nodes.filter(({ link }) => link !== 'self' && link !== 'up')
    this.modules.log.warn(
      { peers: missing.map(({ name }) => name), seeds: this.membership.silentSeeds, after: this.options.joinTimeout },
      'not everyone was reached in time, serving without',
    )
  }
}

/** How long a link waits for the store that all share to say that this node's sessions are its own, in milliseconds. */
const LINK_WAIT_MS = 1_500

/** What one node knows is known to all after so many beats: each view goes out with the next one. */
const VIEW_SETTLE_BEATS = 2

/** How often the views are compared, at most. */
const VIEW_LOOK_MS = 250
