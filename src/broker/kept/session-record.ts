/**
 * A session on the disk, as part of the store's schema version: what it is (`SessionRecord`, written when it changes) and
 * how far it has come (`SessionProgress`, written with most commits of a session whose client is there).
 */

import type { SubscriptionOptions, Will } from '../../mqtt/wire/packets.js'
import { NodeError } from '../../util/errors.js'

export interface SessionRecord {
  /** Of this session and no other that was ever kept here. */
  readonly number: number
  readonly epoch: number
  readonly owner: string | undefined
  /** Seconds. */
  readonly expiryInterval: number
  /** Its client is away. */
  readonly isWaiting: boolean
  /** Milliseconds since the epoch, of a session that waits; undefined: never. */
  readonly endsAt: number | undefined
  readonly willAt: number | undefined
  /** Of the client that is there, or that waits for its delay. */
  readonly will: Will | undefined
  readonly subscriptions: readonly (readonly [filter: string, options: SubscriptionOptions])[]
}

export interface KeptInFlight {
  readonly packetId: number
  /** 0 when PUBREL is out. */
  readonly place: number
  /** See `InFlight`. */
  readonly releaseOrder: number
  /** Its message may not have been kept yet, and nobody has been told that it is. */
  readonly isFresh: boolean
}

export interface SessionProgress {
  /** Messages from this place on are in the queue; those before it only if they are in flight. */
  readonly head: number
  readonly lastPacketId: number
  /** In order of sending. */
  readonly inFlight: readonly KeptInFlight[]
  /** QoS 2 ids that the client has not released. */
  readonly received: readonly number[]
  readonly retainedFeeds: readonly string[]
}

const VERSION = 1

export function encodeRecord(record: SessionRecord): Buffer {
  const { will, ...rest } = record
  const kept = will === undefined ? undefined : { ...will, payload: will.payload.toString('base64') }
  return Buffer.from(JSON.stringify({ version: VERSION, ...rest, will: kept }, encodeBytes))
}

/** @throws NodeError SESSION_RECORD_INVALID */
export function decodeRecord(bytes: Buffer): SessionRecord {
  try {
    const { version, will, ...rest } = JSON.parse(bytes.toString(), decodeBytes) as StoredRecord
    if (version !== VERSION || !Number.isSafeInteger(rest.number)) throw new TypeError('not a record of this version')
    const payload = will && Buffer.from(will.payload, 'base64')
    return {
      number: rest.number,
      epoch: rest.epoch,
      owner: rest.owner,
      expiryInterval: rest.expiryInterval,
      isWaiting: rest.isWaiting,
      endsAt: rest.endsAt,
      willAt: rest.willAt,
      will: will && payload && { ...will, payload },
      subscriptions: rest.subscriptions.map(([filter, options]) => [
        filter,
        { ...options, subscriptionId: options.subscriptionId },
      ]),
    }
  } catch (error) {
    throw unreadable(error)
  }
}

interface StoredRecord extends Omit<SessionRecord, 'will'> {
  readonly version: number
  readonly will: (Omit<Will, 'payload'> & { readonly payload: string }) | undefined
}

const BYTES_MARK = 'base64:'

/** Correlation data, among the properties of a will. */
function encodeBytes(this: unknown, key: string, value: unknown): unknown {
  const raw = (this as Record<string, unknown>)[key]
  return key === 'correlationData' && raw instanceof Uint8Array
    ? `${BYTES_MARK}${Buffer.from(raw).toString('base64')}`
    : value
}

function decodeBytes(key: string, value: unknown): unknown {
  return key === 'correlationData' && typeof value === 'string'
    ? Buffer.from(value.slice(BYTES_MARK.length), 'base64')
    : value
}

/** Head, last packet id, three counts. */
const HEAD_BYTES = 8 + 2 + 2 + 2 + 2
const IN_FLIGHT_BYTES = 2 + 8 + 4
/** In place of the order of a PUBREL, which such a packet does not have. */
const FRESH = 0xffff_ffff

export function encodeProgress({ head, lastPacketId, inFlight, received, retainedFeeds }: SessionProgress): Buffer {
  const feeds = retainedFeeds.length === 0 ? '' : JSON.stringify(retainedFeeds)
  const feedBytes = Buffer.byteLength(feeds)
  const size = HEAD_BYTES + IN_FLIGHT_BYTES * inFlight.length + 2 * received.length + feedBytes
  const bytes = Buffer.allocUnsafe(size)
  let at = bytes.writeDoubleBE(head, 0)
  at = bytes.writeUInt16BE(lastPacketId, at)
  at = bytes.writeUInt16BE(inFlight.length, at)
  at = bytes.writeUInt16BE(received.length, at)
  at = bytes.writeUInt16BE(VERSION, at)
  for (const { packetId, place, releaseOrder, isFresh } of inFlight) {
    at = bytes.writeUInt16BE(packetId, at)
    at = bytes.writeDoubleBE(place, at)
    at = bytes.writeUInt32BE(isFresh ? FRESH : releaseOrder, at)
  }
  for (const packetId of received) at = bytes.writeUInt16BE(packetId, at)
  bytes.write(feeds, at)
  return bytes
}

/** @throws NodeError SESSION_RECORD_INVALID */
export function decodeProgress(bytes: Buffer): SessionProgress {
  const counts = bytes.length < HEAD_BYTES ? undefined : [bytes.readUInt16BE(10), bytes.readUInt16BE(12)]
  const [inFlightCount = 0, receivedCount = 0] = counts ?? []
  const receivedAt = HEAD_BYTES + IN_FLIGHT_BYTES * inFlightCount
  const feedsAt = receivedAt + 2 * receivedCount
  if (counts === undefined || bytes.readUInt16BE(14) !== VERSION || feedsAt > bytes.length) {
    throw unreadable()
  }
  const inFlight = Array.from({ length: inFlightCount }, (_, index) => {
    const at = HEAD_BYTES + IN_FLIGHT_BYTES * index
    const order = bytes.readUInt32BE(at + 10)
    return {
      packetId: bytes.readUInt16BE(at),
      place: bytes.readDoubleBE(at + 2),
      releaseOrder: order === FRESH ? 0 : order,
      isFresh: order === FRESH,
    }
  })
  return {
    head: bytes.readDoubleBE(0),
    lastPacketId: bytes.readUInt16BE(8),
    inFlight,
    received: Array.from({ length: receivedCount }, (_, index) => bytes.readUInt16BE(receivedAt + 2 * index)),
    retainedFeeds: feedsAt === bytes.length ? [] : decodeFeeds(bytes.toString('utf8', feedsAt)),
  }
}

function decodeFeeds(text: string): string[] {
  try {
    return JSON.parse(text) as string[]
  } catch (error) {
    throw unreadable(error)
  }
}

function unreadable(cause?: unknown): NodeError<{ code: 'SESSION_RECORD_INVALID' }> {
  return new NodeError('a session in the store cannot be read', { code: 'SESSION_RECORD_INVALID' }, { cause })
}
