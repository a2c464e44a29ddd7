/** A message that waits for a member of a group, on the disk: as part of the store's schema version. */

import type { Message } from '../mqtt/wire/message.js'
import { NodeError } from '../util/errors.js'
import { decodeKept, encodeKept } from './kept-message.js'

export interface WaitingMessage {
  /** Milliseconds since the epoch, when it came. */
  readonly at: number
  /** The filter of the group that it is for; undefined: for all that match but those that have had it. */
  readonly key: string | undefined
  /** The filters of the groups that have had it. */
  readonly served: readonly string[]
  readonly message: Message
}

interface Header {
  readonly at: number
  readonly key?: string | undefined
  readonly served: readonly string[]
  readonly publisherId: string
}

/** Version, and the length of the header, which is JSON; then the message. */
const VERSION = 1
const LENGTH_AT = 1
const HEADER_AT = 5

export function encodeWaiting({ at, key, served, message }: WaitingMessage): Buffer {
  const header: Header = { at, key, served, publisherId: message.publisherId }
  const text = Buffer.from(JSON.stringify(header))
  const room = HEADER_AT + text.length
  const bytes = encodeKept(message, room)
  bytes[0] = VERSION
  bytes.writeUInt32BE(text.length, LENGTH_AT)
  text.copy(bytes, HEADER_AT)
  return bytes
}

/** The message is a view of the bytes. @throws NodeError STORED_MESSAGE_INVALID */
export function decodeWaiting(bytes: Buffer): WaitingMessage {
  if (bytes.length < HEADER_AT || bytes[0] !== VERSION) {
    throw new NodeError('what waits for a member of a group cannot be read from the store', {
      code: 'STORED_MESSAGE_INVALID',
    })
  }
  const room = HEADER_AT + bytes.readUInt32BE(LENGTH_AT)
  const { at, key, served, publisherId } = JSON.parse(bytes.toString('utf8', HEADER_AT, room)) as Header
  return { at, key, served, message: decodeKept(bytes.subarray(room), publisherId) }
}
