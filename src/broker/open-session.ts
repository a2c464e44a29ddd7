/**
 * From a CONNECT that was admitted to its session: the client ID is claimed in the cluster, the old connection of it
 * ends, its session is resumed or discarded, or a new one made. What follows the claim is one synchronous step, so that
 * two connections of one client ID on this node can never both be let in.
 */

import type { MqttOptions } from '../config/options.js'
import type { Connection } from '../mqtt/connection.js'
import { sessionExpiryOf } from '../mqtt/handshake.js'
import { Session, type SessionModules, type SessionOptions } from '../mqtt/session/session.js'
import type { ConnectPacket } from '../mqtt/wire/packets.js'
import { ReasonCode } from '../mqtt/wire/reason-codes.js'
import { provenUsername } from './access-desk.js'
import type { BrokerMetrics } from './metrics.js'
import { type Directory, LONE_DIRECTORY } from './ports.js'
import { type ArmedWill, SessionEntry, type SessionLifecycle, SessionRegistry } from './session-registry.js'

export interface SessionOpenerModules extends SessionModules {
  readonly brokerMetrics: BrokerMetrics
  readonly publishWill: (armed: ArmedWill) => void
  /** The session is about to end: its subscriptions go, and what others may have of its messages. */
  readonly onEnding: (session: Session) => void
}

export interface OpenedSession {
  readonly session: Session
  readonly sessionPresent: boolean
}

export class SessionOpener implements SessionLifecycle {
  readonly registry = new SessionRegistry()
  private directory: Directory = LONE_DIRECTORY
  private readonly sessionOptions: SessionOptions

  constructor(
    private readonly options: MqttOptions,
    private readonly modules: SessionOpenerModules,
  ) {
    this.sessionOptions = {
      queue: { length: options.queueLength, bytes: options.queueBytes },
      inFlightBytes: options.inflightBytes,
      queueHoldTime: options.queueHoldTime,
    }
  }

  /** From now on one client ID has one connection in the whole cluster. */
  claimThrough(directory: Directory): void {
    this.directory = directory
  }

  /**
   * `done` gets the session, or undefined when there is no room for a further one. It is not called for a connection
   * that is closed before: by its client, or since its client ID has come to another node meanwhile.
   */
  open(connection: Connection, packet: ConnectPacket, done: (opened: OpenedSession | undefined) => void): void {
    const { clientId } = connection
    this.directory.claim(clientId, packet.cleanStart, (epoch) => {
      if (connection.state !== 'opening') this.forgo(clientId, epoch)
      else if (epoch === undefined) connection.close('taken_over')
      else done(this.enter(connection, packet, epoch))
    })
  }

  /** The client ID has connected to another node. */
  evict(clientId: string, discard: boolean): void {
    this.takeOver(clientId)
    const entry = this.registry.get(clientId)
    if (entry !== undefined && discard) this.endSession(entry, 'discarded') // [MQTT-3.1.2-4]
  }

  private enter(connection: Connection, packet: ConnectPacket, epoch: number): OpenedSession | undefined {
    const { clientId } = connection
    this.takeOver(clientId)
    const expiryInterval = sessionExpiryOf(packet, this.options)
    let entry = this.registry.get(clientId)
    const owner = provenUsername(connection)
    // Another user must not get what waits for this one: to that user there is no such session.
    if (entry !== undefined && (packet.cleanStart || entry.owner !== owner)) {
      this.endSession(entry, 'discarded') // [MQTT-3.1.2-4]
      entry = undefined
    }
    const sessionPresent = entry !== undefined
    if (entry === undefined) {
      if (this.registry.size >= this.options.maximumSessions) {
        this.directory.release(clientId, epoch)
        return undefined
      }
      entry = new SessionEntry(
        new Session(clientId, expiryInterval, this.sessionOptions, this.modules),
        this.modules.timers,
        this,
      )
      this.registry.add(entry)
    } else {
      entry.resume() // [MQTT-3.1.2-5]
      entry.session.expiryInterval = expiryInterval
    }
    entry.connection = connection
    entry.epoch = epoch
    entry.owner = owner
    return { session: entry.session, sessionPresent }
  }

  /** The claim of a connection that is closed already: it stands for the session that is here, if there is one. */
  private forgo(clientId: string, epoch: number | undefined): void {
    if (epoch === undefined) return
    const entry = this.registry.get(clientId)
    if (entry === undefined) this.directory.release(clientId, epoch)
    else entry.epoch = epoch
  }

  /** The connection is gone: its will is published or waits, its session waits or ends. */
  closed(connection: Connection): void {
    const entry = this.registry.get(connection.clientId)
    if (entry === undefined || entry.connection !== connection) return
    entry.connection = undefined
    const { will } = connection
    const { expiryInterval } = entry.session
    // The will is due after its delay or when the session ends, whichever comes first. [MQTT-3.1.3-9]
    const isWillDue = will !== undefined && (will.delayInterval === 0 || expiryInterval === 0)
    const armed = will === undefined ? undefined : { will, connection }
    if (isWillDue && armed !== undefined) this.modules.publishWill(armed)
    if (expiryInterval === 0) this.endSession(entry, 'discarded')
    else entry.wait(isWillDue ? undefined : armed)
  }

  publishWill(armed: ArmedWill): void {
    this.modules.publishWill(armed)
  }

  endSession(entry: SessionEntry, cause: 'expired' | 'discarded'): void {
    const { session } = entry
    this.registry.delete(session.clientId)
    const armed = entry.takeWill()
    entry.resume()
    if (armed !== undefined) this.modules.publishWill(armed)
    this.modules.onEnding(session)
    session.end()
    this.directory.release(session.clientId, entry.epoch)
    if (cause === 'expired') this.modules.brokerMetrics.sessionsExpired.value++
  }

  /** Sessions and wills wait no longer: the broker is closed. */
  stop(): void {
    for (const entry of this.registry.values()) entry.resume()
  }

  /** [MQTT-3.1.4-3]: the connection that the client ID has already is closed. */
  private takeOver(clientId: string): void {
    const old = this.registry.get(clientId)?.connection
    if (old === undefined) return
    this.modules.brokerMetrics.takeovers.value++
    old.close('taken_over', ReasonCode.SessionTakenOver, 'the client ID has connected again')
  }
}
