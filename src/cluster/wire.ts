/**
 * The one place that knows the generated types of `proto/cluster/v1`: their names for the rest of the room, and
 * messages to bytes and back.
 */

import { variableIntegerSize, writeVariableInteger } from '../mqtt/wire/variable-integer.js'
import {
  Batch,
  Beat,
  type EarlierCut,
  type Farewell_Reason,
  Farewell_Reason as FarewellReason,
  LinkFrame,
  type LinkMessage,
  MeshServiceDefinition,
  Refused_Code as RefusalCode,
  type Refused_Code,
  SessionPart,
  type Sight_State,
  Sight_State as SightState,
  TakeoverMark,
} from './generated/cluster/v1/cluster.js'

export {
  NEWEST_PROTOCOL_VERSION as PROTOCOL_VERSION,
  OLDEST_PROTOCOL_VERSION as MINIMUM_PROTOCOL_VERSION,
} from '../config/protocol-version.js'
export type {
  Accepted,
  BatchAck,
  BatchOrigin,
  Beat,
  Challenge,
  Hello,
  Identity,
  MapCheck,
  MapEntries,
  MapEntry,
  Member,
  Open,
  Proof,
  Refused,
  RouteChange,
  RouteCheck,
  RouteDeltas,
  RouteRequest,
  RouteSnapshot,
  SessionMessage,
  SessionSubscription,
  SessionWill,
  View,
} from './generated/cluster/v1/cluster.js'
export type { Batch, EarlierCut, SessionPart, TakeoverMark }

export const REFUSAL_CODES = RefusalCode
export type RefusalCodeValue = Refused_Code
export const FAREWELL_REASONS = FarewellReason
export type FarewellReasonValue = Farewell_Reason
export const SIGHT_STATES = SightState
export type SightStateValue = Sight_State

/** One thing said on a link, by its name. */
export type LinkBody = NonNullable<LinkMessage['body']>

/** The body of one name. */
export type LinkBodyOf<Name extends LinkBody['$case']> = Extract<LinkBody, { $case: Name }>

/** gRPC method paths, as `/cluster.v1.MeshService/Link`. */
export const LINK_PATH = `/${MeshServiceDefinition.fullName}/${MeshServiceDefinition.methods.link.name}`
export const HEARTBEAT_PATH = `/${MeshServiceDefinition.fullName}/${MeshServiceDefinition.methods.heartbeat.name}`

/** A frame of one message. Frames one after the other are a frame of all their messages: protobuf merges lists so. */
export function encodeLinkFrame(body: LinkBody): Buffer {
  if (body.$case === 'batch' || body.$case === 'looseBatch') return encodeBatchFrame(body.$case, body.value)
  return asBuffer(LinkFrame.encode({ messages: [{ body }] }).finish())
}

/** Tags of fields with a length: `LinkFrame.messages`, `LinkMessage.batch` and `.loose_batch`, `Batch.entries`. */
const MESSAGES_TAG = 10
const BATCH_TAGS = { looseBatch: 194, batch: 202 } as const
const ENTRIES_TAG = 18

const NO_ENTRIES: Uint8Array = new Uint8Array(0)

/**
 * What the generated code makes, save that `entries` is the first field, in one allocation and one copy of the entries:
 * a writer that grows as it is written to copies them several times. Protobuf's integers of variable length are MQTT's.
 * Bench: `bench:mesh`, 50 pairs.
 */
function encodeBatchFrame(name: keyof typeof BATCH_TAGS, batch: Batch): Buffer {
  const { entries } = batch
  const rest = Batch.encode({ ...batch, entries: NO_ENTRIES }).finish()
  const batchBytes = sizeWithLength(ENTRIES_TAG, entries.length) + rest.length
  const messageBytes = sizeWithLength(BATCH_TAGS[name], batchBytes)
  const frame = Buffer.allocUnsafeSlow(sizeWithLength(MESSAGES_TAG, messageBytes))
  let at = writeTag(frame, 0, MESSAGES_TAG, messageBytes)
  at = writeTag(frame, at, BATCH_TAGS[name], batchBytes)
  at = writeTag(frame, at, ENTRIES_TAG, entries.length)
  frame.set(entries, at)
  frame.set(rest, at + entries.length)
  return frame
}

function sizeWithLength(tag: number, bytes: number): number {
  return variableIntegerSize(tag) + variableIntegerSize(bytes) + bytes
}

function writeTag(target: Buffer, at: number, tag: number, bytes: number): number {
  return writeVariableInteger(target, writeVariableInteger(target, at, tag), bytes)
}

/**
 * The messages of a frame in their order; undefined for one that a newer node may send and this one does not know.
 * Byte fields are views of `bytes`.
 * @throws Error when the bytes are not such a frame.
 */
export function decodeLinkFrame(bytes: Buffer): (LinkBody | undefined)[] {
  return LinkFrame.decode(bytes).messages.map(({ body }) => body)
}

export function encodeBeat(beat: Beat): Buffer {
  return asBuffer(Beat.encode(beat).finish())
}

/** @throws Error when the bytes are not a beat. */
export function decodeBeat(bytes: Buffer): Beat {
  return Beat.decode(bytes)
}

/** For the extension of an entry among forwarded messages. */
export function encodeMark(mark: TakeoverMark): Uint8Array {
  return TakeoverMark.encode(mark).finish()
}

/** @throws Error when the bytes are not a mark. */
export function decodeMark(bytes: Buffer): TakeoverMark {
  return TakeoverMark.decode(bytes)
}

export function encodeSessionPart(part: SessionPart): Buffer {
  return asBuffer(SessionPart.encode(part).finish())
}

/** @throws Error when the bytes are not a part of a session. */
export function decodeSessionPart(bytes: Buffer): SessionPart {
  return SessionPart.decode(bytes)
}

/** The same bytes as a Buffer, without a copy. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Refusal codes in the words of logs and metrics. */
export const REFUSAL_NAMES = [
  'unspecified',
  'protocol_version',
  'cluster_name',
  'secret',
  'self',
  'duplicate_name',
  'stale_incarnation',
  'busy',
  'protocol_error',
  'stopping',
  'departed',
] as const
export type RefusalName = (typeof REFUSAL_NAMES)[number]

/** A code of a newer protocol is `unspecified`. */
export function refusalName(code: RefusalCodeValue): RefusalName {
  return REFUSAL_NAMES[code] ?? 'unspecified'
}
