/**
 * The header of the PROXY protocol, by which a proxy says for whom it connects. Versions 1 (a line of text) and 2
 * (binary), strictly. https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt
 */

import { isIPv4, isIPv6 } from 'node:net'
import { canonicalAddress } from '../../util/ip-address.js'

export type ProxyVersions = 'v1' | 'v2' | 'any'

/** A whole header. */
export interface ProxyHeader {
  /** How many bytes it has; what follows is the client's. */
  readonly length: number
  /**
   * Address of the client. Undefined when the proxy speaks for itself (LOCAL), or for somebody whom it cannot name
   * (UNKNOWN, UNSPEC, a Unix domain socket): the connection is then as if there were no header.
   */
  readonly source: string | undefined
}

/** The bytes are no header of an accepted version. */
export class ProxyHeaderError extends Error {
  override readonly name = 'ProxyHeaderError'
}

/** The longest line of version 1, with its end. [PROXY protocol section 2.1] */
const MAXIMUM_V1_BYTES = 107
/** Before the part of version 2 whose length it tells. */
const V2_FIXED_BYTES = 16
/** Version 2 could tell of 64 KiB; addresses and the TLVs of clouds and of TLS need a few hundred bytes. */
export const MAXIMUM_HEADER_BYTES = 4096

const V1_START = Buffer.from('PROXY ', 'latin1')
const V2_SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')

/** Of version 2: the command in the low four bits. [PROXY protocol section 2.2] */
const COMMAND_LOCAL = 0x0
const COMMAND_PROXY = 0x1

/** Of version 2, by family and transport: bytes of its addresses and ports. STREAM only: MQTT needs no datagrams. */
const ADDRESS_BYTES: Readonly<Record<number, number>> = { 0: 0, 17: 12, 33: 36, 49: 216 }
const TCP_OVER_IPV4 = 0x11
const TCP_OVER_IPV6 = 0x21

/**
 * Reads the header at the beginning of what has come; undefined while it is not whole.
 * @throws ProxyHeaderError as soon as it cannot become one.
 */
export function parseProxyHeader(bytes: Buffer, versions: ProxyVersions): ProxyHeader | undefined {
  if (versions !== 'v1' && startsAlike(bytes, V2_SIGNATURE)) return parseV2(bytes)
  if (versions !== 'v2' && startsAlike(bytes, V1_START)) return parseV1(bytes)
  throw new ProxyHeaderError(`no PROXY header of ${versions === 'any' ? 'version 1 or 2' : `version ${versions[1]}`}`)
}

/** Whether the bytes so far are those of `start`, as far as they go. */
function startsAlike(bytes: Buffer, start: Buffer): boolean {
  const length = Math.min(bytes.length, start.length)
  return bytes.compare(start, 0, length, 0, length) === 0
}

function parseV1(bytes: Buffer): ProxyHeader | undefined {
  const end = bytes.subarray(0, MAXIMUM_V1_BYTES).indexOf('\r\n')
  if (end < 0) {
    if (bytes.length >= MAXIMUM_V1_BYTES) throw new ProxyHeaderError('a line longer than 107 bytes')
    return undefined
  }
  const [, protocol, source = '', destination = '', sourcePort, destinationPort, ...more] = bytes
    .toString('latin1', 0, end)
    .split(' ')
  const length = end + 2
  // What follows UNKNOWN is to be ignored.
  if (protocol === 'UNKNOWN') return { length, source: undefined }
  const isAddress = protocol === 'TCP4' ? isIPv4 : protocol === 'TCP6' ? isPlainIpv6 : undefined
  if (isAddress === undefined) throw new ProxyHeaderError('neither TCP4, TCP6 nor UNKNOWN')
  if (!isAddress(source) || !isAddress(destination)) throw new ProxyHeaderError(`no addresses of ${protocol}`)
  if (!isPort(sourcePort) || !isPort(destinationPort) || more.length > 0) throw new ProxyHeaderError('no two ports')
  return { length, source: canonicalAddress(source) }
}

function isPlainIpv6(text: string): boolean {
  return isIPv6(text) && !text.includes('%')
}

function isPort(text: string | undefined): boolean {
  return text !== undefined && /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535
}

function parseV2(bytes: Buffer): ProxyHeader | undefined {
  if (bytes.length < V2_FIXED_BYTES) return undefined
  const versionAndCommand = bytes.readUInt8(12)
  const familyAndTransport = bytes.readUInt8(13)
  const length = V2_FIXED_BYTES + bytes.readUInt16BE(14)
  if (versionAndCommand >>> 4 !== 2) throw new ProxyHeaderError('a version other than 2')
  if (length > MAXIMUM_HEADER_BYTES) throw new ProxyHeaderError(`longer than ${MAXIMUM_HEADER_BYTES} bytes`)
  const command = versionAndCommand & 0x0f
  if (command !== COMMAND_LOCAL && command !== COMMAND_PROXY) throw new ProxyHeaderError('an unknown command')
  if (bytes.length < length) return undefined
  // The rest of LOCAL is to be ignored, its family included.
  if (command === COMMAND_LOCAL) return { length, source: undefined }
  const addressBytes = ADDRESS_BYTES[familyAndTransport]
  if (addressBytes === undefined) throw new ProxyHeaderError('neither TCP nor a Unix domain socket')
  if (length < V2_FIXED_BYTES + addressBytes) throw new ProxyHeaderError('shorter than its addresses')
  // Without a family there is no telling where addresses would end and TLVs begin.
  if (addressBytes > 0) checkTlvs(bytes, V2_FIXED_BYTES + addressBytes, length)
  return { length, source: sourceOf(bytes, familyAndTransport) }
}

/** Type, length, value: not read, but they must fill what is left. */
function checkTlvs(bytes: Buffer, start: number, end: number): void {
  let at = start
  while (at + 3 <= end) at += 3 + bytes.readUInt16BE(at + 1)
  if (at !== end) throw new ProxyHeaderError('its TLVs do not end where it ends')
}

function sourceOf(bytes: Buffer, familyAndTransport: number): string | undefined {
  if (familyAndTransport === TCP_OVER_IPV4) return [...bytes.subarray(16, 20)].join('.')
  if (familyAndTransport !== TCP_OVER_IPV6) return undefined
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(16 + 2 * index).toString(16))
  return canonicalAddress(groups.join(':'))
}
