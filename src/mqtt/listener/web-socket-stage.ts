/** The HTTP upgrade of MQTT over WebSocket: path, subprotocol, origin, and the client behind a proxy. */

import { createServer, type IncomingMessage, type Server, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { createWebSocketStream, type ServerOptions, WebSocketServer } from 'ws'
import type { IpAddressSet } from '../../util/ip-address.js'
import type { Connection } from '../connection.js'
import { ReasonCode } from '../wire/reason-codes.js'
import type { Arrival, Stage } from './arrival.js'
import { forwardedFor } from './forwarded-for.js'
import type { RefusalReason } from './metrics.js'

export interface WebSocketStageOptions {
  /** Where the listener answers, such as `/mqtt`. */
  readonly path: string
  /** In small letters; none lets all in. */
  readonly allowedOrigins: readonly string[]
  readonly trustedProxies: IpAddressSet
  /** Largest packet in bytes; a WebSocket message may hold several packets, but is not assembled beyond this. */
  readonly maximumPacketSize: number
}

/** Makes a connection of what has arrived. */
export type Enter = (arrival: Arrival, stream: Duplex, request: IncomingMessage) => Pick<Connection, 'close'>

/** The subprotocol that an MQTT client asks for [MQTT-6.0.0-3]; the second is what 3.1 clients say. */
const SUBPROTOCOLS = ['mqtt', 'mqttv3.1']

/** How long a client may take for its half of the closing handshake, in milliseconds: as long as over TCP. */
const CLOSE_GRACE_MS = 2_000

interface Refusal {
  /** Of HTTP. */
  status: number
  reason: RefusalReason
}

export class WebSocketStage implements Stage {
  /** Does not listen: it is handed what the stages before have made of a socket. */
  private readonly server: Server
  private readonly webSockets: WebSocketServer
  private readonly arrivals = new WeakMap<Duplex, Arrival>()

  constructor(
    private readonly options: WebSocketStageOptions,
    private readonly enter: Enter,
  ) {
    const webSocketOptions: ServerOptions & { closeTimeout: number } = {
      noServer: true,
      maxPayload: options.maximumPacketSize,
      perMessageDeflate: false,
      closeTimeout: CLOSE_GRACE_MS,
      handleProtocols: (offered) => SUBPROTOCOLS.find((protocol) => offered.has(protocol)) ?? false,
    }
    this.webSockets = new WebSocketServer(webSocketOptions)
    this.server = createServer((request, response) => {
      this.closeAs('upgrade', request.socket)
      response.writeHead(426, { connection: 'close', upgrade: 'websocket', 'content-type': 'text/plain' })
      response.end('This is an MQTT over WebSocket listener.\n')
    })
    this.server.on('clientError', (_error, socket) => {
      this.closeAs('upgrade', socket)
      refuseUpgrade(socket, 400)
    })
    this.server.on('upgrade', (request, socket, head) => this.upgrade(request, socket, head))
  }

  begin(arrival: Arrival): void {
    this.arrivals.set(arrival.stream, arrival)
    this.server.emit('connection', arrival.stream)
  }

  stop(): void {
    this.webSockets.close()
  }

  private upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // From here on the socket is ours, and so are its errors: a client that resets it ends nothing but itself.
    socket.on('error', () => socket.destroy())
    const arrival = this.arrivals.get(socket)
    if (arrival === undefined) {
      socket.destroy()
      return
    }
    const refusal = this.refusalOf(request)
    if (refusal !== undefined) {
      arrival.closesAs = refusal.reason
      refuseUpgrade(socket, refusal.status)
      return
    }
    const { trustedProxies } = this.options
    const proxy = arrival.remoteAddress
    if (trustedProxies.has(proxy)) {
      const client = forwardedFor(request.headers, proxy, trustedProxies)
      if (client !== proxy && !arrival.locate(client)) return
    }
    // What `ws` itself refuses, such as a key that is none, it answers and closes.
    arrival.closesAs = 'upgrade'
    this.webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      // MQTT packets travel in binary frames only [MQTT-6.0.0-1]. Listened to before the stream does, which would
      // hand the text on; a closed connection does not take it.
      webSocket.on('message', (_data, isBinary) => {
        if (!isBinary) connection.close('protocol_error', ReasonCode.ProtocolError, 'MQTT needs binary frames')
      })
      const connection = this.enter(arrival, createWebSocketStream(webSocket), request)
    })
  }

  private refusalOf(request: IncomingMessage): Refusal | undefined {
    const [pathname] = (request.url ?? '/').split('?', 1)
    if (pathname !== this.options.path) return { status: 404, reason: 'upgrade' }
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((protocol) => protocol.trim())
    if (!SUBPROTOCOLS.some((protocol) => offered.includes(protocol))) return { status: 400, reason: 'upgrade' }
    return this.isAllowedOrigin(request.headers.origin) ? undefined : { status: 403, reason: 'origin' }
  }

  private isAllowedOrigin(origin: string | undefined): boolean {
    const { allowedOrigins } = this.options
    return allowedOrigins.length === 0 || origin === undefined || allowedOrigins.includes(origin.toLowerCase())
  }

  private closeAs(reason: RefusalReason, stream: Duplex): void {
    const arrival = this.arrivals.get(stream)
    if (arrival !== undefined) arrival.closesAs = reason
  }
}

function refuseUpgrade(socket: Duplex, status: number): void {
  if (!socket.writable) {
    socket.destroy()
    return
  }
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}
