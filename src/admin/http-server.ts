/** The admin HTTP server: what Prometheus, Kubernetes and the command line ask a node. It has no login. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { formatHostPort, parseHostPort } from '../config/addresses.js'
import type { AdminOptions } from '../config/options.js'
import type { Health } from '../telemetry/health.js'
import type { Logger } from '../telemetry/logger.js'
import type { MetricRegistry } from '../telemetry/registry.js'
import { NodeError } from '../util/errors.js'
import { Api, type Operations } from './api.js'

export interface AdminModules {
  registry: MetricRegistry
  health: Health
  operations: Operations
  log: Logger
}

/** PORT_TAKEN: somebody listens there already; PORT_UNAVAILABLE: the system refuses for the reason given. */
export interface AdminListenDetails {
  code: 'PORT_TAKEN' | 'PORT_UNAVAILABLE'
  port: number
  /** host:port as configured. */
  address: string
  /** Of the system: EADDRINUSE, EACCES, EADDRNOTAVAIL and so on. */
  reason: string
}

/** The admin server cannot listen. */
export class AdminListenError extends NodeError<AdminListenDetails> {
  constructor(address: string, cause: NodeJS.ErrnoException) {
    const { port } = parseHostPort(address)
    const reason = cause.code ?? 'UNKNOWN'
    const isTaken = reason === 'EADDRINUSE'
    const text = isTaken ? 'is already in use' : `cannot be listened on (${reason})`
    super(
      `port ${port} (admin ${address}) ${text}`,
      { code: isTaken ? 'PORT_TAKEN' : 'PORT_UNAVAILABLE', port, address, reason },
      { cause },
    )
  }
}

const API_PREFIX = '/api/v1/'

interface Answer {
  status: number
  contentType: string
  body: string
  /** Methods that there are, where the one asked for is none of them. */
  allow?: string
}

/** A request that takes longer to arrive is closed; all of ours fit one packet. */
const REQUEST_TIMEOUT_MS = 5_000

/** Probes, Prometheus and a few people; more at once is something else. */
const MAXIMUM_CONNECTIONS = 256

export class AdminServer {
  private server: Server | undefined
  private readonly api: Api

  private readonly pages: Readonly<Record<string, () => Answer | Promise<Answer>>> = {
    '/': () => text(200, `ShoalMQ\n\n${[...Object.keys(this.pages).slice(1), ...this.api.paths].join('\n')}\n`),
    '/metrics': async () => ({
      status: 200,
      contentType: this.modules.registry.contentType,
      body: await this.modules.registry.scrape(),
    }),
    '/livez': () => text(200, 'ok\n'),
    '/readyz': () => this.readiness(),
  }

  constructor(
    private readonly options: AdminOptions,
    private readonly modules: AdminModules,
  ) {
    this.api = new Api(modules.operations)
  }

  /** Where it listens, with the port as bound; '' while it does not. */
  get address(): string {
    const bound = this.server?.address() as AddressInfo | null | undefined
    return bound ? formatHostPort({ host: bound.address, port: bound.port }) : ''
  }

  /**
   * Resolves when the port listens.
   * @throws AdminListenError when it cannot.
   */
  start(): Promise<void> {
    const server = createServer(
      { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS },
      this.onRequest,
    )
    server.maxConnections = MAXIMUM_CONNECTIONS
    this.server = server
    return new Promise((resolve, reject) => {
      const onStartError = (error: NodeJS.ErrnoException): void => {
        this.server = undefined
        reject(new AdminListenError(this.options.listen, error))
      }
      server.once('error', onStartError)
      server.listen(parseHostPort(this.options.listen), () => {
        server.off('error', onStartError)
        server.on('error', this.onError)
        resolve()
      })
    })
  }

  /** Closes the port and every connection, kept alive or not; safe to call twice. */
  async stop(): Promise<void> {
    const server = this.server
    this.server = undefined
    if (server === undefined) return
    await new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  }

  private readonly onError = (error: Error): void => {
    this.modules.log.error({ err: error }, 'admin server error')
  }

  private readonly onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    this.answer(request).then(
      (answer) => send(request, response, answer),
      (error: unknown) => {
        this.modules.log.error({ err: error, path: pathOf(request) }, 'admin request failed')
        send(request, response, json(500, { error: 'internal error' }))
      },
    )
  }

  private async answer(request: IncomingMessage): Promise<Answer> {
    const path = pathOf(request)
    if (path.startsWith(API_PREFIX)) return this.ask(request, path)
    const page = Object.hasOwn(this.pages, path) ? this.pages[path] : undefined
    if (page === undefined) return json(404, { error: 'not found', path })
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return { ...json(405, { error: 'method not allowed', allowed: ['GET', 'HEAD'] }), allow: 'GET, HEAD' }
    }
    return page()
  }

  private async ask(request: IncomingMessage, path: string): Promise<Answer> {
    const names = readNames(path.slice(API_PREFIX.length))
    if (names === undefined) return json(400, { error: 'the path is not well-formed', path })
    const { status, body, allow } = await this.api.answer({
      method: request.method ?? 'GET',
      path: names,
      parameters: new URLSearchParams((request.url ?? '').split('?', 2)[1]),
      origin: request.headers.origin,
    })
    return allow === undefined ? json(status, body) : { ...json(status, body), allow: allow.join(', ') }
  }

  private readiness(): Answer {
    const failing = this.modules.health.failing()
    const isReady = Object.keys(failing).length === 0
    return json(isReady ? 200 : 503, { ready: isReady, failing })
  }
}

/** The parts of a path, decoded: a client ID may hold slashes, as %2F. Undefined when they cannot be. */
function readNames(path: string): string[] | undefined {
  try {
    return path.split('/').map(decodeURIComponent)
  } catch {
    // Not percent-encoded as it has to be: the caller answers 400.
    return undefined
  }
}

function send(request: IncomingMessage, response: ServerResponse, { status, contentType, body, allow }: Answer): void {
  response.writeHead(status, {
    'content-type': contentType,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    ...(allow === undefined ? {} : { allow }),
  })
  response.end(request.method === 'HEAD' ? undefined : body)
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? '/').split('?', 1)[0] ?? '/'
}

function text(status: number, body: string): Answer {
  return { status, contentType: 'text/plain; charset=utf-8', body }
}

function json(status: number, body: unknown): Answer {
  return { status, contentType: 'application/json; charset=utf-8', body: `${JSON.stringify(body)}\n` }
}
