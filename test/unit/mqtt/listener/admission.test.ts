import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { eventually } from '../../../support/eventually.js'
import { listenFor, type TestListener } from './test-listener.js'

/** A connection from an address of this machine; destroyed when the test ends. */
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

test('a listener takes as many connections as it may, and another one when one is gone', async (context) => {
  const listener = await listenFor(context, { url: 'mqtt://127.0.0.1:0', maximumConnections: 2 })
  const sockets = [await dial(context, listener), await dial(context, listener)]
  await isClosed(await dial(context, listener))
  assert.deepEqual([listener.entered.length, listener.refused('listener_limit')], [2, 1])
  sockets[0]?.destroy()
  await eventually(() => assert.equal(listener.listener.connectionCount, 1))
  await dial(context, listener)
  await eventually(() => assert.equal(listener.entered.length, 3))
})

test('listeners of a node share its limit', async (context) => {
  const listener = await listenFor(context, 'mqtt://127.0.0.1:0', { limits: { maximumConnections: 1 } })
  await dial(context, listener)
  await isClosed(await dial(context, listener))
  assert.equal(listener.refused('node_limit'), 1)
})

test('one address has its share, others have theirs', async (context) => {
  const listener = await listenFor(context, { url: 'mqtt://127.0.0.1:0', maximumConnectionsPerAddress: 2 })
  const first = [await dial(context, listener, '127.0.0.2'), await dial(context, listener, '127.0.0.2')]
  await isClosed(await dial(context, listener, '127.0.0.2'))
  await dial(context, listener, '127.0.0.3')
  await eventually(() => assert.equal(listener.entered.length, 3))
  assert.equal(listener.refused('address_limit'), 1)
  assert.deepEqual(
    listener.entered.map(({ origin }) => origin.remoteAddress),
    ['127.0.0.2', '127.0.0.2', '127.0.0.3'],
  )
  first[0]?.destroy()
  await eventually(() => assert.equal(listener.listener.connectionCount, 2))
  await dial(context, listener, '127.0.0.2')
  await eventually(() => assert.equal(listener.entered.length, 4))
})

test('connections beyond the rate are refused, those of the burst are not', async (context) => {
  // So slow that none comes back during the test.
  const entry = { url: 'mqtt://127.0.0.1:0', connectRate: 1, connectBurst: 3 }
  const listener = await listenFor(context, entry, { limits: { connectRate: 1, connectBurst: 100 } })
  const sockets = await Promise.all(Array.from({ length: 20 }, () => dial(context, listener)))
  await eventually(() => assert.equal(listener.entered.length + listener.refused('listener_rate'), 20))
  assert.ok(listener.entered.length >= 3 && listener.entered.length <= 4, `${listener.entered.length} got in`)
  assert.equal(listener.refused('node_rate'), 0)
  await eventually(() => assert.equal(sockets.filter(({ closed }) => closed).length, listener.refused('listener_rate')))
})

test('who is refused takes nothing of the node', async (context) => {
  const limits = { connectRate: 1, connectBurst: 2 }
  const listener = await listenFor(context, { url: 'mqtt://127.0.0.1:0', maximumConnections: 1 }, { limits })
  const first = await dial(context, listener)
  for (let count = 0; count < 50; count += 1) await isClosed(await dial(context, listener))
  assert.deepEqual([listener.refused('listener_limit'), listener.refused('node_rate')], [50, 0])
  first.destroy()
  await eventually(() => assert.equal(listener.admission.connectionCount, 0))
  await dial(context, listener)
  await eventually(() => assert.equal(listener.entered.length, 2))
})

test('all counts are back at zero when all connections are gone, however they went', async (context) => {
  const entry = { url: 'mqtt://127.0.0.1:0', maximumConnections: 30, maximumConnectionsPerAddress: 5 }
  const listener = await listenFor(context, entry, { limits: { maximumConnectionsPerAddress: 6 } })
  const sockets: Socket[] = []
  for (let count = 0; count < 60; count += 1) {
    sockets.push(await dial(context, listener, count < 20 ? '127.0.0.1' : `127.0.0.${2 + (count % 10)}`))
  }
  await eventually(() => {
    const { entered } = listener
    assert.deepEqual(
      [entered.length, listener.refused('address_limit'), listener.refused('listener_limit')],
      [30, 15, 15],
    )
  })
  for (const [index, socket] of sockets.entries()) {
    if (index % 3 === 0) socket.destroy()
    else if (index % 3 === 1) socket.end()
    else if (!socket.closed) socket.resetAndDestroy()
  }
  for (const { stream } of listener.entered) stream.resume()
  await eventually(() => {
    assert.equal(listener.listener.connectionCount, 0)
    assert.deepEqual([listener.admission.connectionCount, listener.admission.networkCount], [0, 0])
  })
})
