import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parseHostPort } from '../../../src/config/addresses.js'
import { listenerSettings } from '../../../src/config/listener-options.js'
import { ConfigError, loadConfig } from '../../../src/config/load.js'
import type { Config } from '../../../src/config/options.js'
import { EmptyApiServer, parseManifests, renderKustomization } from '../../support/kubectl.js'
import { type Manifest, problemsOf } from '../../support/kubernetes-schema.js'
import { type NodeTemplate, nodeTemplate, podEnvironment } from '../../support/pod-template.js'
import { temporaryFile } from '../../support/temporary-file.js'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const K8S = join(ROOT, 'k8s')
const PACKAGE = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }

interface Port {
  name?: string
  port: number
  targetPort?: string | number
}

interface Service extends Manifest {
  spec: { selector: Labels; ports: Port[]; clusterIP?: string; publishNotReadyAddresses?: boolean }
}

interface NetworkPolicy extends Manifest {
  spec: { podSelector: Selector; ingress: { from?: { podSelector?: Selector }[]; ports: { port: number }[] }[] }
}

type Labels = Record<string, string>
type Selector = { matchLabels: Labels }

let rendered: Manifest[] = []
let template: NodeTemplate

before(async () => {
  rendered = await renderKustomization(K8S)
  template = nodeTemplate(rendered)
})

/** The one rendered object of this kind and name. */
function find<T extends Manifest>(kind: string, name: string): T {
  const found = rendered.find((manifest) => manifest.kind === kind && manifest.metadata.name === name)
  assert.ok(found, `no ${kind} ${name}`)
  return found as T
}

/** The configuration that the pod's process would load, with `secret` as what the Secret holds. */
function podConfig(secret: string): Config {
  const file = temporaryFile('shoalmq.yaml', template.configFile)
  const env = podEnvironment(template, { name: 'shoalmq-1', namespace: 'iot', secret })
  return loadConfig({ file, env, flags: {} })
}

/** Ports as the configuration opens them, by the names that the pod's container gives them. */
function openPorts(config: Config): Record<string, number> {
  const ports: Record<string, number> = {}
  for (const { scheme, port } of listenerSettings(config).map(({ address }) => address)) ports[scheme] = port
  return {
    ...ports,
    admin: parseHostPort(config.admin.listen).port,
    cluster: parseHostPort(config.cluster.listen).port,
  }
}

describe('the Kubernetes manifests', () => {
  test('are valid by the schemas of the Kubernetes API, without a field that these do not know', () => {
    const problems = rendered.flatMap((manifest) => {
      return problemsOf(manifest).map((problem) => `${manifest.kind} ${manifest.metadata.name}: ${problem}`)
    })
    assert.deepEqual(problems, [])
    assert.ok(rendered.length >= 7, `only ${rendered.length} objects`)
  })

  test('would not be valid with a typing error', () => {
    const broken = structuredClone(find('StatefulSet', 'shoalmq')) as Manifest & { spec: Record<string, unknown> }
    broken.spec.replicas = 'three'
    broken.spec.podManagmentPolicy = 'Parallel'
    assert.deepEqual(problemsOf(broken), [
      '/spec/replicas: type {"type":"integer"}',
      '/spec/podManagmentPolicy: unknown field',
    ])
  })

  test('are the same ones by apply -k and by apply -f', async (context) => {
    const server = await EmptyApiServer.start()
    context.after(() => server.stop())
    const byDirectory = await server.wouldApply('-f', K8S)
    assert.deepEqual(await server.wouldApply('-k', K8S), byDirectory)
    assert.equal(byDirectory.length, rendered.length)
    const files = readdirSync(K8S).filter((name) => name.endsWith('.yaml'))
    const inFiles = files.flatMap((name) => parseManifests(readFileSync(join(K8S, name), 'utf8')))
    assert.equal(inFiles.length, rendered.length)
  })

  test('set no namespace, so that -n decides', () => {
    for (const { metadata } of rendered) assert.ok(!('namespace' in metadata), metadata.name)
  })

  test('give each node a configuration that it accepts', () => {
    const config = podConfig('a secret of the cluster')
    assert.equal(config.name, 'shoalmq-1@shoalmq-1.shoalmq-headless.iot.svc')
    assert.equal(config.cluster.secret, 'a secret of the cluster')
    assert.equal(config.cluster.discovery, 'dns')
  })

  test('bring no secret of their own, and a node without one refuses to start', () => {
    const secret = find('Secret', 'shoalmq')
    assert.equal(secret.data, undefined)
    assert.equal(secret.stringData, undefined)
    assert.throws(() => podConfig(''), ConfigError)
  })

  test('mount the data directory and the configuration where the node looks for them', () => {
    const { data } = podConfig('a secret of the cluster')
    const paths = Object.fromEntries(template.container.volumeMounts.map(({ name, mountPath }) => [name, mountPath]))
    assert.equal(paths.data, data)
    assert.deepEqual(template.container.args, ['start', '--config', `${paths.config}/shoalmq.yaml`])
    assert.deepEqual(
      template.claims.map(({ metadata }) => metadata.name),
      ['data'],
    )
  })

  test('name the ports that the configuration opens, and no others', () => {
    const { mqtt, ws, admin, cluster } = openPorts(podConfig('a secret of the cluster'))
    const ports = Object.fromEntries(template.container.ports.map(({ name, containerPort }) => [name, containerPort]))
    assert.deepEqual(ports, { mqtt, ws, admin, cluster })

    const served = (service: string) =>
      Object.fromEntries(find<Service>('Service', service).spec.ports.map(({ port, targetPort }) => [targetPort, port]))
    assert.deepEqual(served('shoalmq'), { mqtt, ws })
    assert.deepEqual(served('shoalmq-headless'), { cluster, admin })

    const { ingress } = find<NetworkPolicy>('NetworkPolicy', 'shoalmq').spec
    const allowed = ingress.map(({ from, ports }) => [
      from === undefined ? 'all' : 'some',
      ...ports.map(({ port }) => port),
    ])
    assert.deepEqual(allowed, [
      ['all', mqtt, ws],
      ['some', cluster],
      ['some', admin],
    ])
  })

  test('ask the admin port in every probe', () => {
    const { admin } = openPorts(podConfig('a secret of the cluster'))
    const { startupProbe, livenessProbe, readinessProbe } = template.container
    assert.deepEqual(
      [startupProbe, livenessProbe, readinessProbe].map(({ httpGet }) => httpGet),
      [
        { path: '/livez', port: admin },
        { path: '/livez', port: admin },
        { path: '/readyz', port: admin },
      ],
    )
    assert.equal(template.annotations['prometheus.io/port'], String(admin))
    assert.equal(template.annotations['prometheus.io/path'], '/metrics')
  })

  test('let the nodes find each other by the headless service, also before they are ready', () => {
    const { cluster } = podConfig('a secret of the cluster')
    const headless = find<Service>('Service', cluster.dns.name)
    assert.equal(template.serviceName, cluster.dns.name)
    assert.equal(headless.spec.clusterIP, 'None')
    assert.equal(headless.spec.publishNotReadyAddresses, true)
    assert.equal(cluster.dns.port, parseHostPort(cluster.listen).port)
  })

  test('select the pods of the StatefulSet everywhere', () => {
    const { labels } = template
    const policy = find<NetworkPolicy>('NetworkPolicy', 'shoalmq').spec
    const peers = policy.ingress.flatMap(({ from }) => from ?? []).flatMap(({ podSelector }) => podSelector ?? [])
    const budget = find<Manifest & { spec: { selector: Selector } }>('PodDisruptionBudget', 'shoalmq')
    const selectors = [
      find<Service>('Service', 'shoalmq').spec.selector,
      find<Service>('Service', 'shoalmq-headless').spec.selector,
      template.selector.matchLabels,
      budget.spec.selector.matchLabels,
      policy.podSelector.matchLabels,
      ...peers.map(({ matchLabels }) => matchLabels),
      ...template.spec.topologySpreadConstraints.map(({ labelSelector }) => labelSelector.matchLabels),
    ]
    assert.equal(selectors.length, 8)
    for (const selector of selectors) assert.deepEqual(selector, labels)
  })

  test('run a node without rights that it does not need', () => {
    const { spec, container } = template
    assert.equal(spec.securityContext.runAsNonRoot, true)
    assert.equal(spec.securityContext.seccompProfile.type, 'RuntimeDefault')
    assert.equal(spec.automountServiceAccountToken, false)
    assert.deepEqual(container.securityContext, {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    })
  })

  test('leave a node the time to stop after its preStop', () => {
    const [, seconds] = template.container.lifecycle.preStop.exec.command
    assert.ok(template.spec.terminationGracePeriodSeconds >= Number(seconds) + 30)
  })

  test('run the version of this package', () => {
    assert.equal(template.container.image, `shoalmq:${PACKAGE.version}`)
  })

  test('have a service monitor beside them that selects a port of the headless service', () => {
    const [monitor] = parseManifests(
      readFileSync(join(K8S, 'monitoring/service-monitor.yaml'), 'utf8'),
    ) as (Manifest & {
      spec: { selector: Selector; endpoints: { port: string; path: string }[] }
    })[]
    assert.ok(monitor)
    assert.ok(!rendered.some(({ kind }) => kind === monitor.kind), 'its kind is not known everywhere')
    const services = rendered.filter(({ kind, metadata }) => {
      const wanted = Object.entries(monitor.spec.selector.matchLabels)
      return kind === 'Service' && wanted.every(([label, value]) => metadata.labels?.[label] === value)
    }) as Service[]
    assert.deepEqual(
      services.map(({ metadata }) => metadata.name),
      ['shoalmq-headless'],
    )
    const [endpoint] = monitor.spec.endpoints
    assert.ok(services[0]?.spec.ports.some(({ name }) => name === endpoint?.port))
    assert.equal(endpoint?.path, '/metrics')
  })
})
