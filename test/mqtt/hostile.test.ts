import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import mqttPacket from 'mqtt-packet'
import { useBroker } from '../support/broker.js'
import type { Version } from '../support/client.js'
import { eventually } from '../support/eventually.js'
import { assertServing, throwAt } from '../support/hostile.js'
import { PacketClient, textOf } from '../support/packet-client.js'
import { Random } from '../support/random.js'

/** Printed in every failure; set SHOALMQ_TEST_SEED to see it again. */
const SEED = Number(process.env.SHOALMQ_TEST_SEED ?? 20261121)

const broker = useBroker({ mqtt: { maximumPacketSize: 65_536, connectTimeout: '2s' } })
const VERSIONS: readonly Version[] = [4, 5]

/** Asserts that the node still serves. */
function unharmed(t: TestContext): Promise<void> {
  return assertServing(t, broker().port)
}

function validConnect(version: Version): Buffer {
  return mqttPacket.generate({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: version,
    clientId: `hostile${version}`,
    clean: true,
    keepalive: 1,
    username: 'user',
    password: Buffer.from('password'),
    will: { topic: 'hostile/will', payload: 'x', qos: 1, retain: false },
    ...(version === 5 ? { properties: { sessionExpiryInterval: 0, userProperties: { a: 'b' } } } : {}),
  })
}

test(`random bytes close the connection and nothing else (seed ${SEED})`, async (t) => {
  const random = new Random(SEED)
  const rounds = Array.from({ length: 200 }, () =>
    Uint8Array.from({ length: 1 + random.below(300) }, () => random.next() & 0xff),
  )
  const answers = await Promise.all(rounds.map((bytes) => throwAt(broker().port, bytes)))
  for (const answer of answers) {
    // Nothing, or a CONNACK that refuses.
    if (answer.length > 0) assert.ok(answer[0] === 0x20 && answer[3] !== 0, answer.toString('hex'))
  }
  await unharmed(t)
})

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`a valid CONNECT with any one byte changed is accepted or refused, never left hanging ${v}`, async (t) => {
    const valid = validConnect(version)
    const random = new Random(SEED + version)
    const variants = Array.from(valid, (_, index) => {
      const bytes = Buffer.from(valid)
      bytes[index] = random.next() & 0xff
      return bytes
    })
    // A PINGREQ and a DISCONNECT behind it: an accepted one ends by itself, one that waits for more gets them as payload.
    const tail = Buffer.from([0xc0, 0, 0xe0, 0])
    await Promise.all(variants.map((bytes) => throwAt(broker().port, Buffer.concat([bytes, tail]))))
    await unharmed(t)
  })

  test(`random packets behind a valid CONNECT close the connection and nothing else (seed ${SEED}) ${v}`, async (t) => {
    const random = new Random(SEED + 10 + version)
    const rounds = Array.from({ length: 150 }, () => {
      const body = Uint8Array.from({ length: random.below(120) }, () => random.next() & 0xff)
      // DISCONNECT behind it for those that happen to be valid.
      return Buffer.concat([
        validConnect(version),
        Buffer.from([random.next() & 0xff, body.length]),
        body,
        Buffer.from([0xe0, 0]),
      ])
    })
    const answers = await Promise.all(rounds.map((bytes) => throwAt(broker().port, bytes)))
    for (const answer of answers) assert.equal(answer[0], 0x20, `CONNACK comes first: ${answer.toString('hex')}`)
    await unharmed(t)
  })

  test(`a truncated frame waits for the rest and ends with the connection ${v}`, async (t) => {
    const watcher = await PacketClient.connect(t, broker().port)
    await watcher.subscribe('truncated')
    const client = await PacketClient.connect(t, broker().port, version)
    const frame = mqttPacket.generate(
      { cmd: 'publish', topic: 'truncated', payload: 'whole', qos: 0, dup: false, retain: false },
      { protocolVersion: version },
    )
    for (const byte of frame.subarray(0, -1)) {
      client.write(Uint8Array.of(byte))
      await watcher.expectNothing()
    }
    client.write(frame.subarray(-1))
    assert.deepEqual((await watcher.receive(1)).map(textOf), ['truncated whole'], 'a frame in single bytes is a frame')
    client.write(frame.subarray(0, -1))
    client.drop()
    await watcher.expectNothing()
    await unharmed(t)
  })
}

test('bad input is counted, and leaves no connection behind', async (t) => {
  const node = broker().node()
  const errors = async (): Promise<number> =>
    (await node.metrics()).value('shoalmq_connections_closed_total', { reason: 'malformed_packet' })
  const connections = async (): Promise<number> => (await node.metrics()).value('shoalmq_connections')
  await eventually(async () => assert.equal(await connections(), 0))
  const before = await errors()
  for (let count = 0; count < 5; count += 1) {
    const client = await PacketClient.connect(t, broker().port)
    client.write(Buffer.from([0x00, 0]))
    await client.closedFor(0x81)
  }
  assert.equal((await errors()) - before, 5)
  await eventually(async () => assert.equal(await connections(), 0))
  assert.equal(node.isRunning, true)
  assert.deepEqual(
    node.logs().filter((line) => line.level >= 50),
    [],
    'no error is logged for what clients do wrong',
  )
})

test('a subscriber that does not read is closed or loses messages by policy, and nobody else waits for it', async (t) => {
  const slow = await PacketClient.connect(t, broker().port)
  await slow.subscribe('flood', 0)
  slow.pause()
  const quick = await PacketClient.connect(t, broker().port)
  await quick.subscribe('flood/end', 1)
  const publisher = await PacketClient.connect(t, broker().port)
  const payload = Buffer.alloc(32_768)
  const rounds = 1_500
  for (let round = 0; round < rounds; round += 1) {
    publisher.publish({ topic: 'flood', payload })
    if (round % 50 === 49) await publisher.expectNothing()
  }
  await publisher.publishAcked({ topic: 'flood/end', payload: 'x' })
  assert.deepEqual((await quick.receive(1)).map(textOf), ['flood/end x'])
  const memory = (await broker().node().metrics()).value('process_resident_memory_bytes')
  // 48 MB were published to a client that takes none; its outbox has a limit of 4 MB.
  assert.ok(memory < 300e6, `${Math.round(memory / 1e6)} MB resident`)
  await unharmed(t)
})
