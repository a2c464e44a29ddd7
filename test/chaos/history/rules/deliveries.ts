/** What each subscriber has to get, once where that is promised, in order, and not before its time. */

import type { Found, Rule } from '../checker.js'
import { type EventOf, type HistoryEvent, messageKey, type Stream, streamKey } from '../events.js'
import type { Guarantees } from '../guarantees.js'
import { matches } from '../topic-match.js'
import type { ClientSession, Sessions } from './sessions.js'

/** Timers and clocks of two processes are this close, in milliseconds. */
const EARLY_MS = 50
/** What a client has acknowledged in the moments before its node stands still is not kept yet, in milliseconds. */
const UNWRITTEN_MS = 500

interface Sent {
  readonly first: EventOf<'send'>
  /** Which session of its publisher it was sent in. */
  readonly session: number
  acked: EventOf<'acked'> | undefined
  /** The last time, with DUP. */
  again: EventOf<'send'> | undefined
  /** When the first subscriber got it; undefined while none has. */
  arrivedAt: number | undefined
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
  /** How many sessions each publisher has begun. */
  private readonly begun = new Map<string, number>()
  /** When and where each connection was let in. */
  private readonly connections = new Map<number, EventOf<'connected'>>()
  /** When each node was killed or drained last. */
  private readonly ended = new Map<string, number>()
  /** From when to when a node stood still whose sessions others may have adopted. */
  private frozen = { from: Infinity, to: -Infinity }
  /** From when to when nodes could not write, and refused their publishers. */
  private refusing = { from: Infinity, to: -Infinity }
  /** When a clock was wrong for the last time. */
  private clockWrongAt = -Infinity
  private isClockWrong = false

  constructor(
    private readonly guarantees: Guarantees,
    private readonly sessions: Sessions,
    private readonly found: Found,
  ) {}

  take(event: HistoryEvent): void {
    switch (event.kind) {
      case 'connected':
        this.connections.set(event.connection, event)
        if (!event.sessionPresent && !event.clean) this.begin(event.client)
        break
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
      case 'fault':
        if (event.fault === 'killed' || event.fault === 'drained') {
          for (const node of event.nodes) this.ended.set(node, event.at)
        }
        if (event.fault === 'clock') this.isClockWrong = true
        if (event.fault === 'frozen' && this.guarantees.sessionsAreAdopted)
          this.frozen = { from: event.at - UNWRITTEN_MS, to: Infinity }
        if (event.fault === 'full disk' || event.fault === 'store away')
          this.refusing = { from: this.refusing.to === Infinity ? this.refusing.from : event.at, to: Infinity }
        break
      case 'healed':
        if (this.refusing.to === Infinity) this.refusing = { ...this.refusing, to: event.at }
        if (this.frozen.to === Infinity) this.frozen = { ...this.frozen, to: event.at }
        if (this.isClockWrong) this.clockWrongAt = event.at
        this.isClockWrong = false
        break
      default:
    }
  }

  /** A new session: what the one before got is nothing to it, and what it sends is in no order with what that one sent. */
  private begin(client: string): void {
    this.received.delete(client)
    this.begun.set(client, (this.begun.get(client) ?? 0) + 1)
  }

  private send(event: EventOf<'send'>): void {
    const { sent } = this.streamOf(event.stream)
    const known = sent.get(event.number)
    if (known !== undefined) known.again = event
    else {
      const session = this.begun.get(event.stream.publisher) ?? 0
      sent.set(event.number, { first: event, session, acked: undefined, again: undefined, arrivedAt: undefined })
    }
  }

  private receive(event: EventOf<'receive'>): void {
    const log = this.streamOf(event.stream)
    const received = this.receivedOf(event.client, event.stream)
    const sent = log.sent.get(event.number)
    if (sent !== undefined) sent.arrivedAt ??= event.at
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
    } else this.judgeTime(event, received, log)
  }

  private judgeTime(event: EventOf<'receive'>, received: Received, log: StreamLog): void {
    const first = log.sent.get(event.number)?.first
    const delay = first?.stream.delay
    if (first === undefined || delay === undefined) return this.judgeOrder(event, received, log)
    // By the clock of its node, which may have been set.
    if (this.isClockWrong || this.clockWrongAt >= first.at || event.at - first.at >= delay - EARLY_MS) return
    const text = `${event.client} gets ${messageKey(event)} after ${Math.round(event.at - first.at)} ms of ${delay}`
    this.report('early', event, text, [first, event])
  }

  /** Its node has ended since: a message with a delay is published again when that was interrupted. */
  private isOfEndedNode({ first: { stream, node, at }, arrivedAt = -Infinity }: Sent): boolean {
    if (stream.delay === undefined) return false
    // Or it stood still just then, or when it published it at last, and another has published it.
    const { from } = this.frozen
    const isInterrupted = [at + stream.delay, arrivedAt].some((time) => from <= time && time <= from + 2 * UNWRITTEN_MS)
    return isInterrupted || (this.ended.get(node) ?? -1) > at
  }

  private judgeRepeat(event: EventOf<'receive'>, times: readonly EventOf<'receive'>[], log: StreamLog): void {
    const sent = log.sent.get(event.number)
    // One from before this history may have been on a node that has ended in its time.
    if (sent === undefined ? log.stream.delay !== undefined : this.isOfEndedNode(sent)) return
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
    // What its node had sent in the moments before it was killed is sent as if for the first time.
    const endedAt = this.ended.get(this.sessions.of(event.client)?.node ?? '') ?? -Infinity
    const { from, to } = this.frozen
    // Some of the sessions of a node that stands still had it, and others were yet to be written: whoever adopts them gets it again.
    const sentAt = sent?.first.at ?? -Infinity
    if (from <= sentAt && sentAt <= from + 2 * UNWRITTEN_MS) return
    if (this.isGivenOutAgain(event, sentAt)) return
    // So is what was acknowledged to a node that did not know yet that its sessions were another's.
    const hasEnded = times.some(
      ({ at, connection }) => at <= endedAt || this.hasEndedUnder(connection) || (from <= at && at <= to),
    )
    if (isReconnected && (event.dup || hasEnded)) return
    this.report('repeat', event, `${event.client} gets ${messageKey(event)} again without a reason`, evidence)
  }

  /** What was with a member on a node whose sessions are adopted is given to a member once more, perhaps to the same. */
  private isGivenOutAgain({ client, at }: EventOf<'receive'>, sentAt: number): boolean {
    if (!this.guarantees.sessionsAreAdopted) return false
    const filters = [...(this.sessions.of(client)?.subscribed.keys() ?? [])]
    if (!filters.some((filter) => filter.startsWith('$share/'))) return false
    const { from, to } = this.frozen
    return [...this.ended.values()].some((end) => sentAt <= end && end <= at) || (sentAt <= to && from <= at)
  }

  /** Its node was killed or drained while it lasted, so all that came on it was sent before: its session may be elsewhere by now. */
  private hasEndedUnder(connection: number): boolean {
    const connected = this.connections.get(connection)
    return connected !== undefined && connected.at <= (this.ended.get(connected.node) ?? -Infinity)
  }

  private judgeOrder(event: EventOf<'receive'>, received: Received, log: StreamLog): void {
    const { highest } = received
    if (highest === undefined || event.number > highest.number) {
      received.highest = event
      return
    }
    const sent = log.sent.get(event.number)
    const later = log.sent.get(highest.number)
    const promise = this.promiseOf(event.client, event.stream.topic)
    // One from before the subscription comes only because its publisher has sent it again.
    if (sent === undefined || later === undefined || sent.first.at < promise.since) return
    // The publisher has given it up with its session: it comes late or never.
    const wasAcked = sent.acked !== undefined && sent.acked.at < later.first.at
    if (sent.session !== later.session && !wasAcked) return
    // It was refused, and its publisher, which has lost its connection before it heard that, has sent it again.
    const { from, to } = this.refusing
    if (sent.again !== undefined && from <= sent.first.at && sent.first.at <= to) return
    this.report('order', event, `${event.client} gets ${messageKey(event)} after #${highest.number}`, [
      ...promise.events,
      sent.first,
      later.first,
      highest,
      event,
    ])
  }

  private findMissing(session: ClientSession, quiet: EventOf<'quiet'>): void {
    for (const log of this.streams.values()) {
      const { stream } = log
      const promise = this.promiseOf(session.client, stream.topic)
      const times = this.received.get(session.client)?.get(streamKey(stream))?.times
      for (const [number, sent] of log.sent) {
        const { first, acked } = sent
        if (acked === undefined || first.at <= promise.since || times?.has(number) === true) continue
        if (!this.guarantees.delayedOutlivesEnd && this.isOfEndedNode(sent)) continue
        this.report(
          'missing',
          { client: session.client, stream, number },
          `${session.client} never gets ${messageKey({ stream, number })}, which was acknowledged`,
          [...promise.events, first, acked, quiet],
        )
      }
    }
  }

  /** Since when a subscriber is promised what is published to a topic, never if it is not subscribed, and what shows it. */
  private promiseOf(
    client: string,
    topic: string,
  ): { readonly since: number; readonly events: readonly HistoryEvent[] } {
    const session = this.sessions.of(client)
    for (const [filter, since] of session?.subscriptions ?? []) {
      if (!matches(filter, topic)) continue
      const subscribed = session?.subscribed.get(filter) ?? since
      return { since: since.at, events: subscribed === since ? [since] : [subscribed, since] }
    }
    return { since: Infinity, events: [] }
  }

  private report(
    kind: 'missing' | 'duplicate' | 'repeat' | 'order' | 'early' | 'unknown',
    about: { readonly client: string; readonly stream: Stream; readonly number: number },
    text: string,
    evidence: readonly HistoryEvent[],
  ): void {
    this.found({ kind, key: `${kind}: ${about.client}, ${messageKey(about)}`, text, evidence })
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
