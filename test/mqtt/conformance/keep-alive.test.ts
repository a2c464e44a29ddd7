/** Sections 3.1.2.10 and 3.2.2.3.14 of MQTT 5.0, and 3.1.2.10 of MQTT 3.1.1: who is silent for too long. */

import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { useBroker } from '../../support/broker.js'
import { cite } from '../../support/cite.js'
import type { Version } from '../../support/client.js'
import { PacketClient } from '../../support/packet-client.js'

/** Seconds; the server announces it to clients that ask for more, or for none. */
const KEEP_ALIVE_LIMIT = 1

const broker = useBroker()
const limited = useBroker({ mqtt: { keepAliveLimit: KEEP_ALIVE_LIMIT } })
const VERSIONS: readonly Version[] = [4, 5]

/** A client is closed one and a half times its keep-alive after its CONNECT, in MQTT 5 with 0x8D. */
async function closedAt(client: PacketClient, connectedAt: number, seconds: number): Promise<void> {
  await client.closedFor(0x8d)
  const elapsed = performance.now() - connectedAt
  assert.ok(elapsed >= seconds * 1_450 && elapsed <= seconds * 4_000, `closed after ${Math.round(elapsed)} ms`)
}

/** The same for a client that is silent; `seconds` is the keep-alive in force. */
async function closesAfter(
  t: TestContext,
  seconds: number,
  { port, version, keepalive = seconds }: { port: number; version: Version; keepalive?: number },
): Promise<void> {
  const connectedAt = performance.now()
  await closedAt(await PacketClient.connect(t, port, version, { keepalive }), connectedAt, seconds)
}

// At once: most of each is waiting.
describe('keep-alive', { concurrency: 7 }, () => {
  for (const version of VERSIONS) {
    const v = `(version ${version})`

    test(`${cite(version, { 5: '3.1.2-11 3.1.2-22', 4: '3.1.2-24' })} a silent client is closed after one and a half times its keep-alive, not before ${v}`, async (t) => {
      const { port } = broker()
      await Promise.all([1, 2].map((seconds) => closesAfter(t, seconds, { port, version })))
    })

    test(`${cite(version, { 5: '3.1.2-22', 4: '3.1.2-24' })} bytes of a packet that is never whole keep no client alive ${v}`, async (t) => {
      const connectedAt = performance.now()
      const client = await PacketClient.connect(t, broker().port, version, { keepalive: 1 })
      // A PUBLISH of 1,000 bytes.
      client.write(Buffer.from([0x30, 0xe8, 0x07]))
      const trickling = setInterval(() => client.write(Buffer.of(0)), 200)
      t.after(() => clearInterval(trickling))
      await closedAt(client, connectedAt, 1)
    })

    test(`${cite(version, { 5: '3.1.2-22', 4: '3.1.2-24' })} any packet keeps a client alive, and keep-alive 0 asks for none ${v}`, async (t) => {
      const talkers = [
        await PacketClient.connect(t, broker().port, version, { keepalive: 1 }),
        await PacketClient.connect(t, broker().port, version, { keepalive: 1 }),
      ]
      const [pinger, publisher] = talkers
      const quiet = await PacketClient.connect(t, broker().port, version, { keepalive: 0 })
      const talking = setInterval(() => {
        pinger?.send({ cmd: 'pingreq' })
        publisher?.publish({ topic: 'still/here' })
      }, 300)
      t.after(() => clearInterval(talking))
      // A third client is the clock: twice as patient as the first two.
      await closesAfter(t, 2, { port: broker().port, version })
      clearInterval(talking)
      assert.ok(!quiet.isClosed)
      await quiet.expectNothing()
      for (const talker of talkers) assert.ok(!talker.isClosed)
    })
  }

  test('[MQTT-3.1.2-21] [MQTT-3.2.2-21] [MQTT-3.2.2-22] a Server Keep Alive is told and kept instead of what the client asked for; without one the client’s own is', async (t) => {
    const { port } = limited()
    for (const [asked, told] of [
      [600, KEEP_ALIVE_LIMIT],
      [0, KEEP_ALIVE_LIMIT],
      [1, undefined],
    ] as const) {
      const client = await PacketClient.connect(t, port, 5, { keepalive: asked })
      assert.equal(client.connack?.properties?.serverKeepAlive, told, `asked for ${asked}`)
    }
    const patient = await PacketClient.connect(t, port, 4, { keepalive: 0 })
    await Promise.all([600, 0, 1].map((keepalive) => closesAfter(t, KEEP_ALIVE_LIMIT, { port, version: 5, keepalive })))
    await patient.expectNothing()
  })
})
