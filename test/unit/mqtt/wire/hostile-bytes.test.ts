import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { ProtocolVersion } from '../../../../src/mqtt/wire/packets.js'
import { decodePublishProperties } from '../../../../src/mqtt/wire/publish-frame.js'
import { MqttError } from '../../../../src/mqtt/wire/reason-codes.js'
import { packet } from '../../../support/mqtt-bytes.js'
import { inbound, publish } from './arbitrary-packets.js'
import { generate, theirInbound, theirProperties } from './counterpart.js'
import { MALFORMED_V4, MALFORMED_V5, MALFORMED_V5_ACCEPTED_ELSEWHERE } from './malformed-packets.js'
import { refusal } from './receive.js'

const RUNS = 3_000
const TIMEOUT_MS = 60_000

const version = fc.constantFrom<ProtocolVersion>(3, 4, 5)
const randomBytes = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes))

/** The bytes of a good packet of any kind, PUBLISH included. */
const goodPacket = version.chain((level) =>
  fc
    .oneof(
      inbound(level).map((given) => generate(theirInbound(given), level)),
      publish.map(({ topic, payload, qos, retain, packetId: messageId, properties }) =>
        generate(
          {
            ...{ cmd: 'publish', topic, payload, qos, retain, dup: false, messageId },
            ...(level === 5 ? { properties: theirProperties(properties) } : {}),
          },
          level,
        ),
      ),
    )
    .map((bytes) => ({ level, bytes })),
)

/** Where the body of a whole packet starts. */
function bodyStart(bytes: Buffer): number {
  return bytes.findIndex((byte, index) => index > 0 && byte < 0x80) + 1
}

/** Whatever is wrong with the bytes, it is said with a reason code: `refusal` throws on any other error. */
describe('no bytes bring out anything but packets and MqttErrors', { timeout: TIMEOUT_MS }, () => {
  test('random bytes', () => {
    fc.assert(
      fc.property(randomBytes, version, (bytes, level) => {
        refusal(bytes, level)
      }),
      { numRuns: RUNS },
    )
  })

  test('random bodies in sound frames of every type', () => {
    fc.assert(
      fc.property(fc.nat(255), randomBytes, version, (firstByte, body, level) => {
        refusal(packet(firstByte, body), level)
      }),
      { numRuns: RUNS },
    )
  })

  test('good packets cut short, in frames that say so', () => {
    fc.assert(
      fc.property(goodPacket, fc.nat(1_000), ({ level, bytes }, cut) => {
        const body = bytes.subarray(bodyStart(bytes))
        refusal(packet(bytes[0] ?? 0, body.subarray(0, cut % (body.length + 1))), level)
      }),
      { numRuns: RUNS },
    )
  })

  test('good packets with some bytes changed, and read as any version', () => {
    const changes = fc.array(fc.tuple(fc.nat(1_000), fc.nat(255)), { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(goodPacket, changes, version, ({ bytes }, list, level) => {
        for (const [place, value] of list) bytes[place % bytes.length] = value
        refusal(bytes, level)
      }),
      { numRuns: RUNS },
    )
  })

  test('malformed packets with one more byte changed', () => {
    const seeds = [...MALFORMED_V4, ...MALFORMED_V5, ...MALFORMED_V5_ACCEPTED_ELSEWHERE].map(({ bytes }) => bytes)
    fc.assert(
      fc.property(fc.constantFrom(...seeds), fc.nat(100), fc.nat(255), version, (seed, place, value, level) => {
        const bytes = Buffer.from(seed)
        bytes[place % bytes.length] = value
        refusal(bytes, level)
      }),
      { numRuns: RUNS },
    )
  })

  test('random bytes as the properties that a peer forwards', () => {
    fc.assert(
      fc.property(randomBytes, (bytes) => {
        try {
          decodePublishProperties(bytes)
        } catch (error) {
          if (!(error instanceof MqttError)) throw error
        }
      }),
      { numRuns: RUNS },
    )
  })
})
