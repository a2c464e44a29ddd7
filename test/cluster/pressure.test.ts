import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientFor } from '../support/client.js'
import { useCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import { PacketClient } from '../support/packet-client.js'

/** Small, so that little traffic shows what happens at the bounds. */
const OUTBOX_LIMIT = '256kb'
const PAYLOAD = 'x'.repeat(16_384)
/** 64 MB in all, against a few limits of a few hundred kilobytes. */
const MESSAGES = 4_000
/** An idle node has some 100 MB; what was published must not be in there. */
const RESIDENT_LIMIT_BYTES = 220e6

/** The default of `mqtt.queueHoldTime`. */
const HOLD_TIME_MS = 5_000

const cluster = useCluster({
  nodes: 2,
  config: { mqtt: { maximumPacketSize: '128kb', outboxLimit: OUTBOX_LIMIT, inflightWindow: 100 } },
})

function url(node: number): string {
  return `mqtt://127.0.0.1:${cluster().node(node).ports.mqtt}`
}

async function residentBytes(node: number): Promise<number> {
  return (await cluster().node(node).metrics()).value('process_resident_memory_bytes')
}

test('the acknowledgement of a QoS 1 message waits for the node of its subscriber', async (t) => {
  const [n1, n2] = [cluster().node(1), cluster().node(2)]
  const [remote, local] = [await clientFor(t, url(2)), await clientFor(t, url(1))]
  await remote.subscribe('waits/remote', 1)
  await local.subscribe('waits/local', 1)
  const publisher = await clientFor(t, url(1))
  let isAcknowledged = false
  process.kill(n2.pid, 'SIGSTOP')
  const acknowledged = publisher.publish('waits/remote', 'x', { qos: 1 }).then(() => {
    isAcknowledged = true
  })
  try {
    // n1 has worked off the first long before it is through with these.
    for (let number = 1; number <= 20; number += 1) await local.publish('waits/local', `${number}`, { qos: 2 })
    assert.equal(isAcknowledged, false, 'n2 has not kept it yet')
    assert.equal((await n1.statusOf(n2.name)).state !== 'stopped', true, 'and is not given up either')
  } finally {
    process.kill(n2.pid, 'SIGCONT')
  }
  await acknowledged
  await eventually(() => assert.deepEqual(remote.payloads(), ['x']))
})

test('a subscriber on another node that does not read costs QoS 0 messages, no memory, and nobody else', async (t) => {
  const slow = await PacketClient.connect(t, cluster().node(2).ports.mqtt)
  await slow.subscribe('flood/0')
  slow.pause()
  const witness = await clientFor(t, url(2))
  await witness.subscribe('witness', 1)
  const publisher = await clientFor(t, url(1))
  for (let number = 1; number <= MESSAGES; number += 1) {
    await publisher.publish('flood/0', PAYLOAD, { qos: 0 })
    if (number % 400 === 0) await publisher.publish('witness', `${number}`, { qos: 1 })
  }
  await eventually(() => assert.equal(witness.received.length, MESSAGES / 400))
  const dropped = (await cluster().node(2).metrics()).value('shoalmq_messages_dropped_total', { reason: 'outbox_full' })
  assert.ok(dropped > 0, 'drops are counted')
  for (const node of [1, 2]) {
    const resident = await residentBytes(node)
    assert.ok(resident < RESIDENT_LIMIT_BYTES, `n${node} has ${Math.round(resident / 1e6)} MB`)
  }
  slow.drop()
})

test('a subscriber on another node that does not acknowledge holds back its own QoS 1 publisher, and no message of others', async (t) => {
  const stuck = await PacketClient.connect(t, cluster().node(2).ports.mqtt)
  await stuck.subscribe('stuck', 1)
  const publisher = await clientFor(t, url(1))
  let acknowledged = 0
  const publishing: Promise<void>[] = []
  // The first 100 fill its window, the next 750 its queue to the mark.
  for (let number = 1; number <= 900; number += 1) {
    publishing.push(
      publisher.publish('stuck', `${number}`, { qos: 1 }).then(() => {
        acknowledged += 1
      }),
    )
    if (number % 50 === 0 && number <= 800) await Promise.all(publishing)
  }
  const other = await clientFor(t, url(1))
  const witness = await clientFor(t, url(2))
  await witness.subscribe('not/stuck', 1)
  const started = performance.now()
  for (let number = 1; number <= 20; number += 1) await other.publish('not/stuck', `${number}`, { qos: 1 })
  assert.ok(performance.now() - started < HOLD_TIME_MS / 2, 'others that use the same link are acknowledged meanwhile')
  await eventually(() => assert.equal(witness.received.length, 20))
  assert.ok(acknowledged < 900, `${acknowledged} of 900 acknowledged: the last are held back`)
  const received = await stuck.receive(900)
  await Promise.all(publishing)
  assert.deepEqual(
    received.map((packet) => Number(packet.payload)),
    Array.from({ length: 900 }, (_, index) => index + 1),
    'and none is lost',
  )
})
