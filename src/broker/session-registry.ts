/**
 * Client ID to session, on this node. An entry stands for one session: its live connection if there is one, the will
 * that waits for its delay, and the moment at which the session ends if its client does not come back.
 */

import type { Connection } from '../mqtt/connection.js'
import { NEVER_EXPIRES, type Session } from '../mqtt/session/session.js'
import type { Will } from '../mqtt/wire/packets.js'
import { TimerEntry, type TimerWheel } from '../util/timer-wheel.js'

/** What happens to entries in time; the broker says what it means. */
export interface SessionLifecycle {
  /** The will of a client that stayed away for the will delay. [MQTT-3.1.3-9] */
  publishWill(armed: ArmedWill): void
  /** The session is over, its will included. */
  endSession(entry: SessionEntry, cause: 'expired' | 'discarded'): void
}

/** A will that waits, and in whose name it is published. */
export interface ArmedWill {
  readonly will: Will
  readonly clientId: string
  /** Undefined of a will that has come from another node, which has seen to the client's rights, or from the disk. */
  readonly connection: Connection | undefined
  /** It is published when the mesh is whole, if its client may still publish it. */
  readonly isFromDisk?: boolean
  /** Of one from the disk. */
  readonly owner?: string | undefined
}

/** Times of `performance.now()`; Infinity: never. */
export interface Deadlines {
  readonly willAt: number
  readonly endsAt: number
}

/** Of a session that is kept on disk; see `kept/kept-session`. */
export interface KeptEntry {
  /** Something of its record is not what it was. */
  recordChanged(): void
}

export class SessionEntry extends TimerEntry {
  connection: Connection | undefined
  /** Of the last connection; of all in the cluster with this client ID the highest stays. */
  epoch = 0
  /** The user whose session it is; undefined for an anonymous client. */
  owner: string | undefined
  /** Of the client that is connected. */
  connectedWill: Will | undefined
  /** Set for a session that is kept on disk. */
  kept: KeptEntry | undefined
  /** On its way to another node, or from one. */
  isMoving = false
  /** Its client is away, and its time runs. */
  isWaiting = false
  private armed: ArmedWill | undefined
  /** Times of `performance.now()`; Infinity: never. */
  willAt = Number.POSITIVE_INFINITY
  private endsAt = Number.POSITIVE_INFINITY

  constructor(
    readonly session: Session,
    private readonly timers: TimerWheel,
    private readonly lifecycle: SessionLifecycle,
  ) {
    super()
  }

  /** The connection is gone; the session waits, and its will with it when it has a delay. */
  wait(armed: ArmedWill | undefined): void {
    const now = performance.now()
    this.isWaiting = true
    const { expiryInterval } = this.session
    this.endsAt = expiryInterval === NEVER_EXPIRES ? Number.POSITIVE_INFINITY : now + expiryInterval * 1000
    this.armed = armed
    this.willAt = armed === undefined ? Number.POSITIVE_INFINITY : now + armed.will.delayInterval * 1000
    this.arm()
    this.kept?.recordChanged()
  }

  /** The will that waits for its delay, until `willAt`. */
  get will(): ArmedWill | undefined {
    return this.armed
  }

  /** Until when it waits; see `waitUntil`. */
  get deadlines(): Deadlines {
    return { willAt: this.willAt, endsAt: this.endsAt }
  }

  /** Goes on waiting: after a `resume` that came to nothing, or on another node than before. */
  waitUntil({ willAt, endsAt }: Deadlines, armed: ArmedWill | undefined): void {
    this.isWaiting = true
    this.armed = armed
    this.willAt = willAt
    this.endsAt = endsAt
    this.arm()
    this.kept?.recordChanged()
  }

  /** Nothing happens in time any more: the node stops, and the session with it. */
  pause(): void {
    this.timers.cancel(this)
  }

  /** The client is back in time: neither will nor end. */
  resume(): void {
    this.isWaiting = false
    this.armed = undefined
    this.willAt = Number.POSITIVE_INFINITY
    this.endsAt = Number.POSITIVE_INFINITY
    this.timers.cancel(this)
    this.kept?.recordChanged()
  }

  /** The will, if it still waits; it is the caller's to publish, since the session ends now. [MQTT-3.1.3-9] */
  takeWill(): ArmedWill | undefined {
    const { armed } = this
    this.armed = undefined
    this.kept?.recordChanged()
    return armed
  }

  override onTimeout(): void {
    const now = performance.now()
    if (now >= this.willAt) {
      this.willAt = Number.POSITIVE_INFINITY
      const armed = this.takeWill()
      if (armed !== undefined) this.lifecycle.publishWill(armed)
    }
    if (now >= this.endsAt) this.lifecycle.endSession(this, 'expired')
    else this.arm()
  }

  private arm(): void {
    const next = Math.min(this.willAt, this.endsAt)
    if (next !== Number.POSITIVE_INFINITY) this.timers.schedule(this, Math.max(0, next - performance.now()))
  }
}

export class SessionRegistry {
  private readonly entries = new Map<string, SessionEntry>()

  get size(): number {
    return this.entries.size
  }

  get(clientId: string): SessionEntry | undefined {
    return this.entries.get(clientId)
  }

  add(entry: SessionEntry): void {
    this.entries.set(entry.session.clientId, entry)
  }

  delete(clientId: string): void {
    this.entries.delete(clientId)
  }

  values(): IterableIterator<SessionEntry> {
    return this.entries.values()
  }
}
