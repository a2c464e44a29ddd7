/**
 * Links over gRPC: the port where peers connect, and the way to a peer's port. A link has two TCP connections, one for data
 * and one for heartbeats: on one, beats would wait behind whatever data the network has not yet taken.
 * Strangers get little: a few connections, a few seconds, and nothing but a handshake.
 */

import type { Http2Stream } from 'node:http2'
import { createServer, type Server as NetServer, type Socket } from 'node:net'
import {
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  type ConnectionInjector,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServiceDefinition,
} from '@grpc/grpc-js'
import type { Logger } from 'pino'
import { formatHostPort, parseHostPort } from '../config/addresses.js'
import { NodeError } from '../util/errors.js'
import { type ByteCall, LinkStream } from './link-stream.js'
import type { MeshTls } from './mesh-tls.js'
import type { StrangerCutReason } from './metrics.js'
import { HEARTBEAT_PATH, LINK_PATH } from './wire.js'

/** A stranger has this long from connecting to the end of its handshake. */
export const HANDSHAKE_TIMEOUT_MS = 5_000

/** Bytes a stranger may send: a handshake takes about one thousand. */
const MAXIMUM_STRANGER_BYTES = 64 * 1024

/** How often the bytes of strangers are looked at, in milliseconds. */
const STRANGER_CHECK_MS = 50

/** Connections that have not completed a handshake; a further one costs the oldest its place. */
const MAXIMUM_STRANGERS = 64

/** Room for a frame: 2 MiB that gather, and the largest message behind them (an entry of a replicated map, 3 MiB). */
const MAXIMUM_MESSAGE_BYTES = 8 * 1024 * 1024

/** HTTP/2 window per stream: two frames under way, so that one round trip does not limit a link. */
const FLOW_CONTROL_WINDOW_BYTES = 4 * 1024 * 1024

/** What both sides set: no proxies, no compression, no limits of age, no pings, since the nodes beat themselves. */
const CHANNEL_OPTIONS: ChannelOptions = {
  'grpc.max_receive_message_length': MAXIMUM_MESSAGE_BYTES,
  'grpc.max_send_message_length': MAXIMUM_MESSAGE_BYTES,
  'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
  'grpc.enable_channelz': 0,
}

const CLIENT_OPTIONS: ChannelOptions = {
  ...CHANNEL_OPTIONS,
  // Each attempt has a connection of its own, so that no attempt waits for the pause of another.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_http_proxy': 0,
  'grpc.enable_retries': 0,
  'grpc.service_config_disable_resolution': 1,
  'grpc.client_idle_timeout_ms': 0x7fff_ffff,
}

const SERVER_OPTIONS: ChannelOptions = { ...CHANNEL_OPTIONS, 'grpc.max_concurrent_streams': 4 }

type ServerCall = ServerDuplexStream<Buffer, Buffer>

/** Bytes go as they are; `wire.ts` makes and reads them. */
const identity = (bytes: Buffer): Buffer => bytes

function bytesMethod(path: string) {
  return {
    path,
    requestStream: true,
    responseStream: true,
    requestSerialize: identity,
    requestDeserialize: identity,
    responseSerialize: identity,
    responseDeserialize: identity,
  } as const
}

const MESH_SERVICE: ServiceDefinition = { link: bytesMethod(LINK_PATH), heartbeat: bytesMethod(HEARTBEAT_PATH) }

/** A connection that came in. */
interface Inbound {
  readonly socket: Socket
  /** Ends the stranger; undefined once the handshake is complete. */
  deadline: NodeJS.Timeout | undefined
  /** Each connection carries one stream. */
  hasStream: boolean
}

/** Somebody began a heartbeat stream; its first beat tells whether it belongs to a link. */
export interface InboundHeartbeat {
  readonly call: ByteCall
  /** It does: lifts the limits of strangers. */
  trust(): void
  /** Ends the connection. */
  cut(): void
}

export interface MeshServerModules {
  log: Logger
  /** Undefined where links are plain. */
  tls?: MeshTls | undefined
  /** A stranger opened a link; `trust` lifts the limits once its handshake is complete. */
  onLink: (stream: LinkStream, trust: () => void) => void
  onHeartbeat: (heartbeat: InboundHeartbeat) => void
  /** A connection was cut because it is one too many, too slow, or says too much. */
  onStrangerCut: (reason: StrangerCutReason) => void
}

export class MeshServer {
  private readonly grpc = new Server(SERVER_OPTIONS)
  private readonly injector: ConnectionInjector
  private readonly listener: NetServer
  private readonly connections = new Map<string, Inbound>()
  private strangers = 0
  private strangerCheck: NodeJS.Timeout | undefined
  private boundAddress = ''

  constructor(private readonly modules: MeshServerModules) {
    this.grpc.addService(MESH_SERVICE, {
      link: (call: ServerCall) => this.onLinkCall(call),
      heartbeat: (call: ServerCall) => this.onHeartbeatCall(call),
    })
    this.injector = this.grpc.createConnectionInjector(ServerCredentials.createInsecure())
    modules.tls?.serve((socket) => this.injector.injectConnection(socket))
    this.listener = createServer({ noDelay: true }, (socket) => this.onConnection(socket))
  }

  /** host:port as bound; '' before `start`. */
  get address(): string {
    return this.boundAddress
  }

  /**
   * @param listen host:port; port 0 lets the system choose
   * @throws NodeError CLUSTER_PORT_UNAVAILABLE when the port is taken or not ours to take
   */
  async start(listen: string): Promise<void> {
    const { host, port } = parseHostPort(listen)
    await new Promise<void>((resolve, reject) => {
      const onError = (error: NodeJS.ErrnoException): void => {
        const taken = error.code === 'EADDRINUSE' ? 'is in use' : 'is not available'
        reject(
          new NodeError(
            `the cluster port ${listen} ${taken}`,
            { code: 'CLUSTER_PORT_UNAVAILABLE', address: listen, port },
            { cause: error },
          ),
        )
      }
      this.listener.once('error', onError)
      this.listener.listen({ host, port }, () => {
        this.listener.off('error', onError)
        this.listener.on('error', (error) => this.modules.log.error({ err: error }, 'cluster port failed'))
        resolve()
      })
    })
    const bound = this.listener.address()
    if (bound !== null && typeof bound === 'object') this.boundAddress = formatHostPort({ host, port: bound.port })
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      if (this.listener.listening) this.listener.close(() => resolve())
      else resolve()
    })
    for (const { socket } of this.connections.values()) socket.destroy()
    this.injector.destroy()
    this.grpc.forceShutdown()
    await closed
  }

  private onConnection(socket: Socket): void {
    const key = `${socket.remoteAddress}:${socket.remotePort}`
    if (this.strangers >= MAXIMUM_STRANGERS) this.cutOldestStranger()
    const inbound: Inbound = { socket, deadline: undefined, hasStream: false }
    inbound.deadline = setTimeout(() => {
      this.modules.onStrangerCut('too_slow')
      socket.destroy()
    }, HANDSHAKE_TIMEOUT_MS)
    this.strangers += 1
    this.strangerCheck ??= setInterval(this.onStrangerCheck, STRANGER_CHECK_MS)
    this.connections.set(key, inbound)
    socket.once('close', () => {
      this.trust(inbound)
      this.connections.delete(key)
    })
    // gRPC reports what matters on the streams; a socket without one may fail as it likes.
    socket.on('error', (error) => this.modules.log.debug({ err: error, remote: key }, 'cluster connection failed'))
    if (this.modules.tls === undefined) this.injector.injectConnection(socket)
    else this.modules.tls.accept(socket)
  }

  /** A node has shaken hands within moments: the one who is slowest is the one to go, or idlers would keep nodes out. */
  private cutOldestStranger(): void {
    for (const inbound of this.connections.values()) {
      if (inbound.deadline === undefined) continue
      this.modules.onStrangerCut('too_many')
      // Its place is free at once, not only when the socket has closed.
      this.trust(inbound)
      inbound.socket.destroy()
      return
    }
  }

  private trust(inbound: Inbound): void {
    if (inbound.deadline === undefined) return
    clearTimeout(inbound.deadline)
    inbound.deadline = undefined
    this.strangers -= 1
    if (this.strangers > 0) return
    clearInterval(this.strangerCheck)
    this.strangerCheck = undefined
  }

  /** gRPC puts a message together before anybody can look at its size, so what comes from a stranger is counted below it. */
  private readonly onStrangerCheck = (): void => {
    for (const { socket, deadline } of this.connections.values()) {
      if (deadline === undefined || socket.bytesRead <= MAXIMUM_STRANGER_BYTES) continue
      this.modules.onStrangerCut('too_much')
      socket.destroy()
    }
  }

  private onLinkCall(call: ServerCall): void {
    const inbound = this.connections.get(call.getPeer())
    if (inbound === undefined || inbound.hasStream) {
      call.on('error', this.onStrayError)
      call.end()
      return
    }
    inbound.hasStream = true
    const stream = new LinkStream(
      call,
      () => inbound.socket.destroy(),
      () => inbound.socket.bytesRead,
    )
    this.modules.onLink(stream, () => {
      widenWindow(call)
      this.trust(inbound)
    })
  }

  private onHeartbeatCall(call: ServerCall): void {
    const inbound = this.connections.get(call.getPeer())
    if (inbound === undefined || inbound.hasStream) {
      call.on('error', this.onStrayError)
      call.end()
      return
    }
    inbound.hasStream = true
    this.modules.onHeartbeat({
      call,
      trust: () => this.trust(inbound),
      cut: () => inbound.socket.destroy(),
    })
  }

  private readonly onStrayError = (error: unknown): void =>
    this.modules.log.debug({ err: error }, 'stream without a link failed')
}

/**
 * Gives the accepting side the window that the dialing side has by `grpc-node.flow_control_window`: grpc-js has no such
 * option for servers, and leaves HTTP/2's 64 KiB per round trip. The HTTP/2 stream is not part of grpc-js' interface; a
 * release that hides it costs speed, not correctness, and the test of the transport says so.
 */
function widenWindow(call: ServerCall): void {
  const { stream } = (call as unknown as { call?: { stream?: Partial<Http2Stream> } }).call ?? {}
  const session = stream?.session
  if (session === undefined || session.destroyed) return
  session.setLocalWindowSize(FLOW_CONTROL_WINDOW_BYTES)
  session.settings({ initialWindowSize: FLOW_CONTROL_WINDOW_BYTES })
}

/** A way to one address: gRPC channels with a connection of their own for each stream. */
export class MeshChannel {
  private readonly clients: Client[] = []
  private readonly calls: ClientDuplexStream<Buffer, Buffer>[] = []

  constructor(
    private readonly address: string,
    private readonly tls?: MeshTls | undefined,
  ) {}

  /** Opens the link stream; that it cannot be reached shows as an error of the stream. */
  openLink(): LinkStream {
    let socket: Socket | undefined
    const call = this.open(LINK_PATH, (connected) => {
      socket = connected
    })
    const terminate = (): void => {
      // The heartbeat too: a connection to a peer that is gone would wait for its end.
      for (const open of this.calls) open.cancel()
      for (const client of this.clients) client.close()
    }
    return new LinkStream(call, terminate, () => socket?.bytesRead ?? 0)
  }

  openHeartbeat(): ByteCall {
    return this.open(HEARTBEAT_PATH)
  }

  private open(path: string, onSocket?: (socket: Socket) => void): ClientDuplexStream<Buffer, Buffer> {
    const { tls } = this
    const access = tls === undefined ? credentials.createInsecure() : tls.credentials()
    if (onSocket !== undefined) watchSocket(access, onSocket)
    const client = new Client(this.address, access, { ...CLIENT_OPTIONS, ...tls?.channelOptions })
    this.clients.push(client)
    const call = client.makeBidiStreamRequest(path, identity, identity, new Metadata(), {})
    this.calls.push(call)
    return call
  }
}

/**
 * Tells of the TCP connection that gRPC makes for these credentials: the only place where it hands one out. A release that
 * makes them otherwise leaves data that hangs unseen, and the test of the transport says so.
 */
function watchSocket(access: ChannelCredentials, onSocket: (socket: Socket) => void): void {
  const create = access._createSecureConnector.bind(access)
  access._createSecureConnector = (...parameters) => {
    const connector = create(...parameters)
    const connect = connector.connect.bind(connector)
    connector.connect = (socket) => {
      onSocket(socket)
      return connect(socket)
    }
    return connector
  }
}
