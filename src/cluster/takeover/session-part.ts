/** Sessions as they go over a link: what the broker says of them, in the words of the protocol, and back. */

import type {
  LeavingSession,
  MovedInFlight,
  MovedMessage,
  MovedState,
  MovedSubscription,
  MovedWaits,
} from '../../broker/move-ports.js'
import { NEVER_EXPIRES } from '../../mqtt/session/session.js'
import { Message } from '../../mqtt/wire/message.js'
import type { Will } from '../../mqtt/wire/packets.js'
import { decodePublishProperties, encodePublishProperties } from '../../mqtt/wire/publish-frame.js'
import { decodePublish, decodeTopic, PublishHeader } from '../../mqtt/wire/publish-header.js'
import { MqttError } from '../../mqtt/wire/reason-codes.js'
import { readVariableInteger, variableIntegerSize } from '../../mqtt/wire/variable-integer.js'
import { NodeError } from '../../util/errors.js'
import type { SessionMessage, SessionPart, SessionSubscription, SessionWill } from '../wire.js'

/** Bytes of messages in a part, about; one message may be more. */
const PART_BYTES = 16 * 1024
/** Subscriptions or packet ids in a part. */
const PART_ITEMS = 500
/** Rough cost of a message besides payload and topic, in bytes. */
const MESSAGE_OVERHEAD_BYTES = 48
const NO_BYTES = Buffer.alloc(0)

/** A part with nothing in it. */
export function emptyPart(): SessionPart {
  return {
    subscriptions: [],
    inFlight: [],
    received: [],
    unsettled: [],
    refused: [],
    retainedFeeds: [],
    lastPacketId: 0,
    expiryInterval: 0,
    stateComplete: false,
    queue: [],
    last: false,
    will: undefined,
    unmarked: [],
    earlier: [],
  }
}

/** Everything but the queue; the last part says so. */
export function* stateParts(session: LeavingSession): Generator<SessionPart> {
  const { expiryInterval, lastPacketId, received, unsettled, refused, retainedFeeds, waits } = session.state
  for (const subscriptions of chunks(session.subscriptions, PART_ITEMS)) {
    yield { ...emptyPart(), subscriptions: subscriptions.map(encodeSubscription) }
  }
  let inFlight: SessionMessage[] = []
  let bytes = 0
  for (const packet of session.inFlight) {
    const encoded = encodeMessage(packet, packet.message)
    if (encoded === undefined) continue
    const { packetId, releaseOrder } = packet
    inFlight.push({ ...encoded, packetId, releaseOrder })
    bytes += packet.message === undefined ? MESSAGE_OVERHEAD_BYTES : sizeOf(packet.message)
    if (bytes < PART_BYTES) continue
    yield { ...emptyPart(), inFlight }
    inFlight = []
    bytes = 0
  }
  yield {
    ...emptyPart(),
    inFlight,
    received: [...received],
    unsettled: [...unsettled],
    refused: [...refused],
    retainedFeeds: [...retainedFeeds],
    lastPacketId,
    expiryInterval,
    stateComplete: true,
    ...(waits === undefined ? {} : encodeWaits(waits)),
  }
}

/** A part of the queue from this place on, and how many messages it stands for; undefined when there are none. */
export function queuePart(session: LeavingSession, from: number): { part: SessionPart; count: number } | undefined {
  const queue: SessionMessage[] = []
  let count = 0
  for (let bytes = 0; bytes < PART_BYTES; count += 1) {
    const item = session.messageAt(from + count)
    if (item === undefined) break
    bytes += sizeOf(item.message)
    const encoded = encodeMessage(item, item.message)
    // A 3.1.1 packet just below the largest size may be above it in the encoding of 5.0: no client could get it.
    if (encoded !== undefined) queue.push(encoded)
  }
  return count === 0 ? undefined : { part: { ...emptyPart(), queue }, count }
}

export function decodeSubscription(subscription: SessionSubscription): MovedSubscription {
  const { filter, qos, noLocal, retainAsPublished, retainHandling, subscriptionId } = subscription
  return {
    filter,
    options: {
      qos: upToTwo(qos),
      noLocal,
      retainAsPublished,
      retainHandling: upToTwo(retainHandling),
      subscriptionId: subscriptionId === 0 ? undefined : subscriptionId,
    },
  }
}

/** @throws NodeError SESSION_PART_MALFORMED */
export function decodeQueued(encoded: SessionMessage): MovedMessage {
  const message = decodeMessage(encoded)
  if (message === undefined) throw malformed('a queued message without a PUBLISH packet')
  return { ...deliveryOf(encoded), message }
}

/** @throws NodeError SESSION_PART_MALFORMED */
export function decodeInFlight(encoded: SessionMessage): MovedInFlight {
  const { packetId, releaseOrder } = encoded
  if (packetId < 1 || packetId > 0xffff) throw malformed('a packet id out of range')
  return { ...deliveryOf(encoded), message: decodeMessage(encoded), packetId, releaseOrder }
}

/** What is to be restored when the state is complete. */
export function decodeState({
  expiryInterval,
  lastPacketId,
  received,
  unsettled,
  refused,
  retainedFeeds,
  endsIn = expiryInterval === NEVER_EXPIRES ? Number.POSITIVE_INFINITY : expiryInterval * 1000,
  will,
}: SessionPart): MovedState {
  const waits = { endsIn, will: will && { will: decodeWill(will), dueIn: will.dueIn } }
  return { expiryInterval, lastPacketId, received, unsettled, refused, retainedFeeds, waits }
}

function encodeWaits({ endsIn, will }: MovedWaits): Pick<SessionPart, 'endsIn' | 'will'> {
  return {
    ...(endsIn === Number.POSITIVE_INFINITY ? {} : { endsIn }),
    will: will && encodeWill(will.will, will.dueIn),
  }
}

export function encodeWill({ topic, payload, qos, retain, properties }: Will, dueIn: number): SessionWill {
  return { topic, payload, qos, retain, properties: encodePublishProperties(properties) ?? NO_BYTES, dueIn }
}

/** @throws NodeError SESSION_PART_MALFORMED, MqttError */
export function decodeWill({ topic, payload, qos, retain, properties, dueIn }: SessionWill): Will {
  return {
    topic,
    // In bytes of its own: the part that it came in must not be kept for it.
    payload: Buffer.from(payload),
    qos: upToTwo(qos),
    retain,
    delayInterval: dueIn / 1000,
    properties: decodePublishProperties(Buffer.from(properties)),
  }
}

function encodeSubscription({ filter, options }: MovedSubscription): SessionSubscription {
  return { ...options, filter, subscriptionId: options.subscriptionId ?? 0 }
}

function encodeMessage(item: Omit<MovedMessage, 'message'>, message: Message | undefined): SessionMessage | undefined {
  const { qos, retain, subscriptionIds, share } = item
  const publish = message === undefined ? undefined : frameOf(message)
  if (message !== undefined && publish === undefined) return undefined
  const expiresAt = message?.expiresAt ?? 0
  return {
    ...(publish === undefined ? {} : { publish }),
    qos,
    retain,
    subscriptionIds: subscriptionIds === undefined ? [] : [...subscriptionIds],
    share: share ?? '',
    publisher: message?.publisherId ?? '',
    ...(expiresAt === 0 ? {} : { expiresIn: expiresAt - Date.now() }),
    aged: message?.isAged ?? false,
    packetId: 0,
    releaseOrder: 0,
  }
}

/** Not kept with the message, which is about to go; undefined for one that cannot be encoded. */
function frameOf(message: Message): Buffer | undefined {
  try {
    const { buffer, start, end } = message.frameFor(message.qos, message.retain, undefined, Date.now())
    return buffer.subarray(start, end)
  } catch (error) {
    if (error instanceof MqttError) return undefined
    throw error
  }
}

function deliveryOf({ qos, retain, subscriptionIds, share }: SessionMessage): Omit<MovedMessage, 'message'> {
  return {
    qos: upToTwo(qos),
    retain,
    subscriptionIds: subscriptionIds.length === 0 ? undefined : subscriptionIds,
    share: share === '' ? undefined : share,
  }
}

function decodeMessage({ publish, publisher, expiresIn, aged }: SessionMessage): Message | undefined {
  if (publish === undefined) return undefined
  const bytes = Buffer.from(publish.buffer, publish.byteOffset, publish.byteLength)
  const remaining = readVariableInteger(bytes, 1, bytes.length)
  const bodyStart = 1 + variableIntegerSize(Math.max(0, remaining))
  if (remaining === -1 || bodyStart + remaining !== bytes.length) throw malformed('a PUBLISH packet of a wrong length')
  // Packet ids are those of the session; the frame has none, which the decoder would not take.
  const header = new PublishHeader()
  const firstByte = bytes[0] ?? 0
  decodePublish(withPacketId(bytes, firstByte, bodyStart), firstByte, bodyStart, bytes.length, true, header)
  const message = new Message({
    topic: decodeTopic(bytes, header.topicStart, header.topicEnd),
    qos: header.qos,
    retain: header.retain,
    chunk: bytes,
    payloadStart: header.payloadStart,
    payloadEnd: header.payloadEnd,
    properties: header.properties,
    expiryInterval: 0,
  })
  message.publisherId = publisher
  message.isAged = aged
  if (expiresIn !== undefined) message.expiresAt = Date.now() + expiresIn
  // In bytes of its own: the part that it came in must not be kept for it.
  return message.detach()
}

/** The frame with packet id 1 where it has 0. */
function withPacketId(bytes: Buffer, firstByte: number, bodyStart: number): Buffer {
  if (((firstByte >> 1) & 3) === 0) return bytes
  const at = bodyStart + 2 + bytes.readUInt16BE(bodyStart)
  if (at + 2 > bytes.length) throw malformed('a PUBLISH packet without a packet id')
  bytes.writeUInt16BE(1, at)
  return bytes
}

function sizeOf(message: Message): number {
  return MESSAGE_OVERHEAD_BYTES + message.topic.length + message.payloadEnd - message.payloadStart
}

function upToTwo(value: number): 0 | 1 | 2 {
  if (value !== 0 && value !== 1 && value !== 2) throw malformed('a QoS or Retain Handling above 2')
  return value
}

function malformed(what: string): NodeError<{ code: 'SESSION_PART_MALFORMED' }> {
  return new NodeError(`a part of a session is malformed: ${what}`, { code: 'SESSION_PART_MALFORMED' })
}

function* chunks<T>(items: Iterable<T>, size: number): Generator<T[]> {
  let chunk: T[] = []
  for (const item of items) {
    chunk.push(item)
    if (chunk.length < size) continue
    yield chunk
    chunk = []
  }
  if (chunk.length > 0) yield chunk
}
