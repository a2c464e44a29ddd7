/** What tests of hostile clients share: raw sockets by the hundred, and the proof that a node has taken no harm. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { eventually } from './eventually.js'
import type { NodeProcess } from './node-process.js'
import { PacketClient, textOf } from './packet-client.js'

/** pino's number of `error`. */
const ERROR_LEVEL = 50

/** Asserts that the node still serves: a message of each QoS goes through it. */
export async function assertServing(t: TestContext, port: number): Promise<void> {
  const client = await PacketClient.connect(t, port)
  await client.subscribe('unharmed')
  const publisher = await PacketClient.connect(t, port, 4)
  for (const qos of [0, 1, 2] as const) await publisher.publishAcked({ topic: 'unharmed', payload: `${qos}`, qos })
  assert.deepEqual((await client.receive(3)).map(textOf), ['unharmed 0', 'unharmed 1', 'unharmed 2'])
  await client.disconnect()
  await publisher.disconnect()
}

/** Asserts that the node serves, has failed at nothing, and holds no connection of those that are gone. */
export async function assertUnharmed(t: TestContext, node: NodeProcess): Promise<void> {
  await assertServing(t, node.ports.mqtt)
  await eventually(async () => assert.equal((await node.metrics()).value('shoalmq_connections'), 0), { within: 10_000 })
  const scrape = await node.metrics()
  assert.equal(scrape.value('shoalmq_connections_closed_total', { reason: 'internal_error' }), 0)
  assert.equal(node.isRunning, true)
  assert.deepEqual(
    node.logs().filter(({ level }) => level >= ERROR_LEVEL),
    [],
    'no error is logged for what clients do wrong',
  )
}

/** An open socket; it is gone when the test ends. */
export async function openSocket(t: TestContext, port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  // A broker that closes while we still write is free to reset.
  socket.on('error', () => socket.destroy())
  t.after(() => socket.destroy())
  await once(socket, 'connect')
  return socket
}

/** Sends bytes and waits for the broker to be done with the connection; returns its answer. */
export function throwAt(port: number, bytes: Uint8Array): Promise<Buffer> {
  return new Promise((resolve) => {
    const answer: Buffer[] = []
    const socket = connect({ port, host: '127.0.0.1' }, () => socket.write(bytes))
    socket.on('data', (chunk: Buffer) => answer.push(chunk))
    socket.on('error', () => socket.destroy())
    socket.on('close', () => resolve(Buffer.concat(answer)))
  })
}

/** Resident memory of the node in bytes, as it says itself. */
export async function residentBytes(node: NodeProcess): Promise<number> {
  return (await node.metrics()).value('process_resident_memory_bytes')
}
