import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { deflateRawSync } from 'node:zlib'
import { useBroker } from '../support/broker.js'
import { clientFor } from '../support/client.js'
import { eventually } from '../support/eventually.js'
import { assertUnharmed, openSocket, residentBytes } from '../support/hostile.js'
import { packet, properties, text, twoBytes } from '../support/mqtt-bytes.js'
import { frame, Opcode, openWebSocket, upgradeRequest } from '../support/web-socket-bytes.js'

const CONNECT_TIMEOUT_MS = 1_500
const broker = useBroker({ mqtt: { connectTimeout: `${CONNECT_TIMEOUT_MS}ms`, maximumPacketSize: '64kb' } })

/** A whole MQTT 5 CONNECT, keep-alive off. */
function connect(clientId: string): Buffer {
  return packet(0x10, text('MQTT'), 5, 0x02, twoBytes(0), properties(), text(clientId))
}

/** An upgraded socket whose CONNECT was accepted. */
async function connected(t: Parameters<typeof openWebSocket>[0], clientId: string): Promise<Socket> {
  const { socket } = await openWebSocket(t, broker().wsPort)
  socket.write(frame({ opcode: Opcode.Binary, payload: connect(clientId) }))
  const [connack] = (await once(socket, 'data')) as [Buffer]
  assert.equal(connack[2], 0x20, 'CONNACK')
  return socket
}

async function closes(socket: Socket): Promise<void> {
  socket.resume()
  await eventually(() => assert.equal(socket.destroyed, true), { within: 20_000 })
}

test('frames that announce more than any packet may have close the connection, and cost nothing ahead', async (t) => {
  const node = broker().node()
  const before = await residentBytes(node)
  for (const claimedLength of [65_537n + 1_000n, 0x7fff_ffffn, 0x7fff_ffff_ffff_ffffn, 0xffff_ffff_ffff_ffffn]) {
    const sockets = await Promise.all(Array.from({ length: 10 }, (_, index) => connected(t, `huge${index}`)))
    for (const socket of sockets) socket.write(frame({ opcode: Opcode.Binary, claimedLength }))
    await Promise.all(sockets.map(closes))
  }
  const grown = (await residentBytes(node)) - before
  assert.ok(grown < 60e6, `${Math.round(grown / 1e6)} MB`)
  await assertUnharmed(t, node)
})

test('a message in fragments without end is closed at the size of a packet, however small the fragments', async (t) => {
  const node = broker().node()
  const [bytes, empty] = [await connected(t, 'fragments'), await connected(t, 'nothing')]
  bytes.write(frame({ opcode: Opcode.Binary, payload: Buffer.from([0x30]), isFinal: false }))
  const oneByte = frame({ opcode: Opcode.Continuation, payload: Buffer.from([0]), isFinal: false })
  bytes.write(Buffer.concat(Array.from({ length: 70_000 }, () => oneByte)))
  await closes(bytes)
  // Fragments of no bytes never reach a size; they must not add up to anything either.
  const before = await residentBytes(node)
  empty.write(frame({ opcode: Opcode.Binary, isFinal: false }))
  const noByte = frame({ opcode: Opcode.Continuation, isFinal: false })
  const many = Buffer.concat(Array.from({ length: 200_000 }, () => noByte))
  await new Promise<void>((resolve) => empty.write(many, () => resolve()))
  const grown = (await residentBytes(node)) - before
  assert.ok(grown < 60e6, `${Math.round(grown / 1e6)} MB`)
  empty.destroy()
  await assertUnharmed(t, node)
})

test('pings are answered to a client that reads, and do not pile up for one that does not', async (t) => {
  const node = broker().node()
  const reader = await connected(t, 'reader')
  reader.write(frame({ opcode: Opcode.Ping, payload: Buffer.from('alive?') }))
  const [pong] = (await once(reader, 'data')) as [Buffer]
  assert.deepEqual(pong, frame({ opcode: Opcode.Pong, payload: Buffer.from('alive?'), isMasked: false }))
  const before = await residentBytes(node)
  const deaf = await connected(t, 'deaf')
  deaf.pause()
  const ping = frame({ opcode: Opcode.Ping, payload: Buffer.alloc(125, 0x70) })
  const pings = Buffer.concat(Array.from({ length: 10_000 }, () => ping))
  // 130 MB of pings, and so of pongs.
  for (let round = 0; round < 100; round += 1) {
    if (deaf.destroyed) break
    await new Promise<void>((resolve) => deaf.write(pings, () => resolve()))
  }
  const grown = (await residentBytes(node)) - before
  assert.ok(grown < 60e6, `${Math.round(grown / 1e6)} MB of pongs wait for a client that does not read`)
  deaf.destroy()
  reader.destroy()
  await assertUnharmed(t, node)
})

test('compression is not agreed to, and what comes compressed all the same is not inflated', async (t) => {
  const node = broker().node()
  const offer = { 'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits' }
  const { socket, head } = await openWebSocket(t, broker().wsPort, offer)
  assert.match(head, /^HTTP\/1\.1 101 /)
  assert.doesNotMatch(head, /sec-websocket-extensions/i)
  const before = await residentBytes(node)
  // 60 KB that would be 60 MB.
  const bomb = deflateRawSync(Buffer.alloc(60_000_000))
  socket.write(frame({ opcode: Opcode.Binary, payload: bomb.subarray(0, 60_000), reserved: 4 }))
  await closes(socket)
  const grown = (await residentBytes(node)) - before
  assert.ok(grown < 40e6, `${Math.round(grown / 1e6)} MB`)
  await assertUnharmed(t, node)
})

test('frames that the protocol does not have close the connection', async (t) => {
  const cases: [string, Buffer][] = [
    ['a text frame', frame({ opcode: Opcode.Text, payload: Buffer.from('hello') })],
    ['a frame that is not masked', frame({ opcode: Opcode.Binary, payload: Buffer.from([0xc0, 0]), isMasked: false })],
    ['an opcode that does not exist', frame({ opcode: 5, payload: Buffer.from('x') })],
    ['reserved bits', frame({ opcode: Opcode.Binary, payload: Buffer.from([0xc0, 0]), reserved: 3 })],
    ['a continuation of nothing', frame({ opcode: Opcode.Continuation, payload: Buffer.from([0xc0, 0]) })],
    ['a ping in fragments', frame({ opcode: Opcode.Ping, isFinal: false })],
    ['a ping that is too long', frame({ opcode: Opcode.Ping, payload: Buffer.alloc(126) })],
    ['a close with half a code', frame({ opcode: Opcode.Close, payload: Buffer.from([3]) })],
    ['a close with a wrong code', frame({ opcode: Opcode.Close, payload: Buffer.from([0, 1]) })],
  ]
  for (const [what, bytes] of cases) {
    const socket = await connected(t, 'frames')
    socket.write(bytes)
    await closes(socket).catch((error) => {
      throw new Error(`${what}: ${error}`)
    })
  }
  await assertUnharmed(t, broker().node())
})

test('a client that is closed for a wrong frame and keeps its half open is cut off', async (t) => {
  const node = broker().node()
  const socket = await connected(t, 'half')
  socket.pause()
  socket.write(frame({ opcode: 5 }))
  // It reads nothing, so it neither answers the close frame nor sees the end; it learns of it when it writes.
  await eventually(
    () => {
      socket.write(Buffer.from([0]))
      assert.equal(socket.destroyed, true)
    },
    { within: 15_000, every: 200 },
  )
  await assertUnharmed(t, node)
})

test('HTTP that is none, and headers that never end, are answered and closed', async (t) => {
  const garbage = [
    'GARBAGE\r\n\r\n',
    'GET /mqtt HTTP/9.9\r\n\r\n',
    'GET /mqtt HTTP/1.1\r\nContent-Length: 99999999999\r\nTransfer-Encoding: chunked\r\n\r\n',
    `GET /${'x'.repeat(100_000)} HTTP/1.1\r\nHost: a\r\n\r\n`,
    `GET /mqtt HTTP/1.1\r\nHost: a\r\nX: ${'y'.repeat(100_000)}\r\n\r\n`,
    'POST /mqtt HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello',
    upgradeRequest({ 'Sec-WebSocket-Key': 'short' }),
    upgradeRequest({ 'Sec-WebSocket-Version': '99' }),
    '\0\0\0\0\0\0\0\0\r\n\r\n',
  ]
  for (const request of garbage) {
    const socket = await openSocket(t, broker().wsPort)
    const answer: Buffer[] = []
    socket.on('data', (chunk: Buffer) => answer.push(chunk))
    socket.write(request)
    await closes(socket)
    const [status] = Buffer.concat(answer).toString('latin1').split('\r\n', 1)
    if (answer.length > 0) assert.match(status ?? '', /^HTTP\/1\.1 4\d\d /, request.slice(0, 40))
  }
  await assertUnharmed(t, broker().node())
})

test('clients that send their HTTP headers one byte at a time, forever, are closed when their time is over', async (t) => {
  const request = upgradeRequest({ 'X-Slow': 'x'.repeat(2_000) })
  const start = performance.now()
  const sockets = await Promise.all(Array.from({ length: 200 }, () => openSocket(t, broker().wsPort)))
  for (let at = 0; sockets.some((socket) => !socket.destroyed); at = (at + 1) % request.length) {
    for (const socket of sockets) socket.write(request.slice(at, at + 1))
    await new Promise((resolve) => setTimeout(resolve, 100))
    assert.ok(performance.now() - start < CONNECT_TIMEOUT_MS * 5, 'they are closed in time')
  }
  // One that upgrades in time and then says nothing is closed for its CONNECT.
  const { socket } = await openWebSocket(t, broker().wsPort)
  await closes(socket)
  await assertUnharmed(t, broker().node())
})

test('beside all this a browser is served', async (t) => {
  const browser = await clientFor(t, `ws://127.0.0.1:${broker().wsPort}/mqtt`, { version: 5 })
  await browser.subscribe('still/here', 1)
  await browser.publish('still/here', 'yes', { qos: 2 })
  await eventually(() => assert.deepEqual(browser.payloads(), ['yes']))
})
