/** What a node that has stopped reading costs the others: a bounded part of their memory, and nobody's time but its own publishers'. */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { clientFor } from '../support/client.js'
import { clusterFor, type TestCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import { deliveryFaults, NO_FAULTS, numbered } from '../support/numbered.js'
import { publishSteadily } from '../support/steady-publisher.js'

const PAYLOAD = 'x'.repeat(16_384)
/** 64 MB, where the link takes a few MB until it stands still and the lane holds one more. */
const QOS0_MESSAGES = 4_000
/** Each has as many under way as `mqtt.receiveMaximum` lets it: 6.5 MB, which the lane takes as a burst. */
const QOS1_PUBLISHERS = 4
const QOS1_MESSAGES = 100
const OTHERS_MESSAGES = 200
/** Buffers in all: 1 MB, and 8 times 1 MB, and the windows of the link. An idle node has some 100 MB. */
const RESIDENT_LIMIT_BYTES = 220e6
const PATIENTLY = { within: 30_000 }

async function threeNodes(t: TestContext, silence: { suspectAfter: string; downAfter: string }): Promise<TestCluster> {
  const config = { cluster: { ...silence, linkBuffer: '1mb', qos0Buffer: '1mb' }, mqtt: { maximumPacketSize: '128kb' } }
  return clusterFor(t, { nodes: 3, config })
}

async function dropped(cluster: TestCluster, reason: string): Promise<number> {
  return (await cluster.node(1).metrics()).value('shoalmq_forward_dropped_messages_total', { reason })
}

test('a peer that does not read costs QoS 0 messages for it and holds back QoS 1 for it; others are served, memory stays bounded', {
  timeout: 120_000,
}, async (t) => {
  // Nobody gives it up meanwhile: this is about a peer that lives and is slow.
  const cluster = await threeNodes(t, { suspectAfter: '60s', downAfter: '90s' })
  const url = (node: number): string => `mqtt://127.0.0.1:${cluster.node(node).ports.mqtt}`
  const behind = await clientFor(t, url(3))
  await behind.subscribe('for-n3/0', 0)
  await behind.subscribe('for-n3/1', 1)
  const [remote, local] = [await clientFor(t, url(2)), await clientFor(t, url(1))]
  for (const other of [remote, local]) await other.subscribe('for-others', 1)
  const flooder = await clientFor(t, url(1))
  const other = await clientFor(t, url(1))
  const publishers = await Promise.all(Array.from({ length: QOS1_PUBLISHERS }, () => clientFor(t, url(1))))
  let acknowledged = 0
  const publishing: Promise<void>[] = []
  const sent: Record<string, number> = {}

  process.kill(cluster.node(3).pid, 'SIGSTOP')
  try {
    for (let number = 1; number <= QOS0_MESSAGES; number += 1) {
      await flooder.publish('for-n3/0', `${numbered('flood', number)} `.padEnd(PAYLOAD.length, 'x'), { qos: 0 })
    }
    await eventually(async () => assert.ok((await dropped(cluster, 'qos0_buffer_full')) > 0, 'drops are counted'))
    for (const [index, publisher] of publishers.entries()) {
      sent[`p${index}`] = QOS1_MESSAGES
      for (let number = 1; number <= QOS1_MESSAGES; number += 1) {
        const payload = numbered(`${PAYLOAD}p${index}`, number)
        publishing.push(
          publisher.publish('for-n3/1', payload, { qos: 1 }).then(() => {
            acknowledged += 1
          }),
        )
      }
    }
    const slowest = { milliseconds: 0 }
    for (let number = 1; number <= OTHERS_MESSAGES; number += 1) {
      const started = performance.now()
      await other.publish('for-others', numbered('other', number), { qos: 1 })
      slowest.milliseconds = Math.max(slowest.milliseconds, performance.now() - started)
    }
    t.diagnostic(
      `the slowest of ${OTHERS_MESSAGES} acknowledgements of others took ${Math.round(slowest.milliseconds)} ms`,
    )
    assert.ok(slowest.milliseconds < 2_000, `the slowest took ${slowest.milliseconds} ms`)
    await eventually(() => {
      for (const one of [remote, local]) {
        assert.deepEqual(deliveryFaults({ other: OTHERS_MESSAGES }, one.payloads()), NO_FAULTS)
      }
    }, PATIENTLY)
    assert.equal(acknowledged, 0, 'what n3 has to keep is not acknowledged')
    for (const node of [1, 2]) {
      const resident = (await cluster.node(node).metrics()).value('process_resident_memory_bytes')
      t.diagnostic(`n${node} has ${Math.round(resident / 1e6)} MB`)
      assert.ok(resident < RESIDENT_LIMIT_BYTES, `n${node} has ${Math.round(resident / 1e6)} MB`)
    }
  } finally {
    process.kill(cluster.node(3).pid, 'SIGCONT')
  }

  await Promise.all(publishing)
  for (const node of cluster.nodes) {
    const metrics = await node.metrics()
    assert.equal(metrics.value('shoalmq_links_stuck_total'), 0, `${node.name} takes nobody's link for stuck`)
  }
  const lost = await dropped(cluster, 'qos0_buffer_full')
  assert.equal(await dropped(cluster, 'link_buffer_full'), 0, 'what could not be kept was not read')
  await eventually(() => {
    const kept = behind.payloads('for-n3/1').map((payload) => payload.slice(PAYLOAD.length))
    assert.deepEqual(deliveryFaults(sent, kept), NO_FAULTS)
  }, PATIENTLY)
  // What came of QoS 0 and what was dropped is all that was sent, and what came is in order.
  await eventually(async () => {
    const metrics = await cluster.node(3).metrics()
    const slow = metrics.value('shoalmq_messages_dropped_total', { reason: 'outbox_full' })
    assert.equal(behind.payloads('for-n3/0').length + lost + slow, QOS0_MESSAGES)
  }, PATIENTLY)
  const flooded = behind.payloads('for-n3/0').map((payload) => payload.slice(0, payload.lastIndexOf(' ')))
  const { duplicated, disordered, foreign } = deliveryFaults({ flood: QOS0_MESSAGES }, flooded)
  assert.deepEqual({ duplicated, disordered, foreign }, { duplicated: [], disordered: [], foreign: [] })
})

test('a peer that stands still until it is given up has everything that was acknowledged when it goes on', {
  timeout: 120_000,
}, async (t) => {
  const cluster = await threeNodes(t, { suspectAfter: '2s', downAfter: '3s' })
  const [n1, n3] = [cluster.node(1), cluster.node(3)]
  const behind = await clientFor(t, `mqtt://127.0.0.1:${n3.ports.mqtt}`, { keepalive: 0 })
  await behind.subscribe('kept/#', 1)
  const [first, second] = [
    await clientFor(t, `mqtt://127.0.0.1:${n1.ports.mqtt}`),
    await clientFor(t, `mqtt://127.0.0.1:${cluster.node(2).ports.mqtt}`),
  ]
  const stops = [
    publishSteadily(first, { topic: 'kept/1', name: 'p1', window: 5 }),
    publishSteadily(second, { topic: 'kept/2', name: 'p2', window: 5 }),
  ]
  await eventually(() => assert.equal(behind.received.length > 20, true), PATIENTLY)
  process.kill(n3.pid, 'SIGSTOP')
  let sent: number[] = []
  try {
    await eventually(async () => assert.equal((await n1.statusOf(n3.name)).state, 'stopped'), PATIENTLY)
    sent = await Promise.all(stops.map((stop) => stop()))
    // Its publishers are answered, and wait no more.
    const more = publishSteadily(first, { topic: 'kept/3', name: 'p3' })
    await eventually(async () => {
      const metrics = await n1.metrics()
      const kept = metrics.value('shoalmq_handoff_bytes', { peer: n3.name })
      assert.ok(kept > 2_000, `${kept} bytes are kept for it`)
    }, PATIENTLY)
    sent.push(await more())
  } finally {
    process.kill(n3.pid, 'SIGCONT')
  }
  const [p1 = 0, p2 = 0, p3 = 0] = sent
  await cluster.whenWhole()
  await eventually(() => assert.deepEqual(deliveryFaults({ p1, p2, p3 }, behind.payloads()), NO_FAULTS), PATIENTLY)
})
