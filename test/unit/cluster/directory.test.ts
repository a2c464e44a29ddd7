import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { pino } from 'pino'
import { ClientRing } from '../../../src/cluster/directory/client-ring.js'
import { ClientDirectory } from '../../../src/cluster/directory/directory.js'
import type { LinkBody } from '../../../src/cluster/wire.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { TurnQueue } from '../../../src/util/turn.js'
import { eventually } from '../../support/eventually.js'

/** A node of the simulation: its directory, and the epochs of the connections that it has. */
class DirectoryNode {
  readonly connections = new Map<string, number>()
  readonly evictions: [clientId: string, discard: boolean][] = []
  /** Clients whose session is on its way to another node. */
  readonly leaving = new Set<string>()
  mayBeLost = false
  readonly metrics = new MetricRegistry()
  readonly directory: ClientDirectory

  constructor(
    readonly name: string,
    network: Network,
  ) {
    const turns = new TurnQueue({
      onError: (error) => {
        throw error
      },
    })
    this.directory = new ClientDirectory({
      self: name,
      send: (to, body) => network.send(name, to, body),
      isLinked: (to) => !network.isCut(name, to),
      knowsOffers: () => true,
      keepsWills: () => true,
      isExpecting: () => false,
      isSure: () => true,
      isDraining: () => false,
      onAlone() {},
      mayBeLost: () => this.mayBeLost,
      log: pino({ level: 'silent' }),
      sink: {
        evict: (clientId, discard) => {
          this.evictions.push([clientId, discard])
          this.connections.delete(clientId)
          return false
        },
        isLeaving: (clientId) => this.leaving.has(clientId),
        publishWillOf() {},
        voidWill() {},
      },
      turns,
      metrics: this.metrics,
    })
    this.directory.start()
  }

  /** As the broker does: the newest claim of a client ID has the connection. Resolves with false when it was lost. */
  connect(clientId: string, discard = false): Promise<boolean> {
    return new Promise((resolve) => {
      this.directory.claim(clientId, discard, (epoch) => {
        if (epoch !== undefined) this.connections.set(clientId, epoch)
        resolve(epoch !== undefined)
      })
    })
  }

  disconnect(clientId: string): void {
    const epoch = this.connections.get(clientId)
    if (epoch === undefined) return
    this.connections.delete(clientId)
    this.directory.release(clientId, epoch)
  }
}

/** Links that keep the order of each direction, and can be cut: what is under way is lost then. */
class Network {
  readonly nodes: DirectoryNode[]
  private readonly lines = new Map<string, LinkBody[]>()
  private readonly cuts = new Set<string>()
  /** `one>other`: one does not hear the other for a while, although their link stays. */
  private readonly suspicions = new Set<string>()
  /** Nothing arrives by itself: `deliverOne` and `settle` do it. */
  constructor(names: readonly string[]) {
    this.nodes = names.map((name) => new DirectoryNode(name, this))
    for (const node of this.nodes) this.tellPeers(node)
  }

  send(from: string, to: string, body: LinkBody): void {
    if (this.isCut(from, to)) return
    const line = this.lines.get(`${from}>${to}`) ?? []
    this.lines.set(`${from}>${to}`, line)
    line.push(body)
  }

  /** Something that is under way arrives; false when nothing is. */
  deliverOne(choice = 0): boolean {
    const busy = [...this.lines].filter(([, line]) => line.length > 0)
    const [key, line] = busy[choice % Math.max(1, busy.length)] ?? []
    const body = line?.shift()
    if (key === undefined || body === undefined) return false
    const [from = '', to = ''] = key.split('>')
    this.node(to).directory.receive(from, body)
    return true
  }

  /** Everything arrives, also what follows from it in later turns. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 3; quiet += 1) {
      while (this.deliverOne()) quiet = 0
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  cut(one: string, other: string): void {
    this.cuts.add([one, other].sort().join('|'))
    this.lines.delete(`${one}>${other}`)
    this.lines.delete(`${other}>${one}`)
    for (const name of [one, other]) this.tellPeers(this.node(name))
  }

  heal(one: string, other: string): void {
    if (!this.cuts.delete([one, other].sort().join('|'))) return
    this.tellPeers(this.node(one), other)
    this.tellPeers(this.node(other), one)
  }

  /** The link between two nodes is made anew; neither is away for a moment, and what was under way is lost. */
  replaceLink(one: string, other: string): void {
    this.lines.delete(`${one}>${other}`)
    this.lines.delete(`${other}>${one}`)
    this.tellPeers(this.node(one), other)
    this.tellPeers(this.node(other), one)
  }

  suspect(one: string, other: string): void {
    this.suspicions.add(`${one}>${other}`)
    this.tellPeers(this.node(one))
  }

  trust(one: string, other: string): void {
    if (this.suspicions.delete(`${one}>${other}`)) this.tellPeers(this.node(one))
  }

  trustAll(): void {
    for (const suspicion of [...this.suspicions]) {
      const [one = '', other = ''] = suspicion.split('>')
      this.trust(one, other)
    }
  }

  healAll(): void {
    for (const pair of [...this.cuts]) {
      const [one = '', other = ''] = pair.split('|')
      this.heal(one, other)
    }
  }

  node(name: string): DirectoryNode {
    const node = this.nodes.find((one) => one.name === name)
    assert(node !== undefined)
    return node
  }

  holders(clientId: string): string[] {
    return this.nodes.filter(({ connections }) => connections.has(clientId)).map(({ name }) => name)
  }

  stop(): void {
    for (const { directory } of this.nodes) directory.stop()
  }

  isCut(one: string, other: string): boolean {
    return this.cuts.has([one, other].sort().join('|'))
  }

  private tellPeers(node: DirectoryNode, returned?: string): void {
    const peers = this.nodes
      .map(({ name }) => name)
      .filter(
        (name) => name !== node.name && !this.isCut(node.name, name) && !this.suspicions.has(`${node.name}>${name}`),
      )
    node.directory.setPeers(peers, returned)
  }
}

const NAMES = ['n1@a', 'n2@b', 'n3@c']

/** A client ID whose ring node is this one. */
function clientOf(ringNode: string): string {
  const ring = new ClientRing(ringNode, NAMES)
  for (let number = 0; ; number += 1) if (ring.nodeOf(`c${number}`) === ringNode) return `c${number}`
}

describe('the ring', () => {
  it('is the same on every node, whatever order they learned of each other in', () => {
    const rings = [NAMES, [...NAMES].reverse()].map((names, index) => new ClientRing(NAMES[index] ?? '', names))
    for (let number = 0; number < 1_000; number += 1) {
      assert.equal(rings[0]?.nodeOf(`c${number}`), rings[1]?.nodeOf(`c${number}`))
    }
  })

  it('gives each node a fair share, and moves only what it must when a node goes', () => {
    const [whole, smaller] = [new ClientRing('n1@a', NAMES), new ClientRing('n1@a', NAMES.slice(0, 2))]
    const shares = new Map<string, number>()
    for (let number = 0; number < 30_000; number += 1) {
      const node = whole.nodeOf(`c${number}`)
      shares.set(node, (shares.get(node) ?? 0) + 1)
      if (node !== 'n3@c') assert.equal(smaller.nodeOf(`c${number}`), node)
    }
    for (const name of NAMES) assert.ok((shares.get(name) ?? 0) > 6_000, `${name}: ${shares.get(name)}`)
  })

  it('has a place for client IDs with the names of object properties', () => {
    const ring = new ClientRing('n1@a', NAMES)
    for (const clientId of ['__proto__', 'constructor', 'toString', '']) {
      assert.ok(NAMES.includes(ring.nodeOf(clientId)))
      assert.equal(ring.nodeOf(clientId), ring.nodeOf(clientId))
    }
    assert.equal('before' in Object, false, 'and nothing of it sticks to Object')
  })
})

describe('the client directory', () => {
  it('answers at once without peers', async (t) => {
    const network = new Network(['n1@a'])
    t.after(() => network.stop())
    let epoch: number | undefined
    network.node('n1@a').directory.claim('c', false, (given) => {
      epoch = given
    })
    assert.ok(Number(epoch) > 0)
  })

  for (const ringNode of NAMES) {
    it(`closes the connection on another node before the new one is let in, with ${ringNode} as ring node`, async (t) => {
      const network = new Network(NAMES)
      t.after(() => network.stop())
      const clientId = clientOf(ringNode)
      const first = network.node('n1@a').connect(clientId)
      await network.settle()
      assert.equal(await first, true)
      const second = network
        .node('n2@b')
        .connect(clientId)
        .then((isIn) => {
          assert.deepEqual(network.holders(clientId), ['n2@b'])
          return isIn
        })
      await network.settle()
      assert.equal(await second, true)
    })
  }

  for (const lost of ['the claim', 'its answer']) {
    it(`asks again on a link that is made anew: ${lost} may have been lost with the one before`, async (t) => {
      const network = new Network(NAMES)
      t.after(() => network.stop())
      const clientId = clientOf('n3@c')
      const first = network.node('n1@a').connect(clientId)
      await network.settle()
      assert.equal(await first, true)
      void network.node('n2@b').connect(clientId)
      // The claim, the eviction, and what the holder says to it.
      if (lost !== 'the claim') for (let step = 0; step < 3; step += 1) network.deliverOne()
      network.replaceLink('n2@b', 'n3@c')
      await network.settle()
      assert.deepEqual(network.holders(clientId), ['n2@b'], 'it does not wait until it decides alone')
      network.node('n2@b').disconnect(clientId)
      await network.settle()
      assert.match(await network.node('n3@c').metrics.scrape(), /directory_entries 0\n/)
    })
  }

  it('gives a session that a node offers to the node that takes it, unless its client has come somewhere meanwhile', async (t) => {
    const network = new Network(NAMES)
    t.after(() => network.stop())
    const adopt = (name: string, clientId: string, from: string): Promise<boolean> =>
      new Promise((resolve) => {
        network.node(name).directory.claim(clientId, false, (epoch) => resolve(epoch !== undefined), {
          onlyFrom: from,
        })
      })
    for (const ringNode of NAMES) {
      const clientId = clientOf(ringNode)
      const claims: Promise<boolean>[] = [network.node('n1@a').connect(clientId)]
      await network.settle()
      claims.push(adopt('n2@b', clientId, 'n1@a'))
      await network.settle()
      assert.deepEqual(network.holders(clientId), [], 'it is no connection')
      claims.push(network.node('n3@c').connect(clientId))
      await network.settle()
      // Too late, and from a node that has nothing of it.
      claims.push(adopt('n2@b', clientId, 'n1@a'), adopt('n1@a', 'never-seen', 'n2@b'))
      await network.settle()
      assert.deepEqual(await Promise.all(claims), [true, true, true, false, false], ringNode)
      assert.deepEqual(network.holders(clientId), ['n3@c'], 'its client stays where it is')
      network.node('n3@c').disconnect(clientId)
      await network.settle()
    }
  })

  it('has a new ring node wait for what the others hold before it gives a client ID out', async (t) => {
    const network = new Network(NAMES)
    t.after(() => network.stop())
    const smaller = new ClientRing('n1@a', ['n1@a', 'n2@b'])
    const whole = new ClientRing('n1@a', NAMES)
    const clientId = Array.from({ length: 1_000 }, (_, number) => `c${number}`).find(
      (name) => whole.nodeOf(name) === 'n3@c' && smaller.nodeOf(name) === 'n2@b',
    )
    assert(clientId !== undefined)
    await network.settle()
    const first = network.node('n1@a').connect(clientId)
    await network.settle()
    assert.equal(await first, true)
    for (const other of ['n1@a', 'n2@b']) network.cut(other, 'n3@c')
    // Nobody has told the new ring node anything yet.
    const second = network
      .node('n2@b')
      .connect(clientId)
      .then((isIn) => {
        assert.deepEqual(network.holders(clientId), ['n2@b'], 'the connection before it is closed first')
        return isIn
      })
    await network.settle()
    assert.equal(await second, true)
  })

  it('lets the last one have a client ID that comes to all nodes at once, and tells the others', async (t) => {
    const network = new Network(NAMES)
    t.after(() => network.stop())
    const attempts = NAMES.map((name) => network.node(name).connect('everywhere'))
    await network.settle()
    const isIn = await Promise.all(attempts)
    assert.equal(network.holders('everywhere').length, 1)
    assert.ok(isIn.includes(true))
  })

  it('ends no session that turns up while its client is on its way in, until it is in without it', async (t) => {
    const network = new Network(NAMES)
    t.after(() => network.stop())
    await network.settle()
    const [first, , third] = network.nodes as [DirectoryNode, DirectoryNode, DirectoryNode]
    const clientId = clientOf('n2@b')
    first.mayBeLost = true
    const connected = first.connect(clientId)
    await network.settle()
    assert.equal(await connected, true)
    third.directory.restore(clientId, 1)
    await network.settle()
    assert.deepEqual(third.evictions, [[clientId, false]])
    first.directory.settle(clientId, first.connections.get(clientId) ?? 0)
    third.directory.restore(clientId, 1)
    await network.settle()
    assert.deepEqual(third.evictions.at(-1), [clientId, true])
    assert.deepEqual(network.holders(clientId), [first.name])
  })

  for (const [outcome, isHeirs] of [
    ['finds that its session is lost', true],
    ['lets its client in', false],
    ['is gone', true],
  ] as const) {
    it(`has an heir wait for a node that may have to give way to it, which ${outcome}: one of the two has the client`, async (t) => {
      const network = new Network(NAMES)
      t.after(() => network.stop())
      await network.settle()
      const [heir, , other] = network.nodes as [DirectoryNode, DirectoryNode, DirectoryNode]
      const clientId = clientOf('n2@b')
      other.mayBeLost = true
      const connected = other.connect(clientId)
      await network.settle()
      assert.equal(await connected, true)
      let given: number | undefined | 'nothing' = 'nothing'
      // Of a node that is down.
      const inherited = { onlyFrom: 'n4@d', inheritedEpoch: 1 }
      heir.directory.claim(
        clientId,
        false,
        (epoch) => {
          given = epoch
        },
        inherited,
      )
      await network.settle()
      assert.equal(given, 'nothing')
      assert.deepEqual(other.evictions, [], 'who may give way is not closed')
      const epoch = other.connections.get(clientId) ?? 0
      if (outcome === 'lets its client in') other.directory.settle(clientId, epoch)
      else if (outcome === 'is gone') for (const name of ['n1@a', 'n2@b']) network.cut(other.name, name)
      else other.disconnect(clientId)
      await eventually(async () => {
        await network.settle()
        assert.notEqual(given, 'nothing')
      })
      assert.equal(given !== undefined, isHeirs)
      if (outcome === 'is gone') return
      assert.deepEqual(network.holders(clientId), isHeirs ? [] : [other.name])
      // Who gave way comes again, and hears where its session is; the heir, that its client has come.
      if (!isHeirs) return
      const holder = new Promise((resolve) => other.directory.claim(clientId, false, (_, node) => resolve(node)))
      await network.settle()
      await holder
      assert.deepEqual(heir.evictions, [[clientId, false]])
    })
  }

  it('ends no session that its client is in with already while the rest of it is on its way there', async (t) => {
    const network = new Network(NAMES)
    t.after(() => network.stop())
    await network.settle()
    const [first, , third] = network.nodes as [DirectoryNode, DirectoryNode, DirectoryNode]
    const clientId = clientOf('n2@b')
    const connected = first.connect(clientId)
    await network.settle()
    assert.equal(await connected, true)
    first.directory.settle(clientId, first.connections.get(clientId) ?? 0)
    third.leaving.add(clientId)
    third.directory.restore(clientId, 0)
    await network.settle()
    assert.deepEqual(third.evictions, [])
    third.leaving.delete(clientId)
    third.directory.keep(clientId)
    third.directory.restore(clientId, 0)
    await network.settle()
    assert.deepEqual(
      third.evictions,
      [[clientId, true]],
      'the move has come to nothing, and what is left is out of date',
    )
  })

  it('forgets a client that is gone', async (t) => {
    const network = new Network(NAMES)
    t.after(() => network.stop())
    const connected = network.node('n1@a').connect(clientOf('n2@b'))
    await network.settle()
    await connected
    const entries = async (): Promise<string | undefined> =>
      (await network.node('n2@b').metrics.scrape()).match(/^shoalmq_directory_entries (\d+)/m)?.[1]
    assert.equal(await entries(), '1')
    network.node('n1@a').disconnect(clientOf('n2@b'))
    await network.settle()
    assert.equal(await entries(), '0')
  })

  it('does not wait for a holder that is silent, and decides alone when the ring node is', async (t) => {
    const network = new Network(NAMES)
    t.after(() => network.stop())
    const clientId = clientOf('n3@c')
    const first = network.node('n1@a').connect(clientId)
    await network.settle()
    await first
    // From here on nothing arrives anywhere, and nobody has noticed.
    const started = performance.now()
    assert.equal(await network.node('n2@b').connect(clientId), true)
    assert.ok(performance.now() - started < 4_500)
    // Everything arrives in the end, and the later connection stays.
    await eventually(async () => {
      await network.settle()
      assert.deepEqual(network.holders(clientId), ['n2@b'])
    })
  })

  for (const when of ['before it is asked', 'while it is asked']) {
    it(`says who has a session although its ring node hears that node no more, ${when}: the one that asks may`, async (t) => {
      const network = new Network(NAMES)
      t.after(() => network.stop())
      const clientId = clientOf('n1@a')
      const first = network.node('n3@c').connect(clientId)
      await network.settle()
      await first
      if (when === 'before it is asked') network.suspect('n1@a', 'n3@c')
      const holder = new Promise((resolve) => {
        network.node('n2@b').directory.claim(clientId, false, (_epoch, has) => resolve(has))
      })
      // To the ring node, and no further.
      network.deliverOne()
      if (when === 'while it is asked') network.suspect('n1@a', 'n3@c')
      await network.settle()
      assert.equal(await holder, 'n3@c')
    })
  }

  it('goes on with the successor when the ring node goes while it is asked', async (t) => {
    const network = new Network(NAMES)
    t.after(() => network.stop())
    const clientId = clientOf('n3@c')
    const attempt = network.node('n1@a').connect(clientId)
    network.cut('n1@a', 'n3@c')
    network.cut('n2@b', 'n3@c')
    await network.settle()
    assert.equal(await attempt, true)
    const moved = network.node('n2@b').connect(clientId)
    await network.settle()
    assert.equal(await moved, true)
    assert.deepEqual(network.holders(clientId), ['n2@b'])
  })

  it('closes the older of two connections after a split has healed', async (t) => {
    const network = new Network(NAMES)
    t.after(() => network.stop())
    network.cut('n1@a', 'n2@b')
    network.cut('n1@a', 'n3@c')
    const older = network.node('n1@a').connect('both')
    await network.settle()
    assert.equal(await older, true)
    // An epoch is a time in milliseconds at its coarsest.
    await eventually(() => assert.equal(Date.now() * 1024 > (network.node('n1@a').connections.get('both') ?? 0), true))
    const newer = network.node('n2@b').connect('both')
    await network.settle()
    assert.equal(await newer, true)
    assert.deepEqual(network.holders('both'), ['n1@a', 'n2@b'])
    network.healAll()
    await network.settle()
    assert.deepEqual(network.holders('both'), ['n2@b'])
  })

  it('remembers the clients of a node that was suspect for a while, and closes those that have come elsewhere', async (t) => {
    const network = new Network(NAMES)
    t.after(() => network.stop())
    const clientId = clientOf('n1@a')
    const before = network.node('n2@b').connect(clientId)
    await network.settle()
    assert.equal(await before, true)
    // Only the ring node suspects the one that has the client; that one notices nothing.
    network.suspect('n1@a', 'n2@b')
    await network.settle()
    network.trust('n1@a', 'n2@b')
    await network.settle()
    const after = network.node('n3@c').connect(clientId)
    await network.settle()
    assert.equal(await after, true)
    assert.deepEqual(network.holders(clientId), ['n3@c'])
    // And while it is suspect.
    network.suspect('n1@a', 'n3@c')
    const last = network.node('n2@b').connect(clientId)
    await network.settle()
    assert.equal(await last, true)
    network.trust('n1@a', 'n3@c')
    await network.settle()
    assert.deepEqual(network.holders(clientId), ['n2@b'])
  })

  it('has one connection per client ID whenever all is connected and quiet, whatever came before', async () => {
    const node = fc.constantFrom(...NAMES)
    const clientId = fc.constantFrom('a', 'b', '__proto__')
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ kind: fc.constant('connect' as const), node, clientId }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('disconnect' as const), node, clientId }) },
      { weight: 8, arbitrary: fc.record({ kind: fc.constant('deliver' as const), choice: fc.nat(8) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('cut' as const), one: node, other: node }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('heal' as const), one: node, other: node }) },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constantFrom('suspect' as const, 'trust' as const), one: node, other: node }),
      },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('turn' as const) }) },
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async (steps) => {
        const network = new Network(NAMES)
        try {
          const attempts: Promise<boolean>[] = []
          for (const one of steps) {
            if (one.kind === 'connect') attempts.push(network.node(one.node).connect(one.clientId))
            else if (one.kind === 'disconnect') network.node(one.node).disconnect(one.clientId)
            else if (one.kind === 'deliver') network.deliverOne(one.choice)
            else if (one.kind === 'cut' && one.one !== one.other) network.cut(one.one, one.other)
            else if (one.kind === 'heal') network.heal(one.one, one.other)
            else if (one.kind === 'suspect' && one.one !== one.other) network.suspect(one.one, one.other)
            else if (one.kind === 'trust') network.trust(one.one, one.other)
            else await new Promise((resolve) => setImmediate(resolve))
          }
          network.trustAll()
          network.healAll()
          await network.settle()
          // Nobody hangs: each attempt is decided, some only when their time is up, which the others then hear of.
          await Promise.all(attempts)
          await network.settle()
          for (const id of ['a', 'b', '__proto__'])
            assert.ok(network.holders(id).length <= 1, `${id}: ${network.holders(id)}`)
          // And the next one is let in, alone.
          const last = network.node('n1@a').connect('a')
          await network.settle()
          assert.equal(await last, true)
          assert.deepEqual(network.holders('a'), ['n1@a'])
        } finally {
          network.stop()
        }
      }),
      { numRuns: 1_000 },
    )
  })
})
