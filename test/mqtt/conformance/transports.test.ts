/** What MQTT travels over. [MQTT 5.0 sections 4.2 and 6, MQTT 3.1.1 sections 6 and 7] */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import mqttPacket, { type Packet } from 'mqtt-packet'
import { WebSocket } from 'ws'
import { useBroker } from '../../support/broker.js'
import { cite } from '../../support/cite.js'
import { clientFor, type Version } from '../../support/client.js'
import { eventually } from '../../support/eventually.js'
import { packet } from '../../support/mqtt-bytes.js'
import { PacketClient, textOf, uniqueClientId } from '../../support/packet-client.js'

const broker = useBroker()
const VERSIONS: readonly Version[] = [4, 5]

function webSocketUrl(path = '/mqtt'): string {
  return `ws://127.0.0.1:${broker().wsPort}${path}`
}

function bytes(version: Version, ...packets: Packet[]): Buffer {
  return Buffer.concat(packets.map((one) => mqttPacket.generate(one, { protocolVersion: version })))
}

function connect(version: Version): Buffer {
  const fields = { protocolId: 'MQTT', protocolVersion: version, clean: true, keepalive: 0 } as const
  return bytes(version, { cmd: 'connect', clientId: uniqueClientId(), ...fields })
}

/** A conversation that has every packet a client sends, each way of QoS included. */
function conversation(version: Version): Buffer {
  const publish = { cmd: 'publish', topic: 'bytes', payload: 'x', dup: false, retain: false } as const
  const subscription = { topic: 'bytes', qos: 0, nl: false, rap: false, rh: 0 } as const
  return bytes(
    version,
    { cmd: 'subscribe', messageId: 1, subscriptions: [subscription] },
    { ...publish, qos: 0 },
    { ...publish, qos: 1, messageId: 2 },
    { ...publish, qos: 2, messageId: 3 },
    { cmd: 'pubrel', messageId: 3 },
    { cmd: 'pingreq' },
    { cmd: 'unsubscribe', messageId: 4, unsubscriptions: ['bytes'] },
  )
}

const ANSWERS = ['pingresp', 'puback', 'pubcomp', 'publish', 'publish', 'publish', 'pubrec', 'suback', 'unsuback']

/** A WebSocket and the MQTT packets that came over it. */
class Browser {
  readonly packets: Packet[] = []

  private constructor(readonly socket: WebSocket) {}

  static async open(context: TestContext, version: Version, protocols: string[] = ['mqtt']): Promise<Browser> {
    const socket = new WebSocket(webSocketUrl(), protocols)
    const browser = new Browser(socket)
    const parser = mqttPacket.parser({ protocolVersion: version })
    parser.on('packet', (one) => browser.packets.push(one))
    socket.on('message', (data, isBinary) => {
      assert.ok(isBinary, 'control packets of the broker travel in binary frames')
      parser.parse(data as Buffer)
    })
    context.after(() => socket.terminate())
    await once(socket, 'open')
    return browser
  }

  /** A WebSocket whose CONNECT was accepted. */
  static async connect(context: TestContext, version: Version): Promise<Browser> {
    const browser = await Browser.open(context, version)
    browser.socket.send(connect(version))
    await browser.arrived(['connack'])
    return browser
  }

  /** Waits until just these have come, in any order. */
  async arrived(kinds: readonly string[]): Promise<void> {
    await eventually(() => assert.deepEqual(this.packets.map(({ cmd }) => cmd).sort(), [...kinds].sort()))
  }
}

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`${cite(version, { 5: '4.2-1', 4: '7.1.1-1' })} TCP carries the stream of bytes both ways, however it is cut ${v}`, async (t) => {
    const client = await PacketClient.open(t, broker().port, version)
    for (const byte of connect(version)) client.write(Uint8Array.of(byte))
    await client.next('connack')
    for (const byte of conversation(version)) client.write(Uint8Array.of(byte))
    const arrived: string[] = []
    while (arrived.length < ANSWERS.length) arrived.push((await client.nextOfAny())?.cmd ?? 'closed')
    assert.deepEqual(arrived.sort(), ANSWERS)
    // And all at once, with the CONNECT.
    const other = await PacketClient.open(t, broker().port, version)
    other.write(Buffer.concat([connect(version), conversation(version)]))
    arrived.length = 0
    while (arrived.length <= ANSWERS.length) arrived.push((await other.nextOfAny())?.cmd ?? 'closed')
    assert.equal(arrived[0], 'connack')
    assert.deepEqual(arrived.slice(1).sort(), ANSWERS)
  })

  test(`${cite(version, { 4: '7.0.0-2' })} a client that knows nothing but MQTT connects, subscribes, publishes and leaves ${v}`, async (t) => {
    for (const url of [`mqtt://127.0.0.1:${broker().port}`, webSocketUrl()]) {
      const client = await clientFor(t, url, { version })
      await client.subscribe('plain/#', 2)
      for (const qos of [0, 1, 2] as const) await client.publish('plain/topic', `${qos}`, { qos })
      await eventually(() => assert.deepEqual(client.payloads(), ['0', '1', '2']))
      await client.unsubscribe('plain/#')
      await client.end()
    }
  })

  test(`${cite(version, { 5: '6.0.0-1', 4: '6.0.0-1' })} control packets of the broker travel in binary frames, and a text frame closes the connection ${v}`, async (t) => {
    for (const content of ['text', '', bytes(version, { cmd: 'pingreq' }).toString('latin1')]) {
      const browser = await Browser.connect(t, version)
      browser.socket.send(content)
      await once(browser.socket, 'close')
      const rest = browser.packets.slice(1)
      assert.deepEqual(
        rest.map((one) => [one.cmd, (one as { reasonCode?: number }).reasonCode]),
        version === 5 ? [['disconnect', 0x82]] : [],
      )
    }
    // Also before CONNECT, in two fragments, and between packets that are sound.
    const early = await Browser.open(t, version)
    early.socket.send(connect(version).toString('latin1'))
    await once(early.socket, 'close')
    assert.deepEqual(early.packets, [])
    const fragmented = await Browser.connect(t, version)
    fragmented.socket.send('te', { fin: false })
    fragmented.socket.send('xt', { fin: true })
    await once(fragmented.socket, 'close')
    const between = await Browser.connect(t, version)
    between.socket.send(packet(0xc0))
    between.socket.send('text')
    between.socket.send(packet(0xc0))
    await once(between.socket, 'close')
    assert.equal(between.packets.filter(({ cmd }) => cmd === 'pingresp').length, 1)
  })

  test(`${cite(version, { 5: '6.0.0-2', 4: '6.0.0-2' })} control packets need not be aligned with WebSocket frames: parts, several in one, fragments ${v}`, async (t) => {
    const whole = conversation(version)
    const single = await Browser.open(t, version)
    for (const byte of Buffer.concat([connect(version), whole])) single.socket.send(Uint8Array.of(byte))
    await single.arrived(['connack', ...ANSWERS])

    const many = await Browser.open(t, version)
    many.socket.send(Buffer.concat([connect(version), whole]))
    await many.arrived(['connack', ...ANSWERS])

    // A frame that ends one packet and begins the next, an empty frame, and a frame in fragments with a ping between.
    const mixed = await Browser.connect(t, version)
    mixed.socket.send(whole.subarray(0, 7))
    mixed.socket.send(Buffer.alloc(0))
    mixed.socket.send(whole.subarray(7, 20), { fin: false })
    mixed.socket.ping()
    mixed.socket.send(whole.subarray(20, 30), { fin: false })
    mixed.socket.send(whole.subarray(30), { fin: true })
    await mixed.arrived(['connack', ...ANSWERS])
  })

  test(`${cite(version, { 5: '6.0.0-3 6.0.0-4', 4: '6.0.0-3 6.0.0-4' })} the subprotocol is mqtt, wherever it is among those offered, and without it there is no connection ${v}`, async (t) => {
    for (const offered of [['mqtt'], ['chat', 'mqtt'], ['mqttv3.1', 'mqtt'], ['mqtt', 'chat']]) {
      const browser = await Browser.open(t, version, offered)
      assert.equal(browser.socket.protocol, 'mqtt', offered.join())
      browser.socket.send(connect(version))
      await browser.arrived(['connack'])
    }
    for (const [path, offered] of [
      ['/mqtt', ['chat']],
      ['/mqtt', []],
      ['/other', ['mqtt']],
    ] as const) {
      const socket = new WebSocket(webSocketUrl(path), [...offered])
      const [error] = (await once(socket, 'error')) as [Error]
      assert.match(error.message, /40[04]|subprotocol/, `${path} with ${offered.join()}`)
      socket.terminate()
    }
  })

  test(`messages of every size cross between WebSocket and TCP ${v}`, async (t) => {
    const web = await clientFor(t, webSocketUrl(), { version })
    const tcp = await clientFor(t, `mqtt://127.0.0.1:${broker().port}`, { version })
    for (const client of [web, tcp]) await client.subscribe('web/+', 2)
    const sizes = [0, 1, 125, 126, 65_535, 65_536, 300_000]
    for (const size of sizes) {
      await web.publish('web/from', 'w'.repeat(size), { qos: 2 })
      await tcp.publish('web/to', 't'.repeat(size), { qos: 1 })
    }
    const lengths = (payloads: string[]): number[] => payloads.map(({ length }) => length)
    await eventually(() => {
      for (const client of [web, tcp]) {
        assert.deepEqual(lengths(client.payloads('web/from')), sizes)
        assert.deepEqual(lengths(client.payloads('web/to')), sizes)
      }
    })
  })
}

test('a frame larger than any packet may be closes the connection, and the node serves on', async (t) => {
  const browser = await Browser.connect(t, 5)
  browser.socket.send(Buffer.alloc(8 * 1024 * 1024, 0x30))
  await once(browser.socket, 'close')
  const client = await PacketClient.connect(t, broker().port)
  await client.subscribe('still/here')
  client.publish({ topic: 'still/here', payload: 'x' })
  assert.deepEqual((await client.settle()).map(textOf), ['still/here x'])
})
