import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import mqttPacket from 'mqtt-packet'
import { announcedVersion, decodePublish, PublishHeader } from '../../../../src/mqtt/wire/decode.js'
import type { ProtocolVersion } from '../../../../src/mqtt/wire/packets.js'
import { fourBytes, packet, properties, text, twoBytes } from '../../../support/mqtt-bytes.js'
import { MALFORMED_V4, MALFORMED_V5, MALFORMED_V5_ACCEPTED_ELSEWHERE } from './malformed-packets.js'
import { hex, receiveOne, refusal } from './receive.js'

const ID = twoBytes(0x1234)
const NONE = properties()
const KEEP_ALIVE = twoBytes(60)

describe('malformed packets are refused with their reason code', () => {
  for (const { why, bytes, reasonCode } of [...MALFORMED_V5, ...MALFORMED_V5_ACCEPTED_ELSEWHERE]) {
    test(`5.0: ${why}`, () => assert.equal(hex(refusal(bytes, 5)), hex(reasonCode)))
  }
  for (const { why, bytes, reasonCode } of MALFORMED_V4) {
    test(`3.1.1: ${why}`, () => assert.equal(hex(refusal(bytes, 4)), hex(reasonCode)))
  }

  test('many of them are good packets to mqtt-packet, on which this codec is therefore not built', () => {
    for (const { why, bytes } of MALFORMED_V5_ACCEPTED_ELSEWHERE) {
      let packets = 0
      const parser = mqttPacket.parser({ protocolVersion: 5 })
      parser.on('packet', () => {
        packets += 1
      })
      parser.on('error', (error) => assert.fail(`${why}: refused there too: ${error}`))
      parser.parse(bytes)
      assert.equal(packets, 1, why)
    }
  })
})

describe('CONNECT', () => {
  test('the smallest one of each version', () => {
    const shapes: readonly [string, ProtocolVersion, Buffer][] = [
      ['MQIsdp', 3, Buffer.alloc(0)],
      ['MQTT', 4, Buffer.alloc(0)],
      ['MQTT', 5, NONE],
    ]
    for (const [name, level, list] of shapes) {
      // The version of the connection is not known yet, so what is passed for it does not count.
      assert.deepEqual(receiveOne(packet(0x10, text(name), level, 0x02, KEEP_ALIVE, list, text('c')), 4), {
        cmd: 'connect',
        protocolVersion: level,
        clientId: 'c',
        cleanStart: true,
        keepAlive: 60,
        will: undefined,
        username: undefined,
        password: undefined,
        properties: {},
      })
    }
  })

  test('its fields come in the order client ID, will properties, topic, payload, user name, password [MQTT-3.1.3-1]', () => {
    const list = properties(0x21, twoBytes(7), 0x19, 1, 0x17, 0)
    const willList = properties(
      0x18,
      fourBytes(5),
      0x02,
      fourBytes(9),
      0x26,
      text('a'),
      text('1'),
      0x26,
      text('a'),
      text('2'),
    )
    const will = [willList, text('w'), text('gone')]
    const bytes = packet(0x10, text('MQTT'), 5, 0xec, KEEP_ALIVE, list, text('c'), ...will, text('u'), text('p'))
    assert.deepEqual(receiveOne(bytes), {
      cmd: 'connect',
      protocolVersion: 5,
      clientId: 'c',
      cleanStart: false,
      keepAlive: 60,
      will: {
        topic: 'w',
        payload: Buffer.from('gone'),
        qos: 1,
        retain: true,
        delayInterval: 5,
        properties: {
          messageExpiryInterval: 9,
          userProperties: [
            ['a', '1'],
            ['a', '2'],
          ],
        },
      },
      username: 'u',
      password: Buffer.from('p'),
      properties: { receiveMaximum: 7, requestResponseInformation: true, requestProblemInformation: false },
    })
  })

  test('MQTT 5 allows a password without a user name [MQTT 5.0 section 3.1.2.9]', () => {
    const connect = receiveOne(packet(0x10, text('MQTT'), 5, 0x42, KEEP_ALIVE, NONE, text('c'), text('token')))
    assert.ok(connect.cmd === 'connect')
    assert.deepEqual([connect.username, connect.password?.toString()], [undefined, 'token'])
  })

  test('what it keeps does not keep the received chunk alive', () => {
    const connect = receiveOne(packet(0x10, text('MQTT'), 4, 0xc2, KEEP_ALIVE, text('c'), text('u'), text('secret')), 4)
    assert.ok(connect.cmd === 'connect' && connect.password !== undefined)
    assert.ok(connect.password.buffer.byteLength <= Buffer.poolSize)
  })

  test('its version can be told when the rest of it is refused', () => {
    const versionOf = (...fields: (number | Buffer)[]) => {
      const body = packet(0, ...fields).subarray(2)
      return announcedVersion(body, 0, body.length)
    }
    assert.equal(versionOf(text('MQTT'), 5, 0xff), 5)
    assert.equal(versionOf(text('MQTT'), 4), 4)
    assert.equal(versionOf(text('MQIsdp'), 3), 3)
    assert.equal(versionOf(text('MQTT'), 6), 5, 'a later one reads the form of 5.0')
    assert.equal(versionOf(text('MQTT'), 0x84), undefined, 'a bridge')
    assert.equal(versionOf(text('MQTT'), 2), undefined)
    assert.equal(versionOf(text('HTTP'), 4), undefined)
    assert.equal(versionOf(text('MQTT')), undefined)
    assert.equal(versionOf(twoBytes(200), 1), undefined)
    assert.equal(versionOf(0), undefined)
    assert.equal(versionOf(), undefined)
  })
})

describe('acknowledgements', () => {
  for (const [cmd, firstByte, failure] of [
    ['puback', 0x40, 0x87],
    ['pubrec', 0x50, 0x97],
    ['pubrel', 0x62, 0x92],
    ['pubcomp', 0x70, 0x92],
  ] as const) {
    test(`${cmd}: the packet id alone, with a reason code, with properties [MQTT 5.0 section 3.4.2]`, () => {
      const success = { cmd, packetId: 0x1234, reasonCode: 0, properties: {} }
      assert.deepEqual(receiveOne(packet(firstByte, ID), 4), success)
      assert.deepEqual(receiveOne(packet(firstByte, ID), 5), success)
      assert.deepEqual(receiveOne(packet(firstByte, ID, failure)), { ...success, reasonCode: failure })
      assert.deepEqual(receiveOne(packet(firstByte, ID, failure, properties(0x1f, text('why')))), {
        ...success,
        reasonCode: failure,
        properties: { reasonString: 'why' },
      })
    })
  }

  test('a broker that bridges here may say that it has no subscribers [MQTT-3.4.2-1]', () => {
    const puback = receiveOne(packet(0x40, ID, 0x10))
    assert.equal(puback.cmd === 'puback' && puback.reasonCode, 0x10)
  })

  test('a 3.1 client sets DUP in what it sends again [MQTT 3.1 section 2.1]', () => {
    assert.equal(receiveOne(packet(0x6a, ID), 3).cmd, 'pubrel')
    assert.equal(receiveOne(packet(0x8a, ID, text('a'), 1), 3).cmd, 'subscribe')
    assert.equal(hex(refusal(packet(0x6a, ID), 4)), '0x81')
  })
})

describe('SUBSCRIBE and UNSUBSCRIBE', () => {
  test('all subscription options, each filter with its own, the identifier for all [MQTT 5.0 section 3.8.3.1]', () => {
    const list = properties(0x0b, 0xff, 0x7f, 0x26, text('k'), text('v'))
    assert.deepEqual(receiveOne(packet(0x82, ID, list, text('a/+'), 0x2d, text('$share/g/b'), 0x12)), {
      cmd: 'subscribe',
      packetId: 0x1234,
      subscriptions: [
        {
          topicFilter: 'a/+',
          options: { qos: 1, noLocal: true, retainAsPublished: true, retainHandling: 2, subscriptionId: 0x3fff },
        },
        {
          topicFilter: '$share/g/b',
          options: { qos: 2, noLocal: false, retainAsPublished: false, retainHandling: 1, subscriptionId: 0x3fff },
        },
      ],
      userProperties: [['k', 'v']],
    })
  })

  test('before MQTT 5 there is a requested QoS and nothing else [MQTT 3.1.1 section 3.8.3]', () => {
    const options = { qos: 2, noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionId: undefined }
    assert.deepEqual(receiveOne(packet(0x82, ID, text('a'), 2), 4), {
      cmd: 'subscribe',
      packetId: 0x1234,
      subscriptions: [{ topicFilter: 'a', options }],
    })
  })

  test('a filter that cannot be matched is for SUBACK to refuse, not for the codec [MQTT 5.0 section 3.9.3]', () => {
    assert.equal(receiveOne(packet(0x82, ID, NONE, text('a/#/b'), 0)).cmd, 'subscribe')
  })

  test('UNSUBSCRIBE lists its filters [MQTT-3.10.3-1]', () => {
    const unsubscribe = { cmd: 'unsubscribe', packetId: 0x1234, topicFilters: ['a', 'b/#'] }
    assert.deepEqual(receiveOne(packet(0xa2, ID, text('a'), text('b/#')), 4), unsubscribe)
    assert.deepEqual(receiveOne(packet(0xa2, ID, properties(0x26, text('k'), text('v')), text('a'), text('b/#'))), {
      ...unsubscribe,
      userProperties: [['k', 'v']],
    })
  })
})

describe('the others', () => {
  test('DISCONNECT may leave out its reason code and its properties [MQTT 5.0 section 3.14.2.1]', () => {
    const normal = { cmd: 'disconnect', reasonCode: 0, properties: {} }
    assert.deepEqual(receiveOne(packet(0xe0), 4), normal)
    assert.deepEqual(receiveOne(packet(0xe0)), normal)
    assert.deepEqual(receiveOne(packet(0xe0, 0x04)), { ...normal, reasonCode: 4 })
    assert.deepEqual(receiveOne(packet(0xe0, 0, properties(0x11, fourBytes(60)))), {
      ...normal,
      properties: { sessionExpiryInterval: 60 },
    })
  })

  test('AUTH carries its method and data [MQTT 5.0 section 3.15.2.2]', () => {
    assert.deepEqual(receiveOne(packet(0xf0, 0x18, properties(0x15, text('m'), 0x16, text('d')))), {
      cmd: 'auth',
      reasonCode: 0x18,
      properties: { authenticationMethod: 'm', authenticationData: Buffer.from('d') },
    })
  })

  test('PINGREQ', () => assert.deepEqual(receiveOne(packet(0xc0)), { cmd: 'pingreq' }))
})

describe('PUBLISH', () => {
  const headerOf = (bytes: Buffer, isV5 = true) => {
    const header = new PublishHeader()
    decodePublish(bytes, bytes[0] ?? 0, 2, bytes.length, isV5, header)
    return header
  }

  test('its flags, packet id, topic name and payload', () => {
    const publish = receiveOne(packet(0x3d, text('a/b'), ID, Buffer.from('payload')), 4)
    assert.ok(publish.cmd === 'publish')
    assert.deepEqual(
      [publish.qos, publish.duplicate, publish.retain, publish.packetId, publish.topic, publish.payload],
      [2, true, true, 0x1234, 'a/b', 'payload'],
    )
  })

  test('a topic name keeps its byte order mark and every code point but U+0000 [MQTT-1.5.4-3]', () => {
    for (const topic of ['\ufeffa', 'grüße/𠛔', '\u0001', '\uffff']) {
      const publish = receiveOne(packet(0x30, text(topic), 0x78), 4)
      assert.equal(publish.cmd === 'publish' && publish.topic, topic)
    }
  })

  test('what goes on to subscribers is a view of the chunk', () => {
    const bytes = packet(0x30, text('t'), properties(0x03, text('json'), 0x02, fourBytes(60), 0x01, 1), 0x78)
    const header = headerOf(bytes)
    assert.equal(header.properties?.buffer, bytes.buffer)
    assert.deepEqual(header.properties, bytes.subarray(6, 6 + 14))
    assert.deepEqual([header.expiryInterval, header.payloadFormatIndicator], [60, 1])
  })

  test('the Topic Alias stays behind, wherever it stands', () => {
    const alias = Buffer.from([0x23, 0, 9])
    const before = Buffer.from([0x01, 1])
    const after = Buffer.from([0x02, 0, 0, 0, 60])
    for (const [list, left] of [
      [[alias], undefined],
      [[alias, after], after],
      [[before, alias], before],
      [[before, alias, after], Buffer.concat([before, after])],
    ] as const) {
      const header = headerOf(packet(0x30, text(''), properties(...list), 0x78))
      assert.equal(header.topicAlias, 9)
      assert.deepEqual(header.properties, left)
    }
  })

  test('a header is filled afresh for each packet', () => {
    const header = new PublishHeader()
    const full = packet(0x3d, text('t'), ID, properties(0x23, twoBytes(9), 0x02, fourBytes(60), 0x01, 1), 0x78)
    decodePublish(full, 0x3d, 2, full.length, true, header)
    const plain = packet(0x30, text('t'), NONE)
    decodePublish(plain, 0x30, 2, plain.length, true, header)
    assert.deepEqual(header, headerOf(plain))
    assert.deepEqual(
      [header.packetId, header.topicAlias, header.expiryInterval, header.properties],
      [0, 0, 0, undefined],
    )
  })

  test('an expiry interval of 0 is told apart from none [MQTT-3.3.2-5]', () => {
    assert.equal(headerOf(packet(0x30, text('t'), NONE)).expiryInterval, 0)
    assert.equal(headerOf(packet(0x30, text('t'), properties(0x02, fourBytes(0)))).expiryInterval, 0.001)
  })
})
