import assert from 'node:assert/strict'
import { afterEach, describe, it } from 'node:test'
import type { PendingPublish } from '../../../src/broker/ports.js'
import { dialHandshake } from '../../../src/cluster/handshake.js'
import { BURST_FACTOR } from '../../../src/cluster/kept-lane.js'
import type { LinkStream } from '../../../src/cluster/link-stream.js'
import { MeshChannel } from '../../../src/cluster/transport.js'
import type { ClusterOptions } from '../../../src/config/options.js'
import { CuttableProxy } from '../../support/cuttable-proxy.js'
import { eventually } from '../../support/eventually.js'
import { meshed, startMesh, stopAll, TestNode, type TestPending, unsettled } from './test-cluster.js'

describe('links between nodes', () => {
  let nodes: TestNode[] = []
  let proxies: CuttableProxy[] = []

  afterEach(async () => {
    await stopAll(nodes)
    await Promise.all(proxies.map((proxy) => proxy.stop()))
    nodes = []
    proxies = []
  })

  /** Nodes that reach each other only through a proxy in front of each. */
  async function startBehindProxies(names: readonly string[], options: Partial<ClusterOptions> = {}): Promise<void> {
    for (const name of names) {
      const proxy: CuttableProxy = new CuttableProxy(() => Number(node.address.split(':')[1]))
      await proxy.start()
      const seeds = proxies.map(({ address }) => address)
      const node = new TestNode(name, { ...options, advertise: proxy.address, seeds })
      proxies.push(proxy)
      nodes.push(node)
      await node.cluster.start()
    }
    await meshed(nodes)
  }

  it('are one per pair when both dial at once, and lose nothing', async () => {
    for (let round = 0; round < 5; round += 1) {
      nodes = []
      // Each has the other as seed, so both dial in the same moment.
      const all = ['a', 'b', 'c'].map((name) => {
        const seeds = {
          start: (found: (addresses: readonly string[]) => void) => report.push(found),
          stop: async () => {},
        }
        return new TestNode(name, {}, { seeds })
      })
      const report: ((addresses: readonly string[]) => void)[] = []
      nodes.push(...all)
      await Promise.all(all.map((node) => node.cluster.start()))
      const addresses = all.map(({ address }) => address)
      for (const node of all) node.subscribe(`to/${node.name}`)
      for (const found of report) found(addresses)
      // Sends from the first moment that there are routes, while links are still being replaced.
      const end = performance.now() + 300
      const sent = new Map<string, string[]>(all.map(({ name }) => [name, []]))
      const pendings: TestPending[] = []
      for (let number = 0; performance.now() < end; number += 1) {
        for (const from of all) {
          for (const to of all) {
            if (from === to || from.routes.count(to.name) === 0) continue
            const payload = `${from.name} ${number}`
            sent.get(to.name)?.push(payload)
            pendings.push(from.publish(`to/${to.name}`, payload, number % 2 === 0 ? 0 : 1))
          }
        }
        await new Promise((resolve) => setImmediate(resolve))
      }
      await meshed(all)
      await eventually(() => assert.equal(unsettled(pendings), 0))
      for (const { name, received } of all) {
        await eventually(() => assert.equal(received.length, sent.get(name)?.length))
        assert.deepEqual(received.map(({ payload }) => payload).sort(), sent.get(name)?.sort())
      }
      // The link that stays is the one dialed by the smaller name.
      await eventually(() => {
        for (const node of all) {
          const up = node.logged('link up')
          for (const other of all) {
            if (other === node) continue
            const last = up.filter(({ peer }) => peer === other.name).at(-1)
            assert.equal(last?.dialer, [node.name, other.name].sort()[0])
          }
        }
      })
      await stopAll(all)
    }
  })

  it('are heard to their end also when they are passed over before the other side has opened them', async () => {
    const node = new TestNode('a')
    nodes = [node]
    await node.cluster.start()
    const identity = { cluster: 'shoalmq', node: 'b@127.0.0.1', incarnation: 1, address: '127.0.0.1:1', software: '0' }
    const options = { identity, protocol: 2, minimumProtocol: 1, secret: '', admit: () => undefined }
    const heard: string[][] = []
    const dial = async (): Promise<LinkStream> => {
      const stream = new MeshChannel(node.address).openLink()
      await dialHandshake(stream, options, false)
      const bodies: string[] = []
      heard.push(bodies)
      stream.flow({ onMessage: ({ $case }) => bodies.push($case), onDrain() {}, onClosed() {} })
      return stream
    }
    const first = await dial()
    await eventually(() => assert.deepEqual(heard[0], ['open']))
    const second = await dial()
    await eventually(() => assert.deepEqual(heard[0], ['open', 'farewell']))
    // What came before is kept elsewhere, so this is the first batch that there is.
    first.send({
      $case: 'open',
      value: { routeVersion: 0, receivedSequence: 0, keptSequence: 0, firstSequence: 301, shelvedSequence: 300 },
    })
    const entries = Buffer.from([0, 0x32, 7, 0, 1, 0x74, 0, 1, 0, 0x78])
    first.send({ $case: 'batch', value: { sequence: 301, entries, continued: false, waited: 0, isQos1Only: true } })
    await eventually(() => assert.equal(node.received.length, 1))
    assert.deepEqual(node.logged('link broken off'), [])
    first.destroy()
    second.destroy()
  })

  it('carry QoS 1 and 2 messages once and in order, however often they are cut', async () => {
    await startBehindProxies(['a', 'b'], { suspectAfter: 5_000, downAfter: 10_000, batchBytes: 1_024 })
    const [a, b] = nodes as [TestNode, TestNode]
    b.subscribe('t/#')
    await meshed(nodes)
    const pendings: TestPending[] = []
    const total = 4_000
    for (let number = 0; number < total; number += 1) {
      pendings.push(a.publish(`t/${number % 3}`, String(number), ((number % 2) + 1) as 1 | 2))
      if (number % 20 === 0) await new Promise((resolve) => setImmediate(resolve))
      if (number % 400 === 399) {
        for (const proxy of proxies) proxy.cut()
        await new Promise((resolve) => setTimeout(resolve, 30))
      }
    }
    await eventually(() => assert.equal(unsettled(pendings), 0), { within: 15_000 })
    assert.deepEqual(
      b.received.map(({ payload }) => Number(payload)),
      Array.from({ length: total }, (_, number) => number),
    )
    assert.equal(a.stateOf(b), 'running')
    assert.ok((await a.metric(`links_opened_total{peer="${b.name}"}`)) >= 5)
    assert.equal(await b.metric(`forwarded_missing_batches_total{peer="${a.name}"}`), 0)
  })

  it('acknowledge a message only when everyone has kept it, and do not make others wait for it', async () => {
    nodes = await startMesh(['a', 'b'])
    const [a, b] = nodes as [TestNode, TestNode]
    b.subscribe('t')
    await meshed(nodes)
    const unkept: PendingPublish[] = []
    b.onForwarded = (_message, _from, pending) => {
      pending?.hold()
      if (pending !== undefined) unkept.push(pending)
    }
    const first = a.publish('t', 'first', 1)
    await eventually(() => assert.equal(unkept.length, 1))
    b.onForwarded = undefined
    const second = a.publish('t', 'second', 2)
    await eventually(() => assert.equal(second.isSettled, true))
    assert.equal(first.isSettled, false)
    assert.equal(b.received.length, 1)
    unkept[0]?.release()
    await eventually(() => assert.equal(first.isSettled, true))
    await eventually(async () => assert.equal(await a.metric(`link_unacked_bytes{peer="${b.name}"}`), 0))
  })

  it('carry messages larger than a batch in pieces', async () => {
    nodes = await startMesh(['a', 'b'], { batchBytes: 1_024 })
    const [a, b] = nodes as [TestNode, TestNode]
    b.subscribe('#')
    await meshed(nodes)
    const sizes = [10, 1_000, 1_010, 1_024, 5_000, 100_000, 3, 1_000_000, 10]
    for (const qos of [0, 1] as const) {
      const pendings = sizes.map((size) => a.publish('big', 'x'.repeat(size), qos))
      await eventually(() => assert.equal(unsettled(pendings), 0))
      await eventually(() =>
        assert.deepEqual(
          b.received.map(({ payload }) => payload.length),
          sizes,
        ),
      )
      b.received.length = 0
    }
    assert.equal(await a.metric(`link_unacked_bytes{peer="${b.name}"}`), 0)
    assert.equal(await a.metric(`link_unacked_messages{peer="${b.name}"}`), 0)
  })

  for (const fault of ['killed', 'frozen'] as const) {
    it(`show a ${fault} peer as stopped within the time to be down, and running again with the same routes`, async () => {
      await startBehindProxies(['a', 'b', 'c'], { heartbeatInterval: 100, suspectAfter: 600, downAfter: 1_000 })
      const [a, b, c] = nodes as [TestNode, TestNode, TestNode]
      b.subscribe('x')
      c.subscribe('x')
      await meshed(nodes)
      for (const proxy of proxies) {
        if (fault === 'killed') proxy.split()
        else proxy.freeze()
      }
      await eventually(() => assert.equal(a.stateOf(b), 'stopped'), { within: 2_000 })
      const status = a.cluster.status().nodes.find(({ name }) => name === b.name)
      assert.equal(status?.reason, 'down')
      assert.equal(a.routes.count(b.name), 1, 'down is not dead: routes are kept for a while')
      for (const proxy of proxies) proxy.heal()
      const healed = performance.now()
      await meshed(nodes, 6_000)
      assert.ok(performance.now() - healed < 5_500)
    })
  }

  it('replay what a peer missed while it was down to the same incarnation, without making publishers wait', async () => {
    await startBehindProxies(['a', 'b'])
    const [a, b] = nodes as [TestNode, TestNode]
    b.subscribe('x')
    await meshed(nodes)
    for (const proxy of proxies) proxy.split()
    const early = a.publish('x', '1', 1)
    assert.equal(early.isSettled, false)
    await eventually(() => assert.equal(a.stateOf(b), 'stopped'))
    assert.equal(early.isSettled, true, 'nobody waits for a peer that is down')
    const late = a.publish('x', '2', 2)
    assert.equal(late.isSettled, true)
    a.publish('x', 'lost', 0)
    assert.equal(await a.metric('forward_dropped_messages_total{reason="peer_down"}'), 1)
    for (const proxy of proxies) proxy.heal()
    await eventually(() =>
      assert.deepEqual(
        b.received.map(({ payload }) => payload),
        ['1', '2'],
      ),
    )
  })

  it('give up what was kept when a new incarnation comes, and after the retention', async () => {
    await startBehindProxies(['a', 'b'], { routeRetention: 700 })
    const [a, b] = nodes as [TestNode, TestNode]
    b.subscribe('x')
    await meshed(nodes)
    for (const proxy of proxies) proxy.split()
    const kept = a.publish('x', 'kept', 1)
    await eventually(() => assert.equal(a.stateOf(b), 'stopped'))
    assert.equal(kept.isSettled, true)
    await eventually(() => assert.equal(a.routes.count(b.name), 0), { within: 2_000 })
    assert.equal(await a.metric('forward_dropped_messages_total{reason="hint_expired"}'), 1)
    for (const proxy of proxies) proxy.heal()
    await meshed(nodes)
    assert.deepEqual(b.received, [])
    const again = a.publish('x', 'again', 1)
    await eventually(() => assert.equal(again.isSettled, true))
    assert.deepEqual(
      b.received.map(({ payload }) => payload),
      ['again'],
    )

    for (const proxy of proxies) proxy.split()
    a.publish('x', 'for the old one', 1)
    await eventually(() => assert.equal(a.stateOf(b), 'stopped'))
    await b.cluster.stop()
    for (const proxy of proxies) proxy.heal()
    const restarted = new TestNode('b', { seeds: [a.address] })
    nodes = [a, restarted]
    await restarted.cluster.start()
    await meshed(nodes)
    assert.equal(await a.metric('forward_dropped_messages_total{reason="peer_restarted"}'), 1)
    assert.equal(a.routes.count(b.name), 0)
    assert.deepEqual(restarted.received, [])
  })

  it('are up within two seconds after a node is started again at the same port', async () => {
    nodes = await startMesh(['a', 'b'])
    const [a, b] = nodes as [TestNode, TestNode]
    const { address } = b
    await b.cluster.stop()
    await eventually(() => assert.equal(a.stateOf(b), 'stopped'))
    // It knows nobody: the other has to dial.
    const restarted = new TestNode('b', { listen: address, seeds: [] })
    nodes = [a, restarted]
    await restarted.cluster.start()
    restarted.subscribe('x')
    const begun = performance.now()
    await meshed(nodes)
    assert.ok(performance.now() - begun < 2_500)
  })

  it('drop QoS 0 and hold back publishers of QoS 1 when the buffers are full, and never grow', async () => {
    await startBehindProxies(['a', 'b'], {
      linkBuffer: 65_536,
      qos0Buffer: 65_536,
      suspectAfter: 20_000,
      downAfter: 30_000,
    })
    const [a, b] = nodes as [TestNode, TestNode]
    b.subscribe('x')
    await meshed(nodes)
    for (const proxy of proxies) proxy.freeze()
    const pendings: TestPending[] = []
    const payload = 'x'.repeat(1_000)
    for (let number = 0; number < 6_000; number += 1) {
      a.publish('x', payload, 0)
      pendings.push(a.publish('x', payload, 1))
      if (number % 50 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    const dropped = await a.metric('forward_dropped_messages_total{reason="qos0_buffer_full"}')
    const refused = await a.metric('forward_dropped_messages_total{reason="link_buffer_full"}')
    assert.ok(dropped > 0 && refused > 0)
    assert.ok((await a.metric(`link_unacked_bytes{peer="${b.name}"}`)) <= BURST_FACTOR * 65_536)
    assert.ok((await a.metric(`link_qos0_bytes{peer="${b.name}"}`)) <= 65_536)
    assert.equal(pendings.filter(({ isSettled }) => isSettled).length, 0)
    for (const proxy of proxies) proxy.heal()
    await eventually(() => assert.equal(unsettled(pendings), 0), { within: 8_000 })
    await eventually(() => assert.equal(b.received.filter(({ qos }) => qos === 1).length, 6_000 - refused))
    assert.equal(b.received.filter(({ qos }) => qos === 0).length, 6_000 - dropped)
  })
})
