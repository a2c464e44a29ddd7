/**
 * The Broker is an Aedes: same hooks, events and methods, so a program written for Aedes runs on it. What differs
 * are three seams: `handle` makes our Connection, `mq` is our router, and `publish` goes through `publish.ts`.
 * The habits of Aedes' own `listen` that a cluster replaces are off: see docs/decisions.
 */

import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { Aedes, type AedesOptions, type AedesPublishPacket, type Client } from 'aedes'
import type { MqttOptions } from '../config/options.js'
import { topicLimitProblem } from '../mqtt/capabilities.js'
import { Connection } from '../mqtt/connection.js'
import type { ConnectionOrigin } from '../mqtt/origin.js'
import type { Message } from '../mqtt/wire/message.js'
import type { Will } from '../mqtt/wire/packets.js'
import { ReasonCode } from '../mqtt/wire/reason-codes.js'
import { topicFilterProblem } from '../mqtt/wire/topic.js'
import type { GroupTargets } from '../router/group-targets.js'
import { type Listener, Router } from '../router/router.js'
import type { SharedGroups } from '../router/shared-groups.js'
import { fromAedesPacket, type PublishRequest, publishProblem } from './aedes-packets.js'
import { type BrokerModules, type BrokerOptions, BrokerParts } from './broker-parts.js'
import { CallbackPending } from './callback-pending.js'
import type { ClientHost } from './client-host.js'
import { ClientList } from './client-list.js'
import type { DelayedMessages } from './delayed.js'
import { ListenerSubscriber } from './listener-subscriber.js'
import { NO_TAKEOVERS, type SessionMoves, type Takeovers } from './move-ports.js'
import type {
  Directory,
  DirectorySink,
  ForwardedSink,
  Forwarder,
  NodeId,
  PendingPublish,
  Receipts,
  Replica,
} from './ports.js'
import type { Publisher } from './publish.js'
import type { LocalStore, Store } from './store-port.js'
import type { Subscriber } from './subscriber.js'
import type { WaitingOptions } from './waiting-groups.js'

export type { BrokerModules, BrokerOptions } from './broker-parts.js'

type DoneCallback = (error?: Error) => void

export class Broker extends Aedes implements ForwardedSink, DirectorySink {
  /** What the cluster asks when sessions move. */
  readonly moves: SessionMoves
  /** Messages that wait for their time. */
  readonly delayed: DelayedMessages
  /** Of shared subscriptions; the cluster tells it of members on other nodes. */
  readonly groups: SharedGroups<Subscriber>
  private readonly parts: BrokerParts
  private readonly host: ClientHost
  private readonly publisher: Publisher
  private readonly router: Router<Subscriber, AedesPublishPacket>
  private readonly options: MqttOptions

  constructor(options: BrokerOptions, modules: BrokerModules) {
    const router = new Router<Subscriber, AedesPublishPacket>({
      subscriptions: modules.subscriptions,
      subscriberFor: (listener) => new ListenerSubscriber(listener, options.id),
      publish: (packet, done) => this?.publishRequest(packet, undefined, done),
    })
    super({ ...options.aedes, id: options.id, mq: router })
    this.router = router
    this.options = options.mqtt
    this.parts = new BrokerParts(options, modules, this)
    const { host, publisher, groups, moves, delayed } = this.parts
    this.host = host
    this.publisher = publisher
    this.groups = groups
    this.moves = moves
    this.delayed = delayed
    this.handle = (stream, request) => this.host.clientOf(this.accept(stream, originOf(request)))
    this.connectedClients = 0
    this.closed = false
  }

  // ── as a node uses it ────────────────────────────────────────────────────────────────────────────────────────

  /** From now on a client ID has one connection in the whole cluster. */
  claimThrough(directory: Directory, takeovers: Takeovers = NO_TAKEOVERS): void {
    this.parts.opener.claimThrough(directory, takeovers)
    this.host.doubt = takeovers
  }

  publishWillOf(clientId: string, will: Will): void {
    this.parts.sessions.publishWillOf(clientId, will)
  }

  voidWill(clientId: string): void {
    this.parts.sessions.voidWill(clientId)
  }

  evict(clientId: string, discard: boolean, isOutdated = false): boolean {
    return this.parts.opener.evict(clientId, discard, isOutdated)
  }

  isLeaving(clientId: string): boolean {
    return this.parts.sessions.isLeaving(clientId)
  }

  /** From now on messages go to the peers through this. */
  forwardThrough(forwarder: Forwarder): void {
    this.publisher.forwardThrough(forwarder)
  }

  /** From now on retained messages are shared with the peers through this, and kept in the store if there is one. */
  replicateRetainedThrough(replica: Replica, store?: Store): void {
    this.parts.retained.replicateThrough(replica, store)
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
    this.parts.keepSessionsIn(store, waiting)
  }

  /** The store is loaded: its sessions wait for their clients. */
  restoreSessions(): void {
    this.parts.restoreSessions()
  }

  /** Another node has the sessions that were kept here, and the messages with a delay: they end, and clients connect again. */
  endAdopted(): void {
    this.parts.sessions.endAdopted()
    this.delayed.disown()
    this.publisher.disownWaiting()
  }

  /** A peer has set or removed a retained message. */
  applyRetained(topic: string, value: Buffer | undefined): void {
    this.parts.retained.applyReplicated(topic, value)
  }

  /** The rules of access have changed: what clients have already is held against the new ones. */
  reviewAccess(): void {
    this.parts.access.reviewAll(this.host.connections, this.host)
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

  inheritWaiting(values: readonly Buffer[]): Promise<void> {
    return this.publisher.inheritWaiting(values)
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
    return this.parts.sessions.registry.get(clientId) !== undefined
  }

  /** How many they are. */
  get connectionCount(): number {
    return this.host.connections.size
  }

  /** For operators: the sessions of this node. */
  get clientList(): ClientList {
    return new ClientList(this.parts.sessions.registry)
  }

  // ── as an embedding program uses it: Aedes' methods ──────────────────────────────────────────────────────────

  /** A Broker needs its modules: the package's own `createBroker` makes one with all of them, and so does a node. */
  static override createBroker(_options?: AedesOptions): Promise<Aedes> {
    return Promise.reject(new TypeError('a Broker is made by createBroker of this package, or by a node'))
  }

  /** There is no heartbeat, birth message or will sweep to start: the cluster does what they were for. */
  override async listen(): Promise<void> {
    this.closed = false
    this.parts.readings.listeningSince = performance.now()
    this.parts.sys?.start()
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
    this.parts.access.close()
    this.parts.sys?.stop()
    this.delayed.stop()
    this.parts.waitingGroups?.stop()
    this.groups.leave()
    for (const connection of this.host.connections) {
      connection.close('server_shutdown', ReasonCode.ServerShuttingDown, 'the node stops')
    }
    this.parts.sessions.stop()
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
}

/** Where a stream came from that an embedding program handed to `handle`. */
function originOf(request: IncomingMessage | undefined): ConnectionOrigin {
  return { listener: '', remoteAddress: request?.socket.remoteAddress ?? '', request }
}
