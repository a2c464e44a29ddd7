import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  canonicalAddress,
  IpAddressError,
  IpAddressSet,
  networkOf,
  parseIpRange,
} from '../../../src/util/ip-address.js'

test('a set has the addresses of its ranges and no others', () => {
  const set = new IpAddressSet(['10.0.0.0/8', '192.168.1.7', '203.0.113.128/25', 'fd00::/8', '2001:db8::1'])
  for (const address of [
    '10.0.0.0',
    '10.255.255.255',
    '192.168.1.7',
    '203.0.113.255',
    '::ffff:10.1.2.3',
    '::FFFF:a01:203',
    'fd12:3456::1',
    '2001:db8::1',
  ]) {
    assert.equal(set.has(address), true, address)
  }
  for (const address of ['11.0.0.1', '192.168.1.8', '203.0.113.127', 'fe80::1', '2001:db8::2', '', 'localhost']) {
    assert.equal(set.has(address), false, address)
  }
  assert.equal(new IpAddressSet([]).has('10.0.0.1'), false)
  assert.equal(new IpAddressSet(['0.0.0.0/0', '::/0']).has('203.0.113.9'), true)
})

test('what is no address or range is refused', () => {
  for (const text of [
    '',
    'localhost',
    '10.0.0.256',
    '10.0.0.0/33',
    '10.0.0.0/',
    '10.0.0.0/8/8',
    '::/129',
    'fe80::1%e',
  ]) {
    assert.throws(() => parseIpRange(text), IpAddressError, text)
  }
})

test('an address has one form', () => {
  const forms = {
    '10.0.0.1': '10.0.0.1',
    '::ffff:10.0.0.1': '10.0.0.1',
    '::FFFF:a00:1': '10.0.0.1',
    '2001:DB8:0:0:0:0:0:1': '2001:db8::1',
    'fe80::1%eth0': 'fe80::1%eth0',
    '': '',
    nonsense: 'nonsense',
  }
  for (const [address, expected] of Object.entries(forms)) assert.equal(canonicalAddress(address), expected)
})

test('IPv6 addresses of one /64 are one network, an IPv4 address is its own', () => {
  assert.equal(networkOf('10.0.0.1'), '10.0.0.1')
  const [first, ...others] = ['2001:db8::1', '2001:db8:0:0:ffff::', '2001:0db8:0:0:1:2:3:4', '2001:db8::'].map(
    networkOf,
  )
  for (const other of others) assert.equal(other, first)
  for (const other of ['2001:db8:0:1::1', '2001:db9::1', '::1']) assert.notEqual(networkOf(other), first)
  assert.equal(networkOf('fe80::1%eth0'), networkOf('fe80::2%eth1'))
  assert.equal(networkOf('1:2:3:4:5:6:1.2.3.4'), networkOf('1:2:3:4::'))
})
