/**
 * A write of a replicated map as the store keeps it: a byte of flags, time and counter of the hybrid clock, the length
 * and the name of the node that wrote, then the value. Part of the store's schema version.
 */

import { NodeError } from '../util/errors.js'

export interface StoredWrite {
  /** Undefined in a tombstone. */
  readonly value: Uint8Array | undefined
  readonly time: number
  readonly counter: number
  readonly node: string
}

const HAS_VALUE = 1
const TIME_AT = 1
const COUNTER_AT = 9
const NODE_LENGTH_AT = 13
const NODE_AT = 15

export function encodeStoredWrite({ value, time, counter, node }: StoredWrite): Buffer {
  const nodeLength = Buffer.byteLength(node)
  const bytes = Buffer.allocUnsafe(NODE_AT + nodeLength + (value?.length ?? 0))
  bytes[0] = value === undefined ? 0 : HAS_VALUE
  bytes.writeDoubleBE(time, TIME_AT)
  bytes.writeUInt32BE(counter, COUNTER_AT)
  bytes.writeUInt16BE(nodeLength, NODE_LENGTH_AT)
  bytes.write(node, NODE_AT)
  if (value !== undefined) bytes.set(value, NODE_AT + nodeLength)
  return bytes
}

/** The value is a part of `bytes`. @throws NodeError STORED_WRITE_INVALID */
export function decodeStoredWrite(bytes: Buffer): StoredWrite & { readonly value: Buffer | undefined } {
  const valueAt = bytes.length < NODE_AT ? Infinity : NODE_AT + bytes.readUInt16BE(NODE_LENGTH_AT)
  if (valueAt > bytes.length) {
    throw new NodeError('an entry of a map in the store cannot be read', { code: 'STORED_WRITE_INVALID' })
  }
  return {
    value: ((bytes[0] ?? 0) & HAS_VALUE) === 0 ? undefined : bytes.subarray(valueAt),
    time: bytes.readDoubleBE(TIME_AT),
    counter: bytes.readUInt32BE(COUNTER_AT),
    node: bytes.toString('utf8', NODE_AT, valueAt),
  }
}
