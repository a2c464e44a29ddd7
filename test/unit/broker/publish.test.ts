import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { DeliverySource } from '../../../src/broker/delivery-source.js'
import { createBrokerMetrics } from '../../../src/broker/metrics.js'
import { LONE_FORWARDER } from '../../../src/broker/ports.js'
import { Publisher } from '../../../src/broker/publish.js'
import { RetainedMessages } from '../../../src/broker/retained.js'
import type { Subscriber } from '../../../src/broker/subscriber.js'
import type { DeliveryOptions, Hold, Share } from '../../../src/mqtt/session/session.js'
import { Message } from '../../../src/mqtt/wire/message.js'
import type { QoS, SubscriptionOptions } from '../../../src/mqtt/wire/packets.js'
import { GroupTargets } from '../../../src/router/group-targets.js'
import { MatchCache } from '../../../src/router/match-cache.js'
import { RouteTable } from '../../../src/router/route-table.js'
import { SharedGroups } from '../../../src/router/shared-groups.js'
import { SubscriptionTable } from '../../../src/router/subscription-table.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { TimerWheel } from '../../../src/util/timer-wheel.js'
import { CountingHold } from '../mqtt/session/recording-outlet.js'
import { RecordingForwarder } from './lone-broker.js'

const OPTIONS: SubscriptionOptions = {
  qos: 2,
  noLocal: false,
  retainAsPublished: false,
  retainHandling: 0,
  subscriptionId: undefined,
}

class RecordingSubscriber implements Subscriber {
  readonly isAttached = true
  readonly isBusy = false
  readonly got: string[] = []
  deliver(message: Message): void {
    this.got.push(message.payload.toString())
  }
}

function setUp() {
  const subscriptions = new SubscriptionTable<Subscriber>()
  const groups = new SharedGroups<Subscriber>({ strategy: 'round_robin', strategies: {}, node: 'n1@test' })
  const routes = new RouteTable()
  const metrics = createBrokerMetrics(new MetricRegistry())
  const forwarder = new RecordingForwarder()
  const retained = new RetainedMessages(
    { maximum: 10, maximumBytes: 1_000_000 },
    { refused: metrics.retainedRefused, timers: new TimerWheel() },
  )
  const matches = new MatchCache<Subscriber>({ maximumTopics: 10 }, { subscriptions, groups, routes })
  const publisher = new Publisher(LONE_FORWARDER, {
    matches,
    groups,
    retained,
    metrics,
    source: new DeliverySource('n1@test'),
  })
  publisher.forwardThrough(forwarder)
  return { subscriptions, groups, routes, metrics, forwarder, retained, publisher }
}

function message(payload = 'x', qos: QoS = 1, retain = false): Message {
  return Message.from('a/b', Buffer.from(payload), { qos, retain })
}

describe('publishing', () => {
  it('ends for a message that has expired on its way from a peer, and counts it [MQTT-3.3.2-5]', () => {
    const { subscriptions, metrics, publisher } = setUp()
    const subscriber = new RecordingSubscriber()
    subscriptions.subscribe(subscriber, 'a/b', OPTIONS)
    for (const [payload, isAged, expiresIn] of [
      ['past', true, -5_000],
      ['left', true, 5_000],
      // Sent with an interval of 0: whoever is there gets it.
      ['at once', false, -1],
      ['for ever', true, undefined],
    ] as const) {
      const sent = message(payload)
      sent.isAged = isAged
      if (expiresIn !== undefined) sent.expiresAt = Date.now() + expiresIn
      publisher.deliverForwarded(sent, 'n2@h', undefined, undefined)
    }
    assert.deepEqual(subscriber.got, ['left', 'at once', 'for ever'])
    assert.equal(metrics.session.dropped.expired.value, 1)
  })

  it('reaches each matching subscriber once, and each node with a route once', () => {
    const { subscriptions, routes, forwarder, publisher } = setUp()
    const [both, one, none] = [new RecordingSubscriber(), new RecordingSubscriber(), new RecordingSubscriber()]
    subscriptions.subscribe(both, 'a/b', OPTIONS)
    subscriptions.subscribe(both, 'a/#', OPTIONS)
    subscriptions.subscribe(one, '+/b', OPTIONS)
    subscriptions.subscribe(none, 'b', OPTIONS)
    routes.add('n2@test', 'a/#')
    routes.add('n2@test', 'a/b')
    routes.add('n3@test', '+/+')
    routes.add('n4@test', 'b')
    assert.equal(publisher.publish(message(), undefined), true)
    assert.deepEqual([both.got, one.got, none.got], [['x'], ['x'], []])
    assert.deepEqual(
      forwarder.forwarded.map(({ nodes }) => [...nodes].sort()),
      [['n2@test', 'n3@test']],
    )
  })

  it('counts a message that nobody in the cluster wants, and says so', () => {
    const { metrics, routes, publisher, forwarder } = setUp()
    assert.equal(publisher.publish(message(), undefined), false)
    assert.equal(metrics.unmatched.value, 1)
    routes.add('n2@test', 'a/b')
    assert.equal(publisher.publish(message(), undefined), true)
    assert.equal(metrics.unmatched.value, 1)
    assert.equal(forwarder.forwarded.length, 1)
  })

  it('hands the pending acknowledgement to the forwarder for QoS 1 and 2, not for QoS 0', () => {
    const { routes, forwarder, publisher } = setUp()
    routes.add('n2@test', 'a/b')
    const holds = ([0, 1, 2] as const).map((qos) => {
      const hold = new CountingHold()
      publisher.publish(message('x', qos), hold)
      return hold
    })
    assert.deepEqual(
      holds.map(({ holds: count }) => count),
      [1, 2, 2],
    )
    assert.deepEqual(
      forwarder.forwarded.map(({ pending }) => pending),
      [undefined, holds[1], holds[2]],
    )
  })

  it('keeps a message with RETAIN, before it is delivered, and not one that a peer forwarded', () => {
    const { retained, publisher, metrics } = setUp()
    publisher.publish(message('kept', 1, true), undefined)
    publisher.deliverForwarded(message('forwarded', 1, true), 'n2@test', undefined, undefined)
    assert.deepEqual(
      [...retained.matching('#')].map((found) => found?.payload.toString()),
      ['kept'],
    )
    assert.equal(metrics.forwardedIn.value, 1)
  })

  it('never forwards again what a peer forwarded', () => {
    const { subscriptions, routes, forwarder, publisher } = setUp()
    const subscriber = new RecordingSubscriber()
    subscriptions.subscribe(subscriber, 'a/b', OPTIONS)
    routes.add('n3@test', 'a/b')
    publisher.deliverForwarded(message(), 'n2@test', undefined, undefined)
    assert.deepEqual(subscriber.got, ['x'])
    assert.deepEqual(forwarder.forwarded, [])
  })

  describe('to a group for which a peer has chosen this node', () => {
    class RecordingReceipts {
      readonly settled: number[] = []
      readonly recalled = new Set<number>()
      admit(receipt: number): boolean {
        return !this.recalled.has(receipt)
      }
      settle(receipt: number): void {
        this.settled.push(receipt)
      }
      readonly kept: number[] = []
      keep(receipt: number): void {
        this.kept.push(receipt)
      }
      unkeep(receipt: number): void {
        this.kept.splice(this.kept.indexOf(receipt), 1)
      }
    }

    /** A member that keeps what it gets. */
    class Member extends RecordingSubscriber {
      readonly shares: (Share | undefined)[] = []
      override deliver(sent: Message, delivery?: DeliveryOptions): void {
        super.deliver(sent)
        this.shares.push(delivery?.share)
      }
    }

    function setUpGroup(qos: QoS = 1) {
      const parts = setUp()
      const member = new Member()
      const key = '$share/g/a/b'
      parts.groups.subscribe(member, key, { ...OPTIONS, qos })
      const group = parts.groups.get(key)
      assert.ok(group)
      const targets = new GroupTargets()
      targets.isOnly = true
      targets.add('', group.id, 0, '', 7)
      return { ...parts, member, key, group, targets, receipts: new RecordingReceipts() }
    }

    it('it is settled when its member says so, once', () => {
      const { publisher, member, targets, receipts } = setUpGroup()
      publisher.deliverForwarded(message(), 'n2@test', undefined, targets, receipts)
      assert.deepEqual([member.got, receipts.settled], [['x'], []])
      member.shares[0]?.settle()
      member.shares[0]?.settle()
      assert.deepEqual(receipts.settled, [7])
    })

    it('once a session that outlives the node has it, one of QoS 2 is settled, and one of QoS 1 is said to be kept', () => {
      const { publisher, member, targets, receipts } = setUpGroup(2)
      const pending = new CountingHold()
      for (const qos of [1, 2] as const) {
        for (const isKept of [false, true]) {
          Object.assign(member, { isKept })
          const held: Hold[] = []
          member.deliver = (_sent: Message, _delivery?: DeliveryOptions, hold?: Hold) => {
            hold?.hold()
            if (hold !== undefined) held.push(hold)
          }
          publisher.deliverForwarded(message('x', qos), 'n2@test', pending, targets, receipts)
          for (const hold of held) hold.release()
        }
      }
      assert.deepEqual([receipts.kept, receipts.settled, pending.holds], [[7], [7], 1])
    })

    it('it is settled at once when the subscription is of QoS 0, when it has expired, and when the group is gone', () => {
      const { publisher, targets, receipts, groups, member, key, metrics } = setUpGroup(0)
      publisher.deliverForwarded(message(), 'n2@test', undefined, targets, receipts)
      const past = message('past')
      past.isAged = true
      past.expiresAt = Date.now() - 5_000
      publisher.deliverForwarded(past, 'n2@test', undefined, targets, receipts)
      assert.deepEqual([member.got, receipts.settled], [['x'], [7, 7]])
      groups.unsubscribe(member, key)
      publisher.deliverForwarded(message(), 'n2@test', undefined, targets, receipts)
      assert.deepEqual(receipts.settled, [7, 7, 7])
      assert.equal(metrics.unplaced.value, 1)
    })

    it('it is not delivered when the peer has recalled it', () => {
      const { publisher, member, targets, receipts } = setUpGroup()
      receipts.recalled.add(7)
      publisher.deliverForwarded(message(), 'n2@test', undefined, targets, receipts)
      assert.deepEqual([member.got, receipts.settled], [[], []])
    })

    it('it goes on to another node, which has it in its turn, when the members have left', () => {
      const { publisher, member, key, groups, targets, receipts, forwarder } = setUpGroup()
      groups.place('n3@test', { filter: key, id: 30, connected: 1, members: 1 })
      groups.unsubscribe(member, key)
      publisher.deliverForwarded(message(), 'n2@test', undefined, targets, receipts)
      assert.deepEqual([member.got, forwarder.forwarded.length, receipts.settled], [[], 1, [7]])
    })

    it('what a peer that is gone did not settle goes to a member, waits for one, or is counted', () => {
      const { publisher, member, key, groups, metrics } = setUpGroup()
      assert.equal(publisher.placeAgain(key, message('again'), false), true)
      assert.deepEqual([member.got, metrics.redispatched.value], [['again'], 1])
      groups.unsubscribe(member, key)
      assert.equal(publisher.placeAgain(key, message('kept'), false), false)
      assert.equal(publisher.placeAgain(key, message('lost'), true), true)
      assert.equal(metrics.unplaced.value, 1)
    })
  })

  it('lets a delivery filter change or withhold what one subscriber gets', () => {
    const { subscriptions, publisher } = setUp()
    const [changed, withheld] = [new RecordingSubscriber(), new RecordingSubscriber()]
    subscriptions.subscribe(changed, 'a/b', OPTIONS)
    subscriptions.subscribe(withheld, 'a/b', OPTIONS)
    publisher.deliveryFilter = (subscriber) => (subscriber === changed ? message('other') : undefined)
    publisher.publish(message(), undefined)
    assert.deepEqual([changed.got, withheld.got], [['other'], []])
  })
})
