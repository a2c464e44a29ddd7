import assert from 'node:assert/strict'
import mqttPacket, { type Packet } from 'mqtt-packet'
import type { InboundPacket, OutboundPacket, ProtocolVersion, UserProperty } from '../../../../src/mqtt/wire/packets.js'
import { connackReturnCode } from '../../../../src/mqtt/wire/reason-codes.js'

/** Our packets and properties in the form that mqtt-packet takes and gives, and the bytes through it. */

type Plain = Record<string, unknown>

export function generate(packet: Plain, version: ProtocolVersion): Buffer {
  return mqttPacket.generate(packet as unknown as Packet, { protocolVersion: version })
}

/** The one packet that mqtt-packet finds in `bytes`, as plain data. */
export function parse(bytes: Buffer, version: ProtocolVersion): Plain {
  const packets: Packet[] = []
  const parser = mqttPacket.parser({ protocolVersion: version })
  parser.on('packet', (packet) => packets.push(packet))
  parser.on('error', (error) => assert.fail(`mqtt-packet: ${error}`))
  parser.parse(bytes)
  assert.equal(packets.length, 1)
  return plain(packets[0]) as Plain
}

/** The same without classes and prototypes, which mqtt-packet has and a comparison would see. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain)
  if (value === null || typeof value !== 'object' || Buffer.isBuffer(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, plain(field)]))
}

/** Properties in mqtt-packet's form: flags as booleans, user properties as an object. */
export function theirProperties(properties: object): Plain {
  const { userProperties, payloadFormatIndicator, ...rest } = properties as {
    userProperties?: readonly UserProperty[]
    payloadFormatIndicator?: 0 | 1
  }
  const theirs: Plain = { ...rest }
  if (payloadFormatIndicator !== undefined) theirs.payloadFormatIndicator = payloadFormatIndicator === 1
  if (userProperties !== undefined) {
    const byName: Record<string, string | string[]> = {}
    for (const [name, value] of userProperties) {
      const before = byName[name]
      byName[name] = before === undefined ? value : [before, value].flat()
    }
    theirs.userProperties = byName
  }
  return theirs
}

/** A packet of a client as mqtt-packet's `generate` takes it. */
export function theirInbound(packet: InboundPacket): Plain {
  switch (packet.cmd) {
    case 'connect': {
      const { will, properties, clientId, cleanStart, keepAlive, protocolVersion, username, password } = packet
      return {
        cmd: 'connect',
        protocolId: protocolVersion === 3 ? 'MQIsdp' : 'MQTT',
        protocolVersion,
        clientId,
        clean: cleanStart,
        keepalive: keepAlive,
        properties: theirProperties(properties),
        ...(username === undefined ? {} : { username }),
        ...(password === undefined ? {} : { password }),
        ...(will === undefined
          ? {}
          : {
              will: {
                topic: will.topic,
                payload: will.payload,
                qos: will.qos,
                retain: will.retain,
                properties: {
                  ...theirProperties(will.properties),
                  ...(will.delayInterval === 0 ? {} : { willDelayInterval: will.delayInterval }),
                },
              },
            }),
      }
    }
    case 'subscribe': {
      const { packetId: messageId, subscriptions, ...properties } = packet
      const subscriptionIdentifier = subscriptions[0]?.options.subscriptionId
      return {
        cmd: 'subscribe',
        messageId,
        subscriptions: subscriptions.map(({ topicFilter, options }) => ({
          topic: topicFilter,
          qos: options.qos,
          nl: options.noLocal,
          rap: options.retainAsPublished,
          rh: options.retainHandling,
        })),
        properties: {
          ...theirProperties({ userProperties: properties.userProperties }),
          ...(subscriptionIdentifier === undefined ? {} : { subscriptionIdentifier }),
        },
      }
    }
    case 'unsubscribe': {
      const { packetId: messageId, topicFilters: unsubscriptions, userProperties } = packet
      return { cmd: 'unsubscribe', messageId, unsubscriptions, properties: theirProperties({ userProperties }) }
    }
    case 'pingreq':
      return { cmd: 'pingreq' }
    default:
      return theirAnswer(packet)
  }
}

/** What mqtt-packet's parser should say about a packet of ours. */
export function theirOutbound(packet: OutboundPacket, version: ProtocolVersion): Plain {
  switch (packet.cmd) {
    case 'connack': {
      const { sessionPresent, reasonCode, properties } = packet
      return version === 5
        ? { cmd: 'connack', sessionPresent, reasonCode, properties: theirProperties(properties) }
        : { cmd: 'connack', sessionPresent, returnCode: connackReturnCode(reasonCode), properties: {} }
    }
    case 'suback':
    case 'unsuback':
      return {
        cmd: packet.cmd,
        messageId: packet.packetId,
        ...(version === 5 || packet.cmd === 'suback' ? { granted: packet.reasonCodes } : {}),
        properties: theirProperties(packet.properties),
      }
    case 'pingresp':
      return { cmd: 'pingresp', properties: {} }
    default:
      return theirAnswer(packet)
  }
}

function theirAnswer(
  packet: Extract<InboundPacket | OutboundPacket, { reasonCode: number; properties: object }>,
): Plain {
  return {
    cmd: packet.cmd,
    reasonCode: packet.reasonCode,
    properties: theirProperties(packet.properties),
    ...('packetId' in packet ? { messageId: packet.packetId } : {}),
  }
}
