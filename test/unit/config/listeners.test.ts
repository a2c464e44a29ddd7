import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import type { ListenerEntryInput } from '../../../src/config/listener-options.js'
import { listenerSettings } from '../../../src/config/listener-options.js'
import { ConfigError, loadConfig } from '../../../src/config/load.js'
import type { Config } from '../../../src/config/options.js'
import { CertificateAuthority, type KeyPairFiles } from '../../support/certificates.js'
import { ensureDebianPackages } from '../../support/debian.js'

let authority: CertificateAuthority
let server: KeyPairFiles

before(
  async () => {
    await ensureDebianPackages('openssl')
    authority = new CertificateAuthority()
    server = authority.server()
  },
  { timeout: 240_000 },
)

function load(values: object): Config {
  return loadConfig({ values, env: {}, flags: {} })
}

function problemsOf(values: object): string[] {
  try {
    load(values)
    return []
  } catch (error) {
    assert(error instanceof ConfigError)
    return error.problems.map(({ key, message }) => `${key}: ${message}`)
  }
}

/** The problem of a listener, which is to be the only one, without its URL. */
function problemOf(entry: ListenerEntryInput, values: object = {}): string {
  const [problem = 'none', ...more] = problemsOf({ ...values, listen: [entry] })
  assert.deepEqual(more, [], JSON.stringify(entry))
  return problem.replace(`listen: ${entry.url}`, '').trim()
}

test('an entry is a URL, or an object of a URL and options; what is not said has its default', () => {
  const config = load({ listen: ['mqtt://127.0.0.1:1', { url: 'ws://127.0.0.1:2', maximumConnections: 7 }] })
  const [plain, object] = listenerSettings(config)
  assert.deepEqual([plain?.maximumConnections, object?.maximumConnections], [0, 7])
  assert.deepEqual(object?.protocolVersions, ['3.1', '3.1.1', '5.0'])
  assert.deepEqual([object?.address.path, object?.tls, object?.allowAnonymous], ['/mqtt', undefined, false])
})

test('a listener has the limits of the node for its clients, but for those that it sets itself', () => {
  const own = { url: 'mqtt://127.0.0.1:2', packetsPerSecond: 5, maximumPacketSize: '2kb', connectTimeout: '1s' }
  const config = load({ listen: ['mqtt://127.0.0.1:1', own], mqtt: { packetsPerSecond: 9, receiveMaximum: 7 } })
  const [plain, special] = listenerSettings(config)
  assert.equal(plain?.mqtt, config.mqtt)
  const limits = { packetsPerSecond: 5, maximumPacketSize: 2048, connectTimeout: 1_000 }
  assert.deepEqual(special?.mqtt, { ...config.mqtt, ...limits })
  assert.match(problemOf({ url: 'mqtt://127.0.0.1:1', packetsPerSecond: -1 }), /: packetsPerSecond is -1, expected a/)
  assert.match(problemOf({ url: 'mqtt://127.0.0.1:1', connectTimeout: '1' }), /: connectTimeout is "1", out of range/)
})

test('versions of MQTT may be numbers, and so may a mode, as YAML has them', () => {
  const entry = { url: 'unix:///tmp/x', protocolVersions: [3.1, '3.1.1', 5], socketMode: 600 }
  const [listener] = listenerSettings(load({ listen: [entry] }))
  assert.deepEqual([listener?.protocolVersions, listener?.socketMode], [['3.1', '3.1.1', '5.0'], '600'])
})

test('options that are unknown or out of range are said with listener, key, value and what is accepted', () => {
  const wrong = {
    url: 'ws://127.0.0.1:1',
    maximumConections: 5,
    maximumConnections: -1,
    proxyProtocol: 'v3',
    trustedProxies: ['10.0.0.0/99'],
    allowedOrigins: ['example.com'],
    protocolVersions: [4],
    tls: { verify: 'always', keyfile: 'x' },
  }
  const message = problemsOf({ listen: [wrong] })[0] ?? ''
  for (const part of [
    'ws://127.0.0.1:1: unknown option maximumConections; did you mean maximumConnections?',
    'ws://127.0.0.1:1: maximumConnections is -1, expected a whole number from 0 to 10000000',
    'proxyProtocol is "v3", expected one of off, v1, v2, any',
    'trustedProxies is ["10.0.0.0/99"], 10.0.0.0/99: 10.0.0.0/99 is not a range',
    'allowedOrigins is ["example.com"], example.com: an origin is scheme://host',
    'protocolVersions is [4], 4 is no version of MQTT; expected a list of 3.1, 3.1.1 and 5.0',
    'tls.unknown option keyfile; did you mean keyFile?',
    'tls.verify is "always", expected one of none, optional, required',
  ]) {
    assert.ok(message.includes(part), `${part}\nis not in\n${message}`)
  }
  for (const entry of [5, null, [], { maximumConnections: 5 }]) {
    assert.match(problemsOf({ listen: [entry] })[0] ?? '', /has no url/)
  }
})

test('options that need each other, and those of another kind of listener, are refused', () => {
  assert.match(
    problemOf({ url: 'mqtt://127.0.0.1:1', proxyProtocol: 'v2' }),
    /^has proxyProtocol without trustedProxies/,
  )
  assert.equal(problemOf({ url: 'unix:///tmp/x', proxyProtocol: 'v2' }), 'none')
  assert.match(problemOf({ url: 'mqtt://127.0.0.1:1', allowedOrigins: ['https://a.b'] }), /^has allowedOrigins/)
  assert.match(problemOf({ url: 'mqtt://127.0.0.1:1', connectBurst: 5 }), /^has connectBurst without connectRate/)
  assert.match(problemOf({ url: 'mqtt://127.0.0.1:1', tls: {} }), /^has tls, which needs mqtts/)
  assert.match(problemsOf({ mqtt: { connectBurst: 5 } })[0] ?? '', /^mqtt\.connectBurst: /)
  assert.match(problemsOf({ listen: ['unix:///tmp/a', 'unix:///tmp/a'] })[0] ?? '', /unix:\/\/\/tmp\/a is used twice/)
})

test('TLS needs a certificate or keys, and an authority where clients show certificates', () => {
  const url = 'mqtts://127.0.0.1:1'
  const { certFile, keyFile } = server
  const { caFile } = authority
  const pskFile = authority.file('psk', 'a:00112233445566778899aabbccddeeff\n')
  assert.match(problemOf({ url }), /^needs tls\.certFile and tls\.keyFile, or a tls\.pskFile/)
  assert.match(problemOf({ url, tls: { certFile } }), /^needs both/)
  assert.match(problemOf({ url, tls: { certFile, keyFile, verify: 'required' } }), /^needs tls\.caFile/)
  assert.match(problemOf({ url, tls: { certFile, keyFile, peerCertAs: { username: 'cn' } } }), /^has tls\.peerCertAs/)
  assert.match(
    problemOf({ url, tls: { certFile, keyFile, minimumVersion: '1.3', maximumVersion: '1.2' } }),
    /minimumVersion 1\.3 above/,
  )
  assert.match(
    problemOf({ url, tls: { pskFile, sni: [{ serverName: 'a', certFile, keyFile }] } }),
    /^has tls\.sni, and needs tls\.certFile/,
  )
  assert.equal(problemOf({ url, tls: { pskFile } }), 'none')
  assert.equal(problemOf({ url, tls: { certFile, keyFile, caFile, verify: 'optional' } }), 'none')
  assert.equal(problemOf({ url }, { tls: { certFile, keyFile } }), 'none')
})

test('what is in the files is checked, and said without quoting them', () => {
  const url = 'wss://127.0.0.1:1'
  const { certFile, keyFile } = server
  const other = authority.server()
  const notPem = authority.file('not.pem', 'secret words')
  const badPsk = authority.file('bad.psk', '# keys\ndevice:hunter2hunter2\n')
  assert.equal(
    problemOf({ url, tls: { certFile: '/no/such.crt', keyFile } }),
    'tls.certFile /no/such.crt: there is no such file',
  )
  assert.equal(
    problemOf({ url, tls: { certFile, keyFile: other.keyFile } }),
    `tls.keyFile ${other.keyFile} is not the key of tls.certFile ${certFile}`,
  )
  assert.equal(problemOf({ url, tls: { certFile: notPem, keyFile } }), `tls.certFile ${notPem}: no certificate in PEM`)
  assert.equal(
    problemOf({ url, tls: { certFile, keyFile: notPem } }),
    `tls.keyFile ${notPem}: no private key in PEM without a passphrase`,
  )
  assert.equal(
    problemOf({ url, tls: { certFile, keyFile, caFile: notPem, verify: 'required' } }),
    `tls.caFile ${notPem}: no certificate in PEM`,
  )
  assert.equal(
    problemOf({ url, tls: { pskFile: badPsk } }),
    `tls.pskFile ${badPsk}:2: the key is not in hexadecimal, two digits for each byte`,
  )
  assert.match(problemOf({ url, tls: { certFile, keyFile, ciphers: 'NO-SUCH' } }), /^tls\.ciphers NO-SUCH/)
  const sni = [{ serverName: 'a.example', certFile: other.certFile, keyFile }]
  assert.match(
    problemOf({ url, tls: { certFile, keyFile, sni } }),
    /^tls\.sni a\.example\.keyFile .* is not the key of/,
  )
})

test('off loopback a listener is open, unless TLS says who its clients are', () => {
  const url = 'mqtts://0.0.0.0:1'
  const { certFile, keyFile } = server
  const { caFile } = authority
  const pskFile = authority.file('psk2', 'a:00112233445566778899aabbccddeeff\n')
  assert.match(problemOf({ url, tls: { certFile, keyFile } }), /is not on loopback, so anyone could connect/)
  assert.match(problemOf({ url, tls: { certFile, keyFile, caFile, verify: 'optional' } }), /is not on loopback/)
  assert.match(problemOf({ url, tls: { certFile, keyFile, pskFile } }), /is not on loopback/)
  assert.match(
    problemOf({ url: 'mqtt://0.0.0.0:1', allowAnonymous: false }, { allowAnonymous: true }),
    /is not on loopback/,
  )
  assert.equal(problemOf({ url, tls: { certFile, keyFile, caFile, verify: 'required' } }), 'none')
  assert.equal(problemOf({ url, tls: { pskFile } }), 'none')
  assert.equal(problemOf({ url, tls: { certFile, keyFile }, allowAnonymous: true }), 'none')
  assert.equal(problemOf({ url: 'unix:///tmp/x' }), 'none')
})
