/**
 * The Broker is an Aedes: same hooks, events and methods, so a program written for Aedes runs on it. What differs
 * are three seams: `handle` makes our Connection, `mq` is our router, and `publish` goes through `publish.ts`.
 * The habits of Aedes' own `listen` that a cluster replaces are off: see docs/decisions.
 */

import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { Aedes, type AedesOptions, type AedesPublishPacket, type Client } from 'aedes'
import type { Logger } from 'pino'
import type { MqttOptions, SysOptions } from '../config/options.js'
import type { EnhancedAuthenticator } from '../mqtt/authenticator.js'
import { topicLimitProblem } from '../mqtt/capabilities.js'
import { Connection } from '../mqtt/connection.js'
import type { ConnectionOrigin } from '../mqtt/origin.js'
import { Slab } from '../mqtt/outbox.js'
import { PublishHeader } from '../mqtt/wire/decode.js'
import type { Message } from '../mqtt/wire/message.js'
import type { Will } from '../mqtt/wire/packets.js'
import { ReasonCode } from '../mqtt/wire/reason-codes.js'
import { topicFilterProblem } from '../mqtt/wire/topic.js'
import { TopicNames } from '../mqtt/wire/topic-names.js'
import type { GroupTargets } from '../router/group-targets.js'
import { MatchCache } from '../router/match-cache.js'
import type { RouteTable } from '../router/route-table.js'
import { type Listener, Router } from '../router/router.js'
import { SharedGroups } from '../router/shared-groups.js'
import type { SubscriptionTable } from '../router/subscription-table.js'
import type { TimerWheel } from '../util/timer-wheel.js'
import type { TurnQueue } from '../util/turn.js'
import { AccessDesk } from './access-desk.js'
import { fromAedesPacket, type PublishRequest, publishProblem } from './aedes-packets.js'
import { CallbackPending } from './callback-pending.js'
import { ClientHost } from './client-host.js'
import { ClientList } from './client-list.js'
import { ClientWills } from './client-wills.js'
import { DelayedMessages } from './delayed.js'
import { Hooks } from './hooks.js'
import { KeptSessions } from './kept/kept-sessions.js'
import { KeptWills } from './kept/kept-wills.js'
import { ListenerSubscriber } from './listener-subscriber.js'
import { LocalSessions } from './local-sessions.js'
import type { BrokerGauges, BrokerMetrics } from './metrics.js'
import { NO_TAKEOVERS, type SessionMoves, type Takeovers } from './move-ports.js'
import { SessionOpener } from './open-session.js'
import type { OverloadGate } from './overload.js'
import {
  type Access,
  type Directory,
  type DirectorySink,
  type ForwardedSink,
  type Forwarder,
  LONE_FORWARDER,
  type NodeId,
  type PendingPublish,
  type Receipts,
  type Replica,
} from './ports.js'
import { DeliverySource, Publisher } from './publish.js'
import { Redispatch } from './redispatch.js'
import { RetainedMessages } from './retained.js'
import { MovingSessions } from './session-moves.js'
import type { LocalStore, Store } from './store-port.js'
import { SubscriptionDesk } from './subscribe.js'
import type { Subscriber } from './subscriber.js'
import type { SysSource } from './sys/sys-topic.js'
import { SysTopics } from './sys/sys-topics.js'
import { WaitingGroups, type WaitingOptions } from './waiting-groups.js'
import { willMessage } from './will.js'

export interface BrokerOptions {
  /** The node's name; Aedes' `id`. */
  readonly id: NodeId
  readonly mqtt: MqttOptions
  /** What is told on `$SYS` topics; nothing when left out. */
  readonly sys?: SysOptions
  /** Hooks and settings as Aedes takes them; its limits that have a counterpart in `mqtt` are not used. */
  readonly aedes?: AedesOptions
  /** Methods of enhanced authentication, each once. A client that names another one is refused with 0x8C. */
  readonly authenticators?: readonly EnhancedAuthenticator[]
}

export interface BrokerModules {
  readonly subscriptions: SubscriptionTable<Subscriber>
  readonly routes: RouteTable
  readonly timers: TimerWheel
  readonly turn: TurnQueue
  readonly metrics: BrokerMetrics
  /** Refuses new clients while the node is overloaded or drains; without it nothing does. */
  readonly overload?: OverloadGate
  readonly log: Logger
  /** Names of the nodes that run; this one alone when left out. */
  readonly nodes?: () => readonly string[]
  /** Whether the peers are there that are to be expected; without it there are none. */
  readonly isMeshReady?: () => boolean
  /** Who may come in and do what; without it everybody may, as far as the hooks let them. */
  readonly access?: Access
}

type DoneCallback = (error?: Error) => void

export class Broker extends Aedes implements ForwardedSink, DirectorySink {
  private readonly access: AccessDesk
  private readonly host: ClientHost
  private readonly router: Router<Subscriber, AedesPublishPacket>
  private readonly sessions: LocalSessions
  private readonly opener: SessionOpener
  /** What the cluster asks when sessions move. */
  readonly moves: SessionMoves
  private readonly publisher: Publisher
  private readonly retained: RetainedMessages
  /** Messages that wait for their time. */
  readonly delayed: DelayedMessages
  private readonly keptWills: KeptWills
  private keptSessions: KeptSessions | undefined
  /** Messages that wait for a member of their group; undefined without a store. */
  private waiting: WaitingGroups | undefined
  private readonly desk: SubscriptionDesk
  private readonly modules: BrokerModules
  private readonly options: MqttOptions
  /** Of shared subscriptions; the cluster tells it of members on other nodes. */
  readonly groups: SharedGroups<Subscriber>
  private readonly sys: SysTopics | undefined
  private listeningSince = 0

  constructor(options: BrokerOptions, modules: BrokerModules) {
    const { subscriptions, routes, timers, metrics, log } = modules
    const { sharedStrategy, sharedGroups } = options.mqtt
    const groups = new SharedGroups<Subscriber>({
      strategy: sharedStrategy,
      strategies: sharedGroups,
      node: options.id,
    })
    const router = new Router<Subscriber, AedesPublishPacket>({
      subscriptions,
      subscriberFor: (listener) => new ListenerSubscriber(listener, options.id),
      publish: (packet, done) => this?.publishRequest(packet, undefined, done),
    })
    super({ ...options.aedes, id: options.id, mq: router })
    this.router = router
    this.groups = groups
    this.options = options.mqtt
    const { retainedMessages, retainedBytes } = options.mqtt
    this.retained = new RetainedMessages(
      { maximum: retainedMessages, maximumBytes: retainedBytes },
      { refused: metrics.retainedRefused, timers },
    )
    const matches = new MatchCache<Subscriber>(
      { maximumTopics: options.mqtt.matchCacheTopics, overlapping: options.mqtt.overlappingDeliveries },
      { subscriptions, groups, routes },
    )
    const source = new DeliverySource(options.id)
    this.publisher = new Publisher(LONE_FORWARDER, { matches, groups, retained: this.retained, metrics, source })
    const { delayedMessages, delayedBytes } = options.mqtt
    this.delayed = new DelayedMessages(
      { maximum: delayedMessages, maximumBytes: delayedBytes },
      {
        timers,
        published: metrics.delayedPublished,
        publish: (message, settled) => this.host.publishing.publishDelayed(message, settled),
        isReady: modules.isMeshReady ?? (() => true),
        log,
      },
    )
    const redispatch = new Redispatch({ groups, publisher: this.publisher, metrics })
    this.sys =
      options.sys &&
      new SysTopics(options.sys, {
        node: options.id,
        source: this.sysSource(modules, groups),
        metrics,
        publisher: this.publisher,
        timers,
      })
    const desk = new SubscriptionDesk(options.mqtt, { subscriptions, groups, retained: this.retained, sys: this.sys })
    const wills = new ClientWills({
      publish: (armed) => {
        if (armed.isFromDisk === true) this.keptWills.add(armed)
        else this.host.publishing.publishWill(armed)
      },
      mayPublish: (armed) => this.host.publishing.mayPublishWill(armed),
    })
    this.sessions = new LocalSessions(options.mqtt, {
      timers,
      metrics: metrics.session,
      expired: metrics.sessionsExpired,
      wills,
      onEnding: (session) => {
        desk.unsubscribeAll(session)
        if (!this.closed) redispatch.sessionEnding(session)
      },
      onMoved: (session) => desk.unsubscribeAll(session),
    })
    this.opener = new SessionOpener(options.mqtt, { sessions: this.sessions, takenOver: metrics.takeovers })
    this.keptWills = new KeptWills({
      timers,
      isReady: modules.isMeshReady ?? (() => true),
      hasPeers: () => (modules.nodes?.() ?? []).length > 1,
      publish: (armed) => {
        const message = willMessage(armed.will, armed.clientId)
        if (this.access.mayPublishAbsent(armed.clientId, armed.owner, message)) this.host.publishing.publishWill(armed)
        else metrics.mqtt.publishesRefused.access_denied.value++
      },
    })
    this.desk = desk
    this.modules = modules
    this.access = new AccessDesk(modules.access, metrics)
    const mayPublishAbsent = (clientId: string, owner: string | undefined, will: Will): boolean =>
      this.access.mayPublishAbsent(clientId, owner, willMessage(will, clientId))
    this.moves = new MovingSessions({
      sessions: this.sessions,
      adopter: this.opener,
      desk,
      groups,
      source,
      deliverPassedOn: (session, message, pending) => this.publisher.deliverPassedOn(session, message, pending),
      timers,
      delayed: this.delayed,
      mayPublishAbsent,
      log,
    })
    this.host = new ClientHost({
      aedes: this,
      access: this.access,
      hooks: new Hooks(this, options.aedes ?? {}),
      sessions: this.sessions,
      opener: this.opener,
      desk,
      redispatch,
      publisher: this.publisher,
      delayed: this.delayed,
      overload: modules.overload,
      sys: this.sys,
      metrics,
      connection: {
        options: options.mqtt,
        timers,
        outbox: {
          turn: modules.turn,
          publishSlab: new Slab(),
          ackSlab: new Slab(),
          bytesSent: metrics.mqtt.bytesSent,
        },
        publishHeader: new PublishHeader(),
        topicNames: new TopicNames(),
        metrics: metrics.mqtt,
        authenticators: new Map((options.authenticators ?? []).map((one) => [one.method, one])),
        log,
      },
      log,
    })
    this.handle = (stream, request) => this.host.clientOf(this.accept(stream, originOf(request)))
    this.connectedClients = 0
    this.closed = false
    metrics.bind(this.gauges(subscriptions, groups))
  }

  // ── as a node uses it ────────────────────────────────────────────────────────────────────────────────────────

  /** From now on a client ID has one connection in the whole cluster. */
  claimThrough(directory: Directory, takeovers: Takeovers = NO_TAKEOVERS): void {
    this.opener.claimThrough(directory, takeovers)
  }

  publishWillOf(clientId: string, will: Will): void {
    this.sessions.publishWillOf(clientId, will)
  }

  voidWill(clientId: string): void {
    this.sessions.voidWill(clientId)
  }

  evict(clientId: string, discard: boolean): boolean {
    return this.opener.evict(clientId, discard)
  }

  isLeaving(clientId: string): boolean {
    return this.sessions.isLeaving(clientId)
  }

  /** From now on messages go to the peers through this. */
  forwardThrough(forwarder: Forwarder): void {
    this.publisher.forwardThrough(forwarder)
  }

  /** From now on retained messages are shared with the peers through this, and kept in the store if there is one. */
  replicateRetainedThrough(replica: Replica, store?: Store): void {
    this.retained.replicateThrough(replica, store)
  }

  /** From now on messages with a delay outlive the process. */
  keepDelayedIn(store: Store): void {
    this.delayed.keepIn(store)
  }

  /**
   * From now on sessions that outlive their connection outlive the process, too. Before the store is loaded.
   * @param waiting bounds of what waits for a member of a group
   */
  keepSessionsIn(store: LocalStore, waiting: WaitingOptions): void {
    const { desk, groups, sessions, keptWills } = this
    const { turn, metrics, log } = this.modules
    this.waiting = new WaitingGroups(waiting, {
      store,
      groups,
      turn,
      dropped: metrics.waitingDropped,
      place: (group, message, pending) => {
        this.host.deliveries.watch()
        this.publisher.place(group, message, pending)
      },
    })
    this.publisher.keepSessionsIn(store, this.waiting)
    this.keptSessions = new KeptSessions(store, {
      sessions: {
        restore: (clientId, record) => sessions.restore(clientId, record),
        subscribe: ({ session }, filter, options) => desk.restore(session, filter, options),
        resumeRetained: ({ session }, filter) => desk.resumeRetained(session, filter),
        restored: (entry, record) => sessions.restored(entry, record),
        expired: (clientId, will, owner) => {
          metrics.sessionsExpired.value++
          if (will !== undefined) keptWills.add({ will, connection: undefined, clientId, owner, isFromDisk: true })
        },
      },
      groupOf: (key) => groups.get(key),
      turn,
      ended: metrics.session.dropped.session_ended,
      missing: metrics.session.dropped.not_in_store,
      log,
    })
    sessions.keepIn(this.keptSessions)
  }

  /** The store is loaded: its sessions wait for their clients. */
  restoreSessions(): void {
    this.keptSessions?.finishRestore()
  }

  /** Another node has the sessions that were kept here, and the messages with a delay: they end, and clients connect again. */
  endAdopted(): void {
    this.sessions.endAdopted()
    this.delayed.disown()
  }

  /** A peer has set or removed a retained message. */
  applyRetained(topic: string, value: Buffer | undefined): void {
    this.retained.applyReplicated(topic, value)
  }

  /** The rules of access have changed: what clients have already is held against the new ones. */
  reviewAccess(): void {
    this.access.reviewAll(this.host.connections, this.host)
  }

  deliverForwarded(
    message: Message,
    from: NodeId,
    pending: PendingPublish | undefined,
    targets: GroupTargets | undefined,
    receipts?: Receipts,
  ): void {
    this.host.deliveries.watch()
    this.publisher.deliverForwarded(message, from, pending, targets, receipts)
  }

  deliverInherited(message: Message, from: NodeId, pending: PendingPublish | undefined, estate: NodeId): void {
    this.host.deliveries.watch()
    this.publisher.deliverInherited(message, from, pending, estate)
  }

  placeAgain(key: string, message: Message, isLast: boolean, pending?: PendingPublish): boolean {
    this.host.deliveries.watch()
    return this.publisher.placeAgain(key, message, isLast, pending)
  }

  groupsChanged(untold: number): void {
    this.publisher.groupsChanged(untold)
  }

  /** Makes a Connection of a socket; beyond the limit of connections, and when closed, it is ended at once. */
  accept(stream: Duplex, origin: ConnectionOrigin): Connection {
    const connection = new Connection(stream, origin, this.host)
    this.host.connections.add(connection)
    if (this.closed) connection.close('server_shutdown')
    else if (this.host.connections.size > this.options.maximumConnections) connection.close('connection_limit')
    return connection
  }

  /** Sockets of clients, those without a session yet included. */
  get connections(): ReadonlySet<Connection> {
    return this.host.connections
  }

  /** Whether this node has a session of the client, connected, away, or on its way to another node. */
  hasSession(clientId: string): boolean {
    return this.sessions.registry.get(clientId) !== undefined
  }

  /** How many they are. */
  get connectionCount(): number {
    return this.host.connections.size
  }

  /** For operators: the sessions of this node. */
  get clientList(): ClientList {
    return new ClientList(this.sessions.registry)
  }

  // ── as an embedding program uses it: Aedes' methods ──────────────────────────────────────────────────────────

  /** A Broker needs its modules: the package's own `createBroker` makes one with all of them, and so does a node. */
  static override createBroker(_options?: AedesOptions): Promise<Aedes> {
    return Promise.reject(new TypeError('a Broker is made by createBroker of this package, or by a node'))
  }

  /** There is no heartbeat, birth message or will sweep to start: the cluster does what they were for. */
  override async listen(): Promise<void> {
    this.closed = false
    this.listeningSince = performance.now()
    this.sys?.start()
    this.delayed.start()
  }

  override publish(packet: PublishRequest, callback?: DoneCallback): void
  override publish(packet: PublishRequest, client: Client | null, callback?: DoneCallback): void
  override publish(packet: PublishRequest, client?: Client | null | DoneCallback, callback?: DoneCallback): void {
    const done = typeof client === 'function' ? client : callback
    const publisher = typeof client === 'function' ? undefined : (client ?? undefined)
    this.publishRequest(packet, publisher, done ?? (() => {}))
  }

  override subscribe(filter: string, listener: Listener<AedesPublishPacket>, callback: () => void): void {
    const problem = this.filterProblem(filter)
    if (problem === undefined) this.router.on(filter, listener, callback)
    else setImmediate(callback as DoneCallback, new Error(problem))
  }

  override unsubscribe(filter: string, listener: Listener<AedesPublishPacket>, callback: () => void): void {
    this.router.removeListener(filter, listener, callback)
  }

  /** Ends every connection (MQTT 5: 0x8B) and takes no new ones. */
  override close(callback?: () => void): void {
    if (this.closed) {
      if (callback !== undefined) setImmediate(callback)
      return
    }
    this.closed = true
    this.access.close()
    this.sys?.stop()
    this.delayed.stop()
    this.groups.leave()
    for (const connection of this.host.connections) {
      connection.close('server_shutdown', ReasonCode.ServerShuttingDown, 'the node stops')
    }
    this.sessions.stop()
    this.router.close(() => {
      this.emit('closed')
      callback?.()
    })
  }

  // ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────

  private publishRequest(packet: PublishRequest, client: Client | undefined, done: DoneCallback): void {
    const problem = publishProblem(packet) ?? topicLimitProblem(packet.topic, this.options)
    if (problem !== undefined) {
      setImmediate(done, new Error(problem))
      return
    }
    const message = fromAedesPacket(packet, client?.id ?? '')
    this.host.publishing.publishByProgram(message, client ?? null, new CallbackPending(done))
  }

  private filterProblem(filter: string): string | undefined {
    return topicFilterProblem(filter) ?? topicLimitProblem(filter, this.options)
  }

  private sysSource({ subscriptions, routes, nodes }: BrokerModules, groups: SharedGroups<Subscriber>): SysSource {
    return {
      ...this.gauges(subscriptions, groups),
      uptime: () => performance.now() - this.listeningSince,
      nodes: nodes ?? (() => [this.id]),
      sharedSubscriptions: () => groups.size,
      topics: () => subscriptions.filterCount + routes.filterCount,
    }
  }

  private gauges(subscriptions: SubscriptionTable<Subscriber>, groups: SharedGroups<Subscriber>): BrokerGauges {
    const sum = (
      of: (session: { queueLength: number; queueBytes: number; inFlightCount: number }) => number,
    ): number => {
      let total = 0
      for (const { session } of this.sessions.registry.values()) total += of(session)
      return total
    }
    return {
      connections: () => this.connectedClients,
      sessions: () => this.sessions.registry.size,
      subscriptions: () => subscriptions.size + groups.size,
      retainedMessages: () => this.retained.size,
      retainedBytes: () => this.retained.bytes,
      delayedMessages: () => this.delayed.size,
      delayedBytes: () => this.delayed.bytes,
      queuedMessages: () => sum((session) => session.queueLength),
      queuedBytes: () => sum((session) => session.queueBytes),
      inFlightMessages: () => sum((session) => session.inFlightCount),
      groupWaitingMessages: () => this.waiting?.length ?? 0,
      groupWaitingBytes: () => this.waiting?.bytes ?? 0,
    }
  }
}

/** Where a stream came from that an embedding program handed to `handle`. */
function originOf(request: IncomingMessage | undefined): ConnectionOrigin {
  return { listener: '', remoteAddress: request?.socket.remoteAddress ?? '', request }
}
