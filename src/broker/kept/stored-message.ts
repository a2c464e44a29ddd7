/**
 * A message on the disk with the sessions that have yet to get it, as part of the store's schema version: how many, each
 * with its number and how it gets it, what few of them have besides, and then the message, once for all.
 */

import type { Message } from '../../mqtt/wire/message.js'
import type { QoS } from '../../mqtt/wire/packets.js'
import { NodeError } from '../../util/errors.js'
import { decodeKept, encodeKept } from '../kept-message.js'

/** How a session gets a message, in the low bits of its place: QoS, RETAIN, and whether there is more to say. */
export const FLAG_BITS = 16
const QOS_BITS = 3
const RETAIN = 4
const HAS_EXTRAS = 8

/** What few messages have. */
export interface Extras {
  readonly subscriptionIds?: readonly number[] | undefined
  /** The filter of the shared subscription by which it came. */
  readonly share?: string | undefined
}

/** Sessions with their flags; mostly one, which needs no map. */
export class Receivers {
  private session = 0
  private flags = 0
  private others: Map<number, number> | undefined

  get count(): number {
    return (this.session === 0 ? 0 : 1) + (this.others === undefined ? 0 : this.others.size)
  }

  has(session: number): boolean {
    return session === this.session || this.others?.has(session) === true
  }

  /** @param session 1 or more, one that is not here yet */
  add(session: number, flags: number): void {
    if (this.session === 0) {
      this.session = session
      this.flags = flags
      return
    }
    this.others ??= new Map()
    this.others.set(session, flags)
  }

  delete(session: number): void {
    if (session === this.session) this.session = 0
    else this.others?.delete(session)
  }

  /** Returns the offset behind them. */
  writeTo(bytes: Buffer, start: number): number {
    let at = this.session === 0 ? start : writeReceiver(bytes, start, this.session, this.flags)
    if (this.others !== undefined)
      for (const [session, flags] of this.others) at = writeReceiver(bytes, at, session, flags)
    return at
  }
}

export interface StoredMessage {
  /** What it counts for in a queue. */
  readonly size: number
  /** How many sessions. */
  readonly count: number
  /** Writes what `RECEIVER_BYTES` says of each; returns the offset behind it. */
  writeTo(bytes: Buffer, start: number): number
  /** By session. */
  readonly extras: ReadonlyMap<number, Extras> | undefined
}

/** Size, number of receivers, bytes of extras, bytes of the publisher's client ID. */
const HEAD_BYTES = 14
const RECEIVERS_AT = 4
const EXTRAS_LENGTH_AT = 8
const PUBLISHER_LENGTH_AT = 12
const RECEIVER_BYTES = 5

export function flagsOf(qos: QoS, retain: boolean, hasExtras: boolean): number {
  return qos | (retain ? RETAIN : 0) | (hasExtras ? HAS_EXTRAS : 0)
}

export function qosOf(flags: number): QoS {
  return (flags & QOS_BITS) as QoS
}

export function retainOf(flags: number): boolean {
  return (flags & RETAIN) !== 0
}

export function hasExtras(flags: number): boolean {
  return (flags & HAS_EXTRAS) !== 0
}

export function encodeStoredMessage(stored: StoredMessage, message: Message): Buffer {
  const extras = stored.extras === undefined ? '' : JSON.stringify([...stored.extras])
  const publisher = message.publisherId
  const [extrasBytes, publisherBytes] = [Buffer.byteLength(extras), Buffer.byteLength(publisher)]
  const room = HEAD_BYTES + RECEIVER_BYTES * stored.count + extrasBytes + publisherBytes
  const bytes = encodeKept(message, room)
  let at = writeHead(bytes, stored, extrasBytes, publisherBytes)
  at += bytes.write(extras, at)
  bytes.write(publisher, at)
  return bytes
}

/** The same without some of its receivers; undefined when none is left. */
export function withoutReceivers(bytes: Buffer, gone: ReadonlySet<number>): Buffer | undefined {
  const receivers = new Receivers()
  const count = forEachReceiver(bytes, (session, flags) => {
    if (!gone.has(session)) receivers.add(session, flags)
  })
  if (receivers.count === 0) return undefined
  const rest = bytes.subarray(HEAD_BYTES + RECEIVER_BYTES * count)
  const left = Buffer.allocUnsafe(HEAD_BYTES + RECEIVER_BYTES * receivers.count + rest.length)
  bytes.copy(left, 0, 0, HEAD_BYTES)
  left.writeUInt32BE(receivers.count, RECEIVERS_AT)
  rest.copy(left, receivers.writeTo(left, HEAD_BYTES))
  return left
}

/** Calls `use` for each session; returns how many there are. @throws NodeError STORED_MESSAGE_INVALID */
export function forEachReceiver(bytes: Buffer, use: (session: number, flags: number) => void): number {
  const count = bytes.length < HEAD_BYTES ? Number.POSITIVE_INFINITY : bytes.readUInt32BE(RECEIVERS_AT)
  const end = HEAD_BYTES + RECEIVER_BYTES * count
  if (end > bytes.length) throw invalid()
  for (let at = HEAD_BYTES; at < end; at += RECEIVER_BYTES) use(bytes.readUInt32BE(at), bytes[at + 4] ?? 0)
  return count
}

/** What a stored message counts for in a queue. */
export function sizeOf(bytes: Buffer): number {
  return bytes.readUInt32BE(0)
}

export function decodeExtras(bytes: Buffer): ReadonlyMap<number, Extras> | undefined {
  const length = bytes.readUInt32BE(EXTRAS_LENGTH_AT)
  if (length === 0) return undefined
  const start = HEAD_BYTES + RECEIVER_BYTES * bytes.readUInt32BE(RECEIVERS_AT)
  return new Map(JSON.parse(bytes.toString('utf8', start, start + length)) as [number, Extras][])
}

/** The message is made of the bytes, not of a copy, and keeps alive what they are part of. @throws MqttError, NodeError STORED_MESSAGE_INVALID */
export function decodeStoredMessage(bytes: Buffer): Message {
  if (bytes.length < HEAD_BYTES) throw invalid()
  const publisherLength = bytes.readUInt16BE(PUBLISHER_LENGTH_AT)
  const publisherAt =
    HEAD_BYTES + RECEIVER_BYTES * bytes.readUInt32BE(RECEIVERS_AT) + bytes.readUInt32BE(EXTRAS_LENGTH_AT)
  const messageAt = publisherAt + publisherLength
  if (messageAt >= bytes.length) throw invalid()
  const message = decodeKept(bytes.subarray(messageAt), bytes.toString('utf8', publisherAt, messageAt))
  message.isAged = true
  return message
}

/** Returns the offset behind it. */
function writeHead(bytes: Buffer, stored: StoredMessage, extrasBytes: number, publisherBytes: number): number {
  bytes.writeUInt32BE(stored.size, 0)
  bytes.writeUInt32BE(stored.count, RECEIVERS_AT)
  bytes.writeUInt32BE(extrasBytes, EXTRAS_LENGTH_AT)
  bytes.writeUInt16BE(publisherBytes, PUBLISHER_LENGTH_AT)
  return stored.writeTo(bytes, HEAD_BYTES)
}

function writeReceiver(bytes: Buffer, at: number, session: number, flags: number): number {
  bytes.writeUInt32BE(session, at)
  bytes[at + 4] = flags
  return at + RECEIVER_BYTES
}

function invalid(): NodeError<{ code: 'STORED_MESSAGE_INVALID' }> {
  return new NodeError('a message of a session in the store cannot be read', { code: 'STORED_MESSAGE_INVALID' })
}
