import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  MAXIMUM_HEADER_BYTES,
  ProxyHeaderError,
  type ProxyVersions,
  parseProxyHeader,
} from '../../../../src/mqtt/listener/proxy-header.js'
import { proxyV2, tlv } from './proxy-v2.js'

const INET = 0x11
const INET6 = 0x21
const IPV4 = Buffer.from([192, 0, 2, 1, 198, 51, 100, 2, 0xc3, 0x50, 0x07, 0x5b])
const IPV6 = Buffer.concat([
  Buffer.from('20010db8000000000000000000000001', 'hex'),
  Buffer.from('20010db8000000000000000000000002', 'hex'),
  Buffer.from([0xc3, 0x50, 0x07, 0x5b]),
])

const GOOD: readonly (readonly [what: string, header: Buffer, source: string | undefined])[] = [
  ['TCP4', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.2 50000 1883\r\n'), '192.0.2.1'],
  ['TCP6', Buffer.from('PROXY TCP6 2001:DB8::0:1 2001:db8::2 50000 1883\r\n'), '2001:db8::1'],
  ['TCP6 of a mapped address', Buffer.from('PROXY TCP6 ::ffff:192.0.2.1 ::1 1 0\r\n'), '192.0.2.1'],
  ['UNKNOWN', Buffer.from('PROXY UNKNOWN\r\n'), undefined],
  ['UNKNOWN with more', Buffer.from('PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n'), undefined],
  ['version 2, IPv4', proxyV2({ family: INET, body: IPV4 }), '192.0.2.1'],
  ['version 2, IPv6', proxyV2({ family: INET6, body: IPV6 }), '2001:db8::1'],
  ['version 2, UNSPEC', proxyV2({ family: 0x00, body: Buffer.from('anything') }), undefined],
  ['version 2, a Unix domain socket', proxyV2({ family: 0x31, body: Buffer.alloc(216) }), undefined],
  ['LOCAL', proxyV2({ command: 0x0, family: 0x00, body: Buffer.alloc(0) }), undefined],
  ['LOCAL with an address', proxyV2({ command: 0x0, family: INET, body: IPV4 }), undefined],
  [
    'TLVs',
    proxyV2({ family: INET, body: Buffer.concat([IPV4, tlv(0x03, Buffer.alloc(4)), tlv(0xea, Buffer.alloc(300))]) }),
    '192.0.2.1',
  ],
]

for (const [what, header, source] of GOOD) {
  test(`${what} is read, byte by byte too, and what follows is left`, () => {
    const followed = Buffer.concat([header, Buffer.from([0x10, 0x0d])])
    assert.deepEqual(parseProxyHeader(followed, 'any'), { length: header.length, source })
    for (let length = 1; length < header.length; length += 1) {
      assert.equal(parseProxyHeader(header.subarray(0, length), 'any'), undefined, `${length} bytes`)
    }
  })
}

const BAD: readonly (readonly [what: string, bytes: Buffer, versions?: ProxyVersions])[] = [
  ['a CONNECT', Buffer.from('100d00044d515454040200000001', 'hex')],
  ['a TLS hello', Buffer.from([0x16, 0x03, 0x01])],
  ['another word', Buffer.from('PROXIES')],
  ['a lower case word', Buffer.from('proxy TCP4')],
  ['a version 1 header where version 2 is asked for', Buffer.from('PROXY '), 'v2'],
  ['a version 2 header where version 1 is asked for', proxyV2({ family: INET, body: IPV4 }), 'v1'],
  ['a line without an end', Buffer.from(`PROXY TCP4 ${'1'.repeat(107)}`)],
  ['an unknown protocol', Buffer.from('PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n')],
  ['nothing but a word', Buffer.from('PROXY \r\n')],
  ['IPv6 in TCP4', Buffer.from('PROXY TCP4 ::1 ::1 1 2\r\n')],
  ['IPv4 in TCP6', Buffer.from('PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n')],
  ['an address with a zone', Buffer.from('PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n')],
  ['an address that is none', Buffer.from('PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n')],
  ['a missing port', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n')],
  ['one thing too many', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n')],
  ['two spaces', Buffer.from('PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n')],
  ['a port above 65535', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n')],
  ['a port with a zero before it', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n')],
  ['version 3', proxyV2({ version: 3, family: INET, body: IPV4 })],
  ['an unknown command', proxyV2({ command: 2, family: INET, body: IPV4 })],
  ['datagrams', proxyV2({ family: 0x12, body: IPV4 })],
  ['an unknown family', proxyV2({ family: 0x41, body: IPV4 })],
  ['a header too short for its addresses', proxyV2({ family: INET6, body: IPV4 })],
  ['a TLV that is cut off', proxyV2({ family: INET, body: Buffer.concat([IPV4, Buffer.from([3, 0, 9, 1])]) })],
  ['half the head of a TLV', proxyV2({ family: INET, body: Buffer.concat([IPV4, Buffer.from([3])]) })],
  ['a header that is too long', proxyV2({ family: INET, length: MAXIMUM_HEADER_BYTES })],
]

for (const [what, bytes, versions = 'any'] of BAD) {
  test(`${what} is no header`, () => {
    assert.throws(() => parseProxyHeader(bytes, versions), ProxyHeaderError)
  })
}

test('what cannot become a header is refused at its first wrong byte', () => {
  assert.equal(parseProxyHeader(Buffer.from('P'), 'any'), undefined)
  assert.equal(parseProxyHeader(Buffer.from('\r'), 'any'), undefined)
  assert.throws(() => parseProxyHeader(Buffer.from([0x10]), 'any'), ProxyHeaderError)
  assert.throws(() => parseProxyHeader(Buffer.from('PX'), 'any'), ProxyHeaderError)
})
