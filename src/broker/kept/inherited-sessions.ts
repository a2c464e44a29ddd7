/**
 * Sessions of a node that is down, read from what it has kept: each as a session that moves, with the messages that it has
 * yet to get. A message for many of them is in memory once.
 */

import type { Message } from '../../mqtt/wire/message.js'
import type { Will } from '../../mqtt/wire/packets.js'
import type { Logger } from '../../telemetry/logger.js'
import { asError } from '../../util/errors.js'
import type { Estate } from '../estate-port.js'
import type { InheritedSession, MovedInFlight, MovedMessage, MovedState, MovedWaits } from '../move-ports.js'
import { decodeProgress, decodeRecord, type SessionProgress, type SessionRecord } from './session-record.js'
import {
  decodeExtras,
  decodeStoredMessage,
  FLAG_BITS,
  forEachReceiver,
  hasExtras,
  qosOf,
  retainOf,
} from './stored-message.js'

/** The Session Expiry Interval that means "never". [MQTT 5.0 section 3.1.2.11.2] */
const NEVER_EXPIRES = 0xffff_ffff

/** Entries between two turns of other work. */
const SLICE = 2_000

interface PlacedMessage extends MovedMessage {
  readonly place: number
}

/** What is found of one session. */
interface Found {
  readonly clientId: string
  readonly record: SessionRecord
  readonly progress: SessionProgress | undefined
  readonly inFlight: Map<number, PlacedMessage | undefined>
  readonly queue: PlacedMessage[]
}

export interface EstateContents {
  readonly sessions: readonly InheritedSession[]
  /** Client IDs of sessions that have ended meanwhile. */
  readonly ended: readonly string[]
  /** How far they had come in what each node had sent, as the cluster has written it. */
  readonly positions: ReadonlyMap<string, Buffer>
  /** Messages with a delay, as `DelayedMessages` has written them. */
  readonly delayed: readonly Buffer[]
  /** Entries that cannot be read, and messages that are not there. */
  readonly missing: number
}

export interface EstateReaderModules {
  /** Whether a client that is away may publish its will. */
  readonly mayPublishAbsent: (clientId: string, owner: string | undefined, will: Will) => boolean
  readonly log: Logger
}

/** @throws Error when the store does not answer */
export async function readEstate(estate: Estate, modules: EstateReaderModules): Promise<EstateContents> {
  const reader = new EstateReader(estate.node, modules)
  const pause = new Pause()
  for await (const [clientId, value] of estate.table('session-progress')) {
    reader.addProgress(clientId, value)
    await pause.now()
  }
  for await (const [clientId, value] of estate.table('sessions')) {
    reader.addRecord(clientId, value)
    await pause.now()
  }
  for await (const [number, value] of estate.shelf('session-messages')) {
    reader.addMessage(number, value)
    await pause.now()
  }
  for await (const [sender, value] of estate.table('received-positions')) reader.addPosition(sender, value)
  for await (const [, value] of estate.table('delayed')) reader.addDelayed(value)
  return reader.contents()
}

class EstateReader {
  private readonly progress = new Map<string, SessionProgress>()
  private readonly byNumber = new Map<number, Found>()
  private readonly ended: string[] = []
  private readonly positions = new Map<string, Buffer>()
  private readonly delayed: Buffer[] = []
  private missing = 0

  constructor(
    private readonly node: string,
    private readonly modules: EstateReaderModules,
  ) {}

  addProgress(clientId: string, value: Buffer): void {
    this.guard(() => this.progress.set(clientId, decodeProgress(value)))
  }

  addRecord(clientId: string, value: Buffer): void {
    this.guard(() => {
      const record = decodeRecord(value)
      const isOver = record.isWaiting && record.endsAt !== undefined && record.endsAt <= Date.now()
      // One that was to end with its connection has.
      if (isOver || record.expiryInterval === 0) {
        this.ended.push(clientId)
        return
      }
      const progress = this.progress.get(clientId)
      const inFlight = new Map<number, PlacedMessage | undefined>()
      for (const { place } of progress?.inFlight ?? []) if (place !== 0) inFlight.set(place, undefined)
      this.byNumber.set(record.number, { clientId, record, progress, inFlight, queue: [] })
    })
  }

  addMessage(number: number, value: Buffer): void {
    this.guard(() => {
      let message: Message | undefined
      forEachReceiver(value, (session, flags) => {
        const found = this.byNumber.get(session)
        if (found === undefined) return
        const place = number * FLAG_BITS + flags
        const isInFlight = found.inFlight.has(place)
        if (!isInFlight && found.progress !== undefined && place < found.progress.head) return
        message ??= decodeStoredMessage(Buffer.from(value))
        const extra = hasExtras(flags) ? decodeExtras(value)?.get(session) : undefined
        const item = {
          ...{ place, message, qos: qosOf(flags), retain: retainOf(flags) },
          ...{ subscriptionIds: extra?.subscriptionIds, share: extra?.share },
        }
        if (isInFlight) found.inFlight.set(place, item)
        else found.queue.push(item)
      })
    })
  }

  addPosition(sender: string, value: Buffer): void {
    this.positions.set(sender, Buffer.from(value))
  }

  addDelayed(value: Buffer): void {
    this.delayed.push(Buffer.from(value))
  }

  contents(): EstateContents {
    const sessions = Array.from(this.byNumber.values(), (found) => this.sessionOf(found))
    return { sessions, ended: this.ended, positions: this.positions, delayed: this.delayed, missing: this.missing }
  }

  private sessionOf({ clientId, record, progress, inFlight, queue }: Found): InheritedSession {
    const packets: MovedInFlight[] = []
    for (const { packetId, place, releaseOrder } of progress?.inFlight ?? []) {
      const item = inFlight.get(place)
      // PUBREL is out: the message is forgotten before the packet id is.
      const released = {
        qos: 2 as const,
        retain: false,
        subscriptionIds: undefined,
        share: undefined,
        message: undefined,
      }
      if (place !== 0 && item === undefined) this.missing += 1
      else packets.push({ packetId, releaseOrder, ...(item ?? released) })
    }
    return {
      clientId,
      owner: record.owner,
      epoch: record.epoch,
      subscriptions: record.subscriptions.map(([filter, options]) => ({ filter, options })),
      inFlight: packets,
      queue: queue.sort((a, b) => a.place - b.place),
      state: () => stateOf(record, progress, this.willOf(clientId, record)),
    }
  }

  private willOf(clientId: string, { will, owner }: SessionRecord): Will | undefined {
    return will !== undefined && this.modules.mayPublishAbsent(clientId, owner, will) ? will : undefined
  }

  /** What cannot be read costs nobody else. */
  private guard(read: () => void): void {
    try {
      read()
    } catch (error) {
      this.missing += 1
      this.modules.log.error(
        { peer: this.node, err: asError(error) },
        'what a node that is down has kept is not readable',
      )
    }
  }
}

/** As it is now: its time runs. */
function stateOf(record: SessionRecord, progress: SessionProgress | undefined, will: Will | undefined): MovedState {
  return {
    expiryInterval: record.expiryInterval,
    lastPacketId: progress?.lastPacketId ?? 0,
    received: progress?.received ?? [],
    // Their messages were kept before their ids were.
    unsettled: [],
    refused: [],
    retainedFeeds: progress?.retainedFeeds ?? [],
    waits: waitsOf(record, will),
  }
}

/** A will without a delay, or whose time is over, is published by those who keep it for the node. [docs/decisions/017] */
function waitsOf({ isWaiting, endsAt, willAt, expiryInterval }: SessionRecord, will: Will | undefined): MovedWaits {
  const now = Date.now()
  const lifetime = expiryInterval === NEVER_EXPIRES ? Number.POSITIVE_INFINITY : expiryInterval * 1000
  const endsIn = isWaiting ? (endsAt ?? Number.POSITIVE_INFINITY) - now : lifetime
  const dueIn = isWaiting ? (willAt ?? Number.NEGATIVE_INFINITY) - now : Math.min(delayOf(will), lifetime)
  return { endsIn: Math.max(0, endsIn), will: will !== undefined && dueIn > 0 ? { will, dueIn } : undefined }
}

function delayOf(will: Will | undefined): number {
  return will === undefined ? 0 : will.delayInterval * 1000
}

/** Lets other work have its turn now and then. */
class Pause {
  private steps = 0

  async now(): Promise<void> {
    this.steps += 1
    if (this.steps % SLICE === 0) await new Promise(setImmediate)
  }
}
