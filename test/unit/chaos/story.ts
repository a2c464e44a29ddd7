/** Histories by hand: one event after the other, one millisecond apart unless told otherwise. */

import type { FaultName, Happening, HistoryEvent, Stream } from '../../chaos/history/events.js'

export const WEATHER: Stream = { publisher: 'p', topic: 'weather/oslo', qos: 1 }
export const MONEY: Stream = { publisher: 'p', topic: 'money/oslo', qos: 2 }
export const LATE: Stream = { publisher: 'p', topic: 'late/oslo', qos: 2, delay: 1_000 }

/** Reads as what happens; every step returns the story. */
export class Story {
  readonly events: HistoryEvent[] = []
  private now = 0

  add(happening: Happening): this {
    this.now += 1
    this.events.push({ ...happening, at: this.now })
    return this
  }

  later(milliseconds: number): this {
    this.now += milliseconds
    return this
  }

  connects(client: string, connection: number, node: string, sessionPresent = true): this {
    this.add({ kind: 'connect', client, connection, node })
    return this.add({ kind: 'connected', client, connection, node, sessionPresent, clean: false })
  }

  /** A new session with a subscription to everything. */
  begins(client: string, connection = 1, node = 'n1', filter = '#'): this {
    return this.connects(client, connection, node, false).add({ kind: 'subscribed', client, filter })
  }

  closes(client: string, connection: number): this {
    return this.add({ kind: 'closed', client, connection, why: 'it is gone' })
  }

  sends(stream: Stream, number: number, again = false): this {
    return this.add({ kind: 'send', stream, number, again, node: 'n1' })
  }

  acks(stream: Stream, number: number): this {
    return this.add({ kind: 'acked', stream, number })
  }

  publishes(stream: Stream, ...numbers: number[]): this {
    for (const number of numbers) this.sends(stream, number).acks(stream, number)
    return this
  }

  receives(client: string, stream: Stream, number: number, { connection = 1, dup = false } = {}): this {
    return this.add({ kind: 'receive', client, connection, stream, number, dup })
  }

  /** A client with a will, let in. */
  wills(client: string, connection: number, node = 'n1'): this {
    this.add({ kind: 'connect', client, connection, node })
    this.add({ kind: 'connected', client, connection, node, sessionPresent: false, clean: true })
    return this.add({ kind: 'will', client, topic: 'wills/1', node })
  }

  mourns(client: string, of: string): this {
    return this.add({ kind: 'mourn', client, of, topic: 'wills/1' })
  }

  fault(fault: FaultName, node: string): this {
    return this.add({ kind: 'fault', fault, nodes: [node], text: `${node} is ${fault}` })
  }

  heals(): this {
    return this.add({ kind: 'healed' })
  }

  quiet(): this {
    return this.add({ kind: 'quiet' })
  }

  writes(value: string, node = 'n1'): this {
    return this.begin(value, node).add({ kind: 'written', writer: 'w', topic: 'state', value })
  }

  /** Of which nobody knows whether it was taken. */
  begin(value: string, node = 'n1'): this {
    return this.add({ kind: 'write', writer: 'w', node, topic: 'state', value })
  }

  reads(value: string, node = 'n1'): this {
    return this.add({ kind: 'read', node, topic: 'state', value })
  }
}
