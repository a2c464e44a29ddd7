/**
 * A subscriber with a session. It stays, or goes from node to node, or is away most of the time; it acknowledges in order,
 * at once or a little late, so that something is in flight when its connection goes. Of QoS 2 it keeps the ids, as MQTT
 * asks: what comes again with one of them is no new message.
 */

import type { IPublishPacket, Packet } from 'mqtt-packet'
import type { NodeProcess } from '../../support/node-process.js'
import { HistoryClient, packetIdOf } from './client.js'
import type { Stream } from './events.js'
import type { Recorder } from './recorder.js'
import type { Whereabouts } from './whereabouts.js'

const RECONNECT_MS = 100
const MINIMUM_STAY_MS = 400
const MAXIMUM_STAY_MS = 2_000
const SUBSCRIBE_PACKET_ID = 1
/** What topics of wills begin with. */
export const WILLS = 'wills/'

export interface SubscriberOptions {
  readonly name: string
  readonly filter: string
  /** How late it acknowledges, in milliseconds. */
  readonly patience: number
  /** `stays`: with its node; `roams`: to any node, now and then; `away`: not connected until it is called. */
  readonly habit: 'stays' | 'roams' | 'away'
}

export class HistorySubscriber {
  private client: HistoryClient | undefined
  private readonly unreleased = new Set<number>()
  private isSubscribed = false
  /** It wants to be connected. */
  private isWanted = true
  private timers: NodeJS.Timeout[] = []

  constructor(
    readonly options: SubscriberOptions,
    private home: NodeProcess,
    private readonly recorder: Recorder,
    private readonly whereabouts: Whereabouts,
  ) {
    this.open()
    if (options.habit === 'roams') this.roam()
  }

  get node(): NodeProcess {
    return this.home
  }

  /** Connected and subscribed. */
  get isThere(): boolean {
    return this.client?.isOpen === true && this.isSubscribed
  }

  get connection(): number | undefined {
    return this.client?.isOpen === true ? this.client.connection : undefined
  }

  /** Its session may be on its way to another node. */
  get isMoving(): boolean {
    return this.isWanted && this.connection === undefined
  }

  /** Back to work; at any node. */
  call(): void {
    if (this.isWanted) return
    this.isWanted = true
    if (this.whereabouts.mayRoam) this.home = this.whereabouts.near(this.home)
    this.open()
  }

  /** Away until it is called. */
  dismiss(): void {
    this.isWanted = false
    this.client?.end('it goes away')
  }

  stop(): void {
    this.isWanted = false
    for (const timer of this.timers) clearTimeout(timer)
    this.client?.end('the run is over')
  }

  private open(): void {
    this.home = this.whereabouts.again(this.home)
    const { name } = this.options
    const client = new HistoryClient(this.home, { clientId: name, clean: false }, this.recorder, {
      connected: ({ sessionPresent }) => this.resume(client, sessionPresent),
      packet: (packet) => this.take(client, packet),
      closed: () => this.after(RECONNECT_MS, () => this.isWanted && this.client === client && this.open()),
    })
    this.client = client
  }

  private resume(client: HistoryClient, sessionPresent: boolean): void {
    if (!sessionPresent) {
      this.unreleased.clear()
      this.isSubscribed = false
    }
    if (this.isSubscribed) return
    client.send({
      cmd: 'subscribe',
      messageId: SUBSCRIBE_PACKET_ID,
      subscriptions: [{ topic: this.options.filter, qos: 2, nl: false, rap: false, rh: 2 }],
    })
  }

  private take(client: HistoryClient, packet: Packet): void {
    // Once a newer connection is on its way, what comes on the old one is as good as lost.
    if (client !== this.client) return
    if (packet.cmd === 'suback') {
      this.isSubscribed = true
      this.recorder.note({ kind: 'subscribed', client: this.options.name, filter: this.options.filter })
    } else if (packet.cmd === 'publish') this.receive(client, packet)
    else if (packet.cmd === 'pubrel') {
      const messageId = packet.messageId ?? 0
      this.unreleased.delete(messageId)
      this.answer(client, { cmd: 'pubcomp', messageId })
    }
  }

  private receive(client: HistoryClient, packet: IPublishPacket): void {
    const messageId = packetIdOf(packet)
    const isNew = packet.qos !== 2 || !this.unreleased.has(messageId)
    if (packet.qos === 2) this.unreleased.add(messageId)
    const answer = { cmd: packet.qos === 2 ? 'pubrec' : 'puback', messageId } as const
    if (packet.topic.startsWith(WILLS)) {
      const { topic, payload } = packet
      if (isNew) this.recorder.note({ kind: 'mourn', client: this.options.name, of: payload.toString(), topic })
      this.answer(client, answer)
      return
    }
    const about = { client: this.options.name, connection: client.connection, ...readMessage(packet) }
    if (isNew) this.recorder.note({ kind: 'receive', ...about, dup: packet.dup })
    this.answer(client, answer, () => this.recorder.note({ kind: 'acknowledge', ...about }))
  }

  /** In order, since all are equally late. */
  private answer(client: HistoryClient, packet: Packet, done?: () => void): void {
    const send = (): void => {
      if (!client.isOpen) return
      client.send(packet)
      done?.()
    }
    if (this.options.patience === 0) send()
    else this.after(this.options.patience, send)
  }

  private roam(): void {
    const { random } = this.whereabouts
    this.after(MINIMUM_STAY_MS + random.below(MAXIMUM_STAY_MS - MINIMUM_STAY_MS), () => {
      if (this.whereabouts.mayRoam && this.isThere) {
        const node = this.whereabouts.near(this.home)
        if (random.oneIn(2)) this.client?.end('it goes to another node')
        // Or the old connection is taken over: its end is not waited for.
        this.home = node
        if (this.client?.isOpen === true) this.open()
      }
      this.roam()
    })
  }

  private after(milliseconds: number, work: () => void): void {
    const timer = setTimeout(() => {
      this.timers.splice(this.timers.indexOf(timer), 1)
      work()
    }, milliseconds)
    this.timers.push(timer)
  }
}

function readMessage({ topic, payload, qos }: IPublishPacket): { stream: Stream; number: number } {
  const text = payload.toString()
  const space = text.lastIndexOf(' ')
  // As it came: one with another QoS than it was sent with is one that nobody has sent.
  return {
    stream: { publisher: text.slice(0, space), topic, qos: qos === 2 ? 2 : 1 },
    number: Number(text.slice(space + 1)),
  }
}
