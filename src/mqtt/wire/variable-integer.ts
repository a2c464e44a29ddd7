/** The Variable Byte Integer: up to 28 bits in one to four bytes. [MQTT 5.0 section 1.5.5] */

import { malformed } from './reason-codes.js'

/** Largest value, 256 MiB less one. */
export const MAXIMUM_VARIABLE_INTEGER = 0x0fff_ffff

/**
 * Reads the integer at `at`; -1 when it does not end before `end`. Its size is `variableIntegerSize` of the value,
 * because a longer encoding than needed is refused.
 * @throws MqttError 0x81 for more than four bytes or for a non-minimal encoding [MQTT-1.5.5-1].
 */
export function readVariableInteger(bytes: Buffer, at: number, end: number): number {
  let value = 0
  for (let index = 0; index < 4; index++) {
    if (at + index >= end) return -1
    const byte = bytes[at + index] as number
    value |= (byte & 0x7f) << (7 * index)
    if (byte > 0x7f) continue
    if (byte === 0 && index > 0) throw malformed('variable byte integer is not minimal [MQTT-1.5.5-1]')
    return value
  }
  throw malformed('variable byte integer has more than four bytes [MQTT 5.0 section 1.5.5]')
}

/** Bytes that the encoding of `value` takes. */
export function variableIntegerSize(value: number): number {
  if (value < 0x80) return 1
  if (value < 0x4000) return 2
  return value < 0x20_0000 ? 3 : 4
}

/** Writes the minimal encoding of `value` and returns the offset behind it. */
export function writeVariableInteger(target: Buffer, at: number, value: number): number {
  let offset = at
  let rest = value
  while (rest > 0x7f) {
    target[offset] = (rest & 0x7f) | 0x80
    offset += 1
    rest >>>= 7
  }
  target[offset] = rest
  return offset + 1
}
