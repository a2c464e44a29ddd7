/** MQTT packets put together byte by byte, sound or not, by nothing that the broker or a client library uses. */

type Field = number | Uint8Array

/** A control packet: its first byte, the Remaining Length of what follows, and that. A number is one byte. */
export function packet(firstByte: number, ...fields: readonly Field[]): Buffer {
  const body = join(fields)
  return Buffer.concat([Buffer.from([firstByte]), variable(body.length), body])
}

/** A Property Length and the properties after it. */
export function properties(...fields: readonly Field[]): Buffer {
  const list = join(fields)
  return Buffer.concat([variable(list.length), list])
}

/** A UTF-8 Encoded String, or Binary Data: two bytes of length and the content, which is not checked. */
export function text(content: string | Uint8Array): Buffer {
  const bytes = Buffer.from(content)
  return Buffer.concat([twoBytes(bytes.length), bytes])
}

export function twoBytes(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff])
}

export function fourBytes(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** A Variable Byte Integer of minimal length. */
export function variable(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  do {
    bytes.push((rest % 128) + (rest >= 128 ? 128 : 0))
    rest = Math.floor(rest / 128)
  } while (rest > 0)
  return Buffer.from(bytes)
}

/** A SUBSCRIBE: pairs of a topic filter and its options, which in 3.1.1 are the requested QoS. */
export function subscribe(
  version: 4 | 5,
  packetId: number,
  ...pairs: readonly (readonly [string | Uint8Array, number])[]
): Buffer {
  const payload = pairs.flatMap(([filter, options]) => [text(filter), options])
  return packet(0x82, twoBytes(packetId), ...(version === 5 ? [properties()] : []), ...payload)
}

/** An UNSUBSCRIBE. */
export function unsubscribe(version: 4 | 5, packetId: number, ...filters: readonly (string | Uint8Array)[]): Buffer {
  return packet(0xa2, twoBytes(packetId), ...(version === 5 ? [properties()] : []), ...filters.map(text))
}

function join(fields: readonly Field[]): Buffer {
  return Buffer.concat(fields.map((field) => (typeof field === 'number' ? Buffer.from([field]) : field)))
}
