import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { SharedStrategy } from '../../../src/config/mqtt-options.js'
import type { SubscriptionOptions } from '../../../src/mqtt/wire/packets.js'
import { placeOf } from '../../../src/router/share-choice.js'
import type { SharedGroup } from '../../../src/router/shared-group.js'
import { SharedGroups } from '../../../src/router/shared-groups.js'
import { filters, matchesNaively, topics } from './topics.js'

const OPTIONS: SubscriptionOptions = {
  qos: 1,
  noLocal: false,
  retainAsPublished: false,
  retainHandling: 0,
  subscriptionId: undefined,
}
const KEY = '$share/g/a'

class Member {
  isAttached = true
  isBusy = false
  constructor(readonly name: string) {}
}

function groupOf(strategy: SharedStrategy, names: readonly string[]) {
  const groups = new SharedGroups<Member>({ strategy, strategies: {} })
  const members = names.map((name) => new Member(name))
  for (const member of members) groups.subscribe(member, KEY, OPTIONS)
  const group = groups.get(KEY)
  assert.ok(group !== undefined)
  return { groups, group, members }
}

/** Names of the members that get messages of these topics, in order. */
function chosen(group: SharedGroup<Member>, topicNames: readonly string[], publisherId = 'p'): (string | undefined)[] {
  return topicNames.map((topic) => group.choose(topic, publisherId)?.subscriber.name)
}

function times(count: number): string[] {
  return Array.from({ length: count }, () => 'a')
}

function counts(names: readonly (string | undefined)[]): Record<string, number> {
  const found: Record<string, number> = {}
  for (const name of names) found[name ?? ''] = (found[name ?? ''] ?? 0) + 1
  return found
}

describe('a group of shared subscriptions', () => {
  it('round_robin: gives each member the same number, whoever comes or goes', () => {
    const { groups, group, members } = groupOf('round_robin', ['m1', 'm2', 'm3'])
    assert.deepEqual(counts(chosen(group, times(30))), { m1: 10, m2: 10, m3: 10 })
    groups.unsubscribe(members[0] as Member, KEY)
    assert.deepEqual(counts(chosen(group, times(30))), { m2: 15, m3: 15 })
    groups.subscribe(new Member('m4'), KEY, OPTIONS)
    assert.deepEqual(counts(chosen(group, times(30))), { m2: 10, m3: 10, m4: 10 })
  })

  it('random: gives each member some', () => {
    const { group } = groupOf('random', ['m1', 'm2', 'm3'])
    const found = counts(chosen(group, times(3_000)))
    for (const name of ['m1', 'm2', 'm3']) assert.ok((found[name] ?? 0) > 700, JSON.stringify(found))
  })

  it('sticky: gives all to one member until it goes, then all to another', () => {
    const { groups, group, members } = groupOf('sticky', ['m1', 'm2', 'm3'])
    const [first] = chosen(group, times(1))
    assert.deepEqual(counts(chosen(group, times(20))), { [first ?? '']: 20 })
    groups.subscribe(new Member('m4'), KEY, OPTIONS)
    assert.deepEqual(counts(chosen(group, times(20))), { [first ?? '']: 20 }, 'one who comes changes nothing')
    const gone = members.find(({ name }) => name === first) as Member
    gone.isAttached = false
    groups.refresh(gone)
    const [second] = chosen(group, times(1))
    assert.notEqual(second, first)
    assert.deepEqual(counts(chosen(group, times(20))), { [second ?? '']: 20 })
  })

  it('hash_topic: gives one topic to one member, and the topics to all', () => {
    const { group } = groupOf('hash_topic', ['m1', 'm2', 'm3', 'm4'])
    const names = Array.from({ length: 400 }, (_, index) => `t/${index}`)
    const once = chosen(group, names)
    assert.deepEqual(chosen(group, names, 'another publisher'), once)
    for (const count of Object.values(counts(once))) assert.ok(count > 60, JSON.stringify(counts(once)))
  })

  it('hash_clientid: gives one publisher to one member, and the publishers to all', () => {
    const { group } = groupOf('hash_clientid', ['m1', 'm2', 'm3', 'm4'])
    const found = Array.from({ length: 400 }, (_, index) => {
      const [name, ...others] = new Set(chosen(group, ['a', 'b', 'c'], `publisher ${index}`))
      assert.deepEqual(others, [])
      return name
    })
    for (const count of Object.values(counts(found))) assert.ok(count > 60, JSON.stringify(counts(found)))
  })

  it('a member more moves only the hashes that it gets itself', () => {
    const members = Array.from({ length: 9 }, (_, index) => `m${index + 1}`)
    const { groups, group } = groupOf('hash_topic', members)
    const names = Array.from({ length: 1_000 }, (_, index) => `t/${index}`)
    const before = chosen(group, names)
    groups.subscribe(new Member('new'), KEY, OPTIONS)
    const after = chosen(group, names)
    const moved = after.filter((name, index) => name !== before[index])
    assert.deepEqual(new Set(moved), new Set(['new']))
    assert.ok(moved.length > 60 && moved.length < 150, `${moved.length} of 1,000 moved`)
  })

  for (const strategy of ['round_robin', 'random', 'local'] as const) {
    it(`${strategy}: passes over a member that is busy as long as another is free`, () => {
      const { group, members } = groupOf(strategy, ['m1', 'm2', 'm3'])
      for (const member of members.slice(0, 2)) member.isBusy = true
      assert.deepEqual(counts(chosen(group, times(20))), { m3: 20 })
      for (const member of members) member.isBusy = true
      assert.equal(chosen(group, times(20)).includes(undefined), false, 'when all are busy one still gets it')
    })
  }

  it('prefers members whose clients are connected, under every strategy', () => {
    for (const strategy of ['random', 'round_robin', 'sticky', 'local', 'hash_clientid', 'hash_topic'] as const) {
      const { groups, group, members } = groupOf(strategy, ['m1', 'm2', 'm3'])
      const attach = (index: number, isAttached: boolean): void => {
        const member = members[index] as Member
        member.isAttached = isAttached
        groups.refresh(member)
      }
      attach(0, false)
      attach(2, false)
      assert.deepEqual(counts(chosen(group, times(9))), { m2: 9 }, strategy)
      assert.equal(group.connectedCount, 1)
      attach(1, false)
      assert.equal(chosen(group, times(9)).includes(undefined), false, strategy)
      attach(2, true)
      assert.deepEqual(counts(chosen(group, times(9))), { m3: 9 }, strategy)
      assert.equal(group.memberCount, 3)
    }
  })

  it('again by the same member, other options take the place of the earlier ones', () => {
    const { groups, group, members } = groupOf('sticky', ['m1'])
    chosen(group, times(1))
    assert.equal(groups.subscribe(members[0] as Member, KEY, { ...OPTIONS, qos: 2, subscriptionId: 7 }), false)
    const membership = group.choose('a', '')
    assert.deepEqual([membership?.qos, membership?.subscriptionIds], [2, [7]])
    assert.equal(groups.size, 1)
  })

  it('has the strategy of its name, if it has one of its own', () => {
    const groups = new SharedGroups<Member>({
      strategy: 'round_robin',
      strategies: { one: 'sticky', $queue: 'sticky' },
    })
    for (const key of ['$share/one/a', '$share/two/a', '$queue/a']) {
      for (const name of ['m1', 'm2']) groups.subscribe(new Member(name), key, OPTIONS)
    }
    const spread = (key: string): number => {
      const group = groups.get(key)
      assert.ok(group !== undefined)
      return new Set(chosen(group, times(6))).size
    }
    assert.deepEqual([spread('$share/one/a'), spread('$share/two/a'), spread('$queue/a')], [1, 2, 1])
  })
})

describe('shared groups', () => {
  it('are found by topic as a naive matcher finds them, under any sequence of joins and leaves', () => {
    const members = ['m1', 'm2'].map((name) => new Member(name))
    const step = fc.record({
      kind: fc.constantFrom('join', 'join', 'leave', 'come', 'go'),
      member: fc.constantFrom(...members),
      group: fc.constantFrom('g', 'h'),
      filter: filters.filter((filter) => filter !== ''),
      topic: topics,
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const groups = new SharedGroups<Member>({ strategy: 'random', strategies: {} })
        const joined = new Map<Member, Set<string>>(members.map((member) => [member, new Set()]))
        for (const { kind, member, group, filter, topic } of steps) {
          const key = `$share/${group}/${filter}`
          const own = joined.get(member) as Set<string>
          if (kind === 'join') {
            assert.equal(groups.subscribe(member, key, OPTIONS), !own.has(key))
            own.add(key)
          } else if (kind === 'leave') {
            assert.equal(groups.unsubscribe(member, key), own.delete(key))
          } else {
            member.isAttached = kind === 'come'
            assert.equal(groups.refresh(member), own.size > 0)
          }
          const found: SharedGroup<Member>[] = []
          groups.matchInto(topic, found)
          const keys = new Set(members.flatMap((one) => [...(joined.get(one) ?? [])]))
          const expected = [...keys].filter((one) => matchesNaively(one.split('/').slice(2).join('/'), topic))
          assert.deepEqual(found.map((one) => one.key).sort(), expected.sort())
          for (const one of found) {
            const candidates = members.filter((each) => joined.get(each)?.has(one.key))
            const connected = candidates.filter(({ isAttached }) => isAttached)
            const taker = one.choose(topic, 'p')?.subscriber
            assert.ok(taker !== undefined && (connected.length > 0 ? connected : candidates).includes(taker))
          }
          assert.equal(
            groups.size,
            [...joined.values()].reduce((sum, set) => sum + set.size, 0),
          )
        }
      }),
    )
  })
})

describe('the place of a hash', () => {
  it('is one of those there are, and stays when places are added that it does not move to', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffff_ffff }), fc.integer({ min: 1, max: 500 }), (hash, count) => {
        const place = placeOf(hash, count)
        assert.ok(place >= 0 && place < count)
        const more = placeOf(hash, count + 1)
        assert.ok(more === place || more === count)
      }),
    )
  })
})
