/**
 * A session whose queue is at its bound: its client is hardly ever there, and somebody sends it large messages all the time.
 * None of them is promised to arrive; that the session does not hold more than it may is.
 */

import type { NodeProcess } from '../../support/node-process.js'
import { HistoryClient } from './client.js'
import type { Happening } from './events.js'
import { Recorder } from './recorder.js'
import { ReturningClient } from './returning-client.js'
import type { Whereabouts } from './whereabouts.js'

const CLIENT_ID = 'hoarder'
const TOPIC = 'hoard'
const SEND_EVERY_MS = 250
const RECONNECT_MS = 300
/** What is in flight to it is not in its queue. */
const RECEIVE_MAXIMUM = 8
/** Of a message. */
export const HOARDED_BYTES = 64 * 1024

const OPTIONS = { clientId: CLIENT_ID, clean: false, receiveMaximum: RECEIVE_MAXIMUM }

export class Hoard {
  private hoarder: HistoryClient | undefined
  private readonly feeder: ReturningClient
  private isSubscribed = false
  private isAnswered = true
  private lastConnection: number | undefined
  private readonly timer: NodeJS.Timeout
  private reconnect: NodeJS.Timeout | undefined
  private isStopped = false
  isPaused = false

  constructor(
    private home: NodeProcess,
    private readonly recorder: Recorder,
    private readonly whereabouts: Whereabouts,
  ) {
    this.timer = setInterval(() => this.feed(), SEND_EVERY_MS)
    this.visit()
    // Its connection is no part of the history.
    this.feeder = new ReturningClient(home, { clientId: 'hoard-feeder', clean: true }, new Recorder(), whereabouts, {
      connected: () => undefined,
      packet: () => {
        this.isAnswered = true
      },
      closed: () => {
        this.isAnswered = true
      },
    })
  }

  /** Its client is not on its way. */
  get isAway(): boolean {
    return this.hoarder === undefined
  }

  /** It comes to any node, subscribes if that is new to it, and goes. What waits for it is sent to it in vain. */
  visit(): void {
    if (this.hoarder !== undefined || this.isStopped) return
    if (this.whereabouts.mayMove) this.home = this.whereabouts.any()
    this.home = this.whereabouts.again(this.home)
    const client = new HistoryClient(this.home, OPTIONS, this.recorder, {
      connected: ({ sessionPresent }) => {
        this.isSubscribed = sessionPresent && this.isSubscribed
        if (this.isSubscribed) client.end('it was only to look')
        else
          client.send({
            cmd: 'subscribe',
            messageId: 1,
            subscriptions: [{ topic: TOPIC, qos: 1, nl: false, rap: false, rh: 2 }],
          })
      },
      packet: ({ cmd }) => {
        if (cmd !== 'suback') return
        this.isSubscribed = true
        this.recorder.note({ kind: 'subscribed', client: CLIENT_ID, filter: TOPIC })
        client.end('it goes away for long')
      },
      closed: () => {
        this.lastConnection = client.connection
        this.hoarder = undefined
        if (!this.isSubscribed) this.reconnect = setTimeout(() => this.visit(), RECONNECT_MS)
      },
    })
    this.hoarder = client
  }

  /** For a history that begins: it has a session, and is away. */
  preface(): Happening[] {
    const connection = this.lastConnection
    if (connection === undefined || !this.isSubscribed) return []
    const about = { client: CLIENT_ID, connection }
    return [
      { kind: 'connected', ...about, node: this.home.name, sessionPresent: false, clean: false },
      { kind: 'subscribed', client: CLIENT_ID, filter: TOPIC },
      { kind: 'closed', ...about, why: 'it was away before' },
    ]
  }

  stop(): void {
    this.isStopped = true
    clearInterval(this.timer)
    clearTimeout(this.reconnect)
    this.hoarder?.end('the run is over')
    this.feeder.stop()
  }

  private feed(): void {
    if (this.isPaused || !this.isAnswered || !this.feeder.isOpen) return
    this.isAnswered = false
    const payload = Buffer.alloc(HOARDED_BYTES)
    this.feeder.send({ cmd: 'publish', topic: TOPIC, payload, qos: 1, dup: false, retain: false, messageId: 1 })
  }
}
