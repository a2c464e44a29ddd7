/**
 * A listener: MQTT over TCP, TLS, WebSocket, both, or a Unix domain socket. Each socket is admitted or closed, passes
 * the stages that the listener has, and goes to `accept` as a stream of MQTT; nothing else happens here.
 */

import type { IncomingMessage } from 'node:http'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Logger } from 'pino'
import { formatListener, isWebSocket } from '../../config/addresses.js'
import type { ListenerSettings } from '../../config/listener-options.js'
import { canonicalAddress, IpAddressSet } from '../../util/ip-address.js'
import type { TimerWheel } from '../../util/timer-wheel.js'
import type { Connection } from '../connection.js'
import type { ConnectionOrigin, ListenerPolicy } from '../origin.js'
import type { ProtocolVersion } from '../wire/packets.js'
import { Admission, Ticket } from './admission.js'
import { Arrival, type ArrivalOwner, type Stage } from './arrival.js'
import { bind } from './bind.js'
import type { ListenerMetrics, RefusalReason } from './metrics.js'
import { ProxyStage } from './proxy-stage.js'
import { RefusalLog } from './refusal-log.js'
import { TlsStage } from './tls-stage.js'
import { WebSocketStage } from './web-socket-stage.js'

/** Takes a stream over; the answer is its connection. */
export type Accept = (stream: Duplex, origin: ConnectionOrigin) => Pick<Connection, 'close'>

export interface ListenerModules {
  readonly accept: Accept
  /** What all listeners of the node share. */
  readonly admission: Admission
  readonly timers: TimerWheel
  readonly metrics: ListenerMetrics
  readonly log: Logger
}

/** How long a stopped listener waits for its last sockets, in milliseconds: longer than a connection's own grace. */
const STOP_GRACE_MS = 3_000

const WIRE_VERSIONS: Readonly<Record<ListenerSettings['protocolVersions'][number], ProtocolVersion>> = {
  '3.1': 3,
  '3.1.1': 4,
  '5.0': 5,
}

export class Listener implements ArrivalOwner {
  private readonly server: Server
  private readonly admission: Admission
  private readonly policy: ListenerPolicy
  private readonly trustedProxies: IpAddressSet
  private readonly refusalLog: RefusalLog
  /** The first stage of an arrival; undefined where a socket speaks MQTT at once. */
  private readonly entrance: Stage | undefined
  private tls: TlsStage | undefined
  private webSocket: WebSocketStage | undefined
  private readonly arrivals = new Set<Arrival>()
  /** As configured; once it listens with the port as bound. */
  private url: string
  private isListening = false

  /** @throws TlsFileError when the files of TLS cannot be used. */
  constructor(
    private readonly settings: ListenerSettings,
    private readonly modules: ListenerModules,
  ) {
    this.url = formatListener(settings.address)
    this.admission = new Admission(settings, { limit: 'listener_limit', rate: 'listener_rate' })
    this.policy = policyOf(settings)
    this.trustedProxies = new IpAddressSet(settings.trustedProxies)
    this.refusalLog = new RefusalLog(this.url, modules.log)
    this.entrance = this.buildStages()
    this.server = createServer({ noDelay: true }, (socket) => this.receive(socket))
  }

  /** Its URL, with the port as bound. */
  get address(): string {
    return this.url
  }

  /** Sockets that are let in and open, those that do not speak MQTT yet included. */
  get connectionCount(): number {
    return this.admission.connectionCount
  }

  /**
   * Resolves when it listens.
   * @throws ListenError, TlsFileError
   */
  async start(): Promise<void> {
    const { address, socketMode } = this.settings
    await this.tls?.start()
    await bind(this.server, address, socketMode)
    // Later errors of a listening socket, such as too many open files at accept, end nothing.
    this.server.on('error', (err) => this.modules.log.error({ listener: this.url, err }, 'listener failed'))
    if (address.scheme !== 'unix') {
      this.url = formatListener({ ...address, port: (this.server.address() as AddressInfo).port })
    }
    this.isListening = true
  }

  /**
   * Takes no new connections and closes those that do not speak MQTT yet; the others are their owner's to close.
   * Resolves when the last of them is gone, or after a while without them.
   */
  async stop(): Promise<void> {
    this.tls?.stop()
    if (!this.isListening) return
    this.isListening = false
    this.webSocket?.stop()
    const closed = new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, STOP_GRACE_MS)
      this.server.close(() => {
        clearTimeout(timer)
        resolve()
      })
    })
    for (const arrival of this.arrivals) arrival.refuse('stopping')
    await closed
  }

  // ── a socket on its way in ───────────────────────────────────────────────────────────────────────────────────

  private receive(socket: Socket): void {
    const { settings } = this
    const peer = canonicalAddress(socket.remoteAddress ?? '')
    const ticket = Ticket.take(this.admission, this.modules.admission)
    if (!(ticket instanceof Ticket)) return this.turnAway(socket, ticket)
    const ticketed = socket as TicketedSocket
    ticketed[TICKET] = ticket
    socket.on('close', onClose)
    const isProxied = settings.proxyProtocol !== 'off'
    if (isProxied && settings.address.scheme !== 'unix' && !this.trustedProxies.has(peer)) {
      return this.turnAway(socket, 'proxy_untrusted')
    }
    if (this.entrance === undefined) {
      if (!ticket.claim(peer)) return this.turnAway(socket, 'address_limit')
      this.modules.accept(socket, this.originOf(peer))
      return
    }
    const arrival = new Arrival(socket, ticket, this)
    ticketed[ARRIVAL] = arrival
    socket.on('error', onError)
    this.arrivals.add(arrival)
    this.modules.timers.schedule(arrival, this.settings.mqtt.connectTimeout)
    if (isProxied || arrival.locate(peer)) this.entrance.begin(arrival)
  }

  private turnAway(socket: Socket, reason: RefusalReason): void {
    socket.on('error', onError)
    socket.destroy()
    this.count(reason)
  }

  private count(reason: RefusalReason): void {
    this.modules.metrics.refused[reason].value++
    this.refusalLog.note(reason)
  }

  isForwarder(address: string): boolean {
    return isWebSocket(this.settings.address) && this.trustedProxies.has(address)
  }

  refused(_arrival: Arrival, reason: RefusalReason): void {
    this.count(reason)
  }

  ended(arrival: Arrival): void {
    this.arrivals.delete(arrival)
    this.modules.timers.cancel(arrival)
    const socket = arrival.socket as TicketedSocket
    socket[ARRIVAL] = undefined
  }

  private originOf(remoteAddress: string, request?: IncomingMessage, arrival?: Arrival): ConnectionOrigin {
    return {
      listener: this.url,
      remoteAddress,
      request,
      certificate: arrival?.certificate,
      pskIdentity: arrival?.pskIdentity,
      policy: this.policy,
    }
  }

  // ── its stages, from the last to the first ───────────────────────────────────────────────────────────────────

  private buildStages(): Stage | undefined {
    const { settings } = this
    const { metrics, log } = this.modules
    let first: Stage | undefined
    if (isWebSocket(settings.address)) first = this.webSocket = this.createWebSocketStage()
    if (settings.tls !== undefined) {
      first = this.tls = new TlsStage(this.url, settings.tls, { next: first ?? this.lastStage(), metrics, log })
    }
    if (settings.proxyProtocol !== 'off') {
      first = new ProxyStage(settings.proxyProtocol, { next: first ?? this.lastStage(), log })
    }
    return first
  }

  private lastStage(): Stage {
    return { begin: (arrival) => void this.enter(arrival, arrival.stream, undefined) }
  }

  private createWebSocketStage(): WebSocketStage {
    const { settings } = this
    return new WebSocketStage(
      {
        path: settings.address.path,
        allowedOrigins: settings.allowedOrigins.map((origin) => origin.toLowerCase()),
        trustedProxies: this.trustedProxies,
        maximumPacketSize: settings.mqtt.maximumPacketSize,
      },
      (arrival, stream, request) => this.enter(arrival, stream, request),
    )
  }

  private enter(arrival: Arrival, stream: Duplex, request: IncomingMessage | undefined): Pick<Connection, 'close'> {
    arrival.finish()
    return this.modules.accept(stream, this.originOf(arrival.remoteAddress, request, arrival))
  }
}

function policyOf(settings: ListenerSettings): ListenerPolicy {
  return {
    options: settings.mqtt,
    protocolVersions: settings.protocolVersions.map((version) => WIRE_VERSIONS[version]),
    allowAnonymous: settings.allowAnonymous,
    usernameFrom: settings.tls?.peerCertAs.username ?? 'off',
    clientIdFrom: settings.tls?.peerCertAs.clientId ?? 'off',
  }
}

// One function per event for all sockets: a socket finds what is its own through its symbols.
const TICKET = Symbol('ticket')
const ARRIVAL = Symbol('arrival')

interface TicketedSocket extends Socket {
  [TICKET]?: Ticket
  [ARRIVAL]?: Arrival | undefined
}

function onClose(this: TicketedSocket): void {
  const arrival = this[ARRIVAL]
  arrival?.refuse(arrival.closesAs)
  this[TICKET]?.release()
}

function onError(this: TicketedSocket): void {
  this.destroy()
}
