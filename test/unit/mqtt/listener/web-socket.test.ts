import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, it, type TestContext } from 'node:test'
import { WebSocket } from 'ws'
import type { ListenerEntryInput } from '../../../../src/config/listener-options.js'
import { eventually } from '../../../support/eventually.js'
import { listenFor, type TestListener } from './test-listener.js'

const UPGRADE =
  'Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n'

describe('a WebSocket listener', () => {
  let listener: TestListener

  async function listen(context: TestContext, options: Partial<ListenerEntryInput> = {}): Promise<number> {
    listener = await listenFor(context, { url: 'ws://127.0.0.1:0/mqtt', ...options })
    return listener.port
  }

  /** Sends a request and returns the status line. */
  async function request(port: number, path: string, protocol = 'Sec-WebSocket-Protocol: mqtt\r\n'): Promise<string> {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => socket.destroy())
    let answer = ''
    socket.on('data', (bytes) => (answer += bytes.toString()))
    socket.write(`GET ${path} HTTP/1.1\r\n${UPGRADE}${protocol}\r\n`)
    await eventually(() => assert.match(answer, /\r\n/))
    socket.destroy()
    return answer.split('\r\n', 1)[0] ?? ''
  }

  it('answers any request target, also one that is no URL', async (context) => {
    const port = await listen(context)
    for (const path of ['//', '/nope', '/mqtt%', '*', '/mqtt/..', 'http://[']) {
      assert.equal(await request(port, path), 'HTTP/1.1 404 Not Found', path)
    }
    assert.equal(await request(port, '/mqtt', ''), 'HTTP/1.1 400 Bad Request')
    assert.equal(await request(port, '/mqtt?token=1'), 'HTTP/1.1 101 Switching Protocols')
  })

  it('survives clients that reset while they are refused', async (context) => {
    const port = await listen(context)
    for (let round = 0; round < 200; round += 1) {
      const socket = connect(port, '127.0.0.1')
      socket.on('error', () => socket.destroy())
      await new Promise((resolve) => socket.once('connect', resolve))
      socket.write(`GET /nope HTTP/1.1\r\n${UPGRADE}\r\n`)
      if (round % 2 === 0) await new Promise(setImmediate)
      socket.resetAndDestroy()
    }
    assert.equal(await request(port, '/nope'), 'HTTP/1.1 404 Not Found')
  })

  it('closes a client that sends text, and takes nothing of it [MQTT-6.0.0-1]', async (context) => {
    const port = await listen(context)
    const client = new WebSocket(`ws://127.0.0.1:${port}/mqtt`, ['mqtt'])
    await new Promise((resolve) => client.once('open', resolve))
    client.send(Buffer.from('binary'))
    await eventually(() => assert.equal(listener.entered[0]?.received, 'binary'))
    client.send('text')
    await eventually(() => assert.equal(listener.entered[0]?.closeReason, 'protocol_error'))
    await eventually(() => assert.equal(client.readyState, WebSocket.CLOSED))
    assert.equal(listener.entered[0]?.received, 'binary')
  })

  /** The status of an upgrade with these headers. */
  function upgrade(port: number, headers: Record<string, string>): Promise<string> {
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    return request(port, '/mqtt', `Sec-WebSocket-Protocol: mqtt\r\n${lines.join('')}`)
  }

  it('lets web pages of allowed origins in, and what is no web page', async (context) => {
    const port = await listen(context, { allowedOrigins: ['https://app.example.com', 'http://localhost:3000'] })
    for (const Origin of ['https://app.example.com', 'HTTPS://APP.example.com', 'http://localhost:3000']) {
      assert.match(await upgrade(port, { Origin }), / 101 /, Origin)
    }
    for (const Origin of [
      'https://evil.example.com',
      'http://app.example.com',
      'https://app.example.com:444',
      'null',
    ]) {
      assert.match(await upgrade(port, { Origin }), / 403 Forbidden/, Origin)
    }
    assert.match(await upgrade(port, {}), / 101 /)
    await eventually(() => assert.equal(listener.refused('origin'), 4))
  })

  it('lets all web pages in when no origins are said', async (context) => {
    const port = await listen(context)
    assert.match(await upgrade(port, { Origin: 'https://anywhere.example.com' }), / 101 /)
  })

  it('believes X-Forwarded-For of trusted proxies only', async (context) => {
    const header = { 'X-Forwarded-For': '127.0.0.1, 203.0.113.7' }
    await upgrade(await listen(context, { trustedProxies: ['127.0.0.1'] }), header)
    assert.equal(listener.entered[0]?.origin.remoteAddress, '203.0.113.7')
    await upgrade(await listen(context, { trustedProxies: ['10.0.0.0/8'] }), header)
    assert.equal(listener.entered[0]?.origin.remoteAddress, '127.0.0.1')
    await upgrade(await listen(context), header)
    assert.equal(listener.entered[0]?.origin.remoteAddress, '127.0.0.1')
  })

  it('counts clients by the address that their proxy names', async (context) => {
    const port = await listen(context, { trustedProxies: ['127.0.0.1'], maximumConnectionsPerAddress: 1 })
    const clients: WebSocket[] = []
    const open = async (address: string): Promise<WebSocket> => {
      const client = new WebSocket(`ws://127.0.0.1:${port}/mqtt`, ['mqtt'], { headers: { 'X-Forwarded-For': address } })
      context.after(() => client.terminate())
      clients.push(client)
      await once(client, 'open')
      return client
    }
    await open('203.0.113.1')
    const second = await open('203.0.113.2')
    await assert.rejects(open('203.0.113.2'))
    assert.equal(listener.refused('address_limit'), 1)
    second.terminate()
    await eventually(() => assert.equal(listener.listener.connectionCount, 1))
    await open('203.0.113.2')
  })

  it('closes a client that does not finish its upgrade in time, and counts what is no upgrade', async (context) => {
    listener = await listenFor(context, 'ws://127.0.0.1:0/mqtt', { arrivalTimeout: 100 })
    const slow = connect(listener.port, '127.0.0.1')
    slow.write(`GET /mqtt HTTP/1.1\r\n`)
    slow.resume()
    await eventually(() => assert.equal(slow.closed, true))
    assert.equal(listener.refused('timeout'), 1)
    const plain = await fetch(`http://127.0.0.1:${listener.port}/mqtt`)
    assert.equal(plain.status, 426)
    const garbage = connect(listener.port, '127.0.0.1')
    garbage.end('\x10\x0d\x00\x04MQTT\r\n\r\n')
    garbage.resume()
    await eventually(() => assert.equal(listener.refused('upgrade'), 2))
    await eventually(() => assert.equal(listener.admission.connectionCount, 0))
  })
})
