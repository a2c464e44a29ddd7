import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  ACK_BYTES,
  encodeAck,
  encodePacket,
  PUBACK_FIRST_BYTE,
  PUBCOMP_FIRST_BYTE,
  PUBREC_FIRST_BYTE,
  PUBREL_FIRST_BYTE,
} from '../../../../src/mqtt/wire/encode.js'
import type { OutboundPacket, ProtocolVersion } from '../../../../src/mqtt/wire/packets.js'
import { packet, properties, text, twoBytes } from '../../../support/mqtt-bytes.js'

const ID = twoBytes(0x1234)
const NONE = properties()

function check(given: OutboundPacket, version: ProtocolVersion, expected: Buffer): void {
  assert.equal(encodePacket(given, version).toString('hex'), expected.toString('hex'))
}

describe('CONNACK', () => {
  const accepted: OutboundPacket = { cmd: 'connack', sessionPresent: true, reasonCode: 0, properties: {} }
  const refused: OutboundPacket = { cmd: 'connack', sessionPresent: true, reasonCode: 0x87, properties: {} }

  test('says whether there is a session', () => {
    check(accepted, 5, packet(0x20, 1, 0, NONE))
    check(accepted, 4, packet(0x20, 1, 0))
  })

  test('of a refusal has no session, and before MQTT 5 a return code [MQTT-3.2.2-6]', () => {
    check(refused, 5, packet(0x20, 0, 0x87, NONE))
    check(refused, 4, packet(0x20, 0, 5))
    check(refused, 3, packet(0x20, 0, 5))
  })

  test('has its properties in MQTT 5 and none before', () => {
    const connack: OutboundPacket = {
      ...accepted,
      properties: { receiveMaximum: 100, assignedClientIdentifier: 'c', retainAvailable: true, maximumQoS: 1 },
    }
    const list = properties(0x21, twoBytes(100), 0x12, text('c'), 0x25, 1, 0x24, 1)
    check(connack, 5, packet(0x20, 1, 0, list))
    check(connack, 4, packet(0x20, 1, 0))
  })
})

describe('acknowledgements', () => {
  for (const [cmd, firstByte, constant, failure] of [
    ['puback', 0x40, PUBACK_FIRST_BYTE, 0x97],
    ['pubrec', 0x50, PUBREC_FIRST_BYTE, 0x97],
    ['pubrel', 0x62, PUBREL_FIRST_BYTE, 0x92],
    ['pubcomp', 0x70, PUBCOMP_FIRST_BYTE, 0x92],
  ] as const) {
    test(`${cmd} of success is four bytes in every version, by both encoders [MQTT 5.0 section 3.4.2.1]`, () => {
      const success: OutboundPacket = { cmd, packetId: 0x1234, reasonCode: 0, properties: {} }
      for (const version of [3, 4, 5] as const) check(success, version, packet(firstByte, ID))
      const target = Buffer.alloc(ACK_BYTES + 2, 0xff)
      encodeAck(target, 1, constant, 0x1234)
      assert.deepEqual(target.subarray(1, -1), packet(firstByte, ID))
      assert.deepEqual([target[0], target[ACK_BYTES + 1]], [0xff, 0xff])
    })

    test(`${cmd} of failure has a reason code in MQTT 5`, () => {
      const refused: OutboundPacket = { cmd, packetId: 0x1234, reasonCode: failure, properties: {} }
      check(refused, 5, packet(firstByte, ID, failure))
      check(refused, 4, packet(firstByte, ID))
      const reasonString = properties(0x1f, text('why'))
      check({ ...refused, properties: { reasonString: 'why' } }, 5, packet(firstByte, ID, failure, reasonString))
    })
  }
})

describe('SUBACK and UNSUBACK', () => {
  const suback: OutboundPacket = { cmd: 'suback', packetId: 0x1234, reasonCodes: [0, 1, 2, 0x87, 0x8f], properties: {} }
  const unsuback: OutboundPacket = { cmd: 'unsuback', packetId: 0x1234, reasonCodes: [0, 0x11], properties: {} }

  test('SUBACK has one code per filter; before MQTT 5 each failure is 0x80 [MQTT-3.9.3-2]', () => {
    check(suback, 5, packet(0x90, ID, NONE, 0, 1, 2, 0x87, 0x8f))
    check(suback, 4, packet(0x90, ID, 0, 1, 2, 0x80, 0x80))
  })

  test('UNSUBACK has one code per filter; before MQTT 5 it has none [MQTT-3.11.3-1]', () => {
    check(unsuback, 5, packet(0xb0, ID, NONE, 0, 0x11))
    check(unsuback, 4, packet(0xb0, ID))
  })

  test('user properties keep their order and may repeat a name', () => {
    const pairs = [
      ['b', '1'],
      ['a', '2'],
      ['b', '3'],
    ] as const
    const list = properties(...pairs.flatMap(([name, value]) => [0x26, text(name), text(value)]))
    check({ ...unsuback, properties: { userProperties: pairs } }, 5, packet(0xb0, ID, list, 0, 0x11))
  })
})

describe('the others', () => {
  test('PINGRESP is the same in every version', () => {
    for (const version of [3, 4, 5] as const) check({ cmd: 'pingresp' }, version, packet(0xd0))
  })

  test('DISCONNECT leaves out what it does not need [MQTT 5.0 section 3.14.2.1]', () => {
    check({ cmd: 'disconnect', reasonCode: 0, properties: {} }, 5, packet(0xe0))
    check({ cmd: 'disconnect', reasonCode: 0x8e, properties: {} }, 5, packet(0xe0, 0x8e))
    const moved: OutboundPacket = { cmd: 'disconnect', reasonCode: 0x9d, properties: { serverReference: 'n2' } }
    check(moved, 5, packet(0xe0, 0x9d, properties(0x1c, text('n2'))))
  })

  test('AUTH carries method and data', () => {
    const auth: OutboundPacket = {
      cmd: 'auth',
      reasonCode: 0x18,
      properties: { authenticationMethod: 'm', authenticationData: Buffer.from('d') },
    }
    check(auth, 5, packet(0xf0, 0x18, properties(0x15, text('m'), 0x16, text('d'))))
  })

  test('DISCONNECT and AUTH are never sent before MQTT 5', () => {
    for (const version of [3, 4] as const) {
      assert.throws(() => encodePacket({ cmd: 'disconnect', reasonCode: 0, properties: {} }, version), TypeError)
      assert.throws(() => encodePacket({ cmd: 'auth', reasonCode: 0x18, properties: {} }, version), TypeError)
    }
  })
})

describe('what must not be sent is a mistake of the caller', () => {
  test('a Session Expiry Interval in a DISCONNECT of the server [MQTT-3.14.2-2]', () => {
    const disconnect: OutboundPacket = { cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 1 } }
    assert.throws(() => encodePacket(disconnect, 5), /MQTT-3\.14\.2-2/)
  })

  test('a property of another packet', () => {
    const properties = { reasonString: 'why', topicAlias: 1 }
    assert.throws(() => encodePacket({ cmd: 'puback', packetId: 1, reasonCode: 0, properties }, 5), /topicAlias/)
  })

  test('a string over 65,535 bytes', () => {
    const properties = { reasonString: 'x'.repeat(65_536) }
    assert.throws(() => encodePacket({ cmd: 'puback', packetId: 1, reasonCode: 0, properties }, 5), /65536/)
  })
})

test('Reason String and User Properties give way to the Maximum Packet Size of the client [MQTT-3.2.2-19]', () => {
  const connack: OutboundPacket = {
    cmd: 'connack',
    sessionPresent: false,
    reasonCode: 0,
    properties: { reasonString: 'why', receiveMaximum: 7, userProperties: [['a', 'b']] },
  }
  const short = packet(0x20, 0, 0, properties(0x21, twoBytes(7)))
  const full = encodePacket(connack, 5)
  assert.ok(full.length > short.length)
  assert.deepEqual(encodePacket(connack, 5, full.length), full)
  assert.deepEqual(encodePacket(connack, 5, full.length - 1), short)
})
