/**
 * The one place that knows the generated types of `proto/cluster/v1`: their names for the rest of the room, and
 * messages to bytes and back.
 */

import {
  Beat,
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
  Batch,
  BatchAck,
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
export type { SessionPart, TakeoverMark }

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
  return asBuffer(LinkFrame.encode({ messages: [{ body }] }).finish())
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
