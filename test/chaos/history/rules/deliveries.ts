/** What each subscriber has to get, once where that is promised, and in order. */

import type { Found, Rule } from '../checker.js'
import { type EventOf, type HistoryEvent, messageKey, type Stream, streamKey } from '../events.js'
import { matches } from '../topic-match.js'
import type { ClientSession, Sessions } from './sessions.js'

interface Sent {
  readonly first: EventOf<'send'>
  acked: EventOf<'acked'> | undefined
  /** The last time, with DUP. */
  again: EventOf<'send'> | undefined
}

/** What has happened on one stream. */
class StreamLog {
  /** By number. */
  readonly sent = new Map<number, Sent>()
  settled: EventOf<'settled'> | undefined

  constructor(readonly stream: Stream) {}
}

/** What one subscriber has of one stream. */
class Received {
  /** By number: each time it came. */
  readonly times = new Map<number, EventOf<'receive'>[]>()
  /** The highest that has come. */
  highest: EventOf<'receive'> | undefined
}

export class DeliveryRule implements Rule {
  private readonly streams = new Map<string, StreamLog>()
  /** By client and stream. */
  private readonly received = new Map<string, Map<string, Received>>()
  private readonly reported = new Set<string>()

  constructor(
    private readonly sessions: Sessions,
    private readonly found: Found,
  ) {}

  take(event: HistoryEvent): void {
    switch (event.kind) {
      case 'settled':
        this.streamOf(event.stream).settled = event
        break
      case 'send':
        this.send(event)
        break
      case 'acked': {
        const sent = this.streamOf(event.stream).sent.get(event.number)
        if (sent !== undefined) sent.acked ??= event
        break
      }
      case 'receive':
        this.receive(event)
        break
      case 'quiet':
        for (const session of this.sessions.promised()) this.findMissing(session, event)
        break
      default:
    }
  }

  private send(event: EventOf<'send'>): void {
    const { sent } = this.streamOf(event.stream)
    const known = sent.get(event.number)
    if (known === undefined) sent.set(event.number, { first: event, acked: undefined, again: undefined })
    else known.again = event
  }

  private receive(event: EventOf<'receive'>): void {
    const log = this.streamOf(event.stream)
    const received = this.receivedOf(event.client, event.stream)
    const times = received.times.get(event.number)
    if (times !== undefined) {
      times.push(event)
      this.judgeRepeat(event, times, log)
      return
    }
    received.times.set(event.number, [event])
    if (event.number <= (log.settled?.number ?? 0)) this.judgeRepeat(event, [event], log)
    else if (!log.sent.has(event.number)) {
      this.report('unknown', event, `${event.client} gets ${messageKey(event)}, which nobody has sent`, [event])
    } else this.judgeOrder(event, received, log)
  }

  private judgeRepeat(event: EventOf<'receive'>, times: readonly EventOf<'receive'>[], log: StreamLog): void {
    const sent = log.sent.get(event.number)
    const evidence = [
      ...(log.settled === undefined ? [] : [log.settled]),
      ...(sent === undefined ? [] : [sent.first]),
      ...(sent?.again === undefined ? [] : [sent.again]),
      ...times,
    ]
    if (event.stream.qos === 2) {
      this.report('duplicate', event, `${event.client} gets ${messageKey(event)} a second time`, evidence)
      return
    }
    // The publisher did not know and has sent it again; or the subscriber has reconnected, and is told so.
    if (sent?.again !== undefined) return
    const isReconnected = times.every((one) => one === event || one.connection !== event.connection)
    if (event.dup && isReconnected) return
    this.report('repeat', event, `${event.client} gets ${messageKey(event)} again without a reason`, evidence)
  }

  private judgeOrder(event: EventOf<'receive'>, received: Received, log: StreamLog): void {
    const { highest } = received
    if (highest === undefined || event.number > highest.number) {
      received.highest = event
      return
    }
    const sent = log.sent.get(event.number)
    const later = log.sent.get(highest.number)
    const subscribed = this.promiseOf(event.client, event.stream.topic)
    // One from before the subscription comes only because its publisher has sent it again.
    if (sent === undefined || later === undefined || subscribed === undefined || sent.first.at < subscribed.at) return
    this.report('order', event, `${event.client} gets ${messageKey(event)} after #${highest.number}`, [
      subscribed,
      sent.first,
      later.first,
      highest,
      event,
    ])
  }

  private findMissing(session: ClientSession, quiet: EventOf<'quiet'>): void {
    for (const log of this.streams.values()) {
      const { stream } = log
      const subscribed = this.promiseOf(session.client, stream.topic)
      if (subscribed === undefined) continue
      const times = this.received.get(session.client)?.get(streamKey(stream))?.times
      for (const [number, { first, acked }] of log.sent) {
        if (acked === undefined || first.at <= subscribed.at || times?.has(number) === true) continue
        const own = session.subscribed.get(this.filterOf(session, stream.topic) ?? '')
        const since = own === undefined || own === subscribed ? [subscribed] : [own, subscribed]
        this.report(
          'missing',
          { client: session.client, stream, number },
          `${session.client} never gets ${messageKey({ stream, number })}, which was acknowledged`,
          [...since, first, acked, quiet],
        )
      }
    }
  }

  private filterOf(session: ClientSession, topic: string): string | undefined {
    for (const filter of session.subscriptions.keys()) if (matches(filter, topic)) return filter
    return undefined
  }

  private promiseOf(client: string, topic: string): EventOf<'subscribed' | 'connected'> | undefined {
    const session = this.sessions.of(client)
    const filter = session === undefined ? undefined : this.filterOf(session, topic)
    return filter === undefined ? undefined : session?.subscriptions.get(filter)
  }

  private report(
    kind: 'missing' | 'duplicate' | 'repeat' | 'order' | 'unknown',
    about: { readonly client: string; readonly stream: Stream; readonly number: number },
    text: string,
    evidence: readonly HistoryEvent[],
  ): void {
    const key = `${kind}: ${about.client}, ${messageKey(about)}`
    if (this.reported.has(key)) return
    this.reported.add(key)
    this.found({ kind, key, text, evidence })
  }

  private streamOf(stream: Stream): StreamLog {
    const key = streamKey(stream)
    let log = this.streams.get(key)
    if (log === undefined) {
      log = new StreamLog(stream)
      this.streams.set(key, log)
    }
    return log
  }

  private receivedOf(client: string, stream: Stream): Received {
    let streams = this.received.get(client)
    if (streams === undefined) {
      streams = new Map()
      this.received.set(client, streams)
    }
    const key = streamKey(stream)
    let received = streams.get(key)
    if (received === undefined) {
      received = new Received()
      streams.set(key, received)
    }
    return received
  }
}
