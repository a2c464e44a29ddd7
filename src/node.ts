/**
 * Node, the composition root: what a node is made of, built from the bottom up, started in the order read downwards
 * and stopped in the order read upwards.
 */

import { FileAccess } from './access/file-access.js'
import { createAccessMetrics } from './access/metrics.js'
import type { Operations, RouteDescription } from './admin/api.js'
import { AdminServer } from './admin/http-server.js'
import { Broker } from './broker/broker.js'
import { createDrainMetrics, Drain } from './broker/drain.js'
import { createBrokerMetrics } from './broker/metrics.js'
import { createOverloadMetrics, Overload } from './broker/overload.js'
import { retainedDeadline } from './broker/retained-deadline.js'
import type { Subscriber } from './broker/subscriber.js'
import { Cluster } from './cluster/cluster.js'
import { ReplicatedMaps } from './cluster/replicated-maps.js'
import type { ClusterStatus } from './cluster/status.js'
import { listenerSettings } from './config/listener-options.js'
import { type Config, DEFAULTS } from './config/options.js'
import type { EnhancedAuthenticator } from './mqtt/authenticator.js'
import { Admission } from './mqtt/listener/admission.js'
import { certificateAlarms } from './mqtt/listener/certificate-alarms.js'
import { Listener } from './mqtt/listener/listener.js'
import { createListenerMetrics, type ListenerMetrics } from './mqtt/listener/metrics.js'
import { OwnMembership } from './node/own-membership.js'
import { RouteTable } from './router/route-table.js'
import { PUBLISHERS_ROUTE, SubscriptionTable } from './router/subscription-table.js'
import { Departure } from './store/departure.js'
import { DirectoryLock } from './store/directory-lock.js'
import { createStoreMetrics, type StoreMetrics } from './store/metrics.js'
import { type NodeIdentity, openNodeIdentity } from './store/node-identity.js'
import { type NodeStore, openStore } from './store/node-store.js'
import { Alarms } from './telemetry/alarms.js'
import { Health } from './telemetry/health.js'
import { createLogger, type Logger } from './telemetry/logger.js'
import { ProcessLoad } from './telemetry/process-load.js'
import { MetricRegistry } from './telemetry/registry.js'
import { TimerWheel } from './util/timer-wheel.js'
import { TurnQueue } from './util/turn.js'
import { VERSION } from './version.js'

export interface NodeModules {
  readonly log: Logger
  /** Methods of MQTT 5 enhanced authentication beside those that the node has itself. */
  readonly authenticators?: readonly EnhancedAuthenticator[]
}

export class Node {
  readonly name: string
  readonly metrics = new MetricRegistry()
  readonly health = new Health()
  private readonly log: Logger
  private readonly timers: TimerWheel
  private readonly turn: TurnQueue
  private readonly load = new ProcessLoad()
  private readonly overload: Overload
  private readonly drain: Drain
  private readonly subscriptions = new SubscriptionTable<Subscriber>()
  private readonly routes = new RouteTable()
  private readonly access: FileAccess
  readonly broker: Broker
  private readonly listeners: Listener[]
  private readonly admin: AdminServer
  private readonly alarms: Alarms
  private cluster: Cluster | undefined
  private identity: NodeIdentity | undefined
  private lock: DirectoryLock | undefined
  private readonly storeMetrics: StoreMetrics
  private store: NodeStore | undefined
  /** Of a node with a store and without a cluster. */
  private maps: ReplicatedMaps | undefined
  private startedAt = 0
  private isServing = false
  private readonly departure: Departure
  private readonly membership: OwnMembership
  private stopping: Promise<void> | undefined

  constructor(
    private readonly config: Config,
    { log, authenticators = [] }: NodeModules,
  ) {
    this.name = config.name
    this.departure = new Departure(config.data)
    this.storeMetrics = createStoreMetrics(this.metrics)
    this.log = log
    this.metrics.collectProcessMetrics()
    this.timers = new TimerWheel({ onError: (error) => log.error({ err: error }, 'a timer failed') })
    this.turn = new TurnQueue({ onError: (error) => log.error({ err: error }, 'a task of the turn failed') })
    this.overload = new Overload(config.mqtt.overload, {
      load: this.load,
      metrics: createOverloadMetrics(this.metrics),
      log: log.child({ room: 'broker' }),
    })
    this.access = new FileAccess(
      { ...config.access, allowAnonymous: config.allowAnonymous },
      { metrics: createAccessMetrics(this.metrics), log: log.child({ room: 'access' }) },
    )
    this.broker = new Broker(
      {
        id: config.name,
        mqtt: config.mqtt,
        sys: config.sys,
        authenticators: [...this.access.authenticators, ...authenticators],
      },
      {
        subscriptions: this.subscriptions,
        routes: this.routes,
        timers: this.timers,
        turn: this.turn,
        metrics: createBrokerMetrics(this.metrics),
        overload: { refuse: () => this.drain.refuse() ?? this.overload.refuse() },
        log: log.child({ room: 'broker' }),
        access: this.access,
        isMeshReady: () => this.cluster === undefined || (this.cluster.isReady && this.cluster.isSure),
        nodes: () => this.status().nodes.flatMap(({ name, state }) => (state === 'running' ? [name] : [])),
      },
    )
    this.access.onChange = () => this.broker.reviewAccess()
    const admission = new Admission(config.mqtt, { limit: 'node_limit', rate: 'node_rate' })
    const listenerMetrics = createListenerMetrics(this.metrics)
    this.drain = new Drain(config.drain, {
      connections: this.broker.connections,
      hasSession: (clientId) => this.broker.hasSession(clientId),
      hasPeers: () => this.cluster?.hasPeers ?? false,
      metrics: createDrainMetrics(this.metrics),
      log: log.child({ room: 'broker' }),
    })
    this.membership = new OwnMembership(config.drain, {
      cluster: () => this.cluster,
      drain: this.drain,
      departure: this.departure,
      isServing: () => this.isServing,
      log,
    })
    this.listeners = listenerSettings(config).map(
      (settings) =>
        new Listener(settings, {
          accept: (stream, origin) => this.broker.accept(stream, origin),
          admission,
          timers: this.timers,
          metrics: listenerMetrics,
          log: log.child({ room: 'listener' }),
        }),
    )
    this.admin = new AdminServer(config.admin, {
      registry: this.metrics,
      health: this.health,
      operations: this.operations(),
      log: log.child({ room: 'admin' }),
    })
    this.alarms = this.createAlarms(listenerMetrics)
    this.health.add('serving', () => (this.isServing ? undefined : 'the node is starting or stopping'))
    this.health.add('drain', () => (this.drain.isActive ? 'the node is draining' : undefined))
    this.health.add('overload', () =>
      this.overload.reason === undefined ? undefined : `new clients are refused: ${this.overload.reason}`,
    )
    this.health.add('cluster', () =>
      this.cluster === undefined || this.cluster.isReady ? undefined : 'the mesh is not whole yet',
    )
  }

  /** A new number at each start; 0 before. */
  get incarnation(): number {
    return this.identity?.incarnation ?? 0
  }

  /** The listeners, with their ports as bound. */
  get listening(): string[] {
    return this.listeners.map((listener) => listener.address)
  }

  /** Where the admin server listens, as host:port. */
  get adminAddress(): string {
    return this.admin.address
  }

  /** Where peers connect, as host:port; '' without a cluster. */
  get clusterAddress(): string {
    return this.cluster?.address ?? ''
  }

  /**
   * Resolves when clients are served; the mesh forms in the background, `/readyz` tells when it is whole.
   * @throws AccessFileError, IdentityError, StoreError, RedisStoreError, ListenError, AdminListenError, or what the cluster says of its port; all is stopped then.
   */
  async start(): Promise<void> {
    try {
      this.lock = await DirectoryLock.take(this.config.data)
      this.identity = openNodeIdentity(this.config.data, this.name)
      this.startedAt = Date.now()
      await this.access.start()
      await this.admin.start()
      await this.openStore(this.identity.incarnation)
      if (this.config.cluster.listen !== '') this.createCluster(this.identity.incarnation)
      else this.keepRetained(this.identity.incarnation)
      // What was kept is there before any client or peer can ask for it.
      await this.store?.load()
      this.broker.restoreSessions()
      // Nobody else will say of which groups there are members elsewhere.
      if (this.cluster === undefined) this.broker.groupsChanged(0)
      await this.cluster?.start()
      this.load.start()
      this.overload.start()
      this.alarms.start()
      await this.broker.listen()
      for (const listener of this.listeners) await listener.start()
      this.isServing = true
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  /** Closes the clients, leaves the cluster and ends. Idempotent. */
  stop(): Promise<void> {
    this.stopping ??= this.stopAll()
    return this.stopping
  }

  /** What `cluster status` shows. */
  status(): ClusterStatus {
    return this.cluster?.status() ?? this.loneStatus()
  }

  /** The metrics of this node with those of a cluster, for a node that is never started. */
  describeMetrics(): Promise<{ name: string; type: string; help: string }[]> {
    this.createCluster(0)
    return this.metrics.describe()
  }

  private createCluster(incarnation: number): Cluster {
    const cluster = new Cluster(this.config.cluster, {
      node: this.name,
      incarnation,
      version: VERSION,
      subscriptions: this.subscriptions,
      routes: this.routes,
      groups: this.broker.groups,
      sink: this.broker,
      clients: this.broker,
      moves: this.broker.moves,
      store: this.store,
      adoptAfter: this.config.store.redis.adoptAfter,
      log: this.log.child({ room: 'cluster' }),
      metrics: this.metrics,
      isApart: incarnation > 0 && this.departure.isMarked,
      connectionCount: () => this.broker.connectedClients,
      isDraining: () => this.drain.isActive,
    })
    this.cluster = cluster
    this.broker.forwardThrough(cluster.forwarder)
    this.broker.claimThrough(cluster.directory, cluster.takeovers)
    this.replicateRetained(cluster)
    return cluster
  }

  private async openStore(incarnation: number): Promise<void> {
    this.store = await openStore(this.config, incarnation, {
      turn: this.turn,
      metrics: this.storeMetrics,
      log: this.log.child({ room: 'store' }),
      onAdopted: () => {
        this.broker.endAdopted()
        this.cluster?.disown()
      },
    })
    if (this.store === undefined) return
    this.broker.keepDelayedIn(this.store)
    this.broker.keepSessionsIn(this.store, this.config.cluster.handoff)
  }

  /** Without peers nobody needs replicas of retained messages but the store. */
  private keepRetained(incarnation: number): void {
    if (this.store === undefined) return
    this.maps = new ReplicatedMaps({ node: this.name, incarnation, store: this.store })
    this.replicateRetained(this.maps)
    this.maps.start()
  }

  private replicateRetained(maps: Pick<ReplicatedMaps, 'replica'>): void {
    const replica = maps.replica(
      'retained',
      (topic, value) => this.broker.applyRetained(topic, value),
      retainedDeadline,
    )
    this.broker.replicateRetainedThrough(replica, this.store)
  }

  private createAlarms(listeners: ListenerMetrics): Alarms {
    const alarms = new Alarms({ registry: this.metrics, log: this.log.child({ room: 'telemetry' }) })
    alarms.add(() => this.cluster?.alarms() ?? [])
    alarms.add(() => this.overload.alarms())
    alarms.add(() => this.store?.alarms() ?? [])
    alarms.add(() => certificateAlarms(listeners.expiries(), Date.now()))
    return alarms
  }

  /** What operators may ask of this node and tell it. */
  private operations(): Operations {
    const { clientList } = this.broker
    return {
      status: () => ({ ...this.status(), alarms: this.alarms.list() }),
      alarms: () => this.alarms.list(),
      clients: () => clientList.clients(),
      client: (clientId) => clientList.client(clientId),
      kick: (clientId) => clientList.kick(clientId),
      subscriptions: () => clientList.subscriptions(),
      delayed: () => this.broker.delayed.list(),
      cancelDelayed: (id) => this.broker.delayed.cancel(id),
      routes: () => this.listRoutes(),
      verifyRoutes: () => this.cluster?.verifyRoutes() ?? Promise.resolve([]),
      join: (address) => this.membership.join(address),
      leave: () => this.membership.leave(),
      forget: (node) => this.cluster?.forget(node) ?? false,
      drain: () => void this.membership.letGo(),
      undrain: () => this.membership.stay(),
    }
  }

  private *listRoutes(): Generator<RouteDescription> {
    for (const filter of this.subscriptions.filters())
      if (filter !== PUBLISHERS_ROUTE) yield { filter, node: this.name }
    for (const [filter, node] of this.routes.all()) if (filter !== PUBLISHERS_ROUTE) yield { filter, node }
    yield* this.broker.groups.placements()
  }

  private async stopAll(): Promise<void> {
    const wasServing = this.isServing
    this.isServing = false
    // The listeners' ends are awaited after the broker has closed its connections: they wait for each socket.
    const closed = this.listeners.map((listener) => listener.stop())
    if (wasServing) await this.membership.letGo()
    await new Promise<void>((resolve) => this.broker.close(resolve))
    await Promise.all(closed)
    this.access.stop()
    await this.cluster?.stop()
    this.maps?.stop()
    await this.store?.stop()
    await this.admin.stop()
    this.alarms.stop()
    this.overload.stop()
    this.load.stop()
    this.turn.stop()
    this.timers.stop()
    await this.lock?.release()
  }

  /** A node without a cluster is a cluster of one. */
  private loneStatus(): ClusterStatus {
    return {
      cluster: this.config.cluster.name,
      node: this.name,
      ready: this.isServing,
      nodes: [
        {
          name: this.name,
          state: 'running',
          link: 'self',
          version: VERSION,
          incarnation: this.incarnation,
          uptime: this.startedAt === 0 ? 0 : (Date.now() - this.startedAt) / 1000,
          connections: this.broker.connectedClients,
          routes: this.subscriptions.filterCount,
          rtt: null,
          address: '',
          ...(this.drain.isActive ? { draining: true } : {}),
        },
      ],
    }
  }
}

/** Every metric that a node has, for `docs/metrics.md`. */
export async function describeMetrics(): Promise<{ name: string; type: string; help: string }[]> {
  const node = new Node(DEFAULTS, { log: createLogger({ level: 'silent', format: 'json' }, {}) })
  return node.describeMetrics()
}
