import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { IConnectPacket, Packet } from 'mqtt-packet'
import { useBroker } from '../support/broker.js'
import { eventually } from '../support/eventually.js'
import { PacketClient, uniqueClientId } from '../support/packet-client.js'

const LIMITS = { maximumPayload: '1kb', maximumSubscriptions: 1, maximumTopicLevels: 4, maximumClientIdLength: 30 }

const broker = useBroker({ mqtt: LIMITS })

/** Too small for any reason string of ours, large enough for everything else here. */
const SMALL_PACKETS = 24

interface Refusal {
  what: string
  cmd: Packet['cmd']
  reasonCode: number
  /** What its reason string has to name. */
  says: RegExp
  cause: (client: PacketClient) => void
}

const REFUSALS: readonly Refusal[] = [
  {
    what: '[MQTT-3.4.2-2] PUBACK',
    cmd: 'puback',
    reasonCode: 0x97,
    says: /payload/,
    cause: (client) => client.publish({ topic: 'a', payload: Buffer.alloc(1_025), qos: 1 }),
  },
  {
    what: '[MQTT-3.5.2-2] PUBREC',
    cmd: 'pubrec',
    reasonCode: 0x97,
    says: /payload/,
    cause: (client) => client.publish({ topic: 'a', payload: Buffer.alloc(1_025), qos: 2 }),
  },
  {
    what: '[MQTT-3.6.2-2] PUBREL',
    cmd: 'pubrel',
    reasonCode: 0x92,
    says: /not in flight/,
    cause: (client) => client.send({ cmd: 'pubrec', messageId: 9 }),
  },
  {
    what: '[MQTT-3.7.2-2] PUBCOMP',
    cmd: 'pubcomp',
    reasonCode: 0x92,
    says: /not in use/,
    cause: (client) => client.send({ cmd: 'pubrel', messageId: 9 }),
  },
  {
    what: 'SUBACK',
    cmd: 'suback',
    reasonCode: 0x97,
    says: /^b: no more than 1 subscriptions$/,
    cause: (client) => client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [filter('a'), filter('b')] }),
  },
  {
    what: 'SUBACK',
    cmd: 'suback',
    reasonCode: 0x8f,
    says: /^a\/b\/c\/d\/e: more than 4 topic levels$/,
    cause: (client) => client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [filter('a/b/c/d/e')] }),
  },
  {
    what: 'UNSUBACK',
    cmd: 'unsuback',
    reasonCode: 0x8f,
    says: /filter/,
    cause: (client) => client.send({ cmd: 'unsubscribe', messageId: 1, unsubscriptions: ['a#'] }),
  },
]

function filter(topic: string) {
  return { topic, qos: 0, nl: false, rap: false, rh: 0 } as const
}

function codeOf(packet: Packet): number | undefined {
  if (packet.cmd === 'suback' || packet.cmd === 'unsuback') return packet.granted.at(-1) as number
  return (packet as { reasonCode?: number }).reasonCode
}

function reasonOf(packet: Packet): string | undefined {
  return (packet as { properties?: { reasonString?: string } }).properties?.reasonString
}

type Wishes = NonNullable<IConnectPacket['properties']>

for (const { what, cmd, reasonCode, says, cause } of REFUSALS) {
  test(`${what} says why something was refused, to a client that wants to know and has room [MQTT-3.1.2-29]`, async (t) => {
    const refused = async (properties: Wishes): Promise<Packet> => {
      const client = await PacketClient.connect(t, broker().port, 5, { properties })
      cause(client)
      const packet = await client.next(cmd)
      assert.equal(codeOf(packet), reasonCode)
      return packet
    }
    assert.match(reasonOf(await refused({})) ?? '', says)
    assert.match(reasonOf(await refused({ requestProblemInformation: true })) ?? '', says)
    assert.equal(reasonOf(await refused({ requestProblemInformation: false })), undefined)
    assert.equal(reasonOf(await refused({ maximumPacketSize: SMALL_PACKETS })), undefined)
  })
}

test('[MQTT-3.14.2-3] DISCONNECT says why, as long as it is not too large for that', async (t) => {
  for (const [properties, isSaid] of [
    [{}, true],
    [{ maximumPacketSize: SMALL_PACKETS }, false],
  ] as const) {
    const broken = await PacketClient.connect(t, broker().port, 5, { properties })
    broken.publish({ topic: 'a/b/c/d/e' })
    const levels = await broken.next('disconnect')
    assert.deepEqual([levels.reasonCode, reasonOf(levels)], [0x90, isSaid ? 'more than 4 topic levels' : undefined])
    const clientId = uniqueClientId()
    const old = await PacketClient.connect(t, broker().port, 5, { clientId, properties })
    await PacketClient.connect(t, broker().port, 5, { clientId })
    const takenOver = await old.next('disconnect')
    const why = 'the client ID has connected again'
    assert.deepEqual([takenOver.reasonCode, reasonOf(takenOver)], [0x8e, isSaid ? why : undefined])
  }
})

test('[MQTT-3.2.2-19] CONNACK says why it refuses, as long as it is not too large for that', async (t) => {
  for (const [properties, isSaid] of [
    [{}, true],
    [{ requestProblemInformation: false }, true],
    [{ maximumPacketSize: SMALL_PACKETS }, false],
  ] as const) {
    const client = await PacketClient.open(t, broker().port)
    client.sendConnect({ clientId: 'x'.repeat(LIMITS.maximumClientIdLength + 1), properties })
    const connack = await client.next('connack')
    assert.equal(connack.reasonCode, 0x85)
    assert.equal(reasonOf(connack), isSaid ? 'the client ID is longer than 30 bytes' : undefined)
    assert.deepEqual(await client.closed(), [])
  }
})

test('[MQTT-3.2.2-16] a client for which even CONNACK is too large is closed without one', async (t) => {
  const watcher = await PacketClient.connect(t, broker().port)
  await watcher.subscribe('will')
  const client = await PacketClient.open(t, broker().port)
  const will = { topic: 'will', payload: Buffer.from('x'), qos: 0, retain: false } as const
  client.sendConnect({ properties: { maximumPacketSize: 10 }, will })
  assert.deepEqual(await client.closed(), [])
  await watcher.expectNothing()
  await watcher.disconnect()
  await eventually(async () => {
    const metrics = await broker().node().metrics()
    assert.equal(metrics.value('shoalmq_connections_closed_total', { reason: 'packet_too_large' }), 1)
    assert.equal(metrics.value('shoalmq_sessions'), 0)
  })
})
