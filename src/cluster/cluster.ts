/** The cluster as the node sees it: start, stop, status, the way to the peers, and maps that every node has a copy of. */

import type { Takeovers } from '../broker/move-ports.js'
import type { Directory, Forwarder, NodeId, Replica } from '../broker/ports.js'
import type { ClusterOptions } from '../config/options.js'
import type { AlarmCondition } from '../telemetry/alarms.js'
import type { ClusterModules } from './cluster-modules.js'
import { ClusterParts } from './cluster-parts.js'
import { endLinks } from './farewells.js'
import { advertisedAddress } from './own-node.js'
import { ROUTE_CHECK_INTERVAL_MS } from './route-sync.js'
import { type RouteVerification, verifyRoutes } from './route-verification.js'
import type { ClusterStatus } from './status.js'

export type { ClusterModules } from './cluster-modules.js'
export type { RouteSource } from './route-log.js'

export class Cluster {
  readonly forwarder: Forwarder
  readonly directory: Directory
  readonly takeovers: Takeovers
  private readonly parts: ClusterParts
  private isStopping = false
  private stopped: Promise<void> | undefined
  private departing: Promise<void> | undefined
  private checkTimer: NodeJS.Timeout | undefined

  constructor(
    private readonly options: ClusterOptions,
    private readonly modules: ClusterModules,
  ) {
    this.parts = new ClusterParts(options, modules, () => this.isStopping)
    this.forwarder = this.parts.forwarder
    this.directory = this.parts.clients
    this.takeovers = this.parts.moves
  }

  /** host:port of the cluster port as bound; '' before `start`. */
  get address(): string {
    return this.parts.mesh.address
  }

  /** True once the mesh was whole, or the join timeout has passed; false again when the node stops. */
  get isReady(): boolean {
    return this.parts.readiness.isReady
  }

  /** False while other nodes may have taken this one for dead: what is due is perhaps theirs then. */
  get isSure(): boolean {
    return this.parts.moves.isSure
  }

  /** Resolves when `isReady` becomes true, or the cluster stops. */
  whenReady(): Promise<void> {
    return this.parts.readiness.whenReady()
  }

  /**
   * Resolves when the cluster port listens; joining goes on in the background.
   * @throws NodeError CLUSTER_PORT_UNAVAILABLE
   */
  async start(): Promise<void> {
    const { options, modules, parts } = this
    await parts.mesh.start(options.listen)
    const advertise = advertisedAddress(options.advertise, modules.node, this.address)
    parts.ownNode.started(advertise)
    modules.log.info(
      { cluster: options.name, incarnation: modules.incarnation, listen: this.address, advertise },
      'cluster port open',
    )
    parts.clients.start()
    parts.moves.start()
    parts.membership.start(modules.isApart)
    if (modules.isApart !== true) parts.membership.expect(parts.keptMembers.entries())
    parts.groupWatch.look()
    parts.alarms.start()
    this.checkTimer = setInterval(() => this.compareDigests(), ROUTE_CHECK_INTERVAL_MS)
    parts.maps.start()
    parts.readiness.start()
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
    return this.parts.maps.replica(name, onChange, deadlineOf)
  }

  /** This node, and every other that it knows, in the order of names. */
  status(): ClusterStatus {
    const now = performance.now()
    const nodes = Array.from(this.parts.peers, (peer) => peer.describe(now))
    nodes.push(this.parts.ownNode.describe())
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
    const { membership, ownNode } = this.parts
    if (membership.isApart) {
      ownNode.beginLife()
      this.modules.log.info({ incarnation: ownNode.incarnation, address }, 'joining the cluster again')
      membership.rejoin()
    }
    if (address !== '') membership.join(address)
  }

  /** Whether another node can be reached that takes clients. */
  get hasPeers(): boolean {
    return this.parts.peers.canTakeClients
  }

  /** True from the beginning of `depart` until `join`. */
  get isApart(): boolean {
    return this.parts.membership.isApart
  }

  /** Leaves the cluster and goes on alone: the peers drop this node's routes at once and forget it. */
  depart(): Promise<void> {
    this.departing ??= this.partCompany().finally(() => {
      this.departing = undefined
    })
    return this.departing
  }

  private async partCompany(): Promise<void> {
    const { parts, modules } = this
    const { membership, moves } = parts
    membership.partCompany()
    const peers = [...parts.peers]
    modules.log.info({ peers: peers.map(({ name }) => name) }, 'leaving the cluster')
    await endLinks(peers, false, () => moves.isIdle)
    if (this.isStopping) return
    membership.forgetAll()
    parts.alarms.clear()
    parts.clients.setPeers([])
    parts.confirmation.advance()
    await parts.seeds.stop()
    modules.log.info('the node is a cluster of its own')
  }

  /** Compares the routes of each peer that is up with its digest of them; those that differ are mended from here on. */
  verifyRoutes(): Promise<RouteVerification[]> {
    return verifyRoutes(this.parts.peers)
  }

  /** Removes a node that has stopped from the status; false when it is not known or not stopped. */
  forget(node: NodeId): boolean {
    return this.parts.membership.forget(node)
  }

  /** What wants an operator now; nothing while the node stops. */
  *alarms(): Generator<AlarmCondition> {
    if (!this.isStopping) yield* this.parts.alarms.conditions()
  }

  /** Sends the peers digests of own routes and of the maps now, as happens every ten seconds anyway. */
  compareDigests(): void {
    for (const peer of this.parts.peers) peer.exchange.check()
    this.parts.groupWatch.look()
  }

  /**
   * Hands the sessions of absent clients to the other nodes, before this one stops or leaves.
   * @param within milliseconds
   * @returns how many are left
   */
  handOver(within: number): Promise<number> {
    return this.parts.moves.handOver(within)
  }

  /** This node goes on after all; idempotent. */
  endHandover(): void {
    this.parts.moves.endHandover()
  }

  /** Another node has taken this one for dead, and has what the peers are owed from the store. */
  disown(): void {
    for (const peer of this.parts.peers) peer.exchange.disown()
    this.parts.hints?.disown()
  }

  /** A clean leave: what is under way is sent, the peers are told and drop our routes at once. */
  stop(): Promise<void> {
    this.stopped ??= this.leave()
    return this.stopped
  }

  private async leave(): Promise<void> {
    this.isStopping = true
    const { parts } = this
    clearInterval(this.checkTimer)
    parts.maps.stop()
    parts.readiness.stop()
    parts.membership.stopJoining()
    parts.alarms.stop()
    await endLinks([...parts.peers], true, () => parts.moves.isIdle)
    await parts.stop()
    this.modules.log.info('cluster left')
  }
}
