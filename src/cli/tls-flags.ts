/** The flags of TLS that `shoalmq pub` and `shoalmq sub` share, named as mosquitto_pub and mosquitto_sub name theirs. */

import { readFileSync } from 'node:fs'
import type { RequestOptions } from 'node:https'
import type { PeerCertificate } from 'node:tls'
import { type Command, InvalidArgumentError } from 'commander'
import type { IClientOptions } from 'mqtt'
import { CliError, EXIT_CODES } from './cli-error.js'

export interface TlsFlags {
  tls?: true
  cafile?: string
  cert?: string
  key?: string
  insecure?: true
  psk?: Buffer
  pskIdentity?: string
}

/** Any suite of pre-shared keys, and those of TLS 1.3, where the key is apart from the suite. */
const PSK_CIPHERS = 'PSK:TLS_AES_128_GCM_SHA256'

export function addTlsFlags(command: Command): Command {
  return command
    .option('--tls', 'connect by TLS, and believe the authorities of the system; the flags below do so too')
    .option('--cafile <path>', 'PEM file of the authorities to believe instead')
    .option('--cert <path>', 'PEM file of our own certificate')
    .option('--key <path>', 'PEM file of its private key')
    .option('--insecure', 'do not check that the certificate is for the host that was dialed')
    .option('--psk <key>', 'pre-shared key in hexadecimal (visible to other users of this machine)', parseKey)
    .option('--psk-identity <identity>', 'whose key it is')
}

/** Whether one of the flags asks for TLS. */
export function asksForTls({ tls, cafile, cert, key, insecure, psk, pskIdentity }: TlsFlags): boolean {
  return [tls, cafile, cert, key, insecure, psk, pskIdentity].some((flag) => flag !== undefined)
}

/**
 * The flags as MQTT.js takes them.
 * @throws CliError when they contradict each other, or a file cannot be read.
 */
export function tlsClientOptions(flags: TlsFlags): IClientOptions {
  const { cafile, cert, key, insecure, psk, pskIdentity } = flags
  if ((cert === undefined) !== (key === undefined)) throw new CliError('--cert and --key go together', EXIT_CODES.usage)
  if ((psk === undefined) !== (pskIdentity === undefined)) {
    throw new CliError('--psk and --psk-identity go together', EXIT_CODES.usage)
  }
  if (psk !== undefined && (cafile ?? cert) !== undefined) {
    throw new CliError(
      'a pre-shared key takes the place of certificates: --psk without --cafile and --cert',
      EXIT_CODES.usage,
    )
  }
  const options = {
    ...(cafile === undefined ? {} : { ca: readPem(cafile) }),
    ...(cert === undefined || key === undefined ? {} : { cert: readPem(cert), key: readPem(key) }),
    ...(insecure === true ? { checkServerIdentity: () => undefined } : {}),
    ...(psk === undefined || pskIdentity === undefined ? {} : pskOptions(psk, pskIdentity)),
  }
  // MQTT.js passes only some of them on to a WebSocket, whose own options are those of an HTTPS request.
  return { ...options, wsOptions: options as RequestOptions }
}

function pskOptions(psk: Buffer, identity: string): object {
  return {
    pskCallback: () => ({ psk, identity }),
    ciphers: PSK_CIPHERS,
    // With the key there is no certificate to check; a broker that shows one has not used the key.
    checkServerIdentity: (_host: string, certificate: PeerCertificate) =>
      certificate.raw === undefined ? undefined : new Error('the broker does not know the pre-shared key'),
  }
}

function readPem(path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new CliError(`cannot read ${path} (${code ?? 'unknown error'})`, EXIT_CODES.failure, { cause: error })
  }
}

function parseKey(text: string): Buffer {
  if (!/^([0-9a-f]{2})+$/i.test(text)) throw new InvalidArgumentError('Expected an even number of hexadecimal digits.')
  return Buffer.from(text, 'hex')
}
