/** IP addresses and ranges of them, as configuration and sockets write them. */

import { BlockList, isIP } from 'node:net'

/** The text is not an address or a range. */
export class IpAddressError extends Error {
  override readonly name = 'IpAddressError'
}

/** A set of addresses and ranges, such as `10.0.0.0/8`, `192.168.1.7` and `fd00::/8`. */
export class IpAddressSet {
  /** IPv4, asked on every connect: networks and their masks as 32-bit numbers. A BlockList takes 10 µs for it. */
  private readonly networks: number[] = []
  private readonly masks: number[] = []
  private readonly ipv6 = new BlockList()
  readonly isEmpty: boolean

  /** @throws IpAddressError */
  constructor(ranges: readonly string[]) {
    this.isEmpty = ranges.length === 0
    for (const range of ranges) {
      const { address, family, prefix } = parseIpRange(range)
      if (family === 'ipv6') {
        this.ipv6.addSubnet(address, prefix, family)
        continue
      }
      // A shift by 32 is one by 0.
      const mask = prefix === 0 ? 0 : -1 << (32 - prefix)
      this.masks.push(mask)
      this.networks.push(numberOf(address) & mask)
    }
  }

  /** An IPv4 address mapped into IPv6 is itself. False also for what is no address. */
  has(text: string): boolean {
    const address = canonicalAddress(text)
    const version = isIP(address)
    if (version === 6) return this.ipv6.check(address, 'ipv6')
    if (version !== 4) return false
    const number = numberOf(address)
    for (let index = 0; index < this.networks.length; index++) {
      if ((number & (this.masks[index] as number)) === this.networks[index]) return true
    }
    return false
  }
}

/** An IPv4 address as a signed 32-bit number. */
function numberOf(address: string): number {
  let number = 0
  for (const part of address.split('.')) number = (number << 8) | Number(part)
  return number
}

export interface IpRange {
  address: string
  family: 'ipv4' | 'ipv6'
  /** How many leading bits count: 0 to 32, or to 128. */
  prefix: number
}

/**
 * Reads an address or a range in CIDR notation.
 * @throws IpAddressError
 */
export function parseIpRange(text: string): IpRange {
  const [address = '', prefixText, more] = text.split('/')
  const version = isIP(address)
  if (version === 0 || address.includes('%')) throw new IpAddressError(`${address} is not an IP address`)
  const bits = version === 4 ? 32 : 128
  const prefix = prefixText === undefined ? bits : /^\d{1,3}$/.test(prefixText) ? Number(prefixText) : Number.NaN
  if (!(prefix <= bits) || more !== undefined) {
    throw new IpAddressError(`${text} is not a range: behind the / stands a number from 0 to ${bits}`)
  }
  return { address, family: version === 4 ? 'ipv4' : 'ipv6', prefix }
}

const MAPPED_DOTTED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i
const MAPPED_HEXADECIMAL = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/i

/**
 * An IP address in the one form that logs and rules see: IPv6 short and in small letters, and IPv4 in its own form
 * where an IPv6 socket has mapped it (`::ffff:10.0.0.1`).
 */
export function canonicalAddress(address: string): string {
  if (isIP(address) !== 6) return address
  const dotted = MAPPED_DOTTED.exec(address)?.[1]
  if (dotted !== undefined) return dotted
  const [unscoped = '', zone] = address.split('%', 2)
  const short = new URL(`http://[${unscoped}]`).hostname.slice(1, -1)
  const mapped = MAPPED_HEXADECIMAL.exec(short)
  if (mapped === null) return zone === undefined ? short : `${short}%${zone}`
  const bits = [1, 2].map((group) => Number.parseInt(mapped[group] ?? '', 16))
  return bits.flatMap((group) => [group >>> 8, group & 0xff]).join('.')
}

/**
 * By what connections of one client are counted together: an IPv4 address, or the /64 of an IPv6 address, which is
 * the least that one site has to choose its addresses from. [RFC 6177]
 */
export function networkOf(address: string): string {
  if (isIP(address) !== 6) return address
  const [head = '', tail] = (address.split('%', 1)[0] ?? '').split('::')
  const groups = head === '' ? [] : head.split(':')
  if (tail !== undefined) {
    const last = tail === '' ? [] : tail.split(':')
    // A dotted end stands for two groups.
    const lastCount = last.length + (tail.includes('.') ? 1 : 0)
    while (groups.length + lastCount < 8) groups.push('0')
    groups.push(...last)
  }
  const network = groups.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16))
  return `${network.join(':')}::/64`
}
