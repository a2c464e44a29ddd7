import assert from 'node:assert/strict'
import { type Duplex, duplexPair } from 'node:stream'
import type { TestContext } from 'node:test'
import mqttPacket, { type IConnackPacket, type IConnectPacket, type IPublishPacket, type Packet } from 'mqtt-packet'

/** Turns of the event loop; what streams in memory and a broker on them do takes a handful. */
const TURNS_LIMIT = 2_000

export type Version = 3 | 4 | 5
type PacketOf<C extends Packet['cmd']> = Extract<Packet, { cmd: C }>

/** A client at the other end of a stream in memory, packet by packet. It reads all the time unless told not to. */
export class StreamClient {
  readonly received: Packet[] = []
  connack: IConnackPacket | undefined
  hasEnded = false

  private constructor(
    /** This client's end. */
    readonly stream: Duplex,
    /** The end that the broker has. */
    readonly brokerStream: Duplex,
    readonly version: Version,
  ) {
    const parser = mqttPacket.parser({ protocolVersion: version })
    parser.on('packet', (packet) => this.received.push(packet))
    parser.on('error', (error) => stream.destroy(error))
    stream.on('data', (chunk) => parser.parse(chunk))
    stream.on('end', () => {
      this.hasEnded = true
    })
    stream.on('close', () => {
      this.hasEnded = true
    })
    stream.on('error', () => stream.destroy())
  }

  /** A stream that `accept` has, on which nothing was sent yet. */
  static open(context: TestContext, accept: (stream: Duplex) => void, version: Version = 5): StreamClient {
    const [mine, brokers] = duplexPair()
    const client = new StreamClient(mine, brokers, version)
    accept(brokers)
    context.after(() => {
      mine.destroy()
      brokers.destroy()
    })
    return client
  }

  send(packet: Packet): void {
    this.stream.write(mqttPacket.generate(packet, { protocolVersion: this.version }))
  }

  /** Several packets in one chunk. */
  sendTogether(...packets: Packet[]): void {
    this.stream.write(
      Buffer.concat(packets.map((packet) => mqttPacket.generate(packet, { protocolVersion: this.version }))),
    )
  }

  sendConnect(fields: Partial<Omit<IConnectPacket, 'cmd'>> = {}): void {
    this.send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: this.version,
      clean: true,
      clientId: 'client',
      keepalive: 0,
      ...fields,
    })
  }

  async connect(fields: Partial<Omit<IConnectPacket, 'cmd'>> = {}): Promise<this> {
    this.sendConnect(fields)
    this.connack = await this.next('connack')
    assert.equal(this.version === 5 ? this.connack.reasonCode : this.connack.returnCode, 0)
    return this
  }

  publish(fields: Partial<Omit<IPublishPacket, 'cmd'>> & { topic: string }): void {
    this.send(publishPacket(fields))
  }

  async subscribe(topic: string, qos: 0 | 1 | 2 = 0, messageId = 60_000): Promise<number[]> {
    this.send(subscribePacket(topic, qos, messageId))
    return (await this.next('suback')).granted as number[]
  }

  /** Breaks the connection as a lost network does: the broker's end is gone. */
  drop(): void {
    this.brokerStream.destroy()
    this.stream.destroy()
  }

  /** The next packet, which must be of this kind. */
  async next<C extends Packet['cmd']>(cmd: C): Promise<PacketOf<C>> {
    await until(() => this.received.length > 0 || this.hasEnded, `${cmd} expected`)
    const packet = this.received.shift()
    assert.equal(packet?.cmd, cmd, `got ${JSON.stringify(packet)}`)
    return packet as PacketOf<C>
  }

  /** Everything that comes until a PINGREQ is answered, as short texts. */
  async settle(): Promise<string[]> {
    this.send({ cmd: 'pingreq' })
    await until(() => this.hasEnded || this.received.some(({ cmd }) => cmd === 'pingresp'), 'pingresp expected')
    const before = this.received.splice(0)
    assert.equal(before.at(-1)?.cmd, 'pingresp', `got ${JSON.stringify(before)}`)
    return before.slice(0, -1).map(textOf)
  }

  /** Waits for the end of the connection; what came before, as short texts. */
  async ended(): Promise<string[]> {
    await until(() => this.hasEnded, 'the end expected')
    return this.received.splice(0).map(textOf)
  }
}

export function publishPacket(fields: Partial<Omit<IPublishPacket, 'cmd'>> & { topic: string }): IPublishPacket {
  return { cmd: 'publish', qos: 0, dup: false, retain: false, payload: '', ...fields }
}

export function subscribePacket(topic: string, qos: 0 | 1 | 2, messageId: number): Packet {
  return { cmd: 'subscribe', messageId, subscriptions: [{ topic, qos, nl: false, rap: false, rh: 0 }] }
}

/** `publish 1 topic payload`, `puback 7`, `disconnect 142`: enough to tell packets apart. */
export function textOf(packet: Packet): string {
  switch (packet.cmd) {
    case 'publish':
      return `publish ${packet.qos}${packet.retain ? ' retain' : ''}${packet.dup ? ' dup' : ''} ${packet.topic} ${packet.payload}`
    case 'disconnect':
    case 'connack':
      return `${packet.cmd} ${packet.reasonCode ?? (packet as IConnackPacket).returnCode}`
    default:
      return packet.messageId === undefined ? packet.cmd : `${packet.cmd} ${packet.messageId}`
  }
}

/** Lets the event loop turn until the condition holds. */
export async function until(condition: () => boolean, message: string): Promise<void> {
  for (let turn = 0; turn < TURNS_LIMIT; turn += 1) {
    if (condition()) return
    await new Promise((resolve) => setImmediate(resolve))
  }
  throw new Error(`not within ${TURNS_LIMIT} turns: ${message}`)
}
