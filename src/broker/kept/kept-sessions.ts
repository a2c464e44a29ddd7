/**
 * Sessions on disk: of each that outlives its connection a record and its progress, and the messages of all. A commit
 * reads them as they are at one moment, so a node that comes back has its sessions as they were at its last commit; and
 * nothing that a client or a publisher has been told is later than that (see `mqtt/session/commit-gate`).
 */

import type { InFlight, RestoredInFlight } from '../../mqtt/session/in-flight-window.js'
import type { ReceivedQos2, Share } from '../../mqtt/session/session.js'
import type { SubscriptionOptions, Will } from '../../mqtt/wire/packets.js'
import type { Logger } from '../../telemetry/logger.js'
import type { Counter } from '../../telemetry/registry.js'
import type { RingBuffer } from '../../util/ring-buffer.js'
import type { TurnQueue, TurnTask } from '../../util/turn.js'
import type { SessionEntry } from '../session-registry.js'
import type { Keeping, LocalStore, StoreTable } from '../store-port.js'
import { KeptMessages, type MessageReceivers } from './kept-messages.js'
import { KeptSession } from './kept-session.js'
import {
  decodeProgress,
  decodeRecord,
  encodeProgress,
  encodeRecord,
  type KeptInFlight,
  type SessionProgress,
  type SessionRecord,
} from './session-record.js'
import { type Extras, FLAG_BITS, hasExtras, qosOf, retainOf } from './stored-message.js'

/** What the sessions of a disk become; see `LocalSessions`. */
export interface SessionRestorer {
  /** A session as it was, without its messages. */
  restore(clientId: string, record: SessionRecord): SessionEntry
  subscribe(entry: SessionEntry, filter: string, options: SubscriptionOptions): void
  resumeRetained(entry: SessionEntry, filter: string): void
  /** It is whole again. */
  restored(entry: SessionEntry, record: SessionRecord): void
  /** It has ended while the node was down. */
  expired(clientId: string, will: Will | undefined, owner: string | undefined): void
}

export interface KeptSessionsModules {
  readonly sessions: SessionRestorer
  readonly groupOf: (key: string) => Share | undefined
  readonly turn: TurnQueue
  /** Messages of sessions that have ended while the node was down. */
  readonly ended: Counter
  /** Messages that were to be read and are not there. */
  readonly missing: Counter
  readonly log: Logger
}

/** What was read of a session, until all of it is. */
interface Restoring {
  readonly kept: KeptSession
  readonly record: SessionRecord
  progress: SessionProgress | undefined
  /** By place; undefined where it has not been found. */
  readonly inFlight: Map<number, FoundInFlight | undefined>
}

/** Of a message in flight that is on the disk. */
interface FoundInFlight {
  readonly size: number
  readonly extras: Extras | undefined
}

/** A QoS 2 message that the client had published before the node ended: it is kept, so PUBREC may be sent again. */
const KEPT_QOS2: ReceivedQos2 = { isSettled: true, isRefused: false, addFollower() {} }

export class KeptSessions implements MessageReceivers {
  private readonly byClient = new Map<string, KeptSession>()
  private readonly messages = new KeptMessages(this)
  private readonly records: StoreTable
  private readonly progress: StoreTable
  private readonly releasing: ReleaseEnded
  private lastNumber = 0
  /** By number of the session, while the store is loaded. */
  private restoring = new Map<number, Restoring>()

  constructor(
    private readonly store: LocalStore,
    private readonly modules: KeptSessionsModules,
  ) {
    this.records = store.table('sessions', {
      read: (clientId) => {
        const kept = this.byClient.get(clientId)
        return kept && encodeRecord(kept.record())
      },
      restore: (clientId, value) => this.restoreRecord(clientId, decodeRecord(value)),
      keys: () => this.byClient.keys(),
      has: (clientId) => this.byClient.has(clientId),
    })
    this.progress = store.table('session-progress', {
      tellsOfShelves: true,
      read: (clientId) => {
        const kept = this.byClient.get(clientId)
        return kept && encodeProgress(kept.progress())
      },
      restore: (clientId, value) => this.restoreProgress(clientId, decodeProgress(value)),
      kept: (clientId) => this.byClient.get(clientId)?.entry.session.committed(),
      keys: () => this.byClient.keys(),
      has: (clientId) => this.byClient.has(clientId),
    })
    this.messages.keepOn(store.shelf('session-messages', this.messages))
    this.releasing = new ReleaseEnded(this.messages, modules.turn)
  }

  get isFailing(): boolean {
    return this.store.isFailing
  }

  /** From now on this session is kept, with all that it has. */
  begin(entry: SessionEntry): void {
    this.lastNumber += 1
    const kept = this.newSession(this.lastNumber, entry)
    entry.kept = kept
    entry.session.keepIn(kept)
  }

  /** Calls `done` when what is known of this client by now is kept, or cannot be. */
  whenKept(clientId: string, done: (isKept: boolean) => void): void {
    let isKept = true
    const waiting: Keeping = {
      hold() {},
      refuse() {
        isKept = false
      },
      release: () => done(isKept),
    }
    this.records.changed(clientId, waiting)
  }

  /** The store is loaded: the sessions are whole. */
  finishRestore(): void {
    const { log, sessions } = this.modules
    const { restoring } = this
    this.restoring = new Map()
    let messages = 0
    for (const { kept, record, progress, inFlight } of restoring.values()) {
      const { session } = kept.entry
      if (progress !== undefined) {
        const packets = progress.inFlight.flatMap((packet) => this.inFlightOf(packet, inFlight.get(packet.place)))
        session.restoreInFlight(packets, progress.lastPacketId)
        for (const packetId of progress.received) session.inboundQos2.add(packetId, KEPT_QOS2)
        for (const filter of progress.retainedFeeds) sessions.resumeRetained(kept.entry, filter)
        this.messages.reserve(progress.head)
      }
      messages += session.queueLength + session.inFlightCount
      sessions.restored(kept.entry, record)
    }
    if (restoring.size > 0) log.info({ sessions: restoring.size, messages }, 'sessions are back from the store')
  }

  restoreMessage(number: number, place: number, size: number, extras: Extras | undefined): boolean {
    this.lastNumber = Math.max(this.lastNumber, number)
    const restoring = this.restoring.get(number)
    if (restoring === undefined) {
      this.modules.ended.value++
      return false
    }
    const { kept, progress, inFlight } = restoring
    if (inFlight.has(place)) {
      inFlight.set(place, { size, extras })
      return true
    }
    if (progress !== undefined && place < progress.head) return false
    return kept.entry.session.restoreQueued(place, size, hasExtras(place % FLAG_BITS))
  }

  private newSession(number: number, entry: SessionEntry): KeptSession {
    const { modules, messages, records, progress } = this
    const kept = new KeptSession(number, entry, {
      records,
      progress,
      messages,
      groupOf: modules.groupOf,
      onEnd: (ended, inFlight, queue) => this.end(ended, inFlight, queue),
      onMissing: ({ clientId }, place) => this.reportMissing(clientId, place),
    })
    this.byClient.set(entry.session.clientId, kept)
    return kept
  }

  private end(kept: KeptSession, inFlight: Iterable<InFlight>, queue: RingBuffer<number> | undefined): void {
    const { clientId, number } = kept
    if (this.byClient.get(clientId) === kept) this.byClient.delete(clientId)
    this.records.changed(clientId, undefined)
    this.progress.changed(clientId, undefined)
    // The disk knows by the end of the session.
    for (const { place } of inFlight) if (place !== 0) this.messages.release(place, number)
    if (queue !== undefined) this.releasing.add(number, queue)
  }

  private restoreRecord(clientId: string, record: SessionRecord): void {
    const { sessions } = this.modules
    this.lastNumber = Math.max(this.lastNumber, record.number)
    const isOver = record.isWaiting && record.endsAt !== undefined && record.endsAt <= Date.now()
    // One that was to end with its connection has.
    if (isOver || record.expiryInterval === 0) {
      this.records.changed(clientId, undefined)
      this.progress.changed(clientId, undefined)
      return sessions.expired(clientId, record.will, record.owner)
    }
    const entry = sessions.restore(clientId, record)
    const kept = this.newSession(record.number, entry)
    for (const [filter, options] of record.subscriptions) sessions.subscribe(entry, filter, options)
    entry.session.restoreFrom(kept)
    entry.kept = kept
    this.restoring.set(record.number, { kept, record, progress: undefined, inFlight: new Map() })
  }

  private restoreProgress(clientId: string, progress: SessionProgress): void {
    const kept = this.byClient.get(clientId)
    const restoring = kept && this.restoring.get(kept.number)
    if (restoring === undefined) return
    restoring.progress = progress
    for (const { place } of progress.inFlight) if (place !== 0) restoring.inFlight.set(place, undefined)
  }

  /** None when its message is not there. */
  private inFlightOf(packet: KeptInFlight, found: FoundInFlight | undefined): RestoredInFlight[] {
    const { packetId, place, releaseOrder, isFresh } = packet
    const flags = place % FLAG_BITS
    if (place !== 0 && found === undefined) {
      if (!isFresh) this.modules.missing.value++
      return []
    }
    const share = found?.extras?.share
    return [
      {
        packetId,
        place,
        releaseOrder,
        // Only of QoS 2 is the message forgotten before the packet id is.
        qos: place === 0 ? 2 : qosOf(flags),
        retain: retainOf(flags),
        subscriptionIds: found?.extras?.subscriptionIds,
        share: share === undefined ? undefined : this.modules.groupOf(share),
        // It is read when it is sent again.
        message: undefined,
        bytes: found?.size ?? 0,
      },
    ]
  }

  private reportMissing(clientId: string, place: number): void {
    this.modules.missing.value++
    this.modules.log.error({ clientId, place }, 'a message of a session is not in the store')
  }
}

/** Places of one turn. */
const RELEASED_PER_TURN = 5_000

/** The queues of sessions that have ended: long ones go some messages per turn. What is left at a restart is found then. */
class ReleaseEnded implements TurnTask {
  isQueued = false
  private readonly queues: { readonly number: number; readonly places: RingBuffer<number> }[] = []

  constructor(
    private readonly messages: KeptMessages,
    private readonly turn: TurnQueue,
  ) {}

  add(number: number, places: RingBuffer<number>): void {
    this.queues.push({ number, places })
    this.runTurn()
  }

  runTurn(): void {
    let left = RELEASED_PER_TURN
    for (let [first] = this.queues; first !== undefined; [first] = this.queues) {
      const { number, places } = first
      for (let place = places.shift(); place !== undefined; place = places.shift()) {
        this.messages.release(place, number)
        left -= 1
        if (left === 0) return this.turn.add(this)
      }
      this.queues.shift()
    }
  }
}
