import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import type { Version } from '../support/client.js'
import { PacketClient } from '../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`[MQTT-3.1.2-22] a silent client is closed after one and a half times its keep-alive, not before ${v}`, async (t) => {
    const started = performance.now()
    const client = await PacketClient.connect(t, broker().port, version, { keepalive: 1 })
    await client.closedFor(0x8d)
    const elapsed = performance.now() - started
    assert.ok(elapsed >= 1_450, `closed after ${Math.round(elapsed)} ms`)
    assert.ok(elapsed <= 4_000, `closed after ${Math.round(elapsed)} ms`)
  })

  test(`any packet keeps a client alive, and keep-alive 0 asks for none ${v}`, async (t) => {
    const talkers = [
      await PacketClient.connect(t, broker().port, version, { keepalive: 1 }),
      await PacketClient.connect(t, broker().port, version, { keepalive: 1 }),
    ]
    const [pinger, publisher] = talkers
    const quiet = await PacketClient.connect(t, broker().port, version, { keepalive: 0 })
    const silent = await PacketClient.connect(t, broker().port, version, { keepalive: 2 })
    const talking = setInterval(() => {
      pinger?.send({ cmd: 'pingreq' })
      publisher?.publish({ topic: 'still/here' })
    }, 300)
    t.after(() => clearInterval(talking))
    // The third client is the clock: it is closed after 3 s.
    await silent.closedFor(0x8d)
    clearInterval(talking)
    assert.ok(!quiet.isClosed)
    await quiet.expectNothing()
    for (const talker of talkers) assert.ok(!talker.isClosed)
  })

  test(`[MQTT-3.12.4-1] PINGREQ is answered ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    client.send({ cmd: 'pingreq' })
    await client.next('pingresp')
  })
}
