/** Listeners: MQTT over TCP and over WebSocket. Each accepted stream goes to `accept`; nothing else happens here. */

import { createServer as createHttpServer, type IncomingMessage, STATUS_CODES } from 'node:http'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { createWebSocketStream, WebSocketServer } from 'ws'
import { formatListener, type ListenerAddress } from '../config/addresses.js'
import { NodeError } from '../util/errors.js'
import type { Connection, ConnectionOrigin } from './connection.js'
import { ReasonCode } from './wire/reason-codes.js'

export interface ListenerOptions {
  readonly address: ListenerAddress
  /** Largest packet in bytes; a WebSocket message may hold several packets, but is not assembled beyond this. */
  readonly maximumPacketSize: number
  /** Milliseconds a client may take for its HTTP upgrade. */
  readonly upgradeTimeout: number
}

/** PORT_TAKEN: somebody listens there already; PORT_UNAVAILABLE: the system refuses for the reason given. */
export interface ListenDetails {
  code: 'PORT_TAKEN' | 'PORT_UNAVAILABLE'
  port: number
  listener: string
  /** Of the system: EADDRINUSE, EACCES, EADDRNOTAVAIL and so on. */
  reason: string
}

/** A listener cannot listen. */
export class ListenError extends NodeError<ListenDetails> {
  constructor(address: ListenerAddress, cause: NodeJS.ErrnoException) {
    const listener = formatListener(address)
    const reason = cause.code ?? 'UNKNOWN'
    const isTaken = reason === 'EADDRINUSE'
    const text = isTaken ? 'is already in use' : `cannot be listened on (${reason})`
    const code = isTaken ? 'PORT_TAKEN' : 'PORT_UNAVAILABLE'
    super(
      `port ${address.port} (listener ${listener}) ${text}`,
      { code, port: address.port, listener, reason },
      { cause },
    )
  }
}

/** Takes a stream over; the answer is its connection. */
export type Accept = (stream: Duplex, origin: ConnectionOrigin) => Pick<Connection, 'close'>

/** Connections that the kernel may hold until they are accepted: a fleet that reconnects comes all at once. */
const BACKLOG = 4096
/** How long a stopped listener waits for its last sockets, in milliseconds: longer than a connection's own grace. */
const STOP_GRACE_MS = 3_000
/** The subprotocol that an MQTT client asks for [MQTT-6.0.0-3]; the second is what 3.1 clients say. */
const SUBPROTOCOLS = ['mqtt', 'mqttv3.1']

export class Listener {
  private readonly server: Server
  private readonly webSockets: WebSocketServer | undefined
  private isListening = false

  constructor(
    private readonly options: ListenerOptions,
    private readonly accept: Accept,
  ) {
    if (options.address.scheme === 'ws') {
      this.webSockets = new WebSocketServer({
        noServer: true,
        maxPayload: options.maximumPacketSize,
        perMessageDeflate: false,
        handleProtocols: (offered) => SUBPROTOCOLS.find((protocol) => offered.has(protocol)) ?? false,
      })
      this.server = this.createWebSocketServer(this.webSockets)
    } else {
      this.webSockets = undefined
      this.server = createServer({ noDelay: true }, (socket) => this.acceptSocket(socket))
    }
  }

  /** As configured, with the port as bound. */
  get address(): string {
    const bound = this.server.address() as AddressInfo | null
    return formatListener({ ...this.options.address, port: bound?.port ?? this.options.address.port })
  }

  /**
   * Resolves when the port listens.
   * @throws ListenError when it cannot.
   */
  async start(): Promise<void> {
    const { host, port } = this.options.address
    await new Promise<void>((resolve, reject) => {
      const onError = (error: Error): void => reject(new ListenError(this.options.address, error))
      this.server.once('error', onError)
      this.server.listen({ host, port, backlog: BACKLOG }, () => {
        this.server.off('error', onError)
        resolve()
      })
    })
    this.isListening = true
  }

  /**
   * Takes no new connections; those accepted are their owner's to close. Resolves when the last of them is gone, or
   * after a while without them.
   */
  async stop(): Promise<void> {
    if (!this.isListening) return
    this.isListening = false
    this.webSockets?.close()
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, STOP_GRACE_MS)
      this.server.close(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  private acceptSocket(socket: Socket): void {
    this.accept(socket, { listener: this.address, remoteAddress: socket.remoteAddress ?? '', request: undefined })
  }

  private createWebSocketServer(webSockets: WebSocketServer): Server {
    const server = createHttpServer({ requestTimeout: this.options.upgradeTimeout }, (_request, response) => {
      response.writeHead(426, { connection: 'close', upgrade: 'websocket', 'content-type': 'text/plain' })
      response.end('This is an MQTT over WebSocket listener.\n')
    })
    server.on('upgrade', (request, socket, head) => {
      // From here on the socket is ours, and so are its errors: a client that resets it ends nothing but itself.
      socket.on('error', () => socket.destroy())
      const refusal = this.refusalOf(request)
      if (refusal !== undefined) return refuseUpgrade(socket, refusal)
      webSockets.handleUpgrade(request, socket, head, (webSocket) => {
        // MQTT packets travel in binary frames only [MQTT-6.0.0-1]. Listened to before the stream does, which would
        // hand the text on; a closed connection does not take it.
        webSocket.on('message', (_data, isBinary) => {
          if (!isBinary) connection.close('protocol_error', ReasonCode.ProtocolError, 'MQTT needs binary frames')
        })
        const origin = { listener: this.address, remoteAddress: request.socket.remoteAddress ?? '', request }
        const connection = this.accept(createWebSocketStream(webSocket), origin)
      })
    })
    return server
  }

  /** The HTTP status of an upgrade that is refused. */
  private refusalOf(request: IncomingMessage): number | undefined {
    const [pathname] = (request.url ?? '/').split('?', 1)
    if (pathname !== this.options.address.path) return 404
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((protocol) => protocol.trim())
    return SUBPROTOCOLS.some((protocol) => offered.includes(protocol)) ? undefined : 400
  }
}

function refuseUpgrade(socket: Duplex, status: number): void {
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}
