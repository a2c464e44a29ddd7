/**
 * Sessions of a well-behaved client, by grammar: CONNECT, then packets that fit together (acknowledgements of what
 * the broker will have sent, PUBREL after a QoS 2 PUBLISH), then perhaps DISCONNECT.
 */

import type { Random } from '../support/random.js'
import { INHERITED_NAMES } from './hostile-values.js'
import {
  byte,
  data,
  type Field,
  fourBytes,
  type PacketModel,
  type Property,
  text,
  twoBytes,
  variable,
} from './packet-model.js'

export type FuzzVersion = 3 | 4 | 5

export const VERSIONS: readonly FuzzVersion[] = [3, 4, 5]

/** Few, so that sessions meet: they take each other over, resume and publish to each other. */
const CLIENT_IDS = 48
const TOPICS = ['a', 'a/b', 'a/b/c', 'b', '/', 'a//c', '$a/b', ...INHERITED_NAMES, 'a/__proto__/c']
const FILTERS = [
  ...['a', 'a/b', '+', '#', 'a/#', 'a/+/c', '+/+', '/#', '+/b/#', '$a/+', '$share/g/a/#', '$share/h/+', '$queue/a'],
  ...INHERITED_NAMES,
]

/** Property identifiers and the types of their values. [MQTT 5.0 section 2.2.2.2] */
const PROPERTY_TYPES: Readonly<Record<number, 'byte' | 'two' | 'four' | 'variable' | 'text' | 'pair'>> = {
  1: 'byte',
  2: 'four',
  3: 'text',
  8: 'text',
  9: 'text',
  11: 'variable',
  17: 'four',
  18: 'text',
  19: 'two',
  21: 'text',
  22: 'text',
  23: 'byte',
  24: 'four',
  25: 'byte',
  26: 'text',
  28: 'text',
  31: 'text',
  33: 'two',
  34: 'two',
  35: 'two',
  36: 'byte',
  37: 'byte',
  38: 'pair',
  39: 'four',
  40: 'byte',
  41: 'byte',
  42: 'byte',
}

export const PROPERTY_IDS: readonly number[] = Object.keys(PROPERTY_TYPES).map(Number)

/** Packet types, as on the wire. */
export const Type = {
  Connect: 1,
  Publish: 3,
  Puback: 4,
  Pubrec: 5,
  Pubrel: 6,
  Pubcomp: 7,
  Subscribe: 8,
  Unsubscribe: 10,
  Pingreq: 12,
  Disconnect: 14,
  Auth: 15,
} as const

/** The packets of one session, in order. */
export function session(random: Random, version: FuzzVersion): PacketModel[] {
  const packets = [connect(random, version)]
  const held: number[] = []
  const count = random.below(9)
  for (let index = 0; index < count; index += 1) packets.push(next(random, version, held, index + 1))
  if (random.oneIn(3)) packets.push(disconnect(random, version))
  return packets
}

/** @param held packet ids of QoS 2 messages whose PUBREL is to come. */
function next(random: Random, version: FuzzVersion, held: number[], packetId: number): PacketModel {
  switch (random.below(12)) {
    case 0:
    case 1:
      return subscribe(random, version, packetId)
    case 2:
      return unsubscribe(random, version, packetId)
    case 3:
      return { type: Type.Pingreq, flags: 0, fields: [] }
    case 4:
      return acknowledge(random, version, random.pick([Type.Puback, Type.Pubrec, Type.Pubcomp]), 1 + random.below(4))
    case 5: {
      const id = held.shift() ?? 1 + random.below(6)
      return acknowledge(random, version, Type.Pubrel, id)
    }
    case 6:
      if (version === 5 && random.oneIn(3)) return auth(random)
      return publish(random, version, held, packetId)
    default:
      return publish(random, version, held, packetId)
  }
}

function connect(random: Random, version: FuzzVersion): PacketModel {
  const isV5 = version === 5
  const hasWill = random.oneIn(3)
  const hasUsername = random.oneIn(3)
  const hasPassword = hasUsername && random.oneIn(2)
  const willQos = hasWill ? random.below(3) : 0
  const clean = !random.oneIn(3)
  const flags =
    (hasUsername ? 0x80 : 0) |
    (hasPassword ? 0x40 : 0) |
    (hasWill && random.oneIn(4) ? 0x20 : 0) |
    (willQos << 3) |
    (hasWill ? 0x04 : 0) |
    (clean ? 0x02 : 0)
  const fields: Field[] = [text(version === 3 ? 'MQIsdp' : 'MQTT'), byte(version), byte(flags)]
  fields.push(twoBytes(random.pick([0, 1, 10, 60, 65_535])))
  if (isV5) fields.push(propertiesOf(random, [17, 33, 39, 34, 25, 23, 38]))
  fields.push(text(clientId(random)))
  if (hasWill) {
    if (isV5) fields.push(propertiesOf(random, [24, 1, 2, 3, 8, 9, 38]))
    fields.push(text(random.pick(TOPICS)), text(random.bytes(random.below(40))))
  }
  if (hasUsername) fields.push(text(random.oneIn(4) ? random.pick(INHERITED_NAMES) : 'user'))
  if (hasPassword) fields.push(text(random.bytes(8)))
  return { type: Type.Connect, flags: 0, fields }
}

function clientId(random: Random): string {
  if (random.oneIn(12)) return ''
  if (random.oneIn(12)) return random.pick(INHERITED_NAMES)
  return `fuzz${random.below(CLIENT_IDS)}`
}

function publish(random: Random, version: FuzzVersion, held: number[], packetId: number): PacketModel {
  const qos = random.below(3)
  const isRepeated = qos > 0 && random.oneIn(5)
  const flags = (isRepeated ? 8 : 0) | (qos << 1) | (random.oneIn(6) ? 1 : 0)
  const usesAlias = version === 5 && random.oneIn(6)
  const topic = usesAlias && random.oneIn(2) ? '' : random.pick(TOPICS)
  const fields: Field[] = [text(topic)]
  if (qos > 0) fields.push(twoBytes(packetId))
  if (qos === 2) held.push(packetId)
  if (version === 5) {
    const properties = propertiesOf(random, [1, 2, 3, 8, 9, 38])
    if (usesAlias && properties.kind === 'properties') {
      properties.list.push({ id: 35, values: [twoBytes(1 + random.below(3))] })
    }
    fields.push(properties)
  }
  const size = random.oneIn(200) ? 1 + random.below(70_000) : random.below(80)
  fields.push(data(Buffer.alloc(size, 0x70)))
  return { type: Type.Publish, flags, fields }
}

function acknowledge(random: Random, version: FuzzVersion, type: number, packetId: number): PacketModel {
  const fields: Field[] = [twoBytes(packetId)]
  if (version === 5 && random.oneIn(2)) {
    const codes = type === Type.Pubrel || type === Type.Pubcomp ? [0, 0x92] : [0, 0x10, 0x80, 0x97]
    fields.push(byte(random.pick(codes)))
    if (random.oneIn(2)) fields.push(propertiesOf(random, [31, 38]))
  }
  return { type, flags: type === Type.Pubrel ? 2 : 0, fields }
}

function subscribe(random: Random, version: FuzzVersion, packetId: number): PacketModel {
  const fields: Field[] = [twoBytes(packetId)]
  if (version === 5) fields.push(propertiesOf(random, [11, 38]))
  const count = 1 + random.below(3)
  for (let index = 0; index < count; index += 1) {
    const filter = random.pick(FILTERS)
    const isShared = filter.startsWith('$share')
    const options = version === 5 ? (random.below(4) << 2) | (random.below(3) << 4) : 0
    fields.push(text(filter), byte((isShared ? options & ~4 : options) | random.below(3)))
  }
  return { type: Type.Subscribe, flags: 2, fields }
}

function unsubscribe(random: Random, version: FuzzVersion, packetId: number): PacketModel {
  const fields: Field[] = [twoBytes(packetId)]
  if (version === 5) fields.push(propertiesOf(random, [38]))
  const count = 1 + random.below(3)
  for (let index = 0; index < count; index += 1) fields.push(text(random.pick(FILTERS)))
  return { type: Type.Unsubscribe, flags: 2, fields }
}

function disconnect(random: Random, version: FuzzVersion): PacketModel {
  const fields: Field[] = []
  if (version === 5 && random.oneIn(2)) {
    fields.push(byte(random.pick([0, 4, 0x80])))
    if (random.oneIn(2)) fields.push(propertiesOf(random, [17, 31, 38]))
  }
  return { type: Type.Disconnect, flags: 0, fields }
}

function auth(random: Random): PacketModel {
  const method: Property = { id: 21, values: [text(random.pick(['SCRAM-SHA-256', 'x']))] }
  const answer: Property = { id: 22, values: [text(random.bytes(12))] }
  return {
    type: Type.Auth,
    flags: 0,
    fields: [byte(random.pick([0x18, 0x19])), { kind: 'properties', list: [method, answer] }],
  }
}

/** Some of these properties, each at most once save User Property, with values of the right type. */
function propertiesOf(random: Random, ids: readonly number[]): Field {
  const list: Property[] = []
  if (random.oneIn(2)) {
    for (const id of ids) {
      if (random.oneIn(3)) list.push(property(random, id))
    }
  }
  return { kind: 'properties', list }
}

/** A property with a value that is usually allowed; an id that does not exist gets some bytes. */
export function property(random: Random, id: number): Property {
  return { id, values: valuesOf(random, id) }
}

function valuesOf(random: Random, id: number): Field[] {
  switch (PROPERTY_TYPES[id]) {
    case 'byte':
      return [byte(random.below(2))]
    case 'two':
      return [twoBytes(1 + random.below(100))]
    case 'four':
      // Short intervals, and a Maximum Packet Size that lets something through.
      return [fourBytes(id === 39 ? 20 + random.below(1_000) : random.below(3))]
    case 'variable':
      return [variable(1 + random.below(300))]
    case 'text':
      return [text(random.pick(TOPICS))]
    case 'pair':
      return [text(random.pick(INHERITED_NAMES)), text(`v${random.below(10)}`)]
    default:
      return [data(random.bytes(random.below(4)))]
  }
}
