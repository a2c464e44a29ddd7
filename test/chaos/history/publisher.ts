/**
 * A publisher of numbered messages, of QoS 1 and 2 by turns, some in flight at a time. It does what MQTT asks of a client with
 * a session: with its session it sends again, in order and with DUP, what was not acknowledged, and with a new one it
 * forgets it.
 */

import type { Packet } from 'mqtt-packet'
import type { NodeProcess } from '../../support/node-process.js'
import type { Stream } from './events.js'
import type { Recorder } from './recorder.js'
import { ReturningClient } from './returning-client.js'
import type { Whereabouts } from './whereabouts.js'

const PUBLISH_EVERY_MS = 25
/** Those with a delay. */
const PUBLISH_LATE_EVERY_MS = 150
const WINDOW = 8
/** Of the packets sent without an answer most are lost here, as often as this. */
const BOUNCE_ONE_IN = 60

/** In flight: until PUBACK, or PUBCOMP. */
interface Outstanding {
  readonly stream: Stream
  readonly number: number
  isReleased: boolean
}

export class HistoryPublisher {
  private readonly client: ReturningClient
  private readonly streams: readonly [Stream, Stream]
  /** The last number sent, by QoS. */
  private readonly numbers = { 1: 0, 2: 0 }
  /** By packet id, in the order of sending. */
  private readonly outstanding = new Map<number, Outstanding>()
  private lastPacketId = 0
  private dueAt = 0
  private turn: 0 | 1 = 0
  private readonly timer: NodeJS.Timeout
  /** Says nothing new. */
  isPaused = false

  constructor(
    readonly name: string,
    home: NodeProcess,
    private readonly recorder: Recorder,
    private readonly whereabouts: Whereabouts,
    /** Of its messages, in seconds; 0: none. */
    private readonly delay = 0,
  ) {
    const own = (qos: 1 | 2): Stream => ({ publisher: name, topic: `load/${name}/${qos}`, qos })
    const late = (qos: 1 | 2): Stream => ({ ...own(qos), topic: `later/${name}/${qos}`, delay: delay * 1_000 })
    this.streams = delay === 0 ? [own(1), own(2)] : [late(1), late(2)]
    this.client = new ReturningClient(home, { clientId: name, clean: false }, recorder, whereabouts, {
      connected: ({ sessionPresent }) => this.resume(sessionPresent),
      packet: (packet) => this.take(packet),
      closed: () => undefined,
    })
    this.timer = setInterval(() => this.tick(), delay === 0 ? PUBLISH_EVERY_MS : PUBLISH_LATE_EVERY_MS)
  }

  /** The node that has its session, or is asked for it. */
  get node(): NodeProcess {
    return this.client.node
  }

  /** It waits for no acknowledgement. */
  get isSettled(): boolean {
    return this.outstanding.size === 0 && this.client.isOpen
  }

  /** All that it has sent should be on its way to its subscribers. */
  get isDue(): boolean {
    return performance.now() >= this.dueAt
  }

  get connection(): number | undefined {
    return this.client.connection
  }

  /** Up to where everything was sent. */
  settled(): { stream: Stream; number: number }[] {
    return this.streams.map((stream) => ({ stream, number: this.numbers[stream.qos] }))
  }

  /** Goes to another node, with what is in flight. */
  move(): void {
    this.client.goElsewhere()
  }

  stop(): void {
    clearInterval(this.timer)
    this.client.stop()
  }

  private resume(sessionPresent: boolean): void {
    if (!sessionPresent) return this.outstanding.clear()
    for (const [packetId, one] of this.outstanding) {
      if (one.isReleased) this.client.send({ cmd: 'pubrel', messageId: packetId })
      else this.send(packetId, one, true)
    }
  }

  private tick(): void {
    if (this.isPaused || !this.client.isOpen || this.outstanding.size >= WINDOW) return
    const stream = this.streams[this.turn]
    this.turn = this.turn === 0 ? 1 : 0
    this.numbers[stream.qos] += 1
    const one = { stream, number: this.numbers[stream.qos], isReleased: false }
    const packetId = this.nextPacketId()
    this.outstanding.set(packetId, one)
    this.send(packetId, one, false)
    // With its message on the way the connection goes: the acknowledgement is lost, and the session is not.
    if (this.whereabouts.random.oneIn(BOUNCE_ONE_IN)) setImmediate(() => this.client.loseConnection())
  }

  private send(packetId: number, { stream, number }: Outstanding, again: boolean): void {
    this.recorder.note({ kind: 'send', stream, number, again, node: this.node.name })
    this.client.send({
      cmd: 'publish',
      topic: this.delay === 0 ? stream.topic : `$delayed/${this.delay}/${stream.topic}`,
      payload: `${stream.publisher} ${number}`,
      qos: stream.qos,
      dup: again,
      retain: false,
      messageId: packetId,
    })
  }

  private take(packet: Packet): void {
    const packetId = packet.messageId ?? 0
    const one = this.outstanding.get(packetId)
    if (packet.cmd === 'pubcomp') this.outstanding.delete(packetId)
    if (one === undefined || (packet.cmd !== 'puback' && packet.cmd !== 'pubrec')) return
    const code = packet.reasonCode ?? 0
    const { stream, number } = one
    if (code >= 0x80) this.recorder.note({ kind: 'refused', stream, number, code })
    else if (!one.isReleased) this.recorder.note({ kind: 'acked', stream, number })
    this.dueAt = performance.now() + this.delay * 1_000
    if (packet.cmd === 'puback' || code >= 0x80) this.outstanding.delete(packetId)
    else {
      one.isReleased = true
      this.client.send({ cmd: 'pubrel', messageId: packetId })
    }
  }

  private nextPacketId(): number {
    do this.lastPacketId = (this.lastPacketId % 65_535) + 1
    while (this.outstanding.has(this.lastPacketId))
    return this.lastPacketId
  }
}
