/**
 * What operators ask a node, and tell it: `/api/v1/…`. Lists are paged and filtered; answers are JSON. What changes
 * something is refused to web pages, since there is no login: a browser says where a request comes from.
 */

import type { ClientDescription, SubscriptionDescription } from '../broker/client-list.js'
import type { DelayedDescription } from '../broker/delayed.js'
import type { RouteVerification } from '../cluster/route-verification.js'
import type { ClusterStatus } from '../cluster/status.js'
import { AddressError, parseHostPort } from '../config/addresses.js'
import { filterMatches } from '../mqtt/wire/topic.js'
import type { Alarm } from '../telemetry/alarms.js'
import { booleanOf, type Page, ParameterError, pageOf } from './page.js'

export type { RouteVerification } from '../cluster/route-verification.js'

/** A topic filter and a node that wants it. */
export interface RouteDescription {
  filter: string
  node: string
  /** Of a shared subscription: the node's members of the group, and how many of them have their client connected. */
  members?: number
  connected?: number
}

/** What the node lets operators see and do. */
export interface Operations {
  status(): ClusterStatus
  alarms(): Iterable<Alarm>
  clients(): Iterable<ClientDescription>
  client(clientId: string): ClientDescription | undefined
  /** False when the client is not connected to this node. */
  kick(clientId: string): boolean
  subscriptions(): Iterable<SubscriptionDescription>
  /** Messages with a delay, the next one first. */
  delayed(): Iterable<DelayedDescription>
  /** Never publishes a message with a delay; false when there is none with this number. */
  cancelDelayed(id: number): boolean
  routes(): Iterable<RouteDescription>
  /** Asks the peers. */
  verifyRoutes(): Promise<RouteVerification[]>
  /** Dials another node, or with '' only ends that the node is apart; false without a cluster. */
  join(address: string): boolean
  /** Begins to leave the cluster, to be alone until `join`; false when the node is alone or stops. */
  leave(): boolean
  /** Removes a node that has stopped; false when it is not known or not stopped. */
  forget(node: string): boolean
  /** Takes no new clients and closes those it has, at the rate of `drain.rate`. */
  drain(): void
  /** Lets clients come again. */
  undrain(): void
}

export interface ApiRequest {
  readonly method: string
  /** Decoded parts of the path behind `/api/v1/`. */
  readonly path: readonly string[]
  readonly parameters: URLSearchParams
  /** Of the Origin header; undefined unless a web page asks. */
  readonly origin: string | undefined
}

export interface ApiAnswer {
  readonly status: number
  readonly body: unknown
  /** Methods that there are, where the one asked for is none of them. */
  readonly allow?: readonly string[]
}

type Handler = (request: ApiRequest, name: string) => ApiAnswer | Promise<ApiAnswer>

export class Api {
  /** By method and path; `*` stands for a name. */
  private readonly handlers: Readonly<Record<string, Handler>> = {
    'GET cluster': () => ok(this.operations.status()),
    'GET alarms': async ({ parameters }) => ok(await this.listAlarms(parameters)),
    'POST cluster/join': ({ parameters }) => this.join(parameters),
    'POST cluster/leave': () => this.leave(),
    'DELETE cluster/nodes/*': (_request, node) => this.forget(node),
    'POST node/drain': () => this.drain(true),
    'DELETE node/drain': () => this.drain(false),
    'GET clients': async ({ parameters }) => ok(await this.listClients(parameters)),
    'GET clients/*': (_request, clientId) => this.showClient(clientId),
    'DELETE clients/*': (_request, clientId) => this.kick(clientId),
    'GET subscriptions': async ({ parameters }) => ok(await this.listSubscriptions(parameters)),
    'GET delayed': async ({ parameters }) => ok(await this.listDelayed(parameters)),
    'DELETE delayed/*': (_request, id) => this.cancelDelayed(id),
    'GET routes': async ({ parameters }) => ok(await this.listRoutes(parameters)),
    'GET routes/verify': () => this.verifyRoutes(),
  }

  constructor(private readonly operations: Operations) {}

  /** Paths for the page that lists them. */
  get paths(): string[] {
    return Object.keys(this.handlers).map((key) => key.replace(' ', ' /api/v1/').replace(/^GET /, ''))
  }

  async answer(request: ApiRequest): Promise<ApiAnswer> {
    const method = request.method === 'HEAD' ? 'GET' : request.method
    const exact = request.path.join('/')
    const named = [...request.path.slice(0, -1), '*'].join('/')
    const handler = this.handlerOf(`${method} ${exact}`) ?? this.handlerOf(`${method} ${named}`)
    if (handler === undefined) return this.refuse(request, exact, named)
    if (method !== 'GET' && request.origin !== undefined) {
      return { status: 403, body: { error: 'web pages may not change anything' } }
    }
    try {
      return await handler(request, request.path.at(-1) ?? '')
    } catch (error) {
      if (!(error instanceof ParameterError)) throw error
      return { status: 400, body: { error: error.message } }
    }
  }

  private handlerOf(key: string): Handler | undefined {
    return Object.hasOwn(this.handlers, key) ? this.handlers[key] : undefined
  }

  private refuse({ path }: ApiRequest, exact: string, named: string): ApiAnswer {
    const allowed = Object.keys(this.handlers)
      .map((key) => key.split(' '))
      .flatMap(([method = '', pattern]) => (pattern === exact || pattern === named ? [method] : []))
      .flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method]))
    if (allowed.length > 0) return { status: 405, body: { error: 'method not allowed', allowed }, allow: allowed }
    return { status: 404, body: { error: 'not found', path: `/api/v1/${path.join('/')}` } }
  }

  private listAlarms(parameters: URLSearchParams): Promise<Page<Alarm>> {
    const alarm = parameters.get('alarm')
    return pageOf(this.operations.alarms(), parameters, (one) => alarm === null || one.alarm === alarm)
  }

  private listClients(parameters: URLSearchParams): Promise<Page<ClientDescription>> {
    const like = parameters.get('like')
    const username = parameters.get('username')
    const address = parameters.get('address')
    const connected = booleanOf(parameters, 'connected')
    return pageOf(
      this.operations.clients(),
      parameters,
      (client) =>
        (like === null || client.clientId.includes(like)) &&
        (username === null || client.username === username) &&
        (address === null || client.address === address) &&
        (connected === undefined || client.connected === connected),
    )
  }

  private listDelayed(parameters: URLSearchParams): Promise<Page<DelayedDescription>> {
    const topic = parameters.get('topic')
    const publisher = parameters.get('publisher')
    return pageOf(
      this.operations.delayed(),
      parameters,
      (one) =>
        (topic === null || filterMatches(topic, one.topic)) && (publisher === null || one.publisher === publisher),
    )
  }

  private cancelDelayed(id: string): ApiAnswer {
    if (!this.operations.cancelDelayed(Number(id))) return unknown('message with a delay', id)
    return ok({ id: Number(id), cancelled: true })
  }

  private showClient(clientId: string): ApiAnswer {
    const client = this.operations.client(clientId)
    return client === undefined ? unknown('client', clientId) : ok(client)
  }

  private kick(clientId: string): ApiAnswer {
    return this.operations.kick(clientId) ? ok({ clientId, closed: true }) : unknown('client', clientId)
  }

  private listSubscriptions(parameters: URLSearchParams): Promise<Page<SubscriptionDescription>> {
    const clientId = parameters.get('client')
    const filter = parameters.get('filter')
    const topic = parameters.get('topic')
    return pageOf(
      this.operations.subscriptions(),
      parameters,
      (one) =>
        (clientId === null || one.clientId === clientId) &&
        (filter === null || one.filter === filter) &&
        (topic === null || filterMatches(one.filter, topic)),
    )
  }

  private listRoutes(parameters: URLSearchParams): Promise<Page<RouteDescription>> {
    const node = parameters.get('node')
    const topic = parameters.get('topic')
    return pageOf(
      this.operations.routes(),
      parameters,
      (route) => (node === null || route.node === node) && (topic === null || filterMatches(route.filter, topic)),
    )
  }

  private async verifyRoutes(): Promise<ApiAnswer> {
    const nodes = await this.operations.verifyRoutes()
    return ok({ inStep: nodes.every(({ inStep }) => inStep), nodes })
  }

  private join(parameters: URLSearchParams): ApiAnswer {
    const address = parameters.get('address') ?? ''
    try {
      // A node that has left its cluster may find the others as its configuration says.
      if (address !== '' || this.operations.status().apart !== true) parseHostPort(address)
    } catch (error) {
      if (!(error instanceof AddressError)) throw error
      throw new ParameterError('address', address, 'host:port of the cluster port of another node')
    }
    if (this.operations.join(address)) return { status: 202, body: { address, joining: true } }
    return { status: 409, body: { error: 'this node runs without a cluster: cluster.listen is off' } }
  }

  private leave(): ApiAnswer {
    if (this.operations.leave()) return { status: 202, body: { leaving: true } }
    return { status: 409, body: { error: 'this node is in no cluster: it has none, has left it, or stops' } }
  }

  private drain(isDraining: boolean): ApiAnswer {
    if (isDraining) this.operations.drain()
    else this.operations.undrain()
    return { status: isDraining ? 202 : 200, body: { draining: isDraining } }
  }

  private forget(node: string): ApiAnswer {
    if (this.operations.forget(node)) return ok({ node, forgotten: true })
    return { status: 409, body: { error: `${node} is not a node that has stopped` } }
  }
}

function ok(body: unknown): ApiAnswer {
  return { status: 200, body }
}

function unknown(what: string, name: string): ApiAnswer {
  return { status: 404, body: { error: `no ${what} ${name} on this node` } }
}
