/** Section 3.1 of both specifications: what a CONNECT has to be, and what follows when it is not. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../../support/broker.js'
import { type Citation, cite } from '../../support/cite.js'
import type { Version } from '../../support/client.js'
import { eventually } from '../../support/eventually.js'
import { type ConnectBytes, codeOf, connectBytes, FrameClient } from '../../support/frame-client.js'
import { packet, properties, text, twoBytes } from '../../support/mqtt-bytes.js'
import { PacketClient, textOf, uniqueClientId } from '../../support/packet-client.js'

/** Short, so that the test of it is. */
const CONNECT_TIMEOUT = '2s'

const broker = useBroker({ mqtt: { connectTimeout: CONNECT_TIMEOUT } })
const VERSIONS: readonly Version[] = [4, 5]

const CLEAN = 0x02
const WILL = 0x04
const WILL_QOS_1 = 0x08
const WILL_QOS_2 = 0x10
const WILL_RETAIN = 0x20
const PASSWORD = 0x40
const USERNAME = 0x80

const PINGREQ = Buffer.from([0xc0, 0])

function none(version: Version): Buffer[] {
  return version === 5 ? [properties()] : []
}

function willFields(version: Version, topic = 'will/of/connect'): Buffer[] {
  return [...none(version), text(topic), text('gone')]
}

/** A CONNECT of any protocol name and level, otherwise sound in the form of that level. */
function connectAs(name: string, level: number, clientId: string | Uint8Array = uniqueClientId()): Buffer {
  const list = level >= 5 ? [properties()] : []
  return packet(0x10, text(name), level, CLEAN, twoBytes(0), ...list, text(clientId))
}

/** A CONNECT that is wrong, and where that is said. In MQTT 5 it is answered with `code`, before not at all. */
interface WrongConnect {
  readonly what: string
  readonly cited: Citation
  readonly versions?: readonly Version[]
  readonly code?: number
  readonly bytes: (version: Version) => ConnectBytes
}

const ONLY_5: readonly Version[] = [5]
const ONLY_4: readonly Version[] = [4]

const WRONG: readonly WrongConnect[] = [
  {
    what: 'with its reserved flag set',
    cited: { 5: '3.1.2-3', 4: '3.1.2-3' },
    bytes: () => ({ flags: CLEAN | 0x01 }),
  },
  {
    what: 'with a Will QoS and no will',
    cited: { 5: '3.1.2-7 3.1.2-11', 4: '3.1.2-11 3.1.2-13' },
    bytes: () => ({ flags: CLEAN | WILL_QOS_1 }),
  },
  {
    what: 'with a retained will and no will',
    cited: { 5: '3.1.2-8 3.1.2-13', 4: '3.1.2-11 3.1.2-15' },
    bytes: () => ({ flags: CLEAN | WILL_RETAIN }),
  },
  {
    what: 'with a Will QoS of 3',
    cited: { 5: '3.1.2-12', 4: '3.1.2-14' },
    bytes: (version) => ({ flags: CLEAN | WILL | WILL_QOS_1 | WILL_QOS_2, payload: willFields(version) }),
  },
  {
    what: 'whose will is announced and missing',
    cited: { 5: '3.1.2-6 3.1.2-9', 4: '3.1.2-9' },
    bytes: () => ({ flags: CLEAN | WILL }),
  },
  {
    what: 'whose will has a topic and no payload',
    cited: { 5: '3.1.2-6 3.1.2-9', 4: '3.1.2-9' },
    bytes: (version) => ({ flags: CLEAN | WILL, payload: [...none(version), text('topic')] }),
  },
  {
    what: 'whose will has no properties',
    cited: { 5: '3.1.2-6 3.1.2-9' },
    versions: ONLY_5,
    bytes: () => ({ flags: CLEAN | WILL, payload: willFields(4) }),
  },
  {
    what: 'with a will that is not announced',
    cited: { 4: '3.1.2-11' },
    bytes: (version) => ({ payload: willFields(version) }),
  },
  {
    what: 'whose user name is announced and missing',
    cited: { 5: '3.1.2-17', 4: '3.1.2-19' },
    bytes: () => ({ flags: CLEAN | USERNAME }),
  },
  {
    what: 'with a user name that is not announced',
    cited: { 5: '3.1.2-16', 4: '3.1.2-18' },
    bytes: () => ({ payload: [text('user')] }),
  },
  {
    what: 'whose password is announced and missing',
    cited: { 5: '3.1.2-19', 4: '3.1.2-21' },
    bytes: () => ({ flags: CLEAN | USERNAME | PASSWORD, payload: [text('user')] }),
  },
  {
    what: 'with a password that is not announced',
    cited: { 5: '3.1.2-18', 4: '3.1.2-20' },
    bytes: () => ({ flags: CLEAN | USERNAME, payload: [text('user'), text('password')] }),
  },
  {
    what: 'with a password and no user name',
    cited: { 4: '3.1.2-22' },
    versions: ONLY_4,
    bytes: () => ({ flags: CLEAN | PASSWORD, payload: [text('password')] }),
  },
  {
    what: 'with a property that belongs to another packet',
    cited: { 5: '3.1.4-1' },
    versions: ONLY_5,
    bytes: () => ({ list: [Buffer.from([0x23, 0, 1])] }),
  },
  {
    what: 'with a Receive Maximum of 0',
    cited: { 5: '3.1.4-1' },
    versions: ONLY_5,
    code: 0x82,
    bytes: () => ({ list: [Buffer.from([0x21, 0, 0])] }),
  },
  {
    what: 'with a Maximum Packet Size of 0',
    cited: { 5: '3.1.4-1' },
    versions: ONLY_5,
    code: 0x82,
    bytes: () => ({ list: [Buffer.from([0x27, 0, 0, 0, 0])] }),
  },
  {
    what: 'with a Request Problem Information of 2',
    cited: { 5: '3.1.4-1' },
    versions: ONLY_5,
    code: 0x82,
    bytes: () => ({ list: [Buffer.from([0x17, 2])] }),
  },
  {
    what: 'with a Request Response Information of 2',
    cited: { 5: '3.1.4-1' },
    versions: ONLY_5,
    code: 0x82,
    bytes: () => ({ list: [Buffer.from([0x19, 2])] }),
  },
  {
    what: 'with Authentication Data and no Authentication Method',
    cited: { 5: '3.1.4-1' },
    versions: ONLY_5,
    code: 0x82,
    bytes: () => ({ list: [Buffer.concat([Buffer.of(0x16), text('data')])] }),
  },
  {
    what: 'whose will has a wildcard in its topic',
    cited: { 5: '3.1.4-1', 4: '3.1.4-1' },
    code: 0x90,
    bytes: (version) => ({ flags: CLEAN | WILL, payload: willFields(version, 'a/#') }),
  },
  {
    what: 'whose will has an empty topic',
    cited: { 5: '3.1.4-1', 4: '3.1.4-1' },
    code: 0x90,
    bytes: (version) => ({ flags: CLEAN | WILL, payload: willFields(version, '') }),
  },
  {
    what: 'that is longer than its fields',
    cited: { 5: '3.1.4-1', 4: '3.1.4-1' },
    bytes: () => ({ payload: [Buffer.of(0)] }),
  },
]

for (const { what, cited, versions = VERSIONS, code = 0x81, bytes } of WRONG) {
  for (const version of versions) {
    const rule = cite(version, { 5: '3.1.4-1', 4: '3.1.4-1' })
    const cites = cite(version, cited)
    test(`${cites === '' ? rule : cites} a CONNECT ${what} ${version === 5 ? 'is refused by name' : 'closes the connection without a CONNACK'} (version ${version})`, async (t) => {
      const client = await FrameClient.open(t, broker().port, version)
      client.write(connectBytes(version, bytes(version)))
      await client.closedFor(code)
    })
  }
}

test('[MQTT-3.1.4-1] a property of CONNECT or of its will that is there twice is a protocol error', async (t) => {
  const string = (id: number): Buffer => Buffer.concat([Buffer.of(id), text('s')])
  const number = (id: number, ...bytes: number[]): Buffer => Buffer.from([id, ...bytes])
  const ofConnect = [
    number(0x11, 0, 0, 0, 1),
    number(0x21, 0, 1),
    number(0x27, 0, 0, 1, 0),
    number(0x22, 0, 1),
    number(0x19, 1),
    number(0x17, 1),
    string(0x15),
  ]
  const ofWill = [
    number(0x18, 0, 0, 0, 1),
    number(0x01, 1),
    number(0x02, 0, 0, 0, 1),
    string(0x03),
    string(0x08),
    string(0x09),
  ]
  const packets = [
    ...ofConnect.map((one) => connectBytes(5, { list: [one, one] })),
    ...ofWill.map((one) =>
      connectBytes(5, { flags: CLEAN | WILL, payload: [properties(one, one), text('t'), text('p')] }),
    ),
  ]
  for (const bytes of packets) {
    const client = await FrameClient.open(t, broker().port)
    client.write(bytes)
    await client.closedFor(0x82, bytes.toString('hex'))
  }
})

test('a User Property may be in a CONNECT twice', async (t) => {
  const pair = Buffer.concat([Buffer.of(0x26), text('name'), text('value')])
  await FrameClient.connect(t, broker().port, 5, { list: [pair, pair] })
})

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`${cite(version, { 5: '3.1.4-5', 4: '3.1.4-4' })} a valid CONNECT is answered with CONNACK and code 0 ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    assert.equal(client.connack?.sessionPresent, false)
    await client.expectNothing()
  })

  test(`${cite(version, { 5: '3.1.2-16 3.1.2-17 3.1.2-18 3.1.2-19', 4: '3.1.2-18 3.1.2-19 3.1.2-20 3.1.2-21' })} a CONNECT may have neither user name nor password, the first, or both ${v}`, async (t) => {
    const accepted: ConnectBytes[] = [
      { flags: CLEAN },
      { flags: CLEAN | USERNAME, payload: [text('user')] },
      { flags: CLEAN | USERNAME | PASSWORD, payload: [text('user'), text(Buffer.from([0, 0xff]))] },
      { flags: CLEAN | USERNAME | PASSWORD, payload: [text(''), text('')] },
      ...(version === 5 ? [{ flags: CLEAN | PASSWORD, payload: [text('password')] }] : []),
    ]
    for (const fields of accepted) await FrameClient.connect(t, broker().port, version, fields)
  })

  test(`${cite(version, { 5: '3.1.2-6 3.1.2-9 3.1.3-1', 4: '3.1.2-9 3.1.2-14' })} a will of QoS 0, 1 or 2 is taken, with user name and password behind it ${v}`, async (t) => {
    for (const willQos of [0, WILL_QOS_1, WILL_QOS_2]) {
      const flags = CLEAN | WILL | willQos | USERNAME | PASSWORD
      const payload = [...willFields(version), text('user'), text('password')]
      await FrameClient.connect(t, broker().port, version, { flags, payload })
    }
  })

  test(`${cite(version, { 5: '3.1.0-1', 4: '3.1.0-1' })} any packet but CONNECT as the first closes the connection without an answer ${v}`, async (t) => {
    for (let type = 0; type < 16; type += 1) {
      if (type === 1) continue
      for (const flags of [0, 2]) {
        const client = await FrameClient.open(t, broker().port, version)
        client.write(packet((type << 4) | flags, text('a'), 0, 0))
        assert.deepEqual(await client.closed(), [], `type ${type} with flags ${flags}`)
      }
    }
  })

  test(`${cite(version, { 5: '3.1.0-2 3.2.0-2', 4: '3.1.0-2' })} a second CONNECT closes the connection, without a second CONNACK ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    client.sendConnect()
    await client.closedFor(0x82)
    const pipelined = await FrameClient.open(t, broker().port, version)
    const clientId = uniqueClientId()
    pipelined.write(connectBytes(version, { clientId }), connectBytes(version, { clientId }))
    const [connack, ...rest] = await pipelined.closed()
    assert.equal(connack?.[0], 0x20)
    assert.deepEqual(
      rest.map((frame) => [frame[0], codeOf(frame)]),
      version === 5 ? [[0xe0, 0x82]] : [],
      'also when both came in one piece',
    )
  })

  test(`${cite(version, { 5: '3.1.2-1', 4: '3.1.2-1' })} a CONNECT of another protocol name is not taken for MQTT ${v}`, async (t) => {
    for (const name of ['mqtt', 'MQTTX', 'MQT', 'HTTP', '', 'MQIsdp', '\uFEFFMQTT']) {
      const client = await FrameClient.open(t, broker().port, version)
      client.write(connectAs(name, version))
      const answers = await client.closed()
      // Whoever it is may be told that this is an MQTT server of other versions.
      assert.ok(answers.length <= 1, name)
      for (const answer of answers)
        assert.ok([0x01, 0x84].includes(codeOf(answer)), `${name}: ${answer.toString('hex')}`)
    }
  })

  test(`${cite(version, { 5: '3.1.4-3', 4: '3.1.4-2' })} the same client ID on a new connection closes the old one ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const old = await PacketClient.connect(t, broker().port, version, { clientId })
    const young = await PacketClient.connect(t, broker().port, version, { clientId })
    await old.closedFor(0x8e)
    await young.expectNothing()
  })

  test(`${cite(version, { 5: '3.1.4-6', 4: '3.1.4-5' })} nothing that follows a CONNECT that is refused is processed ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port, version)
    await watcher.subscribe('after/refusal')
    const client = await FrameClient.open(t, broker().port, version)
    const will = willFields(version, 'after/refusal')
    client.write(
      connectBytes(version, { clientId: 'x'.repeat(1_000), flags: CLEAN | WILL, payload: will }),
      packet(0x30, text('after/refusal'), ...none(version), 0x78),
      packet(0x82, twoBytes(1), ...none(version), text('#'), 0),
      PINGREQ,
    )
    const answers = await client.closed()
    assert.deepEqual(
      answers.map((frame) => [frame[0], codeOf(frame)]),
      [[0x20, version === 5 ? 0x85 : 2]],
    )
    await watcher.expectNothing()
  })

  test(`${cite(version, { 5: '3.1.3-3 3.1.3-5', 4: '3.1.3-5' })} client IDs of 1 to 23 letters and digits are accepted ${v}`, async (t) => {
    const letters = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'
    const clientIds = [
      ...letters,
      ...Array.from({ length: 23 }, (_, index) => letters.slice(index, 2 * index + 1)),
      letters.slice(-23),
    ]
    for (const clientId of clientIds) {
      const client = await FrameClient.connect(t, broker().port, version, { clientId })
      client.drop()
    }
  })

  test(`${cite(version, { 5: '3.1.3-3', 4: '3.1.3-3' })} a CONNECT that ends before its client ID closes the connection ${v}`, async (t) => {
    const client = await FrameClient.open(t, broker().port, version)
    client.write(packet(0x10, text('MQTT'), version, CLEAN, twoBytes(0), ...none(version)))
    await client.closedFor(0x81)
  })

  test(`${cite(version, { 5: '3.1.3-5 3.1.3-8 3.1.4-2', 4: '3.1.3-9' })} a client ID that the server does not accept is refused by name, and the connection ends ${v}`, async (t) => {
    const client = await PacketClient.open(t, broker().port, version)
    client.sendConnect({ clientId: 'x'.repeat(257) })
    const connack = await client.next('connack')
    assert.equal(version === 5 ? connack.reasonCode : connack.returnCode, version === 5 ? 0x85 : 2)
    assert.deepEqual(await client.closed(), [])
  })
}

test('[MQTT-3.1.3-2] [MQTT 3.1.1: MQTT-3.1.3-2] a session belongs to its client ID, byte for byte, in either version', async (t) => {
  const clientId = uniqueClientId()
  const fields = { clean: false, properties: { sessionExpiryInterval: 60 } }
  const first = await PacketClient.connect(t, broker().port, 5, { clientId, ...fields })
  await first.disconnect()
  for (const other of [clientId.toUpperCase(), `${clientId} `, clientId.slice(1)]) {
    const client = await PacketClient.connect(t, broker().port, 4, { clientId: other, clean: true })
    assert.equal(client.connack?.sessionPresent, false, `"${other}" has no part in it`)
  }
  const again = await PacketClient.connect(t, broker().port, 4, { clientId, clean: false })
  assert.equal(again.connack?.sessionPresent, true)
  const last = await PacketClient.connect(t, broker().port, 5, { clientId, clean: true })
  assert.equal(last.connack?.sessionPresent, false)
})

test('[MQTT-3.1.3-4] [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16] a client without an ID is given one of its own, and told', async (t) => {
  const [one, other] = [
    await PacketClient.connect(t, broker().port, 5, { clientId: '' }),
    await PacketClient.connect(t, broker().port, 5, { clientId: '' }),
  ]
  const [id, otherId] = [one, other].map((client) => client.connack?.properties?.assignedClientIdentifier ?? '')
  assert.ok(id !== '' && otherId !== '' && id !== otherId, `assigned ${id} and ${otherId}`)
  const taker = await PacketClient.connect(t, broker().port, 5, { clientId: id ?? '' })
  await one.closedFor(0x8e)
  await taker.expectNothing()
  assert.equal(taker.connack?.properties?.assignedClientIdentifier, undefined, 'not told to who has one')
})

test('[MQTT 3.1.1: MQTT-3.1.3-6] a client without an ID gets one of its own with a clean session', async (t) => {
  const clients = [
    await PacketClient.connect(t, broker().port, 4, { clientId: '' }),
    await PacketClient.connect(t, broker().port, 4, { clientId: '' }),
  ]
  for (const client of clients) await client.expectNothing()
})

test('[MQTT 3.1.1: MQTT-3.1.3-8] no client ID and no clean session is refused with return code 2', async (t) => {
  const client = await FrameClient.open(t, broker().port, 4)
  client.write(connectBytes(4, { clientId: '', flags: 0 }))
  assert.deepEqual(await client.closed(), [packet(0x20, 0, 2)])
})

test('[MQTT-3.1.2-2] [MQTT 3.1.1: MQTT-3.1.2-2] an unknown protocol level is refused in the form of the next version that is known', async (t) => {
  for (const [name, level] of [
    ['MQTT', 0],
    ['MQTT', 2],
    ['MQTT', 3],
    ['MQIsdp', 2],
    ['MQIsdp', 4],
    // A bridge marks itself with the highest bit and tries again without when it reads return code 1.
    ['MQTT', 0x84],
  ] as const) {
    const client = await FrameClient.open(t, broker().port, 4)
    client.write(connectAs(name, level))
    assert.deepEqual(await client.closed(), [packet(0x20, 0, 1)], `${name} ${level}`)
  }
  for (const level of [6, 7, 127]) {
    const client = await FrameClient.open(t, broker().port)
    client.write(connectAs('MQTT', level))
    const [connack, ...rest] = await client.closed()
    assert.deepEqual([connack?.[0], connack?.[2], connack?.[3], rest], [0x20, 0, 0x84, []], `level ${level}`)
  }
})

test('MQTT 3.1 connects by its own protocol name, with a client ID of 1 to 23 characters, and works as 3.1.1 does', async (t) => {
  for (const [clientId, code] of [
    ['old', 0],
    ['ö'.repeat(23), 0],
    ['', 2],
    ['x'.repeat(24), 2],
  ] as const) {
    const client = await PacketClient.open(t, broker().port, 4)
    client.write(connectAs('MQIsdp', 3, clientId))
    assert.equal((await client.next('connack')).returnCode, code, clientId)
    if (code !== 0) {
      assert.deepEqual(await client.closed(), [])
      continue
    }
    assert.deepEqual(await client.subscribe('from/the/past', 1), [1])
    client.publish({ topic: 'from/the/past', payload: 'x' })
    assert.deepEqual((await client.receive(1)).map(textOf), ['from/the/past x'])
  }
})

test('[MQTT-3.1.2-28] nobody is given Response Information who did not ask for it', async (t) => {
  for (const properties of [undefined, { requestResponseInformation: false }]) {
    const client = await PacketClient.connect(t, broker().port, 5, properties === undefined ? {} : { properties })
    assert.equal(client.connack?.properties?.responseInformation, undefined)
  }
})

test('a hundred connections with one client ID leave one, and it works', async (t) => {
  const clientId = uniqueClientId()
  const clients = await Promise.all(Array.from({ length: 100 }, () => PacketClient.open(t, broker().port)))
  for (const client of clients) client.sendConnect({ clientId })
  const firsts = await Promise.all(clients.map((client) => client.next('connack')))
  assert.deepEqual([...new Set(firsts.map((connack) => connack.reasonCode))], [0])
  const open = await eventually(() => {
    const left = clients.filter((client) => !client.isClosed)
    assert.equal(left.length, 1)
    return left
  })
  await open[0]?.expectNothing()
})

test('[MQTT-3.14.4-1] what follows a DISCONNECT is not processed', async (t) => {
  const watcher = await PacketClient.connect(t, broker().port)
  await watcher.subscribe('after/disconnect')
  const client = await PacketClient.connect(t, broker().port)
  client.publish({ topic: 'after/disconnect', payload: 'before' })
  client.send({ cmd: 'disconnect' })
  client.publish({ topic: 'after/disconnect', payload: 'after' })
  assert.deepEqual(await client.closed(), [])
  assert.deepEqual((await watcher.settle()).map(textOf), ['after/disconnect before'])
})

test('a CONNECT that never comes is given up', { timeout: 20_000 }, async (t) => {
  const client = await PacketClient.open(t, broker().port)
  client.write(Buffer.from([0x10]))
  assert.deepEqual(await client.closed(), [])
})
