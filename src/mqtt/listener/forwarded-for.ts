/** Who is behind a proxy, by the header that proxies of HTTP add. */

import type { IncomingHttpHeaders } from 'node:http'
import { isIP } from 'node:net'
import { canonicalAddress, type IpAddressSet } from '../../util/ip-address.js'

/**
 * The client of a request that came from a trusted proxy: each proxy adds behind what it was told the address that it
 * was told it from, so the last address that is not a trusted proxy's is the last that can be believed. The proxy's
 * own when it names nobody.
 */
export function forwardedFor(headers: IncomingHttpHeaders, proxy: string, trusted: IpAddressSet): string {
  const header = headers['x-forwarded-for'] ?? ''
  const hops = (Array.isArray(header) ? header.join(',') : header).split(',')
  let client = proxy
  for (const hop of hops.reverse()) {
    const address = addressOf(hop.trim())
    if (address === undefined) break
    client = address
    if (!trusted.has(address)) break
  }
  return client
}

/** An address as proxies write it: bare, with a port, in brackets. */
function addressOf(hop: string): string | undefined {
  const address = /^\[(.+)\](?::\d+)?$/.exec(hop)?.[1] ?? /^([\d.]+):\d+$/.exec(hop)?.[1] ?? hop
  return isIP(address) === 0 ? undefined : canonicalAddress(address)
}
