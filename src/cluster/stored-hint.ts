/** A hint on the disk, as part of the store's schema version: where it comes from, and its entries. */

import { NodeError } from '../util/errors.js'

export interface Hint {
  /** Of all that this node ever owed the receiver. */
  readonly number: number
  /** Incarnation of this node in which it was made, and its sequence in the lane to the receiver then; 0 if it had none. */
  readonly incarnation: number
  readonly sequence: number
  /** Incarnation of the receiver of which its entries name groups; 0 when that was not known. */
  readonly receiver: number
  /** Milliseconds since the epoch, when its first message came. */
  readonly madeAt: number
  /** Messages that end in it. */
  readonly count: number
  /** Its last entry goes on in the next hint. */
  readonly continued: boolean
  readonly entries: Buffer
}

/** Version, flags, count, and four doubles. */
const COUNT_AT = 2
const INCARNATION_AT = 6
const SEQUENCE_AT = 14
const RECEIVER_AT = 22
const MADE_AT = 30
const ENTRIES_AT = 38

const VERSION = 1
const CONTINUED = 1

export function encodeHint({ incarnation, sequence, receiver, madeAt, count, continued, entries }: Hint): Buffer {
  const bytes = Buffer.allocUnsafe(ENTRIES_AT + entries.length)
  bytes[0] = VERSION
  bytes[1] = continued ? CONTINUED : 0
  bytes.writeUInt32BE(count, COUNT_AT)
  bytes.writeDoubleBE(incarnation, INCARNATION_AT)
  bytes.writeDoubleBE(sequence, SEQUENCE_AT)
  bytes.writeDoubleBE(receiver, RECEIVER_AT)
  bytes.writeDoubleBE(madeAt, MADE_AT)
  entries.copy(bytes, ENTRIES_AT)
  return bytes
}

/** The entries are a view of the bytes. @throws NodeError STORED_HINT_INVALID */
export function decodeHint(number: number, bytes: Buffer): Hint {
  if (bytes.length < ENTRIES_AT || bytes[0] !== VERSION) {
    throw new NodeError('what a peer is owed cannot be read from the store', { code: 'STORED_HINT_INVALID', number })
  }
  return {
    number,
    incarnation: bytes.readDoubleBE(INCARNATION_AT),
    sequence: bytes.readDoubleBE(SEQUENCE_AT),
    receiver: bytes.readDoubleBE(RECEIVER_AT),
    madeAt: bytes.readDoubleBE(MADE_AT),
    count: bytes.readUInt32BE(COUNT_AT),
    continued: (bytes[1] ?? 0) === CONTINUED,
    entries: bytes.subarray(ENTRIES_AT),
  }
}
