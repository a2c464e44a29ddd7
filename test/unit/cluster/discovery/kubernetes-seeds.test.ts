import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { afterEach, describe, test } from 'node:test'
import type { KubernetesOptions } from '../../../../src/config/discovery-options.js'
import { configSchema } from '../../../../src/config/options.js'
import { CertificateAuthority } from '../../../support/certificates.js'
import { eventually } from '../../../support/eventually.js'
import { KubernetesApi, type SliceEndpoint } from '../../../support/kubernetes-api.js'
import { ObservedSeeds } from './observed-seeds.js'

const DEFAULTS = configSchema.parse({}).cluster.k8s
const toStop: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const stop of toStop.splice(0).reverse()) await stop()
})

const PODS: readonly SliceEndpoint[] = [
  { addresses: ['10.1.0.2'], hostname: 'shoalmq-1', conditions: { ready: false, serving: false, terminating: false } },
  { addresses: ['10.1.0.1'], hostname: 'shoalmq-0', conditions: { ready: true, serving: true, terminating: false } },
  { addresses: ['10.1.0.9'], hostname: 'shoalmq-9', conditions: { ready: false, serving: true, terminating: true } },
]

async function startApi(): Promise<KubernetesApi> {
  const api = await KubernetesApi.start('iot')
  toStop.push(() => api.stop())
  api.slices.set('iot/shoalmq-headless', [PODS, []])
  return api
}

function observe(api: KubernetesApi, options: Partial<KubernetesOptions> = {}): ObservedSeeds {
  const { url: apiserver, tokenFile, caFile } = api
  const k8s = { ...DEFAULTS, apiserver, tokenFile, caFile, interval: 100, ...options }
  const observed = new ObservedSeeds({ discovery: 'k8s', k8s })
  toStop.push(() => observed.source.stop())
  return observed.start()
}

describe('seeds from the Kubernetes API', () => {
  test('are the pods of the Service in the namespace of the pod, ready or not, but not those that terminate', async () => {
    const api = await startApi()
    const seeds = observe(api)
    await eventually(() => assert.deepEqual(seeds.reports, [['10.1.0.1:5370', '10.1.0.2:5370']]))
    assert.deepEqual(seeds.warnings(), [])
    api.slices.set('iot/shoalmq-headless', [PODS, [{ addresses: ['fd00::7'] }]])
    await eventually(() => assert.deepEqual(seeds.latest, ['10.1.0.1:5370', '10.1.0.2:5370', '[fd00::7]:5370']))
  })

  test('are named as addressType says', async () => {
    const api = await startApi()
    const cases = [
      {
        options: { addressType: 'hostname' },
        first: 'shoalmq-0.shoalmq-headless.iot.svc.cluster.local:5370',
      },
      {
        options: { addressType: 'hostname', suffix: 'svc.example', port: 7 },
        first: 'shoalmq-0.shoalmq-headless.iot.svc.example:7',
      },
      { options: { addressType: 'dns' }, first: '10-1-0-1.iot.pod.cluster.local:5370' },
      { options: { addressType: 'dns', suffix: 'pod.local' }, first: '10-1-0-1.iot.pod.local:5370' },
    ] as const
    for (const { options, first } of cases) {
      const seeds = observe(api, options)
      await eventually(() => assert.equal(seeds.latest?.[0], first))
      assert.equal(seeds.latest?.length, 2)
    }
  })

  test('are of the namespace and the Service that the options name', async () => {
    const api = await startApi()
    api.slices.set('other/mesh', [[{ addresses: ['10.9.9.9'] }]])
    const seeds = observe(api, { namespace: 'other', serviceName: 'mesh' })
    await eventually(() => assert.deepEqual(seeds.reports, [['10.9.9.9:5370']]))
  })

  test('are asked for with the token that the file holds now', async () => {
    const api = await startApi()
    const seeds = observe(api)
    await eventually(() => assert.equal(api.requests.at(-1)?.token, 'first'))
    api.changeToken('second')
    await eventually(() => assert.equal(api.requests.at(-1)?.token, 'second'))
    await eventually(() => assert.equal(seeds.metrics.isFailing, false))
    writeFileSync(api.tokenFile, 'revoked')
    await eventually(() => assert.deepEqual(seeds.warnings(), ['DISCOVERY_STATUS_401']))
    assert.doesNotMatch(JSON.stringify(seeds.lines), /revoked|second/)
  })

  test('outlive the absence of the API and of their records, logged once and counted', async () => {
    const api = await startApi()
    const seeds = observe(api)
    await eventually(() => assert.equal(seeds.reports.length, 1))
    await api.pause()
    await eventually(() => assert.equal(seeds.metrics.rounds.failed.value >= 2, true), { within: 10_000 })
    assert.deepEqual(seeds.warnings(), ['ECONNREFUSED'])
    api.slices.clear()
    await api.listen()
    await eventually(() => assert.equal(seeds.lines.at(-1)?.msg, 'discovery works again'), { within: 20_000 })
    assert.equal(seeds.reports.length, 1)
  })

  test('are not taken from a server that another authority has signed for', async () => {
    const api = await startApi()
    const seeds = observe(api, { caFile: new CertificateAuthority('another').caFile })
    await eventually(() => assert.equal(seeds.warnings().length, 1))
    assert.deepEqual([seeds.reports, api.requests], [[], []])
  })

  test('need files that can be read: which one is missing is logged', async () => {
    const api = await startApi()
    const seeds = observe(api, { tokenFile: `${api.serviceAccount}/nothing` })
    await eventually(() => assert.deepEqual(seeds.warnings(), ['ENOENT']))
    assert.match(seeds.lines[0]?.detail ?? '', /nothing/)
  })
})
