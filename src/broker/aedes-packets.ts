/** Our Message in the shape of Aedes' packets, for hooks, events and `subscribe` functions, and back. */

import type { PublishPacket, AedesPublishPacket as TypedPublishPacket } from 'aedes'
import { readDelay } from '../mqtt/delay.js'
import { Message } from '../mqtt/wire/message.js'
import type { PublishProperties, QoS, UserProperty } from '../mqtt/wire/packets.js'
import { decodePublishProperties } from '../mqtt/wire/publish-frame.js'
import { topicNameProblem } from '../mqtt/wire/topic.js'

/** What the length of a UTF-8 string on the wire can say. [MQTT 5.0 section 1.5.4] */
const LONGEST_TOPIC_BYTES = 65_535

/** The properties of an mqtt-packet PUBLISH, as embedders write them. */
type PacketProperties = NonNullable<PublishPacket['properties']>

/** Aedes puts the publisher's client ID on the packet too; its type leaves that out. */
export type AedesPublishPacket = TypedPublishPacket & { clientId?: string }

/** What `aedes.publish` accepts: everything but the topic may be left out. */
export type PublishRequest = Partial<Omit<PublishPacket, 'topic'>> & { topic: string }

/** @param brokerId the node that first took the message. */
export function toAedesPacket(message: Message, brokerId: string, brokerCounter: number): AedesPublishPacket {
  const packet: AedesPublishPacket = {
    cmd: 'publish',
    brokerId,
    brokerCounter,
    topic: message.topic,
    payload: message.payload,
    qos: message.qos,
    retain: message.retain,
    dup: false,
  }
  if (message.publisherId !== '') packet.clientId = message.publisherId
  if (message.properties !== undefined) packet.properties = toPacketProperties(message)
  return packet
}

/** Why the broker cannot publish this, in a few words; undefined when it can. */
export function publishProblem({ topic }: PublishRequest): string | undefined {
  if (Buffer.byteLength(topic) > LONGEST_TOPIC_BYTES) return `a topic name has at most ${LONGEST_TOPIC_BYTES} bytes`
  return topicNameProblem(topic)
}

export function fromAedesPacket(packet: PublishRequest, publisherId: string): Message {
  const payload = typeof packet.payload === 'string' ? Buffer.from(packet.payload) : (packet.payload ?? Buffer.alloc(0))
  const options: Parameters<typeof Message.from>[2] = {
    qos: (packet.qos ?? 0) as QoS,
    retain: packet.retain ?? false,
    publisherId,
  }
  if (packet.properties !== undefined) options.properties = fromPacketProperties(packet.properties)
  const { topic, delay } = readDelay(packet.topic)
  const message = Message.from(topic, payload, options)
  message.delay = delay
  return message
}

/**
 * What a hook has made of the packet it was shown; the message itself when the hook left it alone.
 * @param shown a copy of the packet from before the hook
 */
export function afterHook(message: Message, shown: AedesPublishPacket, left: PublishRequest): Message {
  const isUnchanged =
    left.topic === shown.topic &&
    left.payload === shown.payload &&
    left.qos === shown.qos &&
    left.retain === shown.retain &&
    left.properties === shown.properties
  if (isUnchanged) return message
  const changed = fromAedesPacket(left, message.publisherId)
  // It is still the message that came then: its time goes on.
  if (message.expiresAt !== 0) changed.expiresAt = message.expiresAt
  changed.isAged = message.isAged
  if (message.delay !== 0) changed.delay = message.delay
  return changed
}

function toPacketProperties(message: Message): PacketProperties {
  const from = decodePublishProperties(message.properties ?? Buffer.alloc(0))
  const properties: PacketProperties = {}
  if (from.payloadFormatIndicator !== undefined) properties.payloadFormatIndicator = from.payloadFormatIndicator === 1
  if (from.messageExpiryInterval !== undefined) properties.messageExpiryInterval = from.messageExpiryInterval
  if (from.contentType !== undefined) properties.contentType = from.contentType
  if (from.responseTopic !== undefined) properties.responseTopic = from.responseTopic
  if (from.correlationData !== undefined) properties.correlationData = from.correlationData
  if (from.userProperties !== undefined) properties.userProperties = groupUserProperties(from.userProperties)
  return properties
}

function fromPacketProperties(from: PacketProperties): PublishProperties {
  const properties: PublishProperties = {}
  if (from.payloadFormatIndicator !== undefined) properties.payloadFormatIndicator = from.payloadFormatIndicator ? 1 : 0
  if (from.messageExpiryInterval !== undefined) properties.messageExpiryInterval = from.messageExpiryInterval
  if (from.contentType !== undefined) properties.contentType = from.contentType
  if (from.responseTopic !== undefined) properties.responseTopic = from.responseTopic
  if (from.correlationData !== undefined) properties.correlationData = from.correlationData
  if (from.userProperties !== undefined) {
    properties.userProperties = Object.entries(from.userProperties).flatMap(([name, value]) =>
      (Array.isArray(value) ? value : [value]).map((one): UserProperty => [name, one]),
    )
  }
  return properties
}

/** mqtt-packet groups user properties by name; the order between names is lost there. */
function groupUserProperties(properties: readonly UserProperty[]): Record<string, string | string[]> {
  const groups: Record<string, string | string[]> = Object.create(null)
  for (const [name, value] of properties) {
    const known = groups[name]
    if (known === undefined) groups[name] = value
    else if (Array.isArray(known)) known.push(value)
    else groups[name] = [known, value]
  }
  return groups
}
