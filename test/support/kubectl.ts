import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { parseAllDocuments } from 'yaml'
import { ensureDebianPackages } from './debian.js'
import type { Manifest } from './kubernetes-schema.js'

const run = promisify(execFile)

const KUBECTL_TIMEOUT_MS = 30_000

/** What the API server says it has, as far as our manifests need it: group and version, kind, plural. */
const RESOURCES: Readonly<Record<string, readonly (readonly [kind: string, plural: string])[]>> = {
  v1: [
    ['ConfigMap', 'configmaps'],
    ['Secret', 'secrets'],
    ['Service', 'services'],
  ],
  'apps/v1': [['StatefulSet', 'statefulsets']],
  'policy/v1': [['PodDisruptionBudget', 'poddisruptionbudgets']],
  'networking.k8s.io/v1': [['NetworkPolicy', 'networkpolicies']],
}

/** What an API server says of an object that it does not have. */
const NOT_FOUND = { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'NotFound', code: 404 }

/** Runs kubectl, away from any cluster that this machine may be configured for; Debian's, where there is none. */
export async function kubectl(...parameters: readonly string[]): Promise<string> {
  await ensureKubectl()
  const environment = { ...process.env, KUBECONFIG: '/dev/null' }
  const { stdout } = await run('kubectl', parameters, { env: environment, timeout: KUBECTL_TIMEOUT_MS })
  return stdout
}

/** The objects that `kubectl apply -k` would apply. */
export async function renderKustomization(directory: string): Promise<Manifest[]> {
  return parseManifests(await kubectl('kustomize', directory))
}

/** All objects of a YAML text; text that is not YAML is an error. */
export function parseManifests(text: string): Manifest[] {
  return parseAllDocuments(text).map((document) => {
    const [error] = document.errors
    if (error !== undefined) throw error
    return document.toJS() as Manifest
  })
}

/** An API server with discovery and no objects: enough for `kubectl apply --dry-run=client`, which changes nothing. */
export class EmptyApiServer {
  private readonly cache = mkdtempSync(join(tmpdir(), 'shoalmq-kubectl-'))

  private constructor(private readonly server: Server) {}

  static async start(): Promise<EmptyApiServer> {
    const server = createServer((request, response) => {
      const body = answerTo((request.url ?? '').split('?', 1)[0] ?? '')
      response.writeHead(body === undefined ? 404 : 200, { 'content-type': 'application/json' })
      response.end(JSON.stringify(body ?? NOT_FOUND))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return new EmptyApiServer(server)
  }

  /** What `kubectl apply` with these flags would create, as `kind/name`, sorted. */
  async wouldApply(...flags: readonly string[]): Promise<string[]> {
    const { port } = this.server.address() as AddressInfo
    const server = [`--server=http://127.0.0.1:${port}`, `--cache-dir=${this.cache}`]
    const output = await kubectl(...server, 'apply', '--dry-run=client', '--validate=false', '-o', 'name', ...flags)
    return output.trim().split('\n').sort()
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections()
    await new Promise((resolve) => this.server.close(resolve))
    rmSync(this.cache, { recursive: true, force: true })
  }
}

function answerTo(path: string): object | undefined {
  if (path === '/api') return { kind: 'APIVersions', versions: ['v1'] }
  if (path === '/apis') return { kind: 'APIGroupList', apiVersion: 'v1', groups: groups() }
  const groupVersion = path.replace(/^\/apis?\//, '')
  const resources = RESOURCES[groupVersion]
  if (resources === undefined) return undefined
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion,
    resources: resources.map(([kind, name]) => ({ kind, name, namespaced: true, verbs: ['create', 'get', 'patch'] })),
  }
}

function groups(): object[] {
  const named = Object.keys(RESOURCES).filter((groupVersion) => groupVersion.includes('/'))
  return named.map((groupVersion) => {
    const [name = '', version = ''] = groupVersion.split('/')
    return { name, versions: [{ groupVersion, version }], preferredVersion: { groupVersion, version } }
  })
}

async function ensureKubectl(): Promise<void> {
  try {
    await run('kubectl', ['version', '--client'], { timeout: KUBECTL_TIMEOUT_MS })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    await ensureDebianPackages('kubernetes-client')
  }
}
