/**
 * Three pods as the StatefulSet would make them, run by `podman kube play`: names, environment, volumes, ports and
 * probes as the manifests write them. Podman is no Kubernetes, and Debian's (4.3) leaves this to us:
 *
 * - StatefulSet, Service: pods, volume claims and DNS names of the headless Service are made here.
 * - `env` from `metadata.namespace`, and `$(NAME)` in values: written out here.
 * - Secret: podman keeps its own kind of secret, made here from the same key.
 * - `ports`: published on the host under one number each; here on free ports of loopback.
 * - `startupProbe`, `readinessProbe`: asked here as the kubelet asks. `livenessProbe` becomes podman's health check,
 *   by curl inside the container.
 * - `terminationGracePeriodSeconds`, `lifecycle.preStop`: given and run here.
 * - `topologySpreadConstraints`, `enableServiceLinks`, `automountServiceAccountToken`, `fsGroup`, `seccompProfile`,
 *   `resources.requests`: have no meaning or are ignored.
 */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import { stringify } from 'yaml'
import type { ClusterStatus, NodeStatus } from '../../src/cluster/status.js'
import { clientFor } from '../support/client.js'
import { ensureDebianPackages } from '../support/debian.js'
import { eventually } from '../support/eventually.js'
import { freePort } from '../support/free-port.js'
import { renderKustomization } from '../support/kubectl.js'
import type { Manifest } from '../support/kubernetes-schema.js'
import { type NodeTemplate, nodeTemplate, podEnvironment } from '../support/pod-template.js'
import { temporaryFile } from '../support/temporary-file.js'
import { ENGINE, execute, exitCodeOf, httpStatus, inspect, ROOT } from './engine.js'

const NAMESPACE = 'default'
const NETWORK = 'shoalmq-pods'
const FORMED_WITHIN_MS = 60_000
const NOTICED_WITHIN_MS = 10_000

interface Pod {
  name: string
  /** Podman's name of its one container. */
  container: string
  /** What the node calls itself. */
  node: string
  /** Port of the host by name of the container's port. */
  ports: Record<string, number>
  file: string
}

let manifests: Manifest[] = []
let template: NodeTemplate
let pods: Pod[] = []
const clusterSecret = randomBytes(32).toString('hex')

function podman(...parameters: readonly string[]): Promise<string> {
  return execute('podman', parameters)
}

/** What podman can play of one pod of the set: the pod, its volume claim and the ConfigMap. */
async function makePod(index: number): Promise<Pod> {
  const name = `shoalmq-${index}`
  const environment = podEnvironment(template, { name, namespace: NAMESPACE, secret: clusterSecret })
  const spec = structuredClone(template.spec)
  const [container] = spec.containers
  assert.ok(container)
  const ports: Record<string, number> = {}
  for (const port of container.ports) {
    port.hostIP = '127.0.0.1'
    port.hostPort = await freePort()
    ports[port.name] = port.hostPort
  }
  for (const variable of container.env) {
    const canPlay =
      variable.valueFrom?.secretKeyRef !== undefined || variable.valueFrom?.fieldRef?.fieldPath === 'metadata.name'
    if (canPlay) continue
    delete variable.valueFrom
    variable.value = environment[variable.name] ?? ''
  }
  const claims = template.claims.map(({ metadata, spec: claim }) => {
    const claimName = `${metadata.name}-${name}`
    spec.volumes.push({ name: metadata.name, persistentVolumeClaim: { claimName } })
    return { apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { name: claimName }, spec: claim }
  })
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: template.labels, annotations: template.annotations },
    spec,
  }
  const config = manifests.find(({ kind }) => kind === 'ConfigMap')
  const text = [config, ...claims, pod].map((object) => stringify(object)).join('---\n')
  return {
    name,
    container: `${name}-${container.name}`,
    node: environment.SHOALMQ_NAME ?? '',
    ports,
    file: temporaryFile(`${name}.yaml`, text),
  }
}

async function play({ node, file, container }: Pod): Promise<void> {
  // The records of the headless Service: its own name for every pod, and one name for each.
  const host = node.slice(node.indexOf('@') + 1)
  const aliases = [template.serviceName, host].map((alias) => `alias=${alias}`).join(',')
  await podman('kube', 'play', '--network', `${NETWORK}:${aliases}`, file)
  // It reports errors of a container and still exits with 0.
  assert.equal((await inspect(container, 'podman')).State.Status, 'running')
}

async function removeAll(): Promise<void> {
  const seconds = String(template.spec.terminationGracePeriodSeconds)
  for (const { name } of pods) {
    if ((await exitCodeOf('podman', ['pod', 'exists', name])) === 0) {
      await podman('pod', 'stop', '--time', seconds, name)
      await podman('pod', 'rm', '--force', name)
    }
    for (const { metadata } of template.claims) await podman('volume', 'rm', '--force', `${metadata.name}-${name}`)
  }
  await podman('volume', 'rm', '--force', 'shoalmq')
  if ((await exitCodeOf('podman', ['secret', 'inspect', 'shoalmq'])) === 0) await podman('secret', 'rm', 'shoalmq')
  await podman('network', 'rm', '--force', NETWORK)
}

async function statusIn({ container }: Pod): Promise<Record<string, NodeStatus>> {
  const status = JSON.parse(await podman('exec', container, 'shoalmq', 'cluster', 'status', '--json')) as ClusterStatus
  return Object.fromEntries(status.nodes.map((one) => [one.name, one]))
}

async function assertStates(seenBy: Pod, expected: (pod: Pod) => string): Promise<void> {
  const states = Object.entries(await statusIn(seenBy)).map(([name, { state }]) => [name, state])
  assert.deepEqual(
    Object.fromEntries(states),
    Object.fromEntries(pods.map((pod) => [pod.node, expected(pod)])),
    `as ${seenBy.name} sees it`,
  )
}

/** A probe of the manifest, from outside, as the kubelet does it. */
function probe(pod: Pod, { httpGet }: { httpGet: { path: string; port: number } }): Promise<number> {
  const name = template.container.ports.find(({ containerPort }) => containerPort === httpGet.port)?.name ?? ''
  return httpStatus(`http://127.0.0.1:${pod.ports[name]}${httpGet.path}`)
}

describe('the pods of the StatefulSet', { concurrency: false }, () => {
  before(async () => {
    // Podman makes the pause image of a pod from catatonit, which Debian only recommends.
    await ensureDebianPackages('podman', 'catatonit')
    manifests = await renderKustomization(`${ROOT}k8s`)
    template = nodeTemplate(manifests)
    for (let index = 0; index < template.replicas; index += 1) pods.push(await makePod(index))
    await removeAll()
    await provideImage(template.container.image)
    await podman('network', 'create', NETWORK)
    const secret = { 'cluster-secret': Buffer.from(clusterSecret).toString('base64') }
    await podman('secret', 'create', 'shoalmq', temporaryFile('secret.json', JSON.stringify(secret)))
    for (const pod of pods) await play(pod)
  })

  after(async () => {
    await removeAll()
    pods = []
  })

  test('form a cluster by the DNS name of the headless service', async () => {
    assert.deepEqual(
      pods.map(({ node }) => node),
      [0, 1, 2].map((index) => `shoalmq-${index}@shoalmq-${index}.shoalmq-headless.default.svc`),
    )
    for (const pod of pods) {
      await eventually(() => assertStates(pod, () => 'running'), { within: FORMED_WITHIN_MS, every: 500 })
    }
  })

  test('pass their probes as written', async () => {
    const { startupProbe, livenessProbe, readinessProbe } = template.container
    for (const pod of pods) {
      for (const each of [startupProbe, livenessProbe, readinessProbe]) {
        await eventually(async () => assert.equal(await probe(pod, each), 200, `${pod.name} ${each.httpGet.path}`), {
          within: FORMED_WITHIN_MS,
          every: 200,
        })
      }
      assert.equal(await exitCodeOf('podman', ['healthcheck', 'run', pod.container]), 0, `${pod.name}: health check`)
    }
  })

  test('run without root, on a read-only root file system, with a volume of their own', async () => {
    for (const { container, name } of pods) {
      assert.equal((await podman('exec', container, 'id', '-u')).trim(), '1000')
      assert.notEqual(await exitCodeOf('podman', ['exec', container, 'touch', '/app/file']), 0)
      assert.equal(await exitCodeOf('podman', ['exec', container, 'touch', `/var/lib/shoalmq/${name}`]), 0)
      assert.deepEqual(
        (await podman('exec', container, 'ls', '/var/lib/shoalmq'))
          .split('\n')
          .filter((file) => /^shoalmq-/.test(file)),
        [name],
      )
    }
  })

  test('pass messages to each other', async (context) => {
    const subscribers = await Promise.all(
      pods.map(({ ports }) => clientFor(context, `ws://127.0.0.1:${ports.ws}/mqtt`)),
    )
    for (const subscriber of subscribers) await subscriber.subscribe('pods/#', 1)
    for (const pod of pods) {
      const publisher = await clientFor(context, `mqtt://127.0.0.1:${pod.ports.mqtt}`)
      await publisher.publish('pods/hello', pod.name, { qos: 1 })
      await publisher.end()
    }
    const expected = pods.map(({ name }) => name)
    for (const subscriber of subscribers) {
      await eventually(() => assert.deepEqual([...subscriber.payloads()].sort(), expected), {
        within: NOTICED_WITHIN_MS,
      })
    }
  })

  test('leave the cluster within their grace period, and come back with their volume', async () => {
    const [first, second, third] = pods
    assert.ok(first && second && third)
    const before = (await statusIn(first))[third.node]
    const [command = '', ...rest] = template.container.lifecycle.preStop.exec.command
    assert.equal(await exitCodeOf('podman', ['exec', third.container, command, ...rest]), 0, 'preStop')
    await podman('pod', 'stop', '--time', String(template.spec.terminationGracePeriodSeconds), third.name)
    assert.equal(
      (await inspect(third.container, 'podman')).State.ExitCode,
      0,
      'SIGTERM reached the process and it left by itself',
    )
    for (const pod of [first, second]) {
      await eventually(() => assertStates(pod, ({ name }) => (name === third.name ? 'stopped' : 'running')), {
        within: NOTICED_WITHIN_MS,
        every: 200,
      })
    }
    await podman('pod', 'start', third.name)
    for (const pod of pods) {
      await eventually(() => assertStates(pod, () => 'running'), { within: FORMED_WITHIN_MS, every: 500 })
    }
    const now = (await statusIn(first))[third.node]
    assert.ok(before !== undefined && now !== undefined && now.incarnation > before.incarnation, 'a new life')
    assert.equal(await exitCodeOf('podman', ['exec', third.container, 'ls', `/var/lib/shoalmq/${third.name}`]), 0)
  })
})

/** The image was built by the engine of the compose file; where that is Docker, podman gets a copy. */
async function provideImage(image: string): Promise<void> {
  if (ENGINE === 'docker') {
    await execute('sh', ['-c', `docker save "$1" | podman load`, 'sh', image])
    return
  }
  if ((await exitCodeOf('podman', ['image', 'exists', image])) === 0) return
  await podman('build', '--format', 'docker', '--file', 'deploy/Dockerfile', '--tag', image, '.')
}
