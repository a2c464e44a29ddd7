/**
 * A batch: forwarded messages one after the other in one buffer, so that a link moves a turn's messages as one gRPC
 * message. An entry is a byte of flags, an extension where the flags say so (two bytes of length, then that many
 * bytes, see `entry-extension.ts`), and the message as a PUBLISH packet, which knows its own length: of MQTT 5, or of
 * MQTT 3.1.1 where the flags say so, which is how most messages come in and so need not be made anew. Its packet
 * id, where it has one, means nothing. An entry that is longer than a batch goes on in the next one.
 */

import { Frame, Message } from '../mqtt/wire/message.js'
import { decodePublish, decodeTopic, PublishHeader } from '../mqtt/wire/publish-header.js'
import { readVariableInteger, variableIntegerSize } from '../mqtt/wire/variable-integer.js'
import type { GroupTargets } from '../router/group-targets.js'
import type { NodeId } from '../router/route-table.js'
import { NodeError } from '../util/errors.js'
import {
  type Addressee,
  EXTENDED,
  ExtensionReader,
  LONG_HEAD,
  markEntry,
  PLAIN_HEAD,
  RUN,
  SHORT,
  SHORT_HEAD,
} from './entry-extension.js'

/** Type of a PUBLISH, in the high half of a packet's first byte. [MQTT 5.0 section 2.1.2] */
const PUBLISH_TYPE = 3

/** The higher bit of the QoS in the first byte of a PUBLISH. [MQTT 5.0 section 3.3.1.2] */
const QOS_2 = 0x04

/** Bytes of a run's entry before its messages: flags and length. */
const RUN_HEAD_BYTES = 5

/** What a batch is once nothing is added to it any more. */
export interface SealedBatch {
  readonly entries: Buffer
  /** The last entry goes on in the next batch. */
  readonly continued: boolean
  /** What its messages counted for when they were added: each its own bytes and its head. */
  readonly bytes: number
  /** Messages that end in this batch. */
  readonly count: number
  /** None of its messages is of QoS 2. */
  readonly isQos1Only: boolean
  /** `performance.now` when its first message came: an unfilled batch waits for its link, too. */
  readonly startedAt: number
}

export class BatchWriter {
  private buffer: Buffer | undefined = undefined
  private used = 0
  private messages = 0
  private startedAt = 0
  private bytes = 0
  /** All first bytes of packets in one. */
  private firstBytes = 0
  /**
   * Messages that lie one behind the other in one received chunk, as those of one publisher do, are copied together and
   * need one entry, a run: where it begins in the chunk and in the batch. (A copy costs a call of some 100 ns, whatever
   * its size. Bench: `bench:mesh`, 1 to 1.) Undefined when there is none.
   */
  private runSource: Buffer | undefined = undefined
  private runHead: Buffer = PLAIN_HEAD
  private runStart = 0
  private runEnd = 0
  private runAt = 0
  private runMessages = 0

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
    const size = head.length + frame.end - frame.start
    if (this.joinsRun(frame, head) && this.used + size + RUN_HEAD_BYTES <= this.capacity) {
      if (this.runMessages === 1) this.used += RUN_HEAD_BYTES - 1
      this.used += size - 1
      this.runEnd = frame.end
      this.runMessages += 1
    } else {
      this.endRun()
      if (this.used + size > this.capacity) {
        this.seal()
        if (size > this.capacity) {
          this.addInPieces(frame, head)
          return
        }
      }
      this.buffer ??= Buffer.allocUnsafeSlow(this.capacity)
      if (this.used === 0) this.startedAt = performance.now()
      if ((head === SHORT_HEAD || head === LONG_HEAD) && canGoAsItIs(frame)) this.beginRun(frame, head)
      else copyEntry(frame, head, this.buffer, this.used)
      this.used += size
    }
    this.bytes += size
    this.messages += 1
    this.firstBytes |= frame.buffer[frame.start] as number
  }

  /** A batch of its own with a mark and no message, behind everything that was added until now. See `markOf`. */
  addMark(mark: Uint8Array): void {
    this.seal()
    const entries = markEntry(mark)
    this.onSealed({
      entries,
      continued: false,
      bytes: entries.length,
      count: 0,
      isQos1Only: true,
      startedAt: performance.now(),
    })
  }

  /** Hands over what is there, if anything. */
  seal(): void {
    this.endRun()
    const { buffer, used, bytes } = this
    if (buffer === undefined || used === 0) return
    // A batch may be kept until it is acknowledged: one that is far from full must not keep a whole buffer alive.
    const isRoomy = used <= this.capacity >> 1
    const entries = isRoomy ? Buffer.allocUnsafeSlow(used) : buffer.subarray(0, used)
    if (isRoomy) buffer.copy(entries, 0, 0, used)
    else this.buffer = undefined
    const count = this.messages
    const isQos1Only = (this.firstBytes & QOS_2) === 0
    this.used = 0
    this.bytes = 0
    this.messages = 0
    this.firstBytes = 0
    this.onSealed({ entries, continued: false, bytes, count, isQos1Only, startedAt: this.startedAt })
  }

  /** Forgets what is not sealed; returns how many messages that were. */
  clear(): number {
    const count = this.messages
    this.buffer = undefined
    this.runSource = undefined
    this.used = 0
    this.bytes = 0
    this.messages = 0
    this.firstBytes = 0
    return count
  }

  private joinsRun(frame: Frame, head: Buffer): boolean {
    return frame.buffer === this.runSource && frame.start === this.runEnd && head === this.runHead && canGoAsItIs(frame)
  }

  private beginRun(frame: Frame, head: Buffer): void {
    this.runSource = frame.buffer
    this.runHead = head
    this.runStart = frame.start
    this.runEnd = frame.end
    this.runAt = this.used
    this.runMessages = 1
  }

  /** Copies the run into the place that was kept for it. */
  private endRun(): void {
    const { buffer, runSource, runStart, runEnd } = this
    if (buffer === undefined || runSource === undefined) return
    let at = this.runAt
    const flags = this.runHead[0] as number
    if (this.runMessages > 1) {
      buffer[at] = flags | RUN
      at = buffer.writeUInt32BE(runEnd - runStart, at + 1)
    } else {
      buffer[at] = flags
      at += 1
    }
    runSource.copy(buffer, at, runStart, runEnd)
    // A chunk must not be kept alive by the place that it was copied from.
    this.runSource = undefined
  }

  private addInPieces(frame: Frame, head: Buffer): void {
    const size = head.length + frame.end - frame.start
    const entry = Buffer.allocUnsafeSlow(size)
    copyEntry(frame, head, entry, 0)
    const startedAt = performance.now()
    for (let at = 0; at < size; at += this.capacity) {
      const end = Math.min(at + this.capacity, size)
      const continued = end < size
      this.onSealed({
        entries: entry.subarray(at, end),
        continued,
        bytes: end - at,
        count: continued ? 0 : 1,
        isQos1Only: ((frame.buffer[frame.start] as number) & QOS_2) === 0,
        startedAt,
      })
    }
  }
}

/** The packet id means nothing to the receiver, but 0 would be none: only a message that came with one has another. */
function canGoAsItIs({ buffer, packetIdOffset }: Frame): boolean {
  return packetIdOffset === -1 || buffer[packetIdOffset] !== 0 || buffer[packetIdOffset + 1] !== 0
}

function copyEntry(frame: Frame, head: Buffer, target: Buffer, at: number): void {
  const { packetIdOffset, start } = frame
  if (head.length === 1) target[at] = head[0] as number
  else head.copy(target, at)
  const packetAt = at + head.length
  frame.buffer.copy(target, packetAt, start, frame.end)
  // The receiver gives it one of its own, and 0 would be none.
  if (packetIdOffset !== -1) target[packetAt + packetIdOffset - start + 1] = 1
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

  /** Of the message that `onMessage` is given: the node that is down to which it was owed. */
  get estate(): NodeId | undefined {
    return this.extension.estate
  }

  /** Of the message that `onMessage` is given: the one session that it is for; undefined for all that match. */
  get addressee(): Addressee | undefined {
    return this.extension.addressee
  }

  /**
   * Calls `onMessage` for each message, in order. The messages are views of `entries`.
   * @param waitedMs time that the batch waited at the sender, taken off the expiry intervals [MQTT-3.3.2-6]
   * @param mayBeShort false where the link's version has neither short entries nor runs
   * @throws NodeError BATCH_MALFORMED where an entry is not what it should be; those before it were delivered.
   */
  read(entries: Buffer, waitedMs: number, onMessage: OnMessage, mayBeShort = true): void {
    let at = 0
    while (at < entries.length) {
      const flags = entries[at] as number
      at += 1
      if (!mayBeShort && (flags & (SHORT | RUN)) !== 0)
        throw malformed(at, 'an entry is of a later version than the link')
      this.extension.clear()
      if ((flags & EXTENDED) !== 0) {
        if (at + 2 > entries.length) throw malformed(at, 'an extension is cut')
        const extensionAt = at + 2
        at = extensionAt + entries.readUInt16BE(at)
        if (at > entries.length) throw malformed(extensionAt, 'an extension is cut')
        this.extension.read(entries, extensionAt, at)
      }
      let end = entries.length
      const isRun = (flags & RUN) !== 0
      if (isRun) {
        if (at + 4 > entries.length) throw malformed(at, 'a run is cut')
        end = at + 4 + entries.readUInt32BE(at)
        if (end > entries.length) throw malformed(at, 'a run is cut')
        at += 4
      }
      do at = this.readPacket(entries, (flags & SHORT) === 0, at, end, waitedMs, onMessage)
      while (isRun && at < end)
    }
  }

  /** Returns where the packet ends. */
  private readPacket(
    entries: Buffer,
    isV5: boolean,
    at: number,
    limit: number,
    waitedMs: number,
    onMessage: (message: Message, targets: GroupTargets | undefined) => void,
  ): number {
    const firstByte = entries[at] ?? 0
    if (firstByte >> 4 !== PUBLISH_TYPE) throw malformed(at, 'an entry is not a PUBLISH')
    const remaining = readVariableInteger(entries, at + 1, limit)
    if (remaining === -1) throw malformed(at, 'an entry is cut in its length')
    const bodyStart = at + 1 + variableIntegerSize(remaining)
    const end = bodyStart + remaining
    if (end > limit) throw malformed(at, 'an entry is cut')
    const message = this.readMessage(entries, isV5, firstByte, at, bodyStart, end, waitedMs)
    message.publisherId = this.extension.publisherId
    onMessage(message, this.extension.targets)
    return end
  }

  private readMessage(
    entries: Buffer,
    isV5: boolean,
    firstByte: number,
    start: number,
    bodyStart: number,
    end: number,
    waitedMs: number,
  ): Message {
    const { header } = this
    decodePublish(entries, firstByte, bodyStart, end, isV5, header)
    const { duplicate, expiryInterval, qos, retain } = header
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
    // The bytes that came are already what subscribers of one version get, but for the packet id.
    if (!message.isAged && !duplicate) {
      message.adopt(isV5, new Frame(entries, start, end, qos === 0 ? -1 : header.topicEnd))
    }
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
