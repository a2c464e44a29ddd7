import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { createNode, type Node } from '../../src/index.js'
import { createLogger } from '../../src/telemetry/logger.js'
import type { Version } from '../support/client.js'
import { PacketClient } from '../support/packet-client.js'

const VERSIONS: readonly Version[] = [4, 5]
const LARGEST_BYTES = 2_048
const PACKETS_PER_SECOND = 10
const CONNECT_TIMEOUT_MS = 300

let node: Node
let directory: string
/** Ports: of a listener as the node says, of one with limits of its own, and of two that serve some versions only. */
let usual: number
let tight: number
let newest: number
let earlier: number

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'shoalmq-limits-'))
  const limits = {
    maximumPacketSize: LARGEST_BYTES,
    receiveMaximum: 2,
    topicAliasMaximum: 3,
    keepAliveLimit: 20,
    packetsPerSecond: PACKETS_PER_SECOND,
    connectTimeout: CONNECT_TIMEOUT_MS,
    maximumClientIdLength: 30,
  }
  node = createNode(
    {
      data: join(directory, 'data'),
      listen: [
        'mqtt://127.0.0.1:0',
        { url: 'mqtt://127.0.0.1:0', ...limits },
        { url: 'mqtt://127.0.0.1:0', protocolVersions: ['5.0'] },
        { url: 'mqtt://127.0.0.1:0', protocolVersions: ['3.1', '3.1.1'] },
      ],
      admin: { listen: '127.0.0.1:0' },
      cluster: { listen: 'off' },
    },
    createLogger({ level: 'silent', format: 'json' }, {}),
  )
  await node.start()
  ;[usual = 0, tight = 0, newest = 0, earlier = 0] = node.listening.map((url) => Number(new URL(url).port))
})

after(async () => {
  await node.stop()
  rmSync(directory, { recursive: true })
})

test('a client is told the limits of its listener, and those of the node elsewhere', async (t) => {
  const there = await PacketClient.connect(t, tight, 5, { keepalive: 100 })
  const { maximumPacketSize, receiveMaximum, topicAliasMaximum, serverKeepAlive } = there.connack?.properties ?? {}
  assert.deepEqual([maximumPacketSize, receiveMaximum, topicAliasMaximum], [LARGEST_BYTES, 2, 3])
  assert.equal(serverKeepAlive, 20)
  const elsewhere = await PacketClient.connect(t, usual, 5, { keepalive: 100 })
  assert.deepEqual(elsewhere.connack?.properties, {
    maximumPacketSize: 1_048_576,
    receiveMaximum: 100,
    topicAliasMaximum: 64,
  })
})

test('a version that a listener does not serve is refused there, in the words of that version, and served elsewhere', async (t) => {
  const refusalOf = async (port: number, version: Version | 3): Promise<number | undefined> => {
    const client = await PacketClient.open(t, port, version)
    client.sendConnect({})
    const connack = await client.next('connack')
    await client.closed()
    return version === 5 ? connack.reasonCode : connack.returnCode
  }
  assert.deepEqual([await refusalOf(newest, 3), await refusalOf(newest, 4), await refusalOf(earlier, 5)], [1, 1, 0x84])
  await PacketClient.connect(t, newest, 5)
  for (const version of [3, 4] as const) await PacketClient.connect(t, earlier, version)
})

test('more unacknowledged, or a higher alias, than the listener allows ends the connection', async (t) => {
  const full = await PacketClient.connect(t, tight)
  for (const messageId of [1, 2, 3]) full.publish({ topic: 'a', qos: 2, messageId })
  const codes = (await full.closed()).map((packet) => (packet as { reasonCode?: number }).reasonCode)
  assert.deepEqual(codes, [0x10, 0x10, 0x93])
  const alias = await PacketClient.connect(t, tight)
  alias.publish({ topic: 'a', properties: { topicAlias: 4 } })
  await alias.closedFor(0x94)
})

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`a packet above the limit of its listener closes the connection, and is taken by another listener ${v}`, async (t) => {
    const payload = 'x'.repeat(LARGEST_BYTES)
    const there = await PacketClient.connect(t, tight, version)
    there.publish({ topic: 'a', payload })
    await there.closedFor(0x95)
    const elsewhere = await PacketClient.connect(t, usual, version)
    elsewhere.publish({ topic: 'a', payload })
    await elsewhere.expectNothing()
  })

  test(`a client ID above the limit of its listener is refused there only ${v}`, async (t) => {
    const clientId = `${version}`.repeat(31)
    const there = await PacketClient.open(t, tight, version)
    there.sendConnect({ clientId })
    const connack = await there.next('connack')
    assert.equal(version === 5 ? connack.reasonCode : connack.returnCode, version === 5 ? 0x85 : 2)
    await PacketClient.connect(t, usual, version, { clientId })
  })

  test(`a client that sends faster than its listener allows is slowed down ${v}`, async (t) => {
    const there = await PacketClient.connect(t, tight, version)
    const elsewhere = await PacketClient.connect(t, usual, version)
    await elsewhere.subscribe('rate')
    const start = performance.now()
    for (let n = 0; n < 2 * PACKETS_PER_SECOND; n += 1) there.publish({ topic: 'rate', payload: `${n}` })
    await elsewhere.receive(2 * PACKETS_PER_SECOND)
    const took = performance.now() - start
    assert.ok(took > 500, `${took} ms`)
  })
}

test('a client that says nothing is closed when the time of its listener is over', async (t) => {
  const start = performance.now()
  const there = await PacketClient.open(t, tight)
  const elsewhere = await PacketClient.open(t, usual)
  assert.deepEqual(await there.closed(), [])
  assert.ok(performance.now() - start < 5_000)
  assert.equal(elsewhere.isClosed, false)
})
