import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clusterFor } from '../support/cluster.js'
import { PacketClient, textOf } from '../support/packet-client.js'

test('a message with a delay comes to subscribers on every node', async (t) => {
  const cluster = await clusterFor(t, { nodes: 2 })
  const subscribers = await Promise.all(cluster.nodes.map(({ ports }) => PacketClient.connect(t, ports.mqtt)))
  for (const subscriber of subscribers) await subscriber.subscribe('later/#', 2)
  const publisher = await PacketClient.connect(t, cluster.node(1).ports.mqtt)
  for (const qos of [0, 1, 2] as const) {
    await publisher.publishAcked({ topic: `$delayed/1/later/${qos}`, payload: String(qos), qos })
  }
  for (const subscriber of subscribers) {
    const got = await subscriber.receive(3)
    assert.deepEqual(got.map(textOf).sort(), ['later/0 0', 'later/1 1', 'later/2 2'])
  }
})

test('messages with a delay that were acknowledged outlive kill -9 of their node, those that were due meanwhile included', async (t) => {
  const cluster = await clusterFor(t, { nodes: 2 })
  const { ports } = cluster.node(1)
  const publisher = await PacketClient.connect(t, ports.mqtt)
  const early = Array.from({ length: 50 }, (_, number) => `later/early/${number}`)
  for (const [number, topic] of early.entries()) {
    await publisher.publishAcked({ topic: `$delayed/1/${topic}`, payload: 'x', qos: number % 2 === 0 ? 1 : 2 })
  }
  await publisher.publishAcked({ topic: '$delayed/3600/later/late', payload: 'x', qos: 1 })
  await cluster.node(1).kill()
  const subscriber = await PacketClient.connect(t, cluster.node(2).ports.mqtt)
  await subscriber.subscribe('later/#', 2)
  await cluster.node(1).start()
  const got = (await subscriber.receive(early.length)).map(({ topic }) => topic)
  assert.deepEqual([...new Set(got)].sort(), [...early].sort())
  await subscriber.expectNothing()
  const metrics = await cluster.node(1).metrics()
  assert.equal(metrics.value('shoalmq_delayed_messages'), 1, 'the other one waits on')
})

test('with store.kind memory they end with the node, which says so', async (t) => {
  const cluster = await clusterFor(t, { nodes: 1, config: { store: { kind: 'memory' } } })
  const node = cluster.node(1)
  const publisher = await PacketClient.connect(t, node.ports.mqtt)
  await publisher.publishAcked({ topic: '$delayed/3600/later', payload: 'x', qos: 1 })
  await node.stop()
  const line = node.logs().find(({ msg }) => msg === 'messages with a delay end with the node, which keeps nothing')
  assert.equal(line?.messages, 1)
  await node.start()
  assert.equal((await node.metrics()).value('shoalmq_delayed_messages'), 0)
})
