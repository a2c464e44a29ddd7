import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientFor } from '../support/client.js'
import { useCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import { preloading } from '../support/node-process.js'

const CORRUPT_ROUTES = new URL('../support/corrupt-routes.mjs', import.meta.url)
/** Digests are compared every 10 s. */
const COMPARED = { within: 40_000 }

const cluster = useCluster({
  nodes: 3,
  perNode: { 1: { environment: preloading(CORRUPT_ROUTES) } },
})

interface Routes {
  readonly data: readonly { readonly filter: string }[]
}

test('a node whose copy of the routes of others is corrupted finds it by their digests, mends it, and counts it', {
  timeout: 120_000,
}, async (t) => {
  const [n1, n2, n3] = [cluster().node(1), cluster().node(2), cluster().node(3)]
  const url = (port: number): string => `mqtt://127.0.0.1:${port}`
  const [second, third] = [await clientFor(t, url(n2.ports.mqtt)), await clientFor(t, url(n3.ports.mqtt))]
  await second.subscribe('of/second', 1)
  await third.subscribe('of/third/#', 1)
  await cluster().whenWhole()
  const filters = async (): Promise<string[]> => {
    const { data } = await n1.ask<Routes>('routes')
    // Mended routes stand in the order in which the peers' answers came.
    return data
      .map(({ filter }) => filter)
      .filter((filter) => !filter.startsWith('$'))
      .sort()
  }
  assert.deepEqual(await filters(), ['of/second', 'of/third/#'])
  const mended = async (): Promise<number[]> => {
    const metrics = await n1.metrics()
    return [n2, n3].map(({ name }) => metrics.value('shoalmq_route_resyncs_total', { peer: name }))
  }
  const before = await mended()

  process.kill(n1.pid, 'SIGUSR2')
  await eventually(() => assert.equal(n1.text().match(/^corrupted: /gm)?.length, 2))
  await eventually(async () => {
    assert.deepEqual(
      await mended(),
      before.map((count) => count + 1),
    )
    assert.deepEqual(await filters(), ['of/second', 'of/third/#'])
  }, COMPARED)
  assert.equal(n1.logs().filter(({ msg }) => msg === 'routes differ from the peer, asking for them').length, 2)

  const publisher = await clientFor(t, url(n1.ports.mqtt))
  await publisher.publish('of/second', '2', { qos: 1 })
  await publisher.publish('of/third/topic', '3', { qos: 1 })
  await eventually(() => assert.deepEqual([second.payloads(), third.payloads()], [['2'], ['3']]))
  const verified = await n1.ask<{ inStep: boolean }>('routes/verify')
  assert.equal(verified.inStep, true)
})
