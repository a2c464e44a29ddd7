import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CloseReason } from '../../src/mqtt/close-reason.js'
import { useBroker } from '../support/broker.js'
import { eventually } from '../support/eventually.js'
import { packet, properties, text, twoBytes } from '../support/mqtt-bytes.js'
import { frame, Opcode, openWebSocket } from '../support/web-socket-bytes.js'

const broker = useBroker({ mqtt: { maximumPacketSize: '64kb' } })

/** A whole MQTT 5 CONNECT, keep-alive off. */
const CONNECT = packet(0x10, text('MQTT'), 5, 0x02, twoBytes(0), properties(), text('wrong'))

async function closedFor(reason: CloseReason): Promise<number> {
  return (await broker().node().metrics()).value('shoalmq_connections_closed_total', { reason })
}

const CASES: readonly [what: string, bytes: Buffer, reason: CloseReason][] = [
  [
    'a message beyond the size of a packet',
    frame({ opcode: Opcode.Binary, claimedLength: 66_000n }),
    'packet_too_large',
  ],
  ['an opcode that does not exist', frame({ opcode: 5, payload: Buffer.from('x') }), 'malformed_packet'],
  ['a frame of text', frame({ opcode: Opcode.Text, payload: Buffer.from('x') }), 'protocol_error'],
]

for (const [what, bytes, reason] of CASES) {
  test(`${what} is counted as ${reason}, and not as an error of the socket`, async (t) => {
    const before = { reason: await closedFor(reason), socket: await closedFor('socket_error') }
    const { socket } = await openWebSocket(t, broker().wsPort)
    socket.resume()
    socket.write(frame({ opcode: Opcode.Binary, payload: CONNECT }))
    socket.write(bytes)
    await eventually(async () => assert.equal(await closedFor(reason), before.reason + 1))
    assert.equal(await closedFor('socket_error'), before.socket)
  })
}
