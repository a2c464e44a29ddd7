/** PINGREQ and DISCONNECT. [MQTT 5.0 sections 3.12 to 3.14] */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../../support/broker.js'
import { cite } from '../../support/cite.js'
import type { Version } from '../../support/client.js'
import { fourBytes, packet, properties, text } from '../../support/mqtt-bytes.js'
import { type ConnectFields, PacketClient, textOf, uniqueClientId } from '../../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]

const DISCONNECT = 0xe0
const REASON_STRING = 0x1f
const SESSION_EXPIRY_INTERVAL = 0x11

/** The codes that a client may give; those from 0x80 on are failures, and so is 0x04 as far as the will goes. */
const CLIENT_CODES = [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99]

function willOn(topic: string): ConnectFields {
  return { will: { topic, payload: Buffer.from('gone'), qos: 1, retain: false } }
}

for (const version of VERSIONS) {
  const v = `(version ${version})`
  const kept = version === 5 ? { clean: false, properties: { sessionExpiryInterval: 60 } } : { clean: false }

  test(`${cite(version, { 5: '3.12.4-1', 4: '3.12.4-1' })} each PINGREQ is answered by one PINGRESP, in bytes ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    client.takeBytes()
    client.write(Buffer.from([0xc0, 0, 0xc0, 0, 0xc0, 0]))
    await client.nextMany('pingresp', 3)
    assert.deepEqual([...client.takeBytes()], [0xd0, 0, 0xd0, 0, 0xd0, 0])
  })

  test(`a PINGREQ with flags or a body closes the connection ${v}`, async (t) => {
    for (const bytes of [packet(0xc1), packet(0xc8), packet(0xc0, 0)]) {
      const client = await PacketClient.connect(t, broker().port, version)
      client.write(bytes)
      await client.closedFor(0x81)
    }
  })

  test(`${cite(version, { 5: '3.14.1-1', 4: '3.14.1-1' })} the flags of DISCONNECT are 0, and all others close the connection as a failure ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port, version)
    await watcher.subscribe('will/flags', 1)
    for (let flags = 1; flags < 16; flags += 1) {
      const client = await PacketClient.connect(t, broker().port, version, willOn('will/flags'))
      client.write(packet(DISCONNECT | flags))
      await client.closedFor(0x81)
      assert.deepEqual((await watcher.receive(1)).map(textOf), ['will/flags gone'], 'it was no DISCONNECT')
    }
  })

  test(`${cite(version, { 5: '3.14.4-3', 4: '3.14.4-3' })} a DISCONNECT discards the will ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port, version)
    await watcher.subscribe('will/disconnect', 1)
    for (const bytes of version === 5
      ? [packet(DISCONNECT), packet(DISCONNECT, 0), packet(DISCONNECT, 0, properties())]
      : [packet(DISCONNECT)]) {
      const client = await PacketClient.connect(t, broker().port, version, willOn('will/disconnect'))
      client.write(bytes)
      assert.deepEqual(await client.closed(), [], 'and the broker ends the connection without a word')
    }
    await watcher.expectNothing()
  })

  test(`${cite(version, { 5: '3.14.4-1', 4: '3.14.4-2' })} nothing that a client sends after its DISCONNECT is looked at ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port, version)
    await watcher.subscribe('after/disconnect', 1)
    const clientId = uniqueClientId()
    const client = await PacketClient.connect(t, broker().port, version, { clientId, ...kept })
    const publish = packet(0x32, text('after/disconnect'), 0, 1, ...(version === 5 ? [0] : []), text('x'))
    client.write(Buffer.concat([packet(DISCONNECT), publish, packet(0xc0), packet(0x00)]))
    assert.deepEqual(await client.closed(), [])
    await watcher.expectNothing()
  })

  test(`${cite(version, { 5: '3.14.4-2', 4: '3.14.4-1' })} the broker ends the connection after a DISCONNECT of the client ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    await client.subscribe('ends')
    client.send({ cmd: 'disconnect' })
    assert.deepEqual(await client.closed(), [])
  })

  test(`${cite(version, { 5: '3.14.0-1' })} before a CONNACK that accepts there is no DISCONNECT, whatever comes in ${v}`, async (t) => {
    const connect = (protocol: string, level: number, flags: number): Buffer =>
      packet(0x10, text(protocol), level, flags, 0, 0, ...(version === 5 ? [0] : []), text(uniqueClientId()))
    const openings = {
      'no MQTT': Buffer.from(`GET / HTTP/1.1\r\nHost: ${'x'.repeat(80)}\r\n\r\n`),
      'a PINGREQ': packet(0xc0),
      'a DISCONNECT': packet(DISCONNECT),
      'a PUBLISH': packet(0x30, text('a'), ...(version === 5 ? [0] : [])),
      'an AUTH': packet(0xf0, 0x18, properties(0x15, text('method'))),
      'a CONNECT with flags': Buffer.concat([Buffer.from([0x11]), connect('MQTT', version, 2).subarray(1)]),
      'another protocol': connect('MQXX', version, 2),
      'another level': connect('MQTT', 9, 2),
      'a reserved flag': connect('MQTT', version, 3),
      'a CONNECT cut short': packet(0x10, text('MQTT'), version, 2, 0),
    }
    for (const [what, bytes] of Object.entries(openings)) {
      const client = await PacketClient.open(t, broker().port, version)
      client.write(bytes)
      for (const answer of await client.closed()) {
        assert.equal(answer.cmd, 'connack', what)
        const { reasonCode, returnCode } = answer as { reasonCode?: number; returnCode?: number }
        assert.notEqual(reasonCode ?? returnCode, 0, what)
      }
    }
  })
}

test('[MQTT-3.14.2-1] a reason code of the table is taken and the connection ended, any other is answered as an error', async (t) => {
  for (let code = 0; code < 256; code += 1) {
    const isAllowed = CLIENT_CODES.includes(code)
    // Of the others, the neighbors of what is allowed, and a few more: each needs a connection.
    if (!isAllowed && !CLIENT_CODES.some((one) => Math.abs(one - code) === 1) && code % 0x33 !== 0) continue
    const client = await PacketClient.connect(t, broker().port)
    client.write(packet(DISCONNECT, code))
    if (isAllowed) assert.deepEqual(await client.closed(), [])
    else await client.closedFor(0x82)
  }
})

test('[MQTT-3.14.4-3] a DISCONNECT with another reason than 0 publishes the will', async (t) => {
  const watcher = await PacketClient.connect(t, broker().port)
  await watcher.subscribe('will/with/disconnect', 1)
  for (const code of CLIENT_CODES.slice(1)) {
    const client = await PacketClient.connect(t, broker().port, 5, willOn('will/with/disconnect'))
    await client.disconnect({ reasonCode: code })
    assert.deepEqual((await watcher.receive(1)).map(textOf), ['will/with/disconnect gone'])
  }
})

test('[MQTT-3.14.1-1] a DISCONNECT longer than its fields, or with a property of another packet, closes the connection as a failure', async (t) => {
  for (const [fields, code] of [
    [[0, properties(), 0], 0x81],
    [[0, 1], 0x81],
    [[0, properties(0x21, 0, 1)], 0x81],
    [[0, properties(REASON_STRING, text('a'), REASON_STRING, text('b'))], 0x82],
  ] as const) {
    const client = await PacketClient.connect(t, broker().port)
    client.write(packet(DISCONNECT, ...fields))
    await client.closedFor(code)
  }
  const old = await PacketClient.connect(t, broker().port, 4)
  old.write(packet(DISCONNECT, 0))
  await old.closedFor(0x81)
})

test('a DISCONNECT may change the Session Expiry Interval, but not from 0', async (t) => {
  const clientId = uniqueClientId()
  const first = await PacketClient.connect(t, broker().port, 5, {
    clientId,
    clean: false,
    properties: { sessionExpiryInterval: 60 },
  })
  await first.disconnect({ properties: { sessionExpiryInterval: 0 } })
  const second = await PacketClient.connect(t, broker().port, 5, { clientId, clean: false })
  assert.equal(second.connack?.sessionPresent, false, 'ended by DISCONNECT')
  second.write(packet(DISCONNECT, 0, properties(SESSION_EXPIRY_INTERVAL, fourBytes(60))))
  await second.closedFor(0x82)
  const third = await PacketClient.connect(t, broker().port, 5, { clientId, clean: false })
  assert.equal(third.connack?.sessionPresent, false, 'and not brought back')
})

test('[MQTT-3.14.2-2] [MQTT-3.14.4-1] [MQTT-3.14.4-2] a DISCONNECT of the broker has no Session Expiry Interval, is its last packet, and ends the connection', async (t) => {
  const clientId = uniqueClientId()
  const fields = { clientId, clean: false, properties: { sessionExpiryInterval: 60 } }
  const first = await PacketClient.connect(t, broker().port, 5, fields)
  await first.subscribe('last/word', 1)
  const publisher = await PacketClient.connect(t, broker().port)
  // The broker has a message for the client when it ends the connection.
  const second = await PacketClient.connect(t, broker().port, 5, fields)
  await publisher.publishAcked({ topic: 'last/word', payload: 'x' })
  const before = await first.closed()
  assert.equal(before.length, 1)
  const [last] = before
  assert.ok(last?.cmd === 'disconnect')
  assert.equal(last.reasonCode, 0x8e)
  assert.equal(last.properties?.sessionExpiryInterval, undefined)
  assert.deepEqual((await second.receive(1)).map(textOf), ['last/word x'])
  await second.disconnect({ properties: { sessionExpiryInterval: 0 } })
})

test('[MQTT-3.14.2-3] [MQTT-3.14.2-4] a DISCONNECT of the broker keeps within the Maximum Packet Size of its receiver', async (t) => {
  const sizes: number[] = []
  // The same fault with room for an explanation and without.
  for (const maximumPacketSize of [2_000, 40]) {
    const client = await PacketClient.connect(t, broker().port, 5, { properties: { maximumPacketSize } })
    client.takeBytes()
    client.write(packet(0x00))
    await client.closedFor(0x81)
    const { length } = client.takeBytes()
    assert.ok(length <= maximumPacketSize, `${length} bytes`)
    sizes.push(length)
  }
  assert.ok((sizes[0] ?? 0) > 40, 'there was something to leave out')
})
