/** A violating history as people read it. */

import type { Violation } from './checker.js'
import { type HistoryEvent, messageKey, type Numbered, type Stream } from './events.js'
import type { ShortestHistory } from './shortest.js'

/** Lines around the violation itself; more of them tell less. */
const MAXIMUM_CONTEXT = 20

/**
 * Each kind of violation with its shortest history. Lines with a `·` are not part of it: they are what else happened to
 * the same message, the same client and the nodes meanwhile.
 */
export function report(
  seed: number,
  history: readonly HistoryEvent[],
  violations: readonly Violation[],
  shortest: readonly ShortestHistory[],
): string {
  const parts = shortest.map(({ violation, events }) => {
    const count = violations.filter(({ kind }) => kind === violation.kind).length
    const lines = withContext(history, events).map(([mark, event]) => `${mark} ${line(event)}`)
    return [`${violation.kind} (${count} in all; seed ${seed}): ${violation.text}`, ...lines].join('\n')
  })
  return parts.join('\n\n')
}

/** One event in one line, with its time in seconds. */
export function line(event: HistoryEvent): string {
  return `${(event.at / 1_000).toFixed(3).padStart(10)} s  ${told(event)}`
}

function withContext(history: readonly HistoryEvent[], events: readonly HistoryEvent[]): ['!' | '·', HistoryEvent][] {
  const own = new Set(events)
  const from = history.findIndex((event) => own.has(event))
  const to = history.findLastIndex((event) => own.has(event))
  const messages = new Set(events.filter((event) => event.kind !== 'settled' && 'number' in event).map(keyOf))
  const clients = new Set(events.flatMap(clientsOf))
  const context = history.slice(from, to).filter((event) => {
    if (own.has(event)) return false
    if (event.kind === 'fault' || event.kind === 'healed') return true
    // What other subscribers got of it is no part of this one's story.
    const isOther = 'client' in event && !clients.has(event.client)
    if ('number' in event) return !isOther && messages.has(keyOf(event))
    return !isOther && 'client' in event
  })
  const shown = new Set<HistoryEvent>([...own, ...context.slice(-MAXIMUM_CONTEXT)])
  return history.flatMap((event) => (shown.has(event) ? [[own.has(event) ? '!' : '·', event]] : []))
}

function keyOf(event: HistoryEvent): string {
  return 'number' in event ? messageKey(event) : ''
}

/** Subscribers and publishers alike: both have connections. */
function clientsOf(event: HistoryEvent): string[] {
  if (event.kind === 'mourn') return [event.client, event.of]
  if ('client' in event) return [event.client]
  return 'stream' in event ? [event.stream.publisher] : []
}

function told(event: HistoryEvent): string {
  switch (event.kind) {
    case 'send':
      return `${event.stream.publisher} sends ${label(event)} to ${event.node}${delayed(event.stream)}${event.again ? ' again, with DUP' : ''}`
    case 'acked':
      return `${event.stream.publisher} has the acknowledgement of ${label(event)}`
    case 'refused':
      return `${event.stream.publisher} is refused ${label(event)} with 0x${event.code.toString(16)}`
    case 'connect':
      return `${event.client} sends CONNECT to ${event.node} (connection ${event.connection})`
    case 'connected':
      return `${event.client} is let in by ${event.node}, Session Present ${event.sessionPresent ? 1 : 0} (connection ${event.connection})`
    case 'closed':
      return `${event.client} has lost connection ${event.connection}: ${event.why}`
    case 'subscribed':
      return `${event.client} is subscribed to ${event.filter}`
    case 'receive':
      return `${event.client} gets ${label(event)}${event.dup ? ' with DUP' : ''} (connection ${event.connection})`
    case 'acknowledge':
      return `${event.client} acknowledges ${label(event)} (connection ${event.connection})`
    case 'will':
      return `${event.client} has a will on ${event.node}`
    case 'goodbye':
      return `${event.client} says goodbye`
    case 'mourn':
      return `${event.client} gets the will of ${event.of}`
    case 'settled':
      return `until ${messageKey(event)} everything was right before`
    case 'queue':
      return `${event.name} on ${event.node} holds ${event.depth}; its bound is ${event.bound}`
    case 'write':
      return `${event.writer} sends ${quoted(event.value)} to ${event.node}, to be retained for ${event.topic}`
    case 'written':
      return `${event.writer} has the acknowledgement of ${quoted(event.value)} for ${event.topic}`
    case 'read':
      return `a new subscriber on ${event.node} finds ${quoted(event.value)} for ${event.topic}`
    case 'fault':
      return `fault: ${event.text}`
    case 'healed':
      return 'the network is whole and every node runs'
    case 'quiet':
      return 'quiet: nobody sends, and everything had the time to arrive'
  }
}

function quoted(value: string): string {
  return value === '' ? 'nothing' : `"${value}"`
}

function delayed({ delay }: Stream): string {
  return delay === undefined ? '' : ` with a delay of ${delay} ms`
}

/** A message whose publisher is plain. */
function label({ stream, number }: Numbered): string {
  return `${stream.topic} QoS ${stream.qos} #${number}`
}
