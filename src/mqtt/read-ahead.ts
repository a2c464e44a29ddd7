/**
 * What is read from a client whose PUBLISH packets have to wait for their acknowledgements. Its own acknowledgements
 * stand behind them in the stream, and may be what another client waits for, for whom in turn this one waits: two
 * clients before MQTT 5 that publish to each other would hold each other up. So they overtake: PUBACK, PUBREC, PUBCOMP
 * and PINGREQ are handled at once, everything else waits here in its order, up to a bound.
 */

import { RingBuffer } from '../util/ring-buffer.js'
import { type FrameSink, FrameSplitter } from './wire/frame-splitter.js'
import { PacketType } from './wire/packet-type.js'

/** Packet types that answer what was sent to the client and say nothing about what it has sent, as bits. */
const OVERTAKING =
  (1 << PacketType.Puback) | (1 << PacketType.Pubrec) | (1 << PacketType.Pubcomp) | (1 << PacketType.Pingreq)

/** Rough cost of frames that wait besides their bytes. */
const WAITING_OVERHEAD_BYTES = 64

/** Frames that lie one behind the other in a chunk. */
interface Waiting {
  readonly chunk: Buffer
  readonly start: number
  end: number
  /** Bytes that are held for it; those of the whole chunk, for the first of the chunk. */
  readonly heldBytes: number
}

/** Who reads ahead: the input of a connection. */
export interface Reader {
  /** Whether there is a reason to read ahead, and room. */
  readonly isReadingAhead: boolean
}

export class ReadAhead implements FrameSink {
  // Bounded by bytes.
  private readonly waiting = new RingBuffer<Waiting>(Number.POSITIVE_INFINITY)
  private last: Waiting | undefined
  private byteCount = 0
  /** Nothing comes behind a DISCONNECT but the end of the stream, which must not overtake. */
  private isAtEnd = false
  private readonly splitter: FrameSplitter

  /**
   * @param sink where frames go
   * @param limit bytes that may wait here; one chunk more is held when it is reached
   * @param total the bytes that wait, of all connections
   */
  constructor(
    private readonly reader: Reader,
    private readonly sink: FrameSink,
    private readonly limit: number,
    maximumPacketSize: number,
    private readonly total: { value: number },
  ) {
    this.splitter = new FrameSplitter(maximumPacketSize)
  }

  get hasRoom(): boolean {
    return !this.isAtEnd && this.byteCount < this.limit
  }

  frame(chunk: Buffer, firstByte: number, start: number, bodyStart: number, end: number): boolean {
    const type = firstByte >>> 4
    if ((OVERTAKING & (1 << type)) !== 0) {
      this.sink.frame(chunk, firstByte, start, bodyStart, end)
    } else {
      this.wait(chunk, start, end)
      this.isAtEnd = type === PacketType.Disconnect
    }
    return this.reader.isReadingAhead
  }

  /** Hands on what waits, in its order; false when the sink stopped before the last frame. */
  replay(): boolean {
    if (!this.splitter.resume(this.sink)) return false
    for (;;) {
      const next = this.waiting.shift()
      if (next === undefined) return true
      if (next === this.last) this.last = undefined
      this.count(-next.heldBytes)
      if (!this.splitter.push(next.chunk.subarray(next.start, next.end), this.sink)) return false
    }
  }

  /** The connection is over: what waits is forgotten. */
  clear(): void {
    this.count(-this.byteCount)
    this.waiting.clear()
    this.last = undefined
  }

  private wait(chunk: Buffer, start: number, end: number): void {
    const { last } = this
    if (last?.chunk === chunk && last.end === start) {
      last.end = end
      return
    }
    const heldBytes = WAITING_OVERHEAD_BYTES + (last?.chunk === chunk ? 0 : chunk.length)
    this.last = { chunk, start, end, heldBytes }
    this.waiting.push(this.last)
    this.count(heldBytes)
  }

  private count(bytes: number): void {
    this.byteCount += bytes
    this.total.value += bytes
  }
}
