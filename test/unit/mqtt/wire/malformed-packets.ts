import { fourBytes, packet, properties, text, twoBytes } from '../../../support/mqtt-bytes.js'

/** A packet that a server must refuse, why, and with which reason code. */
export interface MalformedPacket {
  why: string
  bytes: Buffer
  reasonCode: number
}

const CONNECT = 0x10
const PUBLISH = 0x30
const PUBLISH_QOS_1 = 0x32
const PUBACK = 0x40
const PUBREC = 0x50
const PUBREL = 0x62
const PUBCOMP = 0x70
const SUBSCRIBE = 0x82
const UNSUBSCRIBE = 0xa2
const PINGREQ = 0xc0
const DISCONNECT = 0xe0
const AUTH = 0xf0

const NONE = properties()
const ID = twoBytes(1)
const KEEP_ALIVE = twoBytes(60)
const SURROGATE = Buffer.from([0xed, 0xa0, 0x80])
const OVERLONG_SLASH = Buffer.from([0xc0, 0xaf])
const NUL = Buffer.from([0x61, 0x00])

/** A 5.0 CONNECT: flags, properties, and what follows the client ID "c". */
function connect(flags: number, list: Buffer = NONE, ...payload: Buffer[]): Buffer {
  return packet(CONNECT, text('MQTT'), 5, flags, KEEP_ALIVE, list, text('c'), ...payload)
}

function connectAs(version: number, flags: number, ...payload: Buffer[]): Buffer {
  return packet(CONNECT, text(version === 3 ? 'MQIsdp' : 'MQTT'), version, flags, KEEP_ALIVE, text('c'), ...payload)
}

function publish(list: Buffer, topic = 't'): Buffer {
  return packet(PUBLISH, text(topic), list, 0x78)
}

function refuse(reasonCode: number, why: string, bytes: Buffer): MalformedPacket {
  return { why, bytes, reasonCode }
}

/** MQTT 5.0 packets that mqtt-packet 9 refuses too. */
export const MALFORMED_V5: readonly MalformedPacket[] = [
  refuse(
    0x81,
    'a Remaining Length of five bytes [MQTT 5.0 section 1.5.5]',
    Buffer.from([0xc0, 0x80, 0x80, 0x80, 0x80, 0x01]),
  ),
  refuse(0x81, 'CONNECT with flags in its fixed header [MQTT-3.1.2-12]', packet(0x11, connect(2).subarray(2))),
  refuse(0x81, 'the reserved connect flag [MQTT-3.1.2-3]', connect(0x03)),
  refuse(
    0x81,
    'a Property Length of five bytes [MQTT 5.0 section 1.5.5]',
    packet(PUBLISH, text('t'), Buffer.from([0x80, 0x80, 0x80, 0x80, 0x01])),
  ),
  refuse(0x81, 'a Property Length beyond the packet', packet(PUBLISH, text('t'), 9, 0x78)),
  refuse(0x81, 'a property identifier nobody knows', publish(properties(0x04, 1))),
  refuse(0x81, 'a property identifier that is not minimal [MQTT-1.5.5-1]', publish(properties(0x81, 0x00, 1))),
  refuse(
    0x84,
    'another protocol name [MQTT-3.1.2-1]',
    packet(CONNECT, text('MQTX'), 5, 2, KEEP_ALIVE, NONE, text('c')),
  ),
  refuse(0x84, 'protocol version 6 [MQTT-3.1.2-2]', packet(CONNECT, text('MQTT'), 6, 2, KEEP_ALIVE, NONE, text('c'))),
  refuse(0x81, 'a Will QoS without a will [MQTT-3.1.2-7]', connect(0x0a)),
  refuse(0x81, 'Will Retain without a will [MQTT-3.1.2-13]', connect(0x22)),
  refuse(0x81, 'a will that is announced and missing [MQTT-3.1.2-9]', connect(0x06)),
  refuse(0x81, 'a user name that is announced and missing [MQTT-3.1.2-17]', connect(0x82)),
  refuse(0x81, 'a password that is announced and missing [MQTT-3.1.2-19]', connect(0x42)),
  refuse(0x81, 'QoS 3 [MQTT-3.3.1-4]', packet(0x36, text('t'), ID, NONE)),
  refuse(0x81, 'PUBLISH that ends within its topic name', packet(PUBLISH, twoBytes(9), 0x78)),
  refuse(0x81, 'PUBACK with flags [MQTT-2.1.3-1]', packet(0x42, ID)),
  refuse(0x82, 'a reason code that PUBACK does not have [MQTT-3.4.2-1]', packet(PUBACK, ID, 0x01)),
  refuse(0x82, 'a reason code that PUBREC does not have [MQTT-3.5.2-1]', packet(PUBREC, ID, 0x92)),
  refuse(0x82, 'a reason code that PUBREL does not have [MQTT-3.6.2-1]', packet(PUBREL, ID, 0x80)),
  refuse(0x82, 'a reason code that PUBCOMP does not have [MQTT-3.7.2-1]', packet(PUBCOMP, ID, 0x10)),
  refuse(0x81, 'PUBREL with the flags of PUBACK [MQTT-3.6.1-1]', packet(0x60, ID)),
  refuse(0x81, 'SUBSCRIBE with flags other than 2 [MQTT-3.8.1-1]', packet(0x80, ID, NONE, text('a'), 0)),
  refuse(0x81, 'SUBSCRIBE that ends before its options', packet(SUBSCRIBE, ID, NONE, text('a'))),
  refuse(
    0x81,
    'reserved bits of the subscription options [MQTT-3.8.3-5]',
    packet(SUBSCRIBE, ID, NONE, text('a'), 0x40),
  ),
  refuse(0x82, 'Maximum QoS 3 [MQTT 5.0 section 3.8.3.1]', packet(SUBSCRIBE, ID, NONE, text('a'), 0x03)),
  refuse(0x82, 'Retain Handling 3 [MQTT 5.0 section 3.8.3.1]', packet(SUBSCRIBE, ID, NONE, text('a'), 0x30)),
  refuse(0x81, 'UNSUBSCRIBE with flags other than 2 [MQTT-3.10.1-1]', packet(0xa0, ID, NONE, text('a'))),
  refuse(0x81, 'PINGREQ with flags [MQTT-2.1.3-1]', packet(0xc1)),
  refuse(0x81, 'DISCONNECT with flags [MQTT-3.14.1-1]', packet(0xe1)),
  refuse(0x81, 'AUTH with flags [MQTT-3.15.1-1]', packet(0xf1, 0x18, properties(0x15, text('m')))),
  refuse(0x81, 'AUTH without a reason code, which only a server leaves out', packet(AUTH)),
  refuse(0x81, 'packet type 0 [MQTT 5.0 section 2.1.2]', packet(0x00)),
  refuse(0x81, 'CONNECT that ends within its protocol name', packet(CONNECT, twoBytes(4), 0x4d)),
]

/** MQTT 5.0 packets that mqtt-packet 9 takes as good ones, and a broker must not. */
export const MALFORMED_V5_ACCEPTED_ELSEWHERE: readonly MalformedPacket[] = [
  refuse(0x82, 'packet id 0 in PUBLISH [MQTT-2.2.1-3]', packet(PUBLISH_QOS_1, text('t'), twoBytes(0), NONE)),
  refuse(0x82, 'packet id 0 in PUBACK [MQTT-2.2.1-3]', packet(PUBACK, twoBytes(0))),
  refuse(0x82, 'packet id 0 in SUBSCRIBE [MQTT-2.2.1-3]', packet(SUBSCRIBE, twoBytes(0), NONE, text('a'), 0)),
  refuse(0x82, 'packet id 0 in UNSUBSCRIBE [MQTT-2.2.1-3]', packet(UNSUBSCRIBE, twoBytes(0), NONE, text('a'))),
  refuse(0x81, 'a Remaining Length that is not minimal [MQTT-1.5.5-1]', Buffer.from([PINGREQ, 0x80, 0x00])),
  refuse(
    0x81,
    'a Property Length that is not minimal [MQTT-1.5.5-1]',
    packet(PUBLISH, text('t'), Buffer.from([0x80, 0x00])),
  ),
  refuse(
    0x81,
    'a property that ends beyond the Property Length',
    packet(PUBLISH, text('t'), Buffer.from([2, 0x02, 0, 0, 0, 1])),
  ),
  refuse(0x81, 'PUBLISH without a Property Length [MQTT-2.2.2-1]', packet(PUBLISH, text('t'))),
  refuse(0x81, 'a surrogate in a topic name [MQTT-1.5.4-1]', packet(PUBLISH, text(SURROGATE), NONE)),
  refuse(0x81, 'an overlong encoding in a topic name [MQTT-1.5.4-1]', packet(PUBLISH, text(OVERLONG_SLASH), NONE)),
  refuse(0x81, 'U+0000 in a topic name [MQTT-1.5.4-2]', packet(PUBLISH, text(NUL), NONE)),
  refuse(0x81, 'a surrogate in a Content Type [MQTT-3.3.2-19]', publish(properties(0x03, text(SURROGATE)))),
  refuse(0x81, "U+0000 in a user property's value [MQTT-1.5.7-1]", publish(properties(0x26, text('a'), text(NUL)))),
  refuse(
    0x81,
    'U+0000 in a client ID [MQTT-1.5.4-2]',
    packet(CONNECT, text('MQTT'), 5, 2, KEEP_ALIVE, NONE, text(NUL)),
  ),
  refuse(0x81, 'an overlong encoding in a user name [MQTT-3.1.3-12]', connect(0x82, NONE, text(OVERLONG_SLASH))),
  refuse(0x81, 'a surrogate in a topic filter [MQTT-3.8.3-1]', packet(SUBSCRIBE, ID, NONE, text(SURROGATE), 0)),
  refuse(0x81, "U+0000 in an UNSUBSCRIBE's topic filter [MQTT-3.10.3-1]", packet(UNSUBSCRIBE, ID, NONE, text(NUL))),
  refuse(0x81, 'Will QoS 3 [MQTT 5.0 section 3.1.2.6]', connect(0x1e, NONE, NONE, text('w'), text('p'))),
  refuse(0x90, 'an empty Will Topic [MQTT-4.7.3-1]', connect(0x06, NONE, NONE, text(''), text('p'))),
  refuse(0x90, 'a wildcard in the Will Topic [MQTT-4.7.0-1]', connect(0x06, NONE, NONE, text('w/#'), text('p'))),
  refuse(0x81, 'a user name that was not announced [MQTT-3.1.2-16]', connect(0x02, NONE, text('u'))),
  refuse(0x82, 'Receive Maximum 0 [MQTT 5.0 section 3.1.2.11.3]', connect(2, properties(0x21, twoBytes(0)))),
  refuse(0x82, 'Maximum Packet Size 0 [MQTT 5.0 section 3.1.2.11.4]', connect(2, properties(0x27, fourBytes(0)))),
  refuse(0x82, 'Request Response Information 2 [MQTT 5.0 section 3.1.2.11.6]', connect(2, properties(0x19, 2))),
  refuse(0x82, 'Request Problem Information 2 [MQTT 5.0 section 3.1.2.11.7]', connect(2, properties(0x17, 2))),
  refuse(
    0x82,
    'Session Expiry Interval twice [MQTT 5.0 section 3.1.2.11.2]',
    connect(2, properties(0x11, fourBytes(1), 0x11, fourBytes(1))),
  ),
  refuse(
    0x82,
    'Authentication Data without a method [MQTT 5.0 section 3.1.2.11.10]',
    connect(2, properties(0x16, text('d'))),
  ),
  refuse(0x81, 'a property of PUBLISH in CONNECT [MQTT 5.0 section 2.2.2.2]', connect(2, properties(0x01, 1))),
  refuse(
    0x81,
    "Will Delay Interval among CONNECT's own properties [MQTT 5.0 section 2.2.2.2]",
    connect(2, properties(0x18, fourBytes(1))),
  ),
  refuse(
    0x81,
    'Topic Alias among the Will Properties [MQTT 5.0 section 2.2.2.2]',
    connect(6, NONE, properties(0x23, twoBytes(1)), text('w'), text('p')),
  ),
  refuse(
    0x82,
    'a Payload Format Indicator of 2 in the will',
    connect(6, NONE, properties(0x01, 2), text('w'), text('p')),
  ),
  refuse(
    0x82,
    "a wildcard in the will's Response Topic [MQTT-3.3.2-14]",
    connect(6, NONE, properties(0x08, text('r/+')), text('w'), text('p')),
  ),
  refuse(0x81, 'DUP with QoS 0 [MQTT-3.3.1-2]', packet(0x38, text('t'), NONE)),
  refuse(0x82, 'no topic name and no alias [MQTT 5.0 section 3.3.2.1]', publish(NONE, '')),
  refuse(0x94, 'Topic Alias 0 [MQTT-3.3.2-8]', publish(properties(0x23, twoBytes(0)))),
  refuse(
    0x82,
    'Topic Alias twice [MQTT 5.0 section 3.3.2.3.4]',
    publish(properties(0x23, twoBytes(1), 0x23, twoBytes(1))),
  ),
  refuse(0x82, 'a Payload Format Indicator of 2 [MQTT 5.0 section 3.3.2.3.2]', publish(properties(0x01, 2))),
  refuse(0x82, 'Payload Format Indicator twice [MQTT 5.0 section 3.3.2.3.2]', publish(properties(0x01, 1, 0x01, 1))),
  refuse(
    0x82,
    'Message Expiry Interval twice [MQTT 5.0 section 3.3.2.3.3]',
    publish(properties(0x02, fourBytes(1), 0x02, fourBytes(1))),
  ),
  refuse(
    0x82,
    'Content Type twice [MQTT 5.0 section 3.3.2.3.9]',
    publish(properties(0x03, text('a'), 0x03, text('b'))),
  ),
  refuse(
    0x82,
    'Correlation Data twice [MQTT 5.0 section 3.3.2.3.6]',
    publish(properties(0x09, text('a'), 0x09, text('b'))),
  ),
  refuse(0x82, 'a wildcard in the Response Topic [MQTT-3.3.2-14]', publish(properties(0x08, text('r/#')))),
  refuse(0x82, 'an empty Response Topic [MQTT-4.7.3-1]', publish(properties(0x08, text('')))),
  refuse(0x82, 'Subscription Identifier from a client [MQTT-3.3.4-6]', publish(properties(0x0b, 1))),
  refuse(0x81, 'a property of CONNACK in PUBLISH [MQTT 5.0 section 2.2.2.2]', publish(properties(0x1f, text('r')))),
  refuse(0x81, 'PUBLISH of QoS 1 that ends before its packet id', packet(PUBLISH_QOS_1, text('t'))),
  refuse(0x81, 'PUBACK with bytes behind its properties', packet(PUBACK, ID, 0, NONE, 0)),
  refuse(
    0x82,
    'Reason String twice [MQTT-3.4.2-2]',
    packet(PUBACK, ID, 0, properties(0x1f, text('a'), 0x1f, text('b'))),
  ),
  refuse(
    0x81,
    'a property of PUBLISH in PUBACK [MQTT 5.0 section 2.2.2.2]',
    packet(PUBACK, ID, 0, properties(0x01, 1)),
  ),
  refuse(0x82, 'SUBSCRIBE without a topic filter [MQTT-3.8.3-2]', packet(SUBSCRIBE, ID, NONE)),
  refuse(
    0x82,
    'No Local on a shared subscription [MQTT-3.8.3-4]',
    packet(SUBSCRIBE, ID, NONE, text('$share/g/a'), 0x04),
  ),
  refuse(
    0x82,
    'Subscription Identifier 0 [MQTT 5.0 section 3.8.2.1.2]',
    packet(SUBSCRIBE, ID, properties(0x0b, 0), text('a'), 0),
  ),
  refuse(
    0x82,
    'Subscription Identifier twice [MQTT 5.0 section 3.8.2.1.2]',
    packet(SUBSCRIBE, ID, properties(0x0b, 1, 0x0b, 2), text('a'), 0),
  ),
  refuse(
    0x81,
    'Reason String in SUBSCRIBE [MQTT 5.0 section 2.2.2.2]',
    packet(SUBSCRIBE, ID, properties(0x1f, text('r')), text('a'), 0),
  ),
  refuse(0x82, 'UNSUBSCRIBE without a topic filter [MQTT-3.10.3-2]', packet(UNSUBSCRIBE, ID, NONE)),
  refuse(0x81, 'PINGREQ with a body [MQTT 5.0 section 3.12]', packet(PINGREQ, 0)),
  refuse(0x82, 'a reason code that only a server gives in DISCONNECT [MQTT-3.14.2-1]', packet(DISCONNECT, 0x8e)),
  refuse(0x81, 'DISCONNECT with bytes behind its properties', packet(DISCONNECT, 0, NONE, 0)),
  refuse(
    0x82,
    'Session Expiry Interval twice in DISCONNECT',
    packet(DISCONNECT, 0, properties(0x11, fourBytes(1), 0x11, fourBytes(1))),
  ),
  refuse(0x82, 'AUTH with a reason code of a server [MQTT-3.15.2-1]', packet(AUTH, 0x00, properties(0x15, text('m')))),
  refuse(0x82, 'AUTH without a method [MQTT 5.0 section 3.15.2.2.2]', packet(AUTH, 0x18, NONE)),
  refuse(0x82, 'CONNACK from a client', packet(0x20, 0, 0, NONE)),
  refuse(0x82, 'SUBACK from a client', packet(0x90, ID, NONE, 0)),
  refuse(0x82, 'UNSUBACK from a client', packet(0xb0, ID, NONE, 0)),
  refuse(0x82, 'PINGRESP from a client', packet(0xd0)),
]

/** MQTT 3.1.1 packets; a server closes the connection on them without a word. */
export const MALFORMED_V4: readonly MalformedPacket[] = [
  refuse(0x81, 'a password without a user name [MQTT 3.1.1 section 3.1.2.9]', connectAs(4, 0x42, text('p'))),
  refuse(0x81, 'bytes behind the last field of CONNECT [MQTT 3.1.1 section 3.1.3]', connectAs(4, 0x02, text('p'))),
  refuse(0x81, 'Will QoS 3 [MQTT-3.1.2-14 of 3.1.1]', connectAs(4, 0x1e, text('w'), text('p'))),
  refuse(0x81, 'a Will QoS without a will [MQTT-3.1.2-13 of 3.1.1]', connectAs(4, 0x0a)),
  refuse(0x81, 'a reserved bit of the requested QoS [MQTT-3.8.3-4 of 3.1.1]', packet(SUBSCRIBE, ID, text('a'), 0x04)),
  refuse(0x81, 'a requested QoS of 3 [MQTT-3.8.3-4 of 3.1.1]', packet(SUBSCRIBE, ID, text('a'), 0x03)),
  refuse(0x82, 'SUBSCRIBE without a topic filter [MQTT-3.8.3-3 of 3.1.1]', packet(SUBSCRIBE, ID)),
  refuse(0x81, 'SUBSCRIBE that ends before its QoS', packet(SUBSCRIBE, ID, text('a'))),
  refuse(0x81, 'SUBSCRIBE with DUP, which only 3.1 knew [MQTT-3.8.1-1]', packet(0x8a, ID, text('a'), 0)),
  refuse(0x81, 'PUBACK with a reason code', packet(PUBACK, ID, 0)),
  refuse(0x81, 'PUBACK without a packet id', packet(PUBACK)),
  refuse(0x81, 'PUBREL with the flags of PUBACK [MQTT-3.6.1-1]', packet(0x60, ID)),
  refuse(0x81, 'DISCONNECT with a body [MQTT 3.1.1 section 3.14]', packet(DISCONNECT, 0)),
  refuse(0x81, 'PINGREQ with a body [MQTT 3.1.1 section 3.12]', packet(PINGREQ, 0)),
  refuse(0x81, 'packet type 15 [MQTT 3.1.1 section 2.2.1]', packet(AUTH)),
  refuse(0x82, 'an empty topic name [MQTT-4.7.3-1]', packet(PUBLISH, text(''), 0x78)),
  refuse(0x81, 'DUP with QoS 0 [MQTT-3.3.1-2]', packet(0x38, text('t'))),
  refuse(0x82, 'packet id 0 [MQTT-2.3.1-1 of 3.1.1]', packet(PUBLISH_QOS_1, text('t'), twoBytes(0))),
  refuse(0x84, 'protocol level 6 [MQTT-3.1.2-2]', connectAs(6, 0x02)),
  refuse(
    0x84,
    'level 4 under the name of 3.1 [MQTT-3.1.2-1]',
    packet(CONNECT, text('MQIsdp'), 4, 2, KEEP_ALIVE, text('c')),
  ),
]
