import assert from 'node:assert/strict'
import { afterEach, describe, it } from 'node:test'
import { eventually } from '../../support/eventually.js'
import { meshed, startMesh, stopAll, TestNode } from './test-cluster.js'

describe('a cluster', () => {
  let nodes: TestNode[] = []

  afterEach(async () => {
    await stopAll(nodes)
    nodes = []
  })

  it('is a full mesh when each node knows one seed', async () => {
    nodes = await startMesh(['a', 'b', 'c'])
    for (const node of nodes) {
      const status = node.cluster.status()
      assert.deepEqual(
        status.nodes.map(({ name, state }) => [name, state]),
        [
          ['a@127.0.0.1', 'running'],
          ['b@127.0.0.1', 'running'],
          ['c@127.0.0.1', 'running'],
        ],
      )
      await eventually(() => assert.equal(node.cluster.isReady, true))
      const peer = node.cluster.status().nodes.find(({ link }) => link === 'up')
      assert.equal(peer?.version, '0.0.0-test')
    }
    await eventually(() => {
      for (const node of nodes) {
        for (const { link, rtt, connections } of node.cluster.status().nodes) {
          assert.equal(connections, 7)
          if (link !== 'self') assert.equal(rtt !== null && rtt < 500, true)
        }
      }
    })
  })

  it('forwards a message once to each node with a matching route, and to no other', async () => {
    nodes = await startMesh(['a', 'b', 'c'])
    const [a, b, c] = nodes as [TestNode, TestNode, TestNode]
    b.subscribe('sensors/+/temperature')
    b.subscribe('sensors/#')
    c.subscribe('other')
    await meshed(nodes)
    for (const qos of [0, 1, 2] as const) {
      const pending = a.publish('sensors/1/temperature', `at ${qos}`, qos)
      await eventually(() => assert.equal(pending.isSettled, true))
      assert.equal(pending.holds, qos === 0 ? 0 : 1)
    }
    await eventually(() => assert.equal(b.received.length, 3))
    assert.deepEqual(
      b.received.map(({ qos, payload, from }) => ({ qos, payload, from })).sort((x, y) => x.qos - y.qos),
      [0, 1, 2].map((qos) => ({ qos, payload: `at ${qos}`, from: a.name })),
    )
    assert.equal(c.received.length, 0)
    assert.equal(await a.metric(`forwarded_messages_total{peer="${b.name}"}`), 3)
    assert.equal(await a.metric(`forwarded_messages_total{peer="${c.name}"}`), 0)
    assert.equal(await b.metric(`forwarded_received_messages_total{peer="${a.name}"}`), 3)
    assert.equal(await c.metric(`forwarded_received_messages_total{peer="${a.name}"}`), 0)
  })

  it('forwards messages without properties as MQTT 3.1.1 has them, and as MQTT 5 to peers of an older protocol', async () => {
    const [a, b] = (await startMesh(['a', 'b'])) as [TestNode, TestNode]
    const old = new TestNode('old', { seeds: [a.address], maximumProtocol: 1 })
    nodes = [a, b, old]
    await old.cluster.start()
    const forms = new Map<string, string[]>()
    for (const node of [b, old]) {
      const own: string[] = []
      forms.set(node.name, own)
      node.onForwarded = (message) => {
        const { payload, qos } = message
        const came = [false, true].filter((isV5) => message.hasFrame(isV5, qos, false))
        own.push(`${payload}: QoS ${qos} of MQTT ${came.map((isV5) => (isV5 ? '5' : '3.1.1')).join(' and ')}`)
      }
      node.subscribe('x')
    }
    await meshed(nodes)
    for (const qos of [0, 1, 2] as const) a.publish('x', `${qos}`, qos)
    // Those of QoS 0 have a way of their own.
    await eventually(() =>
      assert.deepEqual(
        [b, old].map(({ name }) => forms.get(name)?.sort()),
        ['3.1.1', '5'].map((version) => [0, 1, 2].map((qos) => `${qos}: QoS ${qos} of MQTT ${version}`)),
      ),
    )
  })

  it('names the port that is taken, and stops whether it was started or not', async () => {
    nodes = [new TestNode('a')]
    await nodes[0]?.cluster.start()
    const second = new TestNode('b', { listen: nodes[0]?.address ?? '' })
    await assert.rejects(second.cluster.start(), {
      code: 'CLUSTER_PORT_UNAVAILABLE',
      message: /127\.0\.0\.1:\d+ is in use/,
    })
    await second.cluster.stop()
    await second.cluster.stop()
    await new TestNode('c').cluster.stop()
  })

  it('is ready after the join timeout when a seed does not answer', async () => {
    const a = new TestNode('a', { seeds: ['127.0.0.1:1'], joinTimeout: 200 })
    nodes = [a]
    await a.cluster.start()
    assert.equal(a.cluster.isReady, false)
    await a.cluster.whenReady()
    assert.equal(a.cluster.isReady, true)
    assert.equal(a.logged('not everyone was reached in time', 40).length, 1)
  })

  it('holds no acknowledgement once it has stopped', async () => {
    nodes = await startMesh(['a', 'b'])
    const [a, b] = nodes as [TestNode, TestNode]
    b.subscribe('x')
    await meshed(nodes)
    await a.cluster.stop()
    a.routes.add(b.name, 'x')
    assert.equal(a.publish('x', '1', 1).isSettled, true)
    let isConfirmed = false
    a.cluster.forwarder.whenRoutesConfirmed(() => {
      isConfirmed = true
    })
    assert.equal(isConfirmed, true)
  })

  it('hands over what it has written to a replicated map before it leaves', async () => {
    nodes = await startMesh(['a', 'b'])
    const [a, b] = nodes as [TestNode, TestNode]
    const received = new Set<string>()
    b.cluster.replica('retained', (key) => received.add(key))
    const replica = a.cluster.replica('retained', () => {})
    for (let number = 0; number < 1_000; number += 1) replica.set(`key ${number}`, Buffer.alloc(1_000))
    await a.cluster.stop()
    await eventually(() => assert.equal(received.size, 1_000))
  })

  it('calls a node that leaves stopped at once and drops its routes', async () => {
    nodes = await startMesh(['a', 'b'], { suspectAfter: 60_000, downAfter: 60_000 })
    const [a, b] = nodes as [TestNode, TestNode]
    b.subscribe('x/#')
    await meshed(nodes)
    const begun = performance.now()
    await b.cluster.stop()
    await eventually(() => assert.equal(a.stateOf(b), 'stopped'), { within: 500 })
    assert.ok(performance.now() - begun < 1_500)
    assert.equal(a.routes.count(b.name), 0)
    const status = a.cluster.status().nodes.find(({ name }) => name === b.name)
    assert.equal(status?.reason, 'left')
    assert.equal(a.cluster.forget(b.name), true)
    assert.equal(a.stateOf(b), 'unknown')
    assert.equal(a.cluster.forget(b.name), false)
  })

  it('forgets a node that has stopped after `forgetAfter`, and not before', async () => {
    const forgetAfter = 500
    nodes = await startMesh(['a', 'b', 'c'], { forgetAfter })
    const [a, b, c] = nodes as [TestNode, TestNode, TestNode]
    const begun = performance.now()
    await b.cluster.stop()
    await eventually(() => assert.equal(a.stateOf(b), 'stopped'))
    await eventually(() => assert.equal(a.stateOf(b), 'unknown'), { every: 5 })
    assert.ok(performance.now() - begun > forgetAfter)
    assert.equal(a.logged('peer forgotten').length, 1)
    // Who still shows it does not bring it back.
    await eventually(() => assert.equal(c.stateOf(b), 'unknown'))
    assert.equal(a.stateOf(b), 'unknown')
    assert.equal(a.stateOf(c), 'running')
  })

  it('forgets a node that is no member any more after a minute, however long others are shown', async (t) => {
    nodes = await startMesh(['a', 'b'], { forgetAfter: 86_400_000 })
    const [a, b] = nodes as [TestNode, TestNode]
    const real = performance.now.bind(performance)
    let ahead = 0
    t.mock.method(performance, 'now', () => real() + ahead)
    await b.cluster.depart()
    await eventually(() => assert.equal(a.stateOf(b), 'stopped'))
    // A second at a time, with a look at the peers in each.
    while (a.stateOf(b) !== 'unknown' && ahead < 120_000) {
      ahead += 1_000
      await new Promise((resolve) => setTimeout(resolve, 30))
    }
    assert.ok(ahead > 50_000 && ahead < 70_000, `forgotten after ${ahead} ms`)
  })
})
