import assert from 'node:assert/strict'
import { afterEach, describe, it, type TestContext } from 'node:test'
import fc from 'fast-check'
import { RouteLog } from '../../../src/cluster/route-log.js'
import { type RouteCounters, RouteMirror, RoutePublisher } from '../../../src/cluster/route-sync.js'
import type { LinkBody } from '../../../src/cluster/wire.js'
import type { ClusterOptions } from '../../../src/config/options.js'
import { GroupRoutes } from '../../../src/router/group-routes.js'
import { RouteTable } from '../../../src/router/route-table.js'
import type { GroupMember } from '../../../src/router/shared-group.js'
import { SharedGroups } from '../../../src/router/shared-groups.js'
import { SubscriptionTable } from '../../../src/router/subscription-table.js'
import { CuttableProxy } from '../../support/cuttable-proxy.js'
import { eventually } from '../../support/eventually.js'
import { processorWait } from '../../support/processor-wait.js'
import { meshed, startMesh, stopAll, TestNode } from './test-cluster.js'

/** Two nodes whose network can be made to stand still, whichever of them dials. */
async function freezablePair(
  t: TestContext,
  options: Partial<ClusterOptions>,
): Promise<{ a: TestNode; b: TestNode; freeze: () => void }> {
  const portOf = ({ address }: TestNode): number => Number(address.split(':')[1])
  const proxies: CuttableProxy[] = [new CuttableProxy(() => portOf(a)), new CuttableProxy(() => portOf(b))]
  for (const proxy of proxies) {
    t.after(() => proxy.stop())
    await proxy.start()
  }
  const [before, behind] = proxies.map(({ address }) => address) as [string, string]
  const b = new TestNode('b', { ...options, advertise: behind })
  const a = new TestNode('a', { ...options, advertise: before, seeds: [behind] })
  for (const node of [b, a]) await node.cluster.start()
  return {
    a,
    b,
    freeze() {
      for (const proxy of proxies) proxy.freeze()
    },
  }
}

const OWNER = 'owner@127.0.0.1'
const OPTIONS = {
  qos: 0,
  noLocal: false,
  retainAsPublished: false,
  retainHandling: 0,
  subscriptionId: undefined,
} as const

function counters(): RouteCounters {
  return { deltasSent: 0, deltasReceived: 0, snapshotsSent: 0, snapshotsReceived: 0, resyncs: 0 }
}

function newGroups(): SharedGroups<GroupMember> {
  return new SharedGroups({ strategy: 'random', strategies: {}, node: OWNER })
}

/** Filters in one message: few, so that a handful is a snapshot of several chunks. */
const CHUNK_FILTERS = 2
/** After these the reader has to ask again. */
const DISTURBANCES: readonly string[] = ['corrupt', 'lose', 'overtake']

/** An owner of routes, a reader, and what is under way between them. */
class Pair {
  readonly table = new RouteTable()
  readonly sent = counters()
  readonly taken = counters()
  subscriptions = new SubscriptionTable<object>()
  groups = newGroups()
  readonly groupTable = new GroupRoutes()
  private readonly session = { isAttached: true, isBusy: false }
  private log = new RouteLog(this.subscriptions, () => {}, 8, this.groups)
  private publisher: RoutePublisher
  private mirror = new RouteMirror(OWNER, this.table, this.taken, this.groupTable)
  private toReader: LinkBody[] = []
  private toOwner: LinkBody[] = []

  /** @param chunkFilters most filters in one message; as in a node unless given */
  constructor(private readonly chunkFilters?: number) {
    this.publisher = new RoutePublisher(this.log, this.sent, this.chunkFilters)
    this.subscriptions.setListener(this.log)
    this.groups.setListener(this.log)
  }

  get confirmedVersion(): number {
    return this.publisher.confirmedVersion
  }

  get ownVersion(): number {
    return this.log.version
  }

  change(filter: string, withdrawn: boolean): void {
    const table = filter.startsWith('$share/') ? this.groups : this.subscriptions
    if (withdrawn) table.unsubscribe(this.session, filter)
    else table.subscribe(this.session, filter, OPTIONS)
  }

  /** The client comes or goes, which changes the numbers of its groups. */
  toggle(): void {
    this.session.isAttached = !this.session.isAttached
    this.groups.refresh(this.session)
  }

  /** A new link: what was under way is gone. */
  reconnect(): void {
    this.toReader = []
    this.toOwner = []
    this.publisher.close()
    this.mirror.open()
    this.publisher.open(this.mirror.version)
  }

  /** The owner starts anew, without subscriptions. */
  restart(): void {
    this.subscriptions = new SubscriptionTable<object>()
    this.groups = newGroups()
    this.log = new RouteLog(this.subscriptions, () => {}, 8, this.groups)
    this.subscriptions.setListener(this.log)
    this.groups.setListener(this.log)
    this.publisher = new RoutePublisher(this.log, this.sent, this.chunkFilters)
    this.mirror.clear()
    this.reconnect()
  }

  /** A bug, or a bit that fell over: the reader's table changes by itself. */
  corrupt(filter: string): void {
    if (filter.startsWith('$share/')) {
      this.groupTable.set(OWNER, { filter, id: 99, connected: 1, members: 7 })
    } else if (!this.table.remove(OWNER, filter)) {
      this.table.add(OWNER, filter)
    }
  }

  check(): void {
    this.publisher.check()
  }

  /** Each side says one thing, if it has any. */
  speak(): boolean {
    const fromOwner = this.publisher.next()
    if (fromOwner !== undefined) this.toReader.push(fromOwner)
    const fromReader = this.mirror.next()
    if (fromReader !== undefined) this.toOwner.push(fromReader)
    return fromOwner !== undefined || fromReader !== undefined
  }

  /** One thing arrives at each side. */
  hear(): boolean {
    const atReader = this.toReader.shift()
    if (atReader?.$case === 'routeDeltas') this.mirror.takeDeltas(atReader.value)
    if (atReader?.$case === 'routeSnapshot') this.mirror.takeSnapshot(atReader.value)
    if (atReader?.$case === 'routeCheck') this.mirror.takeCheck(atReader.value)
    const atOwner = this.toOwner.shift()
    if (atOwner?.$case === 'routeRequest') this.publisher.request(atOwner.value)
    if (atOwner?.$case === 'routeAck') this.publisher.confirm(atOwner.value.version)
    return atReader !== undefined || atOwner !== undefined
  }

  /** The reader starts anew, and knows nothing. */
  restartReader(): void {
    this.mirror.clear()
    this.mirror = new RouteMirror(OWNER, this.table, this.taken, this.groupTable)
    this.reconnect()
  }

  /** What was said last arrives before what was said before it, as when one link takes the place of another. */
  overtake(): void {
    for (const line of [this.toReader, this.toOwner]) {
      const last = line.pop()
      if (last !== undefined) line.unshift(last)
    }
  }

  /** A thing is lost on the way to the reader. */
  lose(): void {
    this.toReader.shift()
  }

  /** Until nobody has anything to say; fails when that never ends. */
  settle(): void {
    for (let step = 0; step < 10_000; step += 1) {
      const hasSpoken = this.speak()
      if (!this.hear() && !hasSpoken) return
    }
    assert.fail('the two sides never stop talking')
  }

  assertEqual(): void {
    assert.deepEqual([...this.table.filters(OWNER)].sort(), [...this.subscriptions.filters()].sort())
    assert.deepEqual(this.table.digest(OWNER), this.subscriptions.digest())
    const own = Array.from(this.groups.routes(), ({ filter }) => filter)
    assert.deepEqual([...this.groupTable.filters(OWNER)].sort(), own.sort())
    assert.deepEqual(this.groupTable.digest(OWNER), this.groups.digest())
  }
}

describe('routes between two nodes', () => {
  it('are the same in the end, whatever was changed, lost, overtaken, corrupted, cut and restarted in whatever order', () => {
    const filter = fc.constantFrom('a', 'b/+', 'c/#', 'd', '$share/g/a', '$share/g/b/+', '$share/h/a')
    const step = fc.oneof(
      { weight: 8, arbitrary: fc.record({ kind: fc.constant('change' as const), filter, withdrawn: fc.boolean() }) },
      { weight: 4, arbitrary: fc.constantFrom({ kind: 'speak' as const }, { kind: 'hear' as const }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('corrupt' as const), filter }) },
      {
        weight: 1,
        arbitrary: fc.constantFrom(
          { kind: 'lose' as const },
          { kind: 'reconnect' as const },
          { kind: 'restart' as const },
          { kind: 'restartReader' as const },
          { kind: 'overtake' as const },
          { kind: 'check' as const },
          { kind: 'toggle' as const },
        ),
      },
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120, size: 'max' }), (steps) => {
        const pair = new Pair(CHUNK_FILTERS)
        pair.reconnect()
        for (const one of steps) {
          if (one.kind === 'change') pair.change(one.filter, one.withdrawn)
          else if (one.kind === 'corrupt') pair.corrupt(one.filter)
          else pair[one.kind]()
        }
        pair.settle()
        if (!steps.some(({ kind }) => DISTURBANCES.includes(kind))) {
          assert.equal(pair.taken.resyncs, 0, 'changes and snapshots alone are right')
          pair.assertEqual()
        }
        // The digest that comes now and then.
        pair.check()
        pair.settle()
        pair.assertEqual()
        assert.equal(pair.confirmedVersion, pair.ownVersion)
      }),
      { numRuns: 500 },
    )
  })

  it('go as changes while the log has them, and as a snapshot when a gap is older', () => {
    const pair = new Pair()
    pair.reconnect()
    for (const filter of ['a', 'b', 'c']) pair.change(filter, false)
    pair.settle()
    pair.assertEqual()
    assert.equal(pair.sent.snapshotsSent, 0)
    for (let number = 0; number < 5; number += 1) pair.change(`d${number}`, false)
    pair.reconnect()
    pair.settle()
    pair.assertEqual()
    assert.equal(pair.sent.snapshotsSent, 0, 'five changes are in a log of eight')
    for (let number = 0; number < 9; number += 1) pair.change(`e${number}`, false)
    pair.change('a', true)
    pair.reconnect()
    pair.settle()
    pair.assertEqual()
    assert.equal(pair.sent.snapshotsSent, 1)
  })

  it('are right when they change while a snapshot is under way', () => {
    const pair = new Pair()
    for (let number = 0; number < 3_500; number += 1) {
      pair.change(`old/${number}`, false)
      pair.change(`$share/g/old/${number}`, false)
    }
    pair.reconnect()
    pair.speak()
    for (let number = 0; number < 7; number += 1) pair.change(`new/${number}`, false)
    pair.change('old/0', true)
    pair.change('$share/g/old/0', true)
    pair.speak()
    pair.settle()
    pair.assertEqual()
  })
})

describe('routes in a cluster', () => {
  let nodes: TestNode[] = []

  afterEach(async () => {
    await stopAll(nodes)
    nodes = []
  })

  it('follow the first and the last subscriber, and SUBACK can wait for the peers to know', async () => {
    nodes = await startMesh(['a', 'b', 'c'])
    const [a, b, c] = nodes as [TestNode, TestNode, TestNode]
    for (let number = 0; number < 50; number += 1) {
      a.subscribe(`room/${number}/#`)
      await new Promise<void>((resolve) => a.cluster.forwarder.whenRoutesConfirmed(resolve))
      assert.equal(b.routes.has(a.name, `room/${number}/#`), true)
      assert.equal(c.routes.has(a.name, `room/${number}/#`), true)
    }
    let isCalled = false
    a.cluster.forwarder.whenRoutesConfirmed(() => {
      isCalled = true
    })
    assert.equal(isCalled, true, 'at once when nothing is owed')
    for (let number = 0; number < 50; number += 1) a.unsubscribe(`room/${number}/#`)
    await new Promise<void>((resolve) => a.cluster.forwarder.whenRoutesConfirmed(resolve))
    assert.equal(b.routes.count(), 0)
    assert.equal(c.routes.count(), 0)
  })

  it('are confirmed after the bound when a peer does not answer', async (t) => {
    const options = { routeConfirmTimeout: 200, suspectAfter: 5_000, downAfter: 10_000 }
    const { a, b, freeze } = await freezablePair(t, options)
    nodes = [a, b]
    await meshed(nodes)
    freeze()
    a.subscribe('x')
    const begun = performance.now()
    await new Promise<void>((resolve) => a.cluster.forwarder.whenRoutesConfirmed(resolve))
    const took = performance.now() - begun
    assert.equal(took >= 190 && took < 600, true, `took ${took} ms`)
    assert.equal(await a.metric('route_confirm_timeouts_total'), 1)
  })

  it('that were corrupted are found by their digest and mended', async () => {
    nodes = await startMesh(['a', 'b'])
    const [a, b] = nodes as [TestNode, TestNode]
    for (const filter of ['x', 'y/+', 'z/#']) b.subscribe(filter)
    await meshed(nodes)
    const inStep = async () => (await a.cluster.verifyRoutes()).map((one) => [one.node, one.here, one.inStep])
    assert.deepEqual(await inStep(), [[b.name, 3, true]])
    a.routes.remove(b.name, 'y/+')
    a.routes.add(b.name, 'never/subscribed')
    b.subscribe('more')
    assert.deepEqual(await inStep(), [[b.name, 4, false]], 'as many routes, but others')
    await meshed(nodes)
    assert.deepEqual(await inStep(), [[b.name, 4, true]], 'mended')
    assert.deepEqual([...a.routes.filters(b.name)].sort(), ['more', 'x', 'y/+', 'z/#'])
    assert.equal(await a.metric(`route_resyncs_total{peer="${b.name}"}`), 1)
    assert.equal(a.logged('routes differ', 40).length, 1)
  })

  it('are compared by themselves, now and then', async () => {
    nodes = await startMesh(['a', 'b'])
    const [a, b] = nodes as [TestNode, TestNode]
    b.subscribe('x')
    await meshed(nodes)
    a.routes.remove(b.name, 'x')
    b.cluster.compareDigests()
    await meshed(nodes)
    assert.equal(await a.metric(`route_resyncs_total{peer="${b.name}"}`), 1)
  })

  it('cannot be verified when the peer does not answer', async (t) => {
    const { a, b, freeze } = await freezablePair(t, { suspectAfter: 10_000, downAfter: 20_000 })
    nodes = [a, b]
    await meshed(nodes)
    freeze()
    assert.deepEqual(
      (await a.cluster.verifyRoutes()).map(({ inStep }) => inStep),
      [false],
    )
  })

  it('of a node with 100,000 of them are at a late joiner well within two seconds of its link', async (context) => {
    const a = new TestNode('a')
    nodes = [a]
    await a.cluster.start()
    for (let number = 0; number < 100_000; number += 1) a.subscribe(`site/${number % 100}/device/${number}/state`)
    const b = new TestNode('b', { seeds: [a.address] })
    nodes.push(b)
    let longestTurn = 0
    // Others may have the processors: that is no time of this node's.
    const clock = (): number => performance.now() - processorWait()
    let turnedAt = clock()
    const watch = setInterval(() => {
      const now = clock()
      longestTurn = Math.max(longestTurn, now - turnedAt)
      turnedAt = now
    }, 1)
    await b.cluster.start()
    await eventually(() => assert.equal(b.logged('link up').length, 1), { every: 2 })
    const begun = clock()
    await eventually(() => assert.equal(b.routes.count(a.name), 100_000), { every: 5, within: 30_000 })
    const took = clock() - begun
    await meshed(nodes)
    clearInterval(watch)
    context.diagnostic(
      `100,000 routes in ${Math.round(took)} ms, longest turn ${Math.round(longestTurn)} ms (both nodes in one process)`,
    )
    assert.equal(took < 2_000, true, `took ${took} ms`)
    assert.equal(longestTurn < 250, true, `the event loop was blocked for ${longestTurn} ms`)
  })
})

it('the groups of a peer that is back in another life stay, without their numbers, until it has told them anew', () => {
  const groups = new GroupRoutes()
  const table = new RouteTable()
  const former = new RouteMirror(OWNER, table, counters(), groups)
  const group = { id: 4, connected: 1, total: 2 }
  const filter = '$share/g/a'
  const change = { filter, withdrawn: false, group }
  const snapshot = { version: 3, first: true, last: true, filters: [] }
  assert.equal(former.hasTold, false)
  former.takeSnapshot({ ...snapshot, groups: [change] })
  assert.equal(former.hasTold, true)
  former.passOn()
  const mirror = new RouteMirror(OWNER, table, counters(), groups)
  assert.deepEqual([mirror.hasTold, mirror.count], [false, 1])
  mirror.open()
  assert.deepEqual(mirror.next(), { $case: 'routeRequest', value: { haveVersion: 0, snapshot: true } })
  mirror.takeSnapshot({ ...snapshot, groups: [] })
  assert.deepEqual([mirror.hasTold, mirror.count], [true, 0])
})

it('a peer that has told nothing has told it when its digest says so', () => {
  const mirror = new RouteMirror(OWNER, new RouteTable(), counters())
  mirror.open()
  assert.equal(mirror.hasTold, false)
  mirror.takeCheck({ version: 0, count: 0, high: 0, low: 0 })
  assert.equal(mirror.hasTold, true)
})
