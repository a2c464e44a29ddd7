import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { OpenTable, untilReleased } from '../../contract/store.js'
import { CuttableProxy } from '../../support/cuttable-proxy.js'
import { eventually } from '../../support/eventually.js'
import { redisFor } from '../../support/redis.js'
import { type RedisLife, redisBed } from './redis-bed.js'
import { assertKept, Writer } from './redis-writer.js'

const LONG = { within: 20_000 }

/** A store whose way to Redis leads through a proxy, which cuts it as a network does: nobody is told. */
async function openFor(t: TestContext, waitTime: string) {
  const server = await redisFor(t)
  const proxy = new CuttableProxy(() => server.port)
  await proxy.start()
  t.after(() => proxy.stop())
  const bed = redisBed(t, () => ({ url: `redis://${proxy.address}`, waitTime }))
  const open = await OpenTable.open(bed)
  const { store, metrics } = open.life as RedisLife
  await untilReleased(open.set('before', 'x'))
  return { server, proxy, bed, open, store, redis: metrics.redis }
}

describe('the store in Redis, when the network between them is cut', () => {
  it('goes on with the connection that it has, when it is whole before anybody gives up', async (t) => {
    const { proxy, bed, open, store, redis } = await openFor(t, '20s')
    proxy.freeze()
    const sent = redis.roundTrips.value
    const holds = [open.set('a', '1')]
    await eventually(() => assert.equal(redis.roundTrips.value, sent + 1))
    holds.push(open.set('a', '2'), open.set('b', '1'))
    assert.deepEqual(
      holds.map(({ isReleased }) => isReleased),
      [false, false, false],
    )
    proxy.heal()
    await untilReleased(...holds)
    assert.deepEqual(
      holds.filter(({ isRefused }) => isRefused),
      [],
    )
    assert.deepEqual([store.isFailing, redis.reconnects.value, proxy.accepted], [false, 0, 1])
    await open.life.stop()
    assert.deepEqual((await OpenTable.open(bed)).table.content(), [
      ['a', '2'],
      ['b', '1'],
      ['before', 'x'],
    ])
  })

  for (const [way, freeze] of [
    ['both ways', {}],
    ['on the way back only', { direction: 'out' }],
  ] as const) {
    it(`refuses after its time, and what arrives late changes nothing (cut ${way})`, async (t) => {
      const { server, proxy, bed, open, store } = await openFor(t, '300ms')
      proxy.freeze(freeze)
      const first = open.set('a', '1')
      await untilReleased(first)
      assert.deepEqual([first.isRefused, store.isFailing], [true, true])
      const second = open.set('a', '2')
      await untilReleased(second)
      assert.equal(second.isRefused, true)
      proxy.heal()
      await eventually(() => assert.equal(store.isFailing, false), LONG)
      const third = open.set('a', '3')
      await untilReleased(third)
      assert.equal(third.isRefused, false)
      // The connections that were given up are gone: nothing is on its way any more.
      await eventually(() => assert.equal(proxy.connections, 1), LONG)
      assert.equal(await server.ask('hget', `shoalmq:{test/${bed.name}}:table:words`, 'a'), '3')
    })
  }

  it('has kept what it acknowledged when it is cut again and again under load', async (t) => {
    const { proxy, bed, open, store, redis } = await openFor(t, '200ms')
    const writer = new Writer(open)
    for (let round = 1; round <= 4; round += 1) {
      const seen = writer.last
      await eventually(() => assert.ok(writer.last > seen + 50, 'nothing is written'), LONG)
      proxy.freeze(round % 2 === 0 ? { direction: 'out' } : {})
      await eventually(() => assert.equal(store.isFailing, true), LONG)
      proxy.heal()
      await eventually(() => assert.equal(store.isFailing, false), LONG)
    }
    await writer.stop()
    assert.notEqual(writer.refused, 0)
    assert.equal(redis.losses.value, 0)
    await open.life.stop()
    assertKept(writer, await OpenTable.open(bed))
  })
})
