/**
 * How many packets one core encodes a second: PUBLISH from its parts for each protocol version, and the answers.
 * Run: `node --import tsx test/bench/encode.bench.ts`
 */

import { encodePacket } from '../../src/mqtt/wire/encode.js'
import { Message } from '../../src/mqtt/wire/message.js'
import type { OutboundPacket, ProtocolVersion } from '../../src/mqtt/wire/packets.js'
import { measure } from './micro.js'

const PER_STEP = 1_000
const MAXIMUM_PACKET_SIZE = 1_048_576
const payload = Buffer.alloc(64, 'x')

/** A new message each time: one that is delivered again keeps what it has encoded. */
function measurePublish(name: string, isV5: boolean, qos: 0 | 1): void {
  measure(name, 'frames', () => {
    let bytes = 0
    for (let i = 0; i < PER_STEP; i++) {
      const frame = Message.from('bench/a/topic', payload, { qos }).frame(isV5, qos, false)
      bytes += frame.end - frame.start
    }
    return bytes > 0 ? PER_STEP : 0
  })
}

function measurePacket(name: string, packet: OutboundPacket, version: ProtocolVersion): void {
  measure(name, 'packets', () => {
    let bytes = 0
    for (let i = 0; i < PER_STEP; i++) bytes += encodePacket(packet, version, MAXIMUM_PACKET_SIZE).length
    return bytes > 0 ? PER_STEP : 0
  })
}

measurePublish('3.1.1: PUBLISH, QoS 0', false, 0)
measurePublish('3.1.1: PUBLISH, QoS 1', false, 1)
measurePublish('5.0: PUBLISH, QoS 0', true, 0)
measurePacket('3.1.1: CONNACK', { cmd: 'connack', sessionPresent: false, reasonCode: 0, properties: {} }, 4)
measurePacket(
  '5.0: CONNACK with three properties',
  {
    cmd: 'connack',
    sessionPresent: false,
    reasonCode: 0,
    properties: { receiveMaximum: 100, maximumPacketSize: 1_048_576, topicAliasMaximum: 64 },
  },
  5,
)
measurePacket('5.0: PUBACK with a reason', { cmd: 'puback', packetId: 7, reasonCode: 0x10, properties: {} }, 5)
