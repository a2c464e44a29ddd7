/** What a broker is made of, built from the bottom up. */

import type { Aedes, AedesOptions } from 'aedes'
import type { Logger } from 'pino'
import type { MqttOptions, SysOptions } from '../config/options.js'
import type { EnhancedAuthenticator } from '../mqtt/authenticator.js'
import { Slab } from '../mqtt/outbox.js'
import { PublishHeader } from '../mqtt/wire/decode.js'
import type { Will } from '../mqtt/wire/packets.js'
import { TopicNames } from '../mqtt/wire/topic-names.js'
import { MatchCache } from '../router/match-cache.js'
import type { RouteTable } from '../router/route-table.js'
import { SharedGroups } from '../router/shared-groups.js'
import type { SubscriptionTable } from '../router/subscription-table.js'
import type { TimerWheel } from '../util/timer-wheel.js'
import type { TurnQueue } from '../util/turn.js'
import { AccessDesk } from './access-desk.js'
import { BrokerReadings } from './broker-readings.js'
import { ClientHost } from './client-host.js'
import { ClientWills } from './client-wills.js'
import { DelayedMessages } from './delayed.js'
import { DeliverySource } from './delivery-source.js'
import { Hooks } from './hooks.js'
import { KeptSessions } from './kept/kept-sessions.js'
import { KeptWills } from './kept/kept-wills.js'
import { LocalSessions } from './local-sessions.js'
import type { BrokerMetrics } from './metrics.js'
import type { SessionMoves } from './move-ports.js'
import { SessionOpener } from './open-session.js'
import type { OverloadGate } from './overload.js'
import { type Access, LONE_FORWARDER, type NodeId } from './ports.js'
import { Publisher } from './publish.js'
import { Redispatch } from './redispatch.js'
import { RetainedMessages } from './retained.js'
import { MovingSessions } from './session-moves.js'
import { SessionRegistry } from './session-registry.js'
import type { LocalStore } from './store-port.js'
import { SubscriptionDesk } from './subscribe.js'
import type { Subscriber } from './subscriber.js'
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

export class BrokerParts {
  /** Of shared subscriptions; the cluster tells it of members on other nodes. */
  readonly groups: SharedGroups<Subscriber>
  readonly retained: RetainedMessages
  readonly publisher: Publisher
  /** Messages that wait for their time. */
  readonly delayed: DelayedMessages
  readonly readings: BrokerReadings
  readonly sys: SysTopics | undefined
  readonly sessions: LocalSessions
  readonly opener: SessionOpener
  readonly access: AccessDesk
  /** What the cluster asks when sessions move. */
  readonly moves: SessionMoves
  readonly host: ClientHost
  private readonly desk: SubscriptionDesk
  private readonly keptWills: KeptWills
  private keptSessions: KeptSessions | undefined
  /** Once sessions are kept in a store. */
  waitingGroups: WaitingGroups | undefined

  /** @param aedes whose hooks are called and on whom events are emitted */
  constructor(
    options: BrokerOptions,
    private readonly modules: BrokerModules,
    aedes: Aedes,
  ) {
    const { subscriptions, routes, timers, metrics, log } = modules
    const { sharedStrategy, sharedGroups } = options.mqtt
    const groups = new SharedGroups<Subscriber>({
      strategy: sharedStrategy,
      strategies: sharedGroups,
      node: options.id,
    })
    this.groups = groups
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
    const registry = new SessionRegistry()
    this.readings = new BrokerReadings({
      aedes,
      subscriptions,
      routes,
      groups,
      sessions: registry,
      retained: this.retained,
      delayed: this.delayed,
      source,
      nodes: modules.nodes ?? (() => [options.id]),
    })
    const redispatch = new Redispatch({ groups, publisher: this.publisher, metrics })
    this.sys =
      options.sys &&
      new SysTopics(options.sys, {
        node: options.id,
        source: this.readings,
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
      registry,
      timers,
      metrics: metrics.session,
      expired: metrics.sessionsExpired,
      wills,
      onEnding: (session, isOutdated) => {
        desk.unsubscribeAll(session)
        if (!aedes.closed) redispatch.sessionEnding(session, isOutdated)
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
    this.access = new AccessDesk(modules.access, metrics)
    const mayPublishAbsent = (clientId: string, owner: string | undefined, will: Will): boolean =>
      this.access.mayPublishAbsent(clientId, owner, willMessage(will, clientId))
    this.moves = new MovingSessions({
      sessions: this.sessions,
      adopter: this.opener,
      desk,
      groups,
      source,
      onSpareDropped: () => {
        metrics.sparesDropped.value++
      },
      deliverPassedOn: (session, message, pending) => this.publisher.deliverPassedOn(session, message, pending),
      timers,
      delayed: this.delayed,
      mayPublishAbsent,
      log,
    })
    this.host = new ClientHost({
      aedes,
      access: this.access,
      hooks: new Hooks(aedes, options.aedes ?? {}),
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
    metrics.bind(this.readings)
  }

  /**
   * From now on sessions that outlive their connection outlive the process, too. Before the store is loaded.
   * @param waiting bounds of what waits for a member of a group
   */
  keepSessionsIn(store: LocalStore, waiting: WaitingOptions): void {
    const { desk, groups, sessions, keptWills } = this
    const { turn, metrics, log } = this.modules
    const waitingGroups = new WaitingGroups(waiting, {
      store,
      groups,
      turn,
      dropped: metrics.waitingDropped,
      place: (group, message, pending) => {
        this.host.deliveries.watch()
        this.publisher.groupDelivery.place(group, message, pending)
      },
    })
    this.waitingGroups = waitingGroups
    this.readings.waiting = waitingGroups
    this.publisher.keepSessionsIn(store, waitingGroups)
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
    this.keptWills.start()
  }
}
