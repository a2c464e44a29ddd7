import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { SharedStrategy } from '../../../src/config/mqtt-options.js'
import type { SubscriptionOptions } from '../../../src/mqtt/wire/packets.js'
import { GroupRoutes } from '../../../src/router/group-routes.js'
import { Membership } from '../../../src/router/membership.js'
import { placeOf } from '../../../src/router/share-choice.js'
import type { Choice, SharedGroup } from '../../../src/router/shared-group.js'
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
  const groups = new SharedGroups<Member>({ strategy, strategies: {}, node: 'n2@test' })
  const members = names.map((name) => new Member(name))
  for (const member of members) groups.subscribe(member, KEY, OPTIONS)
  const group = groups.get(KEY)
  assert.ok(group !== undefined)
  return { groups, group, members }
}

/** Of the member, or of the node that is to choose one. */
function nameOf(choice: Choice<Member> | undefined): string | undefined {
  return choice instanceof Membership ? choice.subscriber.name : choice?.node
}

/** Names of the members that get messages of these topics, in order. */
function chosen(group: SharedGroup<Member>, topicNames: readonly string[], publisherId = 'p'): (string | undefined)[] {
  return topicNames.map((topic) => nameOf(group.choose(group.hashOf(topic, publisherId))))
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
      assert.equal(group.route.connected, 1)
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
    const membership = group.chooseHere(0)
    assert.deepEqual([membership?.qos, membership?.subscriptionIds], [2, [7]])
    assert.equal(groups.size, 1)
  })

  it('has the strategy of its name, if it has one of its own', () => {
    const groups = new SharedGroups<Member>({
      strategy: 'round_robin',
      strategies: { one: 'sticky', $queue: 'sticky' },
      node: 'n2@test',
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

describe('a group with members on other nodes', () => {
  /** Two members here, on n2; n1 has one, n3 three of whom two are connected. */
  function spread(strategy: SharedStrategy) {
    const set = groupOf(strategy, ['m1', 'm2'])
    set.groups.place('n3@test', { filter: KEY, id: 30, connected: 2, members: 3 })
    set.groups.place('n1@test', { filter: KEY, id: 10, connected: 1, members: 1 })
    return set
  }

  it('round_robin: counts the connected members of each node', () => {
    const { groups, group } = spread('round_robin')
    assert.deepEqual(counts(chosen(group, times(50))), { m1: 10, m2: 10, 'n1@test': 10, 'n3@test': 20 })
    groups.place('n3@test', { filter: KEY, id: 30, connected: 1, members: 3 })
    assert.deepEqual(counts(chosen(group, times(40))), { m1: 10, m2: 10, 'n1@test': 10, 'n3@test': 10 })
    groups.withdraw('n1@test', KEY)
    assert.deepEqual(counts(chosen(group, times(30))), { m1: 10, m2: 10, 'n3@test': 10 })
  })

  it('random: gives each some', () => {
    const found = counts(chosen(spread('random').group, times(5_000)))
    for (const name of ['m1', 'm2', 'n1@test']) assert.ok((found[name] ?? 0) > 700, JSON.stringify(found))
    assert.ok((found['n3@test'] ?? 0) > 1_600, JSON.stringify(found))
  })

  it('local: keeps to the members here, and goes in turn when there are none', () => {
    const { groups, group, members } = spread('local')
    assert.deepEqual(counts(chosen(group, times(20))), { m1: 10, m2: 10 })
    for (const member of members) groups.unsubscribe(member, KEY)
    assert.deepEqual(counts(chosen(group, times(30))), { 'n1@test': 10, 'n3@test': 20 })
  })

  it('sticky: stays with a node as with a member, until it goes', () => {
    const { groups, group, members } = spread('sticky')
    for (const member of members) groups.unsubscribe(member, KEY)
    const [first] = chosen(group, times(1))
    assert.deepEqual(counts(chosen(group, times(20))), { [first ?? '']: 20 })
    groups.setReach(first ?? '', 'awaited')
    const others = new Set(chosen(group, times(20)))
    assert.deepEqual(others, new Set([first === 'n1@test' ? 'n3@test' : 'n1@test']))
  })

  for (const strategy of ['hash_topic', 'hash_clientid'] as const) {
    it(`${strategy}: every node chooses the same member`, () => {
      const layout = { 'n1@test': 2, 'n2@test': 3, 'n3@test': 1 }
      const views = Object.entries(layout).map(([node, count]) => {
        const groups = new SharedGroups<Member>({ strategy, strategies: {}, node })
        for (let index = 0; index < count; index += 1) {
          groups.subscribe(new Member(`${node} ${index}`), KEY, OPTIONS)
        }
        for (const [other, connected] of Object.entries(layout)) {
          if (other !== node) groups.place(other, { filter: KEY, id: 1, connected, members: connected })
        }
        return { node, group: groups.get(KEY) as SharedGroup<Member> }
      })
      const taken = new Set<string>()
      for (let index = 0; index < 200; index += 1) {
        const text = `x${index}`
        const takers = views.map(({ group }) => {
          const hash = group.hashOf(text, text)
          const choice = group.choose(hash)
          const owner = choice instanceof Membership ? undefined : views.find(({ node }) => node === choice?.node)
          return nameOf(owner === undefined ? choice : owner.group.chooseHere(hash))
        })
        assert.equal(new Set(takers).size, 1, `${text}: ${takers.join(', ')}`)
        taken.add(takers[0] ?? '')
      }
      assert.equal(taken.size, 6, 'and each member gets some')
    })
  }

  it('chooses no node that cannot be reached, as long as anybody else is there', () => {
    const { groups, group, members } = spread('round_robin')
    groups.setReach('n3@test', 'awaited')
    assert.deepEqual(counts(chosen(group, times(30))), { m1: 10, m2: 10, 'n1@test': 10 })
    groups.setReach('n1@test', 'lost')
    for (const member of members) {
      member.isAttached = false
      groups.refresh(member)
    }
    assert.deepEqual(counts(chosen(group, times(20))), { m1: 10, m2: 10 }, 'rather one who is away')
    for (const member of members) groups.unsubscribe(member, KEY)
    assert.equal(chosen(group, times(1))[0]?.startsWith('n'), true, 'rather a node that may come back than nobody')
    groups.setReach('n3@test', 'reachable')
    assert.deepEqual(counts(chosen(group, times(20))), { 'n3@test': 20 })
  })

  it('hash_topic: what a silent node has stays with it until it counts as down, and then moves', () => {
    const { group, groups } = spread('hash_topic')
    const before = chosen(group, times(100))
    groups.setReach('n3@test', 'awaited')
    assert.deepEqual(chosen(group, times(100)), before)
    groups.setReach('n3@test', 'lost')
    const after = chosen(group, times(100))
    assert.equal(after.includes('n3@test'), false)
  })

  it('prefers a connected member elsewhere to one here that is away', () => {
    const { groups, group, members } = spread('round_robin')
    for (const member of members) {
      member.isAttached = false
      groups.refresh(member)
    }
    assert.deepEqual(counts(chosen(group, times(30))), { 'n1@test': 10, 'n3@test': 20 })
    groups.place('n1@test', { filter: KEY, id: 10, connected: 0, members: 1 })
    groups.place('n3@test', { filter: KEY, id: 30, connected: 0, members: 3 })
    assert.deepEqual(counts(chosen(group, times(60))), { m1: 10, m2: 10, 'n1@test': 10, 'n3@test': 30 })
  })

  it('a busy member gives way to another node', () => {
    const { group, members } = spread('round_robin')
    for (const member of members) member.isBusy = true
    assert.deepEqual(Object.keys(counts(chosen(group, times(60)))).sort(), ['n1@test', 'n3@test'])
  })

  it('a node that leaves is not counted, and gives what comes to others', () => {
    const { groups, group } = spread('round_robin')
    const routes: number[][] = []
    groups.setListener({ groupChanged: ({ connected, members }) => routes.push([connected, members]) })
    groups.leave()
    assert.deepEqual(routes, [[0, 0]])
    assert.deepEqual(counts(chosen(group, times(30))), { 'n1@test': 10, 'n3@test': 20 })
    assert.equal(group.chooseHere(0), undefined)
    groups.withdraw('n1@test', KEY)
    groups.withdraw('n3@test', KEY)
    assert.notEqual(group.chooseHere(0), undefined, 'when nobody else is there')
  })
})

describe('shared groups', () => {
  it('tell what the other nodes are to know, and their digest is that of what was told', () => {
    const { groups, members } = groupOf('random', ['m1', 'm2'])
    const peers = new GroupRoutes()
    for (const route of groups.routes()) peers.set('n2@test', route)
    groups.setListener({ groupChanged: (route) => peers.set('n2@test', route) })
    const [first, second] = members as [Member, Member]
    const steps = [
      () => groups.subscribe(new Member('m3'), '$share/h/b', OPTIONS),
      () => groups.subscribe(first, KEY, { ...OPTIONS, qos: 2 }),
      () => {
        first.isAttached = false
        groups.refresh(first)
      },
      () => groups.unsubscribe(second, KEY),
      () => groups.place('n3@test', { filter: KEY, id: 1, connected: 1, members: 1 }),
      () => groups.unsubscribe(first, KEY),
      () => groups.subscribe(second, KEY, OPTIONS),
    ]
    for (const step of steps) {
      step()
      assert.deepEqual(peers.digest('n2@test'), groups.digest())
      assert.deepEqual([...peers.filters('n2@test')].sort(), Array.from(groups.routes(), ({ filter }) => filter).sort())
    }
    peers.clear('n2@test')
    assert.equal(peers.count(), 0)
  })

  it('of other nodes come and go with their routes, and a match notices', () => {
    const groups = new SharedGroups<Member>({ strategy: 'random', strategies: {}, node: 'n2@test' })
    const routes = new GroupRoutes(groups)
    const found = (): string[] => {
      const into: SharedGroup<Member>[] = []
      groups.matchInto('a', into)
      return into.map(({ key }) => key)
    }
    routes.set('n1@test', { filter: KEY, id: 1, connected: 1, members: 1 })
    routes.set('n3@test', { filter: KEY, id: 7, connected: 0, members: 1 })
    assert.deepEqual(found(), [KEY])
    const before = groups.generation
    routes.set('n1@test', { filter: KEY, id: 1, connected: 1, members: 0 })
    assert.equal(groups.generation, before, 'somebody is left')
    routes.clear('n3@test')
    assert.deepEqual(found(), [])
    assert.notEqual(groups.generation, before)
    routes.set('n1@test', { filter: 'no share', id: 1, connected: 1, members: 1 })
    assert.deepEqual(found(), [], 'what is no shared subscription is nobody')
  })

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
        const groups = new SharedGroups<Member>({ strategy: 'random', strategies: {}, node: 'n2@test' })
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
            const taker = one.chooseHere(one.hashOf(topic, 'p'))?.subscriber
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
