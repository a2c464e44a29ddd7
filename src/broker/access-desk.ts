/**
 * Where the broker asks who may come in and who may do what. Without an Access (a program that embeds the broker
 * alone) everything is allowed, and Aedes' hooks decide.
 */

import type { Connection } from '../mqtt/connection.js'
import type { Session } from '../mqtt/session/session.js'
import type { Message } from '../mqtt/wire/message.js'
import type { ConnectPacket, QoS } from '../mqtt/wire/packets.js'
import { ReasonCode } from '../mqtt/wire/reason-codes.js'
import type { BrokerMetrics } from './metrics.js'
import type { Access } from './ports.js'

/** What a review of a connection may ask for. */
export interface AccessReviewer {
  /** These subscriptions are not allowed any more. */
  revoke(connection: Connection, filters: readonly string[]): void
}

/** Connections looked at in one turn of a review: some tens of microseconds each when they have many subscriptions. */
const REVIEWED_PER_TURN = 200

export class AccessDesk {
  /** The review that runs; a newer one takes its place. */
  private review: Iterator<Connection> | undefined

  constructor(
    private readonly access: Access | undefined,
    private readonly metrics: BrokerMetrics,
  ) {}

  /** `done` gets a reason code for CONNACK, 0 when the client may come in as far as its user name is concerned. */
  admit(connection: Connection, packet: ConnectPacket, done: (reasonCode: number, reason: string) => void): void {
    if (connection.authentication !== undefined) connection.provenBy = 'enhanced'
    if (this.access === undefined || connection.provenBy !== undefined) return done(ReasonCode.Success, '')
    const { username, password } = packet
    const allowsAnonymous = connection.origin.policy?.allowAnonymous
    const isWaiting = (): boolean => connection.state === 'opening'
    this.access.authenticate({ username, password, allowsAnonymous, isWaiting }, (outcome) => {
      if (!outcome.isAdmitted) return done(outcome.reasonCode, outcome.reason)
      if (outcome.isProven) connection.provenBy = 'password'
      done(ReasonCode.Success, '')
    })
  }

  /** The client is in: from here on its rights hold. */
  enter(connection: Connection): void {
    if (this.access?.limitsPublish) connection.rights = this.rightsOf(this.access, connection)
  }

  /** Whether a client that is not here may publish this, such as its will. */
  mayPublishAbsent(clientId: string, owner: string | undefined, message: Message): boolean {
    if (this.access?.limitsPublish !== true) return true
    const rights = this.access.rightsOf({ clientId, username: owner, address: '' })
    return rights.mayPublish(message.topic, message.qos, message.retain)
  }

  maySubscribe(connection: Connection, filter: string, qos: QoS): boolean {
    if (this.access === undefined) return true
    // Where publishing is free, a connection does not keep its rights: subscribing is rare.
    const rights = connection.rights ?? this.rightsOf(this.access, connection)
    return rights.maySubscribe(filter, qos)
  }

  /** Subscriptions of a session that its client has no right to any more, or that it finds as another user. */
  *revoked(connection: Connection, session: Session): Generator<string> {
    for (const [filter, { qos }] of session.subscriptions) {
      if (!this.maySubscribe(connection, filter, qos)) yield filter
    }
  }

  /**
   * The rules or the users have changed: closes the connections of users that are gone, and revokes subscriptions
   * that are not allowed any more. Some connections per turn, so that the others are served meanwhile.
   */
  reviewAll(connections: ReadonlySet<Connection>, reviewer: AccessReviewer): void {
    const review = connections.values()
    const isRunning = this.review !== undefined
    this.review = review
    if (!isRunning) setImmediate(this.continueReview, reviewer)
  }

  /** Ends a review that runs. */
  close(): void {
    this.review = undefined
  }

  private readonly continueReview = (reviewer: AccessReviewer): void => {
    const { review } = this
    for (let count = 0; review !== undefined && count < REVIEWED_PER_TURN; count++) {
      const { value: connection, done } = review.next()
      if (done) {
        this.review = undefined
        return
      }
      if (connection.state === 'open') this.reviewOne(connection, reviewer)
    }
    if (review !== undefined) setImmediate(this.continueReview, reviewer)
  }

  private reviewOne(connection: Connection, reviewer: AccessReviewer): void {
    const { provenBy, username = '', session } = connection
    if ((provenBy === 'password' || provenBy === 'enhanced') && this.access?.isRemoved(username)) {
      this.metrics.accessWithdrawn.connection.value++
      return connection.close('not_authorized', ReasonCode.NotAuthorized, 'the user was removed')
    }
    if (session === undefined) return
    const filters = [...this.revoked(connection, session)]
    if (filters.length > 0) reviewer.revoke(connection, filters)
  }

  private rightsOf(access: Access, connection: Connection): ReturnType<Access['rightsOf']> {
    const { clientId, origin } = connection
    return access.rightsOf({ clientId, username: provenUsername(connection), address: origin.remoteAddress })
  }
}

/** The user name of a client that has proved it; a name that nobody has checked is none. */
export function provenUsername({ provenBy, username }: Connection): string | undefined {
  return provenBy === undefined ? undefined : username
}
