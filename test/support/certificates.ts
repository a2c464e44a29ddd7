import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const directories: string[] = []

process.once('exit', () => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
})

/** Two PEM files that belong together. */
export interface KeyPairFiles {
  certFile: string
  keyFile: string
}

export interface CertificateOptions {
  /** As OpenSSL takes it: `/O=Acme/CN=device-1`. */
  subject: string
  /** Names and addresses of a server: `DNS:localhost,IP:127.0.0.1`. */
  alternativeNames?: string
  days?: number
}

/** An authority of its own, and what it signs; made by openssl, and gone when the process ends. */
export class CertificateAuthority {
  readonly directory = mkdtempSync(join(tmpdir(), 'shoalmq-certificates-'))
  readonly caFile: string
  private readonly caKeyFile: string
  private count = 0

  constructor(name = 'test authority') {
    directories.push(this.directory)
    this.caFile = join(this.directory, 'ca.crt')
    this.caKeyFile = join(this.directory, 'ca.key')
    openssl('req', '-x509', ...newKey(this.caKeyFile), '-out', this.caFile, '-subj', `/CN=${name}`, '-days', '30')
  }

  get ca(): Buffer {
    return readFileSync(this.caFile)
  }

  /** A certificate for localhost and 127.0.0.1. */
  server(subject = '/CN=localhost'): KeyPairFiles {
    return this.issue({ subject, alternativeNames: 'DNS:localhost,IP:127.0.0.1' })
  }

  issue({ subject, alternativeNames, days = 30 }: CertificateOptions): KeyPairFiles {
    this.count += 1
    const path = (extension: string): string => join(this.directory, `${this.count}.${extension}`)
    openssl('req', '-new', ...newKey(path('key')), '-out', path('csr'), '-subj', subject, '-utf8')
    writeFileSync(path('ext'), alternativeNames === undefined ? '' : `subjectAltName=${alternativeNames}\n`)
    openssl(
      ...['x509', '-req', '-in', path('csr'), '-out', path('crt'), '-days', String(days), '-extfile', path('ext')],
      ...['-CA', this.caFile, '-CAkey', this.caKeyFile, '-CAcreateserial'],
    )
    return { certFile: path('crt'), keyFile: path('key') }
  }

  /** A file with this content beside the certificates. */
  file(name: string, content: string | Buffer): string {
    const path = join(this.directory, name)
    writeFileSync(path, content)
    return path
  }
}

/** Certificate and key as Node.js takes them. */
export function readKeyPair({ certFile, keyFile }: KeyPairFiles): { cert: Buffer; key: Buffer } {
  return { cert: readFileSync(certFile), key: readFileSync(keyFile) }
}

function newKey(file: string): string[] {
  return ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', file]
}

function openssl(...parameters: readonly string[]): void {
  execFileSync('openssl', parameters, { stdio: ['ignore', 'ignore', 'pipe'] })
}
