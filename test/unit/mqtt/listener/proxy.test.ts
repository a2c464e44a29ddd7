import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { before, type TestContext, test } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { WebSocket } from 'ws'
import { CertificateAuthority, type KeyPairFiles } from '../../../support/certificates.js'
import { ensureDebianPackages } from '../../../support/debian.js'
import { eventually } from '../../../support/eventually.js'
import { proxyV2, proxyV2For, tlv } from './proxy-v2.js'
import { listenFor, type TestListener } from './test-listener.js'

const TRUSTED = { proxyProtocol: 'any', trustedProxies: ['127.0.0.0/8'] } as const

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

async function dial(context: TestContext, { port }: TestListener, localAddress = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', localAddress })
  context.after(() => socket.destroy())
  socket.on('error', () => socket.destroy())
  await once(socket, 'connect')
  return socket
}

async function isClosed(socket: Socket): Promise<void> {
  socket.resume()
  await eventually(() => assert.equal(socket.closed, true))
}

/** What has come out of the listener: addresses, and what each client sent. */
function seen({ entered }: TestListener): string[] {
  return entered.map(({ origin, received }) => `${origin.remoteAddress} ${received}`)
}

test('the header says where the client is, and what follows it is the first of MQTT', async (context) => {
  const listener = await listenFor(context, { url: 'mqtt://127.0.0.1:0', ...TRUSTED })
  const v1 = await dial(context, listener)
  v1.write('PROXY TCP4 203.0.113.1 127.0.0.1 50000 1883\r\nhello')
  await eventually(() => assert.deepEqual(seen(listener), ['203.0.113.1 hello']))
  const v2 = await dial(context, listener)
  v2.write(Buffer.concat([proxyV2For('203.0.113.2', tlv(0x04, Buffer.alloc(100))), Buffer.from('hi')]))
  await eventually(() => assert.equal(seen(listener)[1], '203.0.113.2 hi'))
  v1.write(', again')
  v2.write(' too')
  await eventually(() => assert.deepEqual(seen(listener), ['203.0.113.1 hello, again', '203.0.113.2 hi too']))
})

test('a header that comes byte by byte is read', async (context) => {
  const listener = await listenFor(context, { url: 'mqtt://127.0.0.1:0', ...TRUSTED })
  const socket = await dial(context, listener)
  socket.setNoDelay(true)
  for (const byte of Buffer.concat([proxyV2For('203.0.113.3'), Buffer.from('slow')])) {
    socket.write(Uint8Array.of(byte))
    await new Promise(setImmediate)
  }
  await eventually(() => assert.deepEqual(seen(listener), ['203.0.113.3 slow']))
})

test('a proxy that speaks for itself is taken as it is', async (context) => {
  const listener = await listenFor(context, { url: 'mqtt://127.0.0.1:0', ...TRUSTED })
  const socket = await dial(context, listener)
  socket.write(Buffer.concat([proxyV2({ command: 0, family: 0 }), Buffer.from('health')]))
  await eventually(() => assert.equal(listener.entered[0]?.received, 'health'))
})

test('a bad header closes its connection, and no other', async (context) => {
  const listener = await listenFor(context, { url: 'mqtt://127.0.0.1:0', ...TRUSTED })
  const good = await dial(context, listener)
  good.write('PROXY TCP4 203.0.113.1 127.0.0.1 50000 1883\r\n')
  await eventually(() => assert.equal(listener.entered.length, 1))
  for (const bytes of ['\x10\x0d\x00\x04MQTT', 'PROXY TCP4 nonsense\r\n', `PROXY TCP4 ${'1'.repeat(200)}`]) {
    const bad = await dial(context, listener)
    bad.write(bytes)
    await isClosed(bad)
  }
  assert.equal(listener.refused('proxy_header'), 3)
  good.write('still here')
  await eventually(() => assert.deepEqual(seen(listener), ['203.0.113.1 still here']))
})

test('who is no trusted proxy is closed, header or not', async (context) => {
  const listener = await listenFor(context, {
    url: 'mqtt://127.0.0.1:0',
    proxyProtocol: 'v1',
    trustedProxies: ['127.0.0.5'],
  })
  const stranger = await dial(context, listener)
  stranger.write('PROXY TCP4 203.0.113.1 127.0.0.1 50000 1883\r\n')
  await isClosed(stranger)
  assert.deepEqual([listener.entered.length, listener.refused('proxy_untrusted')], [0, 1])
  const proxy = await dial(context, listener, '127.0.0.5')
  proxy.write('PROXY TCP4 203.0.113.1 127.0.0.1 50000 1883\r\n')
  await eventually(() => assert.equal(listener.entered.length, 1))
})

test('a header that does not come in time closes the connection', async (context) => {
  const listener = await listenFor(context, { url: 'mqtt://127.0.0.1:0', ...TRUSTED }, { arrivalTimeout: 100 })
  const sockets = [await dial(context, listener), await dial(context, listener)]
  sockets[1]?.write('PROXY TCP4 ')
  for (const socket of sockets) await isClosed(socket)
  assert.equal(listener.refused('timeout'), 2)
  assert.equal(listener.admission.connectionCount, 0)
})

test('clients count by the address that the proxy names, not by the proxy', async (context) => {
  const entry = { url: 'mqtt://127.0.0.1:0', ...TRUSTED, maximumConnectionsPerAddress: 1 }
  const listener = await listenFor(context, entry)
  const header = (last: number): string => `PROXY TCP4 203.0.113.${last} 127.0.0.1 50000 1883\r\n`
  for (const last of [1, 2, 3]) (await dial(context, listener)).write(header(last))
  await eventually(() => assert.equal(listener.entered.length, 3))
  const second = await dial(context, listener)
  second.write(header(2))
  await isClosed(second)
  assert.deepEqual([listener.entered.length, listener.refused('address_limit')], [3, 1])
})

test('the header comes before TLS', async (context) => {
  const listener = await listenFor(context, { url: 'mqtts://127.0.0.1:0', ...TRUSTED, tls: server })
  // In one write with the beginning of TLS, and apart from it.
  for (const [index, isTogether] of [true, false].entries()) {
    const socket = await dial(context, listener)
    const header = proxyV2For(`203.0.113.${index}`)
    if (isTogether) socket.cork()
    socket.write(header)
    const secured = connectTls({ socket, ca: authority.ca, servername: 'localhost' })
    if (isTogether) process.nextTick(() => socket.uncork())
    await once(secured, 'secureConnect')
    secured.write('secret')
    await eventually(() => assert.equal(seen(listener)[index], `203.0.113.${index} secret`))
  }
})

test('the header comes before a WebSocket upgrade, without and with TLS', async (context) => {
  for (const tls of [undefined, server]) {
    const url = `${tls === undefined ? 'ws' : 'wss'}://127.0.0.1:0/mqtt`
    const listener = await listenFor(context, { url, ...TRUSTED, ...(tls === undefined ? {} : { tls }) })
    const client = new WebSocket(listener.listener.address, ['mqtt'], {
      createConnection: () => {
        const socket = connect({ port: listener.port, host: '127.0.0.1' })
        socket.write(proxyV2For('203.0.113.9'))
        return tls === undefined ? socket : connectTls({ socket, ca: authority.ca, servername: 'localhost' })
      },
    })
    context.after(() => client.terminate())
    await once(client, 'open')
    client.send(Buffer.from('web'))
    await eventually(() => assert.deepEqual(seen(listener), ['203.0.113.9 web']))
  }
})
