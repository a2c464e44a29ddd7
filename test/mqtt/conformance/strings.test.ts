import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../../support/broker.js'
import { type Citation, cite } from '../../support/cite.js'
import type { Version } from '../../support/client.js'
import { connectBytes, FrameClient } from '../../support/frame-client.js'
import { packet, properties, text, twoBytes } from '../../support/mqtt-bytes.js'
import { uniqueClientId } from '../../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]

const PUBLISH = 0x30
const SUBSCRIBE = 0x82
const UNSUBSCRIBE = 0xa2
const DISCONNECT = 0xe0
const PACKET_ID = twoBytes(1)

/** Bytes that are not well-formed UTF-8. */
const ILL_FORMED: readonly (readonly [what: string, bytes: readonly number[]])[] = [
  ['U+D800, the first surrogate', [0xed, 0xa0, 0x80]],
  ['U+DFFF, the last surrogate', [0xed, 0xbf, 0xbf]],
  ['a pair of surrogates', [0xed, 0xa1, 0x8c, 0xed, 0xbe, 0xb4]],
  ['a slash in two bytes', [0xc0, 0xaf]],
  ['a slash in three bytes', [0xe0, 0x80, 0xaf]],
  ['a slash in four bytes', [0xf0, 0x80, 0x80, 0xaf]],
  ['U+0000 in two bytes', [0xc0, 0x80]],
  ['a character cut short', [0x61, 0xc3]],
  ['a character cut short within', [0xe2, 0x82, 0x61]],
  ['a continuation byte alone', [0x80]],
  ['a code point above U+10FFFF', [0xf4, 0x90, 0x80, 0x80]],
  ['a byte that UTF-8 never has', [0xff]],
]

const WITH_NUL: readonly (readonly [what: string, bytes: readonly number[]])[] = [
  ['U+0000 alone', [0x00]],
  ['U+0000 within', [0x61, 0x00, 0x62]],
  ['U+0000 at the end', [0x61, 0x00]],
]

/** A field that is a string: the packet that carries it, and which statements ask it to be one. */
interface Place {
  readonly where: string
  readonly cited: Citation
  /** A packet that comes first on its connection. */
  readonly isFirst?: true
  readonly versions?: readonly Version[]
  readonly make: (content: Buffer, version: Version) => Buffer
}

/** A CONNECT with a will on a topic. */
function withWill(topic: string | Uint8Array, version: Version, ...list: Uint8Array[]): Buffer {
  const payload = [...(version === 5 ? [properties(...list)] : []), text(topic), text('gone')]
  return connectBytes(version, { flags: 0x06, payload })
}

/** A property that is a string. */
function stringProperty(id: number, content: string | Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([id]), text(content)])
}

function userProperty(name: string | Uint8Array, value: string | Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([0x26]), text(name), text(value)])
}

function publishWith(...list: Uint8Array[]): Buffer {
  return packet(PUBLISH, text('t'), properties(...list), 0x78)
}

function noProperties(version: Version): Buffer[] {
  return version === 5 ? [properties()] : []
}

const ONLY_5: readonly Version[] = [5]

const PLACES: readonly Place[] = [
  {
    where: 'the client ID',
    cited: { 5: '3.1.3-4', 4: '3.1.3-4' },
    isFirst: true,
    make: (clientId, version) => connectBytes(version, { clientId }),
  },
  {
    where: 'the user name',
    cited: { 5: '3.1.3-12', 4: '3.1.3-11' },
    isFirst: true,
    make: (name, version) => connectBytes(version, { flags: 0x82, payload: [text(name)] }),
  },
  { where: 'the topic of a will', cited: { 5: '3.1.3-11', 4: '3.1.3-10' }, isFirst: true, make: withWill },
  {
    where: 'the topic name of a PUBLISH',
    cited: { 5: '3.3.2-1', 4: '3.3.2-1' },
    make: (topic, version) => packet(PUBLISH, text(topic), ...noProperties(version), 0x78),
  },
  {
    where: 'a filter of a SUBSCRIBE',
    cited: { 5: '3.8.3-1', 4: '3.8.3-1' },
    make: (filter, version) => packet(SUBSCRIBE, PACKET_ID, ...noProperties(version), text(filter), 0),
  },
  {
    where: 'a filter of an UNSUBSCRIBE',
    cited: { 5: '3.10.3-1', 4: '3.10.3-1' },
    make: (filter, version) => packet(UNSUBSCRIBE, PACKET_ID, ...noProperties(version), text(filter)),
  },
  {
    where: 'a Response Topic',
    cited: { 5: '3.3.2-13' },
    versions: ONLY_5,
    make: (topic) => publishWith(stringProperty(0x08, topic)),
  },
  {
    where: 'a Content Type',
    cited: { 5: '3.3.2-19' },
    versions: ONLY_5,
    make: (type) => publishWith(stringProperty(0x03, type)),
  },
  {
    where: 'the name of a User Property',
    cited: { 5: '1.5.7-1' },
    versions: ONLY_5,
    make: (name) => publishWith(userProperty(name, 'value')),
  },
  {
    where: 'the value of a User Property',
    cited: { 5: '1.5.7-1' },
    versions: ONLY_5,
    make: (value) => publishWith(userProperty('name', value)),
  },
  {
    where: 'a User Property of a CONNECT',
    cited: { 5: '1.5.7-1' },
    versions: ONLY_5,
    isFirst: true,
    make: (value) => connectBytes(5, { list: [userProperty('name', value)] }),
  },
  {
    where: 'a User Property of a will',
    cited: { 5: '1.5.7-1' },
    versions: ONLY_5,
    isFirst: true,
    make: (value) => withWill('t', 5, userProperty('name', value)),
  },
  {
    where: 'a Reason String of a DISCONNECT',
    cited: {},
    versions: ONLY_5,
    make: (reason) => packet(DISCONNECT, 0, properties(stringProperty(0x1f, reason))),
  },
]

for (const { where, cited, isFirst, versions = VERSIONS, make } of PLACES) {
  for (const version of versions) {
    const kinds = [
      { cases: ILL_FORMED, rule: { 5: '1.5.4-1', 4: '1.5.3-1' }, what: 'is not well-formed UTF-8' },
      { cases: WITH_NUL, rule: { 5: '1.5.4-2', 4: '1.5.3-2' }, what: 'contains U+0000' },
    ]
    for (const { cases, rule, what } of kinds) {
      const cites = `${cite(version, rule)} ${cite(version, cited)}`.trim()
      test(`${cites} ${where} that ${what} closes the connection (version ${version})`, async (t) => {
        for (const [name, bytes] of cases) {
          const client = isFirst
            ? await FrameClient.open(t, broker().port, version)
            : await FrameClient.connect(t, broker().port, version)
          client.write(make(Buffer.from(bytes), version))
          await client.closedFor(0x81, name)
        }
      })
    }
  }
}

/** A byte order mark, characters of two, three and four bytes, and controls, which are allowed. */
const WELL_FORMED = ['\uFEFFa', 'a\uFEFF', 'ö', '€', 'A\u{2A6D4}', '\u0001', '\uFFFD', '\u{10FFFF}']

for (const version of VERSIONS) {
  const bom = cite(version, { 5: '1.5.4-3', 4: '1.5.3-3' })

  test(`${bom} a byte order mark in a topic is a character of it and reaches subscribers (version ${version})`, async (t) => {
    const subscriber = await FrameClient.connect(t, broker().port, version)
    await subscriber.subscribe('\uFEFFmark')
    const other = await FrameClient.connect(t, broker().port, version)
    await other.subscribe('mark')
    const publisher = await FrameClient.connect(t, broker().port, version)
    const bytes = packet(PUBLISH, text('\uFEFFmark'), ...noProperties(version), 0x78)
    assert.ok(bytes.includes(Buffer.from([0xef, 0xbb, 0xbf])))
    publisher.write(bytes)
    await publisher.settle()
    assert.deepEqual(await subscriber.settle(), [bytes])
    assert.deepEqual(await other.settle(), [], 'another topic')
  })

  test(`${bom} client IDs that differ in a byte order mark are two clients (version ${version})`, async (t) => {
    const clientId = uniqueClientId()
    const marked = await FrameClient.connect(t, broker().port, version, { clientId: `\uFEFF${clientId}` })
    const plain = await FrameClient.connect(t, broker().port, version, { clientId })
    for (const client of [marked, plain]) assert.deepEqual(await client.settle(), [])
  })

  test(`${cite(version, { 5: '1.5.4-1', 4: '1.5.3-1' })} well-formed strings of every length of character pass as they are (version ${version})`, async (t) => {
    const subscriber = await FrameClient.connect(t, broker().port, version)
    await subscriber.subscribe('utf/#')
    const publisher = await FrameClient.connect(t, broker().port, version)
    const frames = WELL_FORMED.map((one) => packet(PUBLISH, text(`utf/${one}`), ...noProperties(version), 0x78))
    publisher.write(...frames)
    await publisher.settle()
    assert.deepEqual(await subscriber.settle(), frames)
  })
}

test('[MQTT-1.5.4-3] [MQTT-1.5.7-1] properties keep every well-formed string as it is, a byte order mark included', async (t) => {
  const subscriber = await FrameClient.connect(t, broker().port)
  await subscriber.subscribe('utf')
  const publisher = await FrameClient.connect(t, broker().port)
  const frames = WELL_FORMED.map((one) =>
    packet(
      PUBLISH,
      text('utf'),
      properties(stringProperty(0x03, one), stringProperty(0x08, one), userProperty(one, one)),
      0x78,
    ),
  )
  publisher.write(...frames)
  await publisher.settle()
  assert.deepEqual(await subscriber.settle(), frames)
})
