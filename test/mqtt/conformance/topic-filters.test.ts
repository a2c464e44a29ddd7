/** Topic names and topic filters, and how they match. [MQTT 5.0 section 4.7] */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../../support/broker.js'
import { cite } from '../../support/cite.js'
import type { Version } from '../../support/client.js'
import { packet, subscribe, text } from '../../support/mqtt-bytes.js'
import { PacketClient, textOf } from '../../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]

/** Filter, topics it matches, topics it does not. */
type Matches = readonly (readonly [filter: string, yes: readonly string[], no: readonly string[]])[]

const MULTI_LEVEL: Matches = [
  [
    'sport/tennis/player1/#',
    ['sport/tennis/player1', 'sport/tennis/player1/ranking', 'sport/tennis/player1/score/wimbledon'],
    ['sport/tennis', 'sport/tennis/player10'],
  ],
  ['sport/#', ['sport', 'sport/', 'sport/a', 'sport//'], ['sports', '/sport', 'a/sport']],
  ['#', ['a', '/', '//', 'a/b/c', ' '], []],
  ['/#', ['/', '/a', '//'], ['a', 'a/']],
]

const SINGLE_LEVEL: Matches = [
  ['sport/tennis/+', ['sport/tennis/player1', 'sport/tennis/'], ['sport/tennis', 'sport/tennis/player1/ranking']],
  ['sport/+', ['sport/', 'sport/a'], ['sport', 'sport/a/b', 'sport//']],
  ['sport/+/player1', ['sport/tennis/player1', 'sport//player1'], ['sport/player1', 'sport/a/b/player1']],
  ['+', ['finance', 'ö', ' '], ['/finance', 'finance/']],
  ['+/+', ['/finance', 'a/b', '/'], ['a', 'a/b/c', 'a//']],
  ['/+', ['/finance', '/'], ['finance', 'a/b']],
  ['+/', ['finance/', '/'], ['finance', '/finance']],
  ['+/tennis/#', ['/tennis', 'sport/tennis', 'sport/tennis/a/b'], ['tennis', 'sport/a/tennis']],
]

const DOLLAR: Matches = [
  ['#', ['a/$b', '/$a'], ['$a', '$a/b', '$']],
  ['+/b', ['a/b'], ['$a/b']],
  ['+/#', ['a/$b'], ['$a', '$a/b']],
  ['$a/#', ['$a', '$a/b', '$a/$b'], ['a', 'b/$a']],
  ['$a/+', ['$a/b'], ['$a', '$b/b']],
  ['a/#', ['a/$b'], []],
  ['a/+', ['a/$b'], []],
  ['$share/group/#', ['a/$b'], ['$a', '$a/b']],
  ['$share/group/+/b', ['a/b'], ['$a/b']],
  ['$share/group/$a/#', ['$a/b'], ['a/b']],
]

/** What someone might take for the same, and is not. */
const AS_THEY_ARE: Matches = [
  ['ACCOUNTS', ['ACCOUNTS'], ['Accounts', 'accounts']],
  ['Accounts payable', ['Accounts payable'], ['Accountspayable', 'Accounts%20payable']],
  ['/finance', ['/finance'], ['finance', '/finance/', '//finance']],
  ['finance/', ['finance/'], ['finance', 'finance//']],
  ['a//b', ['a//b'], ['a/b', 'a///b']],
  ['a/./b', ['a/./b'], ['a/b']],
  ['a/../b', ['a/../b'], ['b']],
  // An umlaut in one code point and in two; a ligature; a letter that has another upper case in Turkish.
  ['\u00f6', ['\u00f6'], ['o\u0308', '\u00d6']],
  ['o\u0308', ['o\u0308'], ['\u00f6']],
  ['\ufb01', ['\ufb01'], ['fi']],
  ['i', ['i'], ['\u0130', '\u0131', 'I']],
  // A byte order mark, a control character, a non-character and a code point beyond 16 bits.
  ['\ufeffa', ['\ufeffa'], ['a']],
  ['a\u0001', ['a\u0001'], ['a']],
  ['\uffff', ['\uffff'], ['\ufffd']],
  ['\u{1f40b}', ['\u{1f40b}'], ['\u{1f42c}']],
  ['__proto__', ['__proto__'], ['constructor']],
  ['+/\u00e9', ['\u00e9/\u00e9'], ['\u00e9/e\u0301']],
]

for (const version of VERSIONS) {
  const v = `(version ${version})`

  /** Publishes everything that a row names, and compares what came. */
  const matchTest = (title: string, rows: Matches): void => {
    test(`${title} ${v}`, async (t) => {
      const publisher = await PacketClient.connect(t, broker().port, version)
      for (const [filter, yes, no] of rows) {
        const subscriber = await PacketClient.connect(t, broker().port, version)
        assert.deepEqual(await subscriber.subscribe(filter), [0], filter)
        for (const topic of [...no, ...yes]) await publisher.publishAcked({ topic })
        assert.deepEqual(
          (await subscriber.settle()).map((one) => (one.cmd === 'publish' ? one.topic : one.cmd)),
          yes,
          filter,
        )
        await subscriber.disconnect()
      }
    })
  }

  matchTest(
    `${cite(version, { 5: '4.7.1-1', 4: '4.7.1-2' })} # stands for its parent and any number of levels`,
    MULTI_LEVEL,
  )
  matchTest(`${cite(version, { 5: '4.7.1-2', 4: '4.7.1-3' })} + stands for one level, also an empty one`, SINGLE_LEVEL)
  matchTest(`${cite(version, { 5: '4.7.2-1', 4: '4.7.2-1' })} a leading wildcard does not match a leading $`, DOLLAR)
  matchTest(
    `${cite(version, { 5: '4.7.3-4', 4: '4.7.3-4' })} names and filters are matched code point by code point, as they are`,
    AS_THEY_ARE,
  )

  for (const [number, filters] of [
    [{ 5: '4.7.1-1', 4: '4.7.1-2' }, ['a/#/b', 'a#', '#a', 'a/b#', '#/', '#/a', '##', 'a/##', '/#/', '#+']],
    [{ 5: '4.7.1-2', 4: '4.7.1-3' }, ['a+', '+a', 'a/+b/c', 'a/b+', '++', 'a/++', '+a/b', '+#']],
    [{ 5: '4.7.3-1', 4: '4.7.3-1' }, ['']],
  ] as const) {
    test(`${cite(version, number)} a filter that is none is refused in SUBACK, and those beside it are not ${v}`, async (t) => {
      const client = await PacketClient.connect(t, broker().port, version)
      const refused = version === 5 ? 0x8f : 0x80
      for (const filter of filters) {
        // By hand: a library would not make it.
        client.write(subscribe(version, 1, [filter, 0], ['valid', 0]))
        assert.deepEqual((await client.next('suback')).granted, [refused, 0], filter)
      }
      await client.expectNothing()
    })
  }

  test(`${cite(version, { 5: '4.7.0-1', 4: '4.7.1-1' })} a topic name with a wildcard closes the connection, and reaches nobody ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port, version)
    await watcher.subscribe('#')
    for (const topic of ['a/+/b', 'a/#', '#', '+', 'a+', '#a']) {
      const client = await PacketClient.connect(t, broker().port, version)
      client.publish({ topic, payload: 'x' })
      await client.closedFor(0x90)
      await watcher.expectNothing()
    }
  })

  test(`${cite(version, { 5: '4.7.3-1', 4: '4.7.3-1' })} an empty topic name closes the connection ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    client.write(packet(0x30, text(''), ...(version === 5 ? [0] : []), text('x')))
    await client.closedFor(0x82)
  })

  test(`${cite(version, { 5: '4.7.3-2', 4: '4.7.3-2' })} U+0000 in a name, a filter or an UNSUBSCRIBE closes the connection ${v}`, async (t) => {
    const properties = version === 5 ? [0] : []
    for (const bytes of [
      packet(0x30, text('a\0b'), ...properties),
      packet(0x30, text('\0'), ...properties),
      subscribe(version, 1, ['sound', 0], ['a/\0', 0]),
      packet(0xa2, 0, 1, ...properties, text('a\0')),
    ]) {
      const client = await PacketClient.connect(t, broker().port, version)
      client.write(bytes)
      await client.closedFor(0x81)
    }
  })

  test(`${cite(version, { 5: '4.7.3-3', 4: '4.7.3-3' })} a name and a filter may have as many bytes as their length can say, 65,535 ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    // Of three bytes each, so that bytes and code points differ.
    const longest = '\u20ac'.repeat(65_535 / 3)
    assert.deepEqual(await client.subscribe(longest), [0])
    client.publish({ topic: longest, payload: 'x' })
    assert.deepEqual((await client.receive(1)).map(textOf), [`${longest} x`])
  })
}
