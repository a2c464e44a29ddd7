/**
 * A batch: forwarded messages one after the other in one buffer, so that a link moves a turn's messages as one gRPC
 * message. An entry is a byte of flags, an extension where the flags say so (two bytes of length, then that many
 * bytes, see `entry-extension.ts`), and the message as an MQTT 5 PUBLISH packet, which knows its own length. Its packet
 * id, where it has one, is 1 and means nothing. An entry that is longer than a batch goes on in the next one.
 */

import { type Frame, Message } from '../mqtt/wire/message.js'
import { decodePublish, decodeTopic, PublishHeader } from '../mqtt/wire/publish-header.js'
import { readVariableInteger, variableIntegerSize } from '../mqtt/wire/variable-integer.js'
import type { GroupTargets } from '../router/group-targets.js'
import { NodeError } from '../util/errors.js'
import { EXTENDED, ExtensionReader, markEntry, PLAIN_HEAD } from './entry-extension.js'

/** Type of a PUBLISH, in the high half of a packet's first byte. [MQTT 5.0 section 2.1.2] */
const PUBLISH_TYPE = 3

/** What a batch is once nothing is added to it any more. */
export interface SealedBatch {
  readonly entries: Buffer
  /** The last entry goes on in the next batch. */
  readonly continued: boolean
  /** Messages that end in this batch. */
  readonly count: number
  /** `performance.now` when its first message came: an unfilled batch waits for its link, too. */
  readonly startedAt: number
}

export class BatchWriter {
  private buffer: Buffer | undefined = undefined
  private used = 0
  private messages = 0
  private startedAt = 0

  /**
   * @param capacity bytes of a batch, at most
   * @param onSealed gets each batch as it fills up, or when `seal` is called
   */
  constructor(
    private readonly capacity: number,
    private readonly onSealed: (batch: SealedBatch) => void,
  ) {}

  get isEmpty(): boolean {
    return this.used === 0
  }

  /**
   * Copies a message in; seals the batch that it did not fit in, and every piece of one that no batch holds.
   * @param head what stands before the message, see `EntryHeads`
   */
  add(frame: Frame, head: Buffer = PLAIN_HEAD): void {
    const { packetIdOffset, start } = frame
    const size = head.length + frame.end - start
    if (this.used + size > this.capacity) {
      this.seal()
      if (size > this.capacity) {
        this.addInPieces(frame, head)
        return
      }
    }
    this.buffer ??= Buffer.allocUnsafeSlow(this.capacity)
    const at = this.used
    if (at === 0) this.startedAt = performance.now()
    if (head === PLAIN_HEAD) this.buffer[at] = 0
    else head.copy(this.buffer, at)
    const packetAt = at + head.length
    frame.buffer.copy(this.buffer, packetAt, start, frame.end)
    if (packetIdOffset !== -1) this.buffer[packetAt + packetIdOffset - start + 1] = 1
    this.used = at + size
    this.messages += 1
  }

  /** A batch of its own with a mark and no message, behind everything that was added until now. See `markOf`. */
  addMark(mark: Uint8Array): void {
    this.seal()
    this.onSealed({ entries: markEntry(mark), continued: false, count: 0, startedAt: performance.now() })
  }

  /** Hands over what is there, if anything. */
  seal(): void {
    const { buffer, used } = this
    if (buffer === undefined || used === 0) return
    // A batch may be kept until it is acknowledged: one that is far from full must not keep a whole buffer alive.
    const isRoomy = used <= this.capacity >> 1
    const entries = isRoomy ? Buffer.allocUnsafeSlow(used) : buffer.subarray(0, used)
    if (isRoomy) buffer.copy(entries, 0, 0, used)
    else this.buffer = undefined
    const count = this.messages
    this.used = 0
    this.messages = 0
    this.onSealed({ entries, continued: false, count, startedAt: this.startedAt })
  }

  /** Forgets what is not sealed; returns how many messages that were. */
  clear(): number {
    const count = this.messages
    this.buffer = undefined
    this.used = 0
    this.messages = 0
    return count
  }

  private addInPieces(frame: Frame, head: Buffer): void {
    const size = head.length + frame.end - frame.start
    const entry = Buffer.allocUnsafeSlow(size)
    head.copy(entry)
    frame.buffer.copy(entry, head.length, frame.start, frame.end)
    if (frame.packetIdOffset !== -1) entry[head.length + frame.packetIdOffset - frame.start + 1] = 1
    const startedAt = performance.now()
    for (let at = 0; at < size; at += this.capacity) {
      const end = Math.min(at + this.capacity, size)
      const continued = end < size
      this.onSealed({ entries: entry.subarray(at, end), continued, count: continued ? 0 : 1, startedAt })
    }
  }
}

/** Longest entry that is put together from pieces: the largest MQTT packet, flags and the largest extension. */
const MAXIMUM_ENTRY_BYTES = 0x1000_0000 + 64 + 0x1_0002

/** Puts entries that came in pieces together again. One per lane of a peer. */
export class BatchAssembler {
  private pieces: Buffer[] = []
  private size = 0

  /**
   * The entries that are whole with this batch; undefined while pieces are missing.
   * @throws NodeError BATCH_TOO_LARGE when pieces come without end
   */
  add(entries: Buffer, continued: boolean): Buffer | undefined {
    if (!continued && this.pieces.length === 0) return entries
    this.size += entries.length
    if (this.size > MAXIMUM_ENTRY_BYTES) {
      this.clear()
      throw new NodeError('a forwarded message is larger than MQTT allows', { code: 'BATCH_TOO_LARGE' })
    }
    this.pieces.push(entries)
    if (continued) return undefined
    const whole = Buffer.concat(this.pieces, this.size)
    this.clear()
    return whole
  }

  clear(): void {
    this.pieces = []
    this.size = 0
  }
}

/** @param targets the groups that the message is for, good until the call returns; undefined: plain subscriptions only */
export type OnMessage = (message: Message, targets: GroupTargets | undefined) => void

/** Reads batches; one reader serves all links, since it is done with a batch before it begins the next. */
export class BatchReader {
  private readonly header = new PublishHeader()
  private readonly extension = new ExtensionReader()

  /**
   * Calls `onMessage` for each message, in order. The messages are views of `entries`.
   * @param waitedMs time that the batch waited at the sender, taken off the expiry intervals [MQTT-3.3.2-6]
   * @throws NodeError BATCH_MALFORMED where an entry is not what it should be; those before it were delivered.
   */
  read(entries: Buffer, waitedMs: number, onMessage: OnMessage): void {
    let at = 0
    while (at < entries.length) {
      const flags = entries[at] as number
      at += 1
      this.extension.clear()
      if ((flags & EXTENDED) !== 0) {
        if (at + 2 > entries.length) throw malformed(at, 'an extension is cut')
        const extensionAt = at + 2
        at = extensionAt + entries.readUInt16BE(at)
        if (at > entries.length) throw malformed(extensionAt, 'an extension is cut')
        this.extension.read(entries, extensionAt, at)
      }
      const firstByte = entries[at] ?? 0
      if (firstByte >> 4 !== PUBLISH_TYPE) throw malformed(at, 'an entry is not a PUBLISH')
      const remaining = readVariableInteger(entries, at + 1, entries.length)
      if (remaining === -1) throw malformed(at, 'an entry is cut in its length')
      const bodyStart = at + 1 + variableIntegerSize(remaining)
      const end = bodyStart + remaining
      if (end > entries.length) throw malformed(at, 'an entry is cut')
      const message = this.readMessage(entries, firstByte, at, bodyStart, end, waitedMs)
      message.publisherId = this.extension.publisherId
      onMessage(message, this.extension.targets)
      at = end
    }
  }

  private readMessage(
    entries: Buffer,
    firstByte: number,
    start: number,
    bodyStart: number,
    end: number,
    waitedMs: number,
  ): Message {
    const { header } = this
    decodePublish(entries, firstByte, bodyStart, end, true, header)
    const { expiryInterval, qos, retain } = header
    const message = new Message({
      topic: decodeTopic(entries, header.topicStart, header.topicEnd),
      qos,
      retain,
      chunk: entries,
      payloadStart: header.payloadStart,
      payloadEnd: header.payloadEnd,
      properties: header.properties,
      expiryInterval: expiryInterval === 0 ? 0 : leftOf(expiryInterval, waitedMs),
    })
    message.isAged = expiryInterval !== 0 && waitedMs >= AGED_AFTER_MS
    // The bytes that came are already what QoS 0 subscribers of MQTT 5 get.
    if (qos === 0 && !message.isAged) message.adopt(true, retain, { buffer: entries, start, end, packetIdOffset: -1 })
    return message
  }
}

/** An expiry interval is in whole seconds: less than one does not change it. */
const AGED_AFTER_MS = 1_000

/** Seconds left of an expiry interval, negative when it has passed; never 0, which would mean that there is none. */
function leftOf(expiryInterval: number, waitedMs: number): number {
  return expiryInterval - waitedMs / 1_000 || -0.001
}

function malformed(at: number, what: string): NodeError<{ code: 'BATCH_MALFORMED'; at: number }> {
  return new NodeError(`batch malformed at byte ${at}: ${what}`, { code: 'BATCH_MALFORMED', at })
}
