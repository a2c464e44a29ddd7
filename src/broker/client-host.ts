/**
 * What connections ask of the broker (mqtt's Host): who may come in, whose session it is, where a message goes. It
 * calls Aedes' hooks and emits Aedes' events where somebody listens, and costs nothing where nobody does.
 */

import type { Aedes, ConnectPacket as AedesConnectPacket, AedesPublishPacket, PublishPacket } from 'aedes'
import type { Logger } from 'pino'
import type { CloseReason } from '../mqtt/close-reason.js'
import type { Connection } from '../mqtt/connection.js'
import type { ConnectionModules, Doubt, Grant, Host, OpenOutcome } from '../mqtt/host.js'
import type { InFlight } from '../mqtt/session/in-flight-window.js'
import type { Keeping, Session } from '../mqtt/session/session.js'
import type { Message } from '../mqtt/wire/message.js'
import type { ConnackPacket, ConnectPacket, QoS, SubscriptionRequest } from '../mqtt/wire/packets.js'
import { ReasonCode } from '../mqtt/wire/reason-codes.js'
import type { AccessDesk, AccessReviewer } from './access-desk.js'
import { AedesClient } from './aedes-client.js'
import { adoptConnect } from './aedes-connect.js'
import { toAedesPacket } from './aedes-packets.js'
import { ClientEvents } from './client-events.js'
import { ClientPublishing } from './client-publish.js'
import type { DelayedMessages } from './delayed.js'
import { DeliveryReview } from './delivery-review.js'
import type { Hooks } from './hooks.js'
import type { LocalSessions } from './local-sessions.js'
import type { BrokerMetrics } from './metrics.js'
import type { OpenedSession, SessionOpener } from './open-session.js'
import type { OverloadGate } from './overload.js'
import type { Publisher } from './publish.js'
import type { Redispatch } from './redispatch.js'
import type { SubscriptionDesk } from './subscribe.js'
import type { SysTopics } from './sys/sys-topics.js'

export interface ClientHostModules {
  /** Whose hooks are called and on whom events are emitted. */
  readonly aedes: Aedes
  readonly access: AccessDesk
  readonly hooks: Hooks
  readonly sessions: LocalSessions
  readonly opener: SessionOpener
  readonly desk: SubscriptionDesk
  readonly redispatch: Redispatch
  readonly publisher: Publisher
  readonly delayed: DelayedMessages
  readonly overload: OverloadGate | undefined
  readonly sys: SysTopics | undefined
  readonly metrics: BrokerMetrics
  readonly connection: ConnectionModules
  readonly log: Logger
}

/** In CONNACK: the client gets its session when it comes again. */
const SESSION_AWAY = 'the node that has the session is down, and another is about to take it over'

export class ClientHost implements Host, AccessReviewer {
  readonly modules: ConnectionModules
  doubt: Doubt | undefined
  /** Every socket, those without a session yet included. */
  readonly connections = new Set<Connection>()
  private readonly aedes: Aedes
  private readonly access: AccessDesk
  private readonly hooks: Hooks
  private readonly sessions: LocalSessions
  private readonly opener: SessionOpener
  private readonly desk: SubscriptionDesk
  private readonly redispatch: Redispatch
  private readonly publisher: Publisher
  private readonly overload: OverloadGate | undefined
  private readonly sys: SysTopics | undefined
  private readonly metrics: BrokerMetrics
  private readonly log: Logger
  private readonly events: ClientEvents
  readonly deliveries: DeliveryReview
  readonly publishing: ClientPublishing
  /** One function for all clients. */
  private readonly clientReview = (connection: Connection, message: Message) =>
    this.deliveries.review(connection, message)
  private packetCounter = 0

  constructor({
    aedes,
    access,
    hooks,
    sessions,
    opener,
    desk,
    redispatch,
    publisher,
    delayed,
    overload,
    sys,
    metrics,
    connection,
    log,
  }: ClientHostModules) {
    this.modules = connection
    this.aedes = aedes
    this.access = access
    this.hooks = hooks
    this.sessions = sessions
    this.opener = opener
    this.desk = desk
    this.redispatch = redispatch
    this.publisher = publisher
    this.overload = overload
    this.sys = sys
    this.metrics = metrics
    this.log = log
    const clientOf = (connection: Connection): AedesClient => this.clientOf(connection)
    const packetOf = (message: Message): AedesPublishPacket => this.packetOf(message)
    const connectionOf = ({ clientId }: Session): Connection | undefined => sessions.registry.get(clientId)?.connection
    this.events = new ClientEvents(aedes, clientOf)
    this.deliveries = new DeliveryReview({ aedes, hooks, publisher, clientOf, connectionOf, packetOf })
    this.publishing = new ClientPublishing({
      aedes,
      hooks,
      events: this.events,
      deliveries: this.deliveries,
      publisher,
      delayed,
      metrics,
      log,
      clientOf,
      packetOf,
    })
  }

  get isPublishGuarded(): boolean {
    return this.hooks.isPublishGuarded
  }

  open(connection: Connection, packet: ConnectPacket, done: (outcome: OpenOutcome) => void): void {
    // Before anybody is asked who this is: that costs what the node does not have.
    const overloaded = this.overload?.refuse()
    if (overloaded !== undefined) return done({ refusal: overloaded.reasonCode, reason: overloaded.message })
    this.access.admit(connection, packet, (refusal, why) => {
      if (connection.state !== 'opening') return
      if (refusal !== ReasonCode.Success) return done({ refusal, reason: why })
      const client = (): AedesClient => this.clientOf(connection)
      const isAuthenticated = connection.authentication !== undefined
      const adopt = (before: AedesConnectPacket, left: AedesConnectPacket): string | undefined =>
        adoptConnect(connection, packet, before, left)
      this.hooks.admit(client, packet, { isAuthenticated, adopt }, (reasonCode, reason) => {
        if (connection.state !== 'opening') return
        if (reasonCode !== ReasonCode.Success) return done({ refusal: reasonCode, reason })
        if (this.hooks.has('authenticate')) connection.provenBy ??= 'hook'
        this.reviewSubscriptions(connection, packet, () => {
          if (connection.state === 'opening') this.enter(connection, packet, done)
        })
      })
    })
  }

  /** A session that is resumed keeps the subscriptions that its client may have now; Aedes' hook is asked again. */
  private reviewSubscriptions(connection: Connection, { cleanStart }: ConnectPacket, done: () => void): void {
    const session = cleanStart ? undefined : this.sessions.registry.get(connection.clientId)?.session
    if (session === undefined || !this.hooks.has('authorizeSubscribe')) return done()
    const client = (): AedesClient => this.clientOf(connection)
    this.desk.review(
      session,
      (subscription, decide) => this.hooks.authorizeSubscribe(client, subscription, decide),
      done,
    )
  }

  private enter(connection: Connection, packet: ConnectPacket, done: (outcome: OpenOutcome) => void): void {
    this.opener.open(connection, packet, (opened) => {
      if (opened === undefined) return done({ refusal: ReasonCode.QuotaExceeded, reason: 'too many sessions' })
      if (opened === 'away') return done({ refusal: ReasonCode.ServerUnavailable, reason: SESSION_AWAY })
      // Whoever heard of the end of the connection that was taken over may have closed this one.
      if (connection.state === 'closed') return this.sessions.closed(connection)
      this.admitted(connection, opened)
      const letIn = (): void => {
        done(opened)
        if (connection.state === 'open') this.sys?.clientConnected(connection, packet.cleanStart)
      }
      if (!opened.isKeptLater) return letIn()
      this.sessions.whenKept(connection.clientId, () => {
        if (connection.state === 'opening') letIn()
      })
    })
  }

  private admitted(connection: Connection, { session, sessionPresent }: OpenedSession): void {
    // Known from here on, so that a listener may subscribe the client, or close it.
    connection.session = session
    this.access.enter(connection)
    if (sessionPresent) {
      const revoked = [...this.access.revoked(connection, session)]
      if (revoked.length > 0) this.revoke(connection, revoked)
    }
    this.aedes.connectedClients++
    // What waited was shown to nobody: its client was away.
    if (sessionPresent && this.hooks.isDeliveryGuarded)
      session.reviewQueue((message) => this.deliveries.review(connection, message))
    this.events.entered(connection)
  }

  connackSent(connection: Connection, packet: ConnackPacket): void {
    this.events.connackSent(connection, packet)
  }

  opened(connection: Connection): void {
    this.sessions.opened(connection)
    this.redispatch.clientConnected(sessionOf(connection))
    this.events.opened(connection)
  }

  authorizePublish(
    connection: Connection | undefined,
    message: Message,
    done: (reasonCode: number, message: Message) => void,
  ): void {
    this.publishing.authorizePublish(connection, message, done)
  }

  publish(connection: Connection, message: Message, pending: Keeping | undefined): number {
    return this.publishing.publish(connection, message, pending)
  }

  subscribe(
    connection: Connection,
    subscriptions: readonly SubscriptionRequest[],
    done: (granted: readonly Grant[]) => void,
  ): void {
    const client = (): AedesClient => this.clientOf(connection)
    let isDenied = false
    // Packets behind it wait for the hook, not for the peers: an UNSUBSCRIBE must not overtake what it undoes.
    connection.holdInput()
    this.desk.subscribe(
      sessionOf(connection),
      subscriptions,
      (subscription, decide) => {
        if (this.access.maySubscribe(connection, subscription.topic, subscription.qos as QoS)) {
          return this.hooks.authorizeSubscribe(client, subscription, decide)
        }
        isDenied = true
        decide(undefined)
      },
      (granted) => {
        if (isDenied && connection.rights?.closesWhenDenied) {
          return connection.close('not_authorized', ReasonCode.NotAuthorized)
        }
        this.events.subscribed(connection, granted)
        this.whenSessionKept(connection, () => this.publisher.whenRoutesConfirmed(() => done(granted)))
        this.sys?.clientSubscribed(connection, granted)
        connection.proceed()
      },
    )
  }

  subscribed(connection: Connection, granted: readonly Grant[]): void {
    const session = sessionOf(connection)
    const review = this.hooks.isDeliveryGuarded
      ? (message: Message): Message | undefined => this.deliveries.review(connection, message)
      : undefined
    for (const grant of granted) {
      if (grant.reasonCode < ReasonCode.UnspecifiedError) this.desk.sendRetained(session, grant, review)
    }
  }

  unsubscribe(connection: Connection, topicFilters: readonly string[], done: (reasonCodes: number[]) => void): void {
    const reasonCodes = this.desk.unsubscribe(sessionOf(connection), topicFilters)
    this.sys?.clientUnsubscribed(connection, topicFilters, reasonCodes)
    this.events.unsubscribed(connection, topicFilters)
    this.whenSessionKept(connection, () => done(reasonCodes))
  }

  /** A client is not told of a subscription, or of the end of one, that a restart would not know of. */
  private whenSessionKept(connection: Connection, done: () => void): void {
    if (sessionOf(connection).isKept) this.sessions.whenKept(connection.clientId, done)
    else done()
  }

  revoke(connection: Connection, filters: readonly string[]): void {
    this.metrics.accessWithdrawn.subscription.value += filters.length
    this.log.debug({ clientId: connection.clientId, filters: filters.length }, 'subscriptions revoked')
    this.unsubscribe(connection, filters, () => undefined)
  }

  pinged(connection: Connection): void {
    if (this.aedes.listenerCount('ping') > 0) this.aedes.emit('ping', { cmd: 'pingreq' }, this.clientOf(connection))
  }

  acknowledged(connection: Connection, packet: InFlight): void {
    if (this.aedes.listenerCount('ack') === 0) return
    const { message, qos, packetId } = packet
    const acked: Partial<PublishPacket> = message === undefined ? { cmd: 'publish' } : this.packetOf(message)
    this.aedes.emit('ack', { ...acked, qos, messageId: packetId }, this.clientOf(connection))
  }

  closed(connection: Connection, reason: CloseReason, error: Error | undefined): void {
    this.connections.delete(connection)
    const { session, clientId, origin } = connection
    this.events.ending(connection, reason, error)
    this.log.debug({ clientId, listener: origin.listener, reason, detail: error?.message }, 'connection closed')
    if (session === undefined) return
    this.aedes.connectedClients--
    this.redispatch.clientDisconnected(session)
    this.sessions.closed(connection)
    this.sys?.clientDisconnected(connection, reason)
    this.events.disconnected(connection)
    // As Aedes does: who keeps count of subscriptions hears of those that ended with their session.
    if (session.isEnded && session.subscriptionCount > 0) {
      this.events.unsubscribed(connection, session.subscriptions.keys())
    }
  }

  clientOf(connection: Connection): AedesClient {
    connection.facade ??= new AedesClient(connection, this.clientReview)
    return connection.facade as AedesClient
  }

  private packetOf(message: Message): AedesPublishPacket {
    return toAedesPacket(message.detach(), this.aedes.id, ++this.packetCounter)
  }
}

function sessionOf(connection: Connection): Session {
  if (connection.session === undefined) throw new Error('an open connection has a session')
  return connection.session
}
