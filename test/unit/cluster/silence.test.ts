import assert from 'node:assert/strict'
import { afterEach, describe, it } from 'node:test'
import { Silence } from '../../../src/cluster/silence.js'
import type { ClusterOptions } from '../../../src/config/options.js'
import { CuttableProxy } from '../../support/cuttable-proxy.js'
import { eventually } from '../../support/eventually.js'
import { meshed, stopAll, TestNode, unsettled } from './test-cluster.js'

/** Times that are short, and long enough for a machine with other things to do. */
const TIMES = { heartbeatInterval: 100, suspectAfter: 600, downAfter: 1_000 }

describe('silence between nodes', () => {
  let nodes: TestNode[] = []
  let proxies: CuttableProxy[] = []

  afterEach(async () => {
    await stopAll(nodes)
    await Promise.all(proxies.map((proxy) => proxy.stop()))
    nodes = []
    proxies = []
  })

  /**
   * Nodes that reach each other only through a proxy in front of each. The link of two is dialed by the smaller name: the
   * proxy of b carries a's link, that of c those of a and b.
   */
  async function start(names: readonly string[], options: Partial<ClusterOptions> = {}): Promise<void> {
    // The last comes first, so that each finds those it is to dial.
    for (const name of [...names].reverse()) {
      const proxy: CuttableProxy = new CuttableProxy(() => Number(node.address.split(':')[1]))
      await proxy.start()
      const seeds = proxies.map(({ address }) => address)
      const node = new TestNode(name, { ...TIMES, ...options, advertise: proxy.address, seeds })
      proxies.unshift(proxy)
      nodes.unshift(node)
      await node.cluster.start()
    }
    await meshed(nodes)
    await eventually(() => {
      for (const [index, node] of nodes.entries()) {
        for (const other of nodes.slice(index + 1)) {
          const last = node.logged('link up').filter(({ peer }) => peer === other.name)
          assert.equal(last.at(-1)?.dialer, node.name, 'the smaller name has dialed the link that stays')
        }
      }
    })
  }

  async function whenStopped(node: TestNode, peer: TestNode, within = 10_000): Promise<void> {
    await eventually(() => assert.equal(node.stateOf(peer), 'stopped', `${node.name} sees ${peer.name}`), { within })
  }

  it('is no matter as long as heartbeats come: data that stands still makes nobody suspect, and gets a new link', async () => {
    // The link of b to a is dialed by a, through b's proxy.
    await start(['a', 'b'])
    const [a, b] = nodes as [TestNode, TestNode]
    b.subscribe('big')
    await meshed(nodes)
    const pendings = Array.from({ length: 8 }, () => a.publish('big', 'x'.repeat(500_000), 1))
    await eventually(() => assert.equal(unsettled(pendings), 0))
    proxies[1]?.freeze({ only: 'busiest' })
    // More than any window and socket buffer take.
    const stalled = Array.from({ length: 40 }, () => a.publish('big', 'x'.repeat(500_000), 1))
    const begun = performance.now()
    // Only what goes to b is more than can be under way, so b is the one that misses something.
    await eventually(() => assert.equal(b.logged('link is stuck').length, 1), { within: 10_000 })
    const took = performance.now() - begun
    assert.ok(took > 1_000, `not before ${Math.round(took)} ms`)
    await eventually(() => assert.equal(unsettled(stalled), 0), { within: 10_000 })
    for (const node of nodes) assert.equal(node.logged('peer state', 40).length, 0, `${node.name} suspects nobody`)
    // Both dial, so two may have come up.
    assert.ok(a.logged('link up').length >= 2)
    assert.equal(await b.metric(`links_stuck_total{peer="${a.name}"}`), 1)
    assert.equal(await a.metric(`links_stuck_total{peer="${b.name}"}`), 0)
    assert.equal(b.received.length, 48, 'every message came once')
  })

  it('is no matter where data only comes slowly: a frame may take longer than any time to be noticed', async () => {
    await start(['a', 'b'])
    const [a, b] = nodes as [TestNode, TestNode]
    a.subscribe('back')
    b.subscribe('big')
    await meshed(nodes)
    // A frame of 2 MB takes 4 s. Of what a says more than the buffers of both machines take waits with a, which reads
    // nothing meanwhile.
    proxies[1]?.slow(500_000)
    const pendings = Array.from({ length: 40 }, () => a.publish('big', 'x'.repeat(500_000), 1))
    const begun = performance.now()
    while (performance.now() - begun < 5 * TIMES.downAfter) {
      pendings.push(b.publish('back', 'y', 1))
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    assert.equal(unsettled(pendings) > 0, true, 'the data is slow')
    proxies[1]?.heal()
    await eventually(() => assert.equal(unsettled(pendings), 0), { within: 20_000 })
    for (const node of nodes) assert.equal(node.logged('peer state', 40).length, 0, `${node.name} suspects nobody`)
    assert.deepEqual([a.logged('link up').length, b.logged('link up').length], [1, 1])
  })

  for (const direction of ['in', 'out'] as const) {
    it(`of one direction, ${direction === 'in' ? 'from' : 'to'} the node that dialed, is noticed by both, as if it were of both`, async () => {
      await start(['a', 'b'])
      const [a, b] = nodes as [TestNode, TestNode]
      const begun = performance.now()
      // Nobody comes back the other way before both have noticed.
      proxies[0]?.split()
      proxies[1]?.freeze({ direction })
      await Promise.all([whenStopped(a, b), whenStopped(b, a)])
      const took = performance.now() - begun
      assert.ok(took < TIMES.downAfter + 3_000, `took ${Math.round(took)} ms`)
      for (const proxy of proxies) proxy.heal()
      await meshed(nodes)
    })
  }

  it('for less than the time to be down is a suspicion that goes without a new link', async () => {
    await start(['a', 'b'], { downAfter: 30_000 })
    const [a, b] = nodes as [TestNode, TestNode]
    proxies[1]?.freeze()
    await eventually(() => assert.deepEqual([a.stateOf(b), b.stateOf(a)], ['suspect', 'suspect']), { within: 10_000 })
    proxies[1]?.heal()
    await meshed(nodes)
    assert.deepEqual(
      nodes.map((node) => node.logged('link up').length),
      [1, 1],
    )
  })

  it('between two nodes that both see a third is a view that differs for all three, until it is over', async () => {
    await start(['a', 'b', 'c'])
    const [a, b] = nodes as [TestNode, TestNode]
    for (const node of nodes) assert.equal(await node.metric('views_differ'), 0)
    proxies[0]?.split()
    proxies[1]?.split()
    await Promise.all([whenStopped(a, b), whenStopped(b, a)])
    await eventually(
      async () => {
        const differences = await Promise.all(nodes.map((node) => node.metric('views_differ')))
        // c hears of it from a and from b; these hear from c that the other lives.
        assert.deepEqual(differences, [1, 1, 2])
      },
      { within: 10_000 },
    )
    for (const node of nodes) {
      const alarms = [...node.cluster.alarms()].filter(({ alarm }) => alarm === 'views_differ')
      assert.equal(alarms.length, node === nodes[2] ? 2 : 1)
    }
    for (const proxy of proxies) proxy.heal()
    await meshed(nodes)
    await eventually(async () => {
      assert.deepEqual(await Promise.all(nodes.map((node) => node.metric('views_differ'))), [0, 0, 0])
    })
    for (const node of nodes) assert.deepEqual([...node.cluster.alarms()], [])
  })

  it('of a link that is cut again and again leads to fewer and fewer links, and to no snapshots', async () => {
    await start(['a', 'b'])
    const [a, b] = nodes as [TestNode, TestNode]
    for (let number = 0; number < 100; number += 1) b.subscribe(`route/${number}`)
    await meshed(nodes)
    const snapshots = await a.metric(`route_snapshots_received_total{peer="${b.name}"}`)
    const begun = performance.now()
    const linksSoFar = (): number => a.logged('link up').length
    let early = 0
    const flap = setInterval(() => {
      for (const proxy of proxies) proxy.cut()
    }, 20)
    try {
      await eventually(() => assert.equal(performance.now() - begun > 3_000, true), { within: 20_000 })
      early = linksSoFar()
      await eventually(() => assert.equal(performance.now() - begun > 6_000, true), { within: 20_000 })
    } finally {
      clearInterval(flap)
    }
    const late = linksSoFar() - early
    assert.ok(early > 3, `${early} links in 3 s`)
    // Pauses of up to 2 s between them; without, there are more than ten in a second.
    assert.ok(late < Math.min(early, 10), `${late} links in 3 s more, after ${early}`)
    await meshed(nodes)
    assert.equal(await a.metric(`route_snapshots_received_total{peer="${b.name}"}`), snapshots)
    assert.deepEqual(
      [...a.cluster.alarms()].map(({ alarm, subject }) => [alarm, subject]),
      [['link_flapping', b.name]],
    )
  })
})

describe('the silence of a peer', () => {
  const OPTIONS = { heartbeatInterval: 1_000, suspectAfter: 3_000, downAfter: 5_000 }

  it('is suspicious first, and then too long; without a link it is so one beat earlier', () => {
    const silence = new Silence(OPTIONS)
    const before = performance.now()
    silence.hear()
    const after = performance.now()
    assert.equal(silence.isSuspicious(before + 2_999), false)
    assert.equal(silence.isSuspicious(after + 3_000), true)
    assert.equal(silence.isTooLong(before + 3_999, false), false)
    assert.equal(silence.isTooLong(after + 4_000, false), true)
    assert.equal(silence.isTooLong(before + 4_999, true), false)
    assert.equal(silence.isTooLong(after + 5_000, true), true)
  })

  it('is not broken by a peer that does not hear this node, until it does or has another link', () => {
    const silence = new Silence(OPTIONS)
    silence.weigh(true, 3_000)
    assert.equal(silence.hear(), false)
    assert.equal(silence.isSuspicious(performance.now()), true)
    silence.begin()
    assert.equal(silence.hear(), true)
    assert.equal(silence.isSuspicious(performance.now()), false)
    silence.weigh(true, 3_000)
    silence.weigh(false, 0)
    assert.equal(silence.hear(), true)
  })

  it('of the time for which this node itself was paused does not count', () => {
    const silence = new Silence(OPTIONS)
    const before = performance.now()
    silence.hear()
    const after = performance.now()
    silence.forgive(10_000)
    assert.equal(silence.isSuspicious(before + 12_999), false)
    assert.equal(silence.isSuspicious(after + 13_000), true)
  })
})
