import assert from 'node:assert/strict'
import { afterEach, describe, test } from 'node:test'
import { createSeedSource, type SeedOptions } from '../../../../src/cluster/discovery/discovery.js'
import { configSchema, type DnsOptions } from '../../../../src/config/options.js'
import { DnsServer, ZONE } from '../../../support/dnsmasq.js'
import { eventually } from '../../../support/eventually.js'
import { ObservedSeeds, seedModules } from './observed-seeds.js'

const SERVICE = `shoalmq.${ZONE}`
const SRV_NAME = `_cluster._tcp.${SERVICE}`

const toStop: (() => void | Promise<void>)[] = []

afterEach(async () => {
  for (const stop of toStop.splice(0).reverse()) await stop()
})

async function startDns(records?: Parameters<DnsServer['serve']>[0]): Promise<DnsServer> {
  const server = await DnsServer.start(records)
  toStop.push(() => server.stop())
  return server
}

function observe(options: Partial<SeedOptions>): ObservedSeeds {
  const observed = new ObservedSeeds(options)
  toStop.push(() => observed.source.stop())
  return observed.start()
}

function observeDns(options: Partial<DnsOptions>): ObservedSeeds {
  const defaults = configSchema.parse({}).cluster.dns
  return observe({ discovery: 'dns', dns: { ...defaults, name: SERVICE, interval: 100, ...options } })
}

describe('static seeds', () => {
  test('are reported as they are written, at once', () => {
    const { reports } = observe({ seeds: ['n2.example:5370', '127.0.0.1:5371'] })
    assert.deepEqual(reports, [['n2.example:5370', '127.0.0.1:5371']])
  })

  test('are reported also when there are none, as the first node of a cluster has none', () => {
    assert.deepEqual(observe({ seeds: [] }).reports, [[]])
  })
})

describe('DNS seeds from a server that is named in the options', () => {
  test('are the A and AAAA records of the name, with the configured port', async () => {
    const server = await startDns({ hosts: { [SERVICE]: ['10.0.0.2', '10.0.0.1', 'fd00::7'] } })
    const seeds = observeDns({ servers: [server.address], port: 5371 })
    await eventually(() => assert.deepEqual(seeds.reports, [['10.0.0.1:5371', '10.0.0.2:5371', '[fd00::7]:5371']]))
    assert.deepEqual(seeds.warnings(), [])
  })

  test('follow the records while nodes come and go, and are reported only when they change', async () => {
    const server = await startDns({ hosts: { [SERVICE]: ['10.0.0.1'] } })
    const seeds = observeDns({ servers: [server.address] })
    await eventually(() => assert.deepEqual(seeds.latest, ['10.0.0.1:5370']))
    await server.serve({ hosts: { [SERVICE]: ['10.0.0.1', '10.0.0.2', '10.0.0.3'] } })
    await eventually(() => assert.deepEqual(seeds.latest, ['10.0.0.1:5370', '10.0.0.2:5370', '10.0.0.3:5370']))
    await server.serve({ hosts: { [SERVICE]: ['10.0.0.3', '10.0.0.4'] } })
    await eventually(() => assert.deepEqual(seeds.latest, ['10.0.0.3:5370', '10.0.0.4:5370']))
    assert.equal(seeds.reports.length, 3)
  })

  test('are asked for again within a second while the name does not exist, and that is logged once', async () => {
    const server = await startDns()
    const seeds = observeDns({ servers: [server.address], interval: 3_600_000 })
    await eventually(() => assert.deepEqual(seeds.warnings(), ['ENOTFOUND']))
    await server.serve({ hosts: { [SERVICE]: ['10.0.0.1'] } })
    await eventually(() => assert.deepEqual(seeds.reports, [['10.0.0.1:5370']]))
    assert.deepEqual(
      seeds.lines.map(({ msg }) => msg),
      ['seeds could not all be resolved', 'seeds are resolved again'],
    )
  })

  test('are kept when the name loses its records or the server is gone', async () => {
    const server = await startDns({ hosts: { [SERVICE]: ['10.0.0.1'] } })
    const seeds = observeDns({ servers: [server.address] })
    await eventually(() => assert.deepEqual(seeds.latest, ['10.0.0.1:5370']))
    await server.serve({})
    await eventually(() => assert.deepEqual(seeds.warnings(), ['ENOTFOUND']))
    await server.stopProcess()
    await eventually(() => assert.deepEqual(seeds.warnings(), ['ENOTFOUND', 'ECONNREFUSED']))
    await server.serve({ hosts: { [SERVICE]: ['10.0.0.2'] } })
    await eventually(() => assert.deepEqual(seeds.reports, [['10.0.0.1:5370'], ['10.0.0.2:5370']]))
    await eventually(() => assert.equal(seeds.lines.at(-1)?.msg, 'seeds are resolved again'))
  })

  test('are the addresses and ports of SRV records', async () => {
    const [n1, n2, n3] = [`n1.${SERVICE}`, `n2.${SERVICE}`, `n3.${SERVICE}`]
    const services = { [SRV_NAME]: [n1, n2, n3].map((target, at) => ({ target, port: 5370 + at })) }
    const server = await startDns({ hosts: { [n1]: ['10.0.0.1', 'fd00::1'], [n2]: ['10.0.0.2'] }, services })
    const seeds = observeDns({ servers: [server.address], type: 'srv', name: SRV_NAME })
    await eventually(() => assert.deepEqual(seeds.latest, ['10.0.0.1:5370', '10.0.0.2:5371', '[fd00::1]:5370']))
    assert.deepEqual(seeds.warnings(), ['ENOTFOUND'], 'a target without an address is worth a line')
    await server.serve({ hosts: { [n2]: ['10.0.0.2'], [n3]: ['10.0.0.3'] }, services })
    await eventually(() => assert.deepEqual(seeds.latest, ['10.0.0.2:5371', '10.0.0.3:5372']))
    await server.serve({ hosts: { [n3]: ['10.0.0.3'] }, services: { [SRV_NAME]: [{ target: n3, port: 7000 }] } })
    await eventually(() => assert.deepEqual(seeds.latest, ['10.0.0.3:7000']))
  })

  test('are not reported once the source is stopped, which may be said twice', async () => {
    const server = await startDns({ hosts: { [SERVICE]: ['10.0.0.1'] } })
    const stopped = observeDns({ servers: [server.address] })
    void stopped.source.stop()
    void stopped.source.stop()
    const running = observeDns({ servers: [server.address] })
    await eventually(() => assert.deepEqual(running.reports, [['10.0.0.1:5370']]))
    assert.deepEqual(stopped.reports, [])
    assert.deepEqual(stopped.lines, [])
  })

  test('may be stopped by the report itself', async () => {
    const server = await startDns({ hosts: { [SERVICE]: ['10.0.0.1'] } })
    const dns = { ...configSchema.parse({}).cluster.dns, name: SERVICE, interval: 100, servers: [server.address] }
    const source = createSeedSource({ ...configSchema.parse({}).cluster, discovery: 'dns', dns }, seedModules([]))
    toStop.push(() => source.stop())
    let reports = 0
    source.start(() => {
      reports += 1
      void source.stop()
    })
    await eventually(() => assert.equal(reports, 1))
    const later = observeDns({ servers: [server.address] })
    await server.serve({ hosts: { [SERVICE]: ['10.0.0.2'] } })
    await eventually(() => assert.deepEqual(later.latest, ['10.0.0.2:5370']))
    assert.equal(reports, 1)
  })

  test('may come from the second server when the first is silent', async () => {
    const server = await startDns({ hosts: { [SERVICE]: ['10.0.0.1'] } })
    const seeds = observeDns({ servers: ['127.0.0.1:1', server.address] })
    await eventually(() => assert.deepEqual(seeds.reports, [['10.0.0.1:5370']]))
  })

  test('are refused when a server is not an address', () => {
    assert.throws(() => observeDns({ servers: ['dns.example:53'] }), { code: 'ERR_INVALID_IP_ADDRESS' })
  })
})

describe('DNS seeds by the way of the system', () => {
  test('know the names of the hosts file', async () => {
    const seeds = observeDns({ name: 'localhost' })
    await eventually(() => assert.ok(seeds.latest?.includes('127.0.0.1:5370'), String(seeds.latest)))
  })

  test('are logged when the name does not exist', async () => {
    const seeds = observeDns({ name: 'shoalmq.invalid' })
    await eventually(() => assert.match(String(seeds.warnings()[0]), /^(ENOTFOUND|EAI_AGAIN)$/), { within: 15_000 })
    assert.deepEqual(seeds.reports, [])
  })
})
