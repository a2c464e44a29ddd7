/** What a received PUBLISH has of properties, taken apart by nothing that the broker or a client library uses. */

/** Bytes of a property's value: a number of them, or a string, two strings, or a Variable Byte Integer. */
const PROPERTY_VALUES: Readonly<Record<number, number | 'string' | 'pair' | 'variable'>> = {
  1: 1,
  2: 4,
  3: 'string',
  8: 'string',
  9: 'string',
  11: 'variable',
  35: 2,
  38: 'pair',
}

/** The properties of a PUBLISH frame at QoS 0, each with its identifier, in their order. */
export function publishProperties(frame: Buffer): Buffer[] {
  const header = variableEnd(frame, 1)
  const lengthAt = header + 2 + frame.readUInt16BE(header)
  let at = variableEnd(frame, lengthAt)
  const end = at + variableValue(frame, lengthAt)
  const list: Buffer[] = []
  while (at < end) {
    const start = at
    const kind = PROPERTY_VALUES[frame[at] as number]
    at += 1
    if (kind === undefined) throw new Error(`property ${frame[start]} of a PUBLISH: ${frame.toString('hex')}`)
    if (typeof kind === 'number') at += kind
    else if (kind === 'variable') at = variableEnd(frame, at)
    else for (let strings = kind === 'pair' ? 2 : 1; strings > 0; strings -= 1) at += 2 + frame.readUInt16BE(at)
    list.push(frame.subarray(start, at))
  }
  return list
}

/** Where the Variable Byte Integer at `at` ends. */
function variableEnd(bytes: Buffer, at: number): number {
  let end = at
  while ((bytes[end] as number) > 0x7f) end += 1
  return end + 1
}

function variableValue(bytes: Buffer, at: number): number {
  let value = 0
  for (let index = variableEnd(bytes, at) - 1; index >= at; index -= 1)
    value = value * 128 + ((bytes[index] as number) & 0x7f)
  return value
}
