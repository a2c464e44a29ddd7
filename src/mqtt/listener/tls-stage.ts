/** Puts TLS between a socket and what follows: the handshake, who the client is by certificate or pre-shared key. */

import type { Socket } from 'node:net'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import type { Logger } from 'pino'
import type { TlsOptions } from '../../config/tls-options.js'
import type { ClientCertificate } from '../origin.js'
import type { Arrival, Stage } from './arrival.js'
import type { ListenerMetrics } from './metrics.js'
import { TlsKeeper } from './tls-keeper.js'

export interface TlsStageModules {
  readonly next: Stage
  readonly metrics: ListenerMetrics
  readonly log: Logger
}

export class TlsStage implements Stage {
  private readonly keeper: TlsKeeper
  /** Does not listen: it is handed the sockets that the listener has accepted and taken a PROXY header off. */
  private readonly server: Server
  /** By the two ends of the socket, which is all that a TLS socket and the one below it have in common. */
  private readonly arrivals = new Map<string, Arrival>()
  /** Of the handshakes that use one. */
  private readonly identities = new WeakMap<TLSSocket, string>()

  /**
   * @param listener its URL, for logs and metrics.
   * @throws TlsFileError
   */
  constructor(
    private readonly listener: string,
    private readonly options: TlsOptions,
    private readonly modules: TlsStageModules,
  ) {
    this.keeper = new TlsKeeper(listener, options, {
      onChange: (context) => this.server.setSecureContext(context),
      metrics: modules.metrics,
      log: modules.log,
    })
    this.server = createServer({
      ...this.keeper.defaultContext,
      noDelay: true,
      requestCert: options.verify !== 'none',
      rejectUnauthorized: options.verify === 'required',
      SNICallback: (serverName, done) => done(null, this.keeper.contextFor(serverName)),
      ...(options.pskFile === ''
        ? {}
        : { pskCallback: (socket: TLSSocket, identity: string) => this.identify(socket, identity) }),
    })
    this.server.on('secureConnection', (socket) => this.secured(socket))
    this.server.on('tlsClientError', (error, socket) => this.failed(error, socket))
  }

  /** @throws TlsFileError when the files have become unusable since the configuration was read. */
  start(): Promise<void> {
    return this.keeper.start()
  }

  stop(): void {
    this.keeper.stop()
  }

  begin(arrival: Arrival): void {
    const { socket } = arrival
    arrival.closesAs = 'tls_handshake'
    const ends = endsOf(socket)
    this.arrivals.set(ends, arrival)
    socket.once('close', () => {
      if (this.arrivals.get(ends) === arrival) this.arrivals.delete(ends)
    })
    this.server.emit('connection', socket)
  }

  private identify(socket: TLSSocket, identity: string): Buffer | null {
    const key = this.keeper.keyOf(identity)
    if (key === undefined) return null
    this.identities.set(socket, identity)
    return key
  }

  private secured(socket: TLSSocket): void {
    const ends = endsOf(socket)
    const arrival = this.arrivals.get(ends)
    this.arrivals.delete(ends)
    if (arrival === undefined) {
      socket.destroy()
      return
    }
    arrival.stream = socket
    arrival.closesAs = 'gone'
    arrival.pskIdentity = this.identities.get(socket)
    if (this.options.verify !== 'none') {
      arrival.certificate = certificateOf(socket)
      // `optional`: none is fine, a bad one is not.
      if (arrival.certificate !== undefined && !socket.authorized) {
        const detail = String(socket.authorizationError)
        this.modules.log.debug({ listener: this.listener, detail }, 'client certificate refused')
        arrival.refuse('tls_handshake')
        return
      }
    }
    this.modules.next.begin(arrival)
  }

  /** The arrival itself hears of it as its socket closes. */
  private failed(error: Error, socket: TLSSocket): void {
    const { code } = error as NodeJS.ErrnoException
    const detail = socket.authorizationError ?? error.message
    this.modules.log.debug({ listener: this.listener, code, detail: String(detail) }, 'TLS handshake failed')
    socket.destroy()
  }
}

function endsOf(socket: Socket): string {
  // A client may come from one port to several of our addresses.
  return `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress} ${socket.localPort}`
}

function certificateOf(socket: TLSSocket): ClientCertificate | undefined {
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) return undefined
  // One line for each part, the broadest first, with what is special in a value escaped as RFC 2253 has it.
  const parts = certificate.subject.split('\n')
  const { CN } = certificate.toLegacyObject().subject as { CN?: string | string[] }
  return {
    commonName: (Array.isArray(CN) ? CN.at(-1) : CN) ?? '',
    distinguishedName: parts.reverse().join(','),
  }
}
