import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import mqttPacket, { type Packet } from 'mqtt-packet'
import { WebSocket } from 'ws'
import { useBroker } from '../support/broker.js'
import { clientFor } from '../support/client.js'
import { eventually } from '../support/eventually.js'

const broker = useBroker()

function webSocketUrl(path = '/mqtt'): string {
  return `ws://127.0.0.1:${broker().wsPort}${path}`
}

function bytes(...packets: Packet[]): Buffer {
  return Buffer.concat(packets.map((packet) => mqttPacket.generate(packet, { protocolVersion: 5 })))
}

const CONNECT: Packet = {
  cmd: 'connect',
  protocolId: 'MQTT',
  protocolVersion: 5,
  clientId: 'browser',
  clean: true,
  keepalive: 0,
}

/** An open WebSocket and the MQTT packets that came over it. */
async function openSocket(context: TestContext, protocol = 'mqtt'): Promise<{ socket: WebSocket; packets: Packet[] }> {
  const socket = new WebSocket(webSocketUrl(), protocol)
  const packets: Packet[] = []
  const parser = mqttPacket.parser({ protocolVersion: 5 })
  parser.on('packet', (packet) => packets.push(packet))
  socket.on('message', (data, isBinary) => {
    assert.ok(isBinary, '[MQTT-6.0.0-1] control packets travel in binary frames')
    parser.parse(data as Buffer)
  })
  context.after(() => socket.terminate())
  await once(socket, 'open')
  return { socket, packets }
}

for (const version of [4, 5] as const) {
  test(`messages of every size cross between WebSocket and TCP (version ${version})`, async (t) => {
    const web = await clientFor(t, webSocketUrl(), { version })
    const tcp = await clientFor(t, `mqtt://127.0.0.1:${broker().port}`, { version })
    for (const client of [web, tcp]) await client.subscribe('web/+', 2)
    const sizes = [0, 1, 125, 126, 65_535, 65_536, 300_000]
    for (const size of sizes) {
      await web.publish('web/from', 'w'.repeat(size), { qos: 2 })
      await tcp.publish('web/to', 't'.repeat(size), { qos: 1 })
    }
    await eventually(() => {
      for (const client of [web, tcp]) {
        assert.deepEqual(
          client.payloads('web/from').map((payload) => payload.length),
          sizes,
        )
        assert.deepEqual(
          client.payloads('web/to').map((payload) => payload.length),
          sizes,
        )
      }
    })
  })
}

test('[MQTT-6.0.0-4] the subprotocol is mqtt', async (t) => {
  const { socket } = await openSocket(t)
  assert.equal(socket.protocol, 'mqtt')
})

test('[MQTT-6.0.0-3] a client that does not offer mqtt, and one at another path, is turned away', async () => {
  for (const [path, protocols] of [
    ['/mqtt', ['chat']],
    ['/mqtt', []],
    ['/other', ['mqtt']],
  ] as const) {
    const socket = new WebSocket(webSocketUrl(path), [...protocols])
    const [error] = (await once(socket, 'error')) as [Error]
    assert.match(error.message, /40[04]|subprotocol/, `${path} with ${protocols.join()}`)
    socket.terminate()
  }
})

test('[MQTT-6.0.0-2] control packets need not be aligned with frames', async (t) => {
  const { socket, packets } = await openSocket(t)
  for (const byte of bytes(CONNECT)) socket.send(Uint8Array.of(byte))
  await eventually(() =>
    assert.deepEqual(
      packets.map((packet) => packet.cmd),
      ['connack'],
    ),
  )
  const publish: Packet = { cmd: 'publish', topic: 'a', payload: 'b', qos: 1, messageId: 1, dup: false, retain: false }
  const many = bytes(publish, { ...publish, messageId: 2 }, { cmd: 'pingreq' }, { ...publish, messageId: 3 })
  socket.send(many.subarray(0, many.length - 3))
  socket.send(many.subarray(many.length - 3))
  await eventually(() =>
    assert.deepEqual(packets.map((packet) => packet.cmd).sort(), ['connack', 'pingresp', 'puback', 'puback', 'puback']),
  )
})

test('[MQTT-6.0.0-1] a text frame closes the connection', async (t) => {
  const { socket, packets } = await openSocket(t)
  socket.send(bytes(CONNECT))
  await eventually(() => assert.equal(packets.length, 1))
  socket.send('text')
  await once(socket, 'close')
})

test('a frame larger than any packet may be closes the connection, and the node serves on', async (t) => {
  const { socket, packets } = await openSocket(t)
  socket.send(bytes(CONNECT))
  await eventually(() => assert.equal(packets.length, 1))
  socket.send(Buffer.alloc(8 * 1024 * 1024, 0x30))
  await once(socket, 'close')
  const client = await clientFor(t, webSocketUrl())
  await client.publish('still/here', 'x', { qos: 1 })
})
