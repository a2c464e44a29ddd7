import assert from 'node:assert/strict'
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
})
