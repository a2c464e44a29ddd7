/** What operators see of the sessions of a node: its clients, those that are away included, and their subscriptions. */

import { ReasonCode } from '../mqtt/wire/reason-codes.js'
import type { SessionEntry, SessionRegistry } from './session-registry.js'

/** One session. Its JSON form is a contract: fields are added, never renamed. */
export interface ClientDescription {
  clientId: string
  /** null for an anonymous client, and for one that is away. */
  username: string | null
  connected: boolean
  /** IP address; '' when away or on a Unix domain socket. */
  address: string
  /** The listener's URL; '' when away. */
  listener: string
  /** 3.1, 3.1.1 or 5.0; '' when away. */
  protocol: string
  /** Seconds, as in force; 0: none. */
  keepAlive: number
  /** ISO 8601; null when away. */
  connectedAt: string | null
  /** Seconds that the session outlives its connection; 4294967295: for good. */
  sessionExpiry: number
  subscriptions: number
  queued: number
  queuedBytes: number
  inFlight: number
}

export interface SubscriptionDescription {
  clientId: string
  filter: string
  qos: number
  noLocal: boolean
  retainAsPublished: boolean
}

const PROTOCOLS = { 3: '3.1', 4: '3.1.1', 5: '5.0' } as const

export class ClientList {
  constructor(private readonly registry: SessionRegistry) {}

  *clients(): Generator<ClientDescription> {
    for (const entry of this.registry.values()) yield describe(entry)
  }

  client(clientId: string): ClientDescription | undefined {
    const entry = this.registry.get(clientId)
    return entry === undefined ? undefined : describe(entry)
  }

  *subscriptions(): Generator<SubscriptionDescription> {
    for (const { session } of this.registry.values()) {
      for (const [filter, { qos, noLocal, retainAsPublished }] of session.subscriptions) {
        yield { clientId: session.clientId, filter, qos, noLocal, retainAsPublished }
      }
    }
  }

  /** Closes the connection of a client here (MQTT 5: 0x98); its session stays. False when it is not connected here. */
  kick(clientId: string): boolean {
    const connection = this.registry.get(clientId)?.connection
    if (connection === undefined) return false
    connection.close('administrative', ReasonCode.AdministrativeAction, 'closed by an operator')
    return true
  }
}

function describe({ session, connection }: SessionEntry): ClientDescription {
  return {
    clientId: session.clientId,
    username: connection?.username ?? null,
    connected: connection !== undefined,
    address: connection?.origin.remoteAddress ?? '',
    listener: connection?.origin.listener ?? '',
    protocol: connection === undefined ? '' : PROTOCOLS[connection.version],
    keepAlive: connection?.liveness.keepAlive ?? 0,
    connectedAt: connection === undefined ? null : new Date(connection.openedAt).toISOString(),
    sessionExpiry: session.expiryInterval,
    subscriptions: session.subscriptionCount,
    queued: session.queueLength,
    queuedBytes: session.queueBytes,
    inFlight: session.inFlightCount,
  }
}
