import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import { eventually } from '../support/eventually.js'
import { openSocket, residentBytes } from '../support/hostile.js'
import { packet, text, twoBytes } from '../support/mqtt-bytes.js'
import { PacketClient } from '../support/packet-client.js'

const PAIRS = 40
const SECONDS = 3
const MESSAGE_BYTES = 64
/** What one publisher hands to its socket at a time. */
const MESSAGES_PER_WRITE = 1_000

const broker = useBroker()

/** A 3.1.1 connection whose CONNACK has come. */
async function connected(t: Parameters<typeof openSocket>[0], clientId: string): Promise<Socket> {
  const socket = await openSocket(t, broker().port)
  socket.write(packet(0x10, text('MQTT'), 4, 0x02, twoBytes(0), text(clientId)))
  await once(socket, 'data')
  return socket
}

test('publishers that all send more than the node can take are read less, each gets its share, nothing is lost, and others wait little', {
  timeout: 120_000,
}, async (t) => {
  const node = broker().node()
  const before = await residentBytes(node)
  const received = Array.from({ length: PAIRS }, () => 0)
  const sent = Array.from({ length: PAIRS }, () => 0)
  const publishers: Socket[] = []
  let frameBytes = 0
  for (let pair = 0; pair < PAIRS; pair += 1) {
    const topic = text(`pair/${String(pair).padStart(2, '0')}`)
    const subscriber = await connected(t, `s${pair}`)
    subscriber.write(packet(0x82, twoBytes(1), topic, 0))
    await once(subscriber, 'data')
    subscriber.on('data', (chunk) => (received[pair] = (received[pair] ?? 0) + chunk.length))
    publishers.push(await connected(t, `p${pair}`))
    frameBytes = packet(0x30, topic, Buffer.alloc(MESSAGE_BYTES)).length
  }

  const end = performance.now() + SECONDS * 1_000
  const flood = async (publisher: Socket, pair: number): Promise<void> => {
    const topic = text(`pair/${String(pair).padStart(2, '0')}`)
    const frame = packet(0x30, topic, Buffer.alloc(MESSAGE_BYTES))
    const many = Buffer.concat(Array.from({ length: MESSAGES_PER_WRITE }, () => frame))
    while (performance.now() < end) {
      sent[pair] = (sent[pair] ?? 0) + many.length
      if (!publisher.write(many)) await once(publisher, 'drain')
    }
  }
  const bystander = await PacketClient.connect(t, broker().port)
  let longest = 0
  const ping = async (): Promise<void> => {
    while (performance.now() < end) {
      const start = performance.now()
      await bystander.settle()
      longest = Math.max(longest, performance.now() - start)
    }
  }
  await Promise.all([...publishers.map(flood), ping()])

  // What was sent arrives in full: compared in bytes, since every message has the same.
  for (const [pair, bytes] of sent.entries()) {
    await eventually(() => assert.equal(received[pair], bytes, `pair ${pair}`), { within: 30_000 })
  }
  const total = sent.reduce((sum, bytes) => sum + bytes, 0)
  const least = Math.min(...sent)
  assert.ok(least > total / PAIRS / 4, `the least of ${PAIRS} sent ${least} of ${total} bytes`)
  assert.ok(longest < 3_000, `a ping took ${Math.round(longest)} ms`)
  const grown = (await residentBytes(node)) - before
  assert.ok(grown < 150e6, `${Math.round(grown / 1e6)} MB more`)
  t.diagnostic(`${Math.round(total / frameBytes / SECONDS)} messages/s, longest ping ${Math.round(longest)} ms`)
})
