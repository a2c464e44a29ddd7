/** What is done to sessions: to their packets while these are fields, and to their bytes afterwards. */

import type { Random } from '../support/random.js'
import { PROPERTY_IDS, property } from './grammar.js'
import { BAD_VARIABLE_INTEGERS, EDGES, HOSTILE_TEXTS } from './hostile-values.js'
import type { Field, PacketModel } from './packet-model.js'

type FieldOf<K extends Field['kind']> = Extract<Field, { kind: K }>

/** A packet that is repeated is repeated up to this often: a flood. */
const REPEATED_UP_TO = 60

/** Changes one thing about one packet, or about their order. `packets` is not empty. */
export function mutatePackets(random: Random, packets: PacketModel[]): void {
  const index = random.below(packets.length)
  const packet = packets[index] as PacketModel
  switch (random.below(16)) {
    case 0:
      packet.flags = random.below(16)
      return
    case 1:
      packet.type = random.below(16)
      return
    case 2:
      packet.claimedLength = random.oneIn(2) ? Math.max(0, sizeOf(packet) + random.below(7) - 3) : random.pick(EDGES)
      return
    case 3:
      packet.lengthBytes = random.pick(BAD_VARIABLE_INTEGERS)
      return
    case 4:
    case 5:
      return mutateText(random, packet)
    case 6:
    case 7:
    case 8:
      return mutateProperties(random, packet)
    case 9:
      return mutateInteger(random, packet)
    case 10:
      if (packet.fields.length > 0) packet.fields.splice(random.below(packet.fields.length), 1)
      return
    case 11:
      if (packet.fields.length > 0) packet.fields.push(random.pick(packet.fields))
      return
    case 12:
      packets.splice(random.below(packets.length + 1), 0, packet)
      return
    case 13:
      packets.splice(index, 1)
      if (packets.length === 0) packets.push(packet)
      return
    case 14: {
      const other = random.below(packets.length)
      packets[index] = packets[other] as PacketModel
      packets[other] = packet
      return
    }
    default:
      if (!random.oneIn(4)) return mutateText(random, packet)
      for (let times = random.below(REPEATED_UP_TO); times > 0; times -= 1) packets.splice(index, 0, packet)
  }
}

function mutateText(random: Random, packet: PacketModel): void {
  const texts = fieldsOf(packet, 'text')
  if (texts.length === 0) return
  const field = random.pick(texts)
  if (random.oneIn(2)) field.content = random.pick(HOSTILE_TEXTS)
  else field.claimedLength = random.oneIn(2) ? field.content.length + random.below(5) - 2 : random.pick(EDGES)
}

function mutateInteger(random: Random, packet: PacketModel): void {
  const integers = fieldsOf(packet, 'bytes').filter(({ bytes }) => bytes.length > 0 && bytes.length <= 4)
  if (integers.length === 0) return
  const field = random.pick(integers)
  const value = random.pick(EDGES)
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  field.bytes = Buffer.from(bytes.subarray(4 - field.bytes.length))
}

function mutateProperties(random: Random, packet: PacketModel): void {
  const sections = packet.fields.filter((field) => field.kind === 'properties')
  if (sections.length === 0) return
  const section = random.pick(sections)
  const { list } = section
  switch (random.below(6)) {
    case 0:
      section.claimedLength = random.pick(EDGES)
      return
    case 1:
      if (list.length > 0) list.push(random.pick(list))
      return
    case 2:
      list.push(property(random, random.pick(PROPERTY_IDS)))
      return
    case 3:
      list.push(property(random, random.below(256)))
      return
    case 4: {
      const [first] = list
      if (first !== undefined) first.id = random.pick(PROPERTY_IDS)
      return
    }
    default: {
      const [first] = list
      const [value] = first?.values ?? []
      if (value?.kind === 'text') value.content = random.pick(HOSTILE_TEXTS)
      else if (value?.kind === 'bytes') value.bytes = Buffer.alloc(value.bytes.length, random.pick([0, 0xff]))
      else if (value?.kind === 'variable') value.bytes = random.pick(BAD_VARIABLE_INTEGERS)
    }
  }
}

/** Fields of this kind, those of properties included. */
function fieldsOf<K extends Field['kind']>(packet: PacketModel, kind: K): FieldOf<K>[] {
  const fields = packet.fields.flatMap((field) =>
    field.kind === 'properties' ? field.list.flatMap(({ values }) => values) : [field],
  )
  return fields.filter((field): field is FieldOf<K> => field.kind === kind)
}

/** Roughly the Remaining Length, to lie about by a little. */
function sizeOf(packet: PacketModel): number {
  let size = 0
  for (const field of packet.fields) {
    if (field.kind === 'bytes') size += field.bytes.length
    else if (field.kind === 'text') size += 2 + field.content.length
    else size += 1
  }
  return size
}

/** Changes the bytes somewhere. */
export function mutateBytes(random: Random, bytes: Buffer): Buffer {
  if (bytes.length === 0) return random.bytes(1 + random.below(8))
  const at = random.below(bytes.length)
  switch (random.below(7)) {
    case 0:
    case 1: {
      const changed = Buffer.from(bytes)
      for (let flips = 1 + random.below(4); flips > 0; flips -= 1) {
        const place = random.below(changed.length)
        changed[place] = (changed[place] as number) ^ (1 << random.below(8))
      }
      return changed
    }
    case 2: {
      const changed = Buffer.from(bytes)
      changed[at] = random.oneIn(3) ? random.pick([0, 0x7f, 0x80, 0xff]) : random.next() & 0xff
      return changed
    }
    case 3:
      return bytes.subarray(0, at)
    case 4:
      return Buffer.concat([bytes.subarray(0, at), random.bytes(1 + random.below(6)), bytes.subarray(at)])
    case 5:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random.below(8))])
    default: {
      const end = at + random.below(Math.min(64, bytes.length - at) + 1)
      return Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)])
    }
  }
}

/** The beginning of one and the end of the other. */
export function splice(random: Random, one: Buffer, other: Buffer): Buffer {
  return Buffer.concat([one.subarray(0, random.below(one.length + 1)), other.subarray(random.below(other.length + 1))])
}

/** Cut into chunks, as a network might: whole, in single bytes, or anywhere. */
export function cut(random: Random, bytes: Buffer): Buffer[] {
  if (bytes.length < 2 || random.oneIn(2)) return [bytes]
  const chunks: Buffer[] = []
  const isDripped = bytes.length <= 64 && random.oneIn(8)
  let at = 0
  while (at < bytes.length && chunks.length < 64) {
    const size = isDripped ? 1 : 1 + random.below(Math.max(1, Math.ceil(bytes.length / 2)))
    chunks.push(bytes.subarray(at, at + size))
    at += size
  }
  if (at < bytes.length) chunks.push(bytes.subarray(at))
  return chunks
}
