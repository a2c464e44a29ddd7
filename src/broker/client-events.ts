/** Aedes' events about clients, in Aedes' order. Where nobody listens nothing is made for them, not even a client. */

import type { Aedes } from 'aedes'
import type { CloseReason } from '../mqtt/close-reason.js'
import type { Connection } from '../mqtt/connection.js'
import type { Grant } from '../mqtt/host.js'
import type { ConnackPacket } from '../mqtt/wire/packets.js'
import { connackReturnCode, ReasonCode } from '../mqtt/wire/reason-codes.js'
import type { AedesClient } from './aedes-client.js'

/** What Aedes calls the ends that it counts as errors and that come with no error of their own. */
const ERRORS: Partial<Record<CloseReason, string>> = {
  keep_alive_timeout: 'keep alive timeout',
  connect_timeout: 'connect did not arrive in time',
  drain_timeout: 'drain timeout',
}

export class ClientEvents {
  constructor(
    private readonly aedes: Aedes,
    private readonly clientOf: (connection: Connection) => AedesClient,
  ) {}

  /** `client`: it has its session, and is about to get its CONNACK. */
  entered(connection: Connection): void {
    this.emitFor('client', connection)
  }

  /** `connackSent`, for refusals too. */
  connackSent(connection: Connection, { reasonCode, sessionPresent, properties }: ConnackPacket): void {
    if (this.aedes.listenerCount('connackSent') === 0) return
    const returnCode = connackReturnCode(reasonCode)
    const packet = connection.isV5
      ? { cmd: 'connack', reasonCode, returnCode, sessionPresent, properties }
      : { cmd: 'connack', returnCode, sessionPresent }
    this.aedes.emit('connackSent', packet, this.clientOf(connection))
  }

  /** `clientReady`, and `connected` of the client itself. */
  opened(connection: Connection): void {
    this.emitFor('clientReady', connection)
    if (connection.facade !== undefined) this.clientOf(connection).emit('connected')
  }

  /** `subscribe`; of a filter that was asked for twice the last one counts. */
  subscribed(connection: Connection, granted: readonly Grant[]): void {
    if (this.aedes.listenerCount('subscribe') === 0) return
    // Aedes knows one code for a refusal, that of 3.1.1.
    const qosOf = new Map(
      granted.map(({ topicFilter, reasonCode }) => [topicFilter, Math.min(reasonCode, ReasonCode.UnspecifiedError)]),
    )
    const subscriptions = [...qosOf].map(([topic, qos]) => ({ topic, qos }))
    this.aedes.emit('subscribe', subscriptions, this.clientOf(connection))
  }

  unsubscribed(connection: Connection, topicFilters: Iterable<string>): void {
    if (this.aedes.listenerCount('unsubscribe') > 0) {
      this.aedes.emit('unsubscribe', [...topicFilters], this.clientOf(connection))
    }
  }

  /** What Aedes tells before `clientDisconnect`: `keepaliveTimeout`, and the error if it is one. */
  ending(connection: Connection, reason: CloseReason, error: Error | undefined): void {
    if (reason === 'keep_alive_timeout') this.emitFor('keepaliveTimeout', connection)
    const message = ERRORS[reason]
    const told = error ?? (message === undefined ? undefined : new Error(message))
    if (told !== undefined) this.failed(connection, told)
  }

  /** `clientError`, or `connectionError` while it is not known who the client is; and `error` of the client itself. */
  failed(connection: Connection, error: Error): void {
    const isHeard =
      this.aedes.listenerCount('clientError') > 0 ||
      this.aedes.listenerCount('connectionError') > 0 ||
      connection.facade !== undefined
    if (!isHeard) return
    const client = this.clientOf(connection)
    // Without a listener an EventEmitter would throw it.
    if (client.listenerCount('error') > 0) client.emit('error', error)
    this.aedes.emit(client.id === '' ? 'connectionError' : 'clientError', client, error)
  }

  disconnected(connection: Connection): void {
    this.emitFor('clientDisconnect', connection)
  }

  private emitFor(
    event: 'client' | 'clientReady' | 'clientDisconnect' | 'keepaliveTimeout',
    connection: Connection,
  ): void {
    if (this.aedes.listenerCount(event) > 0) this.aedes.emit(event, this.clientOf(connection))
  }
}
