import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { clusterFor, type TestCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import { kept } from '../support/kept-session.js'
import type { NodeProcess } from '../support/node-process.js'
import { PacketClient } from '../support/packet-client.js'

/** For what has no promised time, on a machine with other things to do. */
const PATIENTLY = { within: 30_000 }

/** Nodes that notice soon that one of them is gone. */
const CONFIG = { cluster: { heartbeatInterval: '200ms', suspectAfter: '600ms', downAfter: '1200ms' } }

async function stoppedAt(observer: NodeProcess, name: string): Promise<void> {
  await eventually(async () => assert.equal((await observer.statusOf(name)).state, 'stopped'), PATIENTLY)
}

/** Subscribes to `t/#` on a node, with a session that stays when the client goes. */
async function subscribeAndLeave(t: TestContext, node: NodeProcess, clientId: string, filter = 't/#'): Promise<void> {
  const subscriber = await PacketClient.connect(t, node.ports.mqtt, 5, kept(5, clientId))
  await subscriber.subscribe(filter, 2)
  await subscriber.disconnect()
}

/** What the session of a client has got, by topic. */
async function received(
  t: TestContext,
  node: NodeProcess,
  clientId: string,
  count: number,
): Promise<Record<string, string[]>> {
  const client = await PacketClient.connect(t, node.ports.mqtt, 5, kept(5, clientId))
  assert.equal(client.connack?.sessionPresent, true)
  const byTopic: Record<string, string[]> = {}
  for (let got = 0, unreleased = 0; got < count || unreleased > 0; ) {
    const packet = await client.nextOfAny()
    const messageId = packet?.messageId ?? 0
    if (packet?.cmd === 'publish') {
      got += 1
      const payloads = byTopic[packet.topic] ?? []
      byTopic[packet.topic] = payloads
      payloads.push(packet.payload.toString())
      if (packet.qos === 2) unreleased += 1
      client.send({ cmd: packet.qos === 2 ? 'pubrec' : 'puback', messageId })
    } else {
      assert.equal(packet?.cmd, 'pubrel', `after ${got} messages: ${JSON.stringify(byTopic)}`)
      unreleased -= 1
      client.send({ cmd: 'pubcomp', messageId })
    }
  }
  await client.expectNothing()
  await client.disconnect()
  return byTopic
}

function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, index) => String(from + index))
}

async function publishAll(client: PacketClient, payloads: readonly string[]): Promise<void> {
  for (const payload of payloads) {
    for (const qos of [1, 2] as const) {
      assert.ok((await client.publishAcked({ topic: `t/${qos}`, payload, qos })) < 0x80)
    }
  }
}

async function restartAll(cluster: TestCluster, nodes: readonly NodeProcess[]): Promise<void> {
  await Promise.all(nodes.map((node) => node.start()))
  await cluster.whenWhole()
}

test('what is acknowledged while a node is dead is there when it is back, once and in order, though the other died, too', async (t) => {
  const cluster = await clusterFor(t, { nodes: 2, config: CONFIG })
  const [a, b] = [cluster.node(1), cluster.node(2)]
  await subscribeAndLeave(t, b, 'away')
  const publisher = await PacketClient.connect(t, a.ports.mqtt, 5, kept(5, 'publisher'))
  await publishAll(publisher, numbers(1, 3))
  await b.kill('SIGKILL')
  // These wait until the node counts as down, or go to the store at once.
  await publishAll(publisher, numbers(4, 6))
  await stoppedAt(a, b.name)
  await publishAll(publisher, numbers(7, 20))
  await a.kill('SIGKILL')
  await restartAll(cluster, [a, b])
  assert.deepEqual(await received(t, b, 'away', 40), { 't/1': numbers(1, 20), 't/2': numbers(1, 20) })
  await eventually(
    async () => assert.equal((await a.metrics()).value('shoalmq_handoff_messages', { peer: b.name }), 0),
    PATIENTLY,
  )
})

test('a node that has been restarted owes those whom it has not met yet what they may want', async (t) => {
  const cluster = await clusterFor(t, { nodes: 2, config: CONFIG })
  const [a, b] = [cluster.node(1), cluster.node(2)]
  await subscribeAndLeave(t, b, 'away')
  await Promise.all([a.kill('SIGKILL'), b.kill('SIGKILL')])
  await a.start()
  const publisher = await PacketClient.connect(t, a.ports.mqtt, 5, { clean: true })
  await publishAll(publisher, numbers(1, 5))
  assert.ok((await publisher.publishAcked({ topic: 'other', payload: 'nobody wants it', qos: 1 })) < 0x80)
  await restartAll(cluster, [b])
  await publishAll(publisher, numbers(6, 10))
  assert.deepEqual(await received(t, b, 'away', 20), { 't/1': numbers(1, 10), 't/2': numbers(1, 10) })
  // It has said what it wants.
  assert.equal(await publisher.publishAcked({ topic: 'other', qos: 1 }), 0x10)
})

test('what a node that is dead is owed is bounded: beyond it publishers are answered late, and messages dropped and counted', async (t) => {
  const config = { cluster: { ...CONFIG.cluster, handoff: { bytes: '64kb' } }, mqtt: { maximumPacketSize: '32kb' } }
  const cluster = await clusterFor(t, { nodes: 2, config })
  const [a, b] = [cluster.node(1), cluster.node(2)]
  await subscribeAndLeave(t, b, 'away')
  await b.kill('SIGKILL')
  await stoppedAt(a, b.name)
  const publisher = await PacketClient.connect(t, a.ports.mqtt, 5, { clean: true })
  const sent = numbers(1, 12)
  const start = performance.now()
  for (const number of sent) publisher.publish({ topic: 't', payload: `${number} ${'x'.repeat(8_000)}`, qos: 1 })
  const answeredAfter: number[] = []
  for (const _ of sent) {
    assert.equal((await publisher.next('puback')).reasonCode ?? 0, 0)
    answeredAfter.push(performance.now() - start)
  }
  const dropped = (await a.metrics()).value('shoalmq_forward_dropped_messages_total', { reason: 'handoff_full' })
  assert.ok(dropped > 0 && dropped < sent.length, `${dropped} of ${sent.length} are dropped`)
  // They hold back who sends more than can be kept, for 5 s.
  for (const after of answeredAfter.slice(-dropped)) assert.ok(after > 4_500, `${after} ms`)
  await b.start()
  await cluster.whenWhole()
  const client = await PacketClient.connect(t, b.ports.mqtt, 5, kept(5, 'away'))
  const received = await client.receive(sent.length - dropped)
  assert.deepEqual(
    received.map(({ payload }) => payload.toString().split(' ')[0]),
    sent.slice(0, -dropped),
  )
  await client.expectNothing()
})

test('a peer that comes back as another life before it counts as down gets what it lacks, and nothing twice', async (t) => {
  const cluster = await clusterFor(t, { nodes: 2 })
  const [a, b] = [cluster.node(1), cluster.node(2)]
  await subscribeAndLeave(t, b, 'away')
  const publisher = await PacketClient.connect(t, a.ports.mqtt, 5, { clean: true })
  let sent = 0
  let acked = 0
  const publishing = (async () => {
    for (; acked < 400; acked += 1) {
      sent += 1
      assert.ok((await publisher.publishAcked({ topic: 't/2', payload: String(sent), qos: 2 })) < 0x80)
    }
  })()
  await eventually(() => assert.ok(acked > 50), PATIENTLY)
  await b.kill('SIGKILL')
  await b.start()
  await publishing
  await cluster.whenWhole()
  assert.deepEqual(await received(t, b, 'away', 400), { 't/2': numbers(1, 400) })
})

test('a QoS 2 message whose publisher is kept is neither lost nor doubled when its node is killed', async (t) => {
  const cluster = await clusterFor(t, { nodes: 2 })
  const [a, b] = [cluster.node(1), cluster.node(2)]
  await subscribeAndLeave(t, b, 'away')
  let client = await PacketClient.connect(t, a.ports.mqtt, 5, kept(5, 'publisher'))
  const count = 60
  for (let round = 0; round < 3; round += 1) {
    const first = round * 20 + 1
    // All at once: some have their PUBREC, and of the others some are on their way, when the node is killed.
    for (let id = first; id < first + 20; id += 1) {
      client.publish({ topic: 't/2', payload: String(id), qos: 2, messageId: id })
    }
    const answered = new Set<number>()
    for (let id = 0; id < round * 8; id += 1) answered.add((await client.next('pubrec')).messageId ?? 0)
    await a.kill('SIGKILL')
    await a.start()
    client = await PacketClient.connect(t, a.ports.mqtt, 5, kept(5, 'publisher'))
    assert.equal(client.connack?.sessionPresent, true)
    for (let id = first; id < first + 20; id += 1) {
      if (answered.has(id)) continue
      client.publish({ topic: 't/2', payload: String(id), qos: 2, messageId: id, dup: true })
      assert.equal((await client.next('pubrec')).messageId, id)
    }
    for (let id = first; id < first + 20; id += 1) {
      client.send({ cmd: 'pubrel', messageId: id })
      await client.next('pubcomp')
    }
  }
  await cluster.whenWhole()
  assert.deepEqual(await received(t, b, 'away', count), { 't/2': numbers(1, count) })
})

test('what is acknowledged for a group whose members are on a node that is dead comes to one of them, once, though the other died, too', async (t) => {
  const cluster = await clusterFor(t, { nodes: 2, config: CONFIG })
  const [a, b] = [cluster.node(1), cluster.node(2)]
  await subscribeAndLeave(t, b, 'member', '$share/g/t/#')
  await b.kill('SIGKILL')
  const publisher = await PacketClient.connect(t, a.ports.mqtt, 5, kept(5, 'publisher'))
  // On the way to the node until it counts as down; then for whoever is there first.
  await publishAll(publisher, numbers(1, 3))
  await stoppedAt(a, b.name)
  await publishAll(publisher, numbers(4, 6))
  await a.kill('SIGKILL')
  await a.start()
  // This life has not heard of the group.
  const later = await PacketClient.connect(t, a.ports.mqtt, 5, kept(5, 'publisher'))
  await publishAll(later, numbers(7, 9))
  await restartAll(cluster, [b])
  await publishAll(later, numbers(10, 12))
  assert.deepEqual(await received(t, b, 'member', 24), { 't/1': numbers(1, 12), 't/2': numbers(1, 12) })
  await eventually(async () => assert.equal((await a.metrics()).value('shoalmq_group_waiting_messages'), 0), PATIENTLY)
})

test('of what a member on a node that is dead has, one elsewhere gets the QoS 1 messages, and no other when it is back', async (t) => {
  const cluster = await clusterFor(t, { nodes: 2, config: CONFIG })
  const [a, b] = [cluster.node(1), cluster.node(2)]
  await subscribeAndLeave(t, b, 'member', '$share/g/t/#')
  const publisher = await PacketClient.connect(t, a.ports.mqtt, 5, { clean: true })
  await publishAll(publisher, numbers(1, 5))
  await b.kill('SIGKILL')
  await stoppedAt(a, b.name)
  const other = await PacketClient.connect(t, a.ports.mqtt, 5, { clean: true })
  await other.subscribe('$share/g/t/#', 2)
  const taken = await other.nextMany('publish', 5)
  assert.deepEqual(
    taken.map(({ topic, payload }) => `${topic} ${payload.toString()}`),
    numbers(1, 5).map((payload) => `t/1 ${payload}`),
  )
  for (const { messageId = 0 } of taken) other.send({ cmd: 'puback', messageId })
  await restartAll(cluster, [b])
  const got = await received(t, b, 'member', 10)
  assert.deepEqual(got, { 't/1': numbers(1, 5), 't/2': numbers(1, 5) })
  await other.expectNothing()
})
