import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import type { IPublishPacket } from 'mqtt-packet'
import { clientFor } from '../support/client.js'
import { eventually } from '../support/eventually.js'
import { kept, resent } from '../support/kept-session.js'
import { dataDirectoryFor, LoneNode } from '../support/lone-node.js'
import { deliveryFaults, NO_FAULTS, numbered } from '../support/numbered.js'
import { PacketClient, textOf } from '../support/packet-client.js'
import { redisFor } from '../support/redis.js'

/** Where the lives of a node have their data, and with which options they begin. */
interface Place {
  readonly data: string
  readonly options?: Readonly<Record<string, string>>
}

const PLACES: Readonly<Record<string, (t: TestContext) => Promise<Place>>> = {
  embedded: async (t) => ({ data: dataDirectoryFor(t) }),
  redis: async (t) => {
    const { url } = await redisFor(t)
    return { data: dataDirectoryFor(t), options: { SHOALMQ_STORE__KIND: 'redis', SHOALMQ_STORE__REDIS__URL: url } }
  },
}

function place(t: TestContext, store: string): Promise<Place> {
  const placeFor = PLACES[store]
  assert.ok(placeFor)
  return placeFor(t)
}

function startAt(t: TestContext, { data, options }: Place): Promise<LoneNode> {
  return LoneNode.start(t, data, undefined, options)
}

/** Kills the node and starts it again on its data. */
async function again(t: TestContext, node: LoneNode, place: Place | string): Promise<LoneNode> {
  await node.kill()
  return startAt(t, typeof place === 'string' ? { data: place } : place)
}

for (const [version, store] of [
  [4, 'embedded'],
  [5, 'embedded'],
  [5, 'redis'],
] as const) {
  test(`MQTT ${version}, ${store}: after kill -9 a session has its subscriptions and its queue, in order, and goes on`, async (t) => {
    const data = await place(t, store)
    let node = await startAt(t, data)
    const away = await PacketClient.connect(t, node.port, version, kept(version, 'away'))
    assert.deepEqual(await away.subscribe([{ topic: 'a/+', qos: 2 }, { topic: 'gone' }]), [2, 0])
    await away.unsubscribe('gone')
    away.drop()
    const publisher = await PacketClient.connect(t, node.port, version)
    const sent: string[] = []
    for (let count = 0; count < 40; count += 1) {
      await publisher.publishAcked({ topic: 'a/b', payload: `${count}`, qos: count % 2 === 0 ? 1 : 2 })
      sent.push(`a/b ${count}`)
    }
    node = await again(t, node, data)
    // Twice: what has come from the disk is still there.
    node = await again(t, node, data)
    const back = await PacketClient.connect(t, node.port, version, kept(version, 'away'))
    assert.equal(back.connack?.sessionPresent, true)
    assert.deepEqual((await back.receive(40)).map(textOf), sent)
    const live = await PacketClient.connect(t, node.port, version)
    await live.publishAcked({ topic: 'a/c', payload: 'live', qos: 1 })
    await live.publishAcked({ topic: 'gone', payload: 'unsubscribed', qos: 1 })
    assert.deepEqual((await back.receive(1)).map(textOf), ['a/c live'])
    await back.expectNothing()
    // SUBACK says that what was acknowledged before it is kept, too.
    await back.subscribe('fence')
    node = await again(t, node, data)
    const last = await PacketClient.connect(t, node.port, version, kept(version, 'away'))
    assert.equal(last.connack?.sessionPresent, true)
    await last.expectNothing()
    await node.kill()
  })
}

for (const store of ['embedded', 'redis']) {
  test(`${store}: what was in flight to a client is sent again after kill -9: with its packet ids, as duplicates, in order`, async (t) => {
    const data = await place(t, store)
    let node = await startAt(t, data)
    const client = await PacketClient.connect(t, node.port, 5, kept(5, 'receiver'))
    await client.subscribe('t', 2)
    const publisher = await PacketClient.connect(t, node.port)
    for (const [payload, qos] of [
      ['one', 1],
      ['two', 2],
      ['three', 2],
      ['four', 1],
      ['five', 2],
    ] as const) {
      await publisher.publishAcked({ topic: 't', payload, qos })
    }
    const got = await client.nextMany('publish', 5)
    assert.deepEqual(got.map(textOf), ['t one', 't two', 't three', 't four', 't five'])
    const [one = 0, two = 0, three = 0, four = 0, five = 0] = got.map(({ messageId }) => messageId)
    // Settled: one. PUBREL is out: two, five. Neither: three, four.
    client.send({ cmd: 'puback', messageId: one })
    client.send({ cmd: 'pubrec', messageId: five })
    client.send({ cmd: 'pubrec', messageId: two })
    assert.deepEqual(
      (await client.nextMany('pubrel', 2)).map(({ messageId }) => messageId),
      [five, two],
    )
    node = await again(t, node, data)
    const back = await PacketClient.connect(t, node.port, 5, kept(5, 'receiver'))
    const arrived = await back.settle()
    assert.deepEqual(resent(arrived), [
      `t three dup true id ${three}`,
      `t four dup true id ${four}`,
      `pubrel id ${five}`,
      `pubrel id ${two}`,
    ])
    for (const messageId of [two, five]) back.send({ cmd: 'pubcomp', messageId })
    back.send({ cmd: 'puback', messageId: four })
    back.send({ cmd: 'pubrec', messageId: three })
    assert.equal((await back.next('pubrel')).messageId, three)
    back.send({ cmd: 'pubcomp', messageId: three })
    await back.expectNothing()
    node = await again(t, node, data)
    const last = await PacketClient.connect(t, node.port, 5, kept(5, 'receiver'))
    // Nobody had to be told of the last acknowledgements, so they may not have been kept: PUBREL may come again.
    assert.deepEqual(
      (await last.settle()).filter(({ cmd }) => cmd !== 'pubrel'),
      [],
    )
    await node.kill()
  })
}

for (const store of ['embedded', 'redis']) {
  test(`${store}: a QoS 2 message that a client has half published before kill -9 comes once, and its id is free after PUBCOMP`, async (t) => {
    const data = await place(t, store)
    let node = await startAt(t, data)
    const receiver = await PacketClient.connect(t, node.port, 5, kept(5, 'receiver'))
    await receiver.subscribe('t', 2)
    receiver.drop()
    const publisher = await PacketClient.connect(t, node.port, 5, kept(5, 'publisher'))
    publisher.publish({ topic: 't', payload: 'first', qos: 2, messageId: 7 })
    await publisher.next('pubrec')
    node = await again(t, node, data)
    const resumed = await PacketClient.connect(t, node.port, 5, kept(5, 'publisher'))
    assert.equal(resumed.connack?.sessionPresent, true)
    // As if PUBREC had been lost.
    resumed.publish({ topic: 't', payload: 'first', qos: 2, messageId: 7, dup: true })
    assert.equal((await resumed.next('pubrec')).messageId, 7)
    resumed.send({ cmd: 'pubrel', messageId: 7 })
    assert.equal((await resumed.next('pubcomp')).reasonCode ?? 0, 0)
    node = await again(t, node, data)
    const third = await PacketClient.connect(t, node.port, 5, kept(5, 'publisher'))
    assert.equal(await third.publishAcked({ topic: 't', payload: 'second', qos: 2, messageId: 7 }), 0)
    const back = await PacketClient.connect(t, node.port, 5, kept(5, 'receiver'))
    assert.deepEqual((await back.receive(2)).map(textOf), ['t first', 't second'])
    await back.expectNothing()
    await node.kill()
  })
}

test('sessions that end do not come back: clean start, expiry, expiry while the node is down; those that stay do', async (t) => {
  const data = dataDirectoryFor(t)
  let node = await LoneNode.start(t, data)
  const begin = async (clientId: string, sessionExpiryInterval: number): Promise<PacketClient> => {
    const client = await PacketClient.connect(t, node.port, 5, {
      clientId,
      clean: false,
      properties: { sessionExpiryInterval },
    })
    await client.subscribe('t', 1)
    return client
  }
  const [cleaned, short, ended, stays] = [
    await begin('cleaned', 60),
    await begin('short', 2),
    await begin('ended', 60),
    await begin('stays', 60),
  ]
  short.drop()
  cleaned.drop()
  stays.drop()
  const publisher = await PacketClient.connect(t, node.port)
  await publisher.publishAcked({ topic: 't', payload: 'x' })
  await ended.disconnect({ properties: { sessionExpiryInterval: 0 } })
  const anew = await PacketClient.connect(t, node.port, 5, {
    clientId: 'cleaned',
    clean: true,
    properties: { sessionExpiryInterval: 60 },
  })
  assert.equal(anew.connack?.sessionPresent, false)
  await node.kill()
  const killedAt = Date.now()
  await eventually(() => assert.ok(Date.now() - killedAt > 2_000, 'it is not time yet'), { within: 5_000 })
  node = await LoneNode.start(t, data)
  const present = async (clientId: string): Promise<unknown> => {
    const client = await PacketClient.connect(t, node.port, 5, kept(5, clientId))
    return [client.connack?.sessionPresent, (await client.settle()).map(textOf)]
  }
  assert.deepEqual(await present('short'), [false, []])
  assert.deepEqual(await present('ended'), [false, []])
  assert.deepEqual(await present('cleaned'), [true, []])
  assert.deepEqual(await present('stays'), [true, ['t x']])
  await node.kill()
})

test('a will that waits for its delay, and that of a client that was connected, are published after kill -9; others not', async (t) => {
  const data = dataDirectoryFor(t)
  let node = await LoneNode.start(t, data)
  const listener = await PacketClient.connect(t, node.port, 5, kept(5, 'listener'))
  await listener.subscribe('will/#', 1)
  listener.drop()
  const withWill = (clientId: string, willDelayInterval: number): Promise<PacketClient> =>
    PacketClient.connect(t, node.port, 5, {
      ...kept(5, clientId),
      will: {
        topic: `will/${clientId}`,
        payload: Buffer.from('gone'),
        qos: 1,
        retain: false,
        properties: { willDelayInterval, correlationData: Buffer.from([0, 255]) },
      },
    })
  const waiting = await withWill('waiting', 2)
  const patient = await withWill('patient', 50)
  waiting.drop()
  patient.drop()
  await withWill('connected', 0)
  const polite = await withWill('polite', 0)
  await polite.disconnect()
  // Behind it, what came before is kept, too.
  await (await PacketClient.connect(t, node.port)).publishAcked({ topic: 'will/fence' })
  node = await again(t, node, data)
  const back = await PacketClient.connect(t, node.port, 5, kept(5, 'listener'))
  const wills = await back.receive(3)
  assert.deepEqual(wills.map(textOf).sort(), ['will/connected gone', 'will/fence ', 'will/waiting gone'])
  assert.deepEqual(wills[2]?.properties?.correlationData, Buffer.from([0, 255]))
  await back.expectNothing()
  await node.kill()
})

test('a message for many sessions is kept once, expires in the queue, and subscription identifiers and shares come back', async (t) => {
  const data = dataDirectoryFor(t)
  let node = await LoneNode.start(t, data)
  const names = Array.from({ length: 20 }, (_, index) => `many-${index}`)
  for (const [index, name] of names.entries()) {
    const client = await PacketClient.connect(t, node.port, 5, kept(5, name))
    await client.subscribe('t/#', 1, { subscriptionIdentifier: index + 1 })
    client.drop()
  }
  const member = await PacketClient.connect(t, node.port, 5, kept(5, 'member'))
  await member.subscribe('$share/g/t/#', 1)
  member.drop()
  const publisher = await PacketClient.connect(t, node.port)
  await publisher.publishAcked({ topic: 't/short', payload: 'x', properties: { messageExpiryInterval: 1 } })
  const sentAt = Date.now()
  await publisher.publishAcked({
    topic: 't/long',
    payload: 'y'.repeat(10_000),
    properties: { messageExpiryInterval: 100 },
  })
  const before = (await node.metrics()).value('shoalmq_store_written_bytes_total')
  assert.ok(before < 60_000, `${before} bytes for a message of 10,000 to 21 sessions`)
  node = await again(t, node, data)
  await eventually(() => assert.ok(Date.now() - sentAt > 1_100, 'it is not time yet'), { within: 5_000 })
  for (const [index, name] of names.entries()) {
    const client = await PacketClient.connect(t, node.port, 5, kept(5, name))
    const [message] = await client.receive(1)
    assert.equal(message?.topic, 't/long')
    assert.equal(message?.properties?.subscriptionIdentifier, index + 1)
    assert.ok(Number(message?.properties?.messageExpiryInterval) < 100)
    await client.expectNothing()
  }
  const back = await PacketClient.connect(t, node.port, 5, kept(5, 'member'))
  assert.deepEqual(
    (await back.receive(1)).map(({ topic }) => topic),
    ['t/long'],
  )
  await node.kill()
})

test('a node that stops as it should has its sessions when it is back', async (t) => {
  const data = dataDirectoryFor(t)
  let node = await LoneNode.start(t, data)
  const client = await PacketClient.connect(t, node.port, 4, kept(4, 'client'))
  await client.subscribe('t', 1)
  const publisher = await PacketClient.connect(t, node.port)
  await publisher.publishAcked({ topic: 't', payload: 'unacknowledged' })
  const before = await client.next('publish')
  await node.terminate()
  node = await LoneNode.start(t, data)
  const back = await PacketClient.connect(t, node.port, 4, kept(4, 'client'))
  assert.equal(back.connack?.sessionPresent, true)
  assert.deepEqual(resent(await back.settle()), [`t unacknowledged dup true id ${before.messageId}`])
  await node.kill()
})

test('on a full disk who publishes to a session that is kept is refused, others are not, and what was acknowledged arrives', async (t) => {
  // A disk of four megabytes, in a mount namespace of its own; its directory is only there.
  const script = 'mount -t tmpfs -o size=4m none /mnt && head -c 2500000 /dev/zero > /mnt/ballast && exec "$@"'
  const wrapper = ['unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', script, 'sh']
  const node = await LoneNode.start(t, '/mnt/data', wrapper)
  const away = await PacketClient.connect(t, node.port, 5, kept(5, 'away'))
  await away.subscribe('q', 1)
  away.drop()
  const clean = await PacketClient.connect(t, node.port)
  await clean.subscribe('clean', 1)
  const [v5, v4] = [await PacketClient.connect(t, node.port), await clientFor(t, node.url, { version: 4 })]
  const payload = (number: number): string => `${number} ${'x'.repeat(20_000)}`
  const acked: string[] = []
  for (let number = 1; ; number += 1) {
    const reasonCode = await v5.publishAcked({ topic: 'q', payload: payload(number) })
    if (reasonCode === 0x83) break
    assert.equal(reasonCode, 0)
    acked.push(payload(number))
  }
  assert.ok(acked.length > 10, `${acked.length} messages were kept`)
  await assert.rejects(v4.publish('q', payload(0), { qos: 1 }))
  assert.equal(await v5.publishAcked({ topic: 'clean', payload: 'flows on' }), 0)
  assert.deepEqual((await clean.receive(1)).map(textOf), ['clean flows on'])
  rmSync(`/proc/${node.pid}/root/mnt/ballast`)
  await eventually(async () => assert.equal((await node.metrics()).value('shoalmq_store_failing'), 0))
  assert.equal(await v5.publishAcked({ topic: 'q', payload: 'there is room' }), 0)
  const back = new Receiver(t, 'away')
  assert.equal(await back.connect(node.port), true)
  const lost = (): string[] => [...acked, 'there is room'].filter((one) => !back.payloads.includes(one))
  await eventually(() => assert.deepEqual(lost(), []))
  await back.drop()
  await node.kill()
})

/** A client that remembers what MQTT has it remember: QoS 2 ids until PUBREL. */
class Receiver {
  readonly payloads: string[] = []
  private readonly held = new Set<number>()
  private client: PacketClient | undefined
  private running: Promise<void> = Promise.resolve()

  constructor(
    private readonly context: TestContext,
    private readonly clientId: string,
  ) {}

  /** Returns whether the node has its session. */
  async connect(port: number, filter?: string): Promise<boolean> {
    const client = await PacketClient.connect(this.context, port, 5, kept(5, this.clientId))
    this.client = client
    if (filter !== undefined) await client.subscribe(filter, 2)
    this.running = this.run(client)
    return client.connack?.sessionPresent ?? false
  }

  async drop(): Promise<void> {
    this.client?.drop()
    await this.running
  }

  private async run(client: PacketClient): Promise<void> {
    while (!client.isClosed) {
      // A time in which nothing comes is none to give up.
      const packet = await client.nextOfAny().catch((error: Error) => error)
      if (packet === undefined || packet instanceof Error) continue
      if (packet.cmd === 'publish') this.take(client, packet)
      if (packet.cmd === 'pubrel') {
        this.held.delete(packet.messageId ?? 0)
        client.send({ cmd: 'pubcomp', messageId: packet.messageId ?? 0 })
      }
    }
  }

  private take(client: PacketClient, packet: IPublishPacket): void {
    const { messageId = 0, qos } = packet
    const payload = packet.payload.toString()
    if (qos === 1) {
      this.payloads.push(payload)
      client.send({ cmd: 'puback', messageId })
    } else {
      if (!this.held.has(messageId)) this.payloads.push(payload)
      this.held.add(messageId)
      client.send({ cmd: 'pubrec', messageId })
    }
  }
}

test('kill -9 under load, again and again: what was acknowledged arrives, in order, and QoS 2 once', async (t) => {
  const data = dataDirectoryFor(t)
  const sent = new Map<string, number>()
  const acked = new Set<string>()
  const receiver = new Receiver(t, 'receiver')
  for (let round = 1; round <= 4; round += 1) {
    const node = await LoneNode.start(t, data)
    assert.equal(await receiver.connect(node.port, round === 1 ? 'load/#' : undefined), round > 1)
    const before = acked.size
    const publishers = ([1, 2] as const).map(async (qos) => {
      const client = await clientFor(t, node.url)
      const name = `qos${qos}`
      while (client.isConnected) {
        const numbers = Array.from({ length: 10 }, (_, index) => (sent.get(name) ?? 0) + index + 1)
        sent.set(name, numbers.at(-1) ?? 0)
        await Promise.allSettled(
          numbers.map(async (number) => {
            await client.publish(`load/${name}`, numbered(name, number), { qos })
            acked.add(numbered(name, number))
          }),
        )
        // What fails at once must not keep the news of it out.
        await new Promise(setImmediate)
      }
    })
    await eventually(() => assert.ok(acked.size > before + 400, `${acked.size - before} acknowledged`), {
      within: 30_000,
    })
    await node.kill()
    await Promise.all([...publishers, receiver.drop()])
  }
  const node = await LoneNode.start(t, data)
  assert.equal(await receiver.connect(node.port), true)
  const missing = (): string[] => {
    const got = new Set(receiver.payloads)
    return [...acked].filter((payload) => !got.has(payload))
  }
  await eventually(() => assert.deepEqual(missing(), []), { within: 20_000 })
  const faults = deliveryFaults(Object.fromEntries(sent), receiver.payloads)
  assert.deepEqual(
    { ...faults, lost: [], duplicated: faults.duplicated.filter((one) => one.startsWith('qos2')) },
    NO_FAULTS,
  )
  await receiver.drop()
  await node.kill()
})
