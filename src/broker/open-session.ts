/**
 * From a CONNECT that was admitted to its session: the client ID is claimed in the cluster, the old connection of it
 * ends, its session is resumed or discarded, or a new one made. What follows the claim is one synchronous step, so that
 * two connections of one client ID on this node can never both be let in.
 */

import type { MqttOptions } from '../config/options.js'
import type { Connection } from '../mqtt/connection.js'
import { sessionExpiryOf } from '../mqtt/handshake.js'
import type { Session } from '../mqtt/session/session.js'
import type { ConnectPacket } from '../mqtt/wire/packets.js'
import { ReasonCode } from '../mqtt/wire/reason-codes.js'
import type { Counter } from '../telemetry/registry.js'
import { provenUsername } from './access-desk.js'
import type { LocalSessions } from './local-sessions.js'
import { NO_TAKEOVERS, type OfferedSession, type Takeovers } from './move-ports.js'
import { type Directory, LONE_DIRECTORY, type NodeId } from './ports.js'
import type { SessionAdopter } from './session-moves.js'
import type { SessionRegistry } from './session-registry.js'

export interface SessionOpenerModules {
  readonly sessions: LocalSessions
  /** Connections that have given way to another one of their client ID. */
  readonly takenOver: Counter
}

export interface OpenedSession {
  readonly session: Session
  readonly sessionPresent: boolean
  /** What is kept on disk of this client is not as it should be yet: its CONNACK waits for that (see `whenKept`). */
  readonly isKeptLater: boolean
}

/**
 * How long a CONNECT waits at most for the directory and for its session, in milliseconds, however many nodes may have it
 * and however many others of its client ID have joined it: a client is promised 5 s.
 */
const CONNECT_TIME_MS = 4_500

/** What a claim is left at least; one that would have to be made again later is not. */
const CLAIM_TIME_MS = 1_500

/** With less time left no further node is asked for the session. */
const LEAST_FETCH_MS = 300

/** Undefined: there is no room for a further one. `away`: it is not to be had yet, and the client is to come again. */
type OpenedCallback = (opened: OpenedSession | 'away' | undefined) => void

/** A CONNECT whose session is on its way here, or a session that comes without its client. */
interface Expectant {
  readonly clientId: string
  readonly owner: string | undefined
  /** Undefined where the session comes without its client. */
  readonly connect: { readonly connection: Connection; readonly packet: ConnectPacket } | undefined
  epoch: number
  /**
   * Who may have the session, as far as the directory knows, most likely first; of a CONNECT that has joined others
   * also what those were told, since a session is sometimes slower than its client.
   */
  holders: NodeId[]
  /** Who was asked for the session since it was found there in the store. */
  asked?: NodeId
  /** When it has waited long enough, as `performance.now` tells. */
  until: number
  done: OpenedCallback
}

export class SessionOpener implements SessionAdopter {
  private readonly registry: SessionRegistry
  private directory: Directory = LONE_DIRECTORY
  private takeovers: Takeovers = NO_TAKEOVERS
  /** By client ID; one each, the last to come. */
  private readonly expectants = new Map<string, Expectant>()
  /** Sessions that are claimed without their clients, and not decided on yet. */
  private adoptions = 0

  constructor(
    private readonly options: MqttOptions,
    private readonly modules: SessionOpenerModules,
  ) {
    this.registry = modules.sessions.registry
  }

  /** From now on one client ID has one connection in the whole cluster. */
  claimThrough(directory: Directory, takeovers: Takeovers): void {
    this.directory = directory
    this.takeovers = takeovers
    this.modules.sessions.tellThrough(directory, takeovers)
  }

  /**
   * `done` gets the session, or undefined when there is no room for a further one. It is not called for a connection
   * that is closed before: by its client, or since its client ID has come to another node meanwhile.
   */
  open(connection: Connection, packet: ConnectPacket, done: OpenedCallback): void {
    this.claim(connection, packet, performance.now() + CONNECT_TIME_MS, done)
  }

  private claim(connection: Connection, packet: ConnectPacket, until: number, done: OpenedCallback): void {
    const { clientId } = connection
    if (!packet.cleanStart && !this.takeovers.isSure) return this.ask(connection, packet, until, done)
    const decide = (epoch: number | undefined, holder: string | undefined): void => {
      if (epoch === undefined) {
        connection.close('taken_over')
        return
      }
      const holders = holder === undefined ? [] : [holder]
      const owner = provenUsername(connection)
      const connect = { connection, packet }
      const expectant = { clientId, owner, connect, epoch, holders, until, done }
      if (this.expectants.has(clientId)) this.join(expectant)
      else if (packet.cleanStart) this.proceed(expectant)
      else this.fetch(expectant)
    }
    this.directory.claim(clientId, packet.cleanStart, decide, { until: until - LEAST_FETCH_MS })
  }

  /** What this node has may be another's by now. */
  private ask(connection: Connection, packet: ConnectPacket, until: number, done: OpenedCallback): void {
    this.takeovers.whenSure(until - CLAIM_TIME_MS, (isSure) => {
      if (connection.state !== 'opening') return
      if (isSure) this.claim(connection, packet, until, done)
      else done('away')
    })
  }

  adopt({ clientId, owner }: OfferedSession, from: NodeId): boolean {
    const expected = this.registry.size + this.expectants.size + this.adoptions
    if (this.registry.get(clientId) !== undefined || this.expectants.has(clientId)) return true
    if (expected >= this.options.maximumSessions) return false
    const done = (epoch: number | undefined, holder: NodeId | undefined): void => {
      this.adoptions -= 1
      // Its client has come somewhere meanwhile, and gets it.
      if (epoch === undefined || this.expectants.has(clientId)) return
      const holders = holder === undefined ? [] : [holder]
      const until = performance.now() + CONNECT_TIME_MS
      this.fetch({ clientId, owner, connect: undefined, epoch, holders, until, done() {} })
    }
    this.adoptions += 1
    this.directory.claim(clientId, false, done, { onlyFrom: from })
    return true
  }

  /** The client ID has connected to another node. */
  evict(clientId: string, discard: boolean, isOutdated: boolean): boolean {
    const expectant = this.expectants.get(clientId)
    expectant?.connect?.connection.close('taken_over', ReasonCode.SessionTakenOver)
    if (expectant !== undefined && !discard) return true
    this.expectants.delete(clientId)
    if (expectant !== undefined) this.takeovers.discard(clientId)
    this.takeOver(clientId)
    const entry = this.registry.get(clientId)
    if (entry !== undefined && discard) this.modules.sessions.discard(entry, isOutdated) // [MQTT-3.1.2-4]
    return entry !== undefined && !discard
  }

  private proceed(expectant: Expectant): void {
    const { clientId, connect, epoch, done } = expectant
    if (connect?.connection.state !== 'opening') return this.forgo(clientId, epoch)
    const entry = this.registry.get(clientId)
    if (entry?.isMoving === true && this.awaitInherited(expectant)) return
    if (entry === undefined && this.takeovers.mayBeLost && !connect.packet.cleanStart) this.seek(expectant)
    else done(this.enter(connect.connection, connect.packet, epoch))
  }

  /** False when its session is not coming here from a node that is down. */
  private awaitInherited(expectant: Expectant): boolean {
    const { clientId } = expectant
    let isInTime = (): boolean => true
    const whenHere = (): void => {
      const last = isInTime() ? this.takeExpectant(clientId) : undefined
      if (last !== undefined) this.proceed(last)
    }
    if (!this.takeovers.whenInherited(clientId, whenHere)) return false
    isInTime = this.expect(expectant)
    return true
  }

  /** It waits, until its time is over, or what is returned is called: true when in time. */
  private expect(expectant: Expectant): () => boolean {
    const { clientId } = expectant
    this.expectants.set(clientId, expectant)
    return watchTime(expectant.until, () => {
      const last = this.expectants.get(clientId)
      if (last?.connect === undefined) return undefined
      // Another connection of the client may have joined in, whose time is not over.
      if (last.until > performance.now()) return last.until
      this.expectants.delete(clientId)
      this.turnAway(last)
      return undefined
    })
  }

  /** Its session may be on its way from a node that is down: a new one would be the end of that. */
  private seek(expectant: Expectant): void {
    const { clientId } = expectant
    const isInTime = this.expect(expectant)
    this.takeovers.seek(clientId, (found, node) => {
      if (!isInTime()) return
      const last = this.takeExpectant(clientId)
      const connect = last?.connect
      if (last === undefined || connect === undefined) return
      const { connection, packet } = connect
      if (connection.state !== 'opening') return this.forgo(clientId, last.epoch)
      if (found === 'none') return last.done(this.enter(connection, packet, last.epoch))
      if (found === 'held' && node !== undefined && last.asked !== node) {
        last.asked = node
        last.holders = [node]
        return this.fetch(last)
      }
      // The node that takes it over claims the client ID first.
      this.directory.release(clientId, last.epoch)
      if (node === undefined) return last.done('away')
      this.takeovers.whenBack(node, last.until - CLAIM_TIME_MS, (isBack) => {
        if (connection.state !== 'opening') return
        if (isBack) this.claim(connection, packet, last.until, last.done)
        else last.done('away')
      })
    })
  }

  /** Its session is on its way, and too slow: the client is told to come again. */
  private turnAway({ clientId, connect, epoch, done }: Expectant): void {
    this.forgo(clientId, epoch)
    if (connect?.connection.state === 'opening') done('away')
  }

  private takeExpectant(clientId: string): Expectant | undefined {
    const expectant = this.expectants.get(clientId)
    this.expectants.delete(clientId)
    return expectant
  }

  /** Where its session is on another node it comes here, also when the connection does not wait for it any more. */
  private fetch(expectant: Expectant): void {
    const { clientId, owner, epoch, holders, until } = expectant
    const holder = until - performance.now() < LEAST_FETCH_MS ? undefined : holders.shift()
    if (holder === undefined) return this.proceed(expectant)
    if (this.modules.sessions.isFull && this.registry.get(clientId) === undefined) {
      // The session stays where it is.
      this.directory.release(clientId, epoch)
      return expectant.done(undefined)
    }
    this.expectants.set(clientId, expectant)
    this.takeovers.fetch({ clientId, epoch, holder, owner, until }, (isHere) => {
      const last = this.takeExpectant(clientId)
      if (last === undefined) return
      if (isHere) this.proceed(last)
      else this.fetch(last)
    })
  }

  /** One more connection of a client whose session is on its way here. */
  private join(expectant: Expectant): void {
    const { clientId } = expectant
    const before = this.expectants.get(clientId)
    before?.connect?.connection.close('taken_over')
    if (expectant.connect?.packet.cleanStart === true) {
      this.expectants.delete(clientId)
      this.takeovers.discard(clientId)
      return this.proceed(expectant)
    }
    expectant.holders = [...new Set([...(before?.holders ?? []), ...expectant.holders])]
    this.expectants.set(clientId, expectant)
  }

  private enter(connection: Connection, packet: ConnectPacket, epoch: number): OpenedSession | undefined {
    const { clientId } = connection
    this.takeOver(clientId)
    // The client is here and not where its session was on its way to.
    if (this.modules.sessions.isLeaving(clientId)) this.takeovers.reclaim(clientId)
    const expiryInterval = sessionExpiryOf(packet, this.options)
    let entry = this.registry.get(clientId)
    const owner = provenUsername(connection)
    const wasKept = entry?.kept !== undefined
    // Another user must not get what waits for this one: to that user there is no such session.
    if (entry !== undefined && (packet.cleanStart || entry.owner !== owner)) {
      this.modules.sessions.discard(entry) // [MQTT-3.1.2-4]
      entry = undefined
    }
    const sessionPresent = entry !== undefined
    if (entry === undefined) {
      if (this.modules.sessions.isFull) {
        this.directory.release(clientId, epoch)
        return undefined
      }
      entry = this.modules.sessions.begin(clientId, expiryInterval)
    } else {
      entry.resume() // [MQTT-3.1.2-5]
      entry.session.expiryInterval = expiryInterval
    }
    entry.connection = connection
    entry.epoch = epoch
    this.directory.settle(clientId, epoch)
    entry.owner = owner
    entry.connectedWill = packet.will
    const isKeptLater = wasKept || entry.kept !== undefined
    entry.kept?.recordChanged()
    return { session: entry.session, sessionPresent, isKeptLater }
  }

  /** The claim of a connection that is closed already: it stands for the session that is here, if there is one. */
  private forgo(clientId: string, epoch: number): void {
    const entry = this.registry.get(clientId)
    if (entry === undefined) return this.directory.release(clientId, epoch)
    entry.epoch = epoch
    this.directory.settle(clientId, epoch)
  }

  /** [MQTT-3.1.4-3]: the connection that the client ID has already is closed. */
  private takeOver(clientId: string): void {
    const old = this.registry.get(clientId)?.connection
    if (old === undefined) return
    this.modules.takenOver.value++
    old.close('taken_over', ReasonCode.SessionTakenOver, 'the client ID has connected again')
  }
}

/**
 * Calls `late` when the time is over, unless what it returns is called before, and says so: true when in time.
 * @param late returns until when there is time after all, if there is
 */
function watchTime(until: number, late: () => number | undefined): () => boolean {
  let isLate = false
  let timer: NodeJS.Timeout | undefined
  const watch = (end: number): void => {
    timer = setTimeout(look, end - performance.now()).unref()
  }
  const look = (): void => {
    const end = late()
    if (end === undefined) isLate = true
    else watch(end)
  }
  watch(until)
  return () => {
    clearTimeout(timer)
    return !isLate
  }
}
