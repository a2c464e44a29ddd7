import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { check } from '../../chaos/history/checker.js'
import type { FaultName } from '../../chaos/history/events.js'
import { type Guarantees, guaranteesOf } from '../../chaos/history/guarantees.js'
import { LATE, MONEY, Story, WEATHER } from './story.js'

/** Sessions live in memory; retained messages on disk. */
const TODAY: Guarantees = {
  sessionsOutliveKill: false,
  sessionsAreAdopted: false,
  awaySessionsOutliveDrain: false,
  retainedOutlivesKill: true,
  delayedOutlivesEnd: true,
  overlapMs: 1_000,
  answerMs: 2_000,
  moveMs: 1_000,
}
const ON_DISK: Guarantees = { ...TODAY, sessionsOutliveKill: true, awaySessionsOutliveDrain: true }

/** What the checker has to say of a story; every violation by its text. */
function verdict(story: Story, guarantees = TODAY): string[] {
  return check(story.events, guarantees).map(({ kind, text }) => `${kind}: ${text}`)
}

describe('acknowledged messages', () => {
  test('one that a persistent session never gets is missing', () => {
    const story = new Story()
      .begins('s')
      .publishes(WEATHER, 1, 2, 3)
      .receives('s', WEATHER, 1)
      .receives('s', WEATHER, 3)
    assert.deepEqual(verdict(story.quiet()), ['missing: s never gets p weather/oslo QoS 1 #2, which was acknowledged'])
  })

  test('one of QoS 2 is missed as one of QoS 1, each by the sessions whose filters match', () => {
    const story = new Story().begins('s', 1, 'n1', 'money/+').begins('other', 2, 'n1', 'weather/#').publishes(MONEY, 1)
    assert.deepEqual(verdict(story.quiet()), ['missing: s never gets p money/oslo QoS 2 #1, which was acknowledged'])
  })

  test('one may still come until it is quiet', () => {
    assert.deepEqual(verdict(new Story().begins('s').publishes(WEATHER, 1)), [])
  })

  test('one that was not acknowledged, or was refused, may be gone', () => {
    const story = new Story().begins('s').sends(WEATHER, 1).sends(WEATHER, 2)
    story.add({ kind: 'refused', stream: WEATHER, number: 2, code: 0x97 })
    assert.deepEqual(verdict(story.quiet()), [])
  })

  test('one that was sent before the subscription is not promised', () => {
    const story = new Story().sends(WEATHER, 1).begins('s').acks(WEATHER, 1)
    assert.deepEqual(verdict(story.quiet()), [])
  })

  test('a client that is away, and one that has moved, must have what came meanwhile', () => {
    const story = new Story().begins('s').closes('s', 1).publishes(WEATHER, 1).connects('s', 2, 'n2')
    assert.deepEqual(verdict(story.quiet()), ['missing: s never gets p weather/oslo QoS 1 #1, which was acknowledged'])
    const good = new Story().begins('s').closes('s', 1).publishes(WEATHER, 1).connects('s', 2, 'n2')
    assert.deepEqual(verdict(good.receives('s', WEATHER, 1, { connection: 2 }).quiet()), [])
  })

  test('a partition and a frozen node excuse nothing', () => {
    for (const fault of ['cut', 'frozen', 'slow'] as const) {
      const story = new Story().begins('s').fault(fault, 'n1').publishes(WEATHER, 1).heals().quiet()
      assert.equal(check(story.events, TODAY)[0]?.kind, 'missing', fault)
    }
  })
})

describe('what a client is told in time', () => {
  test('a subscription that is made while its node is not heard counts from when it is', () => {
    const apart = (): Story => new Story().fault('cut', 'n1').begins('s').publishes(WEATHER, 1)
    assert.deepEqual(verdict(apart().heals().quiet()), [])
    const text = 'missing: s never gets p weather/oslo QoS 1 #2, which was acknowledged'
    assert.deepEqual(verdict(apart().heals().publishes(WEATHER, 2).quiet()), [text])
    const restarted = (node: string): Story =>
      new Story().fault('killed', 'n1').begins('s', 1, node).publishes(WEATHER, 1)
    assert.deepEqual(verdict(restarted('n1').heals().quiet()), [])
    assert.equal(verdict(restarted('n2').heals().quiet()).length, 1)
  })

  test('a session that another node does not hand over in time is given up, and one that is there is not', () => {
    const comes = (node: string, after: number): Story => {
      const story = new Story().begins('s').add({ kind: 'connect', client: 's', connection: 2, node }).later(after)
      return story.add({ kind: 'connected', client: 's', connection: 2, node, sessionPresent: false, clean: false })
    }
    assert.deepEqual(verdict(comes('n2', 2_200)), [])
    assert.deepEqual(verdict(comes('n2', 500)), ['session lost: s comes to n2, and its session is not there'])
    assert.deepEqual(verdict(comes('n1', 2_200)), ['session lost: s comes to n1, and its session is not there'])
  })
})

describe('a node that is killed', () => {
  const killed = (): Story => new Story().begins('s', 1, 'n1').begins('other', 2, 'n2').fault('killed', 'n1')

  test('takes the messages of its sessions with it, and of no other', () => {
    const story = killed().publishes(WEATHER, 1).heals().quiet()
    assert.deepEqual(verdict(story), ['missing: other never gets p weather/oslo QoS 1 #1, which was acknowledged'])
  })

  test('takes nothing with it when sessions are on disk', () => {
    const story = killed().publishes(WEATHER, 1).heals().quiet()
    assert.equal(check(story.events, ON_DISK).length, 2)
  })

  test('takes its sessions with it, which their clients begin anew', () => {
    const story = killed().connects('s', 3, 'n2', false).add({ kind: 'subscribed', client: 's', filter: '#' })
    assert.deepEqual(verdict(story), [])
    assert.deepEqual(verdict(story, ON_DISK), ['session lost: s comes to n2, and its session is not there'])
    story.publishes(WEATHER, 1).receives('other', WEATHER, 1, { connection: 2 }).heals().quiet()
    assert.deepEqual(verdict(story), ['missing: s never gets p weather/oslo QoS 1 #1, which was acknowledged'])
  })

  test('takes a session with it that is just moving away from it or to it', () => {
    const away = new Story().begins('s', 1, 'n1').closes('s', 1).publishes(WEATHER, 1).connects('s', 2, 'n2')
    assert.deepEqual(verdict(away.fault('killed', 'n1').quiet()), [])
    const long = new Story()
      .begins('s', 1, 'n1')
      .closes('s', 1)
      .publishes(WEATHER, 1)
      .connects('s', 2, 'n2')
      .later(2_000)
    assert.equal(verdict(long.fault('killed', 'n1').quiet()).length, 1)
    const coming = new Story().begins('s', 1, 'n1').closes('s', 1).publishes(WEATHER, 1)
    coming.add({ kind: 'connect', client: 's', connection: 2, node: 'n2' })
    assert.deepEqual(verdict(coming.fault('killed', 'n2').quiet()), [])
  })

  test('has not taken a session that is there again: everything is promised from when its node is heard of again', () => {
    const story = new Story().begins('s', 1, 'n1').closes('s', 1).fault('killed', 'n1').publishes(WEATHER, 1)
    story.connects('s', 2, 'n1', true).publishes(WEATHER, 2).heals().publishes(WEATHER, 3).quiet()
    assert.deepEqual(verdict(story), ['missing: s never gets p weather/oslo QoS 1 #3, which was acknowledged'])
    const elsewhere = new Story().begins('s', 1, 'n1').closes('s', 1).fault('killed', 'n1').publishes(WEATHER, 1)
    elsewhere.connects('s', 2, 'n2', true).publishes(WEATHER, 2).heals().quiet()
    assert.deepEqual(verdict(elsewhere), ['missing: s never gets p weather/oslo QoS 1 #2, which was acknowledged'])
  })
})

describe('a node that drains', () => {
  test('takes the session of a client that is away with it, and of no client that is there', () => {
    const story = new Story()
      .begins('away')
      .closes('away', 1)
      .begins('there', 2)
      .fault('drained', 'n1')
      .closes('there', 2)
    story.connects('away', 3, 'n2', false).connects('there', 4, 'n2', false)
    assert.deepEqual(verdict(story), ['session lost: there comes to n2, and its session is not there'])
    assert.equal(verdict(story, ON_DISK).length, 2)
  })
})

describe('once and in order', () => {
  const begun = (): Story => new Story().begins('s').publishes(WEATHER, 1, 2).publishes(MONEY, 1, 2)

  test('a message of QoS 2 that comes again is a duplicate, with DUP or without', () => {
    for (const dup of [true, false]) {
      const story = begun().receives('s', MONEY, 1).closes('s', 1).connects('s', 2, 'n1')
      assert.deepEqual(verdict(story.receives('s', MONEY, 1, { connection: 2, dup })), [
        'duplicate: s gets p money/oslo QoS 2 #1 a second time',
      ])
    }
  })

  test('a publisher that sends QoS 2 again does not make it a new message', () => {
    const story = new Story().begins('s').sends(MONEY, 1).receives('s', MONEY, 1).sends(MONEY, 1, true).acks(MONEY, 1)
    assert.deepEqual(verdict(story), [])
    assert.deepEqual(verdict(story.receives('s', MONEY, 1)), ['duplicate: s gets p money/oslo QoS 2 #1 a second time'])
  })

  test('a message of QoS 1 may come again with DUP on another connection, and not otherwise', () => {
    const again = (): Story =>
      begun().receives('s', WEATHER, 1).receives('s', WEATHER, 2).closes('s', 1).connects('s', 2, 'n2')
    assert.deepEqual(verdict(again().receives('s', WEATHER, 1, { connection: 2, dup: true })), [])
    const repeat = 'repeat: s gets p weather/oslo QoS 1 #1 again without a reason'
    assert.deepEqual(verdict(again().receives('s', WEATHER, 1, { connection: 2 })), [repeat])
    assert.deepEqual(verdict(begun().receives('s', WEATHER, 1).receives('s', WEATHER, 1, { dup: true })), [repeat])
  })

  test('a message of QoS 1 may come again as if for the first time when the node that had sent it was killed, also from another', () => {
    const story = begun().receives('s', WEATHER, 1).fault('killed', 'n1').closes('s', 1).connects('s', 2, 'n2')
    assert.deepEqual(verdict(story.receives('s', WEATHER, 1, { connection: 2 })), [])
    const after = begun().fault('killed', 'n1').closes('s', 1).connects('s', 2, 'n2')
    after.receives('s', WEATHER, 1, { connection: 2 }).closes('s', 2).connects('s', 3, 'n3')
    assert.equal(verdict(after.receives('s', WEATHER, 1, { connection: 3 })).length, 1)
  })

  test('a message of QoS 1 may come again when its publisher has sent it again', () => {
    const story = new Story().begins('s').sends(WEATHER, 1).receives('s', WEATHER, 1).sends(WEATHER, 1, true)
    assert.deepEqual(verdict(story.receives('s', WEATHER, 1)), [])
  })

  test('a first delivery after a later one is out of order, on its own topic and QoS', () => {
    const story = begun().receives('s', WEATHER, 2).receives('s', MONEY, 1).receives('s', WEATHER, 1)
    assert.deepEqual(verdict(story), ['order: s gets p weather/oslo QoS 1 #1 after #2'])
    assert.deepEqual(verdict(begun().receives('s', WEATHER, 2).receives('s', MONEY, 1)), [])
  })

  test('one that may have been refused unheard, and was sent again, is in no order', () => {
    const late = (fault: FaultName): Story =>
      new Story()
        .begins('s')
        .fault(fault, 'n1')
        .sends(WEATHER, 1)
        .heals()
        .sends(WEATHER, 2)
        .receives('s', WEATHER, 2)
        .sends(WEATHER, 1, true)
        .receives('s', WEATHER, 1)
    assert.deepEqual(verdict(late('store away')), [])
    assert.deepEqual(verdict(late('full disk')), [])
    assert.deepEqual(verdict(late('slow')), ['order: s gets p weather/oslo QoS 1 #1 after #2'])
    const unsent = new Story().begins('s').fault('store away', 'n1').sends(WEATHER, 1).heals().sends(WEATHER, 2)
    assert.deepEqual(verdict(unsent.receives('s', WEATHER, 2).receives('s', WEATHER, 1)), [
      'order: s gets p weather/oslo QoS 1 #1 after #2',
    ])
  })

  test('what was sent before the subscription, and again after it, is in no order', () => {
    const story = new Story().sends(WEATHER, 1).begins('s').sends(WEATHER, 2).receives('s', WEATHER, 2)
    assert.deepEqual(verdict(story.sends(WEATHER, 1, true).receives('s', WEATHER, 1)), [])
  })

  test('what a publisher has given up with its session comes late or never, what was acknowledged comes in order', () => {
    const lost = (): Story => new Story().connects('p', 8, 'n1', false).begins('s').sends(WEATHER, 1)
    const late = (story: Story): Story =>
      story.fault('killed', 'n3').connects('p', 9, 'n2', false).sends(WEATHER, 2).receives('s', WEATHER, 2)
    assert.deepEqual(verdict(late(lost().fault('killed', 'n1')).receives('s', WEATHER, 1)).slice(1), [])
    assert.equal(
      verdict(late(lost().acks(WEATHER, 1)).receives('s', WEATHER, 1))
        .at(-1)
        ?.slice(0, 5),
      'order',
    )
  })

  test('what a session had that is gone with its node may come to the next one', () => {
    const story = begun().receives('s', MONEY, 1).fault('killed', 'n1').connects('s', 2, 'n2', false)
    assert.deepEqual(verdict(story.receives('s', MONEY, 1, { connection: 2 })), [])
  })

  test('a message from before this history is known by its number', () => {
    const settled = (): Story => new Story().add({ kind: 'settled', stream: MONEY, number: 7 }).begins('s')
    assert.deepEqual(verdict(settled().receives('s', MONEY, 7)), [
      'duplicate: s gets p money/oslo QoS 2 #7 a second time',
    ])
    assert.deepEqual(verdict(settled().receives('s', MONEY, 8)), [
      'unknown: s gets p money/oslo QoS 2 #8, which nobody has sent',
    ])
    assert.deepEqual(verdict(settled().publishes(MONEY, 8).receives('s', MONEY, 8)), [])
  })
})

describe('messages with a delay', () => {
  const begun = (): Story => new Story().begins('s').publishes(LATE, 1)

  test('one that never comes is missing, and one that comes at its time is right, in whatever order', () => {
    assert.deepEqual(verdict(begun().later(1_000).quiet()), [
      'missing: s never gets p late/oslo QoS 2 #1, which was acknowledged',
    ])
    const two = begun().publishes(LATE, 2).later(1_000).receives('s', LATE, 2).receives('s', LATE, 1)
    assert.deepEqual(verdict(two.quiet()), [])
  })

  test('one that comes before its time is early, unless a clock was set meanwhile', () => {
    assert.deepEqual(verdict(begun().later(900).receives('s', LATE, 1)), [
      'early: s gets p late/oslo QoS 2 #1 after 902 ms of 1000',
    ])
    assert.deepEqual(verdict(begun().fault('clock', 'n1').receives('s', LATE, 1)), [])
    assert.deepEqual(verdict(begun().fault('clock', 'n1').heals().receives('s', LATE, 1)), [])
    const before = new Story().fault('clock', 'n1').heals().begins('s').publishes(LATE, 1).receives('s', LATE, 1)
    assert.equal(verdict(before).length, 1)
  })

  test('one of QoS 2 may come twice when its node has ended meanwhile, and is gone with it where nothing is kept', () => {
    const twice = (story: Story): Story =>
      story.later(1_000).receives('s', LATE, 1).closes('s', 1).connects('s', 2, 'n2').receives('s', LATE, 1)
    assert.equal(verdict(twice(begun())).length, 1)
    const node = (): Story => new Story().begins('s', 1, 'n2').publishes(LATE, 1).fault('killed', 'n1').heals()
    assert.deepEqual(verdict(twice(node())), [])
    assert.equal(verdict(node().later(1_000).quiet()).length, 1)
    assert.deepEqual(verdict(node().later(1_000).quiet(), { ...TODAY, delayedOutlivesEnd: false }), [])
  })
})

describe('messages with a delay of a node that stands still, and whose sessions are adopted', () => {
  const ADOPTED: Guarantees = { ...ON_DISK, sessionsAreAdopted: true }
  /** The node publishes so many milliseconds late, and stands still that long after it has. */
  const twice = (late: number, after: number): string[] => {
    const story = new Story()
      .begins('s', 1, 'n2')
      .begins('first', 2, 'n2')
      .publishes(LATE, 1)
      .later(1_000 + late)
    story.receives('first', LATE, 1, { connection: 2 }).later(after).fault('frozen', 'n1').receives('s', LATE, 1)
    return verdict(story.later(7_000).receives('s', LATE, 1), ADOPTED)
  }

  test('one that it was publishing just then may come twice, be it late', () => {
    assert.deepEqual(twice(0, 0), [])
    assert.deepEqual(twice(1_600, 80), [])
  })

  test('one that it had published before may not', () => {
    assert.equal(twice(0, 2_000).length, 1)
  })
})

describe('sessions that cannot be', () => {
  test('a client that begins anew, or was never there, has none', () => {
    const clean = new Story().add({
      ...{ kind: 'connected', client: 'c', connection: 1, node: 'n1', sessionPresent: true, clean: true },
    })
    assert.deepEqual(verdict(clean), [
      'session from nowhere: c is told by n1 that its session is there, and it wants none',
    ])
    assert.deepEqual(verdict(new Story().connects('c', 1, 'n1')), [
      'session from nowhere: c is told by n1 that its session is there, and it never had one',
    ])
  })

  test('a CONNECT that was not answered may have begun one', () => {
    const story = new Story().add({ kind: 'connect', client: 'c', connection: 1, node: 'n1' }).closes('c', 1)
    assert.deepEqual(verdict(story.connects('c', 2, 'n2')), [])
  })
})

describe('faults with which nodes hear each other', () => {
  for (const fault of ['clock', 'full disk', 'store away'] as const) {
    test(`${fault}: subscriptions count, sessions stay, and a client ID has one connection`, () => {
      const story = new Story().begins('old').fault(fault, 'n1').begins('s', 2).publishes(WEATHER, 1).later(2_000)
      story.connects('old', 3, 'n2', false).later(2_000).quiet()
      assert.deepEqual(verdict(story).sort(), [
        'missing: s never gets p weather/oslo QoS 1 #1, which was acknowledged',
        'session lost: old comes to n2, and its session is not there',
        'two connections: old has a connection to n1 and one to n2 for 2001 ms of a whole network',
      ])
    })
  }
})

describe('connections of one client ID', () => {
  test('two of them are too many when they stay', () => {
    const two = (): Story => new Story().connects('c', 1, 'n1', false).connects('c', 2, 'n2')
    assert.deepEqual(verdict(two().later(500).closes('c', 1).later(5_000).quiet()), [])
    const text = 'two connections: c has a connection to n1 and one to n2 for 2002 ms of a whole network'
    assert.deepEqual(verdict(two().later(2_000).quiet().closes('c', 1)), [text.replace('2002', '2001')])
    assert.deepEqual(verdict(two().later(2_001).closes('c', 1)), [text])
  })

  test('two of them may be there while nodes cannot hear each other', () => {
    const story = new Story()
      .fault('cut', 'n1')
      .connects('c', 1, 'n1', false)
      .connects('c', 2, 'n2')
      .later(9_000)
      .heals()
    assert.deepEqual(verdict(story.later(500).closes('c', 1).later(5_000).quiet()), [])
    const long = new Story()
      .fault('cut', 'n1')
      .connects('c', 1, 'n1', false)
      .connects('c', 2, 'n2')
      .later(9_000)
      .heals()
    assert.equal(verdict(long.later(1_500).closes('c', 1)).length, 1)
  })
})

describe('queues', () => {
  test('one above its bound is told once, one at its bound is right', () => {
    const at = (depth: number) => ({ kind: 'queue', node: 'n1', name: 'the queue of s', depth, bound: 10 }) as const
    assert.deepEqual(verdict(new Story().add(at(10))), [])
    assert.deepEqual(verdict(new Story().add(at(11)).add(at(12))), [
      'queue: the queue of s on n1 holds 11, and 10 is its bound',
    ])
  })
})

describe('retained messages', () => {
  test('the last one that was acknowledged is there, everywhere', () => {
    assert.deepEqual(verdict(new Story().writes('a').writes('b').quiet().reads('b').reads('b', 'n2')), [])
    assert.deepEqual(verdict(new Story().writes('a').writes('b').quiet().reads('a')), [
      'retained: state is "a" on n1; the last that was acknowledged is "b"',
    ])
    assert.deepEqual(verdict(new Story().writes('a').quiet().reads('')), [
      'retained: state is not there on n1; the last that was acknowledged is "a"',
    ])
    assert.equal(verdict(new Story().writes('a').writes('').quiet().reads('a')).length, 1)
  })

  test('one that was not acknowledged may be there, but then everywhere', () => {
    assert.deepEqual(verdict(new Story().writes('a').begin('b').quiet().reads('b').reads('b', 'n2')), [])
    assert.deepEqual(verdict(new Story().writes('a').begin('b').quiet().reads('a').reads('a', 'n2')), [])
    assert.deepEqual(verdict(new Story().writes('a').begin('b').quiet().reads('b').reads('a', 'n2')), [
      'retained: state is "b" on n1 and "a" on n2',
    ])
  })

  test('of two that were sent at once either may be there', () => {
    const both = (): Story => {
      const story = new Story().add({ kind: 'write', writer: 'v', node: 'n2', topic: 'state', value: 'a' })
      return story.writes('b').add({ kind: 'written', writer: 'v', topic: 'state', value: 'a' }).quiet()
    }
    assert.deepEqual(verdict(both().reads('a')), [])
    assert.deepEqual(verdict(both().reads('b')), [])
  })

  test('a node that is killed takes what it has acknowledged with it only where nothing is on disk', () => {
    const story = new Story().writes('a', 'n2').writes('b', 'n1').fault('killed', 'n1').heals().quiet().reads('a')
    assert.equal(verdict(story).length, 1)
    assert.deepEqual(verdict(story, { ...TODAY, retainedOutlivesKill: false }), [])
  })
})

test('what is promised depends on the store', () => {
  assert.equal(guaranteesOf('embedded').retainedOutlivesKill, true)
  assert.equal(guaranteesOf('redis').retainedOutlivesKill, true)
  assert.equal(guaranteesOf('memory').retainedOutlivesKill, false)
  assert.equal(guaranteesOf('memory').sessionsOutliveKill, false)
})
