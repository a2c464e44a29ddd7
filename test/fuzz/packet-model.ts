/**
 * MQTT packets as fields that a mutation can see, and their bytes. A field may claim a length that is not its own:
 * the bytes then lie as the field says.
 */

/** The most that one Variable Byte Integer can say. */
export const LARGEST_VARIABLE_INTEGER = 268_435_455

export type Field =
  /** An integer, a byte of flags, or a payload. */
  | { kind: 'bytes'; bytes: Buffer }
  /** A UTF-8 Encoded String or Binary Data: two bytes of length and the content. */
  | { kind: 'text'; content: Buffer; claimedLength?: number }
  /** A Variable Byte Integer; `bytes` when it is not encoded as it should be. */
  | { kind: 'variable'; value: number; bytes?: Buffer }
  /** A Property Length and the properties. */
  | { kind: 'properties'; list: Property[]; claimedLength?: number }

export interface Property {
  id: number
  /** User properties have two. */
  values: Field[]
}

export interface PacketModel {
  /** The high four bits of the first byte. */
  type: number
  flags: number
  fields: Field[]
  claimedLength?: number
  /** In the place of the Remaining Length, when it is not encoded as it should be. */
  lengthBytes?: Buffer
}

export function byte(value: number): Field {
  return { kind: 'bytes', bytes: Buffer.from([value & 0xff]) }
}

export function twoBytes(value: number): Field {
  return { kind: 'bytes', bytes: Buffer.from([(value >> 8) & 0xff, value & 0xff]) }
}

export function fourBytes(value: number): Field {
  const bytes = Buffer.allocUnsafe(4)
  bytes.writeUInt32BE(value >>> 0)
  return { kind: 'bytes', bytes }
}

export function text(content: string | Buffer): Field {
  return { kind: 'text', content: typeof content === 'string' ? Buffer.from(content) : content }
}

export function variable(value: number): Field {
  return { kind: 'variable', value }
}

export function data(bytes: Buffer): Field {
  return { kind: 'bytes', bytes }
}

export function encodeModel(packet: PacketModel): Buffer {
  const body = packet.fields.flatMap(encodeField)
  const length = body.reduce((sum, bytes) => sum + bytes.length, 0)
  const announced = packet.lengthBytes ?? encodeVariable(packet.claimedLength ?? length)
  return Buffer.concat([Buffer.from([((packet.type << 4) | (packet.flags & 15)) & 0xff]), announced, ...body])
}

function encodeField(field: Field): Buffer[] {
  switch (field.kind) {
    case 'bytes':
      return [field.bytes]
    case 'variable':
      return [field.bytes ?? encodeVariable(field.value)]
    case 'text': {
      const length = field.claimedLength ?? field.content.length
      return [Buffer.from([(length >> 8) & 0xff, length & 0xff]), field.content]
    }
    case 'properties': {
      const list = field.list.flatMap(({ id, values }) => [Buffer.from([id & 0xff]), ...values.flatMap(encodeField)])
      const length = list.reduce((sum, bytes) => sum + bytes.length, 0)
      return [encodeVariable(field.claimedLength ?? length), ...list]
    }
  }
}

/** In the fewest bytes, as MQTT wants it. */
export function encodeVariable(value: number): Buffer {
  const bytes: number[] = []
  let rest = Math.min(Math.max(value, 0), LARGEST_VARIABLE_INTEGER)
  do {
    bytes.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0))
    rest = rest >>> 7
  } while (rest > 0)
  return Buffer.from(bytes)
}
