/**
 * TLS between the nodes: what this node shows and believes, kept in step with its files, for links that come and links
 * that go. Both sides of a link are checked before HTTP/2 begins; the handshake of the cluster follows inside.
 */

import type { Socket } from 'node:net'
import {
  checkServerIdentity,
  createSecureContext,
  createServer,
  type SecureContextOptions,
  type TLSSocket,
} from 'node:tls'
import { type ChannelCredentials, type ChannelOptions, credentials } from '@grpc/grpc-js'
import type { Logger } from 'pino'
import { type MeshTlsMaterial, type MeshTlsOptions, readMeshTlsFiles } from '../config/mesh-tls-options.js'
import { TlsFileError } from '../config/tls-files.js'
import { FileWatch } from '../util/file-watch.js'
import { type MeshTlsMetrics, TLS_FAILURES, type TlsFailure } from './mesh-tls-metrics.js'

/** Who has failed is remembered, so that each is logged once for each reason; strangers may have any address. */
const MAXIMUM_REMEMBERED = 256

/** The name that is asked for by SNI where the certificates need none: an address may not be asked for. */
const ANY_NAME = 'node.shoalmq.invalid'

export class MeshTls {
  private context: SecureContextOptions
  private readonly server
  private readonly watch: FileWatch
  private readonly logged = new Set<string>()
  private onSecure: ((socket: TLSSocket) => void) | undefined

  /** @throws TlsFileError */
  constructor(
    private readonly options: MeshTlsOptions,
    private readonly modules: { metrics: MeshTlsMetrics; log: Logger },
  ) {
    this.context = this.use(readMeshTlsFiles(options))
    const mustShow = options.verify === 'required'
    this.server = createServer({
      ...this.context,
      ALPNProtocols: ['h2'],
      requestCert: mustShow,
      rejectUnauthorized: mustShow,
    })
    this.server.on('secureConnection', (socket) => {
      // Without a listener a reset would end the process; gRPC adds its own.
      socket.on('error', (error) => modules.log.debug({ err: error }, 'TLS of a link failed'))
      this.onSecure?.(socket)
    })
    this.server.on('tlsClientError', (error, socket) => {
      this.report(failureOf(error, socket.authorizationError), socket.remoteAddress ?? '', error, 'acceptor')
    })
    const { certFile, keyFile, caFile, reloadInterval } = options
    this.watch = new FileWatch(
      { paths: [certFile, keyFile, caFile].filter((path) => path !== ''), interval: reloadInterval },
      {
        onChange: () => this.reload(),
        onError: (err) => modules.log.error({ err }, 'looking at the files of TLS between nodes failed'),
      },
    )
  }

  /** Watches the files from now on. */
  start(): Promise<void> {
    return this.watch.start()
  }

  stop(): void {
    this.watch.stop()
  }

  /** Sockets that came through TLS go there. */
  serve(onSecure: (socket: TLSSocket) => void): void {
    this.onSecure = onSecure
  }

  /** Begins TLS on a socket that came in. */
  accept(socket: Socket): void {
    this.server.emit('connection', socket)
  }

  /** For a link to be dialed, with the files as they are now. */
  credentials(): ChannelCredentials {
    const { verify, serverName } = this.options
    return credentials.createFromSecureContext(createSecureContext(this.context), {
      rejectUnauthorized: verify === 'required',
      checkServerIdentity: (name, certificate) =>
        serverName === '' ? undefined : checkServerIdentity(name, certificate),
    })
  }

  get channelOptions(): ChannelOptions {
    return { 'grpc.ssl_target_name_override': this.options.serverName || ANY_NAME }
  }

  /** A dialed connection failed: was it for TLS? Counted and logged then. */
  reportDialed(address: string, error: Error): void {
    const failure = failureOf(error, undefined)
    const isTls = failure !== 'other' || /\b(SSL|TLS|alert|certificate)\b/i.test(error.message)
    if (isTls) this.report(failure, address, error, 'dialer')
  }

  /** They link now: the next failure is news again. */
  forget(address: string): void {
    for (const failure of TLS_FAILURES) this.logged.delete(`${address} ${failure}`)
  }

  private report(reason: TlsFailure, address: string, error: Error, side: 'dialer' | 'acceptor'): void {
    this.modules.metrics.failures[reason].value += 1
    const key = `${address} ${reason}`
    if (this.logged.has(key)) return
    if (this.logged.size >= MAXIMUM_REMEMBERED) this.logged.clear()
    this.logged.add(key)
    const detail = error.message.slice(0, 200)
    this.modules.log.warn({ address, reason, side, detail, meaning: MEANINGS[reason] }, 'no TLS with a node')
  }

  private use({ certificate, ca }: MeshTlsMaterial): SecureContextOptions {
    this.modules.metrics.expiresAt = certificate.expiresAt
    const context: SecureContextOptions = {
      cert: certificate.cert,
      key: certificate.key,
      ...(ca === undefined ? {} : { ca }),
      minVersion: 'TLSv1.3',
    }
    // What only OpenSSL can say: a key that it finds too short, say.
    createSecureContext(context)
    return context
  }

  private reload(): void {
    const { metrics, log } = this.modules
    try {
      this.context = this.use(readMeshTlsFiles(this.options))
    } catch (error) {
      metrics.reloads.failed.value += 1
      const problems = error instanceof TlsFileError ? error.problems : [String(error)]
      log.error({ problems }, 'changed files of TLS between nodes cannot be used, the old ones stay')
      return
    }
    this.server.setSecureContext(this.context)
    this.logged.clear()
    metrics.reloads.ok.value += 1
    log.info('changed files of TLS between nodes are in use')
  }
}

/** In the words of an operator. */
const MEANINGS: Record<TlsFailure, string> = {
  no_certificate: 'the other side showed no certificate',
  untrusted: 'the certificate is not one of cluster.tls.caFile, or has expired',
  wrong_name: 'the certificate does not have the name cluster.tls.serverName',
  not_tls: 'one side speaks TLS and the other does not: is cluster.tls set on all nodes?',
  other: 'the TLS handshake failed, or the other side broke it off: its log says why',
}

function failureOf(error: Error, authorization: Error | string | undefined): TlsFailure {
  const { code = '' } = error as NodeJS.ErrnoException
  const text = `${code} ${error.message} ${authorization === undefined ? '' : String(authorization)}`
  if (/PEER_DID_NOT_RETURN_A_CERTIFICATE|certificate.required/i.test(text)) return 'no_certificate'
  if (/ALTNAME|altnames/.test(text)) return 'wrong_name'
  if (/WRONG_VERSION_NUMBER|wrong version number|HTTP_REQUEST|http request|PACKET_LENGTH/i.test(text)) return 'not_tls'
  return /SELF.SIGNED|VERIFY|EXPIRED|ISSUER|unknown.ca|bad.certificate|UNTRUSTED/i.test(text) ? 'untrusted' : 'other'
}
