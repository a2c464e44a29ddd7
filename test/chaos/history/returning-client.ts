/** A client that is never gone for long: it comes back to its node, or to any other while that is down, until it is stopped. */

import type { Packet } from 'mqtt-packet'
import type { NodeProcess } from '../../support/node-process.js'
import { type ClientHandlers, type ClientOptions, HistoryClient } from './client.js'
import type { Recorder } from './recorder.js'
import type { Whereabouts } from './whereabouts.js'

const RETURN_AFTER_MS = 100

export class ReturningClient {
  private client: HistoryClient
  private timer: NodeJS.Timeout | undefined
  private isStopped = false

  constructor(
    private home: NodeProcess,
    private readonly options: ClientOptions,
    private readonly recorder: Recorder,
    private readonly whereabouts: Whereabouts,
    /** Of each of its connections. */
    private readonly handlers: ClientHandlers,
  ) {
    this.client = this.open()
  }

  /** Where it is, or comes to next. */
  get node(): NodeProcess {
    return this.home
  }

  /** Let in, and not gone. */
  get isOpen(): boolean {
    return this.client.isOpen
  }

  get connection(): number | undefined {
    return this.isOpen ? this.client.connection : undefined
  }

  send(packet: Packet): void {
    this.client.send(packet)
  }

  /** Without a word. */
  loseConnection(): void {
    this.client.end('it loses its connection')
  }

  goElsewhere(): void {
    this.home = this.whereabouts.any()
    this.client.end('it goes to another node')
  }

  stop(): void {
    this.isStopped = true
    clearTimeout(this.timer)
    this.client.end('the run is over')
  }

  private open(): HistoryClient {
    this.home = this.whereabouts.again(this.home)
    return new HistoryClient(this.home, this.options, this.recorder, {
      connected: (connack) => this.handlers.connected(connack),
      packet: (packet) => this.handlers.packet(packet),
      closed: () => {
        this.handlers.closed()
        if (this.isStopped) return
        this.timer = setTimeout(() => {
          this.client = this.open()
        }, RETURN_AFTER_MS)
      },
    })
  }
}
