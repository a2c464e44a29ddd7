import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { OpenTable, TestShelf, untilReleased } from '../../contract/store.js'
import { eventually } from '../../support/eventually.js'
import { freePort } from '../../support/free-port.js'
import { type RedisServer, redisFor } from '../../support/redis.js'
import { RedisCluster } from '../../support/redis-cluster.js'
import { RedisSentinels } from '../../support/redis-sentinels.js'
import type { CountingHold } from '../mqtt/session/recording-outlet.js'
import { type RedisLife, redisBed } from './redis-bed.js'
import { assertKept, Writer } from './redis-writer.js'

/** Synchronous to the disk, so that what Redis has acknowledged outlives it. */
const DURABLE = ['--appendonly', 'yes', '--appendfsync', 'always']

const LONG = { within: 20_000 }

function lifeOf(open: OpenTable): RedisLife {
  return open.life as RedisLife
}

function errorsOf({ log }: RedisLife): string[] {
  return log.filter(({ level }) => level >= 50).map(({ msg }) => msg)
}

async function openFor(t: TestContext, values: () => object): Promise<OpenTable> {
  return OpenTable.open(redisBed(t, values))
}

describe('the store in Redis, when Redis is away', () => {
  it('lets those who wait go on waiting, and writes when Redis is back in time', async (t) => {
    const server = await redisFor(t, ...DURABLE)
    const open = await openFor(t, () => ({ url: server.url, waitTime: '20s' }))
    await untilReleased(open.set('before', 'x'))
    await server.kill()
    const hold = open.set('meanwhile', 'x')
    await eventually(() => assert.notEqual(lifeOf(open).metrics.failures.unreachable.value, 0))
    assert.deepEqual([hold.isReleased, lifeOf(open).store.isFailing], [false, false])
    await server.resume()
    await eventually(() => assert.equal(hold.isReleased, true), LONG)
    assert.deepEqual([hold.isRefused, lifeOf(open).metrics.redis.reconnects.value], [false, 1])
    assert.deepEqual(errorsOf(lifeOf(open)), [])
  })

  it('refuses who has waited for long enough, then everybody at once, until it is back', async (t) => {
    const server = await redisFor(t, ...DURABLE)
    const bed = redisBed(t, () => ({ url: server.url, waitTime: '300ms' }))
    const open = await OpenTable.open(bed)
    const { store, metrics, log } = lifeOf(open)
    await untilReleased(open.set('before', 'x'))
    await server.kill()
    const startedAt = performance.now()
    const first = open.set('first', 'x')
    await eventually(() => assert.equal(first.isReleased, true))
    assert.ok(performance.now() - startedAt >= 250, 'refused before its time')
    assert.deepEqual([first.isRefused, store.isFailing, metrics.refused.value], [true, true, 1])
    const second = open.set('second', 'x')
    await eventually(() => assert.equal(second.isReleased, true), { within: 200 })
    assert.equal(second.isRefused, true)
    open.set('nobody waits', 'x')
    const [alarm] = store.alarms()
    assert.deepEqual([alarm?.alarm, alarm?.subject], ['store_failing', server.url])
    assert.match(alarm?.detail ?? '', /cannot be reached: connect ECONNREFUSED/)
    await server.resume()
    await eventually(() => assert.equal(store.isFailing, false), LONG)
    assert.deepEqual([...store.alarms()], [])
    assert.deepEqual(errorsOf(lifeOf(open)), ['the store cannot write'])
    assert.equal(log.filter(({ msg }) => msg === 'the store can write again').length, 1)
    await untilReleased(open.set('after', 'x'))
    await open.life.stop()
    // What was refused was due all the same.
    assert.deepEqual([...(await OpenTable.open(bed)).table.entries.keys()].sort(), [
      ...['after', 'before', 'first', 'nobody waits', 'second'],
    ])
  })

  it('says so when nothing is due, too', async (t) => {
    const server = await redisFor(t, ...DURABLE)
    const open = await openFor(t, () => ({ url: server.url, waitTime: '100ms' }))
    await server.kill()
    await eventually(() => assert.equal(lifeOf(open).store.isFailing, true))
    await server.resume()
    await eventually(() => assert.equal(lifeOf(open).store.isFailing, false), LONG)
  })

  it('does not wait for a Redis that stands still, and what arrives there late changes nothing', async (t) => {
    const server = await redisFor(t)
    const bed = redisBed(t, () => ({ url: server.url, waitTime: '300ms' }))
    const open = await OpenTable.open(bed)
    await untilReleased(open.set('a', '1'))
    server.freeze()
    const stuck = open.set('a', '2')
    await eventually(() => assert.equal(stuck.isReleased, true))
    assert.deepEqual([stuck.isRefused, lifeOf(open).store.isFailing], [true, true])
    open.set('a', '3')
    server.thaw()
    await eventually(() => assert.equal(lifeOf(open).store.isFailing, false), LONG)
    const last = open.set('a', '4')
    await untilReleased(last)
    await open.life.stop()
    assert.deepEqual((await OpenTable.open(bed)).table.content(), [['a', '4']])
  })

  it('stops all the same, and refuses what it cannot keep', async (t) => {
    const server = await redisFor(t)
    const open = await openFor(t, () => ({ url: server.url, waitTime: '20s' }))
    await server.kill()
    const hold = open.set('a', '1')
    await open.life.stop()
    assert.deepEqual([hold.isReleased, hold.isRefused], [true, true])
  })

  it('has kept what it acknowledged when Redis is killed again and again under load', async (t) => {
    const server = await redisFor(t, ...DURABLE)
    const bed = redisBed(t, () => ({ url: server.url, waitTime: '200ms' }))
    const open = await OpenTable.open(bed)
    const writer = new Writer(open)
    for (let round = 1; round <= 3; round += 1) {
      const seen = writer.last
      await eventually(() => assert.ok(writer.last > seen + 50, 'nothing is written'), LONG)
      await server.kill()
      await eventually(() => assert.equal(lifeOf(open).store.isFailing, true), LONG)
      await server.resume()
      await eventually(() => assert.equal(lifeOf(open).store.isFailing, false), LONG)
    }
    await writer.stop()
    assert.notEqual(writer.refused, 0)
    assert.equal(lifeOf(open).metrics.redis.losses.value, 0)
    await open.life.stop()
    assertKept(writer, await OpenTable.open(bed))
  })

  it('says that Redis is full, and goes on when there is room', async (t) => {
    const server = await redisFor(t)
    const open = await openFor(t, () => ({ url: server.url, waitTime: '100ms' }))
    await untilReleased(open.set('a', 'x'.repeat(100_000)))
    await server.ask('config', 'set', 'maxmemory', '1mb')
    const refused = open.set('b', 'x')
    await untilReleased(refused)
    assert.equal(refused.isRefused, true)
    assert.notEqual(lifeOf(open).metrics.failures.full.value, 0)
    assert.match([...lifeOf(open).store.alarms()][0]?.detail ?? '', /is full: OOM/)
    await server.ask('config', 'set', 'maxmemory', '0')
    await eventually(() => assert.equal(lifeOf(open).store.isFailing, false), LONG)
  })

  it('finds that with a sign of life that is refused, when nothing is due', async (t) => {
    const server = await redisFor(t)
    const open = await openFor(t, () => ({ url: server.url, waitTime: '100ms' }))
    await untilReleased(open.set('a', 'x'.repeat(100_000)))
    await server.ask('config', 'set', 'maxmemory', '1mb')
    await assert.rejects(lifeOf(open).store.beat(), /OOM/)
    await eventually(() => assert.equal(lifeOf(open).store.isFailing, true))
    await server.ask('config', 'set', 'maxmemory', '0')
    await eventually(() => assert.equal(lifeOf(open).store.isFailing, false), LONG)
  })
})

describe('the store in Redis, when Redis has lost what it had', () => {
  async function lose(t: TestContext, server: RedisServer, lossOf: () => Promise<void>): Promise<void> {
    const bed = redisBed(t, () => ({ url: server.url, waitTime: '5s' }))
    const open = await OpenTable.open(bed)
    const holds: CountingHold[] = []
    for (let count = 0; count < 12_000; count += 1) holds.push(open.set(`key ${count}`, `value ${count}`))
    await untilReleased(...holds)
    await untilReleased(open.set('key 0', undefined), open.set('key 1', 'changed'))
    await lossOf()
    await untilReleased(open.set('after', 'x'))
    const { metrics } = lifeOf(open)
    assert.equal(metrics.redis.losses.value, 1)
    const state = `shoalmq:{test/${bed.name}}:table:words`
    await eventually(async () => assert.equal(await server.ask('hlen', state), '12000'), LONG)
    assert.deepEqual(errorsOf(lifeOf(open)), ['Redis has lost what it had kept, it is written again'])
    await open.life.stop()
    const { entries } = (await OpenTable.open(bed)).table
    assert.deepEqual(
      [entries.size, entries.has('key 0'), entries.get('key 1')?.toString(), entries.get('key 11999')?.toString()],
      [12_000, false, 'changed', 'value 11999'],
    )
  }

  it('writes all of it again after a restart without a file', async (t) => {
    const server = await redisFor(t)
    await lose(t, server, async () => {
      await server.kill()
      await server.resume()
    })
  })

  it('writes all of it again when somebody has emptied it', async (t) => {
    const server = await redisFor(t)
    await lose(t, server, async () => {
      await server.ask('flushall')
    })
  })

  it('writes a shelf again from its copy, with what is changed meanwhile, and nothing that was removed', async (t) => {
    const server = await redisFor(t)
    const bed = redisBed(t, () => ({ url: server.url }))
    const open = await TestShelf.open(bed)
    await untilReleased(...Array.from({ length: 6_000 }, (_, index) => open.set(index + 1, `entry ${index + 1}`)))
    await untilReleased(open.set(1, undefined))
    const key = `shoalmq:{test/${bed.name}}:shelf:messages`
    await server.ask('flushall')
    await server.ask('hset', key, '1', 'is back', '7000', 'never was')
    await untilReleased(open.set(2, 'another'), open.set(3, undefined))
    await eventually(async () => assert.equal(await server.ask('hlen', key), '5998'), LONG)
    assert.equal(await server.ask('hexists', key, '7000'), '0')
    assert.deepEqual(
      [open.at(1), open.at(2), open.at(3), open.at(6_000)],
      [undefined, 'another', undefined, 'entry 6000'],
    )
    // The owner is asked only for what it has changed itself.
    assert.equal(open.reads.length, 6_003)
    await open.life.stop()
    const { restored } = await TestShelf.open(bed)
    assert.deepEqual([restored.length, restored[0], restored.at(-1)], [5_998, [2, 'another'], [6_000, 'entry 6000']])
  })

  it('reads entries only for what it writes, so that no owner takes something for kept that is not', async (t) => {
    const server = await redisFor(t)
    const bed = redisBed(t, () => ({ url: server.url }))
    const open = await OpenTable.open(bed)
    // Each read gives something else, as of an owner who moves on while Redis answers.
    const read = new Map<string, number>()
    const kept = new Map<string, number>()
    open.table.read = (key) => {
      read.set(key, (read.get(key) ?? 0) + 1)
      return Buffer.from(String(read.get(key)))
    }
    open.table.kept = (key) => kept.set(key, read.get(key) ?? 0)
    await untilReleased(open.set('a', 'x'), open.set('b', 'x'))
    await server.ask('flushall')
    await untilReleased(open.set('a', 'y'))
    const table = `shoalmq:{test/${bed.name}}:table:words`
    await eventually(async () => assert.equal(await server.ask('hlen', table), '2'), LONG)
    await open.life.stop()
    const found = await Promise.all(['a', 'b'].map(async (key) => Number(await server.ask('hget', table, key))))
    assert.deepEqual([kept.get('a'), kept.get('b')], found)
  })

  it('finds that with its next sign of life, when nothing is due', async (t) => {
    const server = await redisFor(t)
    const bed = redisBed(t, () => ({ url: server.url }))
    const open = await OpenTable.open(bed)
    const { store, metrics } = lifeOf(open)
    await untilReleased(open.set('kept', '1'))
    const keys = ['state', 'table:words'].map((key) => `shoalmq:{test/${bed.name}}:${key}`)
    for (const key of keys) await server.ask('copy', key, `${key}:earlier`)
    await untilReleased(open.set('kept', '2'))
    assert.equal(await store.beat(), true)
    for (const key of keys) await server.ask('copy', `${key}:earlier`, key, 'replace')
    assert.equal(await store.beat(), false)
    await eventually(async () => assert.equal(await server.ask('hget', keys[1] ?? '', 'kept'), '2'), LONG)
    assert.equal(metrics.redis.losses.value, 1)
    await eventually(async () => assert.equal(await store.beat(), true), LONG)
  })

  it('removes what has come back, after a return to an earlier state', async (t) => {
    const server = await redisFor(t)
    const bed = redisBed(t, () => ({ url: server.url }))
    const open = await OpenTable.open(bed)
    await untilReleased(open.set('removed', 'x'), open.set('kept', '1'))
    const keys = ['state', 'table:words'].map((key) => `shoalmq:{test/${bed.name}}:${key}`)
    for (const key of keys) await server.ask('copy', key, `${key}:earlier`)
    await untilReleased(open.set('removed', undefined), open.set('kept', '2'))
    await untilReleased(open.set('new', 'x'))
    for (const key of keys) await server.ask('copy', `${key}:earlier`, key, 'replace')
    await untilReleased(open.set('after', 'x'))
    await eventually(async () => assert.equal(await server.ask('hexists', keys[1] ?? '', 'removed'), '0'))
    await eventually(async () => assert.equal(await server.ask('hexists', keys[1] ?? '', 'new'), '1'))
    await open.life.stop()
    assert.deepEqual((await OpenTable.open(bed)).table.content(), [
      ['after', 'x'],
      ['kept', '2'],
      ['new', 'x'],
    ])
  })
})

describe('the store behind Sentinels', () => {
  it('follows the master that is named next, and has what it acknowledged', async (t) => {
    const sentinels = await RedisSentinels.start()
    t.after(() => sentinels.stop())
    // One Sentinel is away all the time.
    const places = [`127.0.0.1:${await freePort()}`, ...sentinels.options.sentinels]
    const bed = redisBed(t, () => ({ ...sentinels.options, sentinels: places, waitTime: '500ms' }))
    const open = await OpenTable.open(bed)
    const writer = new Writer(open)
    await eventually(() => assert.ok(writer.last > 50, 'nothing is written'), LONG)
    await sentinels.master.kill()
    await eventually(() => assert.equal(lifeOf(open).store.isFailing, true), LONG)
    await eventually(() => assert.equal(lifeOf(open).store.isFailing, false), LONG)
    const before = writer.last
    await eventually(() => assert.ok(writer.last > before + 50, 'nothing is written'), LONG)
    await writer.stop()
    await open.life.stop()
    assert.match(await sentinels.replica.ask('info', 'replication'), /role:master/)
    assertKept(writer, await OpenTable.open(bed))
  })

  it('acknowledges what a replica has, where that is asked for, and refuses without one', async (t) => {
    const sentinels = await RedisSentinels.start()
    t.after(() => sentinels.stop())
    const open = await openFor(t, () => ({ ...sentinels.options, waitTime: '500ms', waitReplicas: 1 }))
    const hold = open.set('a', '1')
    await untilReleased(hold)
    assert.equal(hold.isRefused, false)
    sentinels.replica.freeze()
    const refused = open.set('a', '2')
    await untilReleased(refused)
    assert.equal(refused.isRefused, true)
    const why = /NOREPLICAS 0 of 1 replicas have it \(store\.redis\.waitReplicas\)/
    await eventually(() => assert.match([...lifeOf(open).store.alarms()][0]?.detail ?? '', why))
    sentinels.replica.thaw()
    await eventually(() => assert.equal(lifeOf(open).store.isFailing, false), LONG)
  })
})

describe('the store in a Redis Cluster', () => {
  it('refuses while the master of its slot is away, and goes on when it is back', async (t) => {
    const cluster = await RedisCluster.start()
    t.after(() => cluster.stop())
    const bed = redisBed(t, () => ({ ...cluster.options, waitTime: '300ms' }))
    const open = await OpenTable.open(bed)
    await untilReleased(open.set('a', '1'))
    const master = await cluster.masterOf(`shoalmq:{test/${bed.name}}:state`)
    master.freeze()
    const refused = open.set('a', '2')
    await untilReleased(refused)
    assert.deepEqual([refused.isRefused, lifeOf(open).store.isFailing], [true, true])
    master.thaw()
    await eventually(() => assert.equal(lifeOf(open).store.isFailing, false), LONG)
    await untilReleased(open.set('b', '3'))
    await open.life.stop()
    assert.deepEqual((await OpenTable.open(bed)).table.content(), [
      ['a', '2'],
      ['b', '3'],
    ])
  })
})
