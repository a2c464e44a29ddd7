/** Reads the fields of a control packet one after the other, and never past their end. */

import { isUtf8 } from 'node:buffer'
import type { UserProperty } from './packets.js'
import { malformed } from './reason-codes.js'
import { readVariableInteger, variableIntegerSize } from './variable-integer.js'

/**
 * A position in `chunk[at, end)`. Each method takes one field and moves on.
 * @throws MqttError 0x81 from every method, when the field does not fit or is not well-formed.
 */
export class ByteReader {
  readonly chunk: Buffer
  readonly end: number
  at: number

  constructor(chunk: Buffer, start: number, end: number) {
    this.chunk = chunk
    this.at = start
    this.end = end
  }

  get isAtEnd(): boolean {
    return this.at === this.end
  }

  byte(): number {
    return this.chunk[this.take(1)] as number
  }

  twoByteInteger(): number {
    const at = this.take(2)
    return ((this.chunk[at] as number) << 8) | (this.chunk[at + 1] as number)
  }

  fourByteInteger(): number {
    return this.chunk.readUInt32BE(this.take(4))
  }

  variableInteger(): number {
    const value = readVariableInteger(this.chunk, this.at, this.end)
    if (value === -1) throw tooShort()
    this.at += variableIntegerSize(value)
    return value
  }

  /** A UTF-8 Encoded String. [MQTT 5.0 section 1.5.4] */
  string(): string {
    const length = this.twoByteInteger()
    const at = this.take(length)
    return decodeString(this.chunk, at, at + length)
  }

  /** Checks a UTF-8 Encoded String as `string` does, without making one. */
  skipString(): void {
    const length = this.twoByteInteger()
    const at = this.take(length)
    checkString(this.chunk, at, at + length)
  }

  /** Binary Data, copied: what it is for outlives the received chunk. [MQTT 5.0 section 1.5.6] */
  binary(): Buffer {
    const length = this.twoByteInteger()
    const at = this.take(length)
    return Buffer.from(this.chunk.subarray(at, at + length))
  }

  skipBinary(): void {
    this.take(this.twoByteInteger())
  }

  /** A UTF-8 String Pair. [MQTT-1.5.7-1] */
  pair(): UserProperty {
    return [this.string(), this.string()]
  }

  /** A reader for the next `length` bytes, which this one passes over. */
  section(length: number): ByteReader {
    const at = this.take(length)
    return new ByteReader(this.chunk, at, at + length)
  }

  /** Says that the packet must end here. */
  expectEnd(): void {
    if (this.at !== this.end) throw malformed('packet is longer than its fields [MQTT 5.0 section 2.1.4]')
  }

  private take(length: number): number {
    const at = this.at
    if (length > this.end - at) throw tooShort()
    this.at = at + length
    return at
  }
}

/**
 * The string in `chunk[start, end)`, which must be well-formed UTF-8 without U+0000. A byte order mark stays.
 * [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-1.5.4-3]
 */
export function decodeString(chunk: Buffer, start: number, end: number): string {
  return chunk.toString(checkString(chunk, start, end) ? 'latin1' : 'utf8', start, end)
}

/** Checks a string as `decodeString` does; true when it is ASCII. */
function checkString(chunk: Buffer, start: number, end: number): boolean {
  let bits = 0
  for (let at = start; at < end; at++) {
    const byte = chunk[at] as number
    // In UTF-8 a zero byte stands for U+0000 and is part of nothing else.
    if (byte === 0) throw malformed('string contains U+0000 [MQTT-1.5.4-2]')
    bits |= byte
  }
  if (bits < 0x80) return true
  if (!isUtf8(chunk.subarray(start, end))) throw malformed('string is not well-formed UTF-8 [MQTT-1.5.4-1]')
  return false
}

function tooShort(): Error {
  return malformed('packet ends within a field [MQTT 5.0 section 2.1.4]')
}
