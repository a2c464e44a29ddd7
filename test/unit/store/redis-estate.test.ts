import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { after, before, describe, it, type TestContext } from 'node:test'
import type { Estate, Inheritance, NodeLife } from '../../../src/broker/estate-port.js'
import { RENEW, type Script } from '../../../src/store/redis/estate-scripts.js'
import { TestShelf, TestTable, untilReleased } from '../../contract/store.js'
import { eventually } from '../../support/eventually.js'
import { RedisServer } from '../../support/redis.js'
import { RedisCluster } from '../../support/redis-cluster.js'
import { openRedis, type RedisLife } from './redis-bed.js'

let single: RedisServer
let cluster: RedisCluster

before(async () => {
  ;[single, cluster] = await Promise.all([RedisServer.start(), RedisCluster.start()])
})

after(() => Promise.all([single, cluster].map((each) => each.stop())))

const NOBODY = (): boolean => false
const EVERYBODY = (): boolean => true

/** A node with the parts of sessions; the other tables are its own. */
class SessionNode {
  readonly sessions = new TestTable()
  readonly others = new TestTable()
  readonly messages: TestShelf
  readonly change: { session(key: string): void; other(key: string): void }

  private constructor(
    readonly life: RedisLife,
    readonly identity: NodeLife,
  ) {
    const sessions = life.store.table('sessions', this.sessions)
    const others = life.store.table('map.retained', this.others)
    this.change = {
      session: (key) => sessions.changed(key, undefined),
      other: (key) => others.changed(key, undefined),
    }
    this.messages = new TestShelf({ store: renamed(life), load: life.load, stop: life.stop })
  }

  static async open(values: object, node: string, incarnation: number): Promise<SessionNode> {
    const open = new SessionNode(await openRedis(values, { name: node, incarnation }), { node, incarnation })
    await open.life.load()
    return open
  }

  /** A session, a message of it, and something that is not of sessions. */
  async keep(clientId: string, number: number): Promise<void> {
    this.sessions.entries.set(clientId, Buffer.from(`session of ${clientId}`))
    this.change.session(clientId)
    this.others.entries.set(clientId, Buffer.from('x'))
    this.change.other(clientId)
    await untilReleased(this.messages.set(number, `for ${clientId}`))
  }
}

/** `TestShelf` has a name of its own for what is a shelf of sessions here. */
function renamed({ store }: RedisLife): RedisLife['store'] {
  return new Proxy(store, {
    get: (target, name) =>
      name === 'shelf'
        ? (_: string, contents: TestShelf) => target.shelf('session-messages', contents)
        : Reflect.get(target, name, target),
  })
}

/** The way to Redis, which breaks when Redis has run a script, before its answer is there. */
class BreakingWay {
  private isOnItsWay = false
  breaks = 0
  private readonly server: Server

  constructor(port: number, { text, sha }: Script) {
    this.server = createServer((near) => {
      const far = connect(port, '127.0.0.1')
      for (const socket of [near, far]) {
        socket.on('error', () => undefined)
        socket.on('close', () => [near, far].map((each) => each.destroy()))
      }
      near.on('data', (bytes) => {
        this.isOnItsWay ||= this.breaks === 0 && (bytes.includes(text) || bytes.includes(sha))
        far.write(bytes)
      })
      far.on('data', (bytes) => {
        // Redis asks for the text of a script that it does not know yet.
        const isDone = this.isOnItsWay && !bytes.includes('NOSCRIPT')
        this.isOnItsWay = false
        if (isDone) {
          this.breaks += 1
          near.resetAndDestroy()
        } else near.write(bytes)
      })
    })
  }

  async open(t: TestContext): Promise<string> {
    await new Promise<void>((done) => this.server.listen(0, '127.0.0.1', done))
    t.after(() => this.server.close())
    return `redis://127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }
}

/** What a node takes of one that gives no sign of life. */
async function take({ life }: SessionNode, dead: SessionNode, isGone: () => boolean): Promise<Inheritance> {
  return life.store.inherit(dead.identity, isGone, await life.store.pulse(dead.identity.node))
}

async function contentOf(estate: Estate): Promise<[sessions: string[], messages: [number, string][]]> {
  const sessions: string[] = []
  for await (const [clientId, value] of estate.table('sessions')) sessions.push(`${clientId}: ${value}`)
  const messages: [number, string][] = []
  for await (const [number, value] of estate.shelf('session-messages')) messages.push([number, value.toString()])
  return [sessions.sort(), messages.sort(([a], [b]) => a - b)]
}

describe('what a node leaves in Redis, on a way that breaks', () => {
  it('ends what the node has, which goes on in a further life, also when it did not hear that it may', async (t) => {
    const way = new BreakingWay(Number(new URL(single.url).port), RENEW)
    const url = await way.open(t)
    const cut = await SessionNode.open({ url }, `${randomUUID()}@127.0.0.1`, 5)
    const heir = await SessionNode.open({ url: single.url }, `${randomUUID()}@127.0.0.1`, 7)
    for (const { life } of [cut, heir]) t.after(() => life.stop())
    await cut.keep('client', 1)
    await take(heir, cut, NOBODY)
    const late = cut.messages.set(2, 'too late')
    await untilReleased(late)
    assert.deepEqual([late.isRefused, way.breaks], [true, 1])
    await eventually(async () => {
      const hold = cut.messages.set(3, 'of the next life')
      await untilReleased(hold)
      assert.equal(hold.isRefused, false)
    })
    assert.deepEqual([cut.life.metrics.failures.adopted.value, cut.life.metrics.failures.fenced.value], [1, 0])
    assert.equal(cut.life.log.filter(({ msg }) => msg.includes('has taken this one for dead')).length, 1)
  })
})

for (const [name, values] of [
  ['single', () => ({ url: single.url })],
  ['Cluster', () => cluster.options],
] as const) {
  describe(`what a node leaves in Redis (${name})`, () => {
    const newName = (): string => `${randomUUID()}@127.0.0.1`

    it('goes to one heir in one step, with all of its sessions and nothing else', async (t) => {
      const dead = await SessionNode.open(values(), newName(), 5)
      const [heir, rival] = [
        await SessionNode.open(values(), newName(), 7),
        await SessionNode.open(values(), newName(), 8),
      ]
      for (const { life } of [dead, heir, rival]) t.after(() => life.stop())
      for (let number = 1; number <= 3; number += 1) await dead.keep(`client ${number}`, number)
      assert.equal(await heir.life.store.findSession(dead.identity.node, 'client 1'), 'kept')
      assert.equal(await heir.life.store.isSettled(dead.identity), false)
      const taken = await Promise.all(
        [heir, rival].map((each) => take(each, dead, NOBODY).then(({ estates }) => estates)),
      )
      assert.equal(taken.flat().length, 1)
      const estate = taken.flat()[0] as Estate
      assert.deepEqual(await contentOf(estate), [
        ['client 1: session of client 1', 'client 2: session of client 2', 'client 3: session of client 3'],
        [
          [1, 'for client 1'],
          [2, 'for client 2'],
          [3, 'for client 3'],
        ],
      ])
      assert.equal(await heir.life.store.findSession(dead.identity.node, 'client 1'), 'left')
      assert.equal(await estate.remove(['client 1']), true)
      assert.equal(await heir.life.store.findSession(dead.identity.node, 'client 1'), undefined)
      assert.equal(await rival.life.store.isSettled(dead.identity), false)
      await estate.close()
      assert.equal(await rival.life.store.isSettled(dead.identity), true)
      await dead.life.stop()
      // A later life has what is not of sessions.
      const next = await SessionNode.open(values(), dead.identity.node, 6)
      t.after(() => next.life.stop())
      assert.deepEqual([next.sessions.content(), next.messages.restored], [[], []])
      assert.equal(next.others.content().length, 3)
    })

    it('is waited for by a later life of the node, until the heir has it', async (t) => {
      const dead = await SessionNode.open(values(), newName(), 5)
      const heir = await SessionNode.open(values(), newName(), 7)
      for (const { life } of [dead, heir]) t.after(() => life.stop())
      await dead.keep('client', 1)
      const { estates } = await take(heir, dead, NOBODY)
      let isOpen = false
      const next = SessionNode.open(values(), dead.identity.node, 6).then((node) => {
        isOpen = true
        return node
      })
      await eventually(async () => {
        const state = await take(heir, dead, NOBODY)
        assert.equal(state.estates.length, 1)
        // The later life has taken its keys, and goes no further.
        assert.equal(await heir.life.store.isSettled({ node: dead.identity.node, incarnation: 5 }), false)
      })
      assert.equal(isOpen, false)
      await estates[0]?.close()
      await (await next).life.stop()
    })

    it('is not taken from a node that has come back', async (t) => {
      const dead = await SessionNode.open(values(), newName(), 5)
      const heir = await SessionNode.open(values(), newName(), 7)
      await dead.keep('client', 1)
      const pulse = await heir.life.store.pulse(dead.identity.node)
      const back = await SessionNode.open(values(), dead.identity.node, 6)
      for (const { life } of [dead, heir, back]) t.after(() => life.stop())
      // What it is owed is for it, although nobody has heard of the later life yet.
      const nothing = { estates: [], hasMore: true, last: 6 }
      assert.deepEqual(await heir.life.store.inherit(dead.identity, EVERYBODY, pulse), nothing)
      assert.deepEqual(back.sessions.content(), [['client', 'session of client']])
      await back.keep('another', 2)
      // Nor of its end.
      const { estates, last } = await take(heir, dead, EVERYBODY)
      assert.deepEqual([estates.length, last], [1, 6])
      assert.equal((await contentOf(estates[0] as Estate))[0].length, 2)
    })

    it('ends what a node has that was only cut off, which goes on in a further life', async (t) => {
      const cut = await SessionNode.open(values(), newName(), 5)
      const heir = await SessionNode.open(values(), newName(), 7)
      for (const { life } of [cut, heir]) t.after(() => life.stop())
      await cut.keep('client', 1)
      const { estates } = await take(heir, cut, NOBODY)
      const late = cut.messages.set(2, 'too late')
      await untilReleased(late)
      assert.equal(late.isRefused, true)
      assert.equal(cut.life.metrics.failures.adopted.value, 1)
      assert.equal(cut.life.log.filter(({ msg }) => msg.includes('has taken this one for dead')).length, 1)
      // What comes from then on is kept, and is not the heir's.
      await eventually(async () => {
        const hold = cut.messages.set(3, 'of the next life')
        await untilReleased(hold)
        assert.equal(hold.isRefused, false)
      })
      assert.equal(cut.life.store.isFailing, false)
      assert.deepEqual((await contentOf(estates[0] as Estate))[1], [[1, 'for client']])
      // Found down again, it has another estate.
      const again = await take(heir, cut, NOBODY)
      assert.equal(again.estates.length, 2)
    })

    it('is not taken while the node gives signs of life', async (t) => {
      const cut = await SessionNode.open(values(), newName(), 5)
      const heir = await SessionNode.open(values(), newName(), 7)
      for (const { life } of [cut, heir]) t.after(() => life.stop())
      await cut.keep('client', 1)
      const pulse = await heir.life.store.pulse(cut.identity.node)
      assert.equal(await cut.life.store.beat(), true)
      assert.notEqual(await heir.life.store.pulse(cut.identity.node), pulse)
      assert.deepEqual(await heir.life.store.inherit(cut.identity, EVERYBODY, pulse), {
        estates: [],
        hasMore: true,
        last: 5,
      })
      await cut.keep('another', 2)
      // Without one it is; then it hears so before it has written anything.
      assert.equal((await take(heir, cut, EVERYBODY)).estates.length, 1)
      assert.equal(await cut.life.store.beat(), false)
      await eventually(() => assert.equal(cut.life.metrics.failures.adopted.value, 1))
      await eventually(async () => assert.equal(await cut.life.store.beat(), true))
    })

    it('goes on to the next heir when the first is down, once what that one has had is taken', async (t) => {
      const dead = await SessionNode.open(values(), newName(), 5)
      const first = await SessionNode.open(values(), newName(), 7)
      const second = await SessionNode.open(values(), newName(), 8)
      for (const { life } of [dead, first, second]) t.after(() => life.stop())
      await dead.keep('client', 1)
      await first.keep('own', 1)
      const { estates } = await take(first, dead, NOBODY)
      assert.deepEqual(await take(second, dead, NOBODY), { estates: [], hasMore: true, last: 5 })
      assert.deepEqual(await take(second, dead, EVERYBODY), { estates: [], hasMore: true, last: 5 })
      const own = await take(second, first, EVERYBODY)
      await own.estates[0]?.close()
      const passedOn = await take(second, dead, EVERYBODY)
      assert.deepEqual([passedOn.estates.length, passedOn.hasMore], [1, false])
      assert.equal(await estates[0]?.remove(['client']), false)
      assert.deepEqual(await contentOf(passedOn.estates[0] as Estate), [
        ['client: session of client'],
        [[1, 'for client']],
      ])
    })

    it('says who gives on what a life has owed, whoever asks first, before it is taken and after, until it is closed', async (t) => {
      const dead = await SessionNode.open(values(), newName(), 5)
      const heir = await SessionNode.open(values(), newName(), 7)
      for (const { life } of [dead, heir]) t.after(() => life.stop())
      await dead.keep('client', 1)
      const { store } = heir.life
      const [before] = await store.kept(dead.identity.node)
      assert.equal(before?.isLeft, false)
      assert.equal(await before?.claimDebts('n3@c', 'debtor', 0), undefined)
      assert.deepEqual(await before?.claimDebts('n3@c', 'receiver', 7), { by: 'receiver', upTo: 7 })
      const { estates } = await take(heir, dead, NOBODY)
      const [estate] = estates
      // Whoever has read it before the take, and asks behind it.
      assert.deepEqual(await before?.claimDebts('n3@c', 'debtor', 9), { by: 'receiver', upTo: 7 })
      assert.deepEqual(await estate?.claimDebts('n3@c', 'debtor', 9), { by: 'receiver', upTo: 7 })
      assert.deepEqual(await estate?.claimDebts('n4@d', 'debtor', 9), { by: 'debtor', upTo: 9 })
      const [left] = await store.kept(dead.identity.node)
      assert.deepEqual([left?.name, left?.isLeft], [before?.name, true])
      assert.deepEqual(await left?.claimDebts('n4@d', 'receiver', 9), { by: 'debtor', upTo: 9 })
      assert.deepEqual(await left?.claimDebts('n4@d', 'debtor', 11), { by: 'debtor', upTo: 11 })
      await estate?.close()
      assert.equal(await left?.claimDebts('n4@d', 'debtor', 12), undefined)
      assert.deepEqual(await store.kept(dead.identity.node), [])
    })
  })
}
