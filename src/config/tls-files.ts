/** The files of TLS, read and held against each other: what a listener shows, whom it believes, whose keys it knows. */

import { constants, createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext, DEFAULT_CIPHERS, type SecureContextOptions } from 'node:tls'
import { unreadableReason } from './problem.js'
import { parsePskFile } from './psk-file.js'
import { TLS_VERSION_NAMES, type TlsOptions } from './tls-options.js'

/** A certificate with its key, in PEM. */
export interface KeyPair {
  readonly cert: Buffer
  readonly key: Buffer
  /** Milliseconds since the epoch: until when the certificate is good. */
  readonly expiresAt: number
}

/** What the files of one listener hold, found to be usable. */
export interface TlsMaterial {
  /** Undefined for a listener of pre-shared keys only. */
  readonly certificate: KeyPair | undefined
  /** By server name, which may begin with `*.`; in small letters. */
  readonly serverNames: ReadonlyMap<string, KeyPair>
  readonly ca: Buffer | undefined
  /** By identity; undefined without a `pskFile`. */
  readonly keys: ReadonlyMap<string, Buffer> | undefined
}

/** Files that cannot be used; each problem names option and file, never what is in it. */
export class TlsFileError extends Error {
  override readonly name = 'TlsFileError'

  constructor(readonly problems: readonly string[]) {
    super(problems.join('; '))
  }
}

/**
 * Where there are pre-shared keys, what takes the place of Node's `!PSK`: only suites with an ephemeral exchange, so
 * that who learns a key later cannot read what was recorded before.
 */
const PSK_CIPHERS = '!kPSK:!kRSAPSK:!kDHEPSK'

/** The files that these options name. */
export function tlsFiles({ certFile, keyFile, caFile, pskFile, sni }: TlsOptions): string[] {
  const files = [certFile, keyFile, caFile, pskFile, ...sni.flatMap((entry) => [entry.certFile, entry.keyFile])]
  return files.filter((file) => file !== '')
}

/**
 * Reads all files.
 * @throws TlsFileError when one of them, or what they are together, cannot be used.
 */
export function readTlsFiles(options: TlsOptions): TlsMaterial {
  const problems: string[] = []
  const reader = new TlsFileReader(problems)
  const certificate = options.certFile === '' ? undefined : reader.keyPair('tls', options.certFile, options.keyFile)
  const serverNames = new Map<string, KeyPair>()
  for (const { serverName, certFile, keyFile } of options.sni) {
    const pair = reader.keyPair(`tls.sni ${serverName}`, certFile, keyFile)
    if (pair !== undefined) serverNames.set(serverName.toLowerCase(), pair)
  }
  const ca = options.caFile === '' ? undefined : reader.authorities(options.caFile)
  const keys = options.pskFile === '' ? undefined : reader.keys(options.pskFile)
  const material: TlsMaterial = { certificate, serverNames, ca, keys }
  if (problems.length === 0) checkTogether(options, material, problems)
  if (problems.length > 0) throw new TlsFileError(problems)
  return material
}

/** What OpenSSL is given for the certificate `pair`. */
export function secureContextOptions(
  options: TlsOptions,
  material: TlsMaterial,
  pair: KeyPair | undefined,
): SecureContextOptions {
  const ciphers = options.ciphers !== '' ? options.ciphers : defaultCiphers(material.keys !== undefined)
  return {
    ...(pair === undefined ? {} : { cert: pair.cert, key: pair.key }),
    ...(material.ca === undefined ? {} : { ca: material.ca }),
    ciphers,
    // A session that is resumed tells no identity: with keys there is a new handshake each time.
    ...(material.keys === undefined ? {} : { secureOptions: constants.SSL_OP_NO_TICKET }),
    minVersion: TLS_VERSION_NAMES[options.minimumVersion],
    maxVersion: TLS_VERSION_NAMES[options.maximumVersion],
  }
}

function defaultCiphers(withKeys: boolean): string {
  if (!withKeys) return DEFAULT_CIPHERS
  const others = DEFAULT_CIPHERS.split(':').filter((cipher) => cipher !== '!PSK')
  return [...others, PSK_CIPHERS].join(':')
}

/** Reads files one by one and gathers what is wrong with them. */
export class TlsFileReader {
  constructor(private readonly problems: string[]) {}

  keyPair(option: string, certFile: string, keyFile: string): KeyPair | undefined {
    const cert = this.read(`${option}.certFile`, certFile)
    const key = this.read(`${option}.keyFile`, keyFile)
    if (cert === undefined || key === undefined) return undefined
    const certificate = this.attempt(`${option}.certFile ${certFile}: no certificate in PEM`, () => {
      return new X509Certificate(cert)
    })
    const privateKey = this.attempt(`${option}.keyFile ${keyFile}: no private key in PEM without a passphrase`, () => {
      return createPrivateKey(key)
    })
    if (certificate === undefined || privateKey === undefined) return undefined
    if (!isKeyOf(certificate, privateKey)) {
      this.problems.push(`${option}.keyFile ${keyFile} is not the key of ${option}.certFile ${certFile}`)
      return undefined
    }
    return { cert, key, expiresAt: Date.parse(certificate.validTo) }
  }

  authorities(caFile: string, option = 'tls'): Buffer | undefined {
    const ca = this.read(`${option}.caFile`, caFile)
    if (ca === undefined) return undefined
    return this.attempt(`${option}.caFile ${caFile}: no certificate in PEM`, () => {
      new X509Certificate(ca)
      return ca
    })
  }

  keys(pskFile: string): ReadonlyMap<string, Buffer> | undefined {
    const text = this.read('tls.pskFile', pskFile)
    if (text === undefined) return undefined
    const { keys, problems } = parsePskFile(text.toString())
    for (const { line, message } of problems) this.problems.push(`tls.pskFile ${pskFile}:${line}: ${message}`)
    return keys
  }

  private read(option: string, path: string): Buffer | undefined {
    try {
      return readFileSync(path)
    } catch (error) {
      this.problems.push(`${option} ${path}: ${unreadableReason(error)}`)
      return undefined
    }
  }

  /** The reasons of OpenSSL are left out: they say what our own words say, less clearly. */
  private attempt<T>(problem: string, read: () => T): T | undefined {
    try {
      return read()
    } catch {
      this.problems.push(problem)
      return undefined
    }
  }
}

function isKeyOf(certificate: X509Certificate, key: KeyObject): boolean {
  return certificate.checkPrivateKey(key)
}

/** What only OpenSSL can say: ciphers that it does not know, chains that it cannot read, keys that it finds too short. */
function checkTogether(options: TlsOptions, material: TlsMaterial, problems: string[]): void {
  for (const pair of [material.certificate, ...material.serverNames.values()]) {
    try {
      createSecureContext(secureContextOptions(options, material, pair))
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      const isCiphers = code === 'ERR_SSL_NO_CIPHER_MATCH' || code === 'ERR_INVALID_ARG_VALUE'
      problems.push(isCiphers ? `tls.ciphers ${options.ciphers}: OpenSSL knows none of them` : `tls: ${message}`)
      return
    }
  }
}
