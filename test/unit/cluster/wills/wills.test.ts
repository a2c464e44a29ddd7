import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { pino } from 'pino'
import type { KeptWill } from '../../../../src/broker/ports.js'
import { DueWills } from '../../../../src/cluster/wills/due-wills.js'
import { createWillMetrics } from '../../../../src/cluster/wills/metrics.js'
import { WillCopies } from '../../../../src/cluster/wills/will-copies.js'
import { WillKeeper } from '../../../../src/cluster/wills/will-keeper.js'
import type { LinkBody } from '../../../../src/cluster/wire.js'
import { MetricRegistry } from '../../../../src/telemetry/registry.js'

const OWNER = 'n1@a'
const KEEPERS = ['n2@b', 'n3@c']
const LIFE = 7

function will(fields: Partial<KeptWill> = {}): KeptWill {
  const { delay = 0 } = fields
  return {
    will: {
      topic: 'gone',
      payload: Buffer.from('x'),
      qos: 1,
      retain: false,
      delayInterval: delay / 1000,
      properties: {},
    },
    delay,
    isLost: false,
    ...fields,
  }
}

/** A node that has clients with wills, and two that keep copies of them; what is said arrives at once. */
class Room {
  readonly published: string[] = []
  readonly there = new Set([OWNER, ...KEEPERS, 'n4@d'])
  readonly elsewhere = new Set<string>()
  /** What the owner was told to be void. */
  readonly voided: string[] = []
  keepersNow: readonly string[] = KEEPERS
  /** The owner lets its clients go. */
  isLeaving = false
  /** What is said to the owner is lost. */
  isDeaf = false
  readonly copies: WillCopies
  readonly uncopied: () => number
  private readonly keepers = new Map<string, WillKeeper>()

  constructor() {
    const ownerMetrics = createWillMetrics(new MetricRegistry(), () => 0)
    this.uncopied = () => ownerMetrics.uncopied.value
    for (const name of [...KEEPERS, 'n4@d']) {
      const keeper: WillKeeper = new WillKeeper({
        self: name,
        send: (to, body) => this.deliver(name, to, body),
        isThere: (node) => this.there.has(node),
        isElsewhere: (clientId) => this.elsewhere.has(clientId),
        publish: (clientId) => this.published.push(`${clientId} by ${name}`),
        metrics: createWillMetrics(new MetricRegistry(), () => keeper.size),
        log: pino({ level: 'silent' }),
      })
      keeper.nodeUp(OWNER, LIFE)
      this.keepers.set(name, keeper)
    }
    this.copies = new WillCopies({
      send: (to, body) => this.deliver(OWNER, to, body),
      keepersOf: () => this.keepersNow,
      isLeaving: () => this.isLeaving,
      metrics: ownerMetrics,
    })
  }

  keeper(name: string): WillKeeper {
    const keeper = this.keepers.get(name)
    assert(keeper !== undefined)
    return keeper
  }

  /** The owner is gone, and so many milliseconds pass. */
  ownerDown(milliseconds = 0): void {
    this.there.delete(OWNER)
    for (const keeper of this.keepers.values()) keeper.nodeGone(OWNER)
    this.pass(milliseconds)
  }

  pass(milliseconds: number): void {
    for (const [name, keeper] of this.keepers) {
      if (this.there.has(name)) keeper.checkTime(performance.now() + milliseconds)
    }
  }

  ownerUp(incarnation: number): void {
    this.there.add(OWNER)
    for (const keeper of this.keepers.values()) keeper.nodeUp(OWNER, incarnation)
  }

  private deliver(from: string, to: string, body: LinkBody): void {
    if (!this.there.has(to) && to !== OWNER) return
    if (body.$case === 'willCopies') this.keeper(to).copied(from, body.value)
    if (body.$case !== 'willsVoid') return
    if (to !== OWNER) this.keeper(to).voided(from, body.value)
    else if (!this.isDeaf) {
      for (const { clientId, epoch } of body.value.wills)
        if (this.copies.voided(clientId, epoch)) this.voided.push(clientId)
    }
  }
}

describe('wills that nodes keep for each other', () => {
  it('publishes what is left when their node is down, each by the first of its keepers, and once', () => {
    const room = new Room()
    room.copies.keep('c', 1, will())
    room.copies.keep('dropped', 1, will())
    room.copies.drop('dropped')
    room.pass(60_000)
    assert.deepEqual(room.published, [], 'the node is there')
    room.ownerDown()
    room.pass(60_000)
    assert.deepEqual(room.published, ['c by n2@b'])
  })

  it('publishes by the next keeper when the first is gone, be it after the node', () => {
    const room = new Room()
    room.copies.keep('c', 1, will({ delay: 5_000 }))
    room.ownerDown(4_000)
    room.there.delete('n2@b')
    assert.deepEqual(room.published, [])
    room.pass(5_100)
    assert.deepEqual(room.published, ['c by n3@c'])
  })

  it('counts the delay of a client that is away from when it went', () => {
    const room = new Room()
    room.copies.keep('away', 1, will({ delay: 5_000, isLost: true }))
    room.ownerDown(4_000)
    assert.deepEqual(room.published, [])
    room.pass(5_100)
    assert.deepEqual(room.published, ['away by n2@b'])
  })

  it('cancels a will whose client comes to another node within the delay; one without is due before the client is in', () => {
    const room = new Room()
    room.copies.keep('in-time', 1, will({ delay: 5_000 }))
    room.copies.keep('at-once', 1, will())
    room.copies.keep('begins-anew', 1, will({ delay: 5_000 }))
    for (const clientId of ['in-time', 'at-once']) room.keeper('n2@b').clientCame('n3@c', clientId, false)
    assert.deepEqual(room.published, [], 'their node is there and sees to it')
    room.there.delete(OWNER)
    for (const clientId of ['in-time', 'at-once']) room.keeper('n2@b').clientCame('n3@c', clientId, false)
    room.keeper('n2@b').clientCame('n3@c', 'begins-anew', true)
    assert.deepEqual(room.published, ['at-once by n2@b', 'begins-anew by n2@b'])
    room.ownerDown(60_000)
    assert.equal(room.published.length, 2)
  })

  it('does not publish for a client that is known to be elsewhere', () => {
    const room = new Room()
    room.copies.keep('c', 1, will())
    room.elsewhere.add('c')
    room.ownerDown(60_000)
    assert.deepEqual(room.published, [])
  })

  it('tells a node that was only cut off what has been published for it, and takes its wills anew', () => {
    const room = new Room()
    room.copies.keep('c', 1, will())
    room.copies.keep('slow', 1, will({ delay: 90_000 }))
    room.ownerDown(1_000)
    assert.deepEqual(room.published, ['c by n2@b'])
    room.ownerUp(LIFE)
    assert.deepEqual(room.voided, ['c'])
    room.copies.keep('c', 2, will())
    room.ownerUp(LIFE)
    assert.deepEqual(room.voided, ['c'], 'what it says again is of the connection before')
    room.copies.drop('c')
    for (const keeper of KEEPERS) for (const _step of room.copies.announce(keeper));
    room.pass(100_000)
    assert.deepEqual(room.published, ['c by n2@b'], 'it sees to its wills itself again')
    room.ownerDown(100_000)
    assert.deepEqual(room.published, ['c by n2@b', 'slow by n2@b'])
  })

  it('tells a node that was silent, and never taken for down, what was published for a client that came elsewhere', () => {
    const room = new Room()
    room.copies.keep('c', 1, will())
    room.there.delete(OWNER)
    for (const keeper of KEEPERS) room.keeper(keeper).clientCame('n4@d', 'c', false)
    room.pass(1_000)
    assert.equal(room.published[0], 'c by n2@b')
    room.ownerUp(LIFE)
    assert.equal(room.voided[0], 'c')
  })

  it('tells a node that is back on each of its new links, since the first may be replaced', () => {
    const room = new Room()
    room.copies.keep('c', 1, will())
    room.ownerDown(1_000)
    room.isDeaf = true
    room.ownerUp(LIFE)
    assert.deepEqual(room.voided, [])
    room.isDeaf = false
    room.ownerUp(LIFE)
    assert.deepEqual(room.voided, ['c'])
  })

  it('is kept by nobody when it is void, also where it was sent again before that was known', () => {
    const room = new Room()
    room.copies.keep('c', 1, will())
    room.keeper('n3@c').voided('n2@b', { owner: OWNER, wills: [{ clientId: 'c', epoch: 1 }] })
    for (const _step of room.copies.announce('n3@c'));
    assert.equal(room.keeper('n3@c').size, 1)
    assert.equal(room.copies.voided('c', 1), true)
    assert.deepEqual(
      KEEPERS.map((name) => room.keeper(name).size),
      [0, 0],
    )
  })

  it('goes on with the wills of a life that is over when the node has begun another, unless the client is there again', () => {
    const room = new Room()
    for (const clientId of ['back', 'away']) room.copies.keep(clientId, 1, will({ delay: 5_000 }))
    room.ownerUp(LIFE + 1)
    room.copies.keep('back', 2, will({ delay: 5_000 }))
    room.pass(6_000)
    assert.deepEqual(room.published, ['away by n2@b'])
    assert.deepEqual(room.voided, [])
  })

  it('moves copies to those who are to keep them when the ring has changed, and keeps none that is too large', () => {
    const room = new Room()
    room.copies.keep('c', 1, will())
    assert.equal(room.keeper('n2@b').size, 1)
    room.keepersNow = ['n4@d', 'n3@c']
    for (const _step of room.copies.announce(undefined));
    assert.deepEqual(
      [...KEEPERS, 'n4@d'].map((name) => room.keeper(name).size),
      [0, 1, 1],
    )
    const large = will()
    room.copies.keep('c', 2, { ...large, will: { ...large.will, payload: Buffer.alloc(100_000) } })
    assert.deepEqual(
      [...KEEPERS, 'n4@d'].map((name) => room.keeper(name).size),
      [0, 0, 0],
    )
    assert.equal(room.uncopied(), 1)
  })
})

describe('wills that are due', () => {
  const START = 1_000_000

  let isLeaving = false

  function node(): { due: DueWills; published: string[]; add: (clientId: string, epoch: number, now: number) => void } {
    const due = new DueWills(() => isLeaving)
    const published: string[] = []
    due.checkTime(START)
    return {
      due,
      published,
      add: (clientId, epoch, now) => due.add(clientId, epoch, () => published.push(clientId), now),
    }
  }

  it('are published at once while the node goes on as ever, also when a link is new', () => {
    const { due, published, add } = node()
    due.linkOpened(START + 50)
    add('c', 1, START + 100)
    assert.deepEqual(published, ['c'])
  })

  it('wait after a standstill, and are not published when another node has done so', () => {
    const { due, published, add } = node()
    add('void', 1, START + 7_000)
    add('mine', 1, START + 7_000)
    due.checkTime(START + 7_001)
    add('later', 3, START + 8_000)
    due.voided('void', 1)
    due.voided('mine', 2)
    due.checkTime(START + 8_500)
    assert.deepEqual(published, [])
    for (let now = START + 8_600; now <= START + 12_100; now += 100) due.checkTime(now)
    assert.deepEqual(published, ['mine', 'later'])
    add('next', 4, START + 12_150)
    assert.deepEqual(published, ['mine', 'later', 'next'])
  })

  it('wait a while longer for a link that is made anew, and no longer when their client is there again', () => {
    const { due, published, add } = node()
    add('back', 1, START + 7_000)
    add('away', 1, START + 7_000)
    let now = START + 7_000
    const passTo = (time: number): void => {
      for (; now < time; now += 100) due.checkTime(now)
    }
    passTo(START + 11_900)
    due.linkOpened(now)
    due.clientCame('back')
    passTo(START + 12_800)
    assert.deepEqual(published, ['back'])
    passTo(START + 13_100)
    assert.deepEqual(published, ['back', 'away'])
  })

  it('do not wait on a node that lets its clients go', () => {
    const { due, published, add } = node()
    add('waits', 1, START + 7_000)
    due.checkTime(START + 7_000)
    assert.deepEqual(published, [])
    isLeaving = true
    add('closed', 1, START + 7_050)
    due.checkTime(START + 7_100)
    assert.deepEqual(published, ['closed', 'waits'])
    isLeaving = false
  })

  it('stay with those that keep them while they wait', () => {
    const room = new Room()
    room.copies.keep('c', 1, will())
    const now = performance.now()
    room.copies.due.checkTime(now - 10_000)
    const published: string[] = []
    room.copies.settle('c', () => published.push('c'))
    room.copies.drop('c')
    assert.deepEqual([published, room.keeper('n2@b').size], [[], 1])
    room.copies.due.stop()
    assert.deepEqual([published, room.keeper('n2@b').size], [['c'], 0])
  })

  it('are published when the node stops', () => {
    const { due, published, add } = node()
    add('c', 1, START + 7_000)
    due.stop()
    assert.deepEqual(published, ['c'])
  })
})
