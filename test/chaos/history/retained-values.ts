/** Retained messages: each topic has one writer, who goes from node to node; and what a new subscriber is given. */

import { once } from 'node:events'
import type { Packet } from 'mqtt-packet'
import type { NodeProcess } from '../../support/node-process.js'
import { HistoryClient } from './client.js'
import type { Happening } from './events.js'
import { Recorder } from './recorder.js'
import { ReturningClient } from './returning-client.js'
import type { Whereabouts } from './whereabouts.js'

/** To one topic, so that writes are on their way when anything happens. */
const WRITE_EVERY_MS = 80
/** To many topics by turns: what was written last to one of them is still so when it is read after a fault. */
const WRITE_MANY_EVERY_MS = 400
const READ_LIMIT_MS = 5_000
/** What the topics begin with. */
export const STATE = 'state/'
/** One write in so many removes, one in so many is followed by going to another node. */
const REMOVE_ONE_IN = 8
const MOVE_ONE_IN = 6

/** Writes values that are never the same, one after the other, to its topics by turns. */
export class RetainedWriter {
  private readonly client: ReturningClient
  private count = 0
  private waitsFor: { readonly topic: string; readonly value: string } | undefined
  private readonly timer: NodeJS.Timeout
  isPaused = false

  constructor(
    readonly name: string,
    readonly topics: readonly string[],
    home: NodeProcess,
    private readonly recorder: Recorder,
    private readonly whereabouts: Whereabouts,
  ) {
    this.client = new ReturningClient(home, { clientId: name, clean: true }, recorder, whereabouts, {
      connected: () => undefined,
      packet: (packet) => this.take(packet),
      // Whether it was taken nobody knows; it is not sent again.
      closed: () => {
        this.waitsFor = undefined
      },
    })
    this.timer = setInterval(() => this.write(), topics.length > 1 ? WRITE_MANY_EVERY_MS : WRITE_EVERY_MS)
  }

  get node(): NodeProcess {
    return this.client.node
  }

  get isSettled(): boolean {
    return this.waitsFor === undefined
  }

  stop(): void {
    clearInterval(this.timer)
    this.client.stop()
  }

  private write(): void {
    if (this.isPaused || this.waitsFor !== undefined || !this.client.isOpen) return
    const { random } = this.whereabouts
    this.count += 1
    const value = random.oneIn(REMOVE_ONE_IN) ? '' : `${this.name} ${this.count}`
    const { name, topics } = this
    const topic = topics[this.count % topics.length] ?? ''
    this.waitsFor = { topic, value }
    this.recorder.note({ kind: 'write', writer: name, node: this.node.name, topic, value })
    this.client.send({ cmd: 'publish', topic, payload: value, qos: 1, dup: false, retain: true, messageId: 1 })
  }

  private take(packet: Packet): void {
    if (packet.cmd !== 'puback' || this.waitsFor === undefined) return
    const { name } = this
    const { topic, value } = this.waitsFor
    this.waitsFor = undefined
    if ((packet.reasonCode ?? 0) < 0x80) this.recorder.note({ kind: 'written', writer: name, topic, value })
    if (this.whereabouts.random.oneIn(MOVE_ONE_IN)) this.client.goElsewhere()
  }
}

/**
 * What a new subscriber on a node finds for topics below `state/`; '' where there is nothing, or where it comes late, as
 * it may from a busy node: who finds something wrong looks again. @throws when the node does not answer
 */
export async function readRetained(node: NodeProcess, topics: readonly string[]): Promise<Happening[]> {
  const found = new Map<string, string>()
  const done = new AbortController()
  // Its connection is no part of the history.
  const reader = new HistoryClient(node, { clientId: `reader-${node.name}`, clean: true }, new Recorder(), {
    connected: () =>
      reader.send({
        cmd: 'subscribe',
        messageId: 1,
        subscriptions: [{ topic: `${STATE}#`, qos: 0, nl: false, rap: true, rh: 0 }],
      }),
    packet: (packet) => {
      if (packet.cmd === 'publish') found.set(packet.topic, packet.payload.toString())
      // What is retained begins to come with the SUBACK; the answer to a ping is behind it.
      else if (packet.cmd === 'suback') reader.send({ cmd: 'pingreq' })
      else if (packet.cmd === 'pingresp') done.abort()
    },
    closed: () => done.abort(),
  })
  const limit = setTimeout(() => reader.end('it is not answered'), READ_LIMIT_MS)
  if (!done.signal.aborted) await once(done.signal, 'abort')
  clearTimeout(limit)
  const isAnswered = reader.isOpen
  reader.end('it has read')
  if (!isAnswered) throw new Error(`${node.name} does not answer a reader`)
  return topics.map((topic) => ({ kind: 'read', node: node.name, topic, value: found.get(topic) ?? '' }))
}
