/**
 * The sessions of this node, by client ID: one begins when its client comes or another node brings it, waits while its
 * client is away, and ends or goes on at another node. Whose session a client gets is found out by `SessionOpener`.
 */

import type { MqttOptions } from '../config/options.js'
import type { Connection } from '../mqtt/connection.js'
import { Session, type SessionModules, type SessionOptions } from '../mqtt/session/session.js'
import type { Will } from '../mqtt/wire/packets.js'
import { ReasonCode } from '../mqtt/wire/reason-codes.js'
import type { Counter } from '../telemetry/registry.js'
import type { ClientWills } from './client-wills.js'
import type { SessionRecord } from './kept/session-record.js'
import { NO_TAKEOVERS, type Takeovers } from './move-ports.js'
import { type Directory, LONE_DIRECTORY } from './ports.js'
import type { MovableSessions } from './session-moves.js'
import { type ArmedWill, SessionEntry, type SessionLifecycle, type SessionRegistry } from './session-registry.js'

export interface LocalSessionsModules extends SessionModules {
  readonly registry: SessionRegistry
  readonly wills: ClientWills
  readonly expired: Counter
  /**
   * The session is about to end: its subscriptions go, and what others may have of its messages.
   * @param isOutdated its client has it at another node
   */
  readonly onEnding: (session: Session, isOutdated: boolean) => void
  /** The session goes on at another node: its subscriptions here go. */
  readonly onMoved: (session: Session) => void
}

/** The half of `KeptSessions` that sessions are opened with. */
export interface SessionKeeper {
  begin(entry: SessionEntry): void
  whenKept(clientId: string, done: (isKept: boolean) => void): void
}

export class LocalSessions implements SessionLifecycle, MovableSessions {
  readonly registry: SessionRegistry
  private readonly maximum: number
  private readonly sessionOptions: SessionOptions
  private directory: Directory = LONE_DIRECTORY
  private takeovers: Takeovers = NO_TAKEOVERS
  private keeper: SessionKeeper | undefined

  constructor(
    options: MqttOptions,
    private readonly modules: LocalSessionsModules,
  ) {
    this.registry = modules.registry
    this.maximum = options.maximumSessions
    this.sessionOptions = {
      queue: { length: options.queueLength, bytes: options.queueBytes },
      inFlightBytes: options.inflightBytes,
      queueHoldTime: options.queueHoldTime,
    }
  }

  /** From now on other nodes are told which sessions are here, and whose wills. */
  tellThrough(directory: Directory, takeovers: Takeovers): void {
    this.directory = directory
    this.takeovers = takeovers
    this.modules.wills.tellThrough(directory)
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

  /** There is no room for a further one. */
  get isFull(): boolean {
    return this.registry.size >= this.maximum
  }

  /** The session is on its way to another node. */
  isLeaving(clientId: string): boolean {
    const entry = this.registry.get(clientId)
    return entry?.isMoving === true && !entry.session.isArriving
  }

  /** A new session for a client that is here. */
  begin(clientId: string, expiryInterval: number): SessionEntry {
    const entry = this.newEntry(clientId, expiryInterval)
    if (expiryInterval > 0) this.keeper?.begin(entry)
    return entry
  }

  private newEntry(clientId: string, expiryInterval: number): SessionEntry {
    const session = new Session(clientId, expiryInterval, this.sessionOptions, this.modules)
    const entry = new SessionEntry(session, this.modules.timers, this)
    this.registry.add(entry)
    return entry
  }

  /** The client is in: other nodes are to know its will. */
  opened(connection: Connection): void {
    const entry = this.registry.get(connection.clientId)
    if (entry?.connection === connection) this.modules.wills.announce(entry, connection)
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
    if (isWillDue && armed !== undefined) this.modules.wills.publish(armed)
    if (expiryInterval === 0) this.endSession(entry, 'discarded')
    else {
      entry.wait(isWillDue ? undefined : armed)
      this.modules.wills.keepWaiting(entry)
    }
  }

  endSession(entry: SessionEntry, cause: 'expired' | 'discarded' | 'outdated'): void {
    const { session } = entry
    this.registry.delete(session.clientId)
    const armed = entry.takeWill()
    entry.resume()
    if (armed !== undefined) this.modules.wills.publish(armed)
    this.modules.wills.drop(session.clientId)
    this.modules.onEnding(session, cause === 'outdated')
    session.end()
    // What still comes of it from another node is wanted no more.
    if (entry.isMoving) this.takeovers.discard(session.clientId)
    this.directory.release(session.clientId, entry.epoch)
    if (cause === 'expired') this.modules.expired.value++
  }

  // ── wills ────────────────────────────────────────────────────────────────────────────────────────────────────

  publishWill(armed: ArmedWill): void {
    this.modules.wills.publishWaiting(armed)
  }

  keepWaiting(entry: SessionEntry): void {
    this.modules.wills.keepWaiting(entry)
  }

  mayPublishWill(armed: ArmedWill): boolean {
    return this.modules.wills.mayPublish(armed)
  }

  publishWillOf(clientId: string, will: Will): void {
    this.modules.wills.publishFor(clientId, will)
  }

  voidWill(clientId: string): void {
    const entry = this.registry.get(clientId)
    entry?.takeWill()
    if (entry?.connection !== undefined) entry.connection.will = undefined
  }

  // ── sessions that move, as `MovingSessions` asks ─────────────────────────────────────────────────────────────

  find(clientId: string): SessionEntry | undefined {
    return this.registry.get(clientId)
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

  forget(entry: SessionEntry): void {
    const { session } = entry
    if (this.registry.get(session.clientId) !== entry) return
    this.registry.delete(session.clientId)
    entry.resume()
    this.modules.wills.drop(session.clientId)
    this.modules.onMoved(session)
    session.endMoved()
  }

  moved(entry: SessionEntry): void {
    this.forget(entry)
    this.directory.release(entry.session.clientId, entry.epoch)
  }

  discard(entry: SessionEntry, isOutdated = false): void {
    this.endSession(entry, isOutdated ? 'outdated' : 'discarded')
  }

  keep(entry: SessionEntry): void {
    this.directory.keep(entry.session.clientId)
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

  /** Sessions and wills wait no longer: the broker is closed. */
  stop(): void {
    for (const entry of this.registry.values()) entry.pause()
  }
}

/** A time of `performance.now()`; Infinity for never. */
function fromWallClock(time: number | undefined): number {
  return time === undefined ? Number.POSITIVE_INFINITY : performance.now() + time - Date.now()
}
