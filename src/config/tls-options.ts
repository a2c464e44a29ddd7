/** Options of TLS: the group `tls`, and the same below an entry of `listen` for what differs there. */

import { z } from 'zod'
import type { DeepReadonly } from './deep-freeze.js'
import { choice, duration, records, text } from './option.js'

const TLS_VERSIONS = ['1.2', '1.3'] as const

const CERTIFICATE_NAMES = ['off', 'cn', 'dn'] as const

const peerCertAsSchema = z.strictObject({
  username: choice(
    'off',
    CERTIFICATE_NAMES,
    'What of a verified client certificate replaces the user name of CONNECT: its common name (`cn`), its whole subject (`dn`, as in `CN=device-1,O=Acme`), or nothing. Such a user needs no password. A client without a certificate (`verify: optional`) keeps its own.',
  ),
  clientId: choice('off', CERTIFICATE_NAMES, 'The same for the client ID.'),
})

const serverNameSchema = z.strictObject({
  serverName: z.string().regex(/^(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i),
  certFile: z.string().min(1),
  keyFile: z.string().min(1),
})

export const tlsSchema = z.strictObject({
  certFile: text(
    '',
    { accepted: 'a path' },
    'PEM file of the certificate, followed by those between it and the root. With `keyFile` it is what `mqtts` and `wss` listeners show.',
  ),
  keyFile: text('', { accepted: 'a path' }, 'PEM file of the private key of `certFile`, without a passphrase.'),
  caFile: text('', { accepted: 'a path' }, 'PEM file of the authorities whose client certificates are taken.'),
  verify: choice(
    'none',
    ['none', 'optional', 'required'],
    'Client certificates: not asked for; asked for, and one that is shown must be good; or `required` (mutual TLS), where a client without one does not get in. A client with a pre-shared key needs none.',
  ),
  peerCertAs: peerCertAsSchema.prefault({}),
  minimumVersion: choice('1.2', TLS_VERSIONS, 'The oldest version of TLS that is spoken.'),
  maximumVersion: choice('1.3', TLS_VERSIONS, 'The newest version of TLS that is spoken.'),
  ciphers: text(
    '',
    { accepted: 'a list of OpenSSL, separated by colons' },
    'Cipher suites, as OpenSSL names them. Empty: those of Node.js, and with a `pskFile` the suites with forward secrecy for pre-shared keys too.',
  ),
  sni: records(
    serverNameSchema,
    'a list of {serverName, certFile, keyFile}, in the file only',
    'Further certificates, for clients that ask for another server name (SNI): a list of `{serverName, certFile, keyFile}`. `*.example.com` stands for one level. Clients that ask for none of them, or for nothing, are shown `certFile`.',
  ),
  pskFile: text(
    '',
    { accepted: 'a path' },
    'File of pre-shared keys (TLS-PSK) for clients without certificates: lines of `identity:key`, the key in hexadecimal, 16 to 64 bytes. Empty lines and those that begin with # are skipped. The identity is the user name of the client, whatever CONNECT says. Without `certFile` nobody else gets in; with it clients may come with a key, or without.',
  ),
  reloadInterval: duration(
    '5s',
    ['100ms', '1h'],
    'How often the files of this group are looked at. What has changed holds for new connections; the others go on. Files that are wrong are logged, counted and not used: the last good ones stay.',
  ),
})

export type TlsOptions = DeepReadonly<z.output<typeof tlsSchema>>

/** Versions of TLS, oldest first, as Node.js calls them. */
export const TLS_VERSION_NAMES = { '1.2': 'TLSv1.2', '1.3': 'TLSv1.3' } as const satisfies Record<
  (typeof TLS_VERSIONS)[number],
  string
>
