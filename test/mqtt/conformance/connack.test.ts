/** Section 3.2 of both specifications, and the sessions of 3.1.2: what CONNACK says, and that it is so. */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { useBroker } from '../../support/broker.js'
import { cite } from '../../support/cite.js'
import type { Version } from '../../support/client.js'
import { connectBytes, FrameClient } from '../../support/frame-client.js'
import { packet, properties, text, twoBytes } from '../../support/mqtt-bytes.js'
import { type ConnectFields, PacketClient, textOf, uniqueClientId } from '../../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]

/** Reason codes that CONNACK may have. [MQTT 5.0 table 3-1] */
const CONNECT_REASON_CODES = [
  0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b,
  0x9c, 0x9d, 0x9f,
]

const PINGREQ = Buffer.from([0xc0, 0])
const NEVER_EXPIRES = 0xffff_ffff

function none(version: Version): Buffer[] {
  return version === 5 ? [properties()] : []
}

/** How a session was left behind, and whether there is one then. */
interface Past {
  readonly what: string
  readonly isKept: boolean
  readonly leave: (context: TestContext, clientId: string) => Promise<void>
}

/** A past of one connection, which subscribed and then ended with or without a DISCONNECT. */
function past(
  what: string,
  version: Version,
  isKept: boolean,
  fields: ConnectFields,
  { isLeftOpen = false, expiryAtEnd }: { isLeftOpen?: boolean; expiryAtEnd?: number } = {},
): Past {
  return {
    what,
    isKept,
    async leave(context, clientId) {
      const client = await PacketClient.connect(context, broker().port, version, { clientId, ...fields })
      await client.subscribe(`past/${clientId}`, 1)
      // The next connection of the client ID finds this one open, and takes its session over.
      if (isLeftOpen) return
      const end = expiryAtEnd === undefined ? {} : { properties: { sessionExpiryInterval: expiryAtEnd } }
      await client.disconnect(end)
    },
  }
}

/** One past after another, of the same client ID. */
function then(before: Past, after: Past): Past {
  return {
    what: `${before.what}, then ${after.what}`,
    isKept: after.isKept,
    async leave(context, clientId) {
      await before.leave(context, clientId)
      await after.leave(context, clientId)
    },
  }
}

function expiry(sessionExpiryInterval: number): ConnectFields {
  return { properties: { sessionExpiryInterval } }
}

const KEPT_BY_5 = past('a 5.0 session with an expiry interval', 5, true, { clean: false, ...expiry(60) })
const KEPT_BY_4 = past('a 3.1.1 session', 4, true, { clean: false })

const PASTS: readonly Past[] = [
  { what: 'no session', isKept: false, leave: () => Promise.resolve() },
  KEPT_BY_4,
  past('a clean 3.1.1 session', 4, false, { clean: true }),
  past('a 3.1.1 session whose connection is still open', 4, true, { clean: false }, { isLeftOpen: true }),
  KEPT_BY_5,
  past('a 5.0 session that never expires', 5, true, { clean: false, ...expiry(NEVER_EXPIRES) }),
  past('a 5.0 session that began clean, with an expiry interval', 5, true, { clean: true, ...expiry(60) }),
  past('a 5.0 session without an expiry interval', 5, false, { clean: false }),
  past('a 5.0 session that ends with its connection', 5, false, { clean: false, ...expiry(0) }),
  past('a 5.0 session whose connection is still open', 5, true, { clean: false, ...expiry(60) }, { isLeftOpen: true }),
  past('a 5.0 session that DISCONNECT ended', 5, false, { clean: false, ...expiry(60) }, { expiryAtEnd: 0 }),
  past('a 5.0 session that DISCONNECT prolonged', 5, true, { clean: false, ...expiry(1) }, { expiryAtEnd: 60 }),
  then(KEPT_BY_5, past('the same without an expiry interval', 5, false, { clean: false })),
  then(KEPT_BY_4, past('the same in 5.0 without an expiry interval', 5, false, { clean: false })),
  then(KEPT_BY_5, past('the same in 3.1.1', 4, true, { clean: false })),
  then(KEPT_BY_5, past('a clean one of 3.1.1', 4, false, { clean: true })),
]

for (const version of VERSIONS) {
  for (const clean of [true, false]) {
    for (const { what, isKept, leave } of PASTS) {
      const isResumed = isKept && !clean
      const cites = clean
        ? cite(version, { 5: '3.1.2-4 3.1.4-4 3.2.2-2', 4: '3.1.2-6 3.1.4-3 3.2.2-1' })
        : isKept
          ? cite(version, { 5: '3.1.2-5 3.1.2-23 3.1.4-4 3.2.2-3', 4: '3.1.2-4 3.1.4-3 3.2.2-2' })
          : cite(version, { 5: '3.1.2-6 3.1.4-4 3.2.2-2', 4: '3.1.2-4 3.1.4-3 3.2.2-3' })
      const start = clean ? 'a clean start' : 'a start that is not clean'
      test(`${cites} ${start} after ${what} ${isResumed ? 'resumes it' : 'has a session of its own'} (version ${version})`, async (t) => {
        const clientId = uniqueClientId()
        await leave(t, clientId)
        const client = await PacketClient.connect(t, broker().port, version, { clientId, clean })
        assert.equal(client.connack?.sessionPresent, isResumed)
        const publisher = await PacketClient.connect(t, broker().port)
        await publisher.publishAcked({ topic: `past/${clientId}`, payload: 'x', qos: 0 })
        const got = (await client.settle()).map(textOf)
        assert.deepEqual(got, isResumed ? [`past/${clientId} x`] : [], 'its subscription')
      })
    }
  }

  const v = `(version ${version})`

  test(`${cite(version, { 5: '3.2.0-1', 4: '3.2.0-1' })} CONNACK comes before anything else, also before what waits for the session ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const kept = { clientId, clean: false, ...(version === 5 ? expiry(60) : {}) }
    const away = await PacketClient.connect(t, broker().port, version, kept)
    await away.subscribe('first/packet', 1)
    await away.disconnect()
    const publisher = await PacketClient.connect(t, broker().port)
    await publisher.publishAcked({ topic: 'first/packet', payload: 'x' })
    const client = await FrameClient.open(t, broker().port, version)
    client.write(
      connectBytes(version, { clientId, flags: 0 }),
      packet(0x82, twoBytes(1), ...none(version), text('first/other'), 0),
      packet(0x32, text('first/other'), twoBytes(2), ...none(version), 0x78),
      PINGREQ,
    )
    const types = (await client.nextMany(6)).map((frame) => (frame[0] ?? 0) >> 4)
    assert.equal(types[0], 2, 'CONNACK')
    // Two PUBLISH, PUBACK, SUBACK, PINGRESP
    assert.deepEqual(
      types.slice(1).sort((a, b) => a - b),
      [3, 3, 4, 9, 13],
    )
  })

  test(`${cite(version, { 5: '3.1.2-23', 4: '3.1.2-4 3.1.2-5' })} a session that is kept collects messages above QoS 0 for its subscriptions while its client is away ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const kept = { clientId, clean: false, ...(version === 5 ? expiry(60) : {}) }
    const away = await PacketClient.connect(t, broker().port, version, kept)
    await away.subscribe('collect/+', 2)
    await away.disconnect()
    const publisher = await PacketClient.connect(t, broker().port, version)
    for (const qos of [1, 2, 0] as const) await publisher.publishAcked({ topic: `collect/${qos}`, payload: 'x', qos })
    await publisher.publishAcked({ topic: 'other/1', payload: 'x' })
    const back = await PacketClient.connect(t, broker().port, version, kept)
    assert.deepEqual(
      (await back.receive(2)).map((one) => `${textOf(one)} at ${one.qos}`),
      ['collect/1 x at 1', 'collect/2 x at 2'],
    )
    await back.expectNothing()
  })

  test(`${cite(version, { 5: '3.2.0-2' })} no CONNACK comes twice on a connection ${v}`.trim(), async (t) => {
    const client = await FrameClient.open(t, broker().port, version)
    client.write(connectBytes(version))
    assert.equal((await client.next())[0], 0x20)
    assert.deepEqual(await client.settle(), [])
    client.write(connectBytes(version))
    const after = await client.closed()
    assert.ok(after.every((frame) => frame[0] !== 0x20))
  })

  test(`${cite(version, { 5: '3.2.2-1', 4: '3.2.2-1 3.2.2-2' })} the flags of CONNACK are Session Present and nothing else ${v}`, async (t) => {
    const clientId = uniqueClientId()
    const kept = { clientId, flags: 0, list: [Buffer.from([0x11, 0, 0, 0, 60])] }
    for (const expected of [0, 1, 1]) {
      const client = await FrameClient.open(t, broker().port, version)
      client.write(connectBytes(version, kept))
      const connack = await client.next()
      assert.deepEqual([connack[0], connack[2], connack[3]], [0x20, expected, 0])
      client.drop()
    }
  })

  test(`${cite(version, { 5: '3.2.2-6 3.2.2-7 3.2.2-8', 4: '3.2.2-4 3.2.2-5 3.2.2-6' })} a refusal has a code of the table and no session, and the connection ends ${v}`, async (t) => {
    const clientId = 'refused'.repeat(60)
    const refused: Buffer[] = [
      connectBytes(version, { clientId }),
      connectBytes(version, { flags: 0x03 }),
      packet(0x10, text('MQTT'), 6, 0x02, twoBytes(0), ...none(5), text('x')),
      packet(0x10, text('MQTT'), 1, 0x02, twoBytes(0), text('x')),
      connectBytes(version, { flags: 0x06, payload: [...none(version), text('a/#'), text('x')] }),
      ...(version === 5
        ? [connectBytes(5, { list: [Buffer.concat([Buffer.of(0x15), text('nobody knows it')])] })]
        : [connectBytes(4, { clientId: '', flags: 0 })]),
    ]
    const allowed = version === 5 ? CONNECT_REASON_CODES : [0x01, 0x02, 0x03, 0x04, 0x05, 0x84]
    for (const bytes of refused) {
      const client = await FrameClient.open(t, broker().port, version)
      client.write(bytes)
      for (const answer of await client.closed()) {
        assert.deepEqual([answer[0], answer[2]], [0x20, 0], bytes.toString('hex'))
        const code = answer[3] ?? 0
        // Return code 1 answers a level that only 3.1.1 would have understood.
        assert.ok(code !== 0 && (allowed.includes(code) || code === 0x01), `code ${code}`)
      }
    }
  })
}

test('[MQTT-3.2.2-6] a refusal says that no session is present, although there is one', async (t) => {
  const clientId = uniqueClientId()
  const first = await PacketClient.connect(t, broker().port, 5, { clientId, clean: false, ...expiry(60) })
  await first.disconnect()
  const client = await FrameClient.open(t, broker().port)
  client.write(connectBytes(5, { clientId, flags: 0, list: [Buffer.concat([Buffer.of(0x15), text('none')])] }))
  const [connack] = await client.closed()
  assert.deepEqual([connack?.[0], connack?.[2], connack?.[3]], [0x20, 0, 0x8c])
  const second = await PacketClient.connect(t, broker().port, 5, { clientId, clean: false, ...expiry(60) })
  assert.equal(second.connack?.sessionPresent, true, 'and leaves it as it was')
})

test('[MQTT 3.1.1: MQTT-3.2.2-4] [MQTT 3.1.1: MQTT-3.2.2-5] a refusal of 3.1.1 is four bytes, and the connection ends', async (t) => {
  const client = await FrameClient.open(t, broker().port, 4)
  client.write(connectBytes(4, { clientId: 'x'.repeat(257) }))
  assert.deepEqual(await client.closed(), [packet(0x20, 0, 2)])
})

test('[MQTT-3.1.2-24] [MQTT-3.2.2-16] [MQTT-3.2.2-19] [MQTT-3.2.2-20] no packet is larger than the client takes: a CONNACK does without its Reason String, or does not come', async (t) => {
  const size = (bytes: number): Buffer => Buffer.from([0x27, 0, 0, 0, bytes])
  const method = Buffer.concat([Buffer.of(0x15), text('nobody knows it')])
  const refused = async (limit: number): Promise<Buffer[]> => {
    const client = await FrameClient.open(t, broker().port)
    client.write(connectBytes(5, { list: [size(limit), method] }))
    return client.closed()
  }
  const [whole] = await refused(200)
  assert.equal(whole?.[3], 0x8c)
  assert.ok((whole?.length ?? 0) > 20, `with a Reason String: ${whole?.toString('hex')}`)
  assert.deepEqual(await refused((whole?.length ?? 0) - 1), [packet(0x20, 0, 0x8c, 0)], 'without it')
  assert.deepEqual(await refused(4), [], 'not even so')

  const assigned = await FrameClient.open(t, broker().port)
  assigned.write(connectBytes(5, { clientId: '', list: [size(24)] }))
  assert.deepEqual(await assigned.closed(), [], 'an Assigned Client Identifier cannot be left out')
})

test('[MQTT-3.1.2-7] a client whose CONNACK could not be sent was not let in, and has no will', async (t) => {
  const watcher = await PacketClient.connect(t, broker().port)
  await watcher.subscribe('will/of/nobody')
  const clientId = uniqueClientId()
  const client = await FrameClient.open(t, broker().port)
  const payload = [properties(), text('will/of/nobody'), text('gone')]
  client.write(connectBytes(5, { clientId, flags: 0x06, list: [Buffer.from([0x27, 0, 0, 0, 5])], payload }))
  assert.deepEqual(await client.closed(), [])
  const next = await PacketClient.connect(t, broker().port, 5, { clientId })
  await next.expectNothing()
  await watcher.expectNothing()
})

test('[MQTT-3.1.2-24] a SUBACK that is larger than the client takes ends the connection instead', async (t) => {
  const limit = 40
  const client = await FrameClient.connect(t, broker().port, 5, { list: [Buffer.from([0x27, 0, 0, 0, limit])] })
  const filters = Array.from({ length: limit }, (_, index) => Buffer.concat([text(`f${index}`), Buffer.of(0)]))
  client.write(packet(0x82, twoBytes(1), properties(), ...filters))
  await client.closedFor(0x95)
})

test('CONNACK tells a 5.0 client what differs from the defaults', async (t) => {
  const client = await PacketClient.connect(t, broker().port)
  const properties = client.connack?.properties ?? {}
  assert.equal(properties.retainAvailable ?? true, true)
  assert.equal(properties.wildcardSubscriptionAvailable ?? true, true)
  assert.equal(properties.subscriptionIdentifiersAvailable ?? true, true)
  assert.equal(properties.maximumQoS ?? 2, 2)
  assert.ok((properties.receiveMaximum ?? 65_535) >= 1)
})

test('[MQTT-3.1.2-29] a client that wants no problem information gets Reason Strings and User Properties in CONNACK and DISCONNECT at most', async (t) => {
  const client = await PacketClient.connect(t, broker().port, 5, { properties: { requestProblemInformation: false } })
  client.send({
    cmd: 'subscribe',
    messageId: 1,
    subscriptions: [{ topic: 'a/#/b', qos: 0, nl: false, rap: false, rh: 0 }],
  })
  client.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['never', 'a/#/b'] })
  client.publish({ topic: '$SYS/not/allowed', payload: 'x', qos: 1, messageId: 3 })
  client.publish({ topic: '$SYS/not/allowed', payload: 'x', qos: 2, messageId: 4 })
  client.send({ cmd: 'pubrel', messageId: 9 })
  const answers = await client.settle()
  assert.deepEqual(answers.map(({ cmd }) => cmd).sort(), ['puback', 'pubcomp', 'pubrec', 'suback', 'unsuback'])
  for (const answer of answers) {
    const given = ('properties' in answer ? answer.properties : undefined) as Record<string, unknown> | undefined
    const { reasonString, userProperties } = given ?? {}
    assert.deepEqual([reasonString, userProperties], [undefined, undefined], answer.cmd)
  }
})
