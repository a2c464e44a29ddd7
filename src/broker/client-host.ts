/**
 * What connections ask of the broker (mqtt's Host): who may come in, whose session it is, where a message goes. It
 * calls Aedes' hooks and emits Aedes' events where somebody listens, and costs nothing where nobody does.
 */

import type { Aedes, ConnectPacket as AedesConnectPacket, AedesPublishPacket, Client, PublishPacket } from 'aedes'
import type { Logger } from 'pino'
import type { CloseReason } from '../mqtt/close-reason.js'
import type { Connection } from '../mqtt/connection.js'
import type { ConnectionModules, Grant, Host, OpenOutcome } from '../mqtt/host.js'
import { publishRefusalOf } from '../mqtt/refusals.js'
import type { InFlight } from '../mqtt/session/in-flight-window.js'
import { type Hold, type Keeping, Session } from '../mqtt/session/session.js'
import type { Message } from '../mqtt/wire/message.js'
import type { ConnackPacket, ConnectPacket, QoS, SubscriptionRequest } from '../mqtt/wire/packets.js'
import { ReasonCode } from '../mqtt/wire/reason-codes.js'
import type { AccessDesk, AccessReviewer } from './access-desk.js'
import { AedesClient } from './aedes-client.js'
import { adoptConnect } from './aedes-connect.js'
import { afterHook, publishProblem, toAedesPacket } from './aedes-packets.js'
import { ClientEvents } from './client-events.js'
import type { DelayedMessages } from './delayed.js'
import { type Hooks, isReservedTopic } from './hooks.js'
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
  readonly sessions: SessionOpener
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

const DOLLAR = 0x24

export class ClientHost implements Host, AccessReviewer {
  readonly modules: ConnectionModules
  /** Every socket, those without a session yet included. */
  readonly connections = new Set<Connection>()
  private readonly aedes: Aedes
  private readonly access: AccessDesk
  private readonly hooks: Hooks
  private readonly sessions: SessionOpener
  private readonly desk: SubscriptionDesk
  private readonly redispatch: Redispatch
  private readonly publisher: Publisher
  private readonly delayed: DelayedMessages
  private readonly overload: OverloadGate | undefined
  private readonly sys: SysTopics | undefined
  private readonly metrics: BrokerMetrics
  private readonly log: Logger
  private readonly events: ClientEvents
  /** One function for all clients. */
  private readonly clientReview = (connection: Connection, message: Message) => this.review(connection, message)
  private packetCounter = 0

  constructor({
    aedes,
    access,
    hooks,
    sessions,
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
    this.desk = desk
    this.redispatch = redispatch
    this.publisher = publisher
    this.delayed = delayed
    this.overload = overload
    this.sys = sys
    this.metrics = metrics
    this.log = log
    this.events = new ClientEvents(aedes, (connection) => this.clientOf(connection))
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
    this.sessions.open(connection, packet, (opened) => {
      if (opened === undefined) return done({ refusal: ReasonCode.QuotaExceeded, reason: 'too many sessions' })
      // Whoever heard of the end of the connection that was taken over may have closed this one.
      if (connection.state === 'closed') return this.sessions.closed(connection)
      this.admitted(connection, opened)
      done(opened)
      if (connection.state === 'open') this.sys?.clientConnected(connection, packet.cleanStart)
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
      session.reviewQueue((message) => this.review(connection, message))
    this.events.entered(connection)
  }

  connackSent(connection: Connection, packet: ConnackPacket): void {
    this.events.connackSent(connection, packet)
  }

  opened(connection: Connection): void {
    this.redispatch.clientConnected(sessionOf(connection))
    this.events.opened(connection)
  }

  authorizePublish(
    connection: Connection,
    message: Message,
    done: (reasonCode: number, message: Message) => void,
  ): void {
    const packet = this.packetOf(message)
    const shown = { ...packet }
    this.hooks.authorizePublish(this.clientOf(connection), packet, (error) => {
      if (error !== undefined) {
        // Before MQTT 5 a refusal ends the connection, and is told as its error.
        if (connection.isV5 || connection.state === 'closed') this.events.failed(connection, error)
        else connection.closeError = error
        return done(ReasonCode.NotAuthorized, message)
      }
      // The hook may have changed the packet, also into one that nobody may publish.
      if (publishProblem(packet) !== undefined) done(ReasonCode.TopicNameInvalid, message)
      else done(ReasonCode.Success, afterHook(message, shown, packet))
    })
  }

  publish(connection: Connection, message: Message, pending: Keeping | undefined): number {
    // Aedes' own rule; a hook that replaced it decides for itself.
    if (message.topic.charCodeAt(0) === DOLLAR && isReservedTopic(message.topic) && !this.isPublishGuarded) {
      return ReasonCode.NotAuthorized
    }
    if (message.delay !== 0) return this.delayed.take(message, pending)
    if (message.retain && message.qos > 0 && !this.publisher.canStoreRetained(message)) {
      return ReasonCode.ImplementationSpecificError
    }
    // Who can be told that a message is not retained is told before anybody has it.
    if (message.retain && message.qos > 0 && connection.isV5 && !this.publisher.admitsRetained(message)) {
      return ReasonCode.QuotaExceeded
    }
    const isMatched = this.publishFor(connection, message, pending)
    return isMatched ? ReasonCode.Success : ReasonCode.NoMatchingSubscribers
  }

  /** A will is its client's last message, and needs the same permission as the others. The connection is closed. */
  publishWill(connection: Connection, message: Message): void {
    const { rights } = connection
    if (rights !== undefined && !rights.mayPublish(message.topic, message.qos, message.retain)) {
      this.modules.metrics.publishesRefused.access_denied.value++
      return
    }
    const decide = (isAllowed: boolean, allowed: Message): void => {
      if (isAllowed) {
        this.metrics.wills.value++
        if (allowed.delay === 0) this.publishFor(connection, allowed, undefined)
        else this.delayWill(connection, allowed)
      } else {
        this.modules.metrics.publishesRefused.not_authorized.value++
      }
    }
    if (!this.isPublishGuarded) return decide(!isReservedTopic(message.topic), message)
    this.authorizePublish(connection, message, (reasonCode, allowed) => {
      decide(reasonCode === ReasonCode.Success, allowed)
    })
  }

  private delayWill({ clientId }: Connection, message: Message): void {
    const reasonCode = this.delayed.take(message, undefined)
    if (reasonCode === ReasonCode.Success) return
    const refusal = publishRefusalOf(reasonCode, true)
    this.modules.metrics.publishesRefused[refusal].value++
    this.log.warn({ clientId, topic: message.topic, reason: refusal }, 'a will with a delay is not kept')
  }

  /** A message with a delay whose time has come. Its publisher may be gone. */
  publishDelayed(message: Message, settled: Keeping | undefined): void {
    if (this.publisher.isPast(message)) return
    this.watchDeliveries()
    this.publisher.publish(message, settled)
    if (this.hooks.isPublishedAsked || this.aedes.listenerCount('publish') > 0) {
      this.announcePublished(message, null, settled, (error) => {
        this.log.warn({ err: error, topic: message.topic }, 'the published hook failed for a message with a delay')
      })
    }
  }

  private publishFor(connection: Connection, message: Message, pending: Keeping | undefined): boolean {
    this.watchDeliveries()
    const isMatched = this.publisher.publish(message, pending)
    if (this.hooks.isPublishedAsked || this.aedes.listenerCount('publish') > 0) {
      this.announcePublished(message, this.clientOf(connection), pending, (error) => {
        connection.closeError ??= error
        connection.close('administrative', ReasonCode.ImplementationSpecificError, error.message)
      })
    }
    return isMatched
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
        this.publisher.whenRoutesConfirmed(() => done(granted))
        this.sys?.clientSubscribed(connection, granted)
        connection.proceed()
      },
    )
  }

  subscribed(connection: Connection, granted: readonly Grant[]): void {
    const session = sessionOf(connection)
    const review = this.hooks.isDeliveryGuarded
      ? (message: Message): Message | undefined => this.review(connection, message)
      : undefined
    for (const grant of granted) {
      if (grant.reasonCode < ReasonCode.UnspecifiedError) this.desk.sendRetained(session, grant, review)
    }
  }

  unsubscribe(connection: Connection, topicFilters: readonly string[], done: (reasonCodes: number[]) => void): void {
    const reasonCodes = this.desk.unsubscribe(sessionOf(connection), topicFilters)
    this.sys?.clientUnsubscribed(connection, topicFilters, reasonCodes)
    this.events.unsubscribed(connection, topicFilters)
    done(reasonCodes)
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

  /**
   * Aedes' `published` hook and `publish` event; the publisher is answered only when the hook is done.
   * @param failed called when the hook could not deal with the message, before the publisher would be answered
   */
  announcePublished(
    message: Message,
    client: Client | null,
    pending: Hold | undefined,
    failed: (error: Error) => void,
  ): void {
    const packet = this.packetOf(message)
    if (this.hooks.isPublishedAsked) {
      pending?.hold()
      this.hooks.published(packet, client, (error) => {
        if (error !== undefined) failed(error)
        pending?.release()
      })
    }
    this.aedes.emit('publish', packet, client)
  }

  /** Aedes' `authorizeForward` may be set at any time; without it deliveries are not looked at one by one. */
  watchDeliveries(): void {
    if (!this.hooks.isDeliveryGuarded) {
      this.publisher.deliveryFilter = undefined
      return
    }
    this.publisher.deliveryFilter ??= (subscriber, message) => {
      const connection = subscriber instanceof Session ? this.connectionOf(subscriber) : undefined
      return connection === undefined ? message : this.review(connection, message)
    }
  }

  /** What a client gets in the place of a message; undefined when `authorizeForward` withholds it. */
  private review(connection: Connection, message: Message): Message | undefined {
    if (!this.hooks.isDeliveryGuarded) return message
    const packet = this.packetOf(message)
    const shown = { ...packet }
    const forwarded = this.aedes.authorizeForward(this.clientOf(connection), packet)
    if (!forwarded || publishProblem(forwarded) !== undefined) return undefined
    return afterHook(message, shown, forwarded)
  }

  private packetOf(message: Message): AedesPublishPacket {
    return toAedesPacket(message.detach(), this.aedes.id, ++this.packetCounter)
  }

  private connectionOf(session: Session): Connection | undefined {
    return this.sessions.registry.get(session.clientId)?.connection
  }
}

function sessionOf(connection: Connection): Session {
  if (connection.session === undefined) throw new Error('an open connection has a session')
  return connection.session
}
