/**
 * A client with a session, packet by packet, as its own owner wants it: it says what it acknowledges and when. Packets are
 * made and read by mqtt-packet, which shares nothing with the broker. Every attempt to connect is noted, and how it ended.
 */

import { createConnection, type Socket } from 'node:net'
import mqttPacket, { type IConnackPacket, type IPublishPacket, type Packet } from 'mqtt-packet'
import type { NodeProcess } from '../../support/node-process.js'
import type { Recorder } from './recorder.js'

/** A CONNECT that is not answered by then is given up; longer than any that a node answers under fire. */
const CONNECT_LIMIT_MS = 10_000
const SESSION_EXPIRY_S = 3_600

export interface ClientHandlers {
  /** Let in; undefined properties are MQTT's defaults. */
  connected(connack: IConnackPacket): void
  packet(packet: Packet): void
  closed(): void
}

export interface ClientOptions {
  readonly clientId: string
  /** A session that ends with the connection, and none before it. */
  readonly clean: boolean
  /** Topic of its will, of QoS 2, which says who it was. */
  readonly will?: string
  /** MQTT's highest by default. */
  readonly receiveMaximum?: number
}

let connections = 0

/** One connection of a client, from CONNECT to its end. */
export class HistoryClient {
  /** Unique in the process. */
  readonly connection: number
  private readonly socket: Socket
  private readonly limit: NodeJS.Timeout
  private why = 'the node has closed it'
  private isByNode = false
  private state: 'connecting' | 'open' | 'closed' = 'connecting'

  constructor(
    readonly node: NodeProcess,
    private readonly options: ClientOptions,
    private readonly recorder: Recorder,
    private readonly handlers: ClientHandlers,
  ) {
    connections += 1
    this.connection = connections
    const parser = mqttPacket.parser({ protocolVersion: 5 })
    parser.on('packet', (packet) => this.take(packet))
    parser.on('error', (error) => this.end(`what came is no packet: ${error.message}`))
    this.socket = createConnection({ host: node.host, port: node.ports.mqtt, noDelay: true })
    this.socket.on('data', (chunk) => parser.parse(chunk))
    this.socket.on('error', (error: NodeJS.ErrnoException) => {
      this.why = error.code ?? error.message
    })
    this.socket.on('close', () => this.closed())
    this.limit = setTimeout(() => this.end('CONNECT was not answered'), CONNECT_LIMIT_MS)
    const { clientId, clean, will, receiveMaximum = 65_535 } = options
    recorder.note({ kind: 'connect', client: clientId, connection: this.connection, node: node.name })
    this.send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 5,
      clean,
      clientId,
      keepalive: 0,
      properties: { sessionExpiryInterval: clean ? 0 : SESSION_EXPIRY_S, receiveMaximum },
      ...(will === undefined ? {} : { will: { topic: will, payload: Buffer.from(clientId), qos: 2, retain: false } }),
    })
  }

  get clientId(): string {
    return this.options.clientId
  }

  get isOpen(): boolean {
    return this.state === 'open' && !this.socket.destroyed
  }

  send(packet: Packet): void {
    this.socket.write(mqttPacket.generate(packet, { protocolVersion: 5 }))
  }

  /** Ends the connection with DISCONNECT. */
  sayGoodbye(): void {
    this.recorder.note({ kind: 'goodbye', client: this.clientId })
    this.send({ cmd: 'disconnect', reasonCode: 0 })
    this.why = 'it says goodbye'
    this.socket.end()
  }

  /** Ends the connection from this side without a word. */
  end(why: string): void {
    this.why = why
    this.socket.destroy()
  }

  private take(packet: Packet): void {
    // What comes after the end is as good as lost on the way.
    if (this.state === 'closed' || this.socket.destroyed) return
    if (packet.cmd === 'disconnect') {
      this.why = `DISCONNECT 0x${(packet.reasonCode ?? 0).toString(16)}`
      this.isByNode = true
    } else if (packet.cmd === 'connack') this.admitted(packet)
    else this.handlers.packet(packet)
  }

  private admitted(connack: IConnackPacket): void {
    if (connack.reasonCode !== 0) return this.end(`CONNACK 0x${(connack.reasonCode ?? 0).toString(16)}`)
    clearTimeout(this.limit)
    this.state = 'open'
    const { clientId, clean, will } = this.options
    this.recorder.note({
      kind: 'connected',
      client: clientId,
      connection: this.connection,
      node: this.node.name,
      sessionPresent: connack.sessionPresent,
      clean,
    })
    if (will !== undefined) this.recorder.note({ kind: 'will', client: clientId, topic: will, node: this.node.name })
    this.handlers.connected(connack)
  }

  private closed(): void {
    clearTimeout(this.limit)
    this.state = 'closed'
    const { connection, clientId: client, why, isByNode } = this
    this.recorder.note({ kind: 'closed', client, connection, why, ...(isByNode ? { isByNode } : {}) })
    this.handlers.closed()
  }
}

/** Packet id of a PUBLISH of QoS 1 or 2. */
export function packetIdOf({ messageId }: IPublishPacket): number {
  if (messageId === undefined) throw new Error('a PUBLISH of QoS 1 or 2 without a packet id')
  return messageId
}
