/** Addresses as they are written in configuration and flags: `host:port`, `mqtt://host:port`, `unix:///path`. */

import { isIP } from 'node:net'

export interface HostPort {
  /** A host name or an IP address; an IPv6 address without its brackets. */
  host: string
  /** 0 to 65535; 0 lets the system choose where one listens. */
  port: number
}

/** MQTT over TCP, TLS, WebSocket, WebSocket over TLS, and a Unix domain socket. */
export const LISTENER_SCHEMES = ['mqtt', 'mqtts', 'ws', 'wss', 'unix'] as const

export type ListenerScheme = (typeof LISTENER_SCHEMES)[number]

export interface ListenerAddress extends HostPort {
  scheme: ListenerScheme
  /** Of a WebSocket listener: where it answers, `/mqtt` when none is written. Of `unix`: the socket. Otherwise ''. */
  path: string
}

/** The text is not an address of the kind that is asked for; the message says why. */
export class AddressError extends Error {
  override readonly name = 'AddressError'
}

const HOST_NAME = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})?(\.[a-z0-9_]([a-z0-9_-]{0,62})?)*\.?$/i

/** What a node name may have before its `@`. */
const NODE_NAME = /^[a-z0-9_][a-z0-9_.-]{0,63}$/i

const DEFAULT_WEBSOCKET_PATH = '/mqtt'

/** What `parseListener` reads, for messages and help. */
export const LISTENER_FORMS =
  'mqtt://host:port, mqtts://host:port, ws://host:port/path, wss://host:port/path or unix:///path'

/** Longest path of a Unix domain socket in bytes, less its closing zero: `sun_path` of Linux. unix(7) */
const MAXIMUM_SOCKET_PATH_BYTES = 107

/**
 * Reads `host:port`; an IPv6 host stands in brackets, as in `[::1]:5370`.
 * @throws AddressError
 */
export function parseHostPort(text: string): HostPort {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(text)
  if (match === null) {
    const isBareIpv6 = isIP(text.replace(/:\d+$/, '')) === 6 || isIP(text) === 6
    throw new AddressError(isBareIpv6 ? 'an IPv6 address stands in brackets, as in [::1]:5370' : 'expected host:port')
  }
  const port = Number(match[3])
  if (port > 65_535) throw new AddressError(`port ${port} is above 65535`)
  return { host: readHost(match[1], match[2]), port }
}

/**
 * Reads a listener: `mqtt://host:port`, `mqtts://host:port`, `ws://host:port/path`, `wss://host:port/path` or
 * `unix:///path`.
 * @throws AddressError
 */
export function parseListener(text: string): ListenerAddress {
  const match = /^([a-z]+):\/\/([^/]*)(\/.*)?$/i.exec(text)
  if (match === null) throw new AddressError(`expected ${LISTENER_FORMS}`)
  const scheme = (match[1] ?? '').toLowerCase()
  const host = match[2] ?? ''
  const path = match[3] ?? ''
  switch (scheme) {
    case 'mqtt':
    case 'mqtts':
      if (path !== '') throw new AddressError(`an ${scheme} listener has no path`)
      return { scheme, ...parseHostPort(host), path }
    case 'ws':
    case 'wss':
      if (/[\s?#]/.test(path)) throw new AddressError('the path may not have spaces, a query or a fragment')
      return { scheme, ...parseHostPort(host), path: path || DEFAULT_WEBSOCKET_PATH }
    case 'unix':
      return { scheme, host: '', port: 0, path: readSocketPath(host, path) }
    default:
      throw new AddressError(`unknown scheme ${scheme}, expected one of ${LISTENER_SCHEMES.join(', ')}`)
  }
}

/** The text of an address, with brackets around IPv6. */
export function formatHostPort({ host, port }: HostPort): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`
}

/** The text of a listener, as `parseListener` reads it. */
export function formatListener(address: ListenerAddress): string {
  const host = address.scheme === 'unix' ? '' : formatHostPort(address)
  return `${address.scheme}://${host}${address.path}`
}

/** Whether clients of this listener speak TLS. */
export function isSecure({ scheme }: ListenerAddress): boolean {
  return scheme === 'mqtts' || scheme === 'wss'
}

/** Whether clients of this listener speak WebSocket. */
export function isWebSocket({ scheme }: ListenerAddress): boolean {
  return scheme === 'ws' || scheme === 'wss'
}

/** Whether only this machine can connect there. */
export function isLocal(address: ListenerAddress): boolean {
  return address.scheme === 'unix' || isLoopback(address.host)
}

/** Splits `name@host`; the host of a node name may be an IPv6 address in brackets. Undefined when it is not a node name. */
export function parseNodeName(text: string): { name: string; host: string } | undefined {
  const at = text.indexOf('@')
  if (at < 1 || !NODE_NAME.test(text.slice(0, at))) return undefined
  const hostText = text.slice(at + 1)
  const bracketed = /^\[(.*)\]$/.exec(hostText)?.[1]
  if (bracketed !== undefined) return isIP(bracketed) === 6 ? { name: text.slice(0, at), host: bracketed } : undefined
  return isHost(hostText) ? { name: text.slice(0, at), host: hostText } : undefined
}

/** True for localhost, 127.0.0.0/8 and ::1 (also in its IPv4-mapped forms): only this machine can connect there. */
export function isLoopback(host: string): boolean {
  const plain = host.toLowerCase()
  if (plain === 'localhost' || plain === 'localhost.') return true
  if (isIP(plain) === 4) return plain.startsWith('127.')
  if (isIP(plain) !== 6) return false
  return (
    /^(0{1,4}:){7}0{0,3}1$/.test(plain) || /^(0{0,4}:)*:(0{0,4}:)*0{0,3}1$/.test(plain) || /^::ffff:127\./.test(plain)
  )
}

function readHost(bracketed: string | undefined, plain: string | undefined): string {
  if (bracketed !== undefined) {
    if (isIP(bracketed) !== 6) throw new AddressError(`[${bracketed}] is not an IPv6 address`)
    return bracketed
  }
  if (plain === undefined || plain === '') throw new AddressError('the host is missing; 0.0.0.0 means all addresses')
  if (!isHost(plain)) throw new AddressError(`${plain} is not a host name or an IP address`)
  return plain
}

function readSocketPath(host: string, path: string): string {
  if (host !== '') throw new AddressError('a unix listener has an absolute path, as in unix:///run/shoalmq.sock')
  if (path === '' || path.endsWith('/')) throw new AddressError('the path of the socket is missing')
  if (path.includes('\0')) throw new AddressError('the path of a socket has no NUL')
  if (Buffer.byteLength(path) > MAXIMUM_SOCKET_PATH_BYTES) {
    throw new AddressError(`the path of a socket has at most ${MAXIMUM_SOCKET_PATH_BYTES} bytes`)
  }
  return path
}

function isHost(text: string): boolean {
  // What looks like an IPv4 address must be one: 10.0.0.256 is a typing error, not a host name.
  if (/^[\d.]+$/.test(text)) return isIP(text) === 4
  return HOST_NAME.test(text)
}
