import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  AddressError,
  formatHostPort,
  formatListener,
  isLoopback,
  parseHostPort,
  parseListener,
  parseNodeName,
} from '../../../src/config/addresses.js'

test('host:port is read with names, IPv4 and bracketed IPv6', () => {
  const cases = {
    '127.0.0.1:1883': { host: '127.0.0.1', port: 1883 },
    'n1.shoalmq.svc.cluster.local:5370': { host: 'n1.shoalmq.svc.cluster.local', port: 5370 },
    'my_service:0': { host: 'my_service', port: 0 },
    '[::1]:5370': { host: '::1', port: 5370 },
    '[2001:db8::7]:1': { host: '2001:db8::7', port: 1 },
  }
  for (const [text, expected] of Object.entries(cases)) {
    assert.deepEqual(parseHostPort(text), expected)
    assert.equal(formatHostPort(expected), text)
  }
})

test('what is not host:port is refused with the reason', () => {
  const cases: [string, RegExp][] = [
    ['localhost', /expected host:port/],
    [':1883', /the host is missing; 0\.0\.0\.0 means all/],
    ['localhost:65536', /port 65536 is above 65535/],
    ['localhost:-1', /expected host:port/],
    ['::1:5370', /an IPv6 address stands in brackets/],
    ['[::g]:1', /\[::g\] is not an IPv6 address/],
    ['10.0.0.256:1', /10\.0\.0\.256 is not a host name or an IP address/],
    ['a b:1', /a b is not a host name/],
    ['user@host:1', /user@host is not a host name/],
  ]
  for (const [text, expected] of cases) {
    assert.throws(
      () => parseHostPort(text),
      (error) => error instanceof AddressError && expected.test(error.message),
      text,
    )
  }
})

test('listeners are read by scheme, WebSocket with /mqtt when no path is written', () => {
  assert.deepEqual(parseListener('mqtt://0.0.0.0:1883'), { scheme: 'mqtt', host: '0.0.0.0', port: 1883, path: '' })
  assert.deepEqual(parseListener('ws://[::]:8083'), { scheme: 'ws', host: '::', port: 8083, path: '/mqtt' })
  assert.equal(formatListener(parseListener('WS://[::1]:80/a/b')), 'ws://[::1]:80/a/b')
  assert.equal(formatListener(parseListener('mqtt://127.0.0.1:1883')), 'mqtt://127.0.0.1:1883')
})

test('listeners of TLS and of Unix domain sockets are read and written', () => {
  assert.deepEqual(parseListener('mqtts://[::]:8883'), { scheme: 'mqtts', host: '::', port: 8883, path: '' })
  assert.deepEqual(parseListener('wss://a.example:8084'), {
    scheme: 'wss',
    host: 'a.example',
    port: 8084,
    path: '/mqtt',
  })
  assert.deepEqual(parseListener('unix:///run/a.sock'), { scheme: 'unix', host: '', port: 0, path: '/run/a.sock' })
  for (const url of ['mqtts://[::1]:8883', 'wss://127.0.0.1:8084/x', 'unix:///run/shoalmq/a b.sock']) {
    assert.equal(formatListener(parseListener(url)), url)
  }
})

test('listeners of unknown schemes and of wrong parts are refused by name', () => {
  assert.throws(() => parseListener('http://127.0.0.1:80'), /unknown scheme http, expected one of mqtt, mqtts/)
  assert.throws(() => parseListener('127.0.0.1:1883'), /expected mqtt:\/\/host:port/)
  assert.throws(() => parseListener('mqtt://127.0.0.1:1883/x'), /an mqtt listener has no path/)
  assert.throws(() => parseListener('mqtts://127.0.0.1:1883/x'), /an mqtts listener has no path/)
  assert.throws(() => parseListener('ws://127.0.0.1:1883/x?y'), /the path may not have/)
  assert.throws(() => parseListener('unix://run/a.sock'), /absolute path/)
  assert.throws(() => parseListener('unix:///'), /path of the socket is missing/)
  assert.throws(() => parseListener(`unix:///${'x'.repeat(107)}`), /at most 107 bytes/)
})

test('only addresses of this machine are loopback', () => {
  for (const host of [
    '127.0.0.1',
    '127.9.8.7',
    '::1',
    '0:0:0:0:0:0:0:1',
    '::ffff:127.0.0.1',
    'localhost',
    'LOCALHOST',
  ]) {
    assert.equal(isLoopback(host), true, host)
  }
  for (const host of [
    '0.0.0.0',
    '::',
    '10.0.0.1',
    '128.0.0.1',
    '::2',
    '1::1',
    '::1:1',
    '127.0.0.1.example.com',
    'localhost.example.com',
  ]) {
    assert.equal(isLoopback(host), false, host)
  }
})

test('a node name is name@host', () => {
  assert.deepEqual(parseNodeName('n1@127.0.0.1'), { name: 'n1', host: '127.0.0.1' })
  assert.deepEqual(parseNodeName('shoalmq-0@shoalmq-0.peers.default.svc'), {
    name: 'shoalmq-0',
    host: 'shoalmq-0.peers.default.svc',
  })
  assert.deepEqual(parseNodeName('n1@[::1]'), { name: 'n1', host: '::1' })
  for (const text of ['n1', '@host', 'n1@', 'n 1@host', 'n1@host:1883', 'n1@a@b', 'n1@::1', `${'n'.repeat(65)}@host`]) {
    assert.equal(parseNodeName(text), undefined, text)
  }
})
