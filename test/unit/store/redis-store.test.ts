import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { describeDamage, describeShelves, describeStore, OpenTable, untilReleased } from '../../contract/store.js'
import { RedisServer, redisFor } from '../../support/redis.js'
import { RedisCluster } from '../../support/redis-cluster.js'
import { RedisSentinels } from '../../support/redis-sentinels.js'
import { openRedis, type RedisLife, redisBed } from './redis-bed.js'

let single: RedisServer
let sentinels: RedisSentinels
let cluster: RedisCluster

before(async () => {
  ;[single, sentinels, cluster] = await Promise.all([RedisServer.start(), RedisSentinels.start(), RedisCluster.start()])
})

after(() => Promise.all([single, sentinels, cluster].map((each) => each.stop())))

describeStore('Redis (single)', (context) => redisBed(context, () => ({ url: single.url })))
describeStore('Redis (Sentinel)', (context) => redisBed(context, () => sentinels.options))
describeStore('Redis (Cluster)', (context) => redisBed(context, () => cluster.options))
describeDamage('Redis (single)', (context) => redisBed(context, () => ({ url: single.url })))
describeShelves('Redis (single)', (context) => redisBed(context, () => ({ url: single.url })))
describeShelves('Redis (Cluster)', (context) => redisBed(context, () => cluster.options))

describe('the store in Redis', () => {
  it('sends all that a turn brings in one round trip, and what comes meanwhile in the next one', async (t) => {
    const open = await OpenTable.open(redisBed(t, () => ({ url: single.url })))
    const { metrics } = open.life as RedisLife
    const before = metrics.redis.roundTrips.value
    await untilReleased(...Array.from({ length: 1_000 }, (_, count) => open.set(`key ${count}`, 'x')))
    assert.equal(metrics.redis.roundTrips.value - before, 1)
    const holds = []
    for (let turn = 0; turn < 200; turn += 1) {
      holds.push(open.set(`turn ${turn}`, 'x'))
      await new Promise(setImmediate)
    }
    await untilReleased(...holds)
    assert.equal(metrics.entries.value, 1_200)
    assert.ok(metrics.redis.roundTrips.value - before < 200, 'a round trip for each turn')
  })

  it('takes more than one round trip for a turn that is too large for one, and gives all of it back', async (t) => {
    const bed = redisBed(t, () => ({ url: single.url }))
    const first = await OpenTable.open(bed)
    const { metrics } = first.life as RedisLife
    const before = metrics.redis.roundTrips.value
    const holds = Array.from({ length: 25_000 }, (_, count) => first.set(`key ${count}`, 'x'.repeat(10)))
    const large = Array.from({ length: 3 }, (_, count) => first.set(`large ${count}`, 'x'.repeat(3_000_000)))
    await untilReleased(...holds, ...large)
    assert.equal(metrics.redis.roundTrips.value - before, 4)
    await untilReleased(...Array.from({ length: 25_000 }, (_, count) => first.set(`key ${count}`, undefined)))
    await first.life.stop()
    const second = await OpenTable.open(bed)
    assert.deepEqual([...second.table.entries.keys()].sort(), ['large 0', 'large 1', 'large 2'])
  })

  it('keeps the tables of a node apart from those of all others', async (t) => {
    const [one, other] = [redisBed(t, () => ({ url: single.url })), redisBed(t, () => ({ url: single.url }))]
    const [first, second] = [await OpenTable.open(one), await OpenTable.open(other)]
    await untilReleased(first.set('a', 'of the first'), second.set('a', 'of the second'))
    await Promise.all([first.life.stop(), second.life.stop()])
    assert.deepEqual((await OpenTable.open(one)).table.content(), [['a', 'of the first']])
    assert.deepEqual((await OpenTable.open(other)).table.content(), [['a', 'of the second']])
  })

  it('has all keys of a node behind one hash tag, names of any characters included', async (t) => {
    const server = await redisFor(t)
    const name = 'n1@[fe80::1]'
    const open = await OpenTable.open({
      open: () => openRedis({ url: server.url, keyPrefix: 'mqtt:' }, { name, incarnation: 1 }),
    })
    await untilReleased(open.set('a', '1'))
    await open.life.stop()
    assert.deepEqual((await server.ask('keys', '*')).split('\n').sort(), [
      'mqtt:{test/n1@%5Bfe80::1%5D}:state',
      'mqtt:{test/n1@%5Bfe80::1%5D}:table:words',
    ])
  })

  it('lets the later life of a node write, and nobody else', async (t) => {
    const bed = redisBed(t, () => ({ url: single.url }))
    const older = await OpenTable.open(bed)
    await untilReleased(older.set('a', 'older'))
    const newer = await OpenTable.open(bed)
    await untilReleased(newer.set('a', 'newer'))
    const refused = [older.set('a', 'too late'), older.set('b', 'too late')]
    await untilReleased(...refused)
    assert.deepEqual(
      refused.map(({ isRefused }) => isRefused),
      [true, true],
    )
    const again = older.set('c', 'too late')
    await untilReleased(again)
    assert.equal(again.isRefused, true)
    const { store, log, metrics } = older.life as RedisLife
    assert.equal(store.isFailing, true)
    assert.equal(metrics.failures.fenced.value, 1)
    const errors = log.filter(({ level }) => level >= 50)
    assert.equal(errors.length, 1)
    assert.match(
      errors[0]?.err?.message ?? '',
      /belongs to incarnation 2 of it, this is 1: two processes have one name/,
    )
    assert.match([...store.alarms()][0]?.detail ?? '', /two processes have one name/)
    await untilReleased(newer.set('d', 'newer'))
    await Promise.all([older.life.stop(), newer.life.stop()])
    assert.deepEqual((await OpenTable.open(bed)).table.content(), [
      ['a', 'newer'],
      ['d', 'newer'],
    ])
    const late = openRedis({ url: single.url }, { name: bed.name, incarnation: 1 })
    await assert.rejects(late, { code: 'STORE_FENCED', message: /belongs to incarnation 3/ })
  })

  it('tells two processes of one incarnation apart', async () => {
    const node = { name: 'twins@127.0.0.1', incarnation: 7 }
    const first = await openRedis({ url: single.url }, node)
    await assert.rejects(openRedis({ url: single.url }, node), { code: 'STORE_FENCED' })
    await first.stop()
  })

  it('does not read what a later version has written', async (t) => {
    const server = await redisFor(t)
    const node = { name: 'n1@127.0.0.1', incarnation: 1 }
    await (await openRedis({ url: server.url }, node)).stop()
    await server.ask('hset', 'shoalmq:{test/n1@127.0.0.1}:state', 'schema', '2')
    const opened = openRedis({ url: server.url }, { ...node, incarnation: 2 })
    await assert.rejects(opened, { code: 'STORE_NEWER', message: /has version 2; .* reads 1$/ })
  })
})
