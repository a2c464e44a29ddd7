/** What must be true of the listeners, beyond the range of each option: who may come in, and what TLS needs. */

import { isLocal, isWebSocket } from './addresses.js'
import { type ListenerSettings, listenerSettings } from './listener-options.js'
import type { Config } from './options.js'
import { readTlsFiles, TlsFileError } from './tls-files.js'
import { TLS_VERSION_NAMES, type TlsOptions } from './tls-options.js'

/** What is wrong with the listeners, each with its URL. */
export function listenerProblems(config: Config): string[] {
  return listenerSettings(config).flatMap((listener) =>
    [...optionProblems(listener), ...tlsProblems(listener)].map((problem) => `${listener.url} ${problem}`),
  )
}

/** Listeners that anybody could use who reaches them, and that nobody has said that of. */
export function openListeners(config: Config): string[] {
  return listenerSettings(config)
    .filter(({ address, allowAnonymous }) => !isLocal(address) && !allowAnonymous)
    .filter((listener) => !asksForCredentials(listener, config))
    .map(
      ({ url }) =>
        `${url} is not on loopback, so anyone could connect; name the users in access.usersFile, ask for client certificates with tls.verify required, or write allowAnonymous: true if that is meant`,
    )
}

/** Whether a client has to prove who it is there: to the users file, by certificate, or by pre-shared key. */
function asksForCredentials({ tls }: ListenerSettings, { access }: Config): boolean {
  if (access.usersFile !== '') return true
  if (tls === undefined) return false
  const isKeyNeeded = tls.pskFile !== '' && tls.certFile === ''
  return tls.verify === 'required' || isKeyNeeded
}

function* optionProblems(listener: ListenerSettings): Generator<string> {
  const { address, proxyProtocol, trustedProxies, allowedOrigins, connectRate, connectBurst, hasOwnTls, tls } = listener
  if (proxyProtocol !== 'off' && trustedProxies.length === 0 && address.scheme !== 'unix') {
    yield 'has proxyProtocol without trustedProxies: say whose headers are believed (0.0.0.0/0 and ::/0 for everybody)'
  }
  if (allowedOrigins.length > 0 && !isWebSocket(address)) yield 'has allowedOrigins, which only WebSocket knows'
  if (connectBurst > 0 && connectRate === 0) yield 'has connectBurst without connectRate'
  if (hasOwnTls && tls === undefined) yield 'has tls, which needs mqtts:// or wss://'
}

function* tlsProblems({ tls }: ListenerSettings): Generator<string> {
  if (tls === undefined) return
  const missing = [...missingFiles(tls)]
  yield* missing
  const versions = Object.keys(TLS_VERSION_NAMES)
  if (versions.indexOf(tls.minimumVersion) > versions.indexOf(tls.maximumVersion)) {
    yield `has tls.minimumVersion ${tls.minimumVersion} above tls.maximumVersion ${tls.maximumVersion}`
  }
  const { username, clientId } = tls.peerCertAs
  if (tls.verify === 'none' && (username !== 'off' || clientId !== 'off')) {
    yield 'has tls.peerCertAs, but with tls.verify none no client is asked for a certificate'
  }
  // What the files hold is of interest once it is known which.
  if (missing.length === 0) yield* fileProblems(tls)
}

function* missingFiles({ certFile, keyFile, caFile, pskFile, sni, verify }: TlsOptions): Generator<string> {
  if ((certFile === '') !== (keyFile === '')) yield 'needs both tls.certFile and tls.keyFile, or neither'
  if (certFile === '' && pskFile === '') yield 'needs tls.certFile and tls.keyFile, or a tls.pskFile'
  if (certFile === '' && sni.length > 0) yield 'has tls.sni, and needs tls.certFile for the clients that name no server'
  if (verify !== 'none' && caFile === '') yield `needs tls.caFile for tls.verify ${verify}`
}

function fileProblems(tls: TlsOptions): readonly string[] {
  try {
    readTlsFiles(tls)
    return []
  } catch (error) {
    if (error instanceof TlsFileError) return error.problems
    throw error
  }
}
