import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createConnection, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import mqttPacket, {
  type IConnackPacket,
  type IConnectPacket,
  type IPublishPacket,
  type ISubscribePacket,
  type ISubscription,
  type Packet,
} from 'mqtt-packet'
import type { QoS, Version } from './client.js'

/** For one packet of a node under load on a shared core. */
const ANSWER_TIMEOUT_MS = 15_000

export type ConnectFields = Partial<Omit<IConnectPacket, 'cmd' | 'protocolVersion'>>
export type PublishFields = Partial<Omit<IPublishPacket, 'cmd'>> & { topic: string }
type PacketOf<C extends Packet['cmd']> = Extract<Packet, { cmd: C }>

/**
 * One MQTT connection, packet by packet: nothing is sent, acknowledged or answered unless a test says so. Packets are
 * made and read by mqtt-packet, which shares nothing with ours; whatever it refuses to make goes through `write`.
 */
export class PacketClient {
  /** Given by `PacketClient.connect`. */
  connack: IConnackPacket | undefined
  private readonly arrived: Packet[] = []
  private bytes: Buffer[] = []
  private wakeUp: (() => void) | undefined
  private hasClosed = false
  private lastPacketId = 0

  private constructor(
    private readonly socket: Socket,
    readonly version: Version | 3,
  ) {
    const parser = mqttPacket.parser({ protocolVersion: version })
    parser.on('packet', (packet) => {
      this.arrived.push(packet)
      this.wakeUp?.()
    })
    parser.on('error', (error) => socket.destroy(error))
    socket.setNoDelay(true)
    socket.on('data', (chunk) => {
      this.bytes.push(chunk)
      parser.parse(chunk)
    })
    // A reset is a way to be closed; what the broker had to say came before it.
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      this.hasClosed = true
      this.wakeUp?.()
    })
  }

  /** A TCP connection on which nothing was sent yet; it is gone when the test ends. */
  static async open(context: TestContext, port: number, version: Version | 3 = 5): Promise<PacketClient> {
    const socket = createConnection({ port, host: '127.0.0.1' })
    await once(socket, 'connect')
    const client = new PacketClient(socket, version)
    context.after(() => socket.destroy())
    return client
  }

  /** A connection whose CONNECT was accepted. Clean start unless told otherwise, keep-alive off. */
  static async connect(
    context: TestContext,
    port: number,
    version: Version | 3 = 5,
    fields: ConnectFields = {},
  ): Promise<PacketClient> {
    const client = await PacketClient.open(context, port, version)
    client.sendConnect(fields)
    client.connack = await client.next('connack')
    assert.equal(client.version === 5 ? client.connack.reasonCode : client.connack.returnCode, 0, 'CONNACK accepts')
    return client
  }

  sendConnect(fields: ConnectFields = {}): void {
    this.send({
      cmd: 'connect',
      protocolId: this.version === 3 ? 'MQIsdp' : 'MQTT',
      protocolVersion: this.version,
      clean: true,
      clientId: uniqueClientId(),
      keepalive: 0,
      ...fields,
    })
  }

  send(packet: Packet): void {
    this.write(mqttPacket.generate(packet, { protocolVersion: this.version }))
  }

  /** Any bytes, sound or not. */
  write(bytes: Uint8Array): void {
    this.socket.write(bytes)
  }

  /** The bytes that arrived since the last call, of packets taken and not yet taken alike. */
  takeBytes(): Buffer {
    return Buffer.concat(this.bytes.splice(0))
  }

  /** The next packet, which must be of this kind. */
  async next<C extends Packet['cmd']>(cmd: C): Promise<PacketOf<C>> {
    const packet = await this.nextOfAny()
    assert.equal(packet?.cmd, cmd, packet === undefined ? `closed, ${cmd} expected` : `got ${JSON.stringify(packet)}`)
    return packet as PacketOf<C>
  }

  /** The next `count` packets, all of this kind. */
  async nextMany<C extends Packet['cmd']>(cmd: C, count: number): Promise<PacketOf<C>[]> {
    const packets: PacketOf<C>[] = []
    while (packets.length < count) packets.push(await this.next(cmd))
    return packets
  }

  /** The next `count` messages, each acknowledged in full as its QoS asks; nothing else may come. */
  async receive(count: number): Promise<IPublishPacket[]> {
    const messages: IPublishPacket[] = []
    let unreleased = 0
    while (messages.length < count || unreleased > 0) {
      const packet = await this.nextOfAny()
      if (packet?.cmd === 'publish') {
        messages.push(packet)
        if (packet.qos === 1) this.acknowledge(packet)
        if (packet.qos === 2) {
          this.send({ cmd: 'pubrec', ...messageIdOf(packet) })
          unreleased += 1
        }
      } else if (packet?.cmd === 'pubrel') {
        this.send({ cmd: 'pubcomp', messageId: packet.messageId ?? 0 })
        unreleased -= 1
      } else throw new Error(`got ${JSON.stringify(packet)} after ${messages.length} of ${count} messages`)
    }
    return messages
  }

  /** The next packet, or undefined when the broker has closed the connection. */
  async nextOfAny(): Promise<Packet | undefined> {
    const deadline = performance.now() + ANSWER_TIMEOUT_MS
    while (this.arrived.length === 0 && !this.hasClosed) {
      const left = deadline - performance.now()
      if (left <= 0) throw new Error(`nothing arrived within ${ANSWER_TIMEOUT_MS} ms`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left)
        this.wakeUp = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    return this.arrived.shift()
  }

  /** Everything the broker had to send until it answered a ping: what is not here did not come. */
  async settle(): Promise<Packet[]> {
    this.send({ cmd: 'pingreq' })
    const before: Packet[] = []
    for (;;) {
      const packet = await this.nextOfAny()
      if (packet === undefined) throw new Error(`closed before PINGRESP, after ${JSON.stringify(before)}`)
      if (packet.cmd === 'pingresp') return before
      before.push(packet)
    }
  }

  /** Asserts that nothing is on its way. */
  async expectNothing(): Promise<void> {
    assert.deepEqual(await this.settle(), [])
  }

  /** Waits for the broker to close the connection; returns what came before. */
  async closed(): Promise<Packet[]> {
    const before: Packet[] = []
    for (;;) {
      const packet = await this.nextOfAny()
      if (packet === undefined) return before
      before.push(packet)
    }
  }

  /** The connection is closed for this reason: said in a DISCONNECT in MQTT 5, silently before. */
  async closedFor(reasonCode: number): Promise<void> {
    const before = await this.closed()
    if (this.version !== 5) assert.deepEqual(before, [])
    else {
      assert.deepEqual(
        before.map((packet) => [packet.cmd, (packet as { reasonCode?: number }).reasonCode]),
        [['disconnect', reasonCode]],
      )
    }
  }

  get isClosed(): boolean {
    return this.hasClosed
  }

  /** SUBSCRIBE and its SUBACK; returns the granted codes. */
  async subscribe(
    filters: string | readonly (Partial<ISubscription> & { topic: string })[],
    qos: QoS = 0,
    properties: ISubscribePacket['properties'] = {},
  ): Promise<number[]> {
    const list = typeof filters === 'string' ? [{ topic: filters }] : filters
    const messageId = this.nextPacketId()
    this.send({
      cmd: 'subscribe',
      messageId,
      subscriptions: list.map((one) => ({ qos, nl: false, rap: false, rh: 0, ...one })),
      ...(this.version === 5 ? { properties } : {}),
    })
    const suback = await this.next('suback')
    assert.equal(suback.messageId, messageId, '[MQTT-3.8.4-2]')
    return suback.granted as number[]
  }

  /** UNSUBSCRIBE and its UNSUBACK; returns the codes, none in 3.1.1. */
  async unsubscribe(...topics: string[]): Promise<number[]> {
    const messageId = this.nextPacketId()
    this.send({ cmd: 'unsubscribe', messageId, unsubscriptions: topics })
    const unsuback = await this.next('unsuback')
    assert.equal(unsuback.messageId, messageId, '[MQTT-3.10.4-5]')
    return this.version === 5 ? unsuback.granted : []
  }

  /** Sends a PUBLISH and returns its packet id (0 for QoS 0); waits for nothing. */
  publish(fields: PublishFields): number {
    const qos = fields.qos ?? 0
    const messageId = fields.messageId ?? (qos === 0 ? 0 : this.nextPacketId())
    this.send({
      cmd: 'publish',
      qos,
      dup: false,
      retain: false,
      payload: '',
      ...fields,
      ...(qos === 0 ? {} : { messageId }),
    })
    return messageId
  }

  /** A PUBLISH and its acknowledgements; returns the reason code of the first. */
  async publishAcked(fields: PublishFields): Promise<number> {
    const messageId = this.publish({ qos: 1, ...fields })
    if ((fields.qos ?? 1) === 0) {
      await this.expectNothing()
      return 0
    }
    if ((fields.qos ?? 1) === 1) {
      const puback = await this.next('puback')
      assert.equal(puback.messageId, messageId, '[MQTT-2.2.1-5]')
      return puback.reasonCode ?? 0
    }
    const pubrec = await this.next('pubrec')
    assert.equal(pubrec.messageId, messageId, '[MQTT-2.2.1-5]')
    this.send({ cmd: 'pubrel', messageId })
    const pubcomp = await this.next('pubcomp')
    assert.equal(pubcomp.messageId, messageId, '[MQTT-4.3.3-11]')
    return pubrec.reasonCode ?? 0
  }

  /** PUBACK for a PUBLISH that was received. */
  acknowledge(packet: IPublishPacket): void {
    this.send({ cmd: 'puback', ...messageIdOf(packet) })
  }

  /** DISCONNECT and the end of the connection. */
  async disconnect(
    fields: { reasonCode?: number; properties?: { sessionExpiryInterval?: number } } = {},
  ): Promise<void> {
    this.send({ cmd: 'disconnect', ...fields })
    await this.closed()
  }

  /** Reads nothing from now on, so that the broker's writes pile up. */
  pause(): void {
    this.socket.pause()
  }

  /** Ends the connection without a DISCONNECT. */
  drop(): void {
    this.socket.destroy()
  }

  nextPacketId(): number {
    this.lastPacketId += 1
    return this.lastPacketId
  }
}

let clientIds = 0

/** Unique in this process, of letters and digits. [MQTT-3.1.3-5 of 3.1.1] */
export function uniqueClientId(): string {
  clientIds += 1
  return `c${process.pid}x${clientIds}`
}

/** For an acknowledgement: the packet id of what was received. */
export function messageIdOf(packet: IPublishPacket): { messageId: number } {
  if (packet.messageId === undefined) throw new Error(`no packet id in ${JSON.stringify(packet)}`)
  return { messageId: packet.messageId }
}

/** `topic payload` of a PUBLISH, for comparisons. */
export function textOf(packet: Packet): string {
  return packet.cmd === 'publish' ? `${packet.topic} ${packet.payload.toString()}` : packet.cmd
}
