/**
 * What an entry of a batch says beside its message: fields of a kind (one byte), a length (two bytes) and a value. A
 * kind that is not known is passed over, so that kinds may be added without a new version of the protocol.
 */

/** The client ID of the publisher, in UTF-8: for nodes with No Local subscriptions. [MQTT 5.0 section 3.8.3.1] */
const PUBLISHER = 1

const FIELD_HEADER_BYTES = 3
/** Lengths are of two bytes. */
const LONGEST_EXTENSION_BYTES = 0xffff

/** Nothing but the byte of flags. */
const PLAIN_HEAD = Buffer.from([0])

/** Flag: an extension follows, to be skipped by whoever does not know it. */
export const EXTENDED = 0x80

/** Makes what stands before the message in an entry. Publishers repeat themselves: the last one is remembered. */
export class EntryHeads {
  private lastPublisherId = ''
  private lastHead: Buffer = PLAIN_HEAD

  /** Flags, and an extension with the publisher when there is one to tell; '' is nobody. */
  headOf(publisherId: string): Buffer {
    if (publisherId === '') return PLAIN_HEAD
    if (publisherId !== this.lastPublisherId) {
      this.lastPublisherId = publisherId
      this.lastHead = encode(publisherId)
    }
    return this.lastHead
  }
}

/** Reads the client ID of the publisher from `chunk[start, end)`, fields without their length; '' when it is not there. */
export function publisherIn(chunk: Buffer, start: number, end: number): string {
  for (let at = start; at + FIELD_HEADER_BYTES <= end; ) {
    const valueAt = at + FIELD_HEADER_BYTES
    const valueEnd = valueAt + chunk.readUInt16BE(at + 1)
    if (valueEnd > end) return ''
    if (chunk[at] === PUBLISHER) return chunk.toString('utf8', valueAt, valueEnd)
    at = valueEnd
  }
  return ''
}

function encode(publisherId: string): Buffer {
  const length = Buffer.byteLength(publisherId)
  const extension = FIELD_HEADER_BYTES + length
  if (extension > LONGEST_EXTENSION_BYTES) return PLAIN_HEAD
  const head = Buffer.allocUnsafeSlow(3 + extension)
  head[0] = EXTENDED
  head.writeUInt16BE(extension, 1)
  head[3] = PUBLISHER
  head.writeUInt16BE(length, 4)
  head.write(publisherId, 6)
  return head
}
