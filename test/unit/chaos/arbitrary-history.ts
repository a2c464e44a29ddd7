/** Histories of a cluster that does all it promises, made from random steps. */

import fc from 'fast-check'
import type { HistoryEvent, Stream } from '../../chaos/history/events.js'
import { Story } from './story.js'

const NODES = ['n1', 'n2', 'n3']
const CLIENTS = ['s1', 's2']
const STREAMS: readonly Stream[] = ['p1', 'p2'].flatMap((publisher) =>
  ([1, 2] as const).map((qos) => ({ publisher, topic: `load/${publisher}/${qos}`, qos })),
)

type Step =
  | { readonly do: 'publish'; readonly stream: number; readonly isAcked: boolean }
  | { readonly do: 'deliver'; readonly client: number; readonly count: number }
  | { readonly do: 'leave'; readonly client: number }
  | { readonly do: 'come'; readonly client: number; readonly node: number }
  | { readonly do: 'kill'; readonly node: number }
  | { readonly do: 'cut'; readonly node: number }
  | { readonly do: 'write'; readonly node: number; readonly isAcked: boolean }

const below = (count: number) => fc.nat({ max: count - 1 })
const client = below(CLIENTS.length)
const node = below(NODES.length)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('publish' as const), stream: below(STREAMS.length), isAcked: fc.boolean() }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('deliver' as const), client, count: fc.integer({ min: 1, max: 5 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), client }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('come' as const), client, node }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('kill' as const), node }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cut' as const), node }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('write' as const), node, isAcked: fc.boolean() }) },
)

interface Queued {
  readonly stream: Stream
  readonly number: number
}

/** A session where it is, with what waits for it and what it was given and has not acknowledged. */
interface ModelSession {
  node: string
  connection: number | undefined
  queue: Queued[]
  inFlight: Queued[]
}

/** A cluster as its promises have it: one queue per session, which is gone when its node is killed. */
class Model {
  readonly story = new Story()
  private readonly sessions = new Map<string, ModelSession>()
  private readonly numbers = new Map<Stream, number>()
  private connections = 0
  private value = 0
  private retained = ''

  constructor() {
    for (const [index, name] of CLIENTS.entries()) this.begin(name, NODES[index] ?? 'n1')
  }

  take(one: Step): void {
    const name = 'client' in one ? (CLIENTS[one.client] ?? '') : ''
    const where = 'node' in one ? (NODES[one.node] ?? '') : ''
    switch (one.do) {
      case 'publish':
        return this.publish(STREAMS[one.stream], one.isAcked)
      case 'deliver':
        return this.deliver(name, one.count)
      case 'leave':
        return this.leave(name)
      case 'come':
        return this.come(name, where)
      case 'kill':
        return this.kill(where)
      case 'cut':
        this.story.fault('cut', where).heals()
        return
      case 'write':
        return this.write(where, one.isAcked)
    }
  }

  end(): HistoryEvent[] {
    for (const name of CLIENTS) {
      const session = this.sessions.get(name)
      if (session?.connection === undefined) this.come(name, session?.node ?? 'n1')
      this.deliver(name, Infinity)
    }
    this.story.quiet()
    for (const name of NODES) this.story.reads(this.retained, name)
    return this.story.events
  }

  private begin(name: string, where: string): void {
    this.connections += 1
    this.story.begins(name, this.connections, where)
    this.sessions.set(name, { node: where, connection: this.connections, queue: [], inFlight: [] })
  }

  private publish(stream: Stream | undefined, isAcked: boolean): void {
    if (stream === undefined) return
    const number = (this.numbers.get(stream) ?? 0) + 1
    this.numbers.set(stream, number)
    this.story.sends(stream, number)
    for (const session of this.sessions.values()) session.queue.push({ stream, number })
    if (isAcked) this.story.acks(stream, number)
  }

  private deliver(name: string, count: number): void {
    const session = this.sessions.get(name)
    if (session?.connection === undefined) return
    const { connection } = session
    for (const { stream, number } of session.queue.splice(0, count)) {
      this.story.receives(name, stream, number, { connection })
      // Every other one is acknowledged at once.
      if (number % 2 === 0) session.inFlight.push({ stream, number })
      else this.story.add({ kind: 'acknowledge', client: name, connection, stream, number })
    }
  }

  private leave(name: string): void {
    const session = this.sessions.get(name)
    if (session?.connection === undefined) return
    this.story.closes(name, session.connection)
    session.connection = undefined
  }

  private come(name: string, where: string): void {
    this.leave(name)
    const session = this.sessions.get(name)
    if (session === undefined) return this.begin(name, where)
    this.connections += 1
    session.node = where
    session.connection = this.connections
    this.story.connects(name, this.connections, where)
    // Of QoS 2 a client that has sent PUBREC is sent PUBREL only.
    for (const { stream, number } of session.inFlight.splice(0)) {
      if (stream.qos === 1) this.story.receives(name, stream, number, { connection: this.connections, dup: true })
    }
  }

  private kill(where: string): void {
    this.story.fault('killed', where)
    for (const [name, session] of this.sessions) {
      if (session.node !== where) continue
      this.leave(name)
      this.sessions.delete(name)
    }
    this.story.heals()
  }

  private write(where: string, isAcked: boolean): void {
    this.value += 1
    this.retained = `${this.value}`
    if (isAcked) this.story.writes(this.retained, where)
    else this.story.begin(this.retained, where)
  }
}

export const goodHistory: fc.Arbitrary<HistoryEvent[]> = fc
  .array(step, { minLength: 5, maxLength: 80 })
  .map((steps) => {
    const model = new Model()
    for (const one of steps) model.take(one)
    return model.end()
  })
