import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { DeliverySource } from '../../../src/broker/delivery-source.js'
import { createBrokerMetrics } from '../../../src/broker/metrics.js'
import type { Forwarder, PendingPublish } from '../../../src/broker/ports.js'
import { Publisher } from '../../../src/broker/publish.js'
import { RetainedMessages } from '../../../src/broker/retained.js'
import type { Hold } from '../../../src/broker/store-port.js'
import type { Subscriber } from '../../../src/broker/subscriber.js'
import { WaitingGroups } from '../../../src/broker/waiting-groups.js'
import type { DeliveryOptions } from '../../../src/mqtt/session/session.js'
import { Message } from '../../../src/mqtt/wire/message.js'
import type { QoS, SubscriptionOptions } from '../../../src/mqtt/wire/packets.js'
import type { GroupTargets } from '../../../src/router/group-targets.js'
import { MatchCache } from '../../../src/router/match-cache.js'
import { RouteTable } from '../../../src/router/route-table.js'
import { SharedGroups } from '../../../src/router/shared-groups.js'
import { SubscriptionTable } from '../../../src/router/subscription-table.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { TimerWheel } from '../../../src/util/timer-wheel.js'
import { TurnQueue } from '../../../src/util/turn.js'
import { eventually } from '../../support/eventually.js'
import { type MemoryDisk, MemoryStore } from '../../support/memory-store.js'
import { CountingHold } from '../mqtt/session/recording-outlet.js'

const KEY = '$share/g/a/#'
const PEER = 'n2@test'
const OPTIONS: SubscriptionOptions = {
  qos: 2,
  noLocal: false,
  retainAsPublished: false,
  retainHandling: 0,
  subscriptionId: undefined,
}

const LIMITS = { bytes: 1_000_000, retention: 3_600_000 }

/** Notes what goes to groups on other nodes, and whether it is to be in the store first. */
class Forwarded implements Forwarder {
  readonly got: string[] = []
  readonly pendings: (PendingPublish | undefined)[] = []
  forward(
    message: Message,
    _nodes: readonly string[],
    pending: PendingPublish | undefined,
    targets: GroupTargets | undefined,
  ): void {
    for (let index = 0; index < (targets?.count ?? 0); index += 1) {
      this.got.push(sentTo(message.payload.toString(), targets?.keys[index], targets?.nodes[index]))
    }
    this.pendings.push(pending)
  }
  whenRoutesConfirmed(done: () => void): void {
    done()
  }
}

/** How `Forwarded` notes it. */
function sentTo(payload: string, key = KEY, node = PEER): string {
  return `${payload} for ${key} on ${node}`
}

/** A session here. */
class Member implements Subscriber {
  readonly isAttached = true
  isBusy = false
  /** How many it takes before it is behind. */
  room = Number.POSITIVE_INFINITY
  readonly got: string[] = []
  /** It is on its way here, and can keep nothing. */
  deferred: Hold[] | undefined
  deliver(message: Message, _delivery: DeliveryOptions, pending: Hold | undefined): void {
    this.got.push(message.payload.toString())
    this.room -= 1
    this.isBusy = this.room <= 0
    if (this.deferred === undefined || pending === undefined) return
    pending.defer?.()
    this.deferred.push(pending)
  }
}

/** One life of a node. */
function begin(disk: MemoryDisk = new Map(), limits = LIMITS) {
  const store = new MemoryStore(disk)
  store.isManual = true
  const groups = new SharedGroups<Subscriber>({ strategy: 'round_robin', strategies: {}, node: 'n1@test' })
  const metrics = createBrokerMetrics(new MetricRegistry())
  const subscriptions = new SubscriptionTable<Subscriber>()
  const routes = new RouteTable()
  const retained = new RetainedMessages(
    { maximum: 10, maximumBytes: 1_000_000 },
    { refused: metrics.retainedRefused, timers: new TimerWheel() },
  )
  const matches = new MatchCache<Subscriber>({ maximumTopics: 10 }, { subscriptions, groups, routes })
  const forwarded = new Forwarded()
  const publisher = new Publisher(forwarded, {
    matches,
    groups,
    retained,
    metrics,
    source: new DeliverySource('n1@test'),
  })
  const turn = new TurnQueue({ onError: assert.ifError })
  const waiting = new WaitingGroups(limits, {
    store,
    groups,
    turn,
    dropped: metrics.waitingDropped,
    place: (group, message, pending) => publisher.groupDelivery.place(group, message, pending),
  })
  publisher.keepSessionsIn(store, waiting)
  void store.load()
  const publish = (payload: string, qos: QoS = 1): CountingHold => {
    const hold = new CountingHold()
    publisher.publish(Message.from('a/b', Buffer.from(payload), { qos }), hold)
    return hold
  }
  /** The peer has told that it has members, or none. */
  const tell = (members: number, key = KEY): void => {
    if (members > 0) groups.place(PEER, { filter: key, id: 7, connected: members, members })
    else groups.withdraw(PEER, key)
  }
  const turnOver = async (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
  /** The peer is not to be reached, with its members. */
  const lose = (): void => {
    groups.setReach(PEER, 'lost')
  }
  /** It can be reached again. */
  const find = async (): Promise<void> => {
    groups.setReach(PEER, 'reachable')
    publisher.groupsChanged(0)
    await turnOver()
  }
  return { store, groups, metrics, publisher, forwarded, waiting, publish, tell, turnOver, lose, find }
}

/** The same, when all nodes have told their groups, and the only member is with a peer that is not to be reached. */
function beginOutOfReach(disk?: MemoryDisk, limits = LIMITS) {
  const node = begin(disk, limits)
  node.publisher.groupsChanged(0)
  node.tell(1)
  node.lose()
  return node
}

/** What waits on a disk, as another node would inherit it. */
function valuesOn(disk: MemoryDisk): Buffer[] {
  return [...(disk.get('group-messages') ?? [])].map(([, value]) => Buffer.from(value))
}

describe('messages that wait for a member of their group', () => {
  it('are kept before their publisher is answered, and go to whoever is there first', async () => {
    const node = beginOutOfReach()
    const hold = node.publish('one')
    assert.equal(hold.holds, 2)
    node.store.commit()
    assert.deepEqual([hold.holds, node.waiting.length, node.forwarded.got], [1, 1, []])
    await node.find()
    assert.deepEqual(node.forwarded.got, [sentTo('one')])
    assert.equal(
      node.forwarded.pendings[0]?.isRemembered,
      true,
      'it is in the store where it is owed, with the same commit',
    )
    assert.equal(node.store.entries('group-messages'), 1)
    node.store.commit()
    assert.deepEqual([node.store.entries('group-messages'), node.waiting.length, node.waiting.bytes], [0, 0, 0])
  })

  it('are there after a restart, also before anybody has told of the group', async () => {
    const disk: MemoryDisk = new Map()
    const before = beginOutOfReach(disk)
    before.publish('one', 2)
    before.publish('two', 2)
    before.store.commit()
    const node = begin(disk)
    node.publisher.groupsChanged(1)
    await node.turnOver()
    assert.equal(node.waiting.length, 2)
    node.tell(1)
    node.publisher.groupsChanged(0)
    await node.turnOver()
    assert.deepEqual(node.forwarded.got, [sentTo('one'), sentTo('two')])
  })

  it('stay in front of what comes for their group meanwhile', async () => {
    const node = beginOutOfReach()
    node.publish('one')
    node.groups.setReach(PEER, 'reachable')
    node.publish('two')
    assert.deepEqual(node.forwarded.got, [])
    node.publisher.groupsChanged(0)
    await node.turnOver()
    node.publish('three')
    assert.deepEqual(
      node.forwarded.got,
      ['one', 'two', 'three'].map((payload) => sentTo(payload)),
    )
  })

  it('go to groups that turn out to be there, and to those that had them not again', async () => {
    const node = begin()
    const member = new Member()
    const known = '$share/known/a/b'
    node.groups.subscribe(member, known, OPTIONS)
    node.publisher.groupsChanged(2)
    node.publish('one', 2)
    assert.deepEqual(member.got, ['one'])
    // One of two has told: it has members of both groups.
    node.tell(1)
    node.tell(1, known)
    node.publisher.groupsChanged(1)
    await node.turnOver()
    assert.deepEqual(node.forwarded.got, [sentTo('one')])
    node.publish('two', 2)
    const later = '$share/later/a/+'
    node.groups.place('n3@test', { filter: later, id: 8, connected: 1, members: 1 })
    node.publisher.groupsChanged(0)
    // Before those have been given out: it comes behind them.
    node.publish('new', 2)
    await node.turnOver()
    for (const [key, at] of [
      [later, 'n3@test'],
      [KEY, PEER],
    ]) {
      assert.deepEqual(
        node.forwarded.got.filter((text) => text.includes(`${key}`)),
        ['one', 'two', 'new'].map((payload) => sentTo(payload, key, at)),
      )
    }
    node.store.commit()
    assert.deepEqual([node.waiting.length, node.store.entries('group-messages')], [0, 0])
    node.publish('three', 2)
    assert.equal(node.waiting.length, 0, 'everybody has told')
  })

  it('stay as long as a session that gets one cannot keep it', async () => {
    const disk: MemoryDisk = new Map()
    const node = beginOutOfReach(disk)
    node.publish('one', 2)
    node.store.commit()
    const member = new Member()
    member.deferred = []
    node.groups.subscribe(member, KEY, OPTIONS)
    node.publisher.groupsChanged(0)
    await node.turnOver()
    node.store.commit()
    assert.deepEqual([member.got, node.store.entries('group-messages')], [['one'], 1])
    for (const pending of member.deferred) pending.resume?.()
    node.store.commit()
    assert.deepEqual([member.got, node.store.entries('group-messages')], [['one'], 0])
  })

  it('of a node that is down wait here, and of one that was taken for dead there no more', async () => {
    const disk: MemoryDisk = new Map()
    const dead = begin(disk)
    dead.publisher.groupsChanged(1)
    dead.publish('for unknown groups', 2)
    dead.tell(1)
    dead.lose()
    dead.publisher.groupsChanged(1)
    dead.publish('for one', 2)
    dead.store.commit()
    const values = valuesOn(disk)
    assert.equal(values.length, 3, 'one of them for one group, and for those that may turn out to be there')
    const heir = begin()
    heir.publisher.groupsChanged(0)
    heir.tell(1)
    let isKept = false
    void heir.publisher.inheritWaiting(values).then(() => {
      isKept = true
    })
    await heir.turnOver()
    assert.equal(isKept, false)
    heir.store.commit()
    await heir.turnOver()
    assert.equal(isKept, true)
    assert.deepEqual(heir.forwarded.got.sort(), [sentTo('for one'), sentTo('for unknown groups')])
    dead.waiting.disown()
    await dead.find()
    assert.deepEqual(dead.forwarded.got, [])
  })

  it('are dropped and counted when the group has ended everywhere, when they are too old, and beyond the bound', async (t) => {
    const node = beginOutOfReach(undefined, { bytes: 1_000, retention: 600_000 })
    const { waitingDropped } = node.metrics
    for (let count = 0; count < 20; count += 1) node.publish('x'.repeat(100))
    assert.equal(node.waiting.length + waitingDropped.full.value, 20)
    assert.ok(node.waiting.bytes <= 1_000)
    const { length } = node.waiting
    node.tell(0)
    node.publisher.groupsChanged(0)
    await node.turnOver()
    node.store.commit()
    assert.deepEqual([node.waiting.length, waitingDropped.group_ended.value], [0, length])
    node.tell(1)
    node.publish('old')
    const now = Date.now()
    t.mock.method(Date, 'now', () => now + 700_000)
    node.publisher.groupsChanged(0)
    await node.turnOver()
    assert.equal(waitingDropped.too_old.value, 1)
  })

  it('are dropped when they are too old wherever they stand, since another node has left them', async (t) => {
    const disk: MemoryDisk = new Map()
    const dead = beginOutOfReach(disk)
    dead.publish('old')
    dead.store.commit()
    const node = beginOutOfReach()
    const now = Date.now()
    t.mock.method(Date, 'now', () => now + LIMITS.retention / 2)
    node.publish('young')
    void node.publisher.inheritWaiting(valuesOn(disk))
    await node.turnOver()
    assert.equal(node.waiting.length, 2)
    t.mock.method(Date, 'now', () => now + LIMITS.retention + 60_000)
    node.publisher.groupsChanged(0)
    await node.turnOver()
    assert.equal(node.metrics.waitingDropped.too_old.value, 1)
    await node.find()
    assert.deepEqual(node.forwarded.got, [sentTo('young')])
  })

  it('are given out no faster than their members take them', async (t) => {
    const node = begin()
    t.after(() => node.waiting.stop())
    node.publisher.groupsChanged(0)
    node.tell(1)
    node.lose()
    const payloads = Array.from({ length: 1_200 }, (_, number) => `${number}`)
    for (const payload of payloads) node.publish(payload)
    const member = new Member()
    member.room = 700
    node.groups.subscribe(member, KEY, OPTIONS)
    node.publisher.groupsChanged(0)
    await eventually(() => assert.equal(member.got.length, 700))
    for (let turn = 0; turn < 20; turn += 1) await node.turnOver()
    assert.deepEqual([member.got.length, node.waiting.bytes > 0], [700, true])
    member.room = 10_000
    member.isBusy = false
    await eventually(() => assert.deepEqual(member.got, payloads))
  })

  it('have no room for more, or a store that fails: who publishes for such a group is refused, and nobody else', () => {
    const node = begin(undefined, { bytes: 2_000, retention: 600_000 })
    const canKeep = (topic: string): boolean =>
      node.publisher.canKeep(Message.from(topic, Buffer.alloc(100), { qos: 1 }))
    node.publisher.groupsChanged(0)
    node.tell(1)
    assert.equal(canKeep('a/b'), true)
    node.lose()
    while (canKeep('a/b')) node.publish('x'.repeat(100))
    assert.equal(node.metrics.waitingDropped.full.value, 0, 'refused before anything is dropped')
    assert.equal(canKeep('other'), true)
    const failing = begin()
    failing.publisher.groupsChanged(0)
    failing.tell(1)
    failing.store.isFailing = true
    assert.equal(failing.publisher.canKeep(Message.from('a/b', Buffer.alloc(1), { qos: 1 })), true, 'a member is there')
    failing.lose()
    assert.equal(failing.publisher.canKeep(Message.from('a/b', Buffer.alloc(1), { qos: 1 })), false)
  })

  it('leave half of the room to groups that are known', () => {
    const node = begin(undefined, { bytes: 4_000, retention: 600_000 })
    node.publisher.groupsChanged(1)
    for (let count = 0; count < 40; count += 1) node.publish('x'.repeat(100))
    assert.ok(node.waiting.bytes <= 2_000 && node.metrics.waitingDropped.full.value > 0)
    node.tell(1)
    node.lose()
    const { length } = node.waiting
    node.publish('y'.repeat(100))
    assert.equal(node.waiting.length, length + 1)
  })

  it('are counted where they cannot be read, and the others go on', async () => {
    const before: MemoryDisk = new Map()
    const dead = beginOutOfReach(before)
    dead.publish('one', 2)
    dead.store.commit()
    const values = valuesOn(before)
    const heir = begin()
    heir.publisher.groupsChanged(0)
    heir.tell(1)
    void heir.publisher.inheritWaiting([Buffer.alloc(0), ...values])
    await heir.turnOver()
    assert.deepEqual(heir.forwarded.got, [sentTo('one')])
    assert.equal(heir.metrics.waitingDropped.unreadable.value, 1)
  })
})
