import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { encodePacket } from '../../../../src/mqtt/wire/encode.js'
import { Message } from '../../../../src/mqtt/wire/message.js'
import type { ProtocolVersion } from '../../../../src/mqtt/wire/packets.js'
import { encodePublish } from '../../../../src/mqtt/wire/publish-frame.js'
import { inbound, outbound, publish } from './arbitrary-packets.js'
import { generate, parse, theirInbound, theirOutbound, theirProperties } from './counterpart.js'
import { receiveOne } from './receive.js'

const RUNS = 400
const VERSIONS: readonly ProtocolVersion[] = [3, 4, 5]

/** What is the same whether mqtt-packet leaves a field out or gives it its default. */
function comparable(packet: Record<string, unknown>): Record<string, unknown> {
  const { length: _length, qos: _qos, dup: _dup, retain: _retain, topic: _topic, payload: _payload, ...rest } = packet
  return { ...rest, reasonCode: rest.reasonCode ?? 0, properties: { ...(rest.properties as object | undefined) } }
}

for (const version of VERSIONS) {
  const isV5 = version === 5
  describe(`protocol level ${version}, with mqtt-packet as the counterpart`, () => {
    test('what it generates for a client we decode to the same values', () => {
      fc.assert(
        fc.property(inbound(version), (packet) => {
          assert.deepEqual(receiveOne(generate(theirInbound(packet), version), version), packet)
        }),
        { numRuns: RUNS },
      )
    })

    test('what we encode it parses to the same values', () => {
      fc.assert(
        fc.property(outbound(version), (packet) => {
          const theirs = comparable(parse(encodePacket(packet, version), version))
          assert.deepEqual(theirs, comparable(theirOutbound(packet, version)))
        }),
        { numRuns: RUNS },
      )
    })

    test('a PUBLISH that it generates we decode to the same values', () => {
      fc.assert(
        fc.property(publish, ({ topic, payload, qos, retain, packetId, topicAlias, properties }) => {
          const alias = isV5 && topicAlias !== undefined ? { topicAlias } : {}
          const bytes = generate(
            {
              cmd: 'publish',
              topic,
              payload,
              qos,
              retain,
              dup: false,
              messageId: packetId,
              // The alias first, so that a property behind it must be found too.
              ...(isV5 ? { properties: { ...alias, ...theirProperties(properties) } } : {}),
            },
            version,
          )
          const expiry = isV5 ? properties.messageExpiryInterval : undefined
          assert.deepEqual(receiveOne(bytes, version), {
            cmd: 'publish',
            topic,
            payload: payload.toString('latin1'),
            qos,
            retain,
            duplicate: false,
            packetId: qos === 0 ? 0 : packetId,
            topicAlias: alias.topicAlias ?? 0,
            expiryInterval: expiry === 0 ? 0.001 : (expiry ?? 0),
            payloadFormatIndicator: (isV5 && properties.payloadFormatIndicator) || 0,
            properties: isV5 ? properties : {},
          })
        }),
        { numRuns: RUNS },
      )
    })

    test('a PUBLISH that we encode it parses to the same values', () => {
      fc.assert(
        fc.property(publish, ({ topic, payload, qos, retain, packetId, subscriptionIds, properties }) => {
          const ids = subscriptionIds.length === 0 ? undefined : subscriptionIds
          const frame = encodePublish(Message.from(topic, payload, { properties }), isV5, qos, retain, ids, -1)
          if (qos > 0) frame.buffer.writeUInt16BE(packetId, frame.packetIdOffset)
          const parsed = parse(frame.buffer.subarray(frame.start, frame.end), version)
          assert.deepEqual(
            [parsed.topic, parsed.payload, parsed.qos, parsed.retain, parsed.dup, parsed.messageId],
            [topic, payload, qos, retain, false, qos === 0 ? undefined : packetId],
          )
          const { subscriptionIdentifier, ...rest } = (parsed.properties ?? {}) as Record<string, unknown>
          assert.deepEqual({ ...rest }, isV5 ? theirProperties(properties) : {})
          assert.deepEqual([subscriptionIdentifier ?? []].flat(), isV5 ? subscriptionIds : [])
        }),
        { numRuns: RUNS },
      )
    })
  })
}
