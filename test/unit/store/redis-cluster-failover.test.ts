import assert from 'node:assert/strict'
import { after, before, describe, it, type TestContext } from 'node:test'
import { OpenTable, untilReleased } from '../../contract/store.js'
import { eventually } from '../../support/eventually.js'
import type { RedisServer } from '../../support/redis.js'
import { RedisCluster } from '../../support/redis-cluster.js'
import { type RedisLife, redisBed } from './redis-bed.js'
import { assertKept, Writer } from './redis-writer.js'

/** A failover takes some seconds. */
const LONG = { within: 60_000 }
/** A replica that was told to take over has given up by then, if it had not caught up with its master in time. */
const HANDOVER_MS = 7_000

const DURABLE = ['--appendonly', 'yes', '--appendfsync', 'always']

describe('the store in a Redis Cluster whose masters have replicas', () => {
  let cluster: RedisCluster

  before(async () => {
    cluster = await RedisCluster.start({ replicas: 1, parameters: DURABLE })
  })

  after(() => cluster.stop())

  /** A store, its bed, and the key by which the master of its slot is found. */
  async function openFor(t: TestContext, values: object) {
    const bed = redisBed(t, () => ({ ...cluster.options, waitTime: '500ms', ...values }))
    const open = await OpenTable.open(bed)
    const { store, metrics } = open.life as RedisLife
    const key = `shoalmq:{test/${bed.name}}:state`
    const isPromoted = async (server: RedisServer): Promise<void> => assert.equal(await cluster.masterOf(key), server)
    return { bed, open, store, metrics, isPromoted, master: await cluster.masterOf(key) }
  }

  for (const waitReplicas of [0, 1])
    it(`follows a master that hands over, and nobody is refused (waitReplicas ${waitReplicas})`, async (t) => {
      const { bed, open, metrics, master, isPromoted } = await openFor(t, { waitTime: '60s', waitReplicas })
      const replica = await cluster.replicaOf(master)
      const writer = new Writer(open)
      await eventually(() => assert.ok(writer.last > 50, 'nothing is written'), LONG)
      let askedAt = -Infinity
      await eventually(async () => {
        if (performance.now() - askedAt > HANDOVER_MS) {
          askedAt = performance.now()
          assert.equal(await replica.ask('cluster', 'failover'), 'OK')
        }
        await isPromoted(replica)
      }, LONG)
      const seen = writer.last
      await eventually(() => assert.ok(writer.last > seen + 50, 'nothing is written'), LONG)
      await writer.stop()
      assert.deepEqual([writer.refused, metrics.redis.losses.value], [0, 0])
      await open.life.stop()
      assertKept(writer, await OpenTable.open(bed))
    })

  it('loses nothing that a replica has when the master is killed, and refuses without a replica', async (t) => {
    const { bed, open, store, metrics, master, isPromoted } = await openFor(t, { waitReplicas: 1 })
    const replica = await cluster.replicaOf(master)
    const writer = new Writer(open)
    await eventually(() => assert.ok(writer.last > 50, 'nothing is written'), LONG)
    await master.kill()
    await eventually(() => isPromoted(replica), LONG)
    const why = /NOREPLICAS 0 of 1 replicas have it/
    await eventually(() => assert.match([...store.alarms()][0]?.detail ?? '', why), LONG)
    await master.resume()
    await eventually(() => assert.equal(store.isFailing, false), LONG)
    const seen = writer.last
    await eventually(() => assert.ok(writer.last > seen + 50, 'nothing is written'), LONG)
    await writer.stop()
    assert.equal(metrics.redis.losses.value, 0)
    await open.life.stop()
    assertKept(writer, await OpenTable.open(bed))
  })

  it('writes again from memory what the replica that was promoted has not got', async (t) => {
    const { bed, open, store, metrics, master, isPromoted } = await openFor(t, { waitTime: '10s' })
    const replica = await cluster.replicaOf(master)
    await untilReleased(open.set('old', '1'))
    replica.freeze()
    // More than the connection to the replica takes in while nobody reads it.
    const large = 'x'.repeat(1_000_000)
    const holds = Array.from({ length: 40 }, (_, count) => open.set(`large ${count}`, large))
    await untilReleased(...holds)
    const last = open.set('old', '2')
    await untilReleased(last)
    assert.deepEqual(
      [...holds, last].filter(({ isRefused }) => isRefused),
      [],
    )
    await master.kill()
    replica.thaw()
    await eventually(() => isPromoted(replica), LONG)
    // Nothing is due; its next sign of life tells.
    await eventually(async () => assert.equal(await store.beat(), false), LONG)
    await eventually(() => assert.equal(metrics.redis.losses.value, 1), LONG)
    await eventually(() => assert.equal(store.isFailing, false), LONG)
    const after = open.set('new', '3')
    await untilReleased(after)
    assert.equal(after.isRefused, false)
    await open.life.stop()
    const { entries } = (await OpenTable.open(bed)).table
    assert.deepEqual(
      [entries.size, entries.get('old')?.toString(), entries.get('large 39')?.length, entries.get('new')?.toString()],
      [42, '2', large.length, '3'],
    )
  })
})
