/**
 * Received chunks to whole frames. A frame that lies in one chunk is handed on where it lies; only one that
 * straddles chunks is assembled, in a buffer that grows with what has arrived, never with what was announced.
 */

import { MqttError, ReasonCode } from './reason-codes.js'
import { readVariableInteger, variableIntegerSize } from './variable-integer.js'

export interface FrameSink {
  /**
   * Takes one frame: `chunk[start, end)`, its first byte (packet type and flags), its body from `bodyStart`. The
   * bytes stay as they are after the call, but a view keeps the whole chunk alive. False: stop now, `resume` comes.
   */
  frame(chunk: Buffer, firstByte: number, start: number, bodyStart: number, end: number): boolean
}

/** Bytes that a straddling frame gets at first; then the buffer doubles, up to the size of the frame. */
const FIRST_ASSEMBLY_BYTES = 128

/** Longest fixed header: the type and a Remaining Length of four bytes. [MQTT 5.0 section 2.1.4] */
const MAXIMUM_HEADER_BYTES = 5

/** Splits the bytes of one connection. After it or its sink has thrown, the connection is lost: do not call it again. */
export class FrameSplitter {
  /** Largest whole packet accepted, in bytes, fixed header included. [MQTT 5.0 section 3.2.2.3.6] May change at any time. */
  maximumPacketSize: number
  /** A frame of which only `assembledBytes` have arrived. */
  private assembly: Buffer | undefined
  private assembledBytes: number
  /** Size of the whole frame; 0 while its Remaining Length is incomplete. */
  private assemblySize: number
  /** Chunks held back since the sink said stop, the first from `heldStart`; undefined while it takes frames. */
  private held: Buffer[] | undefined
  private heldStart: number

  constructor(maximumPacketSize: number) {
    this.maximumPacketSize = maximumPacketSize
    this.assembly = undefined
    this.assembledBytes = 0
    this.assemblySize = 0
    this.held = undefined
    this.heldStart = 0
  }

  /** The sink has said stop, and `resume` was not called since. */
  get isStopped(): boolean {
    return this.held !== undefined
  }

  /** Bytes that have arrived and were not yet handed on as frames: the incomplete frame and what is held back. */
  get bufferedBytes(): number {
    let bytes = this.assembledBytes
    if (this.held !== undefined) {
      bytes -= this.heldStart
      for (const chunk of this.held) bytes += chunk.length
    }
    return bytes
  }

  /**
   * Hands on every frame that `chunk` completes. Returns false when the sink has stopped: the rest waits for
   * `resume`, and so does all that is pushed before it.
   * @throws MqttError 0x81 for a malformed Remaining Length, 0x95 for a packet over `maximumPacketSize`.
   */
  push(chunk: Buffer, sink: FrameSink): boolean {
    if (this.held !== undefined) {
      this.held.push(chunk)
      return false
    }
    return this.split(chunk, 0, sink)
  }

  /** Holds all of `chunk` back, as if the sink had said stop before it. */
  postpone(chunk: Buffer): void {
    if (this.held === undefined) this.held = [chunk]
    else this.held.push(chunk)
  }

  /** Goes on where the sink said stop. Returns and throws as `push` does; true when nothing was held back. */
  resume(sink: FrameSink): boolean {
    const held = this.held
    if (held === undefined) return true
    const start = this.heldStart
    this.held = undefined
    this.heldStart = 0
    for (let index = 0; index < held.length; index++) {
      if (this.split(held[index] as Buffer, index === 0 ? start : 0, sink)) continue
      this.hold(held, index)
      return false
    }
    return true
  }

  private split(chunk: Buffer, from: number, sink: FrameSink): boolean {
    const length = chunk.length
    let at = from
    if (this.assembly !== undefined) {
      at = this.assemble(this.assembly, chunk, at)
      if (this.assembledBytes !== this.assemblySize) return true
      const frame = this.assembly
      const size = this.assemblySize
      this.assembly = undefined
      this.assembledBytes = 0
      this.assemblySize = 0
      if (!sink.frame(frame, frame[0] as number, 0, headerSize(frame, size), size)) return this.stop(chunk, at)
    }
    while (length - at >= 2) {
      const firstByte = chunk[at] as number
      let remaining = chunk[at + 1] as number
      let bodyStart = at + 2
      if (remaining > 0x7f) {
        remaining = readVariableInteger(chunk, at + 1, length)
        if (remaining === -1) break
        bodyStart = at + 1 + variableIntegerSize(remaining)
      }
      const end = bodyStart + remaining
      if (end - at > this.maximumPacketSize) throw tooLarge(end - at, this.maximumPacketSize)
      if (end > length) break
      if (!sink.frame(chunk, firstByte, at, bodyStart, end)) return this.stop(chunk, end)
      at = end
    }
    if (at < length) this.startAssembly(chunk, at)
    return true
  }

  private stop(chunk: Buffer, at: number): false {
    this.held = at < chunk.length ? [chunk] : []
    this.heldStart = at < chunk.length ? at : 0
    return false
  }

  /** Puts the chunks behind `index` back; `stop` has already kept what is left of that one. */
  private hold(chunks: Buffer[], index: number): void {
    const held = this.held ?? []
    for (let next = index + 1; next < chunks.length; next++) held.push(chunks[next] as Buffer)
    this.held = held
  }

  private startAssembly(chunk: Buffer, at: number): void {
    const assembly = Buffer.allocUnsafeSlow(FIRST_ASSEMBLY_BYTES)
    this.assembly = assembly
    this.assemble(assembly, chunk, at)
  }

  /** Moves bytes of the incomplete frame from `chunk` into its buffer; returns where the next frame starts. */
  private assemble(assembly: Buffer, chunk: Buffer, from: number): number {
    let at = from
    while (this.assemblySize === 0) {
      if (at === chunk.length) return at
      assembly[this.assembledBytes] = chunk[at] as number
      this.assembledBytes += 1
      at += 1
      if (this.assembledBytes >= 2) this.assemblySize = this.announcedSize(assembly)
    }
    const taken = Math.min(this.assemblySize - this.assembledBytes, chunk.length - at)
    chunk.copy(this.room(assembly, this.assembledBytes + taken), this.assembledBytes, at, at + taken)
    this.assembledBytes += taken
    return at + taken
  }

  /** The size of the frame whose header is being assembled, 0 while that is unknown. */
  private announcedSize(assembly: Buffer): number {
    const remaining = readVariableInteger(assembly, 1, Math.min(this.assembledBytes, MAXIMUM_HEADER_BYTES))
    if (remaining === -1) return 0
    const size = 1 + variableIntegerSize(remaining) + remaining
    if (size > this.maximumPacketSize) throw tooLarge(size, this.maximumPacketSize)
    return size
  }

  /** Makes room for `bytes` bytes. Doubling keeps the copying linear, also when they come one at a time. */
  private room(assembly: Buffer, bytes: number): Buffer {
    if (bytes <= assembly.length) return assembly
    const larger = Buffer.allocUnsafeSlow(Math.min(this.assemblySize, Math.max(bytes, assembly.length * 2)))
    assembly.copy(larger, 0, 0, this.assembledBytes)
    this.assembly = larger
    return larger
  }
}

/** The header of a frame of known size: the Remaining Length was checked to be minimal, so the size tells it. */
function headerSize(frame: Buffer, size: number): number {
  return 1 + variableIntegerSize(readVariableInteger(frame, 1, size))
}

function tooLarge(size: number, maximum: number): MqttError {
  return new MqttError(ReasonCode.PacketTooLarge, `packet of ${size} bytes, at most ${maximum} are accepted`)
}
