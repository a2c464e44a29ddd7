import assert from 'node:assert/strict'
import { test } from 'node:test'
import { forwardedFor } from '../../../../src/mqtt/listener/forwarded-for.js'
import { IpAddressSet } from '../../../../src/util/ip-address.js'

const TRUSTED = new IpAddressSet(['10.0.0.0/8', 'fd00::/8'])
const PROXY = '10.0.0.1'

const CASES: readonly (readonly [what: string, header: string | undefined, client: string])[] = [
  ['no header', undefined, PROXY],
  ['an empty header', '', PROXY],
  ['one address', '203.0.113.7', '203.0.113.7'],
  ['an address with a port', '203.0.113.7:50000', '203.0.113.7'],
  ['an IPv6 address', '2001:DB8::7', '2001:db8::7'],
  ['an IPv6 address in brackets', '[2001:db8::7]', '2001:db8::7'],
  ['an IPv6 address with a port', '[2001:db8::7]:50000', '2001:db8::7'],
  ['further proxies', '203.0.113.7, 10.0.0.3, fd00::1', '203.0.113.7'],
  ['a forged address before the true one', '127.0.0.1, 203.0.113.7', '203.0.113.7'],
  ['a forged address of a proxy', '10.9.9.9, 203.0.113.7, 10.0.0.3', '203.0.113.7'],
  ['nothing but proxies', '10.0.0.4, 10.0.0.3', '10.0.0.4'],
  ['what is no address', 'unknown', PROXY],
  ['what is no address before a proxy', 'unknown, 10.0.0.3', '10.0.0.3'],
]

for (const [what, header, client] of CASES) {
  test(`${what} means ${client}`, () => {
    const headers = header === undefined ? {} : { 'x-forwarded-for': header }
    assert.equal(forwardedFor(headers, PROXY, TRUSTED), client)
  })
}
