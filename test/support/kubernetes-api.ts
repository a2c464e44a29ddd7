import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CertificateAuthority, readKeyPair } from './certificates.js'

export interface SliceEndpoint {
  addresses: readonly string[]
  hostname?: string
  conditions?: { ready?: boolean; serving?: boolean; terminating?: boolean }
}

/** The part of the Kubernetes API that tells the endpoints of a Service, over TLS, for bearers of the token in a file. */
export class KubernetesApi {
  /** Endpoints by `namespace/service`, a slice for each list. */
  readonly slices = new Map<string, readonly (readonly SliceEndpoint[])[]>()
  readonly requests: { path: string; token: string | undefined }[] = []
  /** A directory as Kubernetes mounts it for a service account. */
  readonly serviceAccount = mkdtempSync(join(tmpdir(), 'shoalmq-service-account-'))
  readonly authority = new CertificateAuthority('kubernetes')
  private token = ''
  private server: Server | undefined

  static async start(namespace: string): Promise<KubernetesApi> {
    const api = new KubernetesApi()
    writeFileSync(join(api.serviceAccount, 'namespace'), namespace)
    writeFileSync(join(api.serviceAccount, 'ca.crt'), api.authority.ca)
    api.changeToken('first')
    await api.listen(0)
    return api
  }

  get port(): number {
    return this.boundPort
  }

  private boundPort = 0

  get url(): string {
    return `https://127.0.0.1:${this.port}`
  }

  get tokenFile(): string {
    return join(this.serviceAccount, 'token')
  }

  get caFile(): string {
    return join(this.serviceAccount, 'ca.crt')
  }

  /** Only this one is good from now on, and it stands in the file. */
  changeToken(token: string): void {
    this.token = token
    writeFileSync(this.tokenFile, `${token}\n`)
  }

  /** Starts to answer, at the port of the time before. */
  async listen(port = this.boundPort): Promise<void> {
    const server = createServer(readKeyPair(this.authority.server()), (request, response) => {
      const url = new URL(request.url ?? '', this.url)
      const token = request.headers.authorization?.replace(/^Bearer /, '')
      this.requests.push({ path: request.url ?? '', token })
      const match = /^\/apis\/discovery\.k8s\.io\/v1\/namespaces\/([^/]+)\/endpointslices$/.exec(url.pathname)
      const answer = (status: number, body: object): void => {
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
      }
      if (token !== this.token) return answer(401, statusOf(401, 'Unauthorized'))
      if (match === null) return answer(404, statusOf(404, 'NotFound'))
      const service = /^kubernetes\.io\/service-name=(.+)$/.exec(url.searchParams.get('labelSelector') ?? '')?.[1]
      const slices = this.slices.get(`${match[1]}/${service}`) ?? []
      answer(200, {
        kind: 'EndpointSliceList',
        apiVersion: 'discovery.k8s.io/v1',
        metadata: { resourceVersion: '1' },
        items: slices.map((endpoints, number) => ({
          metadata: { name: `${service}-${number}`, labels: { 'kubernetes.io/service-name': service } },
          addressType: 'IPv4',
          // Kubernetes writes null for a slice without endpoints.
          endpoints: endpoints.length === 0 ? null : endpoints,
          ports: [{ name: 'cluster', port: 5370, protocol: 'TCP' }],
        })),
      })
    })
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
    this.boundPort = (server.address() as AddressInfo).port
    this.server = server
  }

  /** Nobody answers until `listen`. */
  async pause(): Promise<void> {
    const { server } = this
    this.server = undefined
    if (server === undefined) return
    const closed = new Promise((resolve) => server.close(resolve))
    server.closeAllConnections()
    await closed
  }

  async stop(): Promise<void> {
    await this.pause()
    rmSync(this.serviceAccount, { recursive: true, force: true })
  }
}

function statusOf(code: number, reason: string): object {
  return { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason, code }
}
