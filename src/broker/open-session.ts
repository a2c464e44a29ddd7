/**
 * From a CONNECT that was admitted to its session: the client ID is claimed in the cluster, the old connection of it
 * ends, its session is resumed or discarded, or a new one made. What follows the claim is one synchronous step, so that
 * two connections of one client ID on this node can never both be let in.
 */

import type { MqttOptions } from '../config/options.js'
import type { Connection } from '../mqtt/connection.js'
import { sessionExpiryOf } from '../mqtt/handshake.js'
import { Session, type SessionModules, type SessionOptions } from '../mqtt/session/session.js'
import type { ConnectPacket, Will } from '../mqtt/wire/packets.js'
import { ReasonCode } from '../mqtt/wire/reason-codes.js'
import { provenUsername } from './access-desk.js'
import type { SessionRecord } from './kept/session-record.js'
import type { BrokerMetrics } from './metrics.js'
import { NO_TAKEOVERS, type OfferedSession, type Takeovers } from './move-ports.js'
import { type Directory, LONE_DIRECTORY, type NodeId } from './ports.js'
import type { MovableSessions } from './session-moves.js'
import { type ArmedWill, SessionEntry, type SessionLifecycle, SessionRegistry } from './session-registry.js'

export interface SessionOpenerModules extends SessionModules {
  readonly brokerMetrics: BrokerMetrics
  readonly publishWill: (armed: ArmedWill) => void
  /** Whether its client has the right to. */
  readonly mayPublishWill: (armed: ArmedWill) => boolean
  /** The session is about to end: its subscriptions go, and what others may have of its messages. */
  readonly onEnding: (session: Session) => void
  /** The session goes on at another node: its subscriptions here go. */
  readonly onMoved: (session: Session) => void
}

export interface OpenedSession {
  readonly session: Session
  readonly sessionPresent: boolean
  /** What is kept on disk of this client is not as it should be yet: its CONNACK waits for that (see `whenKept`). */
  readonly isKeptLater: boolean
}

/** The half of `KeptSessions` that sessions are opened with. */
export interface SessionKeeper {
  begin(entry: SessionEntry): void
  whenKept(clientId: string, done: (isKept: boolean) => void): void
}

/**
 * How long a CONNECT waits at most for the directory and for its session, in milliseconds, however many nodes may have it
 * and however many others of its client ID have joined it: a client is promised 5 s.
 */
const CONNECT_TIME_MS = 4_500

/** What a claim takes at most; one that would have to be made again later is not. */
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

export class SessionOpener implements SessionLifecycle, MovableSessions {
  readonly registry = new SessionRegistry()
  private directory: Directory = LONE_DIRECTORY
  private takeovers: Takeovers = NO_TAKEOVERS
  /** By client ID; one each, the last to come. */
  private readonly expectants = new Map<string, Expectant>()
  /** Sessions that are claimed without their clients, and not decided on yet. */
  private adoptions = 0
  private readonly sessionOptions: SessionOptions
  private keeper: SessionKeeper | undefined

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
  claimThrough(directory: Directory, takeovers: Takeovers): void {
    this.directory = directory
    this.takeovers = takeovers
  }

  /** From now on sessions that outlive their connection are kept on disk. */
  keepIn(keeper: SessionKeeper): void {
    this.keeper = keeper
  }

  /** Calls `done` when what is known of this client by now is kept, or cannot be; at once where nothing is. */
  whenKept(clientId: string, done: (isKept: boolean) => void): void {
    if (this.keeper === undefined) done(true)
    else this.keeper.whenKept(clientId, done)
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
    this.directory.claim(clientId, packet.cleanStart, (epoch, holder) => {
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
    })
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
    this.directory.claim(clientId, false, done, from)
    return true
  }

  /** The client ID has connected to another node. */
  evict(clientId: string, discard: boolean): boolean {
    const expectant = this.expectants.get(clientId)
    expectant?.connect?.connection.close('taken_over', ReasonCode.SessionTakenOver)
    if (expectant !== undefined && !discard) return true
    this.expectants.delete(clientId)
    if (expectant !== undefined) this.takeovers.discard(clientId)
    this.takeOver(clientId)
    const entry = this.registry.get(clientId)
    if (entry !== undefined && discard) this.endSession(entry, 'discarded') // [MQTT-3.1.2-4]
    return entry !== undefined && !discard
  }

  isLeaving(clientId: string): boolean {
    const entry = this.registry.get(clientId)
    return entry?.isMoving === true && !entry.session.isArriving
  }

  private proceed(expectant: Expectant): void {
    const { clientId, connect, epoch, done } = expectant
    if (connect?.connection.state !== 'opening') return this.forgo(clientId, epoch)
    const entry = this.registry.get(clientId)
    let isInTime = (): boolean => true
    const whenHere = (): void => {
      if (isInTime()) this.proceed(expectant)
    }
    if (entry?.isMoving === true && this.takeovers.whenInherited(clientId, whenHere)) {
      isInTime = watchTime(expectant.until, () => this.turnAway(expectant))
      return
    }
    if (entry === undefined && this.takeovers.mayBeLost && !connect.packet.cleanStart) this.seek(expectant)
    else done(this.enter(connect.connection, connect.packet, epoch))
  }

  /** Its session may be on its way from a node that is down: a new one would be the end of that. */
  private seek(expectant: Expectant): void {
    const { clientId } = expectant
    this.expectants.set(clientId, expectant)
    const isInTime = watchTime(expectant.until, () => {
      const last = this.takeExpectant(clientId)
      if (last !== undefined) this.turnAway(last)
    })
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
    if (this.registry.size >= this.options.maximumSessions && this.registry.get(clientId) === undefined) {
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
    if (this.isLeaving(clientId)) this.takeovers.reclaim(clientId)
    const expiryInterval = sessionExpiryOf(packet, this.options)
    let entry = this.registry.get(clientId)
    const owner = provenUsername(connection)
    const wasKept = entry?.kept !== undefined
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
      entry = this.newEntry(clientId, expiryInterval)
      if (expiryInterval > 0) this.keeper?.begin(entry)
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

  private newEntry(clientId: string, expiryInterval: number): SessionEntry {
    const session = new Session(clientId, expiryInterval, this.sessionOptions, this.modules)
    const entry = new SessionEntry(session, this.modules.timers, this)
    this.registry.add(entry)
    return entry
  }

  /** The claim of a connection that is closed already: it stands for the session that is here, if there is one. */
  private forgo(clientId: string, epoch: number): void {
    const entry = this.registry.get(clientId)
    if (entry === undefined) return this.directory.release(clientId, epoch)
    entry.epoch = epoch
    this.directory.settle(clientId, epoch)
  }

  /** The client is in: other nodes are to know its will. */
  opened(connection: Connection): void {
    const { clientId, will } = connection
    const entry = this.registry.get(clientId)
    if (entry?.connection !== connection) return
    const armed = will && { will, clientId, connection }
    if (armed === undefined || !this.modules.mayPublishWill(armed)) return this.directory.dropWill(clientId)
    const delay = Math.min(armed.will.delayInterval, entry.session.expiryInterval) * 1000
    this.directory.keepWill(clientId, entry.epoch, { will: armed.will, delay, isLost: false })
  }

  /** A will waits for its delay from now on. */
  keepWaiting(entry: SessionEntry): void {
    const { will, willAt } = entry
    if (will === undefined || !this.modules.mayPublishWill(will)) return this.directory.dropWill(entry.session.clientId)
    const kept = { will: will.will, delay: Math.max(0, willAt - performance.now()), isLost: true }
    this.directory.keepWill(entry.session.clientId, entry.epoch, kept)
  }

  publishWillOf(clientId: string, will: Will): void {
    this.modules.publishWill({ will, clientId, connection: undefined })
  }

  voidWill(clientId: string): void {
    const entry = this.registry.get(clientId)
    entry?.takeWill()
    if (entry?.connection !== undefined) entry.connection.will = undefined
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
    const armed = will === undefined ? undefined : { will, clientId: connection.clientId, connection }
    if (isWillDue && armed !== undefined) this.modules.publishWill(armed)
    if (expiryInterval === 0) this.endSession(entry, 'discarded')
    else {
      entry.wait(isWillDue ? undefined : armed)
      this.keepWaiting(entry)
    }
  }

  publishWill(armed: ArmedWill): void {
    this.directory.dropWill(armed.clientId)
    this.modules.publishWill(armed)
  }

  endSession(entry: SessionEntry, cause: 'expired' | 'discarded'): void {
    const { session } = entry
    this.registry.delete(session.clientId)
    const armed = entry.takeWill()
    entry.resume()
    if (armed !== undefined) this.modules.publishWill(armed)
    this.directory.dropWill(session.clientId)
    this.modules.onEnding(session)
    session.end()
    // What still comes of it from another node is wanted no more.
    if (entry.isMoving) this.takeovers.discard(session.clientId)
    this.directory.release(session.clientId, entry.epoch)
    if (cause === 'expired') this.modules.brokerMetrics.sessionsExpired.value++
  }

  // ── sessions that move, as `MovingSessions` asks ─────────────────────────────────────────────────────────────

  find(clientId: string): SessionEntry | undefined {
    return this.registry.get(clientId)
  }

  mayPublishWill(armed: ArmedWill): boolean {
    return this.modules.mayPublishWill(armed)
  }

  all(): Iterable<SessionEntry> {
    return this.registry.values()
  }

  make(clientId: string, epoch: number, owner: string | undefined): SessionEntry {
    const before = this.registry.get(clientId)
    if (before !== undefined) {
      if (before.isMoving) this.takeovers.reclaim(clientId)
      this.forget(before)
    }
    const entry = this.newEntry(clientId, 0)
    entry.epoch = epoch
    entry.owner = owner
    if (this.keeper !== undefined) entry.session.awaitJournal()
    return entry
  }

  arrived(entry: SessionEntry, done: (isKept: boolean) => void): void {
    const { keeper } = this
    const { session } = entry
    if (keeper === undefined || session.isEnded) return done(true)
    if (entry.kept === undefined) keeper.begin(entry)
    keeper.whenKept(session.clientId, (isKept) => {
      session.letAwaitingGo()
      done(isKept)
    })
  }

  // ── sessions that come back from the disk, as `KeptSessions` asks ────────────────────────────────────────────

  restore(clientId: string, { epoch, owner, expiryInterval }: SessionRecord): SessionEntry {
    const entry = this.newEntry(clientId, expiryInterval)
    entry.epoch = epoch
    entry.owner = owner
    return entry
  }

  /** It waits on, or begins to: its client was connected when the node ended. */
  restored(entry: SessionEntry, { isWaiting, willAt, endsAt, will, owner }: SessionRecord): void {
    const { clientId } = entry.session
    const armed = will && { will, connection: undefined, clientId, owner, isFromDisk: true }
    if (isWaiting) entry.waitUntil({ willAt: fromWallClock(willAt), endsAt: fromWallClock(endsAt) }, armed)
    else entry.wait(armed)
    this.directory.restore(clientId, entry.epoch)
  }

  forget(entry: SessionEntry): void {
    const { session } = entry
    if (this.registry.get(session.clientId) !== entry) return
    this.registry.delete(session.clientId)
    entry.resume()
    this.directory.dropWill(session.clientId)
    this.modules.onMoved(session)
    session.endMoved()
  }

  /** Another node has taken this one for dead: the sessions that are kept are its, and so are their wills. */
  endAdopted(): void {
    for (const entry of [...this.registry.values()]) {
      if (!entry.session.isKept) continue
      const { connection } = entry
      entry.connection = undefined
      if (entry.isMoving) this.takeovers.discard(entry.session.clientId)
      this.moved(entry)
      if (connection === undefined) continue
      connection.will = undefined
      connection.close('session_adopted', ReasonCode.UseAnotherServer, 'another node has the session now')
    }
  }

  moved(entry: SessionEntry): void {
    this.forget(entry)
    this.directory.release(entry.session.clientId, entry.epoch)
  }

  discard(entry: SessionEntry): void {
    this.endSession(entry, 'discarded')
  }

  keep(entry: SessionEntry): void {
    this.directory.keep(entry.session.clientId)
  }

  /** Sessions and wills wait no longer: the broker is closed. */
  stop(): void {
    for (const entry of this.registry.values()) entry.pause()
  }

  /** [MQTT-3.1.4-3]: the connection that the client ID has already is closed. */
  private takeOver(clientId: string): void {
    const old = this.registry.get(clientId)?.connection
    if (old === undefined) return
    this.modules.brokerMetrics.takeovers.value++
    old.close('taken_over', ReasonCode.SessionTakenOver, 'the client ID has connected again')
  }
}

/** Calls `late` when the time is over, unless what it returns is called before, and says so: true when in time. */
function watchTime(until: number, late: () => void): () => boolean {
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    late()
  }, until - performance.now())
  timer.unref()
  return () => {
    clearTimeout(timer)
    return !isLate
  }
}

/** A time of `performance.now()`; Infinity for never. */
function fromWallClock(time: number | undefined): number {
  return time === undefined ? Number.POSITIVE_INFINITY : performance.now() + time - Date.now()
}
