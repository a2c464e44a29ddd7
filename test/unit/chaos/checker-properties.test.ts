import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { check, type ViolationKind } from '../../chaos/history/checker.js'
import { type EventOf, type HistoryEvent, messageKey } from '../../chaos/history/events.js'
import type { Guarantees } from '../../chaos/history/guarantees.js'
import { shortestOf } from '../../chaos/history/shortest.js'
import { goodHistory } from './arbitrary-history.js'

/** Every step of the model takes a millisecond: nothing is on its way for longer than none. */
const TODAY: Guarantees = {
  sessionsOutliveKill: false,
  sessionsAreAdopted: false,
  awaySessionsOutliveDrain: false,
  retainedOutlivesKill: true,
  delayedOutlivesEnd: true,
  overlapMs: 100,
  answerMs: 1_000,
  moveMs: 0,
}

/** Makes a good history wrong at a place of chance; undefined where there is nothing to spoil. */
type Mutation = (history: readonly HistoryEvent[], chance: number) => HistoryEvent[] | undefined

function pick<T>(list: readonly T[], chance: number): T | undefined {
  return list[chance % Math.max(1, list.length)]
}

function only<K extends HistoryEvent['kind']>(history: readonly HistoryEvent[], kind: K): EventOf<K>[] {
  return history.filter((event): event is EventOf<K> => event.kind === kind)
}

/** First deliveries of acknowledged messages, to the last session of each client. */
function promised(history: readonly HistoryEvent[]): EventOf<'receive'>[] {
  const acked = new Set(only(history, 'acked').map(messageKey))
  const begun = new Map(only(history, 'subscribed').map(({ client, at }) => [client, at]))
  const sent = new Map(only(history, 'send').map((event) => [messageKey(event), event.at]))
  return only(history, 'receive').filter(
    (event) =>
      !event.dup && acked.has(messageKey(event)) && (sent.get(messageKey(event)) ?? 0) > (begun.get(event.client) ?? 0),
  )
}

function insertAfter(history: readonly HistoryEvent[], event: HistoryEvent, more: HistoryEvent): HistoryEvent[] {
  return history.toSpliced(history.indexOf(event) + 1, 0, more)
}

const MUTATIONS: Partial<Record<ViolationKind, Mutation>> = {
  missing: (history, chance) => {
    const lost = pick(promised(history), chance)
    if (lost === undefined) return undefined
    return history.filter(
      (event) => event.kind !== 'receive' || event.client !== lost.client || messageKey(event) !== messageKey(lost),
    )
  },
  'session lost': (history, chance) => {
    const present = pick(
      only(history, 'connected').filter(({ sessionPresent }) => sessionPresent),
      chance,
    )
    return present === undefined
      ? undefined
      : history.map((event) => (event === present ? { ...present, sessionPresent: false } : event))
  },
  duplicate: (history, chance) => {
    const receive = pick(
      only(history, 'receive').filter(({ stream }) => stream.qos === 2),
      chance,
    )
    return receive === undefined ? undefined : insertAfter(history, receive, { ...receive, dup: true })
  },
  repeat: (history, chance) => {
    const receive = pick(
      only(history, 'receive').filter(({ stream, dup }) => stream.qos === 1 && !dup),
      chance,
    )
    return receive === undefined ? undefined : insertAfter(history, receive, { ...receive, dup: true })
  },
  order: (history, chance) => {
    const first = only(history, 'receive').filter(({ dup }) => !dup)
    const again = new Set(
      only(history, 'receive').flatMap((one) => (one.dup ? [`${one.client} ${messageKey(one)}`] : [])),
    )
    const pair = pick(
      promised(history).flatMap((one) => {
        if (again.has(`${one.client} ${messageKey(one)}`)) return []
        const next = first.find(
          ({ client, stream, at }) => client === one.client && stream === one.stream && at > one.at,
        )
        return next === undefined ? [] : [[one, next] as const]
      }),
      chance,
    )
    if (pair === undefined) return undefined
    const [late, next] = pair
    const others = history.filter((event) => event !== late)
    return insertAfter(others, next, { ...late, connection: next.connection, at: next.at })
  },
  unknown: (history, chance) => {
    const receive = pick(only(history, 'receive'), chance)
    return receive === undefined ? undefined : insertAfter(history, receive, { ...receive, number: 9_999 })
  },
  'two connections': (history, chance) => {
    const connected = pick(only(history, 'connected'), chance)
    const quiet = history.find(({ kind }) => kind === 'quiet')
    if (connected === undefined || quiet === undefined) return undefined
    const second = { ...connected, connection: 9_999, sessionPresent: true, at: quiet.at }
    return [
      ...history.filter(({ kind }) => kind !== 'closed').toSpliced(-4, 0, second),
      {
        kind: 'closed',
        client: connected.client,
        connection: 9_999,
        why: 'spoilt',
        at: quiet.at + TODAY.overlapMs + 1,
      },
    ]
  },
  retained: (history, chance) => {
    const read = pick(only(history, 'read'), chance)
    return read === undefined
      ? undefined
      : history.map((event) => (event === read ? { ...read, value: 'spoilt' } : event))
  },
}

test('a cluster that does all it promises has a good history', () => {
  fc.assert(
    fc.property(goodHistory, (history) => assert.deepEqual(check(history, TODAY), [])),
    { numRuns: 300 },
  )
})

for (const [kind, mutate] of Object.entries(MUTATIONS)) {
  test(`a good history with one thing wrong is told to be wrong in that: ${kind}`, () => {
    let spoilt = 0
    fc.assert(
      fc.property(goodHistory, fc.nat(), (history, chance) => {
        const wrong = mutate(history, chance)
        if (wrong === undefined) return
        spoilt += 1
        const violation = check(wrong, TODAY).find((one) => one.kind === kind)
        assert.ok(violation !== undefined, `${kind} is found`)
        const { events } = shortestOf(wrong, violation, TODAY)
        assert.ok(events.length <= 6, `${events.length} events show it`)
        assert.ok(
          check(events, TODAY).some(({ key }) => key === violation.key),
          'the shortest history is wrong, too',
        )
      }),
      { numRuns: 150 },
    )
    assert.ok(spoilt > 20, `${spoilt} histories were spoilt`)
  })
}
