import assert from 'node:assert/strict'
import { afterEach, describe, test } from 'node:test'
import type { EtcdOptions } from '../../../../src/config/discovery-options.js'
import { configSchema } from '../../../../src/config/options.js'
import { CertificateAuthority } from '../../../support/certificates.js'
import { EtcdServer } from '../../../support/etcd.js'
import { eventually } from '../../../support/eventually.js'
import { freePort } from '../../../support/free-port.js'
import { ObservedSeeds } from './observed-seeds.js'

const DEFAULTS = configSchema.parse({}).cluster.etcd
const toStop: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const stop of toStop.splice(0).reverse()) await stop()
})

async function startEtcd(...tls: Parameters<typeof EtcdServer.start>): Promise<EtcdServer> {
  const server = await EtcdServer.start(...tls)
  toStop.push(() => server.stop())
  return server
}

/** A node by its number, which is its port too. */
function observe(number: number, options: Partial<EtcdOptions>): ObservedSeeds {
  const etcd = { ...DEFAULTS, interval: 100, ...options }
  const self = { node: `n${number}@127.0.0.1`, incarnation: 7, address: `127.0.0.1:${number}` }
  const observed = new ObservedSeeds({ discovery: 'etcd', name: 'blue', etcd }, self)
  toStop.push(() => observed.source.stop())
  return observed.start()
}

const within = { within: 15_000 }

describe('seeds in etcd', () => {
  test('are the nodes that have registered, and one that stops takes its key away', { timeout: 60_000 }, async () => {
    const server = await startEtcd()
    const [first, second] = [1, 2].map((number) => observe(number, { server: [server.url] }))
    await eventually(() => assert.deepEqual(first?.latest, ['127.0.0.1:1', '127.0.0.1:2']), within)
    await eventually(() => assert.deepEqual(second?.latest, ['127.0.0.1:1', '127.0.0.1:2']), within)
    assert.deepEqual(await server.keys(), {
      'shoalmq/blue/nodes/n1@127.0.0.1': '{"address":"127.0.0.1:1","incarnation":7}',
      'shoalmq/blue/nodes/n2@127.0.0.1': '{"address":"127.0.0.1:2","incarnation":7}',
    })
    await second?.source.stop()
    assert.deepEqual(Object.keys(await server.keys()), ['shoalmq/blue/nodes/n1@127.0.0.1'])
    await eventually(() => assert.deepEqual(first?.latest, ['127.0.0.1:1']), within)
    assert.equal(first?.metrics.addresses, 1)
  })

  test('come back when somebody removed the key, and another cluster or a key without an address is nobody', {
    timeout: 60_000,
  }, async () => {
    const server = await startEtcd()
    const put = (key: string, value: string) =>
      server.call('kv/put', {
        key: Buffer.from(key).toString('base64'),
        value: Buffer.from(value).toString('base64'),
      })
    await put('shoalmq/green/nodes/n9@x', '{"address":"127.0.0.1:9"}')
    await put('shoalmq/blue/nodes/n8@x', 'nonsense')
    const own = 'shoalmq/blue/nodes/n1@127.0.0.1'
    const seeds = observe(1, { server: [server.url] })
    await eventually(() => assert.deepEqual(seeds.latest, ['127.0.0.1:1']), within)
    await server.call('kv/deleterange', { key: Buffer.from(own).toString('base64') })
    await eventually(async () => assert.equal(own in (await server.keys()), true), within)
    assert.deepEqual(
      seeds.lines.filter(({ level }) => level >= 40).map(({ msg }) => msg),
      ['a key in etcd holds no address of a node'],
    )
  })

  test('end with the lease of a node that is no more', { timeout: 60_000 }, async () => {
    const server = await startEtcd()
    const { ID } = await server.call('lease/grant', { TTL: '2' })
    await server.call('kv/put', {
      key: Buffer.from('shoalmq/blue/nodes/n2@127.0.0.1').toString('base64'),
      value: Buffer.from('{"address":"127.0.0.1:2","incarnation":1}').toString('base64'),
      lease: ID,
    })
    const seeds = observe(1, { server: [server.url], nodeTtl: 5_000 })
    await eventually(() => assert.deepEqual(seeds.latest, ['127.0.0.1:1', '127.0.0.1:2']), within)
    await eventually(() => assert.deepEqual(seeds.latest, ['127.0.0.1:1']), within)
    await eventually(async () => {
      const { leases } = (await server.call('lease/leases', {})) as { leases: unknown[] }
      assert.equal(leases.length, 1, 'one lease for all rounds')
    }, within)
  })

  test('outlive the absence of etcd, which is logged once and counted, and are found when it is back', {
    timeout: 60_000,
  }, async () => {
    const server = await startEtcd()
    const first = observe(1, { server: [server.url] })
    await eventually(() => assert.deepEqual(first.reports, [['127.0.0.1:1']]), within)
    await server.pause()
    const second = observe(2, { server: [server.url] })
    await eventually(
      () => assert.equal(first.metrics.rounds.failed.value >= 2 && first.metrics.isFailing, true),
      within,
    )
    assert.deepEqual([first.warnings(), second.warnings()], [['ECONNREFUSED'], ['ECONNREFUSED']])
    assert.deepEqual(first.reports, [['127.0.0.1:1']])
    await server.resume()
    await eventually(() => assert.deepEqual(second.latest, ['127.0.0.1:1', '127.0.0.1:2']), within)
    await eventually(() => assert.equal(first.lines.at(-1)?.msg, 'discovery works again'), within)
    assert.equal(first.metrics.isFailing, false)
  })

  test('are read at the next endpoint when one does not answer', { timeout: 60_000 }, async () => {
    const server = await startEtcd()
    const seeds = observe(1, { server: [`http://127.0.0.1:${await freePort()}`, server.url] })
    await eventually(() => assert.deepEqual(seeds.reports, [['127.0.0.1:1']]), within)
    assert.deepEqual(seeds.warnings(), [])
  })

  test('ask for a user and a password, and a wrong one is logged without it', { timeout: 60_000 }, async () => {
    const server = await startEtcd()
    await server.requireUser('mesh', 'right one')
    const right = observe(1, { server: [server.url], username: 'mesh', password: 'right one' })
    const wrong = observe(2, { server: [server.url], username: 'mesh', password: 'wrong one' })
    await eventually(() => assert.deepEqual(right.latest, ['127.0.0.1:1']), within)
    await eventually(() => assert.equal(wrong.warnings().length, 1), within)
    assert.doesNotMatch(JSON.stringify(wrong.lines), /wrong one/)
    assert.deepEqual(wrong.reports, [])
  })

  test('are asked over TLS with a certificate of the node, and not without', { timeout: 60_000 }, async () => {
    const authority = new CertificateAuthority()
    const server = await startEtcd({ ...authority.server(), caFile: authority.caFile })
    const own = authority.issue({ subject: '/CN=n1' })
    const options = { server: [server.url], caFile: authority.caFile }
    const shown = observe(1, { ...options, ...own })
    const none = observe(2, options)
    const unknownAuthority = observe(3, { ...options, ...own, caFile: '' })
    await eventually(() => assert.deepEqual(shown.latest, ['127.0.0.1:1']), within)
    await eventually(() => assert.equal(none.warnings().length, 1), within)
    await eventually(() => assert.equal(unknownAuthority.warnings().length, 1), within)
    assert.deepEqual([none.reports, unknownAuthority.reports], [[], []])
  })
})
