/**
 * What a TLS listener shows and believes, kept in step with its files: read at the start, and again when one of them
 * has changed. Files that are wrong then change nothing but a counter and a line in the log.
 */

import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls'
import type { Logger } from 'pino'
import {
  type KeyPair,
  readTlsFiles,
  secureContextOptions,
  TlsFileError,
  type TlsMaterial,
  tlsFiles,
} from '../../config/tls-files.js'
import type { TlsOptions } from '../../config/tls-options.js'
import { FileWatch } from '../../util/file-watch.js'
import { EXPIRES_SOON_MS } from './certificate-alarms.js'
import type { CertificateExpiry, ListenerMetrics } from './metrics.js'

export interface TlsKeeperModules {
  /** New certificates, authorities or keys are to be used from now on. */
  readonly onChange: (context: SecureContextOptions) => void
  readonly metrics: ListenerMetrics
  readonly log: Logger
}

export class TlsKeeper {
  private material: TlsMaterial
  private contexts: ReadonlyMap<string, SecureContext>
  private readonly watch: FileWatch

  /**
   * @param listener its URL, for logs and metrics.
   * @throws TlsFileError
   */
  constructor(
    private readonly listener: string,
    private readonly options: TlsOptions,
    private readonly modules: TlsKeeperModules,
  ) {
    this.material = readTlsFiles(options)
    this.contexts = contextsOf(options, this.material)
    this.watch = new FileWatch(
      { paths: tlsFiles(options), interval: options.reloadInterval },
      {
        onChange: () => this.reload(),
        onError: (err) => modules.log.error({ listener, err }, 'looking at the files of TLS failed'),
      },
    )
    modules.metrics.showExpiry(() => this.expiries())
  }

  /** For clients that ask for no server name that has a certificate of its own. */
  get defaultContext(): SecureContextOptions {
    return secureContextOptions(this.options, this.material, this.material.certificate)
  }

  /** The certificate of this server name, or of its domain as `*.domain`; undefined for the usual one. */
  contextFor(serverName: string): SecureContext | undefined {
    const name = serverName.toLowerCase()
    return this.contexts.get(name) ?? this.contexts.get(`*${name.slice(Math.max(0, name.indexOf('.')))}`)
  }

  /** The pre-shared key of an identity. */
  keyOf(identity: string): Buffer | undefined {
    return this.material.keys?.get(identity)
  }

  async start(): Promise<void> {
    await this.watch.start()
    // What has changed between the configuration being read and the watch beginning would not be seen otherwise.
    this.use(readTlsFiles(this.options))
    this.warnOfExpiry()
  }

  stop(): void {
    this.watch.stop()
  }

  private reload(): void {
    const { log, metrics } = this.modules
    try {
      this.use(readTlsFiles(this.options))
    } catch (error) {
      if (!(error instanceof TlsFileError)) throw error
      metrics.reloads.failed.value++
      log.error(
        { listener: this.listener, problems: error.problems },
        'changed TLS files cannot be used, the old ones stay',
      )
      return
    }
    metrics.reloads.ok.value++
    log.info({ listener: this.listener }, 'changed TLS files are in use')
    this.warnOfExpiry()
  }

  private use(material: TlsMaterial): void {
    this.contexts = contextsOf(this.options, material)
    this.material = material
    this.modules.onChange(this.defaultContext)
  }

  private warnOfExpiry(): void {
    for (const { serverName, expiresAt } of this.expiries()) {
      if (expiresAt - Date.now() > EXPIRES_SOON_MS) continue
      const fields = { listener: this.listener, serverName, expiresAt: new Date(expiresAt).toISOString() }
      this.modules.log.warn(fields, expiresAt < Date.now() ? 'certificate has expired' : 'certificate expires soon')
    }
  }

  private *expiries(): Generator<CertificateExpiry> {
    const { certificate, serverNames } = this.material
    const { listener } = this
    if (certificate !== undefined) yield { listener, serverName: '', expiresAt: certificate.expiresAt }
    for (const [serverName, { expiresAt }] of serverNames) yield { listener, serverName, expiresAt }
  }
}

function contextsOf(options: TlsOptions, material: TlsMaterial): ReadonlyMap<string, SecureContext> {
  const contextOf = (pair: KeyPair): SecureContext => createSecureContext(secureContextOptions(options, material, pair))
  return new Map([...material.serverNames].map(([serverName, pair]) => [serverName, contextOf(pair)]))
}
