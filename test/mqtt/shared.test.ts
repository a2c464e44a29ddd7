import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { IPublishPacket } from 'mqtt-packet'
import { useBroker } from '../support/broker.js'
import { cite } from '../support/cite.js'
import type { QoS, Version } from '../support/client.js'
import { eventually } from '../support/eventually.js'
import { type ConnectFields, messageIdOf, PacketClient, uniqueClientId } from '../support/packet-client.js'

/** Of a member that acknowledges nothing: in flight, and waiting when it counts as behind (half of 20). */
const IN_FLIGHT = 10
const BEHIND = 10

const broker = useBroker({
  mqtt: {
    inflightWindow: IN_FLIGHT,
    queueLength: 20,
    sharedGroups: {
      steady: 'sticky',
      local: 'local',
      topics: 'hash_topic',
      publishers: 'hash_clientid',
      any: 'random',
    },
  },
})
const VERSIONS: readonly Version[] = [4, 5]
const QOS: readonly QoS[] = [0, 1, 2]

function connect(t: TestContext, version: Version = 5, fields: ConnectFields = {}): Promise<PacketClient> {
  return PacketClient.connect(t, broker().port, version, fields)
}

/** Connected again, with the session that was left. */
function resume(t: TestContext, version: Version, clientId: string): Promise<PacketClient> {
  return connect(t, version, { clientId, ...lasting(version) })
}

function lasting(version: Version): ConnectFields {
  return { clean: false, ...(version === 5 ? { properties: { sessionExpiryInterval: 60 } } : {}) }
}

async function members(
  t: TestContext,
  count: number,
  filter: string,
  qos: QoS = 0,
  version: Version = 5,
): Promise<PacketClient[]> {
  const clients: PacketClient[] = []
  for (let index = 0; index < count; index += 1) {
    const client = await connect(t, version)
    assert.deepEqual(await client.subscribe(filter, qos), [qos])
    clients.push(client)
  }
  return clients
}

/** Payloads that came until a ping was answered; every message is acknowledged. */
async function payloadsOf(client: PacketClient): Promise<string[]> {
  const packets = await client.settle()
  return packets.flatMap((packet) => {
    if (packet.cmd !== 'publish') return []
    if (packet.qos === 1) client.acknowledge(packet)
    return [packet.payload.toString()]
  })
}

async function publishNumbered(client: PacketClient, topic: string, count: number, qos: QoS = 0): Promise<string[]> {
  const payloads = Array.from({ length: count }, (_, index) => `${index + 1}`)
  for (const payload of payloads) await client.publishAcked({ topic, payload, qos })
  return payloads
}

function byNumber(payloads: readonly string[]): string[] {
  return [...payloads].sort((a, b) => Number(a) - Number(b))
}

for (const version of VERSIONS) {
  const v = `(version ${version})`

  for (const qos of QOS) {
    test(`each QoS ${qos} message goes to one member of each group, and each member gets its share ${v}`, async (t) => {
      const topic = `each/${version}/${qos}`
      const groups = [`$share/one/${topic}`, `$share/two/each/+/${qos}`, `$queue/${topic}`]
      const publisher = await connect(t, version)
      for (const filter of groups) {
        const clients = await members(t, 3, filter, qos, version)
        const sent = await publishNumbered(publisher, topic, 9, qos)
        const received = await Promise.all(clients.map((client) => client.receive(3)))
        assert.deepEqual(byNumber(received.flat().map((packet) => packet.payload.toString())), sent, filter)
        assert.deepEqual([...new Set(received.flat().map((packet) => packet.qos))], [qos])
        for (const client of clients) await client.expectNothing()
        for (const client of clients) await client.disconnect()
      }
    })
  }

  test(`a message goes to every group and to every plain subscription ${v}`, async (t) => {
    const topic = `every/${version}`
    const [one] = await members(t, 1, `$share/one/${topic}`, 1, version)
    const [two] = await members(t, 1, `$share/two/${topic}`, 1, version)
    const [queue] = await members(t, 1, `$queue/${topic}`, 1, version)
    const [plain] = await members(t, 1, topic, 1, version)
    const publisher = await connect(t, version)
    assert.equal(await publisher.publishAcked({ topic, payload: 'x' }), 0)
    for (const client of [one, two, queue, plain]) assert.deepEqual(await payloadsOf(client as PacketClient), ['x'])
  })

  test(`a shared and a plain subscription of one client each bring their own copy ${v}`, async (t) => {
    const topic = `both/${version}`
    const client = await connect(t, version)
    await client.subscribe([{ topic }, { topic: `$share/g/${topic}`, qos: 1 }])
    const publisher = await connect(t, version)
    await publisher.publishAcked({ topic, payload: 'x' })
    assert.deepEqual((await client.receive(2)).map(({ qos }) => qos).sort(), [0, 1])
    await client.expectNothing()
  })

  test(
    `${cite(version, { 5: '4.8.2-1 4.8.2-2' })} a share name that is none is refused in SUBACK ${v}`.trim(),
    async (t) => {
      const client = await connect(t, version)
      for (const filter of [
        '$share/g',
        '$share/g/',
        '$share//a',
        '$share/g#/a',
        '$share/+/a',
        '$queue/',
        '$share/g/a#',
      ]) {
        // By hand: mqtt-packet would not make some of them.
        const text = Buffer.from(filter)
        const body = [0, 1, ...(version === 5 ? [0] : []), 0, text.length, ...text, 1]
        client.write(Buffer.from([0x82, body.length, ...body]))
        assert.deepEqual((await client.next('suback')).granted, [version === 5 ? 0x8f : 0x80], filter)
      }
    },
  )

  test(`no retained message is sent for a shared subscription ${v}`, async (t) => {
    const topic = `retained/${version}`
    const client = await connect(t, version)
    await client.publishAcked({ topic, payload: 'kept', retain: true })
    await client.subscribe([{ topic: `$share/g/${topic}`, qos: 1, rh: 0 }])
    await client.expectNothing()
    await client.unsubscribe(`$share/g/${topic}`)
    await client.publishAcked({ topic, payload: '', retain: true })
  })

  test(`who unsubscribes gets nothing more, and the last member leaves nothing behind ${v}`, async (t) => {
    const topic = `leave/${version}`
    const filter = `$share/g/${topic}`
    const [first, second] = (await members(t, 2, filter, 0, version)) as [PacketClient, PacketClient]
    const publisher = await connect(t, version)
    assert.deepEqual(await first.unsubscribe(filter), version === 5 ? [0] : [])
    const sent = await publishNumbered(publisher, topic, 4)
    assert.deepEqual(await payloadsOf(second), sent)
    await first.expectNothing()
    assert.deepEqual(await first.unsubscribe(filter), version === 5 ? [0x11] : [])
    await second.disconnect()
    const expected = version === 5 ? 0x10 : 0
    assert.equal(await publisher.publishAcked({ topic, payload: 'nobody' }), expected)
  })

  test(`a member that is away gets nothing while another is here, and its share when none is ${v}`, async (t) => {
    const topic = `away/${version}`
    const filter = `$share/g/${topic}`
    const clientId = uniqueClientId()
    const awaited = await connect(t, version, { clientId, ...lasting(version) })
    await awaited.subscribe(filter, 1)
    const [present] = (await members(t, 1, filter, 1, version)) as [PacketClient]
    await awaited.disconnect()
    const publisher = await connect(t, version)
    const sent = await publishNumbered(publisher, topic, 4, 1)
    assert.deepEqual(await payloadsOf(present), sent)
    await present.disconnect()
    await publisher.publishAcked({ topic, payload: 'kept' })
    const back = await resume(t, version, clientId)
    assert.deepEqual(
      (await back.receive(1)).map((packet) => packet.payload.toString()),
      ['kept'],
    )
    await back.expectNothing()
  })

  for (const how of ['ends', 'waits for its client'] as const) {
    test(`what a member has not acknowledged at QoS 1 goes to another when its session ${how} ${v}`, async (t) => {
      const topic = `redispatch/${version}/${how}`
      const filter = `$share/g/${topic}`
      const clientId = uniqueClientId()
      const leaver = await connect(t, version, { clientId, ...(how === 'ends' ? {} : lasting(version)) })
      await leaver.subscribe(filter, 1)
      const publisher = await connect(t, version)
      const sent = await publishNumbered(publisher, topic, 5, 1)
      const [first] = await leaver.nextMany('publish', 5)
      leaver.acknowledge(first as IPublishPacket)
      await leaver.settle()
      const [other] = (await members(t, 1, filter, 1, version)) as [PacketClient]
      leaver.drop()
      const moved = await other.receive(4)
      assert.deepEqual(
        moved.map((packet) => packet.payload.toString()),
        sent.slice(1),
        'in the order of sending',
      )
      assert.deepEqual([...new Set(moved.map(({ dup }) => dup))], [false], 'sent to this client for the first time')
      const back = await connect(t, version, { clientId, ...lasting(version) })
      assert.equal(back.connack?.sessionPresent, how !== 'ends')
      await back.expectNothing()
    })
  }

  test(
    `${cite(version, { 5: '4.8.2-4' })} a QoS 2 message that was sent stays with its client, which gets it when it is back ${v}`.trim(),
    async (t) => {
      const topic = `stays/${version}`
      const filter = `$share/g/${topic}`
      const clientId = uniqueClientId()
      const leaver = await connect(t, version, { clientId, ...lasting(version) })
      await leaver.subscribe(filter, 2)
      const publisher = await connect(t, version)
      await publishNumbered(publisher, topic, 2, 2)
      const [, second] = await leaver.nextMany('publish', 2)
      // Of the second, PUBREC has come.
      leaver.send({ cmd: 'pubrec', ...messageIdOf(second as IPublishPacket) })
      await leaver.next('pubrel')
      const [other] = (await members(t, 1, filter, 2, version)) as [PacketClient]
      leaver.drop()
      await publisher.publishAcked({ topic, payload: 'new', qos: 2 })
      assert.deepEqual(
        (await other.receive(1)).map((packet) => packet.payload.toString()),
        ['new'],
      )
      await other.expectNothing()
      const back = await resume(t, version, clientId)
      const again = await back.next('publish')
      assert.deepEqual([again.payload.toString(), again.dup], ['1', true])
      assert.equal((await back.next('pubrel')).messageId, messageIdOf(second as IPublishPacket).messageId)
      await back.expectNothing()
    },
  )

  test(
    `${cite(version, { 5: '4.8.2-5' })} a QoS 2 message that was sent goes to nobody else when its session ends ${v}`.trim(),
    async (t) => {
      const topic = `ends/${version}`
      const filter = `$share/g/${topic}`
      const [leaver, other] = (await members(t, 2, filter, 2, version)) as [PacketClient, PacketClient]
      const publisher = await connect(t, version)
      await publishNumbered(publisher, topic, 2, 2)
      await leaver.next('publish')
      await other.receive(1)
      leaver.drop()
      // The broker has noticed when the other gets two of two.
      await eventually(async () => {
        await publishNumbered(publisher, topic, 2, 2)
        const got = await other.receive(2)
        assert.equal(got.length, 2)
      })
      await other.expectNothing()
    },
  )
}

test('[MQTT-3.8.3-4] No Local on a shared subscription is a protocol error', async (t) => {
  const client = await connect(t)
  client.send({
    cmd: 'subscribe',
    messageId: 1,
    subscriptions: [{ topic: '$share/g/a', qos: 0, nl: true, rap: false, rh: 0 }],
  })
  await client.closedFor(0x82)
})

test('shared subscriptions are announced as available', async (t) => {
  const client = await connect(t)
  assert.notEqual(client.connack?.properties?.sharedSubscriptionAvailable, false)
})

test('[MQTT-4.8.2-3] each member gets its granted QoS, its identifier and RETAIN as it asked for', async (t) => {
  const filter = '$share/g/granted'
  const [low, high] = [await connect(t), await connect(t)]
  assert.deepEqual(await low.subscribe([{ topic: filter, qos: 0 }], 0, { subscriptionIdentifier: 7 }), [0])
  assert.deepEqual(await high.subscribe([{ topic: filter, qos: 2, rap: true }], 0, { subscriptionIdentifier: 9 }), [2])
  const publisher = await connect(t)
  for (let count = 0; count < 2; count += 1) {
    await publisher.publishAcked({ topic: 'granted', payload: 'x', qos: 2, retain: true })
  }
  const [toLow] = await low.receive(1)
  const [toHigh] = await high.receive(1)
  assert.deepEqual([toLow?.qos, toLow?.retain, toLow?.properties?.subscriptionIdentifier], [0, false, 7])
  assert.deepEqual([toHigh?.qos, toHigh?.retain, toHigh?.properties?.subscriptionIdentifier], [2, true, 9])
  await publisher.publishAcked({ topic: 'granted', payload: '', retain: true })
})

for (const reason of [0x80, 0x97]) {
  test(`[MQTT-4.8.2-6] what a member refuses with 0x${reason.toString(16)} goes to nobody else`, async (t) => {
    const topic = `refused/${reason}`
    const clients = await members(t, 2, `$share/g/${topic}`, 2)
    const publisher = await connect(t)
    for (const qos of [1, 2] as const) await publisher.publishAcked({ topic, payload: `${qos}`, qos })
    for (const client of clients) {
      const packet = await client.next('publish')
      client.send({ cmd: packet.qos === 1 ? 'puback' : 'pubrec', reasonCode: reason, ...messageIdOf(packet) })
      await client.expectNothing()
    }
    for (const client of clients) {
      client.drop()
      const [other] = clients.filter((one) => one !== client && !one.isClosed)
      await other?.expectNothing()
    }
  })
}

test('sticky gives all messages to one member, and to another only when that one has gone', async (t) => {
  const clients = await members(t, 3, '$share/steady/sticky')
  const publisher = await connect(t)
  const sent = await publishNumbered(publisher, 'sticky', 6)
  const received = await Promise.all(clients.map(payloadsOf))
  const index = received.findIndex((payloads) => payloads.length > 0)
  assert.deepEqual(received[index], sent)
  assert.equal(received.flat().length, sent.length)
  await clients[index]?.disconnect()
  const again = await publishNumbered(publisher, 'sticky', 6)
  const others = await Promise.all(clients.filter((_, each) => each !== index).map(payloadsOf))
  assert.deepEqual(
    others.map((payloads) => payloads.length).sort((a, b) => a - b),
    [0, again.length],
  )
})

test('hash_topic keeps each topic with one member, in order', async (t) => {
  const clients = await members(t, 3, '$share/topics/hashed/+', 1)
  const publisher = await connect(t)
  const received: string[][] = clients.map(() => [])
  for (let number = 1; number <= 5; number += 1) {
    for (let topic = 0; topic < 12; topic += 1) {
      await publisher.publishAcked({ topic: `hashed/${topic}`, payload: `${topic} ${number}` })
    }
    for (const [index, client] of clients.entries()) received[index]?.push(...(await payloadsOf(client)))
  }
  assert.equal(received.flat().length, 60)
  for (const payloads of received) {
    for (const topic of new Set(payloads.map((payload) => payload.split(' ')[0]))) {
      const own = payloads.filter((payload) => payload.startsWith(`${topic} `))
      assert.deepEqual(
        own,
        [1, 2, 3, 4, 5].map((number) => `${topic} ${number}`),
        'one member, in order',
      )
    }
  }
  assert.ok(
    received.every((payloads) => payloads.length > 0),
    'every member has a topic',
  )
})

test('hash_clientid keeps each publisher with one member', async (t) => {
  const clients = await members(t, 3, '$share/publishers/hashed')
  const publishers = await Promise.all(Array.from({ length: 12 }, () => connect(t)))
  for (const [index, publisher] of publishers.entries()) {
    for (let count = 0; count < 3; count += 1)
      await publisher.publishAcked({ topic: 'hashed', payload: `${index}`, qos: 0 })
  }
  const received = await Promise.all(clients.map(payloadsOf))
  assert.equal(received.flat().length, 36)
  for (const index of publishers.keys()) {
    const takers = received.filter((payloads) => payloads.includes(`${index}`))
    assert.equal(takers.length, 1, `publisher ${index}`)
  }
})

for (const group of ['any', 'local']) {
  test(`the strategy of the group ${group} reaches every member, and each message once`, async (t) => {
    const clients = await members(t, 3, `$share/${group}/spread/${group}`)
    const publisher = await connect(t)
    const sent = await publishNumbered(publisher, `spread/${group}`, 60)
    const received = await Promise.all(clients.map(payloadsOf))
    assert.deepEqual(byNumber(received.flat()), sent)
    assert.ok(received.every((payloads) => payloads.length > 0))
  })
}

test('a member that does not keep up is passed over while another does', async (t) => {
  const [stuck, free] = (await members(t, 2, '$share/g/pressure', 1)) as [PacketClient, PacketClient]
  const publisher = await connect(t)
  const start = performance.now()
  let taken = 0
  for (let number = 1; number <= 20; number += 1) {
    for (let count = 0; count < 5; count += 1) await publisher.publishAcked({ topic: 'pressure', payload: 'x' })
    taken += (await payloadsOf(free)).length
  }
  assert.equal(taken, 100 - IN_FLIGHT - BEHIND)
  assert.ok(performance.now() - start < 5_000, 'no publisher was held back')
  assert.equal((await stuck.settle()).length, IN_FLIGHT)
  stuck.drop()
  assert.equal((await free.receive(IN_FLIGHT + BEHIND)).length, IN_FLIGHT + BEHIND, 'and what it had goes on')
})
