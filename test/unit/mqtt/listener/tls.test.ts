import assert from 'node:assert/strict'
import { once } from 'node:events'
import { copyFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { before, describe, type TestContext, test } from 'node:test'
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'
import { CertificateAuthority, type KeyPairFiles, readKeyPair } from '../../../support/certificates.js'
import { ensureDebianPackages } from '../../../support/debian.js'
import { eventually } from '../../../support/eventually.js'
import { freePort } from '../../../support/free-port.js'
import { listenFor, type TestListener } from './test-listener.js'

const URL = 'mqtts://127.0.0.1:0'
const KEYS = { device: '00112233445566778899aabbccddeeff', other: 'ffeeddccbbaa99887766554433221100' }

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

/** A client whose handshake is done; one that the server does not let in is an error. */
async function dial(context: TestContext, { port }: TestListener, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connectTls({ port, host: '127.0.0.1', ca: authority.ca, ...options })
  context.after(() => socket.destroy())
  await once(socket, 'secureConnect')
  socket.on('error', () => socket.destroy())
  return socket
}

/** With TLS 1.3 a client is done before the server has looked at its certificate: the refusal comes after. */
async function isTurnedAway(context: TestContext, listener: TestListener, options: ConnectionOptions): Promise<void> {
  const refusals = listener.refused('tls_handshake')
  const socket = connectTls({ port: listener.port, host: '127.0.0.1', ca: authority.ca, ...options })
  context.after(() => socket.destroy())
  socket.on('error', () => socket.destroy())
  socket.resume()
  await eventually(() => assert.equal(socket.closed, true))
  await eventually(() => assert.equal(listener.refused('tls_handshake'), refusals + 1))
}

function commonName(socket: TLSSocket): string | string[] | undefined {
  return socket.getPeerCertificate().subject.CN
}

function fingerprint(socket: TLSSocket): string {
  return socket.getPeerCertificate().fingerprint256
}

test('bytes cross both ways, by TLS 1.2 and 1.3', async (context) => {
  const listener = await listenFor(context, { url: URL, tls: server })
  for (const [index, version] of (['TLSv1.2', 'TLSv1.3'] as const).entries()) {
    const client = await dial(context, listener, { minVersion: version, maxVersion: version })
    assert.equal(client.getProtocol(), version)
    client.write('up')
    await eventually(() => assert.equal(listener.entered[index]?.received, 'up'))
    listener.entered[index]?.stream.write('down')
    const [bytes] = (await once(client, 'data')) as [Buffer]
    assert.equal(bytes.toString(), 'down')
  }
  assert.equal(listener.entered[0]?.origin.remoteAddress, '127.0.0.1')
  assert.equal(listener.entered[0]?.origin.certificate, undefined)
})

test('versions below the oldest and above the newest are turned away', async (context) => {
  const newer = await listenFor(context, { url: URL, tls: { ...server, minimumVersion: '1.3' } })
  await isTurnedAway(context, newer, { maxVersion: 'TLSv1.2' })
  const older = await listenFor(context, { url: URL, tls: { ...server, maximumVersion: '1.2' } })
  const client = await dial(context, older)
  assert.equal(client.getProtocol(), 'TLSv1.2')
})

test('a client that does not finish its handshake is closed in time, and one that speaks no TLS at once', async (context) => {
  const listener = await listenFor(context, { url: URL, tls: server }, { arrivalTimeout: 100 })
  const silent = connect(listener.port, '127.0.0.1')
  silent.resume()
  await eventually(() => assert.equal(silent.closed, true))
  assert.equal(listener.refused('timeout'), 1)
  const plain = connect(listener.port, '127.0.0.1')
  plain.on('error', () => plain.destroy())
  plain.resume()
  plain.write('\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a')
  await eventually(() => assert.equal(plain.closed, true))
  await eventually(() => assert.equal(listener.refused('tls_handshake'), 1))
  assert.deepEqual([listener.admission.connectionCount, listener.entered.length], [0, 0])
})

test('two clients with one address and port, at two addresses of the server, are told apart', async (context) => {
  const listener = await listenFor(context, { url: 'mqtts://0.0.0.0:0', tls: server })
  const localPort = await freePort('127.0.0.9')
  const sockets = ['127.0.0.1', '127.0.0.2'].map((host) =>
    connect({ port: listener.port, host, localAddress: '127.0.0.9', localPort }),
  )
  // Both are there before either handshake begins.
  for (const socket of sockets) {
    context.after(() => socket.destroy())
    await once(socket, 'connect')
  }
  await eventually(() => assert.equal(listener.admission.connectionCount, 2))
  for (const socket of sockets) {
    const client = connectTls({ socket, ca: authority.ca, servername: 'localhost' })
    await once(client, 'secureConnect')
    client.write(`to ${socket.remoteAddress}`)
  }
  await eventually(() =>
    assert.deepEqual(
      listener.entered.map(({ received }) => received),
      ['to 127.0.0.1', 'to 127.0.0.2'],
    ),
  )
})

describe('client certificates', () => {
  test('required: without one nobody gets in, with one the client is known by it', async (context) => {
    const tls = { ...server, caFile: authority.caFile, verify: 'required' } as const
    const listener = await listenFor(context, { url: URL, tls })
    const stranger = new CertificateAuthority('another authority')
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      await isTurnedAway(context, listener, { maxVersion })
      await isTurnedAway(context, listener, { maxVersion, ...readKeyPair(stranger.issue({ subject: '/CN=device-1' })) })
    }
    assert.equal(listener.entered.length, 0)
    await dial(context, listener, readKeyPair(authority.issue({ subject: '/C=DE/O=Acme, Inc./CN=device-1' })))
    await eventually(() =>
      assert.deepEqual(listener.entered[0]?.origin.certificate, {
        commonName: 'device-1',
        distinguishedName: 'CN=device-1,O=Acme\\, Inc.,C=DE',
      }),
    )
  })

  test('of several common names the last one counts, and one may be missing', async (context) => {
    const tls = { ...server, caFile: authority.caFile, verify: 'required' } as const
    const listener = await listenFor(context, { url: URL, tls })
    for (const [index, [subject, expected]] of [
      ['/CN=fleet/CN=größe', 'größe'],
      ['/O=Acme', ''],
    ].entries()) {
      await dial(context, listener, readKeyPair(authority.issue({ subject: subject ?? '' })))
      await eventually(() => assert.equal(listener.entered[index]?.origin.certificate?.commonName, expected))
    }
  })

  test('optional: none is fine, a bad one is not', async (context) => {
    const tls = { ...server, caFile: authority.caFile, verify: 'optional' } as const
    const listener = await listenFor(context, { url: URL, tls })
    await dial(context, listener)
    await eventually(() => assert.equal(listener.entered.length, 1))
    assert.equal(listener.entered[0]?.origin.certificate, undefined)
    const stranger = new CertificateAuthority('another authority')
    await isTurnedAway(context, listener, readKeyPair(stranger.issue({ subject: '/CN=device-1' })))
    await dial(context, listener, readKeyPair(authority.issue({ subject: '/CN=device-2' })))
    await eventually(() => assert.equal(listener.entered[1]?.origin.certificate?.commonName, 'device-2'))
  })

  test('a resumed session is still that of its certificate', async (context) => {
    const tls = { ...server, caFile: authority.caFile, verify: 'required' } as const
    const listener = await listenFor(context, { url: URL, tls })
    const pair = readKeyPair(authority.issue({ subject: '/CN=device-3' }))
    for (const [index, maxVersion] of (['TLSv1.2', 'TLSv1.3'] as const).entries()) {
      const first = connectTls({ port: listener.port, host: '127.0.0.1', ca: authority.ca, maxVersion, ...pair })
      context.after(() => first.destroy())
      const [session] = (await once(first, 'session')) as [Buffer]
      const second = await dial(context, listener, { maxVersion, session, ...pair })
      assert.equal(second.isSessionReused(), true)
      await eventually(() => assert.equal(listener.entered[2 * index + 1]?.origin.certificate?.commonName, 'device-3'))
    }
  })
})

test('the name that a client asks for picks the certificate', async (context) => {
  const sni = ['a.example', '*.b.example'].map((serverName) => ({
    serverName,
    ...authority.issue({ subject: `/CN=${serverName}`, alternativeNames: `DNS:${serverName}` }),
  }))
  const listener = await listenFor(context, { url: URL, tls: { ...server, sni } })
  for (const [servername, expected] of [
    ['a.example', 'a.example'],
    ['A.EXAMPLE', 'a.example'],
    ['x.b.example', '*.b.example'],
    ['x.y.b.example', 'localhost'],
    ['b.example', 'localhost'],
    ['c.example', 'localhost'],
  ] as const) {
    const client = await dial(context, listener, { servername, checkServerIdentity: () => undefined })
    assert.equal(commonName(client), expected, servername)
  }
  assert.equal(commonName(await dial(context, listener)), 'localhost')
})

test('the name that picks a certificate does not pick who may come in', async (context) => {
  const sni = [{ serverName: 'a.example', ...authority.issue({ subject: '/CN=a.example' }) }]
  const tls = { ...server, sni, caFile: authority.caFile, verify: 'required' } as const
  const listener = await listenFor(context, { url: URL, tls })
  const options = { servername: 'a.example', checkServerIdentity: () => undefined }
  await isTurnedAway(context, listener, options)
  await dial(context, listener, { ...options, ...readKeyPair(authority.issue({ subject: '/CN=device-1' })) })
  await eventually(() => assert.equal(listener.entered[0]?.origin.certificate?.commonName, 'device-1'))
})

describe('pre-shared keys', () => {
  const ciphers = 'PSK:TLS_AES_128_GCM_SHA256'

  function withKey(identity: string, key: string): ConnectionOptions {
    const psk = Buffer.from(key, 'hex')
    return {
      ciphers,
      pskCallback: () => ({ psk, identity }),
      checkServerIdentity: () => undefined,
    } as ConnectionOptions
  }

  test('the right key of a known identity gets in, by TLS 1.2 and 1.3; another key, identity or none does not', async (context) => {
    const pskFile = authority.file('keys', `device:${KEYS.device}\nother:${KEYS.other}\n`)
    const listener = await listenFor(context, { url: URL, tls: { pskFile } })
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      await dial(context, listener, { ...withKey('device', KEYS.device), maxVersion })
      await isTurnedAway(context, listener, { ...withKey('device', KEYS.other), maxVersion })
      await isTurnedAway(context, listener, { ...withKey('nobody', KEYS.device), maxVersion })
      await isTurnedAway(context, listener, { maxVersion })
    }
    await eventually(() =>
      assert.deepEqual(
        listener.entered.map(({ origin }) => origin.pskIdentity),
        ['device', 'device'],
      ),
    )
  })

  test('beside a certificate, where clients have to show one, a key stands in for it', async (context) => {
    const pskFile = authority.file('keys', `device:${KEYS.device}\n`)
    const tls = { ...server, pskFile, caFile: authority.caFile, verify: 'required' } as const
    const listener = await listenFor(context, { url: URL, tls })
    await dial(context, listener, { ...withKey('device', KEYS.device), maxVersion: 'TLSv1.2' })
    await eventually(() => assert.equal(listener.entered[0]?.origin.pskIdentity, 'device'))
    assert.equal(listener.entered[0]?.origin.certificate, undefined)
    await isTurnedAway(context, listener, {})
  })

  test('no session outlives the key that it began with', async (context) => {
    const pskFile = authority.file('keys', `device:${KEYS.device}\n`)
    const listener = await listenFor(context, { url: URL, tls: { pskFile } })
    const client = await dial(context, listener, { ...withKey('device', KEYS.device), maxVersion: 'TLSv1.2' })
    const again = await dial(context, listener, {
      ...withKey('device', KEYS.device),
      maxVersion: 'TLSv1.2',
      session: client.getSession(),
    })
    assert.equal(again.isSessionReused(), false)
    await eventually(() => assert.equal(listener.entered[1]?.origin.pskIdentity, 'device'))
  })
})

describe('files that change', () => {
  /** Files of this listener alone, and a listener that looks at them often. */
  async function reloading(
    context: TestContext,
    tls: object = {},
  ): Promise<{ listener: TestListener; files: KeyPairFiles; use: (pair: KeyPairFiles) => void }> {
    const name = `reloading-${Math.random().toString(36).slice(2)}`
    const files = {
      certFile: join(authority.directory, `${name}.crt`),
      keyFile: join(authority.directory, `${name}.key`),
    }
    const use = (pair: KeyPairFiles): void => {
      for (const part of ['certFile', 'keyFile'] as const) {
        copyFileSync(pair[part], `${files[part]}.new`)
        renameSync(`${files[part]}.new`, files[part])
      }
    }
    use(server)
    const listener = await listenFor(context, { url: URL, tls: { ...files, ...tls } }, { reloadInterval: 10 })
    return { listener, files, use }
  }

  test('a new certificate is shown to new clients, and those that are there stay', async (context) => {
    const { listener, use } = await reloading(context)
    const old = await dial(context, listener)
    use(authority.server('/CN=new'))
    await eventually(async () => assert.equal(commonName(await dial(context, listener)), 'new'))
    assert.deepEqual(listener.reloads.ok, 1)
    old.write('still here')
    await eventually(() => assert.equal(listener.entered[0]?.received, 'still here'))
    assert.equal(listener.entered[0]?.isClosed, false)
  })

  test('a bad certificate is counted once, and the old one stays until there is a good one', async (context) => {
    const { listener, files, use } = await reloading(context)
    const before = fingerprint(await dial(context, listener))
    const next = authority.server('/CN=next')
    // The certificate has changed, and its key has not yet: as it is between two writes.
    writeFileSync(files.certFile, readFileSync(next.certFile))
    await eventually(() => assert.equal(listener.reloads.failed, 1))
    assert.equal(fingerprint(await dial(context, listener)), before)
    writeFileSync(files.certFile, 'nonsense')
    await eventually(() => assert.equal(listener.reloads.failed, 2))
    assert.equal(fingerprint(await dial(context, listener)), before)
    use(next)
    await eventually(async () => assert.equal(commonName(await dial(context, listener)), 'next'))
  })

  test('a new authority and new keys hold for new clients', async (context) => {
    const caFile = authority.file('changing-ca.crt', authority.ca)
    const { listener } = await reloading(context, { caFile, verify: 'required' })
    const pair = readKeyPair(authority.issue({ subject: '/CN=device-1' }))
    await dial(context, listener, pair)
    const newAuthority = new CertificateAuthority('new authority')
    writeFileSync(caFile, newAuthority.ca)
    await eventually(() => assert.equal(listener.reloads.ok, 1))
    await isTurnedAway(context, listener, pair)
    await dial(context, listener, readKeyPair(newAuthority.issue({ subject: '/CN=device-2' })))
    await eventually(() => assert.equal(listener.entered[1]?.origin.certificate?.commonName, 'device-2'))
  })

  test('the metric tells when each certificate expires', async (context) => {
    const days = 7
    const serverName = 'a.example'
    const sni = [{ serverName, ...authority.issue({ subject: '/CN=a.example', days }) }]
    const { listener, use } = await reloading(context, { sni })
    const expiries = async (): Promise<Record<string, number>> => {
      const lines = (await listener.metrics.scrape()).split('\n')
      return Object.fromEntries(
        lines
          .filter((line) => line.startsWith('shoalmq_tls_certificate_expiry_seconds{'))
          .map((line) => [/server_name="(.*?)"/.exec(line)?.[1], Number(line.split(' ').at(-1))]),
      )
    }
    const isIn = (seconds: number | undefined, expected: number): void => {
      const left = (seconds ?? 0) - Date.now() / 1_000
      assert.ok(Math.abs(left - expected * 86_400) < 300, `${left} s left`)
    }
    isIn((await expiries())[''], 30)
    isIn((await expiries())['a.example'], days)
    use(authority.issue({ subject: '/CN=short', days: 3 }))
    await eventually(async () => isIn((await expiries())[''], 3))
  })
})
