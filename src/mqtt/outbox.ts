/**
 * What one connection has to send, gathered during an event-loop turn and written once at its end, or at 64 KiB.
 *
 * The entries are ranges of shared buffers, not copies. A range that continues the one before it in the same buffer
 * only makes that one longer: a publisher's QoS 0 frames that all go to this connection leave as one write of the
 * chunk they came in (bench: load, rows b1q0 and d50q0).
 */

import type { Duplex } from 'node:stream'
import type { TurnQueue, TurnTask } from '../util/turn.js'
import { ACK_BYTES, encodeAck } from './wire/encode.js'
import type { Frame } from './wire/message.js'

/** Bytes gathered before the turn's end that are written at once. */
const FLUSH_AT_BYTES = 64 * 1024
/** Ranges shorter than this on average are gathered into one buffer; longer ones go to the kernel as a vector. */
const GATHER_BELOW_BYTES = 2048
/** Size of the slabs that per-receiver bytes (packet ids, acknowledgements) are written into. */
const SLAB_BYTES = 16 * 1024

/** Bump-allocated space for small writes, shared by all connections of a node; a used-up slab is left to the GC. */
export class Slab {
  buffer = Buffer.allocUnsafeSlow(SLAB_BYTES)
  private next = 0

  /** Offset of `size` free bytes in `buffer`, which may have been replaced: read `buffer` after the call. */
  take(size: number): number {
    if (this.next + size > this.buffer.length) {
      this.buffer = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, size))
      this.next = 0
    }
    const offset = this.next
    this.next += size
    return offset
  }
}

/** What outboxes of one node share: publishes and acknowledgements apart, so that each run stays contiguous. */
export interface OutboxModules {
  readonly turn: TurnQueue
  readonly publishSlab: Slab
  readonly ackSlab: Slab
  readonly bytesSent: { value: number }
}

/** Frames larger than this get a buffer of their own instead of room in a slab. */
const SLAB_COPY_LIMIT = 4096

/** Told when the stream does not take more; the stream's `drain` event ends it. */
export interface OutboxOwner {
  congested(): void
}

export class Outbox implements TurnTask {
  isQueued = false
  private buffers: Buffer[] = []
  private starts: number[] = []
  private ends: number[] = []
  private gatheredBytes = 0
  /** Bytes handed to the stream so far. */
  private handedBytes = 0
  private isClosed = false

  constructor(
    private readonly stream: Duplex,
    /** Bytes that may wait here and in the stream before `isFull`. */
    private readonly limit: number,
    private readonly modules: OutboxModules,
    private readonly owner: OutboxOwner,
  ) {}

  /** Bytes that wait: gathered in this turn, and accepted by the stream but not by the kernel. */
  get pendingBytes(): number {
    return this.gatheredBytes + this.stream.writableLength
  }

  /** How far this outbox has come: the bytes that were ever to be written, those that still wait included. */
  get totalBytes(): number {
    return this.handedBytes + this.gatheredBytes
  }

  /** Of the total, the bytes that the kernel has taken. */
  get writtenBytes(): number {
    return this.handedBytes - this.stream.writableLength
  }

  get isFull(): boolean {
    return this.gatheredBytes + this.stream.writableLength > this.limit
  }

  /** The kernel does not take more at the moment; the stream's `drain` event says when it does. */
  get isCongested(): boolean {
    return this.stream.writableNeedDrain
  }

  /** Queues the bytes `[start, end)` of a buffer that nobody will change any more. */
  write(buffer: Buffer, start: number, end: number): void {
    if (this.isClosed) return
    const last = this.buffers.length - 1
    if (last >= 0 && this.buffers[last] === buffer && this.ends[last] === start) {
      this.ends[last] = end
    } else {
      this.buffers.push(buffer)
      this.starts.push(start)
      this.ends.push(end)
    }
    this.gatheredBytes += end - start
    if (this.gatheredBytes >= FLUSH_AT_BYTES) this.flush()
    else if (!this.isQueued) this.modules.turn.add(this)
  }

  /** A PUBLISH of QoS 1 or 2: a copy of the shared frame with this receiver's packet id and DUP flag. */
  writePublish(frame: Frame, packetId: number, duplicate: boolean): void {
    const size = frame.end - frame.start
    let target: Buffer
    let offset: number
    if (size <= SLAB_COPY_LIMIT) {
      offset = this.modules.publishSlab.take(size)
      target = this.modules.publishSlab.buffer
    } else {
      offset = 0
      target = Buffer.allocUnsafeSlow(size)
    }
    frame.buffer.copy(target, offset, frame.start, frame.end)
    const idAt = offset + frame.packetIdOffset - frame.start
    target[idAt] = packetId >>> 8
    target[idAt + 1] = packetId & 0xff
    if (duplicate) target[offset] = (target[offset] ?? 0) | 0x08
    this.write(target, offset, offset + size)
  }

  /** PUBACK, PUBREC, PUBREL or PUBCOMP in their short form, which means success. [MQTT 5.0 section 3.4.2.1] */
  writeShortAck(firstByte: number, packetId: number): void {
    const offset = this.modules.ackSlab.take(ACK_BYTES)
    const target = this.modules.ackSlab.buffer
    encodeAck(target, offset, firstByte, packetId)
    this.write(target, offset, offset + ACK_BYTES)
  }

  runTurn(): void {
    this.flush()
  }

  /** Hands everything gathered to the stream as one write. */
  flush(): void {
    const count = this.buffers.length
    if (count === 0 || this.isClosed) return
    const { buffers, starts, ends, gatheredBytes } = this
    this.buffers = []
    this.starts = []
    this.ends = []
    this.gatheredBytes = 0
    this.modules.bytesSent.value += gatheredBytes
    this.handedBytes += gatheredBytes
    // What the kernel takes at once is gone after this; what has to wait behind other writes may wait for long.
    const waits = this.stream.writableLength > 0
    if (count === 1) {
      this.stream.write(slice(buffers, starts, ends, 0, waits))
    } else if (gatheredBytes < count * GATHER_BELOW_BYTES) {
      const gathered = waits ? Buffer.allocUnsafeSlow(gatheredBytes) : Buffer.allocUnsafe(gatheredBytes)
      let offset = 0
      for (let i = 0; i < count; i++) {
        offset += (buffers[i] as Buffer).copy(gathered, offset, starts[i], ends[i])
      }
      this.stream.write(gathered)
    } else {
      this.stream.cork()
      for (let i = 0; i < count; i++) this.stream.write(slice(buffers, starts, ends, i, waits))
      this.stream.uncork()
    }
    if (this.stream.writableNeedDrain) this.owner.congested()
  }

  /** Drops what has not been flushed; nothing is written any more. */
  close(): void {
    this.isClosed = true
    this.buffers = []
    this.starts = []
    this.ends = []
    this.gatheredBytes = 0
  }
}

/** A range as a view; as a copy when it has to wait and would keep a buffer of more than twice its size alive. */
function slice(buffers: Buffer[], starts: number[], ends: number[], index: number, waits: boolean): Buffer {
  const view = (buffers[index] as Buffer).subarray(starts[index], ends[index])
  if (!waits || view.length * 2 >= view.buffer.byteLength) return view
  const copy = Buffer.allocUnsafeSlow(view.length)
  view.copy(copy)
  return copy
}
